//! What `sememe eval` reads beside codes: labels, keys and events, each matched to the rows that are judged.

use crate::interactions::{EventItems, read_interactions};
use crate::progress::Progress;
use crate::verbs::eval::plan::{LabelsPlan, Plan};
use anyhow::Result;
use sememe::eval::Labels;
use sememe::io::{read_keys, read_labels};
use sememe::{Error, Sequences};
use std::collections::HashMap;
use std::path::Path;

/// The rows that are judged: their numbers in the file, as some may have been dropped.
pub struct Numbers(pub Vec<u64>);

impl Numbers {
    fn plain(&self) -> bool {
        self.0.iter().enumerate().all(|(at, number)| at as u64 == *number)
    }

    /// Of a list with an entry a row of the file, the entries of the rows that are judged.
    pub fn pick(&self, texts: Vec<String>, path: &Path) -> Result<Vec<String>> {
        let most = self.0.iter().max().map_or(0, |most| *most as usize + 1);
        let wrong = if self.plain() { texts.len() != self.0.len() } else { texts.len() < most };
        if wrong {
            let place = path.display().to_string();
            return Err(Error::Shape { what: "items", expected: most, got: texts.len(), place }.into());
        }
        if self.plain() {
            return Ok(texts);
        }
        Ok(self.0.iter().map(|number| texts[*number as usize].clone()).collect())
    }
}

/// Keys, labels and events of the rows that are judged.
pub struct Beside {
    /// Empty where none were given.
    pub keys: Vec<String>,
    pub labels: Vec<Labels>,
    pub sequences: Option<Sequences>,
    pub unknown_events: u64,
}

/// Reads all of it; `own` are the keys that a table of codes has.
pub fn read(plan: &Plan, numbers: &Numbers, own: Option<Vec<String>>, progress: &Progress) -> Result<Beside> {
    let keys = match &plan.keys {
        Some((path, field)) => {
            let keys = numbers.pick(read_keys(path, field)?, path)?;
            sememe::ids::check_keys(&keys)?;
            Some(keys)
        }
        None => own,
    };
    let labels = match &plan.labels {
        Some(wanted) => labels(wanted, numbers, keys.as_deref())?,
        None => Vec::new(),
    };
    let (mut sequences, mut unknown_events) = (None, 0);
    if let Some(wanted) = &plan.events {
        let numbered = (!numbers.plain()).then_some(&numbers.0[..]);
        let items = EventItems { count: numbers.0.len(), numbers: numbered, keys: keys.as_deref() };
        let (read, unknown) = read_interactions(wanted, &items, progress)?;
        (sequences, unknown_events) = (Some(read), unknown);
    }
    Ok(Beside { keys: keys.unwrap_or_default(), labels, sequences, unknown_events })
}

fn labels(wanted: &LabelsPlan, numbers: &Numbers, keys: Option<&[String]>) -> Result<Vec<Labels>> {
    let mut out = Vec::new();
    let by = match (&wanted.key, keys) {
        (Some(field), Some(keys)) => Some((read_keys(&wanted.path, field)?, keys)),
        _ => None,
    };
    for field in &wanted.fields {
        let texts = read_labels(&wanted.path, field)?;
        let texts = match &by {
            None => numbers.pick(texts, &wanted.path)?,
            Some((theirs, ours)) => {
                let of: HashMap<&str, &String> = theirs.iter().map(String::as_str).zip(&texts).collect();
                if of.len() < theirs.len() {
                    let problem = format!("{} of {} items repeat a key", theirs.len() - of.len(), theirs.len());
                    return Err(Error::format(&wanted.path, problem).into());
                }
                ours.iter().map(|key| of.get(key.as_str()).map_or(String::new(), |label| (*label).clone())).collect()
            }
        };
        let column = Labels::new(field, &texts);
        if column.labelled() == 0 {
            let problem = format!("none of the {} items judged has a label in `{field}`", texts.len());
            return Err(Error::format(&wanted.path, problem).into());
        }
        out.push(column);
    }
    Ok(out)
}
