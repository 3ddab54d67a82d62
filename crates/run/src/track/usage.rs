//! How often each code was used.

use std::path::Path;

use sememe::Result;
use sememe::io::AtomicFile;

/// Writes `code_usage.csv`, whole or not at all: a header `level,code,count,share` and a line a codeword, where
/// `levels[l][j]` rows have code `j` in level `l`. The share is that of the level's rows, and 0 in a level without any.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("code_usage.csv");
/// sememe_run::track::write_code_usage(&path, &[vec![3, 1], vec![4]])?;
/// assert_eq!(std::fs::read_to_string(&path)?, "level,code,count,share\n0,0,3,0.75\n0,1,1,0.25\n1,0,4,1\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the file cannot be written.
pub fn write_code_usage(path: impl AsRef<Path>, levels: &[Vec<u64>]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.put(b"level,code,count,share\n")?;
    for (l, counts) in levels.iter().enumerate() {
        let total: u128 = counts.iter().map(|count| u128::from(*count)).sum();
        for (j, count) in counts.iter().enumerate() {
            let share = if total == 0 { 0.0 } else { *count as f64 / total as f64 };
            file.put(format!("{l},{j},{count},{share}\n").as_bytes())?;
        }
    }
    file.commit()
}
