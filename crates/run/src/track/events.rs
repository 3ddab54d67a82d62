//! Curves for TensorBoard.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::append::Appender;
use super::event;
use super::record::{Records, frame};
use sememe::io::{AtomicFile, write_bytes_atomic};
use sememe::{Error, Result};

const PREFIX: &str = "events.out.tfevents.";
/// Where other writers put the machine's name, which is nobody's business: it marks the files that resuming may rewrite.
const WRITER: &str = "sememe";
/// Records are handed to the system when this many bytes have gathered.
const BUFFER_BYTES: usize = 1 << 16;

/// Writes scalars to a TensorBoard event file, `events.out.tfevents.{unix seconds}.sememe.{number}`.
///
/// Records gather in memory, up to 64 KiB, until [`flush`](Self::flush); dropping the writer flushes too, but cannot say
/// whether that worked. The same calls with the same times write the same bytes. The formats are TensorFlow's TFRecord and
/// `event.proto`.
///
/// ```
/// use sememe_run::track::EventWriter;
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let mut events = EventWriter::create(folder)?;
/// for step in 0..100 {
///     events.scalar(step, 1.7e9 + step as f64, &[("loss/total", 1.0 / (step + 1) as f32)])?;
/// }
/// events.sync()?; // … and then the checkpoint of step 100; further steps follow, and the process is killed.
/// # drop(events);
///
/// let mut events = EventWriter::resume(folder, 100)?;
/// events.scalar(100, 1.7e9 + 160.0, &[("loss/total", 0.01)])?;
/// events.flush()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventWriter {
    file: Appender,
    pending: Vec<u8>,
}

impl EventWriter {
    /// Starts a new file in `folder`, which is made if it is missing; files that are there stay, and TensorBoard shows them
    /// and the new one as one run.
    ///
    /// # Errors
    /// If the folder or the file cannot be created.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        // A clock before 1970 is wrong anyway.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs());
        Self::create_at(folder, now)
    }

    /// As [`create`](Self::create), with the time that goes into the file's name and its first record.
    ///
    /// # Errors
    /// If the folder or the file cannot be created.
    pub fn create_at(folder: impl AsRef<Path>, unix_seconds: u64) -> Result<Self> {
        let folder = folder.as_ref();
        sememe::io::create_folder(folder)?;
        let mut number = 0;
        loop {
            // Padded, since TensorBoard reads files in the order of their names.
            let path = folder.join(format!("{PREFIX}{unix_seconds:010}.{WRITER}.{number:03}"));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(_) => {
                    // The name is taken; now the first record, whole or not at all.
                    write_bytes_atomic(&path, &opening(unix_seconds))?;
                    return Self::open(&path);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io("create", path, e)),
            }
        }
    }

    /// Goes on at the end of an event file.
    ///
    /// # Errors
    /// If the file cannot be read or written, holds no record, or does not end with a whole one, as a killed process may
    /// leave it: [`resume`](Self::resume) repairs that. Reads the whole file.
    pub fn append(existing: impl AsRef<Path>) -> Result<Self> {
        let path = existing.as_ref();
        let mut records = Records::open(path)?;
        while records.next()?.is_some() {}
        let (whole, left) = (records.whole_bytes(), records.left_bytes());
        if whole == 0 || left > 0 {
            let problem = format!("{left} bytes after byte {whole} are no whole record; resume the run instead");
            return Err(Error::format(path, problem));
        }
        Self::open(path)
    }

    /// Goes on with a run that was stopped or killed: its records of steps from `before_step` on are removed, and those that
    /// follow go to the end of its newest file. A folder without files of this writer gets a new one.
    ///
    /// Every file that holds such steps, or damage, is replaced whole; the others are not touched, nor are event files of
    /// other programs. From the first damaged record of a file on, nothing is kept: TensorBoard reads no further either.
    /// A TensorBoard that has shown the removed steps must be restarted to forget them.
    ///
    /// Reads all files of the run and holds one record at a time.
    ///
    /// # Errors
    /// If a file cannot be read or replaced, or its first record shows that it is no event file.
    pub fn resume(folder: impl AsRef<Path>, before_step: u64) -> Result<Self> {
        let folder = folder.as_ref();
        let files = own_files(folder)?;
        for (unix_seconds, _, path) in &files {
            keep_before(path, *unix_seconds, before_step)?;
        }
        files.last().map_or_else(|| Self::create(folder), |(_, _, path)| Self::open(path))
    }

    fn open(path: &Path) -> Result<Self> {
        Ok(Self { file: Appender::open(path)?, pending: Vec::new() })
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Adds one value a tag at `step`, taken at `wall_time` in seconds since 1970. NaN and infinity are written as they are.
    ///
    /// # Errors
    /// If `step` does not fit 63 bits or `wall_time` is not finite; nothing is added then. If the gathered records cannot be
    /// written: they stay, with this one, for the next attempt.
    pub fn scalar(&mut self, step: u64, wall_time: f64, values: &[(&str, f32)]) -> Result<()> {
        let Ok(step) = i64::try_from(step) else {
            return Err(Error::Data(format!("step {step} does not fit 63 bits")));
        };
        if !wall_time.is_finite() {
            return Err(Error::Data(format!("expected a finite wall time at step {step}, got {wall_time}")));
        }
        frame(&event::scalars(step, wall_time, values), &mut self.pending);
        if self.pending.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Hands all records to the system, where TensorBoard sees them and the end of this process does not lose them.
    ///
    /// # Errors
    /// If the system refuses, with a full disk for example. The file is cut back to whole records, and the rest stays in
    /// memory for the next attempt.
    pub fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.file.append(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Flushes, and waits until the disk has it all.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync()
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// The record that opens a file.
fn opening(unix_seconds: u64) -> Vec<u8> {
    let mut record = Vec::new();
    frame(&event::version(unix_seconds as f64), &mut record);
    record
}

/// This writer's event files in `folder`, oldest first, with their time and number. Removes what a killed
/// [`resume`](EventWriter::resume) left half rewritten: TensorBoard would take it for an event file.
fn own_files(folder: &Path) -> Result<Vec<(u64, u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io("read", folder, e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::io("read", folder, e))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = folder.join(name);
        if let Some(left) = name.strip_prefix('.').and_then(|n| n.strip_prefix(PREFIX)) {
            if left.contains(&format!(".{WRITER}.")) && left.ends_with(".tmp") {
                fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))?;
            }
            continue;
        }
        let Some((seconds, number)) = name.strip_prefix(PREFIX).and_then(|n| n.split_once(&format!(".{WRITER}.")))
        else {
            continue;
        };
        if let (Ok(seconds), Ok(number)) = (seconds.parse(), number.parse()) {
            found.push((seconds, number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Rewrites an event file without damage and without the steps from `before_step` on, if it has any.
fn keep_before(path: &Path, unix_seconds: u64, before_step: u64) -> Result<()> {
    let mut records = Records::open(path)?;
    let mut kept = AtomicFile::create(path)?;
    let (mut dropped, mut frames) = (0_u64, Vec::new());
    while let Some(payload) = records.next()? {
        let Some(event) = event::outline(payload) else {
            let problem = format!("the record before byte {} holds no event", records.whole_bytes());
            return Err(Error::format(path, problem));
        };
        if !event.opens && u64::try_from(event.step).is_ok_and(|step| step >= before_step) {
            dropped += 1;
            continue;
        }
        frames.clear();
        frame(payload, &mut frames);
        kept.put(&frames)?;
    }
    let (whole, left) = (records.whole_bytes(), records.left_bytes());
    if whole == 0 {
        let expected = opening(unix_seconds);
        // A shorter file is what a process leaves that is killed while it creates one.
        if left >= expected.len() as u64 {
            return Err(Error::format(path, format!("is no event file: none of its {left} bytes are a whole record")));
        }
        kept.put(&expected)?;
    } else if left > 0 {
        tracing::warn!(file = %path.display(), "dropped {left} bytes after byte {whole}, which are no whole record");
    }
    if dropped > 0 || left > 0 || whole == 0 { kept.commit() } else { Ok(()) }
}
