// layer_norm: every row to mean 0 and variance 1, then a gain and a bias for each column; and its gradient.
// Formula:    r = 1/sqrt(variance + 1e-5), z = (x - mean)*r;  y = gain*z + bias;  `backward`: with g = y*gain (y is the gradient
//             of the output), y <- r*(g - mean(g) - z*mean(g*z)) and products = (y as it came)*z
// Inputs:     x [n, d], gain [d] and bias [d] from their offsets on; `backward`: y [n, d]
// Outputs:    y [n, d]; `backward`: products [n, d]
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      64 lanes a row, 4 rows a workgroup; a lane holds every 64th column
// Source:     Ba, Kiros and Hinton 2016; the variance from the differences to the mean, in a second pass, so that nothing cancels
struct Params {
    n: u32,
    d: u32,
    gain: u32,
    bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gains: array<f32>;
@group(0) @binding(3) var<storage, read> biases: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> products: array<f32>;

var<workgroup> part: array<vec2<f32>, 256>;

// Sums over the 64 lanes of a row, for each of its lanes. Called by the whole workgroup.
fn row_sum(lane: u32, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    part[lane] = value;
    for (var step = 32u; step >= 1u; step /= 2u) {
        workgroupBarrier();
        if (lane % 64u < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    return part[lane / 64u * 64u];
}

// Mean and 1/sqrt(variance + 1e-5) of row `row`.
fn moments(row: u32, lane: u32) -> vec2<f32> {
    let inside = row < params.n;
    let first = row * params.d;
    let end = select(0u, params.d, inside);
    var sum = 0.0;
    for (var c = lane % 64u; c < end; c += 64u) {
        sum += x[first + c];
    }
    let mean = row_sum(lane, vec2<f32>(sum, 0.0)).x / f32(params.d);
    var squared = 0.0;
    for (var c = lane % 64u; c < end; c += 64u) {
        let off = x[first + c] - mean;
        squared += off * off;
    }
    let variance = row_sum(lane, vec2<f32>(squared, 0.0)).x / f32(params.d);
    return vec2<f32>(mean, 1.0 / sqrt(variance + 1e-5));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 4u + lane / 64u;
    let m = moments(row, lane);
    if (row >= params.n) {
        return;
    }
    let first = row * params.d;
    for (var c = lane % 64u; c < params.d; c += 64u) {
        y[first + c] = gains[params.gain + c] * ((x[first + c] - m.x) * m.y) + biases[params.bias + c];
    }
}

@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 4u + lane / 64u;
    let m = moments(row, lane);
    let first = row * params.d;
    let end = select(0u, params.d, row < params.n);
    var sums = vec2<f32>();
    for (var c = lane % 64u; c < end; c += 64u) {
        let z = (x[first + c] - m.x) * m.y;
        let g = y[first + c] * gains[params.gain + c];
        products[first + c] = y[first + c] * z;
        sums += vec2<f32>(g, g * z);
    }
    let means = row_sum(lane, sums) / f32(params.d);
    for (var c = lane % 64u; c < end; c += 64u) {
        let z = (x[first + c] - m.x) * m.y;
        let g = y[first + c] * gains[params.gain + c];
        y[first + c] = m.y * (g - means.x - z * means.y);
    }
}
