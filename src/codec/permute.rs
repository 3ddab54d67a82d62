//! The same codec under other names of its codewords.

use super::{Codec, Manifest, file};
use crate::data::Matrix;
use crate::error::{Error, Result, check_shape};

impl Codec {
    /// This codec with its codewords in another order: codeword `j` of level `l` becomes `permutations[l][j]`, so that every row
    /// gets the code that its old one became. `aligned_to`, if given, goes into the manifest. O(Σk·e).
    ///
    /// Reconstructions are the same, bit for bit. Codes are the same but for their names, with one exception: of codewords that
    /// score exactly alike for a row, in f64, the lowest index wins, and which is the lowest may be another one now. Codewords
    /// that are equal always score alike, so keep them in their order, as [`ids::align`](crate::ids::align()) does.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not a permutation a level, of the size of its codebook; [`Error::Data`] for what is no permutation,
    /// and for different ones for the levels of a shared codebook; [`Error::Codec`] for a codec of a newer release whose manifest says more
    /// than this one knows.
    pub fn permute(&self, permutations: &[Vec<u32>], aligned_to: Option<&str>) -> Result<Self> {
        check_shape("levels", self.levels(), permutations.len(), "permutations")?;
        let parts = self.parts();
        if let Some(field) = file::unknown_field(&parts.text, &parts.manifest)? {
            return Err(Error::Codec(format!(
                "its manifest has a field `{field}`, which this release does not know, so it cannot tell what becomes of it under other \
                 names; use a newer sememe"
            )));
        }
        for (level, (order, book)) in permutations.iter().zip(&parts.quantizer.codebooks).enumerate() {
            check_shape("codewords", book.rows(), order.len(), format!("permutation {level}"))?;
            let mut seen = vec![false; order.len()];
            for (j, to) in order.iter().enumerate() {
                match seen.get_mut(*to as usize) {
                    Some(seen) if !*seen => *seen = true,
                    _ => {
                        let problem =
                            format!("permutation {level} takes codeword {j} to {to}, which is taken or past the end");
                        return Err(Error::Data(problem));
                    }
                }
            }
            if parts.manifest.shared_codebook && *order != permutations[0] {
                return Err(Error::Data(format!(
                    "levels 0 and {level} share their codebook, but have different permutations"
                )));
            }
        }
        let mut quantizer = parts.quantizer.clone();
        for (book, order) in quantizer.codebooks.iter_mut().zip(permutations) {
            let mut moved = Matrix::zeros(book.rows(), book.dims())?;
            for (j, to) in order.iter().enumerate() {
                moved.row_mut(*to as usize).copy_from_slice(book.row(j));
            }
            *book = moved;
        }
        for (prices, order) in quantizer.prices.iter_mut().zip(permutations) {
            let before = prices.clone();
            before.iter().zip(order).for_each(|(price, to)| prices[*to as usize] = *price);
        }
        let manifest = Manifest { aligned_to: aligned_to.map(str::to_owned), ..parts.manifest.clone() };
        Self::assemble(quantizer, manifest, String::new(), parts.residual_norms.clone(), parts.probes.clone())
    }
}
