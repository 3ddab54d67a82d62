//! Tables of IDs that are compared, over the same items.

use crate::verbs::recommend::compare::plan::Plan;
use crate::verbs::recommend::read_rows;
use crate::verbs::recommend::train::read_table;
use anyhow::Result;
use sememe::Error;
use sememe::io::read_keys;
use sememe_recommend::ItemSources;
use std::path::Path;

/// What one row of the comparison is trained on.
pub struct Entry {
    pub name: String,
    /// The start of its files' names.
    pub stem: String,
    pub sources: ItemSources,
}

/// A name that is a part of a file's name everywhere.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

/// Tables, and the items' keys if they have some.
pub struct Compared {
    pub entries: Vec<Entry>,
    pub keys: Option<Vec<String>>,
    pub items: usize,
}

impl Compared {
    pub fn read(plan: &Plan) -> Result<Self> {
        let mut keys = match &plan.keys {
            Some((path, field)) => Some((path.clone(), read_keys(path, field)?)),
            None => None,
        };
        let vectors = plan.vectors.as_ref().map(|path| read_rows(path)).transpose()?;
        let (mut entries, mut items) = (Vec::new(), None);
        for path in &plan.ids {
            let (codes, own) = read_table(path)?;
            let expected = *items.get_or_insert(codes.rows());
            same_size(path, expected, codes.rows())?;
            if let Some(own) = own {
                match &keys {
                    Some((first, keys)) => same_keys((first, keys), (path, &own))?,
                    None => keys = Some((path.clone(), own)),
                }
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let sources = ItemSources {
                items: expected,
                identities: plan.identities,
                codes: Some(codes),
                prefixes: plan.prefixes,
                vectors: vectors.clone(),
            };
            entries.push(Entry { name: path.display().to_string(), stem: plain(&stem), sources });
        }
        let items = items.unwrap_or(0);
        if let Some((path, keys)) = &keys {
            same_size(path, items, keys.len())?;
            sememe::ids::check_keys(keys)?;
        }
        if plan.sasrec {
            let alone = ItemSources { items, identities: true, ..ItemSources::default() };
            let both = vectors.map(|vectors| ItemSources { vectors: Some(vectors), ..alone.clone() });
            entries.push(Entry { name: "item identities".into(), stem: "identities".into(), sources: alone });
            entries.extend(both.map(|sources| Entry {
                name: "item identities and vectors".into(),
                stem: "identities-vectors".into(),
                sources,
            }));
        }
        Ok(Self { entries, keys: keys.map(|(_, keys)| keys), items })
    }
}

fn same_size(path: &Path, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape { what: "items", expected, got, place: path.display().to_string() }.into())
}

fn same_keys((first, keys): (&Path, &[String]), (path, own): (&Path, &[String])) -> Result<()> {
    same_size(path, keys.len(), own.len())?;
    let Some(at) = keys.iter().zip(own).position(|(a, b)| a != b) else { return Ok(()) };
    let problem = format!(
        "item {at} is `{}`, and in `{}` it is `{}`; tables are compared over the same items in the same order",
        own[at],
        first.display(),
        keys[at]
    );
    Err(Error::format(path, problem).into())
}
