//! Metrics as JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::append::Appender;
use sememe::io::json_bad;
use sememe::io::{AtomicFile, write_bytes_atomic};
use sememe::{Error, Result};

/// A line of metrics takes some hundred bytes.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Writes a `metrics.jsonl`: one JSON object a line, handed to the system in one call, so that a reader sees whole lines
/// and the end of this process loses none.
///
/// ```
/// use sememe_run::track::MetricsWriter;
/// use serde_json::json;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("metrics.jsonl");
/// let mut metrics = MetricsWriter::create(&path)?;
/// for step in 0..3 {
///     metrics.line(&json!({"loss": 0.5, "step": step}))?;
/// }
/// metrics.sync()?;
/// # drop(metrics);
///
/// // The last checkpoint was of step 2.
/// let mut metrics = MetricsWriter::resume(&path, |line| line["step"].as_u64() < Some(2))?;
/// metrics.line(&json!({"loss": 0.25, "step": 2}))?;
/// let text = std::fs::read_to_string(&path)?;
/// assert_eq!(text, "{\"loss\":0.5,\"step\":0}\n{\"loss\":0.5,\"step\":1}\n{\"loss\":0.25,\"step\":2}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MetricsWriter {
    file: Appender,
    line: Vec<u8>,
}

impl MetricsWriter {
    /// Starts an empty file, in place of one that is there.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        write_bytes_atomic(path, b"")?;
        Ok(Self { file: Appender::open(path)?, line: Vec::new() })
    }

    /// Goes on with a file: the lines that `keep` wants stay byte for byte, the others go, and so does half a line at the
    /// end, as a killed process may leave it, and all from the first hole on: a loss of power leaves zeros where a line was written and
    /// not synced. The file is replaced whole; one that is missing is created.
    ///
    /// # Errors
    /// If the file cannot be read or replaced, or a line other than the last is no JSON object: names the line, and the file
    /// stays as it was.
    pub fn resume(path: impl AsRef<Path>, keep: impl Fn(&Value) -> bool) -> Result<Self> {
        let path = path.as_ref();
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::create(path),
            file => file.map_err(|e| Error::io("open", path, e))?,
        };
        let mut reader = BufReader::new(file);
        let (mut kept, mut line) = (AtomicFile::create(path)?, Vec::new());
        for number in 1.. {
            line.clear();
            let count = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            if count.map_err(|e| Error::io("read", path, e))? == 0 {
                break;
            }
            let ended = line.ends_with(b"\n");
            if !ended && line.len() as u64 == MAX_LINE_BYTES {
                return Err(Error::format(path, format!("line {number} has {MAX_LINE_BYTES} bytes or more")));
            }
            match serde_json::from_slice::<Value>(&line) {
                Ok(value) if value.is_object() => {
                    if keep(&value) {
                        kept.put(&line)?;
                        if !ended {
                            // No object is the beginning of another: only the line's end was lost.
                            kept.put(b"\n")?;
                        }
                    }
                }
                _ if !ended => {
                    tracing::warn!(file = %path.display(), "dropped {} bytes of a torn line {number}", line.len());
                }
                // No JSON text holds a zero byte. What follows was not synced either.
                _ if line.contains(&0) => {
                    tracing::warn!(file = %path.display(), "dropped line {number}, which holds a hole, and what follows it");
                    break;
                }
                Ok(_) => return Err(Error::format(path, format!("line {number} is no JSON object"))),
                Err(e) => return Err(json_bad(path, number, &e)),
            }
        }
        kept.commit()?;
        Ok(Self { file: Appender::open(path)?, line })
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Adds `object`, a map or a struct, as one line. NaN and infinity become `null`, since JSON has no word for them.
    ///
    /// # Errors
    /// If it is no JSON object, or the system refuses, with a full disk for example; the file holds whole lines still, and
    /// this line may be tried again.
    pub fn line(&mut self, object: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, object).map_err(|e| Error::Data(format!("a metrics line: {e}")))?;
        if self.line.first() != Some(&b'{') {
            let start: String = String::from_utf8_lossy(&self.line).chars().take(40).collect();
            return Err(Error::Data(format!("expected an object as a metrics line, got `{start}`")));
        }
        self.line.push(b'\n');
        self.file.append(&self.line)
    }

    /// Waits until the disk has all lines.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }
}
