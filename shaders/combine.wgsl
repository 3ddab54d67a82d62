// combine: sums of tensors, value by value.
// Formula:    `main`: y_i = alpha*x_i + beta*y_i;  `subtract`: y_i = alpha*(x_i - b_i);  `gather`: y_i = alpha * sum_p x_(p*len + i) + beta*y_i;
//             `rows`: y_ic = alpha*b_i*x_ic + beta*y_ic
// Inputs:     x [len] (`gather`: [pieces, len]; `rows`: [len / pieces, pieces]) and b [len] (`rows`: [len / pieces]) from their offsets on, y [len], read only where `keep` says so
// Outputs:    y [len] from `at` on
// Ties:       none
// Non-finite: passes through
// Lanes:      a lane holds one value; `gather` adds its pieces in order
// Source:     elementwise
struct Params {
    len: u32,
    a: u32,
    b: u32,
    at: u32,
    alpha: u32,
    beta: u32,
    keep: u32,
    pieces: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn write(i: u32, x: f32) {
    var value = bitcast<f32>(params.alpha) * x;
    if (params.keep != 0u) {
        value += bitcast<f32>(params.beta) * y[params.at + i];
    }
    y[params.at + i] = value;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        write(i, x[params.a + i]);
    }
}

@compute @workgroup_size(256)
fn subtract(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        y[params.at + i] = bitcast<f32>(params.alpha) * (x[params.a + i] - b[params.b + i]);
    }
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        write(i, b[params.b + i / params.pieces] * x[params.a + i]);
    }
}

@compute @workgroup_size(256)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        var sum = x[i];
        for (var p = 1u; p < params.pieces; p++) {
            sum += x[p * params.len + i];
        }
        write(i, sum);
    }
}
