//! A whole run as one HTML page that opens from a file, without a network.
//!
//! [`RunPage`] is everything a page may show of a run, as plain data; [`render`] draws it. The page is that of
//! [`eval::render_html`](sememe::eval::render_html) with all its sections: what went in, a box that finds any item and its neighbours by
//! ID, prefix, title or key, the tree of prefixes, loads, losses, distortion by depth, collisions before and after, recall and churn.

use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;

use sememe::data::Codes;
use sememe::eval::{
    Advice, Evaluation, FactSection, PreviousRun, RecallFigures, ReportInput, Spelling, TokenSpelling, render_html,
};
use sememe::fit::TrainingSummary;
use sememe::ids::{TextFormat, check_keys};
use sememe::io::each_json_line;
use sememe::progress::EpochReport;
use sememe::{Error, Result, check_shape};

/// What a page shows of a run.
#[derive(Clone, Debug)]
pub struct RunPage<'a> {
    /// Heading of the page.
    pub title: &'a str,
    /// What went in: sources, counts, settings, versions, hashes.
    pub sections: Vec<FactSection>,
    /// What the reader should know; what stands between backticks is shown as code.
    pub notes: Vec<String>,
    /// How advice is worded, see [`ReportInput::advice_text`].
    pub advice_text: fn(&Advice) -> String,
    /// `[n]` keys of the items.
    pub keys: &'a [String],
    /// `[n]` their titles, or empty; an empty one is shown by its key.
    pub titles: &'a [String],
    /// `[n, levels]` codes as the codec gave them.
    pub codes: &'a Codes,
    /// `[levels]` codewords of each level.
    pub codebook_sizes: &'a [usize],
    /// `[n, levels]` IDs after collisions were resolved, or `[n, levels + 1]` with counters or with a further level.
    pub ids: &'a Codes,
    /// How an ID is written as text, for IDs of the same width as `ids`.
    pub format: &'a TextFormat,
    /// The measures of `codes`.
    pub evaluation: &'a Evaluation,
    /// How the levels were trained: a codec's manifest has it.
    pub training: Option<&'a TrainingSummary>,
    /// Epochs of an RQ-VAE, see [`read_epochs`]; empty for other codecs.
    pub epochs: &'a [EpochReport],
    /// The figures of a recall report.
    pub recall: Option<RecallFigures>,
    /// What changed since the run before.
    pub since: Option<PreviousRun<'a>>,
    /// Items that the tree lists at most; the box finds all.
    pub items_shown: usize,
    /// Size to stay within, see [`ReportInput::max_bytes`].
    pub max_bytes: usize,
}

impl<'a> RunPage<'a> {
    /// A page of what every run has; 2,500 items in the tree, as the box finds all, and 5 MB at most.
    #[must_use]
    pub fn new(
        title: &'a str,
        keys: &'a [String],
        (codes, codebook_sizes): (&'a Codes, &'a [usize]),
        (ids, format): (&'a Codes, &'a TextFormat),
        evaluation: &'a Evaluation,
    ) -> Self {
        let plain = ReportInput::new(title, codes, codebook_sizes, evaluation);
        Self {
            title,
            sections: Vec::new(),
            notes: Vec::new(),
            advice_text: plain.advice_text,
            keys,
            titles: &[],
            codes,
            codebook_sizes,
            ids,
            format,
            evaluation,
            training: None,
            epochs: &[],
            recall: None,
            since: None,
            items_shown: 2_500,
            max_bytes: plain.max_bytes,
        }
    }
}

/// Renders the page. O(n log n) and the deflating of all titles.
///
/// The same input gives the same bytes. Every text of the data is escaped or packed, and the page forbids itself every request.
///
/// ```
/// use sememe::eval::{EvalOptions, Subject, judge};
/// use sememe::ids::{Style, TextFormat, resolve};
/// use sememe_run::page::{RunPage, render};
/// use sememe::Codes;
///
/// let keys = ["mg", "nano", "pico"].map(String::from);
/// let codes = Codes::from_vec(3, 2, vec![7, 0, 12, 5, 12, 5])?;
/// let resolved = resolve::number(&keys, &codes)?;
/// let format = TextFormat::preset(Style::Animind, &[16, 16])?.with_counter()?;
/// let evaluation = judge(&Subject::new(&codes, &[16, 16]), &EvalOptions::default())?;
/// let page = RunPage::new("Editors", &keys, (&codes, &[16, 16]), (&resolved.codes, &format), &evaluation);
/// assert!(render(&page)?.contains("Find an item"));
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if keys, titles, codes, IDs, format and evaluation disagree in number, [`Error::Data`] for empty and repeated keys
/// and a code beyond its codebook.
pub fn render(page: &RunPage<'_>) -> Result<String> {
    check_shape("keys", page.codes.rows(), page.keys.len(), "keys of the items")?;
    check_keys(page.keys)?;
    check_shape("levels", page.format.width(), page.ids.levels(), "IDs")?;
    let mut input = ReportInput::new(page.title, page.codes, page.codebook_sizes, page.evaluation);
    (input.sections, input.notes) = (page.sections.clone(), page.notes.clone());
    input.advice_text = page.advice_text;
    (input.keys, input.names) = (page.keys, page.titles);
    (input.ids, input.spelling) = (Some(page.ids), Some(spelling(page.format)));
    (input.training, input.epochs) = (page.training, page.epochs);
    (input.recall, input.since) = (page.recall.clone(), page.since.clone());
    (input.items_shown, input.max_bytes) = (page.items_shown, page.max_bytes);
    render_html(&input)
}

/// A text format as the page's script needs it.
#[must_use]
pub fn spelling(format: &TextFormat) -> Spelling {
    let template = format.template();
    Spelling {
        begin: template.begin.clone(),
        separator: template.separator.clone(),
        end: template.end.clone(),
        tokens: format
            .token_parts()
            .map(|(before, after, first)| TokenSpelling { before: before.into(), after: after.into(), first })
            .collect(),
        counter: format.has_counter(),
    }
}

/// The epochs in the `metrics.jsonl` of an RQ-VAE's training, in the order of the file; lines of another `kind` are passed over.
///
/// # Errors
/// If the file cannot be read or is no `.jsonl`, or a line of the kind `epoch` is no [`EpochReport`]; errors name the line.
pub fn read_epochs(path: impl AsRef<Path>) -> Result<Vec<EpochReport>> {
    let path = path.as_ref();
    let mut epochs = Vec::new();
    each_json_line(path, "metrics are read from .jsonl", &mut |number, text| {
        let bad = |e: serde_json::Error| Error::format(path, format!("line {number}: {e}"));
        let line: Value = serde_json::from_str(text).map_err(bad)?;
        if line.get("kind").and_then(Value::as_str) == Some("epoch") {
            epochs.push(EpochReport::deserialize(&line).map_err(bad)?);
        }
        Ok(())
    })?;
    Ok(epochs)
}
