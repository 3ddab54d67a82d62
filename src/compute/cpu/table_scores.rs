//! Twin of `shaders/table_scores.wgsl`: scores of items, added up from tables by their codes.
//!
//! Sixteen rows' tables are turned, so that one look-up finds the values of all sixteen side by side.

use super::isa::multiversion;
use rayon::prelude::*;

/// Rows whose tables lie side by side.
const LANES: usize = 16;
/// Items a task.
const BLOCK: usize = 4096;
/// Rows from which turning pays.
const FEW: usize = 4;

multiversion! {
    /// `out[j] = Σ_m lines[places[j, m]]`, in the order of the levels.
    fn add_up(levels: usize, places: &[u32], lines: &[[f32; LANES]], out: &mut [[f32; LANES]]) {
        for (out, places) in out.iter_mut().zip(places.chunks_exact(levels)) {
            let mut sums = [0.0f32; LANES];
            for place in places {
                let line = &lines[*place as usize];
                for l in 0..LANES {
                    sums[l] += line[l];
                }
            }
            *out = sums;
        }
    }
}

/// The same for one row, from the codes themselves.
fn add_up_one(first: &[u32], codes: &[u32], table: &[f32], out: &mut [f32]) {
    let place = |(code, first): (&u32, &u32)| (*code as usize).saturating_add(*first as usize);
    for (out, codes) in out.iter_mut().zip(codes.chunks_exact(first.len())) {
        *out = codes.iter().zip(first).map(place).filter_map(|at| table.get(at)).sum();
    }
}

/// `out[i, j] = Σ_m tables[i, first[m] + codes[j, m]]` for `tables [n, width]`.
pub fn table_scores(
    (items, levels): (usize, usize),
    width: usize,
    first: &[u32],
    codes: &[u32],
    tables: &[f32],
    out: &mut [f32],
) {
    if levels == 0 || width == 0 {
        out.fill(0.0);
        return;
    }
    let mut places = Vec::new();
    if out.len() / items >= FEW {
        // What leads past a row finds a 0 behind it.
        let past = u32::try_from(width).unwrap_or(u32::MAX);
        places.resize(codes.len(), past);
        let items = places.par_chunks_mut(BLOCK * levels).zip(codes.par_chunks(BLOCK * levels));
        items.for_each(|(places, codes)| {
            for (places, codes) in places.chunks_exact_mut(levels).zip(codes.chunks_exact(levels)) {
                for ((place, code), first) in places.iter_mut().zip(codes).zip(first) {
                    *place = code.saturating_add(*first).min(past);
                }
            }
        });
    }
    out.par_chunks_mut(LANES * items).zip(tables.par_chunks(LANES * width)).for_each(|(out, tables)| {
        if out.len() / items < FEW {
            for (out, table) in out.chunks_exact_mut(items).zip(tables.chunks_exact(width)) {
                let blocks = out.par_chunks_mut(BLOCK).zip(codes.par_chunks(BLOCK * levels));
                blocks.for_each(|(out, codes)| add_up_one(first, codes, table, out));
            }
            return;
        }
        let mut lines = vec![[0.0f32; LANES]; width + 1];
        for (l, table) in tables.chunks_exact(width).enumerate() {
            lines.iter_mut().zip(table).for_each(|(line, v)| line[l] = *v);
        }
        let mut sums = [[0.0f32; LANES]; LANES];
        for (at, places) in places.chunks(LANES * levels).enumerate() {
            let count = places.len() / levels;
            add_up(levels, places, &lines, &mut sums[..count]);
            for (l, row) in out.chunks_exact_mut(items).enumerate() {
                let row = &mut row[at * LANES..][..count];
                row.iter_mut().zip(&sums).for_each(|(o, sums)| *o = sums[l]);
            }
        }
    });
}
