//! Rotary angles that are stretched for longer sequences than those of the first training.

use sememe::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a decoder's rotary positions reach further than it was first trained for.
///
/// ```
/// use sememe_recommend::{DecoderShape, RopeScaling};
/// let plain = DecoderShape::small(64, 2, 4, 50);
/// let scaled = DecoderShape { rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }), ..plain.clone() };
/// assert_eq!(scaled.angles(3)[2 * 16..], plain.angles(2)[16..]);
/// assert!(RopeScaling::Linear { factor: 0.0 }.validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RopeScaling {
    /// All positions are divided by a factor (Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Slow turns are divided by a factor, fast ones are kept, and those between go from one to the other, as in Llama 3.1.
    Llama3 {
        /// The divisor of slow turns.
        factor: f64,
        /// Turns slower than so many in `original_positions` are divided.
        low_frequency_factor: f64,
        /// Turns faster than so many in `original_positions` are kept.
        high_frequency_factor: f64,
        /// The longest sequence of the first training.
        original_positions: usize,
    },
}

impl RopeScaling {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first that does not fit.
    pub fn validate(&self) -> Result<()> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(Error::config(format!("rope_scaling.{name}"), format!("expected a positive number, got {value}")))
        };
        match *self {
            Self::Linear { factor } => positive("factor", factor),
            Self::Llama3 { factor, low_frequency_factor: low, high_frequency_factor: high, original_positions } => {
                positive("factor", factor)?;
                positive("low_frequency_factor", low)?;
                positive("high_frequency_factor", high)?;
                if high <= low {
                    let problem = format!("expected more than the low_frequency_factor of {low}, got {high}");
                    return Err(Error::config("rope_scaling.high_frequency_factor", problem));
                }
                if original_positions == 0 {
                    return Err(Error::config("rope_scaling.original_positions", "expected 1 or more, got 0"));
                }
                Ok(())
            }
        }
    }

    /// What the turn of a position becomes.
    pub(super) fn scaled(&self, turn: f64) -> f64 {
        match *self {
            Self::Linear { factor } => turn / factor,
            Self::Llama3 { factor, low_frequency_factor: low, high_frequency_factor: high, original_positions } => {
                // How often it goes round in the sequences of the first training.
                let rounds = original_positions as f64 * turn / std::f64::consts::TAU;
                let kept = ((rounds - low) / (high - low)).clamp(0.0, 1.0);
                kept * turn + (1.0 - kept) * turn / factor
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA3: RopeScaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_positions: 64,
    };

    #[test]
    fn slow_turns_are_divided_and_fast_ones_kept() {
        let turn = |rounds: f64| rounds * std::f64::consts::TAU / 64.0;
        assert_eq!(RopeScaling::Linear { factor: 4.0 }.scaled(1.0), 0.25);
        assert_eq!(LLAMA3.scaled(turn(5.0)), turn(5.0));
        assert_eq!(LLAMA3.scaled(turn(0.5)), turn(0.5) / 8.0);
        let want = 0.5 * turn(2.5) + 0.5 * turn(2.5) / 8.0;
        assert!((LLAMA3.scaled(turn(2.5)) - want).abs() < 1e-15);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        LLAMA3.validate().expect("that of Llama 3.1");
        let refused = |scaling: RopeScaling| scaling.validate().expect_err("refused").to_string();
        assert!(refused(RopeScaling::Linear { factor: f64::NAN }).contains("got NaN"));
        let flat = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 4.0,
            high_frequency_factor: 4.0,
            original_positions: 64,
        };
        assert!(refused(flat).contains("more than the low_frequency_factor of 4, got 4"));
    }
}
