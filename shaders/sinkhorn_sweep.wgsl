// sinkhorn_sweep: one iteration of Sinkhorn in the log domain.
// Formula:    rows: u_i = -log sum_j exp(a_ij + v_j);  columns and potentials: v_j = log_share - log sum_i exp(a_ij + u_i)
// Inputs:     a [n, k]; log_share = log(n/k)
// Outputs:    u [n], v [k]; scratch: partials [blocks, k], sums of exponentials of a block of block_rows rows
// Ties:       none
// Non-finite: passes through to its row, and by the columns to all
// Lanes:      rows: LANES lanes a row (32, or 256 for many codewords); columns: 64 columns by 4 lanes a workgroup, lanes side by
//             side on a row; potentials: one lane a column, blocks in order. All trees are fixed
// Source:     Cuturi 2013, in the log domain as Peyré and Cuturi 2019, section 4.4; plain exponents of LC-Rec reach ±333
struct Params {
    n: u32,
    k: u32,
    block_rows: u32,
    blocks: u32,
    column_groups: u32,
    log_share: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec2<f32>>;

var<workgroup> part: array<vec2<f32>, 256>;

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let within = lane % LANES;
    let row = line(group, groups) * (256u / LANES) + lane / LANES;
    // A row past the end has no columns, so that all lanes meet at the barriers.
    let end = select(0u, params.k, row < params.n);
    var pair = EMPTY;
    for (var j = within; j < end; j += LANES) {
        pair = push(pair, a[row * params.k + j] + v[j]);
    }
    part[lane] = pair;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (within < step) {
            part[lane] = join(part[lane], part[lane + step]);
        }
    }
    if (within == 0u && row < params.n) {
        u[row] = -log_of(part[lane]);
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let block = at / params.column_groups;
    if (block >= params.blocks) {
        return;
    }
    let column = at % params.column_groups * 64u + lane % 64u;
    var pair = EMPTY;
    if (column < params.k) {
        let end = min(params.n, (block + 1u) * params.block_rows);
        for (var row = block * params.block_rows + lane / 64u; row < end; row += 4u) {
            pair = push(pair, a[row * params.k + column] + u[row]);
        }
    }
    part[lane] = pair;
    for (var step = 128u; step >= 64u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] = join(part[lane], part[lane + step]);
        }
    }
    if (lane < 64u && column < params.k) {
        partials[block * params.k + column] = part[lane];
    }
}

@compute @workgroup_size(256)
fn potentials(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let column = line(group, groups) * 256u + lane;
    if (column >= params.k) {
        return;
    }
    var pair = EMPTY;
    for (var block = 0u; block < params.blocks; block++) {
        pair = join(pair, partials[block * params.k + column]);
    }
    v[column] = bitcast<f32>(params.log_share) - log_of(pair);
}
