//! Elementary functions in f32 as branch-free loops that compilers vectorise.

/// e^x within 2 ulp over f32's range; 0 below −87.3, infinity above 88.7, NaN for NaN. Cody–Waite reduction by ln 2 and the
/// degree-6 minimax polynomial of Cephes' `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.37);
    // Adding and taking away 1.5·2²³ rounds to the nearest integer, whose low bits are those of the sum: a cast to an integer would
    // saturate, and keep the loop from being vectorised.
    let shifted = clamped * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = (clamped - n * 0.693_359_375) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4f32;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_55e-1;
    p = p * r + 5.000_000_1e-1;
    let value = (p * r * r + r + 1.0) * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = if x < -87.3 { 0.0 } else { value };
    let value = if x > 88.37 { f32::INFINITY } else { value };
    if x.is_nan() { x } else { value }
}

/// erf(x) within 4 ulp: the rational approximation x·P(x²)/Q(x²) on [−4, 4] that Eigen and XLA use, ±1 outside.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn erf(x: f32) -> f32 {
    let c = x.clamp(-4.0, 4.0);
    let s = c * c;
    let mut p = -2.726_142_258_013_06e-10f32;
    p = p * s + 2.770_681_424_959_02e-8;
    p = p * s - 2.101_024_020_825_08e-6;
    p = p * s - 5.692_506_394_623_46e-5;
    p = p * s - 7.349_906_303_268_55e-4;
    p = p * s - 2.954_599_808_540_25e-3;
    p = p * s - 1.609_603_332_624_15e-2;
    let mut q = -1.456_607_184_649_96e-5f32;
    q = q * s - 2.133_740_552_789_05e-4;
    q = q * s - 1.682_826_974_382_03e-3;
    q = q * s - 7.373_329_167_204_68e-3;
    q = q * s - 1.426_473_905_141_89e-2;
    c * p / q
}

/// The logistic function 1/(1 + e^−x), without overflow on either side.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x·y + z`, rounded once where `FUSED`.
#[inline(always)]
pub fn madd<const FUSED: bool>(x: f32, y: f32, z: f32) -> f32 {
    if FUSED { x.mul_add(y, z) } else { x * y + z }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
        (0..=200_000)
            .map(|i| {
                let x = from + (to - from) * (i as f32 / 200_000.0);
                let want = exact(f64::from(x));
                (f64::from(f(x)) - want).abs() / want.abs().max(1e-30)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_and_erf_are_accurate() {
        assert!(worst(exp, libm::exp, -87.0, 88.0) < 2.5e-7);
        assert!(worst(erf, libm::erf, 1e-3, 6.0) < 5e-7, "{}", worst(erf, libm::erf, 1e-3, 6.0));
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), -80.0, 80.0) < 5e-7);
    }

    #[test]
    fn extremes_stay_defined() {
        assert_eq!((exp(-1e30), exp(1e30), erf(1e30), erf(-1e30)), (0.0, f32::INFINITY, erf(4.0), -erf(4.0)));
        assert!((erf(1e30) - 1.0).abs() < 2e-7);
        assert!(exp(f32::NAN).is_nan() && erf(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!((sigmoid(-1e30), sigmoid(1e30)), (0.0, 1.0));
    }
}
