//! The counters of semantic-id's engine: how many IDs it gave out on which codes.

use crate::note::Note;
use sememe::ids::store::Store;
use sememe::{Error, Result};
use std::path::Path;

/// IDs on one combination of codes that are taken at most: more were never given out.
#[cfg(feature = "sqlite")]
const MAX_ON_ONE: u64 = 1 << 24;
/// IDs that are reserved in one transaction.
const BATCH: usize = 10_000;

/// How many IDs were given out, by codes. Which item has which is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Codes and how many IDs there are on them, in the order of the engine's keys.
    rows: Vec<(Vec<u32>, u64)>,
    /// Keys that hold other numbers than an ID's codes.
    odd: Vec<String>,
}

impl Counters {
    /// Codes `[levels]`, each with how many IDs there are on them.
    pub fn rows(&self) -> impl Iterator<Item = (&[u32], u64)> {
        self.rows.iter().map(|(codes, count)| (codes.as_slice(), *count))
    }

    /// How many combinations of codes have IDs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many IDs were given out.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Reads the engine's database, which is not changed.
    #[cfg(feature = "sqlite")]
    pub(crate) fn read(path: &Path) -> Result<Self> {
        use rusqlite::{Connection, OpenFlags};
        let bad = |e: rusqlite::Error| Error::format(path, format!("is no store of semantic-id: {e}"));
        // Opening makes no file, but a folder or nothing gives errors that name neither.
        std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(bad)?;
        connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;").map_err(bad)?;
        // A view or a virtual table could run for ever, or hold functions.
        let plain = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'collisions' AND sql NOT LIKE '%VIRTUAL%'";
        let there: i64 = connection.query_row(plain, [], |row| row.get(0)).map_err(bad)?;
        if there != 1 {
            return Err(Error::format(path, "has no table `collisions`, so it is no store of semantic-id"));
        }
        let mut out = Self::default();
        let mut select = connection.prepare("SELECT key, count FROM collisions ORDER BY key").map_err(bad)?;
        let mut rows = select.query([]).map_err(bad)?;
        while let Some(row) = rows.next().map_err(bad)? {
            let (key, count): (String, i64) = (row.get(0).map_err(bad)?, row.get(1).map_err(bad)?);
            let count = u64::try_from(count).ok().filter(|count| *count <= MAX_ON_ONE);
            let count = count.ok_or_else(|| {
                let shown: String = key.chars().take(80).collect();
                Error::format(path, format!("`{shown}` has a count beyond 0 to {MAX_ON_ONE}"))
            })?;
            match codes_in(&key) {
                Some(codes) if count > 0 => out.rows.push((codes, count)),
                Some(_) => {}
                None => out.odd.push(key),
            }
        }
        Ok(out)
    }

    /// Says that this build cannot.
    #[cfg(not(feature = "sqlite"))]
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Err(Error::format(path, "is an SQLite file, which this build does not read")
            .mend([sememe::Remedy::build("sqlite")]))
    }

    /// Leaves out what is no ID of a codec with these codebooks.
    pub(crate) fn fit(&mut self, sizes: &[usize]) -> Option<Note> {
        let fits = |codes: &[u32]| {
            codes.len() == sizes.len() && codes.iter().zip(sizes).all(|(c, size)| (*c as usize) < *size)
        };
        let (rows, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.rows).into_iter().partition(|(codes, _)| fits(codes));
        self.rows = rows;
        let mut odd = std::mem::take(&mut self.odd);
        odd.extend(others.into_iter().map(|(codes, _)| format!("{codes:?}")));
        let first = odd.first()?.chars().take(80).collect::<String>();
        let text = format!("{} counters of keys that are no IDs of this codec, the first is `{first}`", odd.len());
        Some(Note::left_out(text))
    }

    /// Keeps a store from giving out the IDs that were given out already: on each combination of codes the counters that were used are
    /// passed over. Who has them stays unknown. A store with items is refused, as theirs would be among them.
    ///
    /// Says how many IDs it passed over.
    ///
    /// # Errors
    /// [`Error::Store`] if the store holds items, or cannot be written; of several batches those before are kept then.
    pub fn reserve(&self, store: &mut dyn Store) -> Result<u64> {
        let there = store.count()?;
        if there > 0 {
            return Err(Error::Store(format!(
                "it holds {there} items; IDs of another system are reserved in a new one"
            )));
        }
        let places = self.rows.iter().flat_map(|(codes, count)| (0..*count).map(move |n| (codes, n)));
        let mut done = 0;
        let mut batch: Vec<(String, &[u32])> = Vec::new();
        let mut flush = |batch: &mut Vec<(String, &[u32])>| -> Result<()> {
            let items: Vec<(&str, &[u32])> = batch.iter().map(|(key, codes)| (key.as_str(), *codes)).collect();
            store.assign(&items)?;
            let keys: Vec<&str> = batch.iter().map(|(key, _)| key.as_str()).collect();
            // Deleted IDs are not given out again.
            store.delete(&keys)?;
            done += batch.len() as u64;
            batch.clear();
            Ok(())
        };
        for (codes, n) in places {
            batch.push((format!("semantic-id {codes:?} {n}"), codes));
            if batch.len() == BATCH {
                flush(&mut batch)?;
            }
        }
        if !batch.is_empty() {
            flush(&mut batch)?;
        }
        Ok(done)
    }
}

/// The numbers in an engine's key, whatever stands between them: `12-5-33`, `<a_12><b_5><c_33>`.
#[cfg(any(feature = "sqlite", test))]
fn codes_in(key: &str) -> Option<Vec<u32>> {
    let numbers = key.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let codes: Vec<u32> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    (!codes.is_empty()).then_some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_from_either_spelling() {
        assert_eq!(codes_in("12-5-33"), Some(vec![12, 5, 33]));
        assert_eq!(codes_in("<a_12><b_5><c_33>"), Some(vec![12, 5, 33]));
        assert_eq!(codes_in("none"), None);
        assert_eq!(codes_in("99999999999"), None);
    }

    #[test]
    fn what_is_no_id_is_counted() {
        let mut counters =
            Counters { rows: vec![(vec![1, 2], 3), (vec![1, 9], 1), (vec![1], 1)], odd: vec!["none".into()] };
        let note = counters.fit(&[4, 4]).expect("three are left out");
        assert!(note.text.starts_with("3 counters") && note.text.contains("`none`"), "{note}");
        assert_eq!((counters.len(), counters.total()), (1, 3));
        assert_eq!(counters.fit(&[4, 4]), None);
    }
}
