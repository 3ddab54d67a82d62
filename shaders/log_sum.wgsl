// Part of `softmax` and `sinkhorn_sweep`: sums of exponentials that neither overflow nor vanish.
//
// A pair (m, s) stands for s * exp(m), m being the largest exponent met (Milakov and Gimelshein 2018); one exponential a term.

const EMPTY: vec2<f32> = vec2<f32>(-LARGEST, 0.0);

// exp(t) for t <= 0; 0 where the result would be subnormal, so that no device is asked for exp of very long numbers. NaN stays NaN:
// some devices' exp and log give numbers for it.
fn decay(t: f32) -> f32 {
    return select(select(exp(t), 0.0, t < -87.0), t, is_nan(t));
}

// Adds exp(x). A NaN leaves m and spoils s.
fn push(pair: vec2<f32>, x: f32) -> vec2<f32> {
    let t = decay(-abs(x - pair.x));
    return select(vec2<f32>(pair.x, pair.y + t), vec2<f32>(x, pair.y * t + 1.0), x > pair.x);
}

fn join(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let m = max(a.x, b.x);
    return vec2<f32>(m, a.y * decay(a.x - m) + b.y * decay(b.x - m));
}

fn log_of(pair: vec2<f32>) -> f32 {
    return select(pair.x + log(pair.y), pair.y, is_nan(pair.y));
}
