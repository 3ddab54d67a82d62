//! Rows grouped by the prefixes of their IDs.

use super::codes::{lexicographic_order, shared_prefix};
use crate::data::Codes;

/// The prefixes of every depth, numbered in lexicographic order.
pub(super) struct Prefixes {
    /// Rows in the order of their IDs, so that those under one prefix are neighbours.
    pub(super) order: Vec<usize>,
    /// `[levels][rows]` number of the row's prefix among those of its depth.
    pub(super) of_row: Vec<Vec<u32>>,
    /// `[levels][prefixes + 1]` where each prefix's rows start in the order.
    pub(super) starts: Vec<Vec<usize>>,
}

impl Prefixes {
    /// O(N log N + N·levels).
    pub(super) fn new(codes: &Codes) -> Self {
        let (rows, levels) = (codes.rows(), codes.levels());
        let order = lexicographic_order(codes);
        let (mut of_row, mut starts) = (vec![vec![0u32; rows]; levels], vec![Vec::new(); levels]);
        for (at, &row) in order.iter().enumerate() {
            let shared = if at == 0 { 0 } else { shared_prefix(codes.row(order[at - 1]), codes.row(row)) };
            for level in 0..levels {
                if at == 0 || shared <= level {
                    starts[level].push(at);
                }
                of_row[level][row] = starts[level].len() as u32 - 1;
            }
        }
        starts.iter_mut().for_each(|starts| starts.push(rows));
        Self { order, of_row, starts }
    }

    /// `[prefixes]` rows under each prefix of a depth (0 for the first code).
    pub(super) fn sizes(&self, level: usize) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.starts[level].windows(2).map(|pair| pair[1] - pair[0])
    }
}
