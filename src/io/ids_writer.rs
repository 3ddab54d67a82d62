//! Writes IDs as text: `.txt`, `.jsonl` or `.csv`.

use std::path::Path;

use super::atomic::AtomicFile;
use super::options::extension;
use crate::error::{Error, Result};

enum IdsFormat {
    Text,
    Jsonl,
    Csv,
}

/// Writes IDs, one a line, to a file that appears when it is complete. The extension picks the format:
///
/// - `.txt`: the ID as it is.
/// - `.jsonl`: `{"row":0,"id":"12-5-33"}`.
/// - `.csv`: columns `row` and `id`.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ids.jsonl");
/// let mut out = sememe::io::IdsWriter::create(&path)?;
/// out.write(0, "12-5-33")?;
/// out.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "{\"row\":0,\"id\":\"12-5-33\"}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IdsWriter {
    file: AtomicFile,
    form: IdsFormat,
    line: Vec<u8>,
}

/// Appends a field of a CSV line, quoted where CSV needs it; readers strip what the quotes protect.
pub(super) fn push_csv(field: &str, out: &mut String) {
    if field.contains([',', '"', '\n', '\r', ' ']) || field.is_empty() {
        out.push_str(&format!("\"{}\"", field.replace('"', "\"\"")));
    } else {
        out.push_str(field);
    }
}

impl IdsWriter {
    /// Starts a file.
    ///
    /// # Errors
    /// If the extension is none of these, or the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let form = match extension(path).as_str() {
            "txt" => IdsFormat::Text,
            "jsonl" => IdsFormat::Jsonl,
            "csv" => IdsFormat::Csv,
            other => {
                return Err(Error::format(path, format!("IDs are written as .txt, .jsonl or .csv, got `.{other}`")));
            }
        };
        let mut file = AtomicFile::create(path)?;
        if matches!(form, IdsFormat::Csv) {
            file.put(b"row,id\n")?;
        }
        Ok(Self { file, form, line: Vec::new() })
    }

    /// Appends an ID and the number of its row.
    ///
    /// # Errors
    /// [`Error::Data`] for a line break in an ID of a `.txt`; if the file cannot be written.
    pub fn write(&mut self, row: u64, id: &str) -> Result<()> {
        self.line.clear();
        match self.form {
            IdsFormat::Text if id.contains(['\n', '\r']) => {
                return Err(Error::Data(format!("the ID {id:?} of row {row} holds a line break; write .jsonl")));
            }
            IdsFormat::Text => self.line.extend_from_slice(id.as_bytes()),
            IdsFormat::Jsonl => {
                self.line.extend_from_slice(format!("{{\"row\":{row},\"id\":").as_bytes());
                serde_json::to_writer(&mut self.line, id).map_err(|e| self.file.failed(e.into()))?;
                self.line.push(b'}');
            }
            IdsFormat::Csv => {
                let mut text = format!("{row},");
                push_csv(id, &mut text);
                self.line.extend_from_slice(text.as_bytes());
            }
        }
        self.line.push(b'\n');
        self.file.put(&self.line)
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If it cannot be put in place; nothing is left behind then.
    pub fn finish(self) -> Result<()> {
        self.file.commit()
    }
}
