//! Compares items with the table: which vectors are up to date, can be copied, or must be embedded.

use std::collections::HashMap;

use super::content::{ContentHash, ContentHasher};
use super::input::Texts;
use super::table::StoredVector;

/// What has to be done for every item; holds indices into the items.
#[derive(Default)]
pub(super) struct Survey {
    /// Up to date.
    pub(super) kept: Vec<usize>,
    /// Up to date by model and time of preparation, without a hash yet.
    pub(super) adopted: Vec<usize>,
    /// (item, another item's key): that one has a vector of the same content.
    pub(super) copied: Vec<(usize, String)>,
    /// Items without a vector of their content, by content.
    pub(super) missing: Vec<Vec<usize>>,
    /// Kept, but prepared at another time than the table says.
    pub(super) touched: Vec<usize>,
    /// Keys of the table that no item has, sorted.
    pub(super) gone: Vec<String>,
    /// Values of vectors that are up to date; `None` if none is.
    pub(super) dims: Option<usize>,
}

/// Holds items against what a table has. `known` may be empty; `fresh` takes nothing of it for up to date.
pub(super) fn survey(
    texts: &Texts,
    contents: &[ContentHash],
    known: &HashMap<String, StoredVector>,
    model: &str,
    fresh: bool,
) -> Survey {
    let mut out = Survey::default();
    // By content, the first of the keys, so that the outcome does not depend on the map's order.
    let mut donors: HashMap<&[u8], &str> = HashMap::new();
    let current = |i: usize| -> Option<(&StoredVector, bool)> {
        let kept = known.get(&texts.keys[i]).filter(|_| !fresh)?;
        kept.dims?;
        match &kept.content {
            Some(content) => (content.as_slice() == contents[i]).then_some((kept, false)),
            None => {
                let same_model = kept.model.as_deref() == Some(model);
                let same_time = kept.prepared_at.is_some() && kept.prepared_at == texts.prepared_at[i];
                (same_model && same_time).then_some((kept, true))
            }
        }
    };
    for (key, kept) in known.iter().filter(|_| !fresh) {
        if let (Some(content), Some(_)) = (&kept.content, kept.dims) {
            let donor = donors.entry(content).or_insert(key);
            if key.as_str() < *donor {
                *donor = key;
            }
        }
    }
    // The first item that is up to date says how wide vectors are; one of another width is asked for again.
    let mut groups: HashMap<&ContentHash, usize> = HashMap::new();
    for (i, content) in contents.iter().enumerate() {
        if let Some((kept, adopt)) = current(i)
            && *out.dims.get_or_insert(kept.dims.unwrap_or(0)) == kept.dims.unwrap_or(0)
        {
            if adopt { &mut out.adopted } else { &mut out.kept }.push(i);
            if kept.prepared_at != texts.prepared_at[i] && texts.prepared_at[i].is_some() {
                out.touched.push(i);
            }
            continue;
        }
        if let Some(donor) = donors.get(content.as_slice())
            && known.get(*donor).and_then(|kept| kept.dims).is_some_and(|dims| *out.dims.get_or_insert(dims) == dims)
        {
            out.copied.push((i, (*donor).to_owned()));
            continue;
        }
        let group = *groups.entry(content).or_insert_with(|| {
            out.missing.push(Vec::new());
            out.missing.len() - 1
        });
        out.missing[group].push(i);
    }
    let items: std::collections::HashSet<&str> = texts.keys.iter().map(String::as_str).collect();
    out.gone = known.keys().filter(|key| !items.contains(key.as_str())).cloned().collect();
    out.gone.sort_unstable();
    out
}

/// The content of every item.
pub(super) fn contents(texts: &Texts, hasher: &ContentHasher) -> Vec<ContentHash> {
    texts.texts.iter().map(|text| hasher.of(text)).collect()
}
