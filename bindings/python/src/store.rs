//! Stores of IDs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sememe::ids::store::{AssignedId, MemoryStore, RedisStore, Reuse, SqliteStore, StoredId};
use sememe::{Error, Result};

use crate::errors::OrRaise as _;
use crate::values;
use crate::work::at_once;

enum Kept {
    Memory(MemoryStore),
    Sqlite(SqliteStore),
    Redis(Box<RedisStore>),
}

impl Kept {
    fn store(&mut self) -> &mut dyn sememe::ids::store::Store {
        match self {
            Self::Memory(store) => store,
            Self::Sqlite(store) => store,
            Self::Redis(store) => &mut **store,
        }
    }
}

struct Open {
    kept: Kept,
    /// The process that opened it: neither a database nor a connection may be used by its fork.
    pid: u32,
    patience: Option<Duration>,
}

/// A map from item keys to IDs, in memory, in an SQLite file or in a Redis server.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Store {
    open: Mutex<Open>,
    kind: &'static str,
    place: String,
    hash: String,
    levels: usize,
}

fn opened(kind: &str, place: &str, codec: Option<(&str, usize)>) -> Result<Kept> {
    Ok(match (kind, codec) {
        ("sqlite", Some((hash, levels))) => Kept::Sqlite(SqliteStore::open(place, hash, levels)?),
        ("sqlite", None) => Kept::Sqlite(SqliteStore::open_existing(place)?),
        ("redis", Some((hash, levels))) => Kept::Redis(Box::new(RedisStore::open(place, hash, levels)?)),
        ("redis", None) => Kept::Redis(Box::new(RedisStore::open_existing(place)?)),
        (_, Some((hash, levels))) => Kept::Memory(MemoryStore::new(hash, levels)?),
        (_, None) => return Err(Error::config("codec", "a store in memory is of a codec; give it")),
    })
}

impl Store {
    fn hold(mut kept: Kept, kind: &'static str, place: String) -> Self {
        let (hash, levels) = (kept.store().codec_hash().to_owned(), kept.store().levels());
        let open = Open { kept, pid: std::process::id(), patience: None };
        Self { open: Mutex::new(open), kind, place, hash, levels }
    }

    /// Works with the store, which is opened again in a process that did not open it.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut dyn sememe::ids::store::Store) -> Result<T> + Send,
    ) -> PyResult<T> {
        at_once(py, || {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let here = std::process::id();
            if open.pid != here && self.kind != "memory" {
                let again = opened(self.kind, &self.place, Some((&self.hash, self.levels)))?;
                #[allow(
                    clippy::mem_forget,
                    reason = "closing a parent's connection here would close it for the parent"
                )]
                std::mem::forget(std::mem::replace(&mut open.kept, again));
                open.pid = here;
                if let Some(patience) = open.patience {
                    open.kept.store().set_patience(patience)?;
                }
            }
            work(open.kept.store())
        })
    }
}

/// IDs `[n, levels + 1]`, which are new, and which are on other codes than those asked for.
type Given<'py> = (Bound<'py, PyArray2<u32>>, Vec<bool>, Vec<bool>);

fn row(id: &StoredId) -> Vec<u32> {
    id.to_row()
}

#[pymethods]
impl Store {
    /// Opens or makes a store: `memory`, `sqlite` or `redis`. Without a codec's hash it must be there.
    #[staticmethod]
    #[pyo3(signature = (kind, place, codec_hash, levels))]
    fn open(py: Python<'_>, kind: &str, place: String, codec_hash: Option<String>, levels: usize) -> PyResult<Self> {
        let kind = ["sqlite", "redis"].into_iter().find(|known| *known == kind).unwrap_or("memory");
        let kept = at_once(py, || opened(kind, &place, codec_hash.as_deref().map(|hash| (hash, levels))))?;
        Ok(Self::hold(kept, kind, place))
    }

    /// A store in memory from what `to_bytes` returned.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let wrong = |e: serde_json::Error| Error::Store(e.to_string());
        let kept: MemoryStore = serde_json::from_slice(bytes).map_err(wrong).or_raise(py)?;
        Ok(Self::hold(Kept::Memory(kept), "memory", String::new()))
    }

    /// The content of a store in memory.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept::Memory(store) = &open.kept else {
            return Err(Error::Store("it is kept elsewhere".into())).or_raise(py);
        };
        let bytes = serde_json::to_vec(store).map_err(|e| Error::Store(e.to_string())).or_raise(py)?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[getter]
    fn codec_hash(&self) -> &str {
        &self.hash
    }

    #[getter]
    fn levels(&self) -> usize {
        self.levels
    }

    /// IDs `[n, levels + 1]` of items, which of them are new, and which are older ones on other codes.
    fn assign<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<String>,
        codes: PyReadonlyArray2<'py, u32>,
        reuse_deleted: bool,
    ) -> PyResult<Given<'py>> {
        let codes = values::read_codes(&codes)?.or_raise(py)?;
        sememe::check_shape("keys", codes.rows(), keys.len(), "keys of the items").or_raise(py)?;
        let reuse = if reuse_deleted { Reuse::Deleted } else { Reuse::Never };
        let given: Vec<AssignedId> = self.with(py, |store| {
            let items: Vec<(&str, &[u32])> = keys.iter().map(String::as_str).zip(codes.iter()).collect();
            store.assign_with(&items, reuse)
        })?;
        let ids = given.iter().flat_map(|given| row(&given.id)).collect();
        let new = given.iter().map(|given| given.new).collect();
        let drifted = given.iter().map(|given| given.drifted).collect();
        Ok((values::codes_array(py, given.len(), self.levels + 1, ids)?, new, drifted))
    }

    /// The ID of each key that has one.
    fn get(&self, py: Python<'_>, keys: Vec<String>) -> PyResult<Vec<Option<Vec<u32>>>> {
        let found = self.with(py, |store| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            store.get(&keys)
        })?;
        Ok(found.iter().map(|id| id.as_ref().map(row)).collect())
    }

    /// Keys and IDs of items whose codes start so.
    fn with_prefix(&self, py: Python<'_>, prefix: Vec<u32>, most: usize) -> PyResult<Vec<(String, Vec<u32>)>> {
        let found = self.with(py, |store| store.with_prefix(&prefix, most))?;
        Ok(found.into_iter().map(|(id, key)| (key, row(&id))).collect())
    }

    /// Forgets items; returns how many there were.
    fn delete(&self, py: Python<'_>, keys: Vec<String>) -> PyResult<usize> {
        self.with(py, |store| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            store.delete(&keys)
        })
    }

    /// How many items have an ID.
    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |store| store.count())
    }

    /// What in the store's surroundings may lose IDs, a sentence each.
    fn risks(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, |store| Ok(store.risks()))
    }

    /// How long a call may wait for others.
    fn set_patience(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let patience = Duration::try_from_secs_f64(seconds)
            .map_err(|e| Error::config("patience", format!("expected seconds, got {seconds}: {e}")))
            .or_raise(py)?;
        self.with(py, |store| store.set_patience(patience))?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).patience = Some(patience);
        Ok(())
    }
}
