// half_norms: what a codeword adds to every score.
// Formula:    out[j] = sum_c c_jc^2 / 2
// Inputs:     codebook [k, e] from value `offset` on
// Outputs:    out [k]
// Ties:       none
// Non-finite: passes through to its codeword
// Lanes:      32 lanes a codeword, 8 codewords a workgroup; fixed tree
// Source:     the score of Sememe: half the squared L2 less what all codewords share
struct Params {
    k: u32,
    e: u32,
    offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> codebook: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let within = lane % 32u;
    let codeword = line(group, groups) * 8u + lane / 32u;
    // A codeword past the end has no values, so that all lanes meet at the barriers.
    let end = select(0u, params.e, codeword < params.k);
    var sum = 0.0;
    for (var c = within; c < end; c += 32u) {
        let value = codebook[params.offset + codeword * params.e + c];
        sum += value * value;
    }
    part[lane] = sum;
    for (var step = 16u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (within < step) {
            part[lane] += part[lane + step];
        }
    }
    if (within == 0u && codeword < params.k) {
        out[codeword] = 0.5 * part[lane];
    }
}
