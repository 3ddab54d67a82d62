// Part of `attention_queries` and `attention_keys`, after attention_sum.wgsl: what their tiles are read from, and their weights, p and d.
const QKV: u32 = 0u;
const G: u32 = 1u;

fn one(source: u32, at: u32) -> f32 {
    if (source == QKV) {
        return qkv[at];
    }
    return g[at];
}

fn four(source: u32, at: u32) -> vec4<f32> {
    if (source == QKV) {
        return vec4<f32>(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]);
    }
    return vec4<f32>(g[at], g[at + 1u], g[at + 2u], g[at + 3u]);
}

fn write(at: u32, value: f32) {
    grad[at] = value;
}

fn probability(s: vec4<f32>, logs: vec4<f32>, out_of_sight: vec4<bool>) -> vec4<f32> {
    return select(decays(bitcast<f32>(params.scale) * s - logs), vec4<f32>(), out_of_sight);
}

// Turns the lane's p into d by a column of the products g.v. They wait in `weights` while those are computed, so that registers are free.
fn slope(at: u32, gv: vec4<f32>, delta: vec4<f32>, out_of_sight: vec4<bool>) {
    let d = bitcast<f32>(params.scale) * weights[at] * (gv - delta);
    weights[at] = select(d, vec4<f32>(), out_of_sight);
}
