// rms_norm: every row to a mean square of 1, then a gain for each column; and its gradient.
// Formula:    r = 1/sqrt(mean(x^2) + epsilon);  y = gain*(x*r);  `backward`: with z = x*r and g = y*gain (y is the gradient of the
//             output), products = (y as it came)*z and y <- r*(g - z*mean(g*z))
// Inputs:     x, in which row t*heads + i lies from value offset + t*stride + i*d on; gain [d] from its offset on; `backward`: y as x
// Outputs:    y as x; `backward`: products [tokens*heads, d]
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      64 lanes a row, 4 rows a workgroup; a lane holds every 64th column
// Source:     Zhang and Sennrich 2019
struct Params {
    rows: u32,
    d: u32,
    heads: u32,
    stride: u32,
    offset: u32,
    gain: u32,
    epsilon: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gains: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> products: array<f32>;

var<workgroup> part: array<f32, 256>;

// The mean over the 64 lanes of a row, for each of its lanes. Called by the whole workgroup.
fn row_mean(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    part[lane] = value;
    for (var step = 32u; step >= 1u; step /= 2u) {
        workgroupBarrier();
        if (lane % 64u < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    return part[lane / 64u * 64u] / f32(params.d);
}

fn place(row: u32) -> u32 {
    return params.offset + row / params.heads * params.stride + row % params.heads * params.d;
}

// 1/sqrt(mean(x^2) + epsilon) of the row that starts at `first` and has `end` values.
fn factor(first: u32, end: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var c = lane % 64u; c < end; c += 64u) {
        let value = x[first + c];
        sum += value * value;
    }
    return 1.0 / sqrt(row_mean(lane, sum) + bitcast<f32>(params.epsilon));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 4u + lane / 64u;
    let first = place(row);
    let end = select(0u, params.d, row < params.rows);
    let r = factor(first, end, lane);
    for (var c = lane % 64u; c < end; c += 64u) {
        y[first + c] = gains[params.gain + c] * (x[first + c] * r);
    }
}

@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 4u + lane / 64u;
    let first = place(row);
    let end = select(0u, params.d, row < params.rows);
    let r = factor(first, end, lane);
    var sum = 0.0;
    for (var c = lane % 64u; c < end; c += 64u) {
        let product = y[first + c] * (x[first + c] * r);
        products[row * params.d + c] = product;
        sum += product * gains[params.gain + c];
    }
    let mean = row_mean(lane, sum);
    for (var c = lane % 64u; c < end; c += 64u) {
        y[first + c] = r * (y[first + c] * gains[params.gain + c] - x[first + c] * r * mean);
    }
}
