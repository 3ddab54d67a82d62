// project: rows less the mean, times the components, scaled.
// Formula:    out[i, p] = scale_p * sum_c (x_ic - mean_c) * component_pc;  `scale_rows`: out[i, c] = scale_c * (x_ic - mean_c)
// Inputs:     rows [n, 4*stride4], components [p padded to 128, 4*stride4], mean [4*stride4], scales [4*out_stride4]
// Outputs:    out [n padded to the tile, 4*out_stride4]; padding columns have scale 0, so they come out 0
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      BN/4/CH lanes a row (`scale_rows`: stride4 lanes a row, one vec4 each)
// Source:     register-tiled GEMM, see tile.wgsl
struct Params {
    n: u32,
    first_row: u32,
    stride4: u32,
    out_stride4: u32,
    column_tiles: u32,
    depth: u32,
    row_tiles: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> components: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scales: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

const FOLD_TILES: u32 = 32u / BK;

fn fetch(block: u32, row_tile: u32, column_tile: u32, depth: u32) -> mat4x4<f32> {
    let stride = params.stride4;
    let at = depth * KB + block % KB;
    let line4 = block / KB;
    if (line4 < A4) {
        let i = (params.first_row + row_tile * BM + line4 * 4u) * stride + at;
        let m = mean[at];
        return mat4x4<f32>(rows[i] - m, rows[i + stride] - m, rows[i + 2u * stride] - m, rows[i + 3u * stride] - m);
    }
    if (line4 < A4 + B4) {
        let i = (column_tile * BN + (line4 - A4) * 4u) * stride + at;
        return mat4x4<f32>(
            components[i], components[i + stride], components[i + 2u * stride], components[i + 3u * stride]);
    }
    return mat4x4<f32>();
}

fn write_block(row: u32, column4: u32, values: mat4x4<f32>) {
    if (column4 < params.out_stride4) {
        let by_row = transpose(values);
        let i = row * params.out_stride4 + column4;
        let s = scales[column4];
        out[i] = by_row[0] * s;
        out[i + params.out_stride4] = by_row[1] * s;
        out[i + 2u * params.out_stride4] = by_row[2] * s;
        out[i + 3u * params.out_stride4] = by_row[3] * s;
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
    var sum = Products();
    var acc = Products();
    var next = fetch(lane, row_tile, column_tile, 0u);
    for (var d = 0u; d < params.depth; d++) {
        workgroupBarrier();
        put(lane, next);
        workgroupBarrier();
        next = fetch(lane, row_tile, column_tile, min(d + 1u, params.depth - 1u));
        multiply(&acc, tx, ty);
        if (d + 1u == params.depth || (d + 1u) % FOLD_TILES == 0u) {
            fold(&sum, &acc, params.zero);
        }
    }
    let row = row_tile * BM + ty * 4u;
    let column4 = column_tile * B4 + tx;
    write_block(row, column4, sum.c00);
    if (CH > 1u) {
        write_block(row, column4 + NX, sum.c01);
    }
    if (RH > 1u) {
        write_block(row + BM / RH, column4, sum.c10);
        if (CH > 1u) {
            write_block(row + BM / RH, column4 + NX, sum.c11);
        }
    }
}

@compute @workgroup_size(256)
fn scale_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.n * params.stride4) {
        out[i] = (rows[i] - mean[i % params.stride4]) * scales[i % params.stride4];
    }
}
