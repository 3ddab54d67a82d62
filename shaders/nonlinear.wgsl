// Appended where activations are computed. Kinds are 0 ReLU, 1 GELU, 2 SiLU.
// WGSL has no error function. Source of this one: Cephes' ndtrf.c (Moshier 1989): erf(t) = t*T(t^2) for t < 1, erfc(t) =
// exp(-t^2)/t * P(1/t^2) below 2 and R(1/t^2) above. Against f64 the formulas are off by at most 1.3e-9, 3.1e-8 and 2.4e-8
// of their value; evaluated in f32 with a correct exp, the normal distribution is off by at most 1.1e-7.
const HALF_ROOT: f32 = 0.70710678118654752;

// The normal distribution, P(X <= x).
fn normal(x: f32) -> f32 {
    // Beyond 10 f32 holds no more of erfc; the bound keeps powers finite.
    let t = min(abs(x) * HALF_ROOT, 10.0);
    if (t < 1.0) {
        let y = t * t;
        let p = ((((((7.853861353153693e-5 * y - 8.010193625184903e-4) * y + 5.188327685732524e-3) * y
            - 2.685381193529856e-2) * y + 1.128358514861418e-1) * y - 3.761262582423300e-1) * y + 1.128379165726710);
        return 0.5 + sign(x) * 0.5 * t * p;
    }
    let q = 1.0 / t;
    let y = q * q;
    var p: f32;
    if (t < 2.0) {
        p = (((((((2.326819970068386e-2 * y - 1.387039388740657e-1) * y + 3.687424674597105e-1) * y
            - 5.824733027278666e-1) * y + 6.210004621745983e-1) * y - 4.944515323274145e-1) * y
            + 3.404879937665872e-1) * y - 2.741127028184656e-1) * y + 5.638259427386472e-1;
    } else {
        p = ((((((-1.047766399936249e+1 * y + 1.297719955372516e+1) * y - 7.495518717768503) * y
            + 2.921019019210786) * y - 1.015265279202700) * y + 4.218463358204948e-1) * y
            - 2.820767439740514e-1) * y + 5.641895067754075e-1;
    }
    let tail = 0.5 * exp(-t * t) * q * p;
    return select(1.0 - tail, tail, x < 0.0);
}

// 1 / (1 + exp(-x)), without an exponential of anything above 0.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

fn activated(kind: u32, x: f32) -> f32 {
    if (kind == 1u) {
        return x * normal(x);
    }
    if (kind == 2u) {
        return x * sigmoid(x);
    }
    // Not max: that would lose a NaN.
    return select(x, 0.0, x <= 0.0);
}

// The derivative of `activated`.
fn slope(kind: u32, x: f32) -> f32 {
    if (kind == 1u) {
        // 1/sqrt(2 pi) times x*exp(-x^2/2), which is 0 in f32 beyond |x| = 20.
        let near = clamp(x, -20.0, 20.0);
        return normal(x) + 0.3989422804014327 * x * exp(-0.5 * near * near);
    }
    if (kind == 2u) {
        return sigmoid(x) * (1.0 + x * sigmoid(-x));
    }
    return select(1.0, 0.0, x <= 0.0);
}
