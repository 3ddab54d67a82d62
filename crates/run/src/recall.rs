//! Reads interactions from a database or a file for [`sememe::eval::recall`].

use sememe::eval::recall::{self, RecallOptions, RecallReport};
use sememe::progress::Observer;
use sememe::{Codes, Result};
use sememe_text::prep::{Prep, source};

/// Reads [`RecallOptions::source`] and compares each item's nearest IDs with the items that the same users took. The source is an SQLite
/// database (feature `sqlite`), `.jsonl`, `.jsonl.gz`, `.csv`, `.tsv` or (feature `parquet`) `.parquet`.
///
/// ```
/// use sememe::{Codes, eval::recall::RecallOptions};
/// use sememe_run::recall::measure_recall;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("watched.csv");
/// std::fs::write(&path, "user,item,score\n1,a,9\n1,b,8\n2,a,7\n2,b,10\n2,c,2\n")?;
/// let recall = RecallOptions { source: path, score: Some("score".into()), positive_score: Some(7.0), k: 1, ..RecallOptions::default() };
/// let keys = ["a", "b", "c"].map(str::to_owned);
/// let report = measure_recall(&recall, &keys, &Codes::from_vec(3, 2, vec![4, 1, 4, 2, 5, 1])?, &())?;
/// assert_eq!((report.read.interactions, report.measures.recall), (4, 1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`recall::measure_recall`], and [`sememe::Error::Format`] for a source that cannot be read as what it is, or lacks a field (named with
/// those that it has).
pub fn measure_recall(
    recall: &RecallOptions,
    keys: &[String],
    codes: &Codes,
    observer: &dyn Observer,
) -> Result<RecallReport> {
    let prep = Prep {
        source: recall.source.clone(),
        table: recall.table.clone(),
        query: recall.query.clone(),
        ..Prep::default()
    };
    let mut rows = |wanted: &[&str], row: recall::OnRow<'_>| source::each(&prep, wanted, row).map(drop);
    recall::measure_recall(recall, keys, codes, &mut rows, observer)
}
