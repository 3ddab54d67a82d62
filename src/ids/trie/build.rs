//! Building a trie: pack every ID with its item into one integer, sort, and walk the sorted list once a level.

use rayon::prelude::*;

use super::Trie;
use super::file::{HEADER_BYTES, TrieHeader};
use crate::error::{Error, Result};

/// IDs in order, however they are held.
enum Sorted {
    /// Every column's token and the item's number in one integer.
    Narrow(Vec<u64>),
    Wide(Vec<u128>),
    /// IDs too long for that: rows of columns, and the order of the items.
    Long {
        flat: Vec<u32>,
        order: Vec<u32>,
    },
}

/// Where a column lies in a packed ID: 0 is nothing (the ID ended before), else the token less `low`, plus 1.
struct Column {
    low: u32,
    shift: u32,
    bits: u32,
}

struct PackedCodes {
    sorted: Sorted,
    columns: Vec<Column>,
    item_bits: u32,
}

impl PackedCodes {
    /// The column's value, 0 for nothing.
    fn value(&self, i: usize, column: usize) -> u64 {
        let Column { shift, bits, .. } = self.columns[column];
        let mask = u64::MAX.checked_shl(bits).map_or(u64::MAX, |high| !high);
        match &self.sorted {
            Sorted::Narrow(all) => all[i].checked_shr(shift).unwrap_or(0) & mask,
            Sorted::Wide(all) => (all[i].checked_shr(shift).unwrap_or(0) as u64) & mask,
            Sorted::Long { flat, order } => u64::from(flat[order[i] as usize * self.columns.len() + column]),
        }
    }

    fn item(&self, i: usize) -> u32 {
        let mask = u64::MAX.checked_shl(self.item_bits).map_or(u64::MAX, |high| !high);
        match &self.sorted {
            Sorted::Narrow(all) => (all[i] & mask) as u32,
            Sorted::Wide(all) => (all[i] as u64 & mask) as u32,
            Sorted::Long { order, .. } => order[i],
        }
    }

    /// Columns from the left in which an ID agrees with the one before it.
    fn shared(&self, i: usize) -> usize {
        if i == 0 {
            return 0;
        }
        (0..self.columns.len()).take_while(|c| self.value(i, *c) == self.value(i - 1, *c)).count()
    }
}

/// Bits that hold `0..=most`.
fn bits(most: u64) -> u32 {
    64 - most.leading_zeros()
}

fn pack<'a>(ids: impl ExactSizeIterator<Item = &'a [u32]> + Clone, end: u32) -> Result<PackedCodes> {
    let n = ids.len();
    if n == 0 || u32::try_from(n).is_err() {
        return Err(Error::Data(format!("a trie holds 1 to 2^32 - 1 items, got {n}")));
    }
    let width = ids.clone().map(<[u32]>::len).max().unwrap_or(0);
    if width > MAX_DEPTH {
        return Err(Error::Data(format!("an ID has {width} tokens, at most {MAX_DEPTH} are held")));
    }
    let (mut low, mut high) = (vec![u32::MAX; width], vec![0u32; width]);
    for (i, id) in ids.clone().enumerate() {
        if id.is_empty() {
            return Err(Error::Data(format!("the ID of item {i} has no tokens")));
        }
        for (c, token) in id.iter().enumerate() {
            if *token == end {
                return Err(Error::Data(format!(
                    "the ID of item {i} holds the end token {end} at {c}; give another end token"
                )));
            }
            low[c] = low[c].min(*token);
            high[c] = high[c].max(*token);
        }
    }
    let item_bits = bits(n as u64 - 1);
    let mut shift = item_bits;
    let mut columns: Vec<Column> = Vec::with_capacity(width);
    for (low, high) in low.into_iter().zip(high).rev() {
        let bits = bits(u64::from(high - low) + 1);
        columns.push(Column { low, shift, bits });
        shift = shift.saturating_add(bits);
    }
    columns.reverse();
    let sorted = if shift <= 64 {
        let key = |(i, id): (usize, &[u32])| {
            let packed = id.iter().zip(&columns).map(|(t, c)| (u64::from(t - c.low) + 1) << c.shift);
            packed.fold(i as u64, |key, part| key | part)
        };
        let mut all: Vec<u64> = ids.enumerate().map(key).collect();
        all.par_sort_unstable();
        Sorted::Narrow(all)
    } else if shift <= 128 {
        let key = |(i, id): (usize, &[u32])| {
            let packed = id.iter().zip(&columns).map(|(t, c)| (u128::from(t - c.low) + 1) << c.shift);
            packed.fold(i as u128, |key, part| key | part)
        };
        let mut all: Vec<u128> = ids.enumerate().map(key).collect();
        all.par_sort_unstable();
        Sorted::Wide(all)
    } else {
        long(ids, &columns)?
    };
    Ok(PackedCodes { sorted, columns, item_bits })
}

fn long<'a>(ids: impl ExactSizeIterator<Item = &'a [u32]>, columns: &[Column]) -> Result<Sorted> {
    let (n, width) = (ids.len(), columns.len());
    let mut flat = vec![0u32; n * width];
    for (row, id) in flat.chunks_exact_mut(width).zip(ids) {
        for ((slot, token), column) in row.iter_mut().zip(id).zip(columns) {
            // Only a column that spans all of 32 bits cannot spare a value for "nothing".
            *slot = (token - column.low).checked_add(1).ok_or_else(|| {
                Error::Data(format!(
                    "tokens of one level span from {} to {token}, more than 32 bits can name",
                    column.low
                ))
            })?;
        }
    }
    let mut order: Vec<u32> = (0..n as u32).collect();
    let row = |i: &u32| &flat[*i as usize * width..(*i as usize + 1) * width];
    order.par_sort_unstable_by(|a, b| row(a).cmp(row(b)).then(a.cmp(b)));
    Ok(Sorted::Long { flat, order })
}

/// Tokens of the longest ID that a trie holds.
const MAX_DEPTH: usize = 255;

impl Trie {
    /// Builds the trie of all `ids`, item i having the i-th; IDs may differ in length, share a prefix, and name several items. `end`
    /// is the token that ends an ID, and part of none. O(n · (log n + length)), and 12 bytes a prefix, 4 an item; while it builds 9
    /// to 17 bytes an item on top, for IDs of more than about 100 bits 5 and 4 a token.
    ///
    /// # Errors
    /// [`Error::Data`] for no items or more than 2^32 − 1, an ID without tokens, with more than 255, or with the end token in it, and
    /// for more than 2^32 − 1 prefixes.
    pub fn build<'a>(ids: impl ExactSizeIterator<Item = &'a [u32]> + Clone, end: u32) -> Result<Self> {
        let n = ids.len();
        let packed = pack(ids, end)?;
        let width = packed.columns.len();
        // At most MAX_DEPTH.
        let shared: Vec<u8> = (0..n).into_par_iter().with_min_len(1 << 14).map(|i| packed.shared(i) as u8).collect();

        // A row opens the nodes of its columns past what it shares; depth by depth that counts them.
        let mut at_depth = vec![0usize; width + 1];
        at_depth[0] = 1;
        for (i, shared) in shared.iter().enumerate() {
            for (c, count) in at_depth[1..].iter_mut().enumerate().skip(usize::from(*shared)) {
                if packed.value(i, c) == 0 {
                    break;
                }
                *count += 1;
            }
        }
        let nodes: usize = at_depth.iter().sum();
        let too_many = || Error::Data(format!("the IDs have {nodes} prefixes, at most 2^32 - 2 are held"));
        let header = TrieHeader {
            end,
            depth: width as u32,
            nodes: u32::try_from(nodes).ok().filter(|n| *n < u32::MAX).ok_or_else(too_many)?,
            items: n as u32,
        };
        let len = usize::try_from(header.len_bytes()).map_err(|_| too_many())?;
        let mut image = vec![0u8; len];
        fill(&packed, &shared, &at_depth, &mut image[HEADER_BYTES..]);
        header.seal(&mut image);
        Self::from_bytes(image)
    }
}

/// Writes tokens, first children, first entries and items.
fn fill(packed: &PackedCodes, shared: &[u8], at_depth: &[usize], body: &mut [u8]) {
    let nodes: usize = at_depth.iter().sum();
    let (tokens, rest) = body.split_at_mut(4 * nodes);
    let (pairs, items) = rest.split_at_mut(8 * (nodes + 1));
    let [tokens, pairs, items] = [tokens, pairs, items].map(|part| part.as_chunks_mut::<4>().0);
    let mut next_item = 0;
    // One past the last node of the depth above, and of this one.
    let mut first = 0;
    for (depth, count) in at_depth.iter().enumerate() {
        let below = first + count;
        // The node of this depth that the walk stands at, and the next child of it.
        let (mut node, mut child) = (first, below);
        let mut opened = false;
        for (i, shared) in shared.iter().map(|s| usize::from(*s)).enumerate() {
            let here = depth == 0 || packed.value(i, depth - 1) != 0;
            if !here {
                continue;
            }
            if !opened || (depth > 0 && shared < depth) {
                node += usize::from(opened);
                opened = true;
                pairs[2 * node] = (child as u32).to_le_bytes();
                pairs[2 * node + 1] = (next_item as u32).to_le_bytes();
                if depth > 0 {
                    let column = &packed.columns[depth - 1];
                    // A value is the token less the lowest, plus 1: back in 32 bits.
                    let token = u64::from(column.low) + packed.value(i, depth - 1) - 1;
                    tokens[node] = (token as u32).to_le_bytes();
                }
            }
            match packed.columns.get(depth) {
                Some(_) if packed.value(i, depth) != 0 => child += usize::from(shared <= depth),
                _ => {
                    items[next_item] = packed.item(i).to_le_bytes();
                    next_item += 1;
                }
            }
        }
        first = below;
    }
    pairs[2 * nodes] = (nodes as u32).to_le_bytes();
    pairs[2 * nodes + 1] = (next_item as u32).to_le_bytes();
}
