//! Which kernel computes `assign`: by wish, by what the device has, and, for split operands, by a check at opening.
//!
//! # Errors of split operands
//!
//! A value scaled by its line's own power of two, x with the line's largest |x| in [2^14, 2^15), becomes hi = f16(x) and
//! lo = f16(x − hi). WGSL leaves the direction of rounding open, so each is right within 2^-10 of its operand, and lets
//! values below 2^-14 be flushed to zero, on writing or on use: |x − hi − lo| ≤ 2^-20·|x| + 2^-13. Over a line of d values
//! the second part is at most √d·2^-13 ≤ √d·2^-27·‖x‖, so operands are off by ρ = 2^-20 + √d·2^-27 of their norm, and
//! ‖lo‖ ≤ λ‖x‖ with λ = 2^-10 + √d·2^-27.
//!
//! Products of two f16 are exact in f32. A matrix unit may add the 16 of one step and its accumulator in any order and
//! round (or cut off) each addition, so a term passes through up to d roundings of u = 2^-23 in the sum of hi·hi′, up to
//! 2d in that of hi·lo′ + lo·hi′, and one more where the two are added: γ_{d+1}(1 + λ)² and γ_{2d+1}·2λ(1 + λ).
//! lo·lo′ is left out: λ². Together, relative to ‖x‖·‖c‖,
//!
//! η = γ_{d+1}(1 + λ)² + γ_{2d+1}·2λ(1 + λ) + 2ρ + ρ² + λ².
//!
//! Scaling back is by powers of two, exact but for subnormal results, which the bound counts apart.

use super::Gpu;
use super::kernel::{Id, TILES};
use crate::compute::bound::gamma;
use crate::compute::{AssignmentKernels as _, Backend as _, Metric, Storage as _};
use crate::error::{Error, Result};
use crate::rng;

/// Which kernel computes `assign`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssignKernel {
    /// f32 tiles, with subgroups where the device has them and they are faster: that changes no bit of the result.
    #[default]
    Auto,
    /// f32 tiles in core WGSL.
    Tiles,
    /// f32 tiles that merge lanes by subgroup shuffles.
    Subgroup,
    /// Two f16 a value, by single lanes. Slower than tiles: it shows that the splitting and its bound are right.
    SplitF16,
    /// Two f16 a value, by cooperative matrices. Never chosen unasked: its margins are wider by `d/32` or so, so that more
    /// rows are decided by the reference, and its bits are not those of the tiles.
    Matrix,
}

impl AssignKernel {
    /// Features that a device must have for it.
    pub(super) fn features(self) -> wgpu::Features {
        match self {
            Self::Auto | Self::Tiles => wgpu::Features::empty(),
            Self::Subgroup => wgpu::Features::SUBGROUP,
            Self::SplitF16 => wgpu::Features::SHADER_F16,
            Self::Matrix => {
                wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            }
        }
    }

    /// Why an adapter cannot serve it, if so.
    pub(super) fn refusal(self, adapter: &wgpu::Adapter) -> Option<String> {
        let missing = self.features() - adapter.features();
        if !missing.is_empty() {
            return Some(format!("it has no {missing}"));
        }
        let half = wgpu::CooperativeScalarType::F16;
        let fits = |p: &wgpu::CooperativeMatrixProperties| {
            (p.m_size, p.n_size, p.k_size) == (16, 16, 16)
                && p.ab_type == half
                && p.cr_type == wgpu::CooperativeScalarType::F32
        };
        let lacking = self == Self::Matrix && !adapter.cooperative_matrix_properties().iter().any(fits);
        lacking.then(|| "its cooperative matrices are not f16 16 × 16 × 16 into f32".into())
    }

    pub(super) fn id(self) -> Id {
        match self {
            Self::Auto | Self::Tiles => Id::Assign,
            Self::Subgroup => Id::AssignSubgroup,
            Self::SplitF16 => Id::AssignF16,
            Self::Matrix => Id::AssignMatrix,
        }
    }

    pub(super) fn is_split(self) -> bool {
        matches!(self, Self::SplitF16 | Self::Matrix)
    }
}

/// η of a dot product of `d` terms with split operands, see the module's text.
pub(super) fn split_error(dims: usize) -> f64 {
    let (d, u) = (dims as f64, 1.0 / f64::from(1u32 << 23));
    let tail = d.sqrt() * 2f64.powi(-27);
    let (rho, lambda) = (2f64.powi(-20) + tail, 2f64.powi(-10) + tail);
    let sums = gamma(d + 1.0, u) * (1.0 + lambda).powi(2) + gamma(2.0 * d + 1.0, u) * 2.0 * lambda * (1.0 + lambda);
    sums + 2.0 * rho + rho * rho + lambda * lambda
}

/// A kernel of `assign` and its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelChoice {
    pub id: Id,
    pub tile: usize,
}

impl KernelChoice {
    /// From its name: `64x64x16`, or `64x64x16 subgroup`.
    pub fn parse(name: &str) -> Option<Self> {
        let (tile, id) = match name.strip_suffix(" subgroup") {
            Some(tile) => (tile, Id::AssignSubgroup),
            None => (name, Id::Assign),
        };
        TILES.iter().position(|t| t.name == tile).map(|tile| Self { id, tile })
    }

    pub fn name(self) -> String {
        let suffix = if self.id == Id::AssignSubgroup { " subgroup" } else { "" };
        format!("{}{suffix}", TILES[self.tile].name)
    }

    /// The same tile of another kernel.
    pub fn with(self, id: Id) -> Self {
        Self { id, ..self }
    }

    pub fn is_split(self) -> bool {
        matches!(self.id, Id::AssignF16 | Id::AssignMatrix)
    }

    /// Rows, codewords and terms of a tile.
    pub fn sides(self) -> (usize, usize, usize) {
        if self.is_split() {
            return (64, 64, 16);
        }
        let get = |name| TILES[self.tile].get(name) as usize;
        (get("BM"), get("BN"), get("BK"))
    }
}

impl Gpu {
    pub(super) fn has_subgroups(&self) -> bool {
        self.core.device.features().contains(wgpu::Features::SUBGROUP)
    }

    /// Holds `assign` to f64 on a small problem of mixed magnitudes, so that a driver whose matrices are not what they
    /// claim never gives a margin.
    pub(super) fn check_assign(&self) -> Result<()> {
        let (n, k, d) = (200, 150, 80);
        let mut stream = rng::stream(17, "check of assign", 0);
        let mut draw = |lines: usize, spread: usize| -> Vec<f32> {
            let size = |at: usize| 2f64.powi((at / d % spread) as i32 - (at % 5) as i32);
            (0..lines * d).map(|at| (stream.normal() * size(at)) as f32).collect()
        };
        let (data, words) = (draw(n, 30), draw(k, 3));
        let rows = self.upload_rows(n, d, &mut |start, part| {
            part.copy_from_slice(&data[start * d..start * d + part.len()]);
            Ok(())
        })?;
        let codebook = self.codebook(k, d, &words, Metric::SquaredL2)?;
        let mut partition = self.partition(n)?;
        self.assign(&rows, &codebook, &mut partition)?;
        let found = self.read_partition(&partition)?;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        for (i, row) in data.chunks_exact(d).enumerate() {
            let mut best = [(f64::INFINITY, 0, 0.0); 2];
            for (j, word) in words.chunks_exact(d).enumerate() {
                let (length, squared) = (dot(row, row).sqrt(), dot(word, word));
                let bound = (self.dot_error(d) + 4.0 * self.unit_roundoff()) * length * squared.sqrt()
                    + 2.0 * self.unit_roundoff() * squared;
                let score = (0.5 * squared - dot(row, word), j, bound);
                if score.0 < best[0].0 {
                    best = [score, best[0]];
                } else if score.0 < best[1].0 {
                    best[1] = score;
                }
            }
            let bound = best[0].2 + best[1].2;
            let wrong_label = best[1].0 - best[0].0 > bound && found.labels[i] as usize != best[0].1;
            let off = |got: f32, want: f64| (f64::from(got) - want).abs();
            let far = off(found.best[i], best[0].0).max(off(found.second[i], best[1].0));
            if wrong_label || far.is_nan() || far > bound {
                return Err(Error::Device(format!(
                    "`{}` computes `assign` by {:?} wrongly: row {i} is off by {far:e}, at most {bound:e} is right; use \
                     the default kernel",
                    self.core.info.name, self.core.options.assign
                )));
            }
        }
        Ok(())
    }
}
