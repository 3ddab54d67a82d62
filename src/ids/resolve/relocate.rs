//! Other codes for items that share theirs, at the least added squared L2.

use std::collections::HashMap;

use rayon::prelude::*;

use super::min_cost::assign;
use super::{Alternatives, Cost, Resolved, by_codes_and_key, check};
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// How many codes of a level are followed down when an item leaves its prefix.
const FANOUT: usize = 8;

/// The most entries of one prefix's table of prices, 8 bytes each.
const MAX_PRICES: usize = 1 << 28;

/// Codes `[n, levels]` of which at most `capacity` items share any, by giving some items other codes.
///
/// Prefix by prefix (all levels but the last), items that are too many on a code are moved to other codes of the last level so that
/// the sum of their [costs](Alternatives::costs) is the least there is, over all ways to place all items of that prefix. Where a prefix holds
/// more items than it has places, the same optimum decides which of them leave; they go, cheapest first, to the best free place
/// of another prefix one level up, and only where that is full further up. Items of prefixes without a collision stay.
///
/// With m items on a prefix and k codewords a prefix takes O(m · k · p + m² · k) at worst and m · k prices of memory.
///
/// # Errors
/// [`Error::Config`] for a capacity of 0; [`Error::Shape`] and [`Error::Data`] for keys and codes that do not fit; [`Error::Data`] if the
/// codes are too few for all items, with the least capacity that suffices; what `prices` fails with.
pub fn relocate<K: AsRef<str> + Sync>(
    keys: &[K],
    codes: &Codes,
    capacity: usize,
    prices: &impl Alternatives,
) -> Result<Resolved> {
    check(keys, codes)?;
    let sizes = prices.codebook_sizes();
    check_shape("levels", sizes.len(), codes.levels(), "codes to resolve")?;
    if capacity == 0 {
        return Err(Error::config("capacity", "expected at least 1 item an ID, got 0"));
    }
    for (i, row) in codes.iter().enumerate() {
        if let Some(level) = row.iter().zip(&sizes).position(|(code, size)| *code as usize >= *size) {
            let (code, size) = (row[level], sizes[level]);
            return Err(Error::Data(format!(
                "code {code} of row {i}, level {level} is past the last of {size} codewords"
            )));
        }
    }
    let (n, ids) = (codes.rows(), sizes.iter().fold(1u128, |all, k| all.saturating_mul(*k as u128)));
    if n as u128 > ids.saturating_mul(capacity as u128) {
        let least = (n as u128).div_ceil(ids);
        return Err(Error::Data(format!(
            "{n} items do not fit {ids} IDs of {capacity} each; the least capacity that holds them is {least}"
        )));
    }
    let order = by_codes_and_key(keys, codes);
    let depth = sizes.len() - 1;
    let task = Task { codes, capacity, sizes: &sizes, prices };
    let groups: Vec<&[usize]> = order.chunk_by(|a, b| codes.row(*a)[..depth] == codes.row(*b)[..depth]).collect();
    let placed: Vec<Option<Vec<Placed>>> = groups.par_iter().map(|group| task.within(group)).collect::<Result<_>>()?;
    let mut out = codes.clone();
    let mut leaving = Vec::new();
    for (group, placed) in groups.iter().zip(&placed) {
        for (row, place) in group.iter().zip(placed.iter().flatten()) {
            match place {
                Placed::Code(code) => out.row_mut(*row)[depth] = *code,
                Placed::Leaves(price) => leaving.push((*price, *row)),
            }
        }
    }
    task.outside(leaving, &mut out)?;
    let mut cost = Cost::count(codes, &out);
    // Added in the order of the codes and keys, so that the order of the file changes no bit.
    let before: Vec<f64> =
        order.par_iter().map(|row| prices.squared_l2_of(*row, codes.row(*row))).collect::<Result<_>>()?;
    // Most items stay, and an item may have to pass a network to be measured.
    let after: Vec<f64> = order
        .par_iter()
        .zip(&before)
        .map(|(row, before)| {
            let stays = codes.row(*row) == out.row(*row);
            if stays { Ok(*before) } else { prices.squared_l2_of(*row, out.row(*row)) }
        })
        .collect::<Result<_>>()?;
    let mean = |of: &[f64]| of.iter().sum::<f64>() / n.max(1) as f64;
    let mut added = vec![0.0; sizes.len()];
    for (row, (before, after)) in order.iter().zip(before.iter().zip(&after)) {
        if let Some(level) = codes.row(*row).iter().zip(out.row(*row)).position(|(a, b)| a != b) {
            added[level] += (after - before) / n as f64;
        }
    }
    cost.squared_l2_before = Some(mean(&before));
    cost.squared_l2_after = Some(mean(&after));
    cost.added_squared_l2_by_level = Some(added);
    Ok(Resolved { codes: out, cost })
}

/// Where an item of a crowded prefix goes.
#[derive(Clone, Copy)]
enum Placed {
    Code(u32),
    /// Out of the prefix, at about this price.
    Leaves(f64),
}

struct Task<'a, P> {
    codes: &'a Codes,
    capacity: usize,
    sizes: &'a [usize],
    prices: &'a P,
}

impl<P: Alternatives> Task<'_, P> {
    /// The best places for the items of one prefix; `None` where nobody has to move.
    fn within(&self, group: &[usize]) -> Result<Option<Vec<Placed>>> {
        let (depth, capacity) = (self.sizes.len() - 1, self.capacity);
        let crowded = group.chunk_by(|a, b| self.codes.row(*a) == self.codes.row(*b)).any(|same| same.len() > capacity);
        if !crowded {
            return Ok(None);
        }
        let k = self.sizes[depth];
        let places = k.saturating_mul(capacity);
        let over = group.len().saturating_sub(places);
        let columns = k + usize::from(over > 0);
        let prefix = &self.codes.row(group[0])[..depth];
        if group.len().saturating_mul(columns) > MAX_PRICES {
            return Err(Error::Data(format!(
                "{} items share the prefix {prefix:?}, too many to relocate among {k} codewords; train with more levels or \
                 codewords, or number the items",
                group.len()
            )));
        }
        let mut table = Vec::with_capacity(group.len() * columns);
        let mut out = Vec::new();
        for item in group {
            self.prices.costs(*item, prefix, &mut out)?;
            check_shape("costs", k, out.len(), "costs of an item's alternatives")?;
            if let Some(bad) = out.iter().find(|v| !v.is_finite()) {
                return Err(Error::Data(format!("a cost of item {item} is {bad}, expected a finite number")));
            }
            table.extend_from_slice(&out);
            if over > 0 {
                table.push(self.way_out(*item, prefix)?);
            }
        }
        let mut room = vec![capacity; k];
        if over > 0 {
            room.push(over);
        }
        let chosen = assign(&table, &room);
        let place = |(i, column): (usize, usize)| {
            if column < k { Placed::Code(column as u32) } else { Placed::Leaves(table[i * columns + k]) }
        };
        Ok(Some(chosen.into_iter().enumerate().map(place).collect()))
    }

    /// About what it costs an item to leave its prefix: the best of the nearest other prefixes, as if all places were free.
    fn way_out(&self, item: usize, prefix: &[u32]) -> Result<f64> {
        for level in (0..prefix.len()).rev().filter(|l| self.sizes[*l] > 1) {
            let free = |path: &[u32]| path.len() != level + 1 || path[level] != prefix[level];
            if let Some((price, _)) = self.best_below(item, &prefix[..level], &free)? {
                return Ok(price);
            }
        }
        Err(Error::Data(format!("item {item} has no other prefix to go to")))
    }

    /// The best full path under a prefix: its [`FANOUT`] nearest codes with `free` places are each followed down, by the nearest
    /// free code of every further level.
    fn best_below(
        &self,
        item: usize,
        prefix: &[u32],
        free: &dyn Fn(&[u32]) -> bool,
    ) -> Result<Option<(f64, Vec<u32>)>> {
        let mut best: Option<(f64, Vec<u32>)> = None;
        for (price, code) in self.nearest(item, prefix, free, FANOUT)? {
            let mut path = [prefix, &[code]].concat();
            let mut price = Some(price);
            while price.is_some() && path.len() < self.sizes.len() {
                let next = self.nearest(item, &path, free, 1)?.pop();
                path.extend(next.map(|(_, code)| code));
                price = next.map(|(price, _)| price);
            }
            if let Some(price) = price.filter(|p| best.as_ref().is_none_or(|(least, _)| p < least)) {
                best = Some((price, path));
            }
        }
        Ok(best)
    }

    /// The nearest codes of the next level under which there is a free place, nearest first, the lower code first on a tie.
    fn nearest(
        &self,
        item: usize,
        prefix: &[u32],
        free: &dyn Fn(&[u32]) -> bool,
        most: usize,
    ) -> Result<Vec<(f64, u32)>> {
        let mut out = Vec::new();
        self.prices.costs(item, prefix, &mut out)?;
        let mut path = [prefix, &[0]].concat();
        let mut ranked: Vec<(f64, u32)> = (0u32..).zip(&out).map(|(code, price)| (*price, code)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut nearest = Vec::new();
        for (price, code) in ranked {
            path[prefix.len()] = code;
            if nearest.len() < most && free(&path) {
                nearest.push((price, code));
            }
        }
        Ok(nearest)
    }

    /// Places those who had to leave, cheapest first, where there is room.
    fn outside(&self, mut leaving: Vec<(f64, usize)>, out: &mut Codes) -> Result<()> {
        if leaving.is_empty() {
            return Ok(());
        }
        // Stable: equal prices stay in the order of codes and keys.
        leaving.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut homeless = vec![false; out.rows()];
        leaving.iter().for_each(|(_, row)| homeless[*row] = true);
        // Items under every prefix, full IDs included.
        let mut held: HashMap<Vec<u32>, usize> = HashMap::new();
        for (_, id) in out.iter().enumerate().filter(|(i, _)| !homeless[*i]) {
            for at in 1..=id.len() {
                *held.entry(id[..at].to_vec()).or_default() += 1;
            }
        }
        let places = |depth: usize| {
            self.sizes[depth..].iter().fold(self.capacity as u128, |all, k| all.saturating_mul(*k as u128))
        };
        for (_, item) in leaving {
            let own = self.codes.row(item).to_vec();
            let mut found = None;
            for level in (0..own.len()).rev() {
                let free = |path: &[u32]| (held.get(path).copied().unwrap_or(0) as u128) < places(path.len());
                found = self.best_below(item, &own[..level], &free)?;
                if found.is_some() {
                    break;
                }
            }
            let Some((_, path)) = found else {
                return Err(Error::Data(format!("no free ID is left for item {item}; raise the capacity")));
            };
            for at in 1..=path.len() {
                *held.entry(path[..at].to_vec()).or_default() += 1;
            }
            out.row_mut(item).copy_from_slice(&path);
        }
        Ok(())
    }
}
