//! Do IDs agree with what users did? Recall of behavioural neighbours, from any source of interactions.
//!
//! AniMind's `recall_report.json`, with its options; the measure is [`measure_co_interaction`], with ties in expectation and the figure of IDs without meaning beside it.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{CoInteractionMeasures, CoInteractionOptions, measure_co_interaction};
use crate::data::{Codes, Sequences};
use crate::error::{Error, Result, check_shape};
use crate::progress::{Event, Observer, check};

/// Takes a row's number and its values, which it may change.
pub type OnRow<'a> = &'a mut dyn FnMut(u64, &mut [String]) -> Result<()>;

/// Reads interactions: calls an [`OnRow`] with every row, its values in the order of the fields that are named.
pub type ReadRows<'a> = &'a mut dyn FnMut(&[&str], OnRow<'_>) -> Result<()>;

/// Which interactions count, and how they are compared with IDs.
///
/// ```
/// use sememe::{Codes, eval::recall::{RecallOptions, measure_recall}};
/// let watched = [["1", "a", "9"], ["1", "b", "8"], ["2", "a", "7"], ["2", "b", "10"], ["2", "c", "2"]];
/// let recall = RecallOptions {
///     source: "watched.csv".into(),
///     score: Some("score".into()),
///     positive_score: Some(7.0),
///     k: 1,
///     ..RecallOptions::default()
/// };
/// let keys = ["a", "b", "c"].map(str::to_owned);
/// let codes = Codes::from_vec(3, 2, vec![4, 1, 4, 2, 5, 1])?;
/// let report = measure_recall(&recall, &keys, &codes, &mut |fields, row| {
///     assert_eq!(fields, ["user", "item", "score"]);
///     (1..).zip(watched).try_for_each(|(number, values)| row(number, &mut values.map(str::to_owned)))
/// }, &())?;
/// assert_eq!((report.read.interactions, report.measures.recall), (4, 1.0));
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecallOptions {
    /// What holds the interactions, one a row: a database or a file, as far as whoever reads it can.
    pub source: PathBuf,
    /// The table or view of an SQLite database; without it and `query` its only one.
    pub table: Option<String>,
    /// A `SELECT` in place of a table.
    pub query: Option<String>,
    /// The field that names the user.
    pub user: String,
    /// The field with the item's key.
    pub item: String,
    /// The field with the user's score.
    pub score: Option<String>,
    /// The least score that counts; a row without one does not.
    pub positive_score: Option<f64>,
    /// The field with the status of an interaction.
    pub status: Option<String>,
    /// Its values that count, such as `completed`.
    pub completed: Vec<String>,
    /// Users that an item must have.
    pub min_item_users: usize,
    /// Users that two items must have in common to be neighbours.
    pub min_support: usize,
    /// Neighbours an item.
    pub k: usize,
    /// Items measured at most, drawn by the seed among those that have a neighbour; without it all.
    pub max_queries: Option<usize>,
    /// Interactions held at most: those of users drawn by the seed, each with all of them; without it all.
    pub max_rows: Option<usize>,
    /// Draws items and users.
    pub seed: u64,
}

impl Default for RecallOptions {
    fn default() -> Self {
        Self {
            source: PathBuf::new(),
            table: None,
            query: None,
            user: "user".into(),
            item: "item".into(),
            score: None,
            positive_score: None,
            status: None,
            completed: Vec::new(),
            min_item_users: 1,
            min_support: 2,
            k: 20,
            max_queries: None,
            max_rows: None,
            seed: 0,
        }
    }
}

impl RecallOptions {
    /// Checks what can be known before a row is read.
    ///
    /// # Errors
    /// [`Error::Config`] for no source, an empty name, a count of 0, a score that is no number, a table and a query at once, and a
    /// threshold or values without the field that they are of, or the other way round.
    pub fn validate(&self) -> Result<()> {
        if self.source.as_os_str().is_empty() {
            return Err(Error::config("source", "expected a file of interactions, got nothing"));
        }
        let names = [
            ("user", Some(&self.user)),
            ("item", Some(&self.item)),
            ("table", self.table.as_ref()),
            ("query", self.query.as_ref()),
            ("score", self.score.as_ref()),
            ("status", self.status.as_ref()),
        ];
        for (name, value) in names {
            if value.is_some_and(|value| value.trim().is_empty()) {
                return Err(Error::config(name, "expected the name of a field, a table or a SELECT, got nothing"));
            }
        }
        if self.table.is_some() && self.query.is_some() {
            return Err(Error::config("query", "takes the place of `table`; give one of them"));
        }
        let counts = [
            ("min_item_users", Some(self.min_item_users)),
            ("min_support", Some(self.min_support)),
            ("k", Some(self.k)),
            ("max_queries", self.max_queries),
            ("max_rows", self.max_rows),
        ];
        for (name, value) in counts {
            if value == Some(0) {
                return Err(Error::config(name, "expected at least 1, got 0"));
            }
        }
        if let Some(score) = self.positive_score.filter(|score| !score.is_finite()) {
            return Err(Error::config("positive_score", format!("expected a number, got {score}")));
        }
        if self.score.is_some() != self.positive_score.is_some() {
            let problem = "and `positive_score` go together: the field, and the least value that counts";
            return Err(Error::config("score", problem));
        }
        if self.status.is_some() == self.completed.is_empty() {
            return Err(Error::config("status", "and `completed` go together: the field, and its values that count"));
        }
        Ok(())
    }
}

/// What was measured, and over what: `recall_report.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecallReport {
    /// How many rows were used, and why the others were not.
    pub read: RowsRead,
    /// Items with an ID.
    pub items: usize,
    /// Recall and NDCG, and what IDs without meaning would have.
    pub measures: CoInteractionMeasures,
    /// Recall over that of IDs without meaning.
    pub lift: f64,
    /// The settings, without the path.
    pub settings: serde_json::Value,
}

/// Rows of interactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowsRead {
    /// Rows of the source.
    pub rows: usize,
    /// Rows that count.
    pub interactions: usize,
    /// Users of rows that count.
    pub users: usize,
    /// Rows without a user or an item.
    pub without_key: usize,
    /// Rows whose item has no ID.
    pub unknown_items: usize,
    /// Rows of another status than [`RecallOptions::completed`].
    pub not_completed: usize,
    /// Rows whose score is below [`RecallOptions::positive_score`], or missing.
    pub below_score: usize,
    /// Rows left out by [`RecallOptions::max_rows`].
    pub over_max_rows: usize,
}

/// Compares each item's nearest IDs with the items that the same users took. `keys[i]` has the codes `codes[i]`.
///
/// Interactions are held in memory, at most [`RecallOptions::max_rows`]. Deterministic, and independent of the order of the rows.
///
/// # Errors
/// [`Error::Config`] as [`RecallOptions::validate`] says; [`Error::Shape`] if there is not a key a row of codes; whatever `rows` fails
/// with; [`Error::Format`] for a score that is no number; [`Error::Data`] for keys that are empty or there twice, if no row counts (with the reasons), or no two items have enough users in common;
/// [`Error::Interrupted`] if the observer asks.
pub fn measure_recall(
    recall: &RecallOptions,
    keys: &[String],
    codes: &Codes,
    rows: ReadRows<'_>,
    observer: &dyn Observer,
) -> Result<RecallReport> {
    recall.validate()?;
    check_shape("keys", codes.rows(), keys.len(), "keys of the items")?;
    crate::ids::check_keys(keys)?;
    let row_of: HashMap<&str, u32> = keys.iter().map(String::as_str).zip(0..).collect();
    let (kept, mut read) = read(recall, &row_of, rows, observer)?;
    let sequences = Sequences::from_lists(kept.lists())?;
    (read.interactions, read.users) = (sequences.events(), sequences.users());
    let options = CoInteractionOptions {
        k: recall.k,
        min_support: recall.min_support,
        min_item_users: recall.min_item_users,
        queries: recall.max_queries,
        seed: recall.seed,
    };
    let measures = measure_co_interaction(codes, &sequences, &options)?;
    let chance = measures.recall_by_chance;
    let lift = if chance > 0.0 { measures.recall / chance } else { 0.0 };
    Ok(RecallReport { read, items: keys.len(), measures, lift, settings: settings(recall) })
}

fn settings(recall: &RecallOptions) -> serde_json::Value {
    let mut value = serde_json::to_value(recall).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.remove("source");
    }
    value
}

fn read(
    recall: &RecallOptions,
    row_of: &HashMap<&str, u32>,
    rows: ReadRows<'_>,
    observer: &dyn Observer,
) -> Result<(UserSample, RowsRead)> {
    let mut wanted = vec![recall.user.as_str(), recall.item.as_str()];
    let places = [&recall.score, &recall.status].map(|name| {
        wanted.extend(name.as_deref());
        name.is_some().then(|| wanted.len() - 1)
    });
    let [score, status] = places;
    let mut read = RowsRead::default();
    let mut kept = UserSample::new(recall.max_rows.unwrap_or(usize::MAX), recall.seed);
    // What statuses there are, for when none of them counts.
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    observer.event(Event::Phase { name: "recall", total: None, unit: "rows" });
    rows(&wanted, &mut |row, values| {
        read.rows += 1;
        if read.rows.is_multiple_of(4096) {
            check(observer)?;
            observer.event(Event::Advance { done: read.rows as u64 });
        }
        if values[0].trim().is_empty() || values[1].trim().is_empty() {
            read.without_key += 1;
            return Ok(());
        }
        let Some(item) = row_of.get(values[1].as_str()) else {
            read.unknown_items += 1;
            return Ok(());
        };
        if let Some(at) = status
            && !recall.completed.iter().any(|value| *value == values[at])
        {
            read.not_completed += 1;
            if statuses.len() < 20 {
                *statuses.entry(values[at].clone()).or_default() += 1;
            }
            return Ok(());
        }
        if let (Some(at), Some(least)) = (score, recall.positive_score) {
            let text = values[at].trim();
            let bad = || Error::format(&recall.source, format!("row {row}: score `{text}` is no number"));
            let value = if text.is_empty() { f64::NAN } else { text.parse::<f64>().map_err(|_| bad())? };
            // A missing one is not at least anything.
            if value < least || value.is_nan() {
                read.below_score += 1;
                return Ok(());
            }
        }
        kept.add(&values[0], *item);
        Ok(())
    })?;
    read.over_max_rows = kept.left_out;
    if kept.rows == 0 {
        let there: Vec<&str> = statuses.keys().map(String::as_str).collect();
        let there = if there.is_empty() { String::new() } else { format!(" (there are `{}`)", there.join("`, `")) };
        return Err(Error::Data(format!(
            "none of {} rows of `{}` counts: {} without a user or an item, {} of items without an ID, {} of another status{there}, \
             {} below the score, {} over `max_rows`",
            read.rows,
            recall.source.display(),
            read.without_key,
            read.unknown_items,
            read.not_completed,
            read.below_score,
            read.over_max_rows
        )));
    }
    Ok((kept, read))
}

/// The interactions of the users with the smallest hashes, as many users as fit whole: which they are depends on all rows and the seed,
/// not on the order of the rows.
struct UserSample {
    most: usize,
    seed: u64,
    rows: usize,
    left_out: usize,
    users: HashMap<String, (u64, Vec<u32>)>,
    /// By hash, the largest first.
    by_hash: BinaryHeap<(u64, String)>,
    /// Users from this hash and name on do not fit.
    bound: Option<(u64, String)>,
}

impl UserSample {
    fn new(most: usize, seed: u64) -> Self {
        Self { most, seed, rows: 0, left_out: 0, users: HashMap::new(), by_hash: BinaryHeap::new(), bound: None }
    }

    fn add(&mut self, user: &str, item: u32) {
        if let Some((_, items)) = self.users.get_mut(user) {
            items.push(item);
        } else {
            let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(user).finalize();
            let hash = digest[..8].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
            if self.bound.as_ref().is_some_and(|(at, name)| (*at, name.as_str()) <= (hash, user)) {
                self.left_out += 1;
                return;
            }
            self.users.insert(user.to_owned(), (hash, vec![item]));
            if self.most < usize::MAX {
                self.by_hash.push((hash, user.to_owned()));
            }
        }
        self.rows += 1;
        while self.rows > self.most
            && let Some((hash, name)) = self.by_hash.pop()
        {
            let gone = self.users.remove(&name).map_or(0, |(_, items)| items.len());
            self.rows -= gone;
            self.left_out += gone;
            self.bound = Some((hash, name));
        }
    }

    /// A list a user, by the users' names.
    fn lists(self) -> Vec<Vec<u32>> {
        let mut users: Vec<(String, Vec<u32>)> =
            self.users.into_iter().map(|(name, (_, items))| (name, items)).collect();
        users.sort_unstable();
        users.into_iter().map(|(_, items)| items).collect()
    }
}
