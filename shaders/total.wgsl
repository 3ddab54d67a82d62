// total: the sum of many values, or of their squares, in two levels.
// Formula:    `main`: sums[block] = sum over the block of v or v^2;  `finish`: out[at] = alpha * sum over blocks (+ out[at])
// Inputs:     values [len] from `offset` on
// Outputs:    sums [blocks], out [1] at `at`
// Ties:       none
// Non-finite: passes through
// Lanes:      256 lanes a block; a lane holds every 256th value
// Source:     two-level reduction in fixed order; blocks depend on the length alone
struct Params {
    len: u32,
    offset: u32,
    block_len: u32,
    blocks: u32,
    squares: u32,
    alpha: u32,
    accumulate: u32,
    at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> part: array<f32, 256>;

// The sum of all lanes, in lane 0.
fn gather(lane: u32, value: f32) {
    part[lane] = value;
    for (var step = 128u; step >= 1u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let block = line(group, groups);
    if (block >= params.blocks) {
        return;
    }
    let end = min(params.len, (block + 1u) * params.block_len);
    var sum = 0.0;
    for (var i = block * params.block_len + lane; i < end; i += 256u) {
        let v = values[params.offset + i];
        sum += select(v, v * v, params.squares != 0u);
    }
    gather(lane, sum);
    if (lane == 0u) {
        sums[block] = part[0];
    }
}

@compute @workgroup_size(256)
fn finish(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.blocks; i += 256u) {
        sum += sums[i];
    }
    gather(lane, sum);
    if (lane == 0u) {
        var value = bitcast<f32>(params.alpha) * part[0];
        if (params.accumulate != 0u) {
            value += out[params.at];
        }
        out[params.at] = value;
    }
}
