//! One ID for each item: what is done about items that share their codes.
//!
//! All of it depends on the items' keys, codes and rows alone, never on their order in a file: items on the same codes are taken
//! in the order of their keys' bytes, and equal costs go to the lower code.

mod alternatives;
pub(super) mod min_cost;
mod relocate;

pub use alternatives::{Alternatives, CodecAlternatives};
pub use relocate::relocate;

use serde::Serialize;

use super::check_keys;
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// IDs after collisions were resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// `[n, levels]` in the order of the input, or `[n, levels + 1]` with counters in the last column.
    pub codes: Codes,
    /// What it took.
    pub cost: Cost,
}

/// What resolving collisions took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Items.
    pub items: usize,
    /// Different IDs before.
    pub ids_before: usize,
    /// Different IDs after.
    pub ids_after: usize,
    /// The most items on one ID before.
    pub largest_before: usize,
    /// The most items on one ID after.
    pub largest_after: usize,
    /// Items whose ID is not just their own codes.
    pub moved: usize,
    /// Of these, by the first level at which the ID differs; the counters' column counts as the last.
    pub moved_by_level: Vec<usize>,
    /// Mean squared L2 before, between a row as it enters the first level (preprocessed and encoded) and the sum of its codewords; only
    /// [`relocate`] measures it.
    pub squared_l2_before: Option<f64>,
    /// The same after.
    pub squared_l2_after: Option<f64>,
    /// What was added to it by the items that moved, by the first level at which their ID differs; the sum is `after − before`.
    pub added_squared_l2_by_level: Option<Vec<f64>>,
}

impl Cost {
    /// By which share the squared error grew, where it was measured.
    #[must_use]
    pub fn added_share(&self) -> Option<f64> {
        let (before, after) = (self.squared_l2_before?, self.squared_l2_after?);
        Some(if before > 0.0 { after / before - 1.0 } else { 0.0 })
    }

    /// Counts IDs and moves; `after` has `before`'s rows, and perhaps a column more.
    fn count(before: &Codes, after: &Codes) -> Self {
        let (ids_before, largest_before) = census(before);
        let (ids_after, largest_after) = census(after);
        let mut moved_by_level = vec![0; after.levels()];
        for (old, new) in before.iter().zip(after.iter()) {
            let level = old.iter().chain(&[0]).zip(new).position(|(a, b)| a != b);
            if let Some(level) = level {
                moved_by_level[level] += 1;
            }
        }
        let moved = moved_by_level.iter().sum();
        let items = before.rows();
        let (squared_l2_before, squared_l2_after, added_squared_l2_by_level) = (None, None, None);
        Self {
            items,
            ids_before,
            ids_after,
            largest_before,
            largest_after,
            moved,
            moved_by_level,
            squared_l2_before,
            squared_l2_after,
            added_squared_l2_by_level,
        }
    }
}

/// Different rows, and how many times the most frequent one is there.
fn census(codes: &Codes) -> (usize, usize) {
    let mut rows: Vec<&[u32]> = codes.iter().collect();
    rows.sort_unstable();
    rows.chunk_by(|a, b| a == b).fold((0, 0), |(ids, most), group| (ids + 1, most.max(group.len())))
}

/// Row numbers in the order of the codes, those of equal codes in the order of their keys.
fn by_codes_and_key<K: AsRef<str>>(keys: &[K], codes: &Codes) -> Vec<usize> {
    let mut order: Vec<usize> = (0..codes.rows()).collect();
    order.sort_unstable_by(|a, b| {
        codes.row(*a).cmp(codes.row(*b)).then_with(|| keys[*a].as_ref().as_bytes().cmp(keys[*b].as_ref().as_bytes()))
    });
    order
}

fn check<K: AsRef<str>>(keys: &[K], codes: &Codes) -> Result<()> {
    check_shape("keys", codes.rows(), keys.len(), "keys of the items")?;
    check_keys(keys)
}

/// Codes `[n, levels + 1]`: the last column numbers the items on the same codes from 0 on, in the order of their keys.
///
/// Write them with [`TextFormat::with_counter`](super::TextFormat::with_counter) for suffixes (`12-5-33`, `12-5-33-1`), or as a level
/// like any other for IDs of one length, as GRID and TIGER have them. O(n log n).
///
/// ```
/// use sememe::{Codes, ids::resolve};
/// let codes = Codes::from_vec(3, 2, vec![12, 5, 12, 5, 7, 0])?;
/// let resolved = resolve::number(&["pico", "nano", "mg"], &codes)?;
/// assert_eq!(resolved.codes.as_slice(), [12, 5, 1, 12, 5, 0, 7, 0, 0]);
/// assert_eq!((resolved.cost.ids_before, resolved.cost.ids_after, resolved.cost.moved), (2, 3, 1));
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if there is not a key a row, [`Error::Data`] for empty and repeated keys.
pub fn number<K: AsRef<str>>(keys: &[K], codes: &Codes) -> Result<Resolved> {
    check(keys, codes)?;
    let levels = codes.levels();
    let mut out = Codes::zeros(codes.rows(), levels + 1);
    let order = by_codes_and_key(keys, codes);
    for group in order.chunk_by(|a, b| codes.row(*a) == codes.row(*b)) {
        for (counter, row) in (0u32..).zip(group) {
            let id = out.row_mut(*row);
            id[..levels].copy_from_slice(codes.row(*row));
            id[levels] = counter;
        }
    }
    let cost = Cost::count(codes, &out);
    Ok(Resolved { codes: out, cost })
}

/// The codes as they are, if no two items share them. O(n log n).
///
/// # Errors
/// [`Error::Data`] for a collision, with the first by code and how many items collide; as for [`number`].
pub fn refuse<K: AsRef<str>>(keys: &[K], codes: &Codes) -> Result<Resolved> {
    check(keys, codes)?;
    let order = by_codes_and_key(keys, codes);
    let mut shared = order.chunk_by(|a, b| codes.row(*a) == codes.row(*b)).filter(|group| group.len() > 1);
    if let Some(first) = shared.next() {
        let count: usize = first.len() + shared.map(<[usize]>::len).sum::<usize>();
        let id: Vec<String> = codes.row(first[0]).iter().map(u32::to_string).collect();
        return Err(Error::Data(format!(
            "{count} of {} items share their codes with others, first `{}` and `{}` on {}; number or relocate them, or train \
             with more levels or codewords",
            codes.rows(),
            keys[first[0]].as_ref(),
            keys[first[1]].as_ref(),
            id.join("-")
        )));
    }
    Ok(Resolved { codes: codes.clone(), cost: Cost::count(codes, codes) })
}
