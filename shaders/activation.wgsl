// activation: what follows a linear layer, value by value, with or without dropout.
// Formula:    `forward`: out = f(pre) * mask;  `backward`: out = out * f'(pre) * mask;  `dropout`: out = out * mask;
//             mask = scale where the value's bit is set, else 0
// Inputs:     pre [len], bits [ceil((first_bit + len)/32)], bit 0 of a word first; `backward`: out [len], the gradient of post
// Outputs:    out [len]
// Ties:       none
// Non-finite: passes through; what is dropped, and a gradient where ReLU is flat, become 0
// Lanes:      a lane holds one value
// Source:     ReLU; GELU (Hendrycks and Gimpel 2016), in its exact form; SiLU (Elfwing, Uchibe and Doya 2018); see nonlinear.wgsl
struct Params {
    len: u32,
    kind: u32,
    first_bit: u32,
    scale: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pre: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bits: array<u32>;

fn masked(i: u32, value: f32) -> f32 {
    let at = params.first_bit + i;
    let kept = (bits[at / 32u] >> (at % 32u)) & 1u;
    return select(0.0, value * bitcast<f32>(params.scale), kept == 1u);
}

fn gradient(i: u32) -> f32 {
    let x = pre[i];
    // A flat ReLU blocks whatever comes, NaN too.
    return select(out[i] * slope(params.kind, x), 0.0, params.kind == 0u && x <= 0.0);
}

@compute @workgroup_size(256)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        out[i] = activated(params.kind, pre[i]);
    }
}

@compute @workgroup_size(256)
fn forward_masked(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        out[i] = masked(i, activated(params.kind, pre[i]));
    }
}

@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        out[i] = gradient(i);
    }
}

@compute @workgroup_size(256)
fn backward_masked(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                   @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        out[i] = masked(i, gradient(i));
    }
}

@compute @workgroup_size(256)
fn dropout(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.len) {
        out[i] = masked(i, out[i]);
    }
}
