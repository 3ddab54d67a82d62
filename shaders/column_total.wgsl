// column_total: sums of the columns of a dense matrix, in two levels.
// Formula:    `main`: sums[block, c] = sum over the block's rows of values_ic;  `finish`: out[at + c] = alpha * sum over blocks (+ out)
// Inputs:     values [n, d]
// Outputs:    sums [blocks, d], out [d] from `at` on
// Ties:       none
// Non-finite: passes through to its column
// Lanes:      `main`: 64 columns x 4 rows a workgroup; `finish`: 16 columns x 16 blocks
// Source:     two-level reduction in fixed order; blocks depend on n alone
struct Params {
    n: u32,
    d: u32,
    block_rows: u32,
    blocks: u32,
    column_groups: u32,
    alpha: u32,
    accumulate: u32,
    at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let block = at / params.column_groups;
    let column = at % params.column_groups * 64u + lane % 64u;
    if (block >= params.blocks) {
        return;
    }
    var sum = 0.0;
    if (column < params.d) {
        let end = min(params.n, (block + 1u) * params.block_rows);
        for (var row = block * params.block_rows + lane / 64u; row < end; row += 4u) {
            sum += values[row * params.d + column];
        }
    }
    part[lane] = sum;
    workgroupBarrier();
    if (lane < 64u && column < params.d) {
        sums[block * params.d + column] = (part[lane] + part[lane + 64u]) + (part[lane + 128u] + part[lane + 192u]);
    }
}

@compute @workgroup_size(256)
fn finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let column = line(group, groups) * 16u + lane % 16u;
    var sum = 0.0;
    if (column < params.d) {
        for (var block = lane / 16u; block < params.blocks; block += 16u) {
            sum += sums[block * params.d + column];
        }
    }
    part[lane] = sum;
    for (var step = 128u; step >= 16u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    if (lane < 16u && column < params.d) {
        var value = bitcast<f32>(params.alpha) * part[lane];
        if (params.accumulate != 0u) {
            value += out[params.at + column];
        }
        out[params.at + column] = value;
    }
}
