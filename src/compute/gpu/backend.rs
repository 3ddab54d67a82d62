//! The [`Backend`] trait on this device. Its methods lie by theme in the files beside this one, as inherent methods of the
//! same names; each checks shapes, records its kernels chunk by chunk, and reads back what it returns.

use super::dispatch::Span;
use super::resident::{Codebook, Part, Partition, Rows, Seeding};
use super::variant::split_error;
use super::{Gpu, levels};
use crate::compute::{Assigned, Backend, BeamCodes, DeviceInfo, HostPartition, LevelCodes, Loads, Metric, params};
use crate::error::{Error, Result};

/// Rows of one block of `row_norm`'s, `column_sum`'s and `seeding`'s partial sums.
pub(super) const BLOCK_ROWS: usize = 1024;
/// Bytes of intermediate results at most, where the size is free.
pub(super) const SLICE_BYTES: usize = 64 << 20;

/// Offset of a binding must be a multiple of this many bytes, everywhere.
const ALIGN: u64 = 256;

/// Regions of one buffer, each of so many bytes, at aligned offsets. Returns them and the bytes of all.
pub(super) fn regions(sizes: impl Iterator<Item = usize>) -> (Vec<(u64, u64)>, u64) {
    let mut end = 0u64;
    let list = sizes
        .map(|bytes| {
            let offset = end.next_multiple_of(ALIGN);
            end = offset + bytes as u64;
            (offset, bytes as u64)
        })
        .collect();
    (list, end)
}

/// A count as the 32 bits that kernels take.
pub(super) fn words(value: usize, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Data(format!("{what} = {value} is above {}", u32::MAX)))
}

impl Gpu {
    pub(super) fn part_words(part: Part<'_>, rows: &Rows) -> Result<params::Rows> {
        Ok(params::Rows { n: words(part.n, "rows of a chunk")?, stride4: rows.stride4() })
    }

    pub(super) fn read_regions(&self, buffer: &wgpu::Buffer, list: &[(u64, u64)]) -> Result<Vec<f32>> {
        let spans: Vec<_> =
            list.iter().map(|(offset, bytes)| Span { buffer, offset: *offset, bytes: *bytes }).collect();
        self.core.read(&spans)
    }
}

impl Backend for Gpu {
    type Rows = Rows;
    type Codebook = Codebook;
    type Partition = Partition;
    type Seeding = Seeding;

    fn info(&self) -> DeviceInfo {
        Gpu::info(self)
    }

    fn dot_error(&self, dims: usize) -> f64 {
        let m = (32 + dims.div_ceil(32) + 2) as f64;
        let tiles = m * self.unit_roundoff() / (1.0 - m * self.unit_roundoff());
        // One η for every kernel: projections stay with the tiles whatever computes `assign`.
        if self.core.options.assign.is_split() { tiles.max(split_error(dims)) } else { tiles }
    }

    fn unit_roundoff(&self) -> f64 {
        1.0 / f64::from(1u32 << 23)
    }

    fn upload_rows(&self, n: usize, d: usize, fill: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>) -> Result<Rows> {
        self.upload_rows(n, d, fill)
    }

    fn read_rows(&self, rows: &Rows, start: usize, out: &mut [f32]) -> Result<()> {
        self.read_rows(rows, start, out)
    }

    fn shape(&self, rows: &Rows) -> (usize, usize) {
        (rows.n, rows.d)
    }

    fn gather_rows(&self, rows: &Rows, indices: &[u32]) -> Result<Rows> {
        self.gather_rows(rows, indices)
    }

    fn codebook(&self, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Codebook> {
        self.codebook(k, d, values, metric)
    }

    fn read_codebook(&self, codebook: &Codebook) -> Result<Vec<f32>> {
        self.read_codebook(codebook)
    }

    fn set_codewords(&self, codebook: &mut Codebook, changes: &[(u32, Vec<f32>)]) -> Result<()> {
        self.set_codewords(codebook, changes)
    }

    fn set_prices(&self, codebook: &mut Codebook, prices: &[f32]) -> Result<()> {
        self.set_prices(codebook, prices)
    }

    fn partition(&self, n: usize) -> Result<Partition> {
        self.partition(n)
    }

    fn partition_from(&self, labels: &[u32]) -> Result<Partition> {
        self.partition_from(labels)
    }

    fn read_partition(&self, partition: &Partition) -> Result<HostPartition> {
        self.read_partition(partition)
    }

    fn distances(&self, rows: &Rows, codebook: &Codebook) -> Result<Vec<f32>> {
        self.distances(rows, codebook)
    }

    fn assign(&self, rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> Result<Assigned> {
        self.assign(rows, codebook, partition)
    }

    fn loads(&self, rows: &Rows, codebook: &Codebook, epsilon: f32, partition: &mut Partition) -> Result<Loads> {
        self.loads(rows, codebook, epsilon, partition)
    }

    fn tally(&self, partition: &mut Partition, k: usize) -> Result<Vec<u32>> {
        self.tally(partition, k)
    }

    fn update(&self, rows: &Rows, partition: &mut Partition, codebook: &mut Codebook, weights: &[f32]) -> Result<()> {
        self.update(rows, partition, codebook, weights)
    }

    fn centroid_sums(&self, rows: &Rows, partition: &mut Partition, k: usize) -> Result<Vec<f64>> {
        self.centroid_sums(rows, partition, k)
    }

    fn farthest(&self, rows: &Rows, partition: &Partition, count: usize) -> Result<Vec<u32>> {
        self.farthest(rows, partition, count)
    }

    fn residual(&self, rows: &mut Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        self.residual(rows, codebook, partition)
    }

    fn normalize(&self, rows: &mut Rows) -> Result<Vec<f32>> {
        self.normalize(rows)
    }

    fn row_norms(&self, rows: &Rows) -> Result<Vec<f32>> {
        self.row_norms(rows)
    }

    fn sum_squares(&self, rows: &Rows) -> Result<f64> {
        self.sum_squares(rows)
    }

    fn column_sums(&self, rows: &Rows) -> Result<Vec<f64>> {
        self.column_sums(rows)
    }

    fn scatter(&self, rows: &Rows, mean: &[f32]) -> Result<Vec<f64>> {
        self.scatter(rows, mean)
    }

    fn project(&self, rows: &Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Result<Rows> {
        self.project(rows, mean, components, scales)
    }

    fn seeding(&self, rows: &Rows) -> Result<Seeding> {
        self.seeding(rows)
    }

    fn seeding_draw(&self, seeding: &Seeding, uniforms: &[f64]) -> Result<Vec<u32>> {
        self.seeding_draw(seeding, uniforms)
    }

    fn seeding_try(&self, rows: &Rows, seeding: &mut Seeding, candidates: &[u32]) -> Result<Vec<f64>> {
        self.seeding_try(rows, seeding, candidates)
    }

    fn seeding_accept(&self, seeding: &mut Seeding, slot: usize) -> Result<Vec<f64>> {
        self.seeding_accept(seeding, slot)
    }

    fn assign_levels(&self, rows: &mut Rows, codebooks: &[Codebook], normalize: bool) -> Result<LevelCodes> {
        let _turn = self.core.turn()?;
        levels::assign(self, rows, codebooks, normalize)
    }

    fn beam(&self, rows: &Rows, codebooks: &[Codebook], gram: &[Vec<f32>], width: usize) -> Result<BeamCodes> {
        let _turn = self.core.turn()?;
        levels::beam(self, rows, codebooks, gram, width)
    }
}
