// loads: what every codeword gets of the rows if each is spread over the codewords; after `assign`.
// Formula:    s_ij = b_j - w_j * (x_i . c_j);  p_ij = exp((best_i - s_ij) / epsilon) / sum_j of the same;  out_j = sum_i p_ij
// Inputs:     rows [n, 4*stride4], codewords [k padded to 128, 4*stride4], scale_bias [k padded] of (w, b), best [n];
//             scale = 1 / epsilon, cut = 87 * epsilon
// Outputs:    `main`: partials [row tiles of the launch, 4*columns4]; `totals`: out [slot, 4*columns4], partials added up
// Ties:       none
// Non-finite: refused before rows reach the device; a NaN score spoils its row's share, and by it all loads
// Lanes:      `main`: as `assign`, one block of 4 x 4 a lane, products computed twice: once for a row's sum, once for its shares;
//             `totals`: 16 x 4 columns by 16 lanes a workgroup, tiles in order within a lane. All trees are fixed
// Source:     log-domain Sinkhorn (Peyre and Cuturi 2019, section 4.4) as FlashSinkhorn streams it: N x K is never written
struct Params {
    n: u32,
    first_tile: u32,
    stride4: u32,
    column_tiles: u32,
    depth: u32,
    row_tiles: u32,
    columns4: u32,
    slot: u32,
    scale: u32,
    cut: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> codewords: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scale_bias: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> best: array<f32>;
@group(0) @binding(5) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;

var<workgroup> part: array<vec4<f32>, THREADS>;

fn fetch(block: u32, row_tile: u32, column_tile: u32, depth: u32) -> mat4x4<f32> {
    let stride = params.stride4;
    let at = depth * KB + block % KB;
    let line4 = block / KB;
    if (line4 < A4) {
        let i = (row_tile * BM + line4 * 4u) * stride + at;
        return mat4x4<f32>(rows[i], rows[i + stride], rows[i + 2u * stride], rows[i + 3u * stride]);
    }
    if (line4 < A4 + B4) {
        let i = (column_tile * BN + (line4 - A4) * 4u) * stride + at;
        return mat4x4<f32>(codewords[i], codewords[i + stride], codewords[i + 2u * stride], codewords[i + 3u * stride]);
    }
    return mat4x4<f32>();
}

// exp((best - s) / epsilon) of four rows and one codeword. Recomputed scores may pass `best` by a rounding.
fn weight(lowest: vec4<f32>, j: u32, dots: vec4<f32>) -> vec4<f32> {
    let pair = scale_bias[j];
    let below = min(lowest - (pair.y - pair.x * dots), vec4<f32>());
    let far = below < vec4<f32>(-bitcast<f32>(params.cut));
    return select(exp(max(below * bitcast<f32>(params.scale), vec4<f32>(-88.0))), vec4<f32>(), far);
}

// Weights of the lane's four rows (lines) and four codewords (columns of the result).
fn weights(lane: u32, row_tile: u32, t: u32, lowest: vec4<f32>) -> mat4x4<f32> {
    let tx = lane % NX;
    var acc = Products();
    for (var d = 0u; d < params.depth; d++) {
        let next = fetch(lane, row_tile, t, d);
        workgroupBarrier();
        put(lane, next);
        workgroupBarrier();
        multiply(&acc, tx, lane / NX);
    }
    let j = t * BN + tx * 4u;
    return mat4x4<f32>(weight(lowest, j, acc.c00[0]), weight(lowest, j + 1u, acc.c00[1]),
                       weight(lowest, j + 2u, acc.c00[2]), weight(lowest, j + 3u, acc.c00[3]));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row_tile = params.first_tile + line(group, groups);
    if (row_tile >= params.row_tiles) {
        return;
    }
    let tx = lane % NX;
    let ty = lane / NX;
    let row = row_tile * BM + ty * 4u;
    var lowest = vec4<f32>();
    for (var r = 0u; r < 4u; r++) {
        if (row + r < params.n) {
            lowest[r] = best[row + r];
        }
    }
    var sum = vec4<f32>();
    for (var t = 0u; t < params.column_tiles; t++) {
        let w = weights(lane, row_tile, t, lowest);
        sum += (w[0] + w[1]) + (w[2] + w[3]);
    }
    part[ty * NX + tx] = sum;
    for (var step = NX / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (tx < step) {
            part[ty * NX + tx] += part[ty * NX + tx + step];
        }
    }
    workgroupBarrier();
    // A row past the end gets no share: its sum may be 0.
    let live = (vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u)) < vec4<u32>(params.n);
    let share = select(vec4<f32>(), 1.0 / part[ty * NX], live);
    workgroupBarrier();
    for (var t = 0u; t < params.column_tiles; t++) {
        let w = weights(lane, row_tile, t, lowest);
        part[ty * NX + tx] = vec4<f32>(dot(w[0], share), dot(w[1], share), dot(w[2], share), dot(w[3], share));
        for (var step = NY / 2u; step > 0u; step /= 2u) {
            workgroupBarrier();
            if (ty < step) {
                part[ty * NX + tx] += part[(ty + step) * NX + tx];
            }
        }
        if (ty == 0u) {
            partials[(row_tile - params.first_tile) * params.columns4 + t * (BN / 4u) + tx] = part[tx];
        }
    }
}

var<workgroup> total_part: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn totals(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let column = line(group, groups) * 16u + lane % 16u;
    var sum = vec4<f32>();
    if (column < params.columns4) {
        for (var i = lane / 16u; i < params.row_tiles - params.first_tile; i += 16u) {
            sum += partials[i * params.columns4 + column];
        }
    }
    total_part[lane] = sum;
    for (var step = 128u; step >= 16u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            total_part[lane] += total_part[lane + step];
        }
    }
    if (lane < 16u && column < params.columns4) {
        out[params.slot * params.columns4 + column] = total_part[lane];
    }
}
