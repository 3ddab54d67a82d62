//! Chains of levels: greedy codes with one readback in all, and beam search.

use super::Gpu;
use super::kernel::Id;
use super::record::{Launch, Span, whole};
use super::resident::{Codebook, PAD, Partition, Rows};
use super::sizes::{SLICE_BYTES, byte_size, words};
use crate::compute::{BeamCodes, LevelCodes, params};
use crate::error::{Error, Result, check_shape};
use bytemuck::bytes_of;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Prefixes kept at most: the kernel's workgroup memory holds one more.
const MAX_WIDTH: usize = 64;

/// Greedy codes of all levels: every level's labels and scores stay on the device until the end.
pub(super) fn assign(gpu: &Gpu, rows: &mut Rows, codebooks: &[Codebook], normalize: bool) -> Result<LevelCodes> {
    let (n, levels) = (rows.n, codebooks.len());
    let (list, bytes) = Gpu::norm_regions(rows);
    let mut kept: Vec<Found> = Vec::with_capacity(levels);
    for (level, codebook) in codebooks.iter().enumerate() {
        let mut partition = Partition::new(&gpu.core, n)?;
        let norms = gpu.core.allocate("norms", bytes)?;
        if normalize {
            gpu.record_normalize(rows, &norms, &list)?;
        } else {
            gpu.record_norms(rows, &norms, &list)?;
        }
        gpu.record_assign_all(rows, codebook, &mut partition)?;
        if level + 1 < levels {
            gpu.record_residual(rows, codebook, &partition)?;
        }
        kept.push(Found { partition, norms, list: list.clone() });
    }
    read(gpu, n, &kept, normalize)
}

/// Codes of levels that look at columns of their own. Levels of one width take turns in one copy of their columns.
pub(super) fn assign_columns(gpu: &Gpu, rows: &Rows, codebooks: &[Codebook]) -> Result<LevelCodes> {
    let mut copies: BTreeMap<usize, Rows> = BTreeMap::new();
    let mut found: Vec<Found> = Vec::with_capacity(codebooks.len());
    let mut first = 0;
    for codebook in codebooks {
        let own = match copies.entry(codebook.d) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(Rows::new(&gpu.core, rows.n, codebook.d)?),
        };
        gpu.record_columns(rows, first, own)?;
        first += codebook.d;
        let (list, bytes) = Gpu::norm_regions(own);
        let norms = gpu.core.allocate("norms", bytes)?;
        gpu.record_norms(own, &norms, &list)?;
        let mut partition = Partition::new(&gpu.core, rows.n)?;
        gpu.record_assign_all(own, codebook, &mut partition)?;
        found.push(Found { partition, norms, list });
    }
    read(gpu, rows.n, &found, false)
}

/// A level's results on the device.
struct Found {
    partition: Partition,
    norms: wgpu::Buffer,
    /// Where the norms of each chunk lie.
    list: Vec<(u64, u64)>,
}

/// Reads all levels' results at once; `rooted` norms are no squares.
fn read(gpu: &Gpu, n: usize, found: &[Found], rooted: bool) -> Result<LevelCodes> {
    let levels = found.len();
    let mut spans = Vec::new();
    for Found { partition, norms, list } in found {
        spans.extend([&partition.labels, &partition.best, &partition.second].map(|b| partition.span(b, 0, n)));
        spans.extend(list.iter().map(|(offset, bytes)| Span { buffer: norms, offset: *offset, bytes: *bytes }));
    }
    let all: Vec<u32> = gpu.core.read(&spans)?;
    let mut out = LevelCodes::zeros(n, levels);
    for (level, host) in all.chunks_exact((4 * n).max(1)).enumerate() {
        for i in 0..n {
            let at = i * levels + level;
            let norm = f32::from_bits(host[3 * n + i]);
            out.codes[at] = host[i];
            out.margin[at] = f32::from_bits(host[2 * n + i]) - f32::from_bits(host[n + i]);
            out.norm[at] = if rooted { norm } else { norm.sqrt() };
        }
    }
    Ok(out)
}

/// Codes by beam search, slice by slice of rows.
pub(super) fn beam(
    gpu: &Gpu,
    rows: &Rows,
    codebooks: &[Codebook],
    gram: &[Vec<f32>],
    width: usize,
) -> Result<BeamCodes> {
    let core = &gpu.core;
    let levels = codebooks.len();
    check_shape("levels", levels, gram.len(), "gram")?;
    if width == 0 || width > MAX_WIDTH {
        return Err(Error::config("beam", format!("a width of 1 to {MAX_WIDTH} is possible, got {width}")));
    }
    if levels == 0 {
        return Ok(BeamCodes { codes: Vec::new(), margin: vec![f32::MAX; rows.n] });
    }
    // The gram tables come row by codeword; lanes run over codewords, so they are turned to read coalesced.
    let (mut tables, mut offsets, mut before) = (Vec::new(), Vec::new(), 0);
    for (codebook, table) in codebooks.iter().zip(gram) {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        check_shape("gram values", codebook.k.saturating_mul(before), table.len(), "gram")?;
        let mut turned = vec![0.0f32; table.len().max(4)];
        for (at, value) in table.iter().enumerate() {
            turned[at % before * codebook.k + at / before] = *value;
        }
        let buffer = core.allocate_bindable("gram", byte_size(1, turned.len()))?;
        core.write(&buffer, 0, bytemuck::cast_slice(&turned))?;
        tables.push(buffer);
        offsets.push(before);
        before += codebook.k;
    }
    let out_stride = codebooks.iter().map(|c| c.k.next_multiple_of(16)).max().unwrap_or(16);
    let slice = (SLICE_BYTES / ((out_stride + 2 * width * (levels + 1)) * 4) / PAD * PAD).max(PAD);
    let slice = slice.min(rows.n.next_multiple_of(PAD).max(PAD));
    let means = core.scratch("mean", byte_size(1, rows.stride))?;
    core.write(&means, 0, bytemuck::cast_slice(&vec![0.0f32; rows.stride]))?;
    let minus = core.scratch("scales", byte_size(1, out_stride))?;
    core.write(&minus, 0, bytemuck::cast_slice(&vec![-1.0f32; out_stride]))?;
    let products = core.scratch("beam products", byte_size(slice, out_stride))?;
    let codes = [
        core.scratch("beam codes a", byte_size(slice * width, levels))?,
        core.scratch("beam codes b", byte_size(slice * width, levels))?,
    ];
    let costs = [
        core.scratch("beam costs a", byte_size(slice, width))?,
        core.scratch("beam costs b", byte_size(slice, width))?,
    ];
    let margins = core.scratch("beam margins", byte_size(1, slice))?;
    let mut out = BeamCodes { codes: Vec::with_capacity(rows.n * levels), margin: Vec::with_capacity(rows.n) };
    for part in rows.parts() {
        for first in (0..part.n).step_by(slice) {
            let n = slice.min(part.n - first);
            let line = byte_size(1, rows.stride);
            let from =
                Span { buffer: part.buffer, offset: first as u64 * line, bytes: n.next_multiple_of(PAD) as u64 * line };
            let mut beams = 1usize;
            for (level, codebook) in codebooks.iter().enumerate() {
                let stride = codebook.k.next_multiple_of(16);
                gpu.record_project(
                    from,
                    rows.stride,
                    n,
                    &codebook.values,
                    &means,
                    &minus,
                    Span { buffer: &products, offset: 0, bytes: byte_size(n.next_multiple_of(PAD), stride) },
                    stride,
                )?;
                // At the end only the winner counts, and its gap to the runner-up.
                let keep = if level + 1 == levels { 1 } else { width.min(beams.saturating_mul(codebook.k)) };
                let uniform = params::Beam {
                    n: words(n, "rows")?,
                    level: level as u32,
                    levels: levels as u32,
                    k: codebook.k as u32,
                    beams: beams as u32,
                    keep: keep as u32,
                    stride: width as u32,
                    products_stride: stride as u32,
                    offset: words(offsets[level], "codewords")?,
                    unused: 0,
                };
                core.launch(&Launch {
                    id: Id::Beam,
                    entry: 0,
                    variant: 0,
                    spans: &[
                        whole(&products),
                        whole(&codebook.scale_bias),
                        whole(&tables[level]),
                        whole(&codes[level % 2]),
                        whole(&costs[level % 2]),
                        whole(&codes[(level + 1) % 2]),
                        whole(&costs[(level + 1) % 2]),
                        whole(&margins),
                    ],
                    params: bytes_of(&uniform),
                    groups: n as u64,
                    cost: (n * beams * codebook.k * (level + 2) * (keep + 1)) as f64 * 8.0,
                })?;
                beams = keep;
            }
            let last = &codes[levels % 2];
            let all: Vec<u32> = core.read(&[
                Span { buffer: last, offset: 0, bytes: byte_size(n * width, levels) },
                Span { buffer: &margins, offset: 0, bytes: byte_size(1, n) },
            ])?;
            let (found, gaps) = all.split_at(n * width * levels);
            for row in found.chunks_exact(width * levels) {
                out.codes.extend(row[..levels].iter().zip(&offsets).map(|(code, offset)| code - *offset as u32));
            }
            out.margin.extend(gaps.iter().map(|bits| f32::from_bits(*bits)));
        }
    }
    Ok(out)
}
