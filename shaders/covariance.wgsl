// covariance: sums of products of centred rows, one partial for every block of rows.
// Formula:    out[block, a, b] = sum over the block's rows of (x_ia - mean_a) * (x_ib - mean_b), for a <= b
// Inputs:     rows [n, 4*stride4], mean [4*stride4]
// Outputs:    out [blocks, 4*stride4, 4*stride4], tiles below the diagonal are left unwritten
// Ties:       none
// Non-finite: passes through to the row and column it stands in
// Lanes:      rows are the summed dimension; every lane holds one 4 x 4 block of outputs
// Source:     register-tiled x^T x (SYRK), see tile.wgsl; the host adds the blocks in order in f64
struct Params {
    n: u32,
    first_row: u32,
    stride4: u32,
    tiles: u32,
    block_rows: u32,
    blocks: u32,
    zero: u32,
    unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

// Rows are stored as they lie: they already are k-major here. BM == BN, so one loop serves both operands.
fn load_tile(lane: u32, row: u32, end: u32, left: u32, right: u32) {
    for (var i = lane; i < BK * (A4 + B4); i += THREADS) {
        let second = i >= BK * A4;
        let at = select(i, i - BK * A4, second);
        let column4 = select(left, right, second) * A4 + at % A4;
        let r = row + at / A4;
        var value = vec4<f32>();
        if (r < end && column4 < params.stride4) {
            value = rows[r * params.stride4 + column4] - mean[column4];
        }
        tile[i] = value;
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let block = at / (params.tiles * params.tiles);
    let left = at / params.tiles % params.tiles;
    let right = at % params.tiles;
    if (block >= params.blocks || left > right) {
        return;
    }
    let tx = lane % NX;
    let ty = lane / NX;
    let start = params.first_row + block * params.block_rows;
    let end = min(start + params.block_rows, params.n);
    var acc = mat4x4<f32>();
    for (var row = start; row < end; row += BK) {
        workgroupBarrier();
        load_tile(lane, row, end, left, right);
        workgroupBarrier();
        for (var kk = 0u; kk < BK; kk++) {
            acc += outer(tile[kk * A4 + ty], tile[B0 + kk * B4 + tx]);
        }
    }
    let column4 = right * B4 + tx;
    if (column4 < params.stride4 && left * A4 + ty < params.stride4) {
        let by_row = transpose(acc);
        let i = ((block * params.stride4 + left * A4 + ty) * 4u) * params.stride4 + column4;
        out[i] = by_row[0];
        out[i + params.stride4] = by_row[1];
        out[i + 2u * params.stride4] = by_row[2];
        out[i + 3u * params.stride4] = by_row[3];
    }
}
