// sinkhorn: exponents of a Sinkhorn assignment; `sinkhorn_sweep` balances them, `nearest` takes the labels.
// Formula:    d_ij = |r_i|^2 + 2 (half_norms_j - dots_ij);  a_ij = -d_ij/scale, or, with `batch_range`,
//             a_ij = ((mid - d_ij)/(max - mid + 1e-5))/scale, mid = (max + min)/2 over all d
// Inputs:     dots [n, k], half_norms [k], residual r [n, e]
// Outputs:    dots: a [n, k]; extremes [n + 1]: max and min of every row, then of all
// Ties:       none
// Non-finite: passes through to its exponent; extremes may leave NaN out, the sums over rows and columns do not
// Lanes:      squared_l2: 256 lanes a row, fixed trees; range: one workgroup; exponents: one lane a value
// Source:     the centring of LC-Rec (Zheng et al. 2024)
struct Params {
    n: u32,
    k: u32,
    e: u32,
    batch_range: u32,
    scale: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dots: array<f32>;
@group(0) @binding(2) var<storage, read> half_norms: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> extremes: array<vec2<f32>>;

var<workgroup> part: array<f32, 256>;
var<workgroup> part_range: array<vec2<f32>, 256>;

const NOTHING: vec2<f32> = vec2<f32>(-LARGEST, LARGEST);

fn widened(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(max(a.x, b.x), min(a.y, b.y));
}

fn reduce_range(lane: u32, value: vec2<f32>) {
    part_range[lane] = value;
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part_range[lane] = widened(part_range[lane], part_range[lane + step]);
        }
    }
}

@compute @workgroup_size(256)
fn squared_l2(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups);
    if (row >= params.n) {
        return;
    }
    var sum = 0.0;
    for (var c = lane; c < params.e; c += 256u) {
        let value = residual[row * params.e + c];
        sum += value * value;
    }
    part[lane] = sum;
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    let norm = part[0];
    var spread = NOTHING;
    for (var j = lane; j < params.k; j += 256u) {
        let i = row * params.k + j;
        let value = norm + 2.0 * (half_norms[j] - dots[i]);
        dots[i] = value;
        spread = widened(spread, vec2<f32>(value));
    }
    reduce_range(lane, spread);
    if (lane == 0u) {
        extremes[row] = part_range[0];
    }
}

@compute @workgroup_size(256)
fn range(@builtin(local_invocation_index) lane: u32) {
    var spread = NOTHING;
    for (var i = lane; i < params.n; i += 256u) {
        spread = widened(spread, extremes[i]);
    }
    reduce_range(lane, spread);
    if (lane == 0u) {
        extremes[params.n] = part_range[0];
    }
}

@compute @workgroup_size(256)
fn exponents(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i >= params.n * params.k) {
        return;
    }
    var value = -dots[i];
    if (params.batch_range != 0u) {
        let all = extremes[params.n];
        let middle = 0.5 * (all.x + all.y);
        value = (middle - dots[i]) / (all.x - middle + 1e-5);
    }
    dots[i] = value / bitcast<f32>(params.scale);
}
