// assign: the nearest codeword of every row, with its score and the second-best score.
// Formula:    s_j = b_j - w_j * (x . c_j);  label = argmin_j s_j
// Inputs:     rows [n, 4*stride4], codewords [k padded to 128, 4*stride4], scale_bias [k padded] of (w, b); padding
//             has w = 0, b = LARGEST, so it never wins
// Outputs:    labels [n], best [n], second [n] (LARGEST where k = 1), partials [n/32] sums of `best` over 32 rows
// Ties:       the lowest index wins
// Non-finite: refused before rows reach the device; a NaN score never wins
// Lanes:      BN/4/CH lanes a row; every lane holds RH x CH blocks of 4 rows x 4 codewords
// Source:     register-tiled GEMM (tile.wgsl) with the argmin fused in, as in Flash-KMeans
// The dot product adds FOLD = 32 terms in one register, makes that sum opaque and only then adds it to the total: the
// error is that of 32 + d/32 + 2 roundings whatever the compiler does (see `compute::bound`).
struct Params {
    n: u32,
    first_tile: u32,
    stride4: u32,
    column_tiles: u32,
    depth: u32,
    first_partial: u32,
    row_tiles: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> codewords: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scale_bias: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> labels: array<u32>;
@group(0) @binding(5) var<storage, read_write> best: array<f32>;
@group(0) @binding(6) var<storage, read_write> second: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<f32>;

const FOLD_TILES: u32 = 32u / BK;

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

// Writes four rows and leaves their scores in the tile, 0 past the last row.
fn finish(top: Top, row: u32, slot: u32) {
    var scores = vec4<f32>();
    for (var r = 0u; r < 4u; r++) {
        if (row + r < params.n) {
            labels[row + r] = top.index[r];
            best[row + r] = top.best[r];
            second[row + r] = top.second[r];
            scores[r] = top.best[r];
        }
    }
    tile[slot] = scores;
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
    var top0 = Top(vec4<f32>(LARGEST), vec4<f32>(LARGEST), vec4<u32>(0u));
    var top1 = top0;
    var next = fetch(lane, row_tile, 0u, 0u);
    for (var t = 0u; t < params.column_tiles; t++) {
        var sum = Products();
        var acc = Products();
        for (var d = 0u; d < params.depth; d++) {
            workgroupBarrier();
            put(lane, next);
            workgroupBarrier();
            // The next step's operands travel while this step computes; the very last fetch repeats itself.
            let last = d + 1u == params.depth;
            next = fetch(lane, row_tile, min(t + u32(last), params.column_tiles - 1u), select(d + 1u, 0u, last));
            multiply(&acc, tx, ty);
            if (last || (d + 1u) % FOLD_TILES == 0u) {
                fold(&sum, &acc, params.zero);
            }
        }
        let j = t * BN + tx * 4u;
        consider_block(&top0, j, sum.c00);
        if (CH > 1u) {
            consider_block(&top0, j + BN / CH, sum.c01);
        }
        if (RH > 1u) {
            consider_block(&top1, j, sum.c10);
            if (CH > 1u) {
                consider_block(&top1, j + BN / CH, sum.c11);
            }
        }
    }
    merge_lanes(&top0, tx, ty);
    if (RH > 1u) {
        merge_lanes(&top1, tx, ty);
    }
    if (tx == 0u) {
        finish(top0, row_tile * BM + ty * 4u, ty);
        if (RH > 1u) {
            finish(top1, row_tile * BM + BM / RH + ty * 4u, NY * (RH - 1u) + ty);
        }
    }
    workgroupBarrier();
    // One sum for every 32 rows, whatever the tile, so that the total does not depend on the tile chosen.
    if (lane < BM / 32u) {
        var sum = vec4<f32>();
        for (var i = 0u; i < 8u; i++) {
            sum += tile[lane * 8u + i];
        }
        partials[params.first_partial + row_tile * (BM / 32u) + lane] = total(sum);
    }
}
