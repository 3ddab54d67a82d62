// Part of `attention_queries` and `attention_keys`, after attention_sum.wgsl: their weights, p and d.
fn probability(s: vec4<f32>, logs: vec4<f32>, out_of_sight: vec4<bool>) -> vec4<f32> {
    return select(decays(bitcast<f32>(params.scale) * s - logs), vec4<f32>(), out_of_sight);
}

// Turns the lane's p into d by a column of the products g.v. They wait in `weights` while those are computed, so that registers are free.
fn slope(at: u32, gv: vec4<f32>, delta: vec4<f32>, out_of_sight: vec4<bool>) {
    let d = bitcast<f32>(params.scale) * weights[at] * (gv - delta);
    weights[at] = select(d, vec4<f32>(), out_of_sight);
}
