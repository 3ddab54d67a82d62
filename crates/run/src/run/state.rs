//! The state file of a run's folder: settings, inputs and outputs of every phase, by hash.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Phase;
use sememe::digest::hex;
use sememe::io::{read_if_there, write_bytes_atomic};
use sememe::{Error, Result};

/// Of the state file; another one is not read.
const FORMAT: u32 = 1;

const NAME: &str = "state.json";

/// A line an artifact; whatever is larger is none.
const MAX_BYTES: u64 = 64 << 20;

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// Record of a finished phase: its settings, inputs and outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// The program that ran it.
    pub version: String,
    /// The settings that it depends on.
    pub settings: Value,
    /// What it read, by name.
    pub inputs: BTreeMap<String, Artifact>,
    /// What it wrote, by path within the folder.
    pub outputs: BTreeMap<String, Artifact>,
    /// What it found.
    pub facts: Value,
    /// How long it took.
    pub seconds: f64,
    /// When it ended, in seconds since 1970 (UTC).
    pub finished_at: u64,
}

/// All phases of a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunState {
    format: u32,
    pub(super) phases: BTreeMap<Phase, PhaseRecord>,
    /// Settings and inputs of phases that were started and have not finished. A phase resumes if they are unchanged.
    #[serde(default)]
    pub(super) begun: BTreeMap<Phase, PhaseStart>,
}

/// Settings and inputs that a phase was started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PhaseStart {
    pub(super) settings: Value,
    pub(super) inputs: BTreeMap<String, Artifact>,
}

impl RunState {
    /// The folder's state; an empty one if there is none, or one of another format: then every phase runs again.
    ///
    /// # Errors
    /// If it is there and cannot be read, which is no reason to take the folder for a new one.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let empty = Self { format: FORMAT, phases: BTreeMap::new(), begun: BTreeMap::new() };
        let read = read_if_there(folder.join(NAME), MAX_BYTES)?;
        let state: Option<Self> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(state.filter(|state| state.format == FORMAT).unwrap_or(empty))
    }

    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::Data(e.to_string()))?;
        text.push(b'\n');
        write_bytes_atomic(folder.join(NAME), &text)
    }
}

/// Hashes of files, each read once a run.
#[derive(Default)]
pub(super) struct FileHashes(HashMap<PathBuf, Artifact>);

impl FileHashes {
    /// The file as it is; `None` if it is not there.
    pub(super) fn of(&mut self, path: &Path) -> Result<Option<Artifact>> {
        if let Some(known) = self.0.get(path) {
            return Ok(Some(known.clone()));
        }
        let Some(found) = hash(path)? else { return Ok(None) };
        self.0.insert(path.to_owned(), found.clone());
        Ok(Some(found))
    }

    /// The file has been written.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }
}

/// A database that is written ahead has the latest of it in a second file.
fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn hash(path: &Path) -> Result<Option<Artifact>> {
    let mut sum = Sha256::new();
    let mut bytes = 0u64;
    let mut buffer = vec![0u8; 1 << 20];
    let ahead = wal_path(path);
    for (at, path) in [path, ahead.as_path()].into_iter().enumerate() {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match at {
                0 => return Ok(None),
                _ => continue,
            },
            Err(e) => return Err(Error::io("read", path, e)),
        };
        loop {
            let read = file.read(&mut buffer).map_err(|e| Error::io("read", path, e))?;
            if read == 0 {
                break;
            }
            sum.update(&buffer[..read]);
            bytes += read as u64;
        }
    }
    Ok(Some(Artifact { bytes, sha256: hex(&sum.finalize()) }))
}

/// Where two trees of settings differ first, in words: `train.levels: 3 → 4`.
pub(super) fn difference(path: &str, before: &Value, now: &Value) -> Option<String> {
    if before == now {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (before, now) {
        let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        return names.into_iter().find_map(|name| {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            difference(&inner, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null))
        });
    }
    let short = |value: &Value| {
        let text = if value.is_null() { "nothing".into() } else { value.to_string() };
        match text.char_indices().nth(40) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    Some(format!("{path}: {} → {}", short(before), short(now)))
}
