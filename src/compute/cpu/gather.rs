//! Twin of `shaders/gather.wgsl`: rows of a table by number, and sums of rows back into it.

use super::isa::multiversion;
use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 128;

multiversion! {
    fn add(alpha: f32, from: &[f32], to: &mut [f32]) {
        for (t, f) in to.iter_mut().zip(from) {
            *t += alpha * f;
        }
    }
}

/// `out[i] = table[rows[i]] (+ out)`; rows past the table are zeros.
pub fn gather(e: usize, table: &[f32], rows: &[u32], accumulate: bool, out: &mut [f32]) {
    out.par_chunks_mut(BLOCK * e).zip(rows.par_chunks(BLOCK)).for_each(|(out, rows)| {
        for (out, row) in out.chunks_exact_mut(e).zip(rows) {
            match (line(table, *row, e), accumulate) {
                (Some(row), true) => add(1.0, row, out),
                (Some(row), false) => out.copy_from_slice(row),
                (None, true) => {}
                (None, false) => out.fill(0.0),
            }
        }
    });
}

/// Row `i` of `[n, e]` values.
fn line(values: &[f32], i: u32, e: usize) -> Option<&[f32]> {
    let at = (i as usize).checked_mul(e)?;
    values.get(at..at.checked_add(e)?)
}

/// `out[rows[s]] += alpha·Σ_p values[order[p]]` over `p` in `bounds[s]..bounds[s + 1]`; `rows` ascend.
pub fn scatter(e: usize, alpha: f32, (order, bounds, rows): (&[u32], &[u32], &[u32]), values: &[f32], out: &mut [f32]) {
    // Segments are shared out by what they hold, so that a table of which few rows are met keeps all threads busy.
    let (mut tasks, mut rest, mut below) = (Vec::new(), out, 0);
    let mut s = 0;
    while s < rows.len() {
        let (first, start) = (s, bounds[s] as usize);
        while s < rows.len() && (s == first || (bounds[s + 1] as usize).saturating_sub(start) <= BLOCK) {
            s += 1;
        }
        let end = rows.get(s).map_or(usize::MAX, |row| *row as usize);
        let width = end.saturating_sub(below).saturating_mul(e).min(rest.len());
        let (part, after) = rest.split_at_mut(width);
        tasks.push((first..s, below, part));
        (rest, below) = (after, end.max(below));
    }
    tasks.into_par_iter().for_each(|(segments, below, out)| {
        let mut sum = vec![0.0f32; e];
        for s in segments {
            let at = (rows[s] as usize).checked_sub(below).map_or(usize::MAX, |row| row.saturating_mul(e));
            let Some(out) = out.get_mut(at..at.saturating_add(e)) else { continue };
            sum.fill(0.0);
            for i in order.get(bounds[s] as usize..bounds[s + 1] as usize).unwrap_or_default() {
                if let Some(row) = line(values, *i, e) {
                    add(1.0, row, &mut sum);
                }
            }
            add(alpha, &sum, out);
        }
    });
}
