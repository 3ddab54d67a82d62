//! k-means++: `seeding`.

use super::Gpu;
use super::kernel::Id;
use super::record::{Launch, Span, whole};
use super::resident::{PAD, Rows, Seeding};
use super::sizes::{BLOCK_ROWS, byte_size, regions, words};
use crate::compute::{SeedingKernels, params};
use crate::error::{Error, Result, check_shape};
use bytemuck::bytes_of;

/// Candidates of one k-means++ step at most.
const MAX_CANDIDATES: usize = 64;

impl Gpu {
    /// Sums of `min(nearest, table)` a block of rows, and with no slots of `nearest` alone; `[slots, blocks]` a chunk.
    fn potentials(&self, seeding: &Seeding, slots: usize) -> Result<Vec<Vec<f32>>> {
        let parts: Vec<_> = (0..seeding.n)
            .step_by(seeding.chunk_rows)
            .map(|start| (start, seeding.chunk_rows.min(seeding.n - start)))
            .collect();
        let lines = slots.max(1);
        let (list, bytes) = regions(parts.iter().map(|(_, n)| n.div_ceil(BLOCK_ROWS) * lines * 4));
        let sums = self.core.scratch("seeding sums", bytes)?;
        let none = self.core.scratch("no table", 16)?;
        for (i, ((start, n), (offset, bytes))) in parts.iter().zip(&list).enumerate() {
            let uniform = params::Seeding {
                n: words(*n, "rows of a chunk")?,
                padded: n.next_multiple_of(PAD) as u32,
                slots: slots as u32,
                blocks: n.div_ceil(BLOCK_ROWS) as u32,
                ..Default::default()
            };
            let nearest = Span { buffer: &seeding.nearest, offset: byte_size(1, *start), bytes: byte_size(1, *n) };
            let table = if slots == 0 { &none } else { &seeding.tables[i] };
            self.core.launch(&Launch {
                id: Id::Seeding,
                entry: 2,
                variant: 0,
                spans: &[whole(table), nearest, Span { buffer: &sums, offset: *offset, bytes: *bytes }],
                params: bytes_of(&uniform),
                groups: (n.div_ceil(BLOCK_ROWS) * lines) as u64,
                cost: (n * lines) as f64 * 64.0,
            })?;
        }
        let flat = self.read_regions(&sums, &list)?;
        let mut out = vec![Vec::new(); lines];
        let mut at = 0;
        for (_, n) in &parts {
            let blocks = n.div_ceil(BLOCK_ROWS);
            for line in &mut out {
                line.extend_from_slice(&flat[at..at + blocks]);
                at += blocks;
            }
        }
        Ok(out)
    }

    fn slot_sums(&self, seeding: &Seeding) -> Result<Vec<f64>> {
        let lines = self.potentials(seeding, seeding.slots)?;
        Ok(lines.iter().take(seeding.slots).map(|line| line.iter().map(|v| f64::from(*v)).sum()).collect())
    }
}

impl SeedingKernels for Gpu {
    type Seeding = Seeding;

    fn seeding(&self, rows: &Rows) -> Result<Seeding> {
        let _turn = self.core.turn()?;
        let nearest = self.core.allocate("nearest", (rows.n.next_multiple_of(PAD) * 4) as u64)?;
        let values = vec![f32::MAX; (self.core.piece_bytes() as usize / 4).min(rows.n.max(1))];
        for start in (0..rows.n).step_by(values.len()) {
            let count = values.len().min(rows.n - start);
            self.core.send(&nearest, byte_size(1, start), bytemuck::cast_slice(&values[..count]))?;
        }
        let chunk_rows = rows.chunk_rows;
        Ok(Seeding { n: rows.n, chunk_rows, nearest, tables: Vec::new(), slots: 0, started: false })
    }

    fn seeding_draw(&self, seeding: &Seeding, uniforms: &[f64]) -> Result<Vec<u32>> {
        let uniform = |u: &f64| ((u * seeding.n as f64) as usize).min(seeding.n.saturating_sub(1)) as u32;
        if seeding.n == 0 && !uniforms.is_empty() {
            return Err(Error::Data("there is no row to draw".into()));
        }
        if !seeding.started {
            return Ok(uniforms.iter().map(uniform).collect());
        }
        let _turn = self.core.turn()?;
        let sums = self.potentials(seeding, 0)?.remove(0);
        let total: f64 = sums.iter().map(|v| f64::from(*v)).sum();
        // Every row coincides with a chosen codeword: any row is as good as any other.
        if total.is_nan() || total <= 0.0 {
            return Ok(uniforms.iter().map(uniform).collect());
        }
        // Blocks restart at every chunk.
        let mut blocks = Vec::with_capacity(sums.len());
        for start in (0..seeding.n).step_by(seeding.chunk_rows) {
            let end = seeding.n.min(start + seeding.chunk_rows);
            blocks.extend((start..end).step_by(BLOCK_ROWS).map(|at| (at, end.min(at + BLOCK_ROWS))));
        }
        let last = sums.iter().rposition(|s| *s > 0.0).unwrap_or(0);
        let mut picks = Vec::with_capacity(uniforms.len());
        for u in uniforms {
            let (mut left, mut block) = (u * total, 0);
            while block < last && left >= f64::from(sums[block]) {
                left -= f64::from(sums[block]);
                block += 1;
            }
            picks.push((block, left));
        }
        let spans: Vec<_> = picks
            .iter()
            .map(|(block, _)| {
                let (start, end) = blocks[*block];
                Span { buffer: &seeding.nearest, offset: byte_size(1, start), bytes: ((end - start) * 4) as u64 }
            })
            .collect();
        let values: Vec<f32> = self.core.read(&spans)?;
        let (mut at, mut rows) = (0, Vec::with_capacity(picks.len()));
        for (block, mut left) in picks {
            let (start, end) = blocks[block];
            let weights = &values[at..at + end - start];
            at += end - start;
            let mut pick = None;
            for (i, w) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                // Rounding may leave a remainder past the last weight: then the last row with any weight is drawn.
                pick = Some(start + i);
                if left < f64::from(*w) {
                    break;
                }
                left -= f64::from(*w);
            }
            rows.push(pick.unwrap_or(start) as u32);
        }
        Ok(rows)
    }

    fn seeding_try(&self, rows: &Rows, seeding: &mut Seeding, candidates: &[u32]) -> Result<Vec<f64>> {
        check_shape("rows", rows.n, seeding.n, "seeding")?;
        if candidates.is_empty() || candidates.len() > MAX_CANDIDATES {
            return Err(Error::Data(format!("{} candidates, 1 to {MAX_CANDIDATES} can be tried", candidates.len())));
        }
        if let Some(row) = candidates.iter().find(|row| **row as usize >= rows.n) {
            return Err(Error::Data(format!("candidate row {row} of {}", rows.n)));
        }
        let _turn = self.core.turn()?;
        seeding.slots = candidates.len();
        let line = byte_size(1, rows.stride);
        let values = self.core.scratch("candidates", MAX_CANDIDATES as u64 * line)?;
        for (slot, row) in candidates.iter().enumerate() {
            self.core.copy(rows.row(*row as usize), &values, slot as u64 * line);
        }
        let variant = usize::from(candidates.len() > 16);
        let bm = if variant == 0 { 128 } else { 64 };
        for (i, part) in rows.parts().enumerate() {
            let padded = part.n.next_multiple_of(PAD);
            let bytes = byte_size(candidates.len(), padded);
            if seeding.tables.get(i).is_none_or(|t| t.size() < bytes) {
                let table = self.core.allocate_bindable("seeding table", bytes)?;
                seeding.tables.truncate(i);
                seeding.tables.push(table);
            }
            let uniform = params::Seeding {
                n: words(part.n, "rows of a chunk")?,
                stride4: rows.stride4(),
                depth: (rows.stride / 16) as u32,
                row_tiles: part.n.div_ceil(bm) as u32,
                padded: padded as u32,
                slots: candidates.len() as u32,
                slot: 0,
                blocks: 0,
            };
            self.core.launch(&Launch {
                id: Id::Seeding,
                entry: 0,
                variant,
                spans: &[whole(part.buffer), whole(&values), whole(&seeding.tables[i])],
                params: bytes_of(&uniform),
                groups: part.n.div_ceil(bm) as u64,
                cost: (part.n * rows.stride) as f64 * if variant == 0 { 48.0 } else { 192.0 },
            })?;
        }
        self.slot_sums(seeding)
    }

    fn seeding_accept(&self, seeding: &mut Seeding, slot: usize) -> Result<Vec<f64>> {
        if slot >= seeding.slots {
            return Err(Error::Data(format!("candidate {slot} of {}", seeding.slots)));
        }
        let _turn = self.core.turn()?;
        for (i, start) in (0..seeding.n).step_by(seeding.chunk_rows).enumerate() {
            let n = seeding.chunk_rows.min(seeding.n - start);
            let uniform = params::Seeding {
                n: n as u32,
                padded: n.next_multiple_of(PAD) as u32,
                slot: slot as u32,
                ..Default::default()
            };
            let nearest = Span { buffer: &seeding.nearest, offset: byte_size(1, start), bytes: byte_size(1, n) };
            self.core.launch(&Launch {
                id: Id::Seeding,
                entry: 1,
                variant: 0,
                spans: &[whole(&seeding.tables[i]), nearest],
                params: bytes_of(&uniform),
                groups: n.div_ceil(256) as u64,
                cost: n as f64 * 96.0,
            })?;
        }
        seeding.started = true;
        self.slot_sums(seeding)
    }
}
