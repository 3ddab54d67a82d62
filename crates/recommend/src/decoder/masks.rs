//! Dropout masks: bits that a seed and a step draw, and where each mask of a pass lies among them.

use super::shape::DecoderShape;
use sememe::compute::tensor::{Mask, TensorBackend};
use sememe::rng::stream;

/// Dropout masks of one step: bits, the first place, and `1/(1 − p)`. Every mask takes [`mask_bits`] of them.
pub(crate) struct DropoutMasks<'a, B: TensorBackend> {
    pub bits: &'a B::Index,
    pub first_bit: usize,
    pub scale: f32,
}

impl<'a, B: TensorBackend> DropoutMasks<'a, B> {
    /// The mask `number` over `n` tokens of `d` values.
    pub fn mask(&self, number: usize, n: usize, d: usize) -> Mask<'a, B::Index> {
        Mask { bits: self.bits, first_bit: self.first_bit + number * mask_bits(n, d), scale: self.scale }
    }
}

/// Bits of a mask over `n` tokens of `d` values: whole words.
pub(crate) fn mask_bits(n: usize, d: usize) -> usize {
    (n * d).next_multiple_of(32)
}

/// Masks that a pass takes: one for what goes in, two a block.
pub(crate) fn mask_count(shape: &DecoderShape) -> usize {
    1 + 2 * shape.layers
}

/// Words of dropout masks for a step: each bit is set with a probability of `keep`, to within 1/65,536.
///
/// Sixteen words of even bits, taken together from the least digit of `keep` on: a digit of 1 ORs the word in, a digit of 0 ANDs it.
pub(crate) fn mask_words(keep: f64, seed: u64, step: u64, words: usize) -> Vec<u32> {
    let digits = (keep.clamp(0.0, 1.0) * 65_536.0).round() as u32;
    if digits >= 65_536 {
        return vec![u32::MAX; words];
    }
    let mut random = stream(seed, "recommend.dropout", step);
    let lowest = digits.trailing_zeros().min(16);
    let mut draw = || {
        let mut word = 0u64;
        for digit in lowest..16 {
            let even = random.bits();
            word = if digits >> digit & 1 == 1 { word | even } else { word & even };
        }
        word
    };
    let mut out = Vec::with_capacity(words + 1);
    while out.len() < words {
        let word = draw();
        out.extend([word as u32, (word >> 32) as u32]);
    }
    out.truncate(words);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_share_that_is_asked_for() {
        for keep in [0.0, 0.25, 0.5, 0.6, 0.9, 1.0] {
            let words = mask_words(keep, 7, 1, 4096);
            let share = words.iter().map(|w| f64::from(w.count_ones())).sum::<f64>() / (4096.0 * 32.0);
            assert!((share - keep).abs() < 0.006, "{share} of {keep}");
        }
        assert_ne!(mask_words(0.5, 7, 1, 4), mask_words(0.5, 7, 2, 4));
        assert_eq!(mask_words(0.5, 7, 1, 3), mask_words(0.5, 7, 1, 4)[..3]);
    }
}
