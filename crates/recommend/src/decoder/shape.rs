//! What a decoder looks like: the block of the Llama family, with what Qwen 2 and Qwen 3 add to it.

use super::rope::RopeScaling;
use sememe::{Error, Result};
use serde::{Deserialize, Serialize};

/// Sizes and forms of a decoder's blocks: RMSNorm, rotary positions, grouped heads, a gated feed-forward layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderShape {
    /// Values a token.
    pub dims: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; it divides `heads`.
    pub kv_heads: usize,
    /// Values a head, an even number.
    pub head_dims: usize,
    /// Values of the feed-forward layer.
    pub feed_forward: usize,
    /// The longest sequence.
    pub positions: usize,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// How the angles are stretched, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Added to the mean of squares.
    pub norm_epsilon: f32,
    /// Whether queries, keys and values have biases, as in Qwen 2.
    pub attention_bias: bool,
    /// Whether queries and keys are normalised head by head, as in Qwen 3.
    pub query_key_norm: bool,
}

impl DecoderShape {
    /// A small decoder with heads of equal kind and a feed-forward layer three times as wide.
    #[must_use]
    pub fn small(dims: usize, layers: usize, heads: usize, positions: usize) -> Self {
        Self {
            dims,
            layers,
            heads,
            kv_heads: heads,
            head_dims: dims / heads.max(1),
            feed_forward: dims.saturating_mul(3),
            positions,
            rope_theta: 10_000.0,
            rope_scaling: None,
            norm_epsilon: 1e-6,
            attention_bias: false,
            query_key_norm: false,
        }
    }

    /// Values of a token's queries, keys and values.
    #[must_use]
    pub fn attention_row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dims
    }

    /// Values that all heads of the queries give.
    #[must_use]
    pub fn attention_width(&self) -> usize {
        self.heads * self.head_dims
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that does not fit, with the numbers.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("dims", self.dims, 16_384),
            ("heads", self.heads, 1024),
            ("kv_heads", self.kv_heads, 1024),
            ("head_dims", self.head_dims, 1024),
            ("feed_forward", self.feed_forward, 131_072),
            ("positions", self.positions, 1 << 20),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(Error::config(name, format!("expected 1 to {most}, got {value}")));
            }
        }
        if self.layers > 512 {
            return Err(Error::config("layers", format!("expected at most 512, got {}", self.layers)));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem =
                format!("expected a divisor of the {} heads of the queries, got {}", self.heads, self.kv_heads);
            return Err(Error::config("kv_heads", problem));
        }
        if !self.head_dims.is_multiple_of(2) {
            let problem =
                format!("rotary positions turn pairs of values, so expected an even number, got {}", self.head_dims);
            return Err(Error::config("head_dims", problem));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(Error::config("rope_theta", format!("expected a positive number, got {}", self.rope_theta)));
        }
        if let Some(scaling) = &self.rope_scaling {
            scaling.validate()?;
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            return Err(Error::config("norm_epsilon", format!("expected 0 or more, got {}", self.norm_epsilon)));
        }
        Ok(())
    }

    /// Cosines and sines of the first `positions` positions, `[positions, head_dims]`: cosines first. In f64, so that they are the same
    /// everywhere.
    #[must_use]
    pub fn angles(&self, positions: usize) -> Vec<f32> {
        let half = self.head_dims / 2;
        let turn = |i: usize| {
            let plain = libm::pow(self.rope_theta, -2.0 * i as f64 / self.head_dims as f64);
            self.rope_scaling.map_or(plain, |scaling| scaling.scaled(plain))
        };
        let turns: Vec<f64> = (0..half).map(turn).collect();
        let mut out = vec![0.0; positions * self.head_dims];
        for (position, row) in out.chunks_exact_mut(self.head_dims).enumerate() {
            for (i, turn) in turns.iter().enumerate() {
                let angle = position as f64 * turn;
                row[i] = libm::cos(angle) as f32;
                row[half + i] = libm::sin(angle) as f32;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_the_numbers() {
        let good = DecoderShape::small(64, 2, 4, 50);
        good.validate().expect("a small decoder");
        let refused = |change: fn(&mut DecoderShape)| {
            let mut shape = good.clone();
            change(&mut shape);
            shape.validate().expect_err("refused").to_string()
        };
        assert!(refused(|s| s.dims = 0).contains("expected 1 to 16384, got 0"));
        assert!(refused(|s| s.kv_heads = 3).contains("expected a divisor of the 4 heads of the queries, got 3"));
        assert!(refused(|s| s.head_dims = 7).contains("even number, got 7"));
        assert!(refused(|s| s.rope_theta = f64::NAN).contains("got NaN"));
        assert!(refused(|s| s.layers = 1000).contains("at most 512, got 1000"));
    }

    #[test]
    fn angles_turn_by_position() {
        let shape = DecoderShape { head_dims: 4, positions: 3, ..DecoderShape::small(8, 1, 2, 3) };
        let angles = shape.angles(3);
        assert_eq!(&angles[..4], &[1.0, 1.0, 0.0, 0.0]);
        let want = [2f64.cos(), 0.02f64.cos(), 2f64.sin(), 0.02f64.sin()];
        for (got, want) in angles[8..].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-7, "{got} {want}");
        }
        let stretched = DecoderShape { rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }), ..shape };
        assert_eq!(stretched.angles(3)[8..], angles[4..8]);
    }
}
