// quantize: takes every row's codeword from its residual and adds it to what was taken before.
// Formula:    next = residual - c_label;  sum = c_label if `first`, else sum + c_label
// Inputs:     residual [n, e], codebook [k, e] from value `offset` on, labels [n]
// Outputs:    next [n, e], sum [n, e]
// Ties:       a label of k or more leaves the residual and adds nothing
// Non-finite: passes through to its value
// Lanes:      one lane a value
// Source:     residual quantisation (Chen, Guan and Wang 2010), the straight-through forward pass of RQ-VAE
struct Params {
    n: u32,
    k: u32,
    e: u32,
    offset: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> residual: array<f32>;
@group(0) @binding(2) var<storage, read> codebook: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read_write> next: array<f32>;
@group(0) @binding(5) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i >= params.n * params.e) {
        return;
    }
    let label = labels[i / params.e];
    var value = 0.0;
    if (label < params.k) {
        value = codebook[params.offset + label * params.e + i % params.e];
    }
    next[i] = residual[i] - value;
    if (params.first == 0u) {
        value += sum[i];
    }
    sum[i] = value;
}
