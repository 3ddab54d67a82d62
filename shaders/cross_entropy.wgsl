// cross_entropy: of rows of logits with smoothed targets, and its gradient in their place.
// Formula:    q_ij = (1 - smoothing)*[j = t_i] + smoothing/k;  loss[at + i] = -sum_j q_ij log softmax_j(x_i);
//             then x_ij <- factor * (softmax_j(x_i) - q_ij)
// Inputs:     x [n, k], targets t [n] from `first` on
// Outputs:    x, loss [n] from `at` on
// Ties:       a target of k or more gives a loss and a gradient of 0
// Non-finite: passes through to its row
// Lanes:      256 lanes a row; fixed trees
// Source:     Szegedy et al. 2016; sums of exponentials as `log_sum.wgsl` has them
struct Params {
    n: u32,
    k: u32,
    factor: u32,
    smoothing: u32,
    first: u32,
    at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

var<workgroup> part: array<vec3<f32>, 256>;

// The sum of exponentials in x and y, and a plain sum in z.
fn joined(lane: u32, pair: vec2<f32>, sum: f32) -> vec3<f32> {
    part[lane] = vec3<f32>(pair, sum);
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            let a = part[lane];
            let b = part[lane + step];
            part[lane] = vec3<f32>(join(a.xy, b.xy), a.z + b.z);
        }
    }
    workgroupBarrier();
    return part[0];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups);
    if (row >= params.n) {
        return;
    }
    let wanted = targets[params.first + row];
    let first = row * params.k;
    if (wanted >= params.k) {
        for (var j = lane; j < params.k; j += 256u) {
            x[first + j] = 0.0;
        }
        if (lane == 0u) {
            loss[params.at + row] = 0.0;
        }
        return;
    }
    // Sums of logits are those of their distance to the target's, so that what all of them share does not cancel.
    let target_logit = x[first + wanted];
    var pair = EMPTY;
    var sum = 0.0;
    for (var j = lane; j < params.k; j += 256u) {
        let value = x[first + j];
        pair = push(pair, value);
        sum += value - target_logit;
    }
    let whole = joined(lane, pair, sum);
    let smoothing = bitcast<f32>(params.smoothing);
    let share = smoothing / f32(params.k);
    if (lane == 0u) {
        var value = log_of(vec2<f32>(whole.x - target_logit, whole.y));
        // Without smoothing no other logit counts, not even one of minus infinity.
        if (smoothing != 0.0) {
            value -= smoothing * (whole.z / f32(params.k));
        }
        loss[params.at + row] = value;
    }
    for (var j = lane; j < params.k; j += 256u) {
        let p = decay(x[first + j] - whole.x) / whole.y;
        x[first + j] = bitcast<f32>(params.factor) * (p - share - select(0.0, 1.0 - smoothing, j == wanted));
    }
}
