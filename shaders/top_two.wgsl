// Appended to `assign`: the running best and second-best score of four rows a lane.
// The merge over lanes is merge_lanes.wgsl or merge_subgroup.wgsl.
// Codewords come in ascending order, so a strict comparison keeps the lowest index on a tie.
struct Top {
    best: vec4<f32>,
    second: vec4<f32>,
    index: vec4<u32>,
}

fn consider(top: ptr<function, Top>, j: u32, dots: vec4<f32>) {
    let scale = scale_bias[j];
    let s = scale.y - scale.x * dots;
    let less = s < (*top).best;
    (*top).second = select(min((*top).second, s), (*top).best, less);
    (*top).best = select((*top).best, s, less);
    (*top).index = select((*top).index, vec4<u32>(j), less);
}

fn consider_block(top: ptr<function, Top>, j: u32, dots: mat4x4<f32>) {
    consider(top, j, dots[0]);
    consider(top, j + 1u, dots[1]);
    consider(top, j + 2u, dots[2]);
    consider(top, j + 3u, dots[3]);
}

// Takes in what other lanes found of the same rows.
fn take_in(top: ptr<function, Top>, b: vec4<f32>, s: vec4<f32>, i: vec4<u32>) {
    let take = (b < (*top).best) | ((b == (*top).best) & (i < (*top).index));
    (*top).second = min(max((*top).best, b), min((*top).second, s));
    (*top).best = select((*top).best, b, take);
    (*top).index = select((*top).index, i, take);
}

// Lanes below `step` take in what the lanes `step` above them found. Indices travel as f32, exact below 2^24.
fn exchange_through_memory(top: ptr<function, Top>, tx: u32, ty: u32, step: u32) {
    let at = (ty * step + tx % step) * 3u;
    workgroupBarrier();
    if (tx >= step && tx < 2u * step) {
        tile[at] = (*top).best;
        tile[at + 1u] = (*top).second;
        tile[at + 2u] = vec4<f32>((*top).index);
    }
    workgroupBarrier();
    if (tx < step) {
        take_in(top, tile[at], tile[at + 1u], vec4<u32>(tile[at + 2u]));
    }
}
