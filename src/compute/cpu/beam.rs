//! Twin of `shaders/beam.wgsl`: several prefixes a row, each extended by every codeword.

use super::dots::Engine;
use super::isa::multiversion;
use super::{Codebook, Rows};
use crate::compute::BeamCodes;
use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 128;

multiversion! {
    /// `out[j] = cost + (bias[j] − dots[j] + tables[0][j] + …)` for every codeword.
    fn extend(cost: f32, bias: &[f32], dots: &[f32], out: &mut [f32]) {
        for ((o, b), x) in out.iter_mut().zip(bias).zip(dots) {
            *o = cost + (b - x);
        }
    }
}

multiversion! {
    fn add_table(table: &[f32], out: &mut [f32]) {
        for (o, g) in out.iter_mut().zip(table) {
            *o += g;
        }
    }
}

multiversion! {
    /// Smallest value of each run of 64.
    fn run_minima(values: &[f32], out: &mut Vec<f32>) {
        out.clear();
        for run in values.chunks(64) {
            let mut low = [f32::MAX; 16];
            let (parts, tail) = run.as_chunks::<16>();
            for part in parts {
                for l in 0..16 {
                    low[l] = if part[l] < low[l] { part[l] } else { low[l] };
                }
            }
            let mut least = f32::MAX;
            for v in low.iter().chain(tail) {
                least = if *v < least { *v } else { least };
            }
            out.push(least);
        }
    }
}

/// The `width + 1` smallest costs seen, ascending; equal costs in the order they came, which is lexicographic.
struct Smallest {
    kept: Vec<(f32, u32, u32)>,
    room: usize,
}

impl Smallest {
    fn limit(&self) -> f32 {
        if self.kept.len() < self.room { f32::MAX } else { self.kept[self.room - 1].0 }
    }

    fn offer(&mut self, cost: f32, b: u32, j: u32) {
        if cost < self.limit() || self.kept.len() < self.room {
            let at = self.kept.partition_point(|e| e.0 <= cost);
            self.kept.insert(at, (cost, b, j));
            self.kept.truncate(self.room);
        }
    }
}

/// Products of each earlier codeword with all of a level's, `[Σ before, k_m]`: the transpose of the given table, so
/// that a prefix reads runs.
fn transpose(table: &[f32], k: usize) -> Vec<f32> {
    let before = table.len().checked_div(k).unwrap_or(0);
    let mut out = vec![0.0; table.len()];
    for j in 0..k {
        for b in 0..before {
            out[b * k + j] = table[j * before + b];
        }
    }
    out
}

/// Codes and smallest deciding gaps of all rows.
pub fn beam(rows: &Rows, codebooks: &[Codebook], gram: &[Vec<f32>], width: usize) -> BeamCodes {
    let (n, d, levels) = (rows.n, rows.d, codebooks.len());
    let tables: Vec<Vec<f32>> = gram.iter().zip(codebooks).map(|(g, c)| transpose(g, c.k)).collect();
    let offsets: Vec<usize> = codebooks.iter().scan(0, |at, c| Some(std::mem::replace(at, *at + c.k))).collect();
    let mut out = BeamCodes { codes: vec![0; n * levels], margin: vec![0.0; n] };
    out.codes
        .par_chunks_mut(BLOCK * levels)
        .zip(out.margin.par_chunks_mut(BLOCK))
        .zip(rows.data.par_chunks(BLOCK * d))
        .for_each(|((codes, margins), part)| {
            let m = part.len() / d;
            let mut dots: Vec<Vec<f32>> = Vec::with_capacity(levels);
            for codebook in codebooks {
                let mut block = vec![0.0f32; m * codebook.k];
                Engine::new(codebook).for_each(part, |i, row| {
                    block[i * codebook.k..(i + 1) * codebook.k].copy_from_slice(row);
                });
                dots.push(block);
            }
            let mut scores = Vec::new();
            let mut minima = Vec::new();
            for i in 0..m {
                let mut margin = f32::MAX;
                let mut prefixes: Vec<(f32, Vec<u32>)> = vec![(0.0, Vec::new())];
                for (level, codebook) in codebooks.iter().enumerate() {
                    let k = codebook.k;
                    let keep = if level + 1 == levels { 1 } else { width };
                    let mut smallest = Smallest { kept: Vec::with_capacity(keep + 2), room: keep + 1 };
                    scores.resize(k, 0.0);
                    for (b, (cost, prefix)) in prefixes.iter().enumerate() {
                        extend(*cost, &codebook.bias, &dots[level][i * k..(i + 1) * k], &mut scores);
                        for (l, code) in prefix.iter().enumerate() {
                            add_table(&tables[level][(offsets[l] + *code as usize) * k..][..k], &mut scores);
                        }
                        run_minima(&scores, &mut minima);
                        for (run, low) in minima.iter().enumerate() {
                            if *low <= smallest.limit() {
                                for (t, cost) in scores[run * 64..].iter().take(64).enumerate() {
                                    smallest.offer(*cost, b as u32, (run * 64 + t) as u32);
                                }
                            }
                        }
                    }
                    let mut kept = smallest.kept;
                    if kept.len() > keep {
                        // NaN here fails every comparison later, so the row is decided again.
                        let gap = kept[keep].0 - kept[keep - 1].0;
                        margin = if gap < margin || gap.is_nan() { gap } else { margin };
                        kept.truncate(keep);
                    }
                    kept.sort_by_key(|e| (e.1, e.2));
                    prefixes = kept
                        .into_iter()
                        .map(|(cost, b, j)| {
                            let mut prefix = prefixes[b as usize].1.clone();
                            prefix.push(j);
                            (cost, prefix)
                        })
                        .collect();
                }
                if let Some((_, prefix)) = prefixes.first() {
                    codes[i * levels..(i + 1) * levels].copy_from_slice(prefix);
                } else {
                    // Only NaN costs: nothing was kept, and a margin of 0 sends the row to the reference.
                    margin = 0.0;
                }
                margins[i] = margin;
            }
        });
    out
}
