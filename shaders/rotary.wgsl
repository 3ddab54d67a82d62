// rotary: rows turned by the position of their token.
// Formula:    with (c, s) = (angles[p*d + i], angles[p*d + d/2 + i]), i < d/2, for the position p of the row's token:
//             (x_i, x_(i + d/2)) <- (c*x_i - s*x_(i + d/2), c*x_(i + d/2) + s*x_i), with -s if `inverse`
// Inputs:     x, in which row t*heads + i lies from value offset + t*stride + i*d on; positions [tokens] from `first_position` on;
//             angles [positions, d]
// Outputs:    x; a row whose position is past the table stays
// Ties:       none
// Non-finite: passes through to its pair
// Lanes:      a lane holds one pair
// Source:     Su et al. 2021, in the form of Llama: the halves of a row are paired, not its neighbours
struct Params {
    tokens: u32,
    heads: u32,
    d: u32,
    stride: u32,
    offset: u32,
    first_position: u32,
    positions: u32,
    inverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> angles: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let half = params.d / 2u;
    let pair = line(group, groups) * 256u + lane;
    let row = pair / half;
    let token = row / params.heads;
    if (token >= params.tokens) {
        return;
    }
    let position = positions[params.first_position + token];
    if (position >= params.positions) {
        return;
    }
    let i = pair % half;
    let c = angles[position * params.d + i];
    var s = angles[position * params.d + half + i];
    if (params.inverse != 0u) {
        s = -s;
    }
    let at = params.offset + token * params.stride + row % params.heads * params.d + i;
    let low = x[at];
    let high = x[at + half];
    x[at] = c * low - s * high;
    x[at + half] = c * high + s * low;
}
