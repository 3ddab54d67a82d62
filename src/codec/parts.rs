//! What a codec is made of, apart from its encoders: one allocation that codecs and encoders share.

use super::certify::NormBounds;
use super::manifest::Manifest;
use crate::compute::Metric;
use crate::compute::cpu::Cpu;
use crate::compute::mlp::ResidentMlp;
use crate::compute::reference::{Reference, ResidualQuantizer, Scratch};
use crate::data::{Matrix, MatrixView};
use crate::error::{Error, Result, check_shape};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Codeword products that a beam may need, `Σ_m k_m · Σ_{l<m} k_l`: 2 GiB in f64, and half as much for each device in f32.
const MAX_PRODUCTS: u64 = 1 << 28;
/// Codewords of all levels together under a beam, which keeps their dot products with a block of rows: 128 MiB a thread.
const MAX_BEAM_CODEWORDS: u64 = 1 << 18;

/// Codeword products that a beam over codebooks of these sizes reads.
fn products(sizes: &[usize]) -> u64 {
    let (mut total, mut before) = (0u64, 0u64);
    for k in sizes {
        total = total.saturating_add((*k as u64).saturating_mul(before));
        before = before.saturating_add(*k as u64);
    }
    total
}

/// The parts. Encoders hold these rather than the codec, so that a codec can keep an encoder of its own.
pub struct CodecParts {
    pub quantizer: ResidualQuantizer,
    pub manifest: Manifest,
    /// The manifest as the file has it: what a newer release wrote there and this one does not know is saved again as it was.
    pub text: String,
    pub residual_norms: Vec<f32>,
    /// `[m, d]` rows that devices measure their encoder on; none without an encoder.
    pub probes: Matrix,
    pub reference: Reference,
    pub limits: NormBounds,
    gram: OnceLock<Vec<Vec<f64>>>,
    exact: OnceLock<Vec<Vec<f64>>>,
    decoder: OnceLock<ResidentMlp<Cpu>>,
}

impl CodecParts {
    pub fn new(
        quantizer: ResidualQuantizer,
        manifest: Manifest,
        text: String,
        residual_norms: Vec<f32>,
        probes: Matrix,
    ) -> Self {
        let (reference, limits) = (Reference::new(&quantizer), NormBounds::new(&quantizer));
        let (gram, exact, decoder) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { quantizer, manifest, text, residual_norms, probes, reference, limits, gram, exact, decoder }
    }

    pub fn levels(&self) -> usize {
        self.quantizer.codebooks.len()
    }

    /// Codeword products for beam encoding, computed once.
    pub fn gram(&self) -> &[Vec<f64>] {
        self.gram.get_or_init(|| self.reference.gram(&self.quantizer))
    }

    /// The reference's z of every probe, computed once.
    pub fn exact_probes(&self) -> &[Vec<f64>] {
        let one =
            |scratch: &mut Scratch, i| self.reference.enter(&self.quantizer, self.probes.row(i), scratch).to_vec();
        self.exact
            .get_or_init(|| (0..self.probes.rows()).into_par_iter().map_init(Scratch::default, one).collect::<Vec<_>>())
    }

    /// The decoder with its parameters in place, made once.
    pub fn decoder(&self) -> Result<Option<&ResidentMlp<Cpu>>> {
        let Some(mlp) = &self.quantizer.decoder else { return Ok(None) };
        if let Some(decoder) = self.decoder.get() {
            return Ok(Some(decoder));
        }
        let made = ResidentMlp::new(&Cpu::new(), mlp)?;
        Ok(Some(self.decoder.get_or_init(|| made)))
    }

    /// Refuses a beam width that this codec cannot serve.
    pub fn check_beam(&self, beam: usize) -> Result<()> {
        if beam == 0 || beam > 64 {
            return Err(Error::config("beam", format!("expected 1 to 64 prefixes, got {beam}")));
        }
        if beam > 1 && (self.quantizer.metric == Metric::Cosine || self.quantizer.normalize_residuals) {
            let problem =
                format!("a beam of {beam} needs squared L2 without residual normalisation; use 1 for this codec");
            return Err(Error::config("beam", problem));
        }
        if beam > 1 && self.quantizer.product {
            let problem = format!(
                "the levels of a product quantiser do not depend on each other, so a beam of {beam} finds what 1 does; use 1 for this codec"
            );
            return Err(Error::config("beam", problem));
        }
        let sizes = self.quantizer.codebook_sizes();
        let (products, codewords) = (products(&sizes), sizes.iter().map(|k| *k as u64).sum::<u64>());
        if beam > 1 && (products > MAX_PRODUCTS || codewords > MAX_BEAM_CODEWORDS) {
            let problem = format!(
                "a beam of {beam} over codebooks of {sizes:?} codewords needs {products} products of {codewords} codewords in memory, at \
                 most {MAX_PRODUCTS} of {MAX_BEAM_CODEWORDS} are held; use 1 for this codec"
            );
            return Err(Error::config("beam", problem));
        }
        Ok(())
    }

    /// Refuses rows of another size, and NaN and infinity.
    pub fn check_rows(&self, rows: MatrixView<'_>) -> Result<()> {
        check_shape("d", self.quantizer.dims, rows.dims(), "rows to encode")?;
        if let Some((first, count)) = crate::data::first_non_finite(rows.as_slice(), rows.dims()) {
            let (first, count, rows) = (first as u64, count as u64, rows.rows() as u64);
            return Err(Error::NonFinite { first, count, rows, place: "rows to encode".into() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::products;

    #[test]
    fn products_of_any_sizes_are_counted() {
        assert_eq!(products(&[]), 0);
        assert_eq!(products(&[7]), 0);
        assert_eq!(products(&[2, 3, 5]), 3 * 2 + 5 * (2 + 3));
        assert_eq!(products(&[500_000, 500_000]), 250_000_000_000);
        assert_eq!(products(&[usize::MAX, usize::MAX, 1]), u64::MAX);
    }
}
