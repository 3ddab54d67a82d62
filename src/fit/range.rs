//! Rows of any size: what f32 can square and add, and what brings other rows there.
//!
//! Squares of values beyond 2^±64 leave the range of f32, and sums of many do so earlier. Rows whose largest value is outside of
//! 2⁻³⁰ to 2⁴⁰ are therefore multiplied by a power of two, which changes no bit of a significand. It is one of the codec's
//! `scales`, so encoding and decoding do and undo the same. Rows so far from the origin that f32 has no digits left for what
//! tells them apart are centred, where the metric does not look at the origin.

use crate::compute::moments::Moments;
use crate::compute::reference::ResidualQuantizer;
use crate::error::{Error, Result};

/// Largest values that need no factor.
const LEAST: f32 = 1.0 / (1u32 << 30) as f32;
const MOST: f32 = (1u64 << 40) as f32;
/// Largest values that a factor can help: below, devices that take subnormals for 0 see too little of the rows; above, a sum over a
/// row's dimensions may overflow before the factor comes.
const LEAST_SCALED: f32 = 8e-31;
const MOST_SCALED: f32 = 1.3e36;
/// Values after preprocessing whose squares are still safe to add.
const MOST_PREPARED: f64 = (1u64 << 60) as f64;
/// Rows are centred where their mean's squared L2 from the origin is more than this many times their own mean one from it. Below,
/// f32 loses less than five of its 24 bits, which no result shows.
const FAR: f64 = 16.0;

fn decimal(value: f64) -> String {
    if (1e-3..1e6).contains(&value) { format!("{value:.4}") } else { format!("{value:.1e}") }
}

/// The power of two that rows whose largest value is `largest`, either way, are multiplied by.
///
/// # Errors
/// [`Error::Data`] where none helps, with what to multiply or divide the rows by.
pub fn unit(largest: f32, place: &str) -> Result<f32> {
    let exact = f64::from(largest);
    if largest > MOST_SCALED {
        return Err(Error::Data(format!(
            "values up to {exact:.1e} in `{place}` are too large for float32, which ends at 3.4e38 and has to hold sums of them; divide \
             the rows by {:.0e} or more",
            exact / 1e30
        )));
    }
    if largest > 0.0 && largest < LEAST_SCALED {
        return Err(Error::Data(format!(
            "no value in `{place}` is larger than {exact:.1e}, too small for float32, whose precision ends at 1.2e-38; multiply the rows \
             by {:.0e} or more",
            1.0 / exact
        )));
    }
    // 2^floor(log2 of it): the significand's bits off.
    let power = f32::from_bits(largest.to_bits() & 0x7f80_0000);
    Ok(match largest {
        0.0 => 1.0,
        v if v > MOST => MOST / power,
        v if v < LEAST => 1.0 / power,
        _ => 1.0,
    })
}

/// Whether rows lie so far from the origin, for their spread, that they have to be centred.
pub fn is_far(moments: &Moments) -> bool {
    let n = moments.rows as f64;
    moments.rows > 1 && n * moments.squared_mean() > FAR * moments.deviation && moments.squared_mean() > 0.0
}

/// The note shown when rows are centred without the user having asked for it.
pub fn far_note(moments: &Moments, unit: f32) -> String {
    let of = |square: f64| decimal(square.sqrt() / f64::from(unit));
    format!(
        "the rows' mean is {} from the origin, and they are {} from their mean: they are centred, as float32 has too few digits \
         otherwise; squared L2 is the same from any origin",
        of(moments.squared_mean()),
        of(moments.deviation / moments.rows.max(1) as f64)
    )
}

/// Refuses rows that a fitted preprocessing takes out of range.
///
/// # Errors
/// [`Error::Data`] with both sizes.
pub fn check_fits(largest: f32, mean: &[f32], scales: &[f32], place: &str) -> Result<()> {
    let most = |values: &[f32]| values.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let scale = if scales.is_empty() { 1.0 } else { most(scales) };
    let prepared = (f64::from(largest) + most(mean)) * scale;
    if prepared > MOST_PREPARED {
        return Err(Error::Data(format!(
            "values up to {:.1e} in `{place}` are {prepared:.1e} in the units that were fitted to the first rows, more than {MOST_PREPARED:.1e}: \
             these are rows of another scale; divide them, or train anew",
            f64::from(largest)
        )));
    }
    Ok(())
}

/// [`check_fits`] for the preprocessing of a whole quantiser.
pub fn check_quantizer_fits(largest: f32, quantizer: &ResidualQuantizer, place: &str) -> Result<()> {
    check_fits(largest, &quantizer.mean, &quantizer.scales, place)
}

/// Divides what was learned of scaled rows by their factor, so that it holds for the rows as they are.
///
/// # Errors
/// [`Error::Data`] for a scale outside of f32.
pub fn undo(unit: f32, p: usize, mean: &mut [f32], scales: &mut Vec<f32>) -> Result<()> {
    if unit != 1.0 {
        mean.iter_mut().for_each(|m| *m /= unit);
        if scales.is_empty() {
            scales.resize(p, 1.0);
        }
        scales.iter_mut().for_each(|s| *s *= unit);
    }
    if let Some(scale) = scales.iter().find(|s| !s.is_normal() || !s.recip().is_normal()) {
        return Err(Error::Data(format!(
            "rows whose values would be multiplied by {scale:e} are outside of what float32 can scale; multiply or divide the rows \
             so that their values are near 1"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_two_that_bring_rows_into_range() {
        for largest in [1e-30f32, 3e-12, LEAST, 1.0, 0.3, 1e9, MOST, 1e20, 1e36] {
            let unit = unit(largest, "x").unwrap();
            assert_eq!(unit.to_bits() & 0x7f_ffff, 0, "{largest}");
            assert!((LEAST..=2.0 * MOST).contains(&(largest * unit)), "{largest} × {unit}");
            assert_eq!((largest * unit) / unit, largest);
        }
        assert_eq!((unit(0.0, "x").unwrap(), unit(1.0, "x").unwrap()), (1.0, 1.0));
        let text = unit(3e38, "x").unwrap_err().to_string();
        assert!(text.contains("3.0e38") && text.contains("too large for float32") && text.contains("3e8"), "{text}");
        let text = unit(1e-40, "x").unwrap_err().to_string();
        assert!(text.contains("1.0e-40") && text.contains("1e40"), "{text}");
    }

    #[test]
    fn a_factor_goes_into_mean_and_scales() {
        let (mut mean, mut scales) = (vec![8.0, 2.0], Vec::new());
        undo(4.0, 2, &mut mean, &mut scales).unwrap();
        assert_eq!((mean, scales), (vec![2.0, 0.5], vec![4.0, 4.0]));
        assert!(undo(1.0, 1, &mut [], &mut vec![0.0]).is_err() && undo(1.0, 1, &mut [], &mut vec![1e-40]).is_err());
        undo(1.0, 2, &mut [], &mut Vec::new()).unwrap();
    }

    #[test]
    fn rows_are_far_where_their_spread_is_small_beside_their_mean() {
        let moments = |mean: f64, deviation: f64, rows| Moments { rows, mean: vec![mean], deviation };
        assert!(is_far(&moments(5.0, 10.0, 10)) && is_far(&moments(1.0, 0.0, 10)));
        assert!(!is_far(&moments(3.0, 10.0, 10)) && !is_far(&moments(0.0, 0.0, 10)) && !is_far(&moments(5.0, 0.0, 1)));
    }
}
