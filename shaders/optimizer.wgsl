// optimizer: one step over a run of parameters; the gradient is clipped by a norm that is on the device.
// Formula:    g = clip*grad (+ decay*w);  `sgd`: b <- keep*b + g, w <- w - rate*b;  `adam`: m <- beta1*m + rest1*g, v <- beta2*v +
//             rest2*g^2, w <- shrink*w - rate*(m*correct1)/(sqrt(v)*correct2 + epsilon);  `adagrad`: s <- s + g^2, w <- w -
//             rate*g/(sqrt(s) + epsilon);  clip = min(1, limit/(sqrt(norms[norm_slot]) + 1e-6))
// Inputs:     grads, params, first (b, m or s), second (v): each [len] from `offset` on; norms, the squared norm of the whole gradient
// Outputs:    params, first, second; without momentum `sgd` leaves `first` alone
// Ties:       none
// Non-finite: passes through; a norm of NaN makes every step NaN
// Lanes:      a lane holds one parameter
// Source:     Kingma and Ba 2015; Loshchilov and Hutter 2019; Duchi, Hazan and Singer 2011; clipping as in Pascanu et al. 2013
struct Params {
    offset: u32,
    len: u32,
    rate: u32,
    decay: u32,
    shrink: u32,
    clip: u32,
    // Bit 0: clip. Bit 1: `sgd` has momentum. Bit 2: `first` holds something to keep.
    flags: u32,
    norm_slot: u32,
    keep: u32,
    beta1: u32,
    beta2: u32,
    rest1: u32,
    rest2: u32,
    correct1: u32,
    correct2: u32,
    epsilon: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grads: array<f32>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> first: array<f32>;
@group(0) @binding(5) var<storage, read_write> second: array<f32>;

fn gradient(i: u32, w: f32) -> f32 {
    var scale = 1.0;
    if ((params.flags & 1u) != 0u) {
        let ratio = bitcast<f32>(params.clip) / (sqrt(norms[params.norm_slot]) + 1e-6);
        // Not min: that would lose a NaN.
        scale = select(ratio, 1.0, ratio >= 1.0);
    }
    return grads[i] * scale + bitcast<f32>(params.decay) * w;
}

@compute @workgroup_size(256)
fn sgd(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
       @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups) * 256u + lane;
    if (at < params.len) {
        let i = params.offset + at;
        let w = weights[i];
        var direction = gradient(i, w);
        if ((params.flags & 2u) != 0u) {
            if ((params.flags & 4u) != 0u) {
                direction += bitcast<f32>(params.keep) * first[i];
            }
            first[i] = direction;
        }
        weights[i] = w - bitcast<f32>(params.rate) * direction;
    }
}

@compute @workgroup_size(256)
fn adam(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups) * 256u + lane;
    if (at < params.len) {
        let i = params.offset + at;
        let w = weights[i];
        let g = gradient(i, w);
        let m = bitcast<f32>(params.beta1) * first[i] + bitcast<f32>(params.rest1) * g;
        let v = bitcast<f32>(params.beta2) * second[i] + bitcast<f32>(params.rest2) * g * g;
        first[i] = m;
        second[i] = v;
        let root = sqrt(v) * bitcast<f32>(params.correct2) + bitcast<f32>(params.epsilon);
        weights[i] = bitcast<f32>(params.shrink) * w
            - bitcast<f32>(params.rate) * (m * bitcast<f32>(params.correct1)) / root;
    }
}

@compute @workgroup_size(256)
fn adagrad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups) * 256u + lane;
    if (at < params.len) {
        let i = params.offset + at;
        let w = weights[i];
        let g = gradient(i, w);
        let s = first[i] + g * g;
        first[i] = s;
        weights[i] = w - bitcast<f32>(params.rate) * g / (sqrt(s) + bitcast<f32>(params.epsilon));
    }
}
