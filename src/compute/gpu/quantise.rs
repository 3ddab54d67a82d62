//! Kernels of quantisers in training: nearest codewords, sums by label, averages, softmax, Sinkhorn.
//!
//! All of them only record: a training step waits for nothing. A tensor is bound whole and kernels add the offset of a part,
//! since a binding may start only at every 256th byte.

use super::Gpu;
use super::kernel::Id;
use super::record::{Launch, Span, whole};
use super::sizes::{byte_size, words};
use super::tensor::{Index, Tensor};
use crate::compute::params;
use crate::compute::tensor::{Exponent, Part, QuantiserKernels};
use crate::error::{Error, Result};
use bytemuck::bytes_of;

/// Rows, codewords or values of a code vector at most: at 32 lanes, a loop over them stays below the 65,535 trips after which
/// some drivers leave it.
const MOST: usize = 1 << 20;
/// Codewords from which a row is walked by 256 lanes instead of 32.
const LONG_ROW: usize = 1024;
/// Rows of a block of Sinkhorn's column sums, at least.
const SWEEP_ROWS: usize = 32;
/// Blocks of Sinkhorn's column sums, at most: one lane adds them up.
const SWEEP_BLOCKS: usize = 64;

/// A count as the 32 bits that kernels take, once it is known that loops over it end.
pub(super) fn side(value: usize, what: &str) -> Result<u32> {
    if value > MOST {
        return Err(Error::Data(format!("{what} = {value} is above {MOST}, the most that one call takes")));
    }
    words(value, what)
}

fn bounds(what: &str, len: usize, offset: usize, count: usize) -> Result<()> {
    let end = offset.saturating_add(count);
    if end > len {
        return Err(Error::Data(format!("{what}: values {offset}..{end} of a tensor of {len}")));
    }
    Ok(())
}

/// The binding of a tensor of which a kernel uses `count` values.
fn used<'a>(what: &str, tensor: &'a Tensor, count: usize) -> Result<Span<'a>> {
    part(what, tensor, 0, count)
}

fn part<'a>(what: &str, tensor: &'a Tensor, offset: usize, count: usize) -> Result<Span<'a>> {
    bounds(what, tensor.len, offset, count)?;
    Ok(whole(&tensor.buffer))
}

fn listed<'a>(what: &str, index: &'a Index, count: usize) -> Result<Span<'a>> {
    bounds(what, index.len, 0, count)?;
    Ok(whole(&index.buffer))
}

/// Lanes a row, as the variants of `nearest` and `sinkhorn_sweep` have them: the variant and how many rows a workgroup takes.
fn row_lanes(k: usize) -> (usize, usize) {
    if k < LONG_ROW { (0, 8) } else { (1, 1) }
}

impl Gpu {
    /// Records one dispatch; `touched` values are read or written.
    pub(super) fn record(
        &self,
        (id, entry, variant): (Id, usize, usize),
        spans: &[Span<'_>],
        params: &[u8],
        groups: usize,
        touched: usize,
    ) -> Result<()> {
        let (groups, cost) = (groups as u64, 40.0 * touched as f64);
        self.core.launch(&Launch { id, entry, variant, spans, params, groups, cost })
    }

    fn record_softmax(
        &self,
        entry: usize,
        (n, k): (usize, usize),
        factor: f32,
        [exclude_diagonal, weighted]: [bool; 2],
        spans: &[Span<'_>],
    ) -> Result<()> {
        let uniform = params::Softmax {
            n: side(n, "rows")?,
            k: side(k, "columns")?,
            factor: factor.to_bits(),
            exclude_diagonal: u32::from(exclude_diagonal),
            weighted: u32::from(weighted),
        };
        // Rows of nothing have no sum, and their loss stays.
        let groups = if k > 0 { n } else { 0 };
        self.record((Id::Softmax, entry, 0), spans, bytes_of(&uniform), groups, 5 * n * k)
    }
}

impl QuantiserKernels for Gpu {
    fn half_norms(&self, (k, e): (usize, usize), codebook: Part<'_, Tensor>, out: &mut Tensor) -> Result<()> {
        let uniform = params::HalfNorms {
            k: side(k, "codewords")?,
            e: side(e, "values of a codeword")?,
            offset: words(codebook.offset, "offset")?,
        };
        let spans = [part("codebook", codebook.tensor, codebook.offset, k * e)?, used("half norms", out, k)?];
        self.record((Id::HalfNorms, 0, 0), &spans, bytes_of(&uniform), k.div_ceil(8), k * e)
    }

    fn nearest(&self, (n, k): (usize, usize), dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        let uniform = params::Nearest { n: side(n, "rows")?, k: side(k, "codewords")?, potentials: 0, others: 0 };
        let spans =
            [used("dot products", dots, n * k)?, used("half norms", half_norms, k)?, listed("labels", labels, n)?];
        let (variant, rows) = row_lanes(k);
        self.record((Id::Nearest, 0, variant), &spans, bytes_of(&uniform), n.div_ceil(rows), n * k)
    }

    fn nearest_other(&self, n: usize, dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        let size = side(n, "rows")?;
        let uniform = params::Nearest { n: size, k: size, potentials: 0, others: 1 };
        let all = n.saturating_mul(n);
        let spans =
            [used("dot products", dots, all)?, used("half norms", half_norms, n)?, listed("labels", labels, n)?];
        let (variant, rows) = row_lanes(n);
        self.record((Id::Nearest, 0, variant), &spans, bytes_of(&uniform), n.div_ceil(rows), all)
    }

    #[allow(clippy::too_many_arguments)]
    fn repel(
        &self,
        (n, e): (usize, usize),
        scale: f32,
        epsilon: f32,
        z: &Tensor,
        neighbours: &Index,
        pull: &mut Tensor,
        logs: &mut Tensor,
    ) -> Result<()> {
        let uniform = params::Repel {
            n: side(n, "rows")?,
            e: side(e, "values of a row")?,
            scale: scale.to_bits(),
            epsilon: epsilon.to_bits(),
        };
        let all = n.saturating_mul(e);
        let spans = [
            used("rows", z, all)?,
            listed("neighbours", neighbours, n)?,
            used("pull", pull, all)?,
            used("logarithms", logs, n)?,
        ];
        self.record((Id::Repel, 0, 0), &spans, bytes_of(&uniform), n.div_ceil(8), 4 * all)
    }

    #[allow(clippy::too_many_arguments)]
    fn quantize(
        &self,
        (n, e, k): (usize, usize, usize),
        first: bool,
        residual: &Tensor,
        codebook: Part<'_, Tensor>,
        labels: &Index,
        next: &mut Tensor,
        sum: &mut Tensor,
    ) -> Result<()> {
        let uniform = params::Quantize {
            n: side(n, "rows")?,
            k: side(k, "codewords")?,
            e: side(e, "values of a row")?,
            offset: words(codebook.offset, "offset")?,
            first: u32::from(first),
        };
        let spans = [
            used("residuals", residual, n * e)?,
            part("codebook", codebook.tensor, codebook.offset, k * e)?,
            listed("labels", labels, n)?,
            used("next residuals", next, n * e)?,
            used("sums", sum, n * e)?,
        ];
        self.record((Id::Quantize, 0, 0), &spans, bytes_of(&uniform), (n * e).div_ceil(256), 5 * n * e)
    }

    #[allow(clippy::too_many_arguments)]
    fn segment_sum(
        &self,
        (n, e, k): (usize, usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Tensor,
        labels: &Index,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (variant, columns) = [(0, 16), (1, 32), (2, 64)][usize::from(e > 16) + usize::from(e > 32)];
        let column_groups = e.div_ceil(columns);
        let uniform = params::Segment {
            n: side(n, "rows")?,
            k: side(k, "codewords")?,
            e: side(e, "values of a row")?,
            at: words(at, "offset")?,
            alpha: alpha.to_bits(),
            accumulate: u32::from(accumulate),
            column_groups: column_groups as u32,
        };
        let spans = [used("rows", values, n * e)?, listed("labels", labels, n)?, part("sums", out, at, k * e)?];
        let groups = k.div_ceil(256 / columns) * column_groups;
        self.record((Id::Segment, 0, variant), &spans, bytes_of(&uniform), groups, n * e + groups * n)
    }

    fn segment_count(
        &self,
        (n, k): (usize, usize),
        accumulate: bool,
        labels: &Index,
        counts: &mut Tensor,
    ) -> Result<()> {
        let uniform = params::Segment {
            n: side(n, "rows")?,
            k: side(k, "codewords")?,
            accumulate: u32::from(accumulate),
            ..Default::default()
        };
        let spans = [listed("labels", labels, n)?, used("counts", counts, k)?];
        let groups = k.div_ceil(256);
        self.record((Id::Segment, 1, 0), &spans, bytes_of(&uniform), groups, k + groups * n)
    }

    #[allow(clippy::too_many_arguments)]
    fn ema(
        &self,
        (k, e): (usize, usize),
        decay: f32,
        epsilon: f32,
        batch_counts: &Tensor,
        sums: &Tensor,
        counts: &mut Tensor,
        means: &mut Tensor,
        codebook: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let uniform = params::Ema {
            k: side(k, "codewords")?,
            e: side(e, "values of a codeword")?,
            at: words(at, "offset")?,
            decay: decay.to_bits(),
            epsilon: epsilon.to_bits(),
        };
        let batch = used("batch counts", batch_counts, k)?;
        let counts = used("counts", counts, k + 1)?;
        let averages =
            [used("sums", sums, k * e)?, counts, used("means", means, k * e)?, part("codebook", codebook, at, k * e)?];
        self.record((Id::Ema, 0, 0), &[batch, counts], bytes_of(&uniform), usize::from(k > 0), 3 * k)?;
        self.record((Id::Ema, 1, 0), &averages, bytes_of(&uniform), (k * e).div_ceil(256), 4 * k * e)
    }

    fn rotate_backward(
        &self,
        (n, e): (usize, usize),
        residual: &Tensor,
        next: &Tensor,
        upstream: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        let uniform = params::Rotation { n: side(n, "rows")?, e: side(e, "values of a row")? };
        let spans = [
            used("residuals", residual, n * e)?,
            used("next residuals", next, n * e)?,
            used("upstream gradient", upstream, n * e)?,
            used("gradient", out, n * e)?,
        ];
        let groups = if e > 0 { n.div_ceil(8) } else { 0 };
        self.record((Id::Rotation, 0, 0), &spans, bytes_of(&uniform), groups, 8 * n * e)
    }

    fn gumbel_softmax(
        &self,
        (n, k): (usize, usize),
        temperature: f32,
        half_norms: &Tensor,
        noise: &Tensor,
        dots: &mut Tensor,
    ) -> Result<()> {
        let spans = [
            used("dot products", dots, n.saturating_mul(k))?,
            used("half norms", half_norms, k)?,
            used("noise", noise, n.saturating_mul(k))?,
        ];
        self.record_softmax(0, (n, k), temperature, [false; 2], &spans)
    }

    fn softmax_backward(
        &self,
        (n, k): (usize, usize),
        scale: f32,
        probabilities: &Tensor,
        grad: &mut Tensor,
    ) -> Result<()> {
        let spans =
            [used("gradient", grad, n.saturating_mul(k))?, used("probabilities", probabilities, n.saturating_mul(k))?];
        self.record_softmax(1, (n, k), scale, [false; 2], &spans)
    }

    #[allow(clippy::too_many_arguments)]
    fn contrast(
        &self,
        (n, k): (usize, usize),
        scale: f32,
        exclude_diagonal: bool,
        targets: &Index,
        weights: Option<&Tensor>,
        logits: &mut Tensor,
        loss: &mut Tensor,
    ) -> Result<()> {
        let targets = listed("targets", targets, n)?;
        let spans = [
            used("logits", logits, n.saturating_mul(k))?,
            targets,
            // Something must be bound; without weights nothing of it is read.
            weights.map_or(Ok(targets), |w| used("weights", w, n))?,
            used("losses", loss, n)?,
        ];
        self.record_softmax(2, (n, k), scale, [exclude_diagonal, weights.is_some()], &spans)
    }

    #[allow(clippy::too_many_arguments)]
    fn sinkhorn(
        &self,
        (n, e, k): (usize, usize, usize),
        exponent: Exponent,
        iterations: usize,
        residual: &Tensor,
        half_norms: &Tensor,
        dots: &mut Tensor,
        potentials: &mut Tensor,
        labels: &mut Index,
    ) -> Result<()> {
        let (batch_range, scale) = match exponent {
            Exponent::BatchRange { epsilon } => (1, epsilon),
            Exponent::Fixed { scale } => (0, scale),
        };
        let uniform = params::Sinkhorn {
            n: side(n, "rows")?,
            k: side(k, "codewords")?,
            e: side(e, "values of a row")?,
            batch_range,
            scale: scale.to_bits(),
        };
        let residual = used("residuals", residual, n * e)?;
        let half_norms = used("half norms", half_norms, k)?;
        let a = used("dot products", dots, n * k)?;
        let v = used("potentials", potentials, k)?;
        let labels = listed("labels", labels, n)?;
        if n == 0 || k == 0 {
            return Ok(());
        }
        let block_rows = n.div_ceil(SWEEP_BLOCKS).max(SWEEP_ROWS);
        let sweep = params::SinkhornSweep {
            n: uniform.n,
            k: uniform.k,
            block_rows: block_rows as u32,
            blocks: n.div_ceil(block_rows) as u32,
            column_groups: k.div_ceil(64) as u32,
            log_share: ((n as f64 / k as f64).ln() as f32).to_bits(),
        };
        let blocks = sweep.blocks as usize;
        // Scratch is shared: nobody else may record between the kernels that use it.
        let _turn = self.core.turn()?;
        let extremes = self.core.scratch("sinkhorn extremes", 8 * (n as u64 + 1))?;
        let u = self.core.scratch("sinkhorn rows", byte_size(1, n))?;
        let partials = self.core.scratch("sinkhorn partials", byte_size(2 * blocks, k))?;
        let (extremes, u, partials) = (whole(&extremes), whole(&u), whole(&partials));
        let words = bytes_of(&uniform);
        self.record((Id::Sinkhorn, 0, 0), &[a, half_norms, residual, extremes], words, n, 2 * n * k + n * e)?;
        if batch_range == 1 {
            self.record((Id::Sinkhorn, 1, 0), &[extremes], words, 1, 2 * n)?;
        }
        self.record((Id::Sinkhorn, 2, 0), &[a, extremes], words, (n * k).div_ceil(256), 2 * n * k)?;
        self.core.clear(v.buffer, byte_size(1, k));
        let (variant, rows) = row_lanes(k);
        let words = bytes_of(&sweep);
        for _ in 0..iterations {
            let columns = blocks * sweep.column_groups as usize;
            self.record((Id::SinkhornSweep, 0, variant), &[a, u, v], words, n.div_ceil(rows), n * k)?;
            self.record((Id::SinkhornSweep, 1, variant), &[a, u, partials], words, columns, n * k)?;
            self.record((Id::SinkhornSweep, 2, variant), &[v, partials], words, k.div_ceil(256), 2 * blocks * k)?;
        }
        let uniform = params::Nearest { n: sweep.n, k: sweep.k, potentials: 1, others: 0 };
        self.record((Id::Nearest, 0, variant), &[a, v, labels], bytes_of(&uniform), n.div_ceil(rows), n * k)
    }
}
