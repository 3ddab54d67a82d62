// softmax: softmax of rows, its derivative, and cross-entropy.
// Formula:    gumbel: x <- softmax_j((2 (x_ij - half_norms_j) + noise_ij) / factor);
//             backward: x <- factor * p_ij * (x_ij - sum_m p_im x_im);
//             contrast: loss_i = w_i (log sum_j exp(x_ij) - x_it), then x <- factor * w_i * (softmax_j(x_i) - [j = t])
// Inputs:     x [n, k]; half_norms [k], noise [n, k]; or probabilities p [n, k]; or targets t [n] and weights w [n], 1 unless `weighted`
// Outputs:    x, loss [n]
// Ties:       with `exclude_diagonal`, j = i has no part in the softmax; for a target of k or more, x_it and [j = t] are 0
// Non-finite: passes through to its row
// Lanes:      256 lanes a row; fixed trees
// Source:     Jang, Gu and Poole 2017; sums of exponentials as `log_sum.wgsl` has them
struct Params {
    n: u32,
    k: u32,
    factor: u32,
    exclude_diagonal: u32,
    weighted: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> half_norms: array<f32>;
@group(0) @binding(3) var<storage, read> noise: array<f32>;
@group(0) @binding(4) var<storage, read> probabilities: array<f32>;
@group(0) @binding(5) var<storage, read> targets: array<u32>;
@group(0) @binding(6) var<storage, read> weights: array<f32>;
@group(0) @binding(7) var<storage, read_write> loss: array<f32>;

var<workgroup> part: array<vec2<f32>, 256>;
var<workgroup> goal: f32;

// The sum of exponentials of a row, from those of its lanes.
fn joined(lane: u32, pair: vec2<f32>) -> vec2<f32> {
    part[lane] = pair;
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] = join(part[lane], part[lane + step]);
        }
    }
    workgroupBarrier();
    return part[0];
}

@compute @workgroup_size(256)
fn gumbel(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups);
    if (row >= params.n) {
        return;
    }
    var pair = EMPTY;
    for (var j = lane; j < params.k; j += 256u) {
        let i = row * params.k + j;
        let value = (2.0 * (x[i] - half_norms[j]) + noise[i]) / bitcast<f32>(params.factor);
        x[i] = value;
        pair = push(pair, value);
    }
    pair = joined(lane, pair);
    for (var j = lane; j < params.k; j += 256u) {
        let i = row * params.k + j;
        x[i] = decay(x[i] - pair.x) / pair.y;
    }
}

@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups);
    if (row >= params.n) {
        return;
    }
    var sum = 0.0;
    for (var j = lane; j < params.k; j += 256u) {
        let i = row * params.k + j;
        sum += probabilities[i] * x[i];
    }
    part[lane] = vec2<f32>(sum, 0.0);
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    let mean = part[0].x;
    for (var j = lane; j < params.k; j += 256u) {
        let i = row * params.k + j;
        x[i] = bitcast<f32>(params.factor) * probabilities[i] * (x[i] - mean);
    }
}

@compute @workgroup_size(256)
fn contrast(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups);
    if (row >= params.n) {
        return;
    }
    // No column has this number, so that no comparison with it holds.
    let diagonal = select(0xffffffffu, row, params.exclude_diagonal != 0u);
    let wanted = targets[row];
    var pair = EMPTY;
    var mine = 0.0;
    for (var j = lane; j < params.k; j += 256u) {
        let value = x[row * params.k + j];
        if (j == wanted) {
            mine = value;
        }
        if (j != diagonal) {
            pair = push(pair, value);
        }
    }
    // The one lane that would have met the target says what it found.
    if (lane == wanted % 256u) {
        goal = mine;
    }
    pair = joined(lane, pair);
    var weight = 1.0;
    if (params.weighted != 0u) {
        weight = weights[row];
    }
    if (lane == 0u) {
        loss[row] = weight * (log_of(pair) - goal);
    }
    for (var j = lane; j < params.k; j += 256u) {
        let i = row * params.k + j;
        let share = select(decay(x[i] - pair.x) / pair.y, 0.0, j == diagonal);
        x[i] = bitcast<f32>(params.factor) * weight * (share - f32(j == wanted));
    }
}
