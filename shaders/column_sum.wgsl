// column_sum: sums of the columns, one partial for every 1,024 rows.
// Formula:    out[block, c] = sum over the block's rows of x_ic
// Inputs:     rows [n, 4*stride4]
// Outputs:    out [n/1024, 4*stride4]
// Ties:       none
// Non-finite: passes through to its column
// Lanes:      a lane holds 4 columns of every 16th row; 16 x 16 lanes take 64 columns
// Source:     two-level reduction in fixed order; the host adds the blocks in f64
struct Params {
    n: u32,
    stride4: u32,
    column_groups: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

var<workgroup> part: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let block = at / params.column_groups;
    let column4 = at % params.column_groups * 16u + lane % 16u;
    if (block >= params.blocks) {
        return;
    }
    var sum = vec4<f32>();
    if (column4 < params.stride4) {
        let end = min(params.n, (block + 1u) * 1024u);
        for (var row = block * 1024u + lane / 16u; row < end; row += 16u) {
            sum += rows[row * params.stride4 + column4];
        }
    }
    part[lane] = sum;
    for (var step = 128u; step >= 16u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    if (lane < 16u && column4 < params.stride4) {
        out[block * params.stride4 + column4] = part[lane];
    }
}
