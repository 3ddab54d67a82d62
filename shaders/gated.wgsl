// gated: the gate of SwiGLU, and its gradient.
// Formula:    `main`: y = silu(a)*b for rows [a | b] of x;  `backward`: with g the gradient of y, grad = [g*b*silu'(a) | g*silu(a)]
// Inputs:     x [n, 2f]; `backward`: y [n, f], the gradient
// Outputs:    out [n, f]; `backward`: out [n, 2f]
// Ties:       none
// Non-finite: passes through
// Lanes:      a lane holds one value of y
// Source:     Shazeer 2020; SiLU as nonlinear.wgsl has it
struct Params {
    n: u32,
    f: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const SILU: u32 = 2u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.n * params.f) {
        let at = i / params.f * params.f + i;
        out[i] = activated(SILU, x[at]) * x[at + params.f];
    }
}

@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.n * params.f) {
        let at = i / params.f * params.f + i;
        let a = x[at];
        out[at] = y[i] * x[at + params.f] * slope(SILU, a);
        out[at + params.f] = y[i] * activated(SILU, a);
    }
}
