// matmul: a product of dense row-major matrices, with bias and activation behind it.
// Formula:    out[i, j] = alpha * sum_t left(i, t) * right(j, t) (+ out[i, j]) (+ bias_j);  post[i, j] = f(out[i, j])
// Inputs:     a [m, k] or, where its values lie along the lines, [k, m]; b [n, k] or [k, n]; bias [n]; each from an offset on
// Outputs:    out [m, n] from `at` on, or one such matrix for each piece of k; post likewise, if there is an activation
// Ties:       none
// Non-finite: passes through to its row and column
// Lanes:      a lane fetches one 4 x 4 block of either operand a step and holds RH x CH blocks of 4 x 4 outputs
// Source:     register-tiled GEMM, see tile.wgsl; loads are those of matmul_scalar.wgsl or matmul_vector.wgsl
struct Params {
    m: u32,
    n: u32,
    k: u32,
    // Bit 0: values of `a` lie along its lines (the rows of the result). Bit 1: values of `b` do (the columns).
    along: u32,
    a: u32,
    b: u32,
    bias: u32,
    at: u32,
    alpha: u32,
    // Bit 0: add to `out`. Bit 1: add the bias. Bit 2: write `post`.
    flags: u32,
    activation: u32,
    row_tiles: u32,
    column_tiles: u32,
    // Terms of a piece of k: a multiple of 32, so that folds do not depend on where a piece starts.
    piece: u32,
    pieces: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

const FOLD_TILES: u32 = 32u / BK;

fn write_row(first: u32, row: u32, column: u32, sums: vec4<f32>) {
    let count = room(column, params.n);
    if (row >= params.m || count == 0u) {
        return;
    }
    let at = first + row * params.n + column;
    var values = bitcast<f32>(params.alpha) * sums;
    if ((params.flags & 1u) != 0u) {
        values += load_out(at, count);
    }
    if ((params.flags & 2u) != 0u) {
        values += load_bias(params.bias + column, count);
    }
    store_out(at, values, count);
    if ((params.flags & 4u) != 0u) {
        let f = params.activation;
        store_post(at, vec4<f32>(
            activated(f, values.x), activated(f, values.y), activated(f, values.z), activated(f, values.w)), count);
    }
}

fn write_block(first: u32, row: u32, column: u32, sums: mat4x4<f32>) {
    let by_row = transpose(sums);
    write_row(first, row, column, by_row[0]);
    write_row(first, row + 1u, column, by_row[1]);
    write_row(first, row + 2u, column, by_row[2]);
    write_row(first, row + 3u, column, by_row[3]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let piece = at / (params.row_tiles * params.column_tiles);
    let row_tile = at / params.column_tiles % params.row_tiles;
    let column_tile = at % params.column_tiles;
    if (piece >= params.pieces) {
        return;
    }
    let tx = lane % NX;
    let ty = lane / NX;
    let spot = place(lane);
    let begin = piece * params.piece;
    let end = min(params.k, begin + params.piece);
    let depth = (end - begin + BK - 1u) / BK;
    var sum = Products();
    var acc = Products();
    var next = fetch(spot, row_tile, column_tile, begin, end);
    for (var d = 0u; d < depth; d++) {
        workgroupBarrier();
        put_terms(spot.left, spot.line4, spot.k_block, next);
        workgroupBarrier();
        // Past the end this loads nothing.
        next = fetch(spot, row_tile, column_tile, begin + (d + 1u) * BK, end);
        multiply(&acc, tx, ty);
        if (d + 1u == depth || (d + 1u) % FOLD_TILES == 0u) {
            fold(&sum, &acc, params.zero);
        }
    }
    let first = params.at + piece * params.m * params.n;
    let row = row_tile * BM + ty * 4u;
    let column = column_tile * BN + tx * 4u;
    write_block(first, row, column, sum.c00);
    if (CH > 1u) {
        write_block(first, row, column + BN / CH, sum.c01);
    }
    if (RH > 1u) {
        write_block(first, row + BM / RH, column, sum.c10);
        if (CH > 1u) {
            write_block(first, row + BM / RH, column + BN / CH, sum.c11);
        }
    }
}
