// residual: what the codeword of its label leaves of every row, in place.
// Formula:    x_ic = x_ic - c_(label_i)c
// Inputs:     rows [n, 4*stride4], codewords [k, 4*stride4], labels [n], all below k
// Outputs:    rows [n, 4*stride4]
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      stride4 lanes a row, one vec4 each
// Source:     elementwise
struct Params {
    n: u32,
    stride4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> codewords: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.n * params.stride4) {
        rows[i] -= codewords[labels[i / params.stride4] * params.stride4 + i % params.stride4];
    }
}
