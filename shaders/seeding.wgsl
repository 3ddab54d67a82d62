// seeding: k-means++ over resident rows.
// Formula:    `main`: table[t, i] = sum_c (x_ic - candidate_tc)^2;  `accept`: nearest[i] = min(nearest[i], table[slot, i]);
//             `potentials`: sums[t, g] = sum over rows 1024 g .. 1024 (g + 1) of min(nearest[i], table[t, i])
// Inputs:     rows [n, 4*stride4], candidates [BN, 4*stride4], nearest [n], LARGEST before the first codeword
// Outputs:    table [slots, padded], nearest [n], sums [slots, blocks]
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      `main`: BN/4 lanes a row, 4 x 4 blocks; else one lane a row
// Source:     k-means++ (Arthur and Vassilvitskii 2007) with greedy candidates; register tiles as in tile.wgsl
struct Params {
    n: u32,
    stride4: u32,
    depth: u32,
    row_tiles: u32,
    padded: u32,
    slots: u32,
    slot: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> candidates: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> table: array<f32>;
@group(0) @binding(4) var<storage, read_write> nearest: array<f32>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;

var<workgroup> part: array<f32, 256>;

fn fetch(block: u32, row_tile: u32, depth: u32) -> mat4x4<f32> {
    let stride = params.stride4;
    let at = depth * KB + block % KB;
    let line4 = block / KB;
    if (line4 < A4) {
        let i = (row_tile * BM + line4 * 4u) * stride + at;
        return mat4x4<f32>(rows[i], rows[i + stride], rows[i + 2u * stride], rows[i + 3u * stride]);
    }
    if (line4 < A4 + B4) {
        let i = (line4 - A4) * 4u * stride + at;
        return mat4x4<f32>(
            candidates[i], candidates[i + stride], candidates[i + 2u * stride], candidates[i + 3u * stride]);
    }
    return mat4x4<f32>();
}

fn write_slot(t: u32, row: u32, values: vec4<f32>) {
    if (t < params.slots) {
        for (var r = 0u; r < 4u; r++) {
            table[t * params.padded + row + r] = values[r];
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row_tile = line(group, groups);
    if (row_tile >= params.row_tiles) {
        return;
    }
    let tx = lane % NX;
    let ty = lane / NX;
    var acc = mat4x4<f32>();
    for (var d = 0u; d < params.depth; d++) {
        workgroupBarrier();
        // Tiles with more blocks than lanes take several rounds.
        for (var block = lane; block < KB * (A4 + B4); block += THREADS) {
            put(block, fetch(block, row_tile, d));
        }
        workgroupBarrier();
        for (var kk = 0u; kk < BK; kk++) {
            acc += squares(tile[left_at(kk, ty)], tile[right_at(kk, tx)]);
        }
    }
    let row = row_tile * BM + ty * 4u;
    write_slot(tx * 4u, row, acc[0]);
    write_slot(tx * 4u + 1u, row, acc[1]);
    write_slot(tx * 4u + 2u, row, acc[2]);
    write_slot(tx * 4u + 3u, row, acc[3]);
}

@compute @workgroup_size(256)
fn accept(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.n) {
        nearest[i] = min(nearest[i], table[params.slot * params.padded + i]);
    }
}

// With no slots, the sums are those of `nearest` alone.
@compute @workgroup_size(256)
fn potentials(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let slot = at / params.blocks;
    let block = at % params.blocks;
    if (slot >= max(params.slots, 1u)) {
        return;
    }
    var sum = 0.0;
    for (var i = block * 1024u + lane; i < min(params.n, (block + 1u) * 1024u); i += 256u) {
        sum += min(nearest[i], select(LARGEST, table[slot * params.padded + i], params.slots > 0u));
    }
    part[lane] = sum;
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    if (lane == 0u) {
        sums[at] = part[0];
    }
}
