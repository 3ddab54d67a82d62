// distance: squared L2 of every row to every codeword.
// Formula:    out[i, j] = sum_c (x_ic - c_jc)^2, by differences: no cancellation, never below 0
// Inputs:     rows [n, 4*stride4], codewords [k padded to 128, 4*stride4]
// Outputs:    out [n - first_row, k], rows from `first_row` on
// Ties:       none
// Non-finite: passes through to the outputs of its row or codeword
// Lanes:      BN/4/CH lanes a row; every lane holds RH x CH blocks of 4 rows x 4 codewords
// Source:     register tiles as in tile.wgsl with (a - b)^2 in the place of a * b
struct Params {
    n: u32,
    first_row: u32,
    stride4: u32,
    column_tiles: u32,
    depth: u32,
    k: u32,
    row_tiles: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> codewords: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn fetch(block: u32, row_tile: u32, column_tile: u32, depth: u32) -> mat4x4<f32> {
    let stride = params.stride4;
    let at = depth * KB + block % KB;
    let line4 = block / KB;
    if (line4 < A4) {
        let i = (params.first_row + row_tile * BM + line4 * 4u) * stride + at;
        return mat4x4<f32>(rows[i], rows[i + stride], rows[i + 2u * stride], rows[i + 3u * stride]);
    }
    if (line4 < A4 + B4) {
        let i = (column_tile * BN + (line4 - A4) * 4u) * stride + at;
        return mat4x4<f32>(codewords[i], codewords[i + stride], codewords[i + 2u * stride], codewords[i + 3u * stride]);
    }
    return mat4x4<f32>();
}

fn write_column(row: u32, j: u32, values: vec4<f32>) {
    for (var r = 0u; r < 4u; r++) {
        if (params.first_row + row + r < params.n && j < params.k) {
            out[(row + r) * params.k + j] = values[r];
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let row_tile = at / params.column_tiles;
    let column_tile = at % params.column_tiles;
    if (row_tile >= params.row_tiles) {
        return;
    }
    let tx = lane % NX;
    let ty = lane / NX;
    var acc = mat4x4<f32>();
    for (var d = 0u; d < params.depth; d++) {
        let next = fetch(lane, row_tile, column_tile, d);
        workgroupBarrier();
        put(lane, next);
        workgroupBarrier();
        for (var kk = 0u; kk < BK; kk++) {
            acc += squares(tile[left_at(kk, ty)], tile[right_at(kk, tx)]);
        }
    }
    let row = row_tile * BM + ty * 4u;
    let j = column_tile * BN + tx * 4u;
    write_column(row, j, acc[0]);
    write_column(row, j + 1u, acc[1]);
    write_column(row, j + 2u, acc[2]);
    write_column(row, j + 3u, acc[3]);
}
