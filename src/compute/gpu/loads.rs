//! `loads`: what every codeword gets of softly assigned rows; and prices of codewords.

use super::Gpu;
use super::kernel::{Id, TILES};
use super::record::{Launch, Span, whole};
use super::resident::{Codebook, Partition, Rows};
use super::sizes::SLICE_BYTES;
use crate::compute::{DeviceKind, SoftLoads, params};
use crate::error::Result;
use bytemuck::bytes_of;

impl Gpu {
    pub(super) fn soft_loads(
        &self,
        rows: &Rows,
        codebook: &Codebook,
        epsilon: f32,
        partition: &mut Partition,
    ) -> Result<SoftLoads> {
        let _turn = self.core.turn()?;
        let (sums, list) = self.record_assign_all(rows, codebook, partition)?;
        // The smallest tile on a software device, as for `assign`.
        let variant = usize::from(self.core.info.kind != DeviceKind::SoftwareGpu);
        let (bm, bn, bk) = {
            let get = |name| TILES[variant].get(name) as usize;
            (get("BM"), get("BN"), get("BK"))
        };
        let columns = codebook.k.div_ceil(bn);
        let columns4 = columns * bn / 4;
        let line_bytes = columns4 * 16;
        let tile_cost = 4.0 * (bm * columns * bn * rows.stride) as f64;
        let step = ((self.core.launch_cost() / tile_cost) as usize).min(SLICE_BYTES / line_bytes).max(1);
        let slots: usize = rows.parts().map(|part| part.n.div_ceil(bm).div_ceil(step)).sum();
        let partials = self.core.scratch("loads partials", (step * line_bytes) as u64)?;
        let bytes = (slots.max(1) * line_bytes) as u64;
        let out = self.core.scratch("loads", bytes)?;
        let mut slot = 0;
        for part in rows.parts() {
            let tiles = part.n.div_ceil(bm);
            for first in (0..tiles).step_by(step) {
                let last = tiles.min(first + step);
                let uniform = params::Loads {
                    n: part.n as u32,
                    first_tile: first as u32,
                    stride4: rows.stride4(),
                    column_tiles: columns as u32,
                    depth: (rows.stride / bk) as u32,
                    row_tiles: last as u32,
                    columns4: columns4 as u32,
                    slot: slot as u32,
                    scale: (1.0 / epsilon).to_bits(),
                    cut: (87.0 * epsilon).to_bits(),
                };
                self.core.launch(&Launch {
                    id: Id::Loads,
                    entry: 0,
                    variant,
                    spans: &[
                        whole(part.buffer),
                        whole(&codebook.values),
                        whole(&codebook.scale_bias),
                        partition.span(&partition.best, part.start, part.n),
                        whole(&partials),
                    ],
                    params: bytes_of(&uniform),
                    groups: (last - first) as u64,
                    cost: tile_cost * (last - first) as f64,
                })?;
                self.core.launch(&Launch {
                    id: Id::Loads,
                    entry: 1,
                    variant,
                    spans: &[whole(&partials), whole(&out)],
                    params: bytes_of(&uniform),
                    groups: columns4.div_ceil(16) as u64,
                    cost: ((last - first) * line_bytes) as f64 * 8.0,
                })?;
                slot += 1;
            }
        }
        let mut loads = vec![0.0f64; codebook.k];
        if slots > 0 {
            let lines: Vec<f32> = self.core.read(&[Span { buffer: &out, offset: 0, bytes }])?;
            for line in lines.chunks_exact(columns4 * 4) {
                loads.iter_mut().zip(line).for_each(|(all, v)| *all += f64::from(*v));
            }
        }
        let sums = self.read_regions(&sums, &list)?;
        Ok(SoftLoads { score_sum: sums.iter().map(|v| f64::from(*v)).sum(), loads })
    }
}
