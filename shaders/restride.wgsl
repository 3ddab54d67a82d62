// restride: between rows, whose lines are padded, and dense tensors; and some columns of rows.
// Formula:    `pack`: dense[at + i*d + c] = rows[first + i, c];
//             `unpack`: lines[i, c] = source[at + i*d + c], 0 for c >= columns
// Inputs:     `pack`: rows [_, stride];  `unpack`: source [rows, d] from `at` on, a tensor or padded lines
// Outputs:    `pack`: dense [rows, d] from `at` on;  `unpack`: lines [rows, stride]
// Ties:       none
// Non-finite: passes through
// Lanes:      a lane holds one value
// Source:     elementwise
struct Params {
    rows: u32,
    d: u32,
    stride: u32,
    first: u32,
    at: u32,
    columns: u32,
    unused1: u32,
    unused2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read_write> dense: array<f32>;
@group(0) @binding(3) var<storage, read> source: array<f32>;
@group(0) @binding(4) var<storage, read_write> lines: array<f32>;

@compute @workgroup_size(256)
fn pack(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.rows * params.d) {
        dense[params.at + i] = rows[(params.first + i / params.d) * params.stride + i % params.d];
    }
}

@compute @workgroup_size(256)
fn unpack(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.rows * params.stride) {
        let c = i % params.stride;
        var value = 0.0;
        if (c < params.columns) {
            value = source[params.at + i / params.stride * params.d + c];
        }
        lines[i] = value;
    }
}
