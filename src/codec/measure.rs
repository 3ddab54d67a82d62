//! How far a device's neural encoder is from the reference: measured, not proven.
//!
//! A rigorous bound on the rounding errors of a multilayer perceptron multiplies the norms of all its weight matrices. It exceeds the
//! errors that happen by orders of magnitude, and with them the margins of most rows, so that the reference would decide nearly
//! everything. Therefore the chain is cut in two:
//!
//! - **Proven**: given `‖z̃ − z‖ ≤ δ` for the z̃ that enters the first level on the device, the levels are certified as those of any
//!   codec are (`certify`).
//! - **Measured**: δ. A codec with an encoder carries up to 64 typical rows, its probes. Whenever an encoder is made on a device,
//!   the device's fast path takes the probes through preprocessing and network, in every shape of batch that runs other code
//!   ([`shapes`]), and each z̃ is held against the reference's z:
//!
//!   `e = max_i ‖z̃_i − z_i‖/(‖z_i‖ + ζ)`, with ζ the mean of all `‖z_i‖`, so that a probe that happens to lie near 0 does not
//!   set the scale. For any row then `δ = 16·max(e, 2⁻²⁴)·(‖z̃‖ + ζ)·reach`.
//!
//! The factor [`SAFETY`] stands for what 64 probes cannot show. Rounding errors of one network vary from row to row like a
//! sum of thousands of small terms of either sign: a row whose error is twice the largest of 64 is rare already, and other orders
//! of summation (another shape of batch, another tile) give another draw of the same size, not another size. Sixteen times
//! the largest leaves room for rows of another kind than the probes, and costs little: with f32 e is about 10⁻⁷ to 10⁻⁶, so
//! δ still is 10⁻⁵ of ‖z‖, and few rows have margins that small. `reach ≥ 1` follows the two ways in which a row can be
//! further out than any probe that are known beforehand: a larger norm at the encoder's entry (errors grow at most in
//! proportion where the network has Lipschitz activations), and a larger proven error of the preprocessing (a row that nearly
//! equals the mean, divided by its tiny norm).
//!
//! Proven beside it: a row with which some value inside the network may leave f32's range (`Mlp::safe_norm`), where the device's result is
//! not near the reference's, is never certified.
//!
//! What this relies on: that probes are rows like those that are encoded later; that a device's arithmetic does not change while
//! an encoder lives; and that no shape of batch runs code with errors of another size than the shapes that were measured.
//! Nothing is taken from the file but the probes themselves: a file that brings bad ones makes codes that differ between
//! devices on near-ties, never anything worse. Where measuring fails (NaN, infinity, probes that all lead to 0) nothing is
//! certified and the reference decides every row.

use super::certify::NormBounds;
use super::parts::CodecParts;
use crate::compute::bound::Arithmetic;
use crate::compute::cpu::dots::row_dots;
use crate::compute::mlp::{FEW_ROWS, Mlp};
use crate::compute::reference::ResidualQuantizer;

/// See the module's text.
const SAFETY: f64 = 16.0;
/// The least e that is believed: one rounding of f32. A network of small integers may be exact on every probe.
const LEAST: f64 = 1.0 / (1u64 << 24) as f64;

/// How many probes at a time, and of how many probes: all as one block; blocks that no tile divides; one by one, as the CPU takes
/// fewer than [`FEW_ROWS`] (on a GPU, where every batch is a submit, only some).
pub fn shapes(probes: usize, cpu: bool) -> [(usize, usize); 3] {
    [(probes, probes), (FEW_ROWS + 1, probes), (1, if cpu { probes } else { probes.min(4) })]
}

/// What was measured on one device.
pub struct MeasuredError {
    error: f64,
    /// ζ.
    typical: f64,
    /// Largest norm of a probe at the encoder's entry.
    entry: f64,
    /// Largest norm of a prepared row with which the network surely stays within f32's range.
    safe: f64,
    /// Largest proven error of a probe's preprocessing; 0 where nothing is preprocessed.
    preprocessing: f64,
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Norm at the encoder's entry, or in proportion to it.
fn entry_norm(quantizer: &ResidualQuantizer, x: &[f32]) -> f64 {
    if quantizer.normalize_rows {
        return 1.0;
    }
    let mut square = [0.0];
    row_dots(x, x, &mut square);
    f64::from(square[0]).sqrt()
}

impl MeasuredError {
    /// Starts with e = 0; [`add`](Self::add) brings the probes.
    pub fn new(parts: &CodecParts) -> Self {
        let exact = parts.exact_probes();
        let typical = exact.iter().map(|z| norm(z.iter().copied())).sum::<f64>() / exact.len().max(1) as f64;
        let error = if typical > 0.0 && typical.is_finite() { 0.0 } else { f64::INFINITY };
        let safe = parts.quantizer.encoder.as_ref().map_or(f64::INFINITY, Mlp::safe_norm);
        Self { error, typical, entry: 0.0, safe, preprocessing: 0.0 }
    }

    /// Takes in what the device made of probe `i`: `z` `[e]`, and the norm before `normalize_rows`, if any.
    pub fn add(&mut self, parts: &CodecParts, a: &Arithmetic, i: usize, z: &[f32], prepared_norm: Option<f32>) {
        let exact = &parts.exact_probes()[i];
        let off = norm(z.iter().zip(exact).map(|(z, e)| f64::from(*z) - e));
        let relative = off / (norm(exact.iter().copied()) + self.typical);
        self.error = self.error.max(if relative.is_nan() { f64::INFINITY } else { relative });
        let x = parts.probes.row(i);
        self.entry = self.entry.max(entry_norm(&parts.quantizer, x));
        let preprocessing = parts.limits.entry(&parts.quantizer, a, x, prepared_norm);
        // A probe without a direction under `normalize_rows` has no bound, and says nothing about others.
        if preprocessing.is_finite() {
            self.preprocessing = self.preprocessing.max(preprocessing);
        }
    }

    /// e.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// δ of a row whose z̃ has norm `z_norm`; infinite where nothing is known of it.
    pub fn delta(
        &self,
        limits: &NormBounds,
        quantizer: &ResidualQuantizer,
        a: &Arithmetic,
        x: &[f32],
        prepared: Option<f32>,
        z_norm: f32,
    ) -> f64 {
        if limits.prepared_norm(quantizer, x) > self.safe {
            return f64::INFINITY;
        }
        // 0/0 is NaN, which `max` leaves out.
        let preprocessing = limits.entry(quantizer, a, x, prepared) / self.preprocessing;
        let reach = 1.0f64.max(entry_norm(quantizer, x) / self.entry).max(preprocessing);
        SAFETY * self.error.max(LEAST) * (f64::from(z_norm) + self.typical) * reach
    }
}
