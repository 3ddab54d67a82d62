// row_norm: squared L2 norms of the rows, and sums of any values over blocks of 1,024.
// Formula:    norms[i] = sum_c x_ic^2;  `block_sums`: sums[g] = sum of norms[1024 g .. 1024 (g + 1)]
// Inputs:     rows [n, 4*stride4]; `block_sums`: norms [n]
// Outputs:    norms [n]; `block_sums`: sums [n/1024]
// Ties:       none
// Non-finite: passes through to its row (and its block)
// Lanes:      16 lanes a row, 16 rows a workgroup; fixed tree, so the order of additions never changes
// Source:     textbook tree reduction in workgroup memory
struct Params {
    n: u32,
    stride4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

var<workgroup> part: array<f32, 256>;

// Sums each run of `width` lanes into its first.
fn tree(lane: u32, width: u32) {
    for (var step = width / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane % width < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 16u + lane / 16u;
    var sum = vec4<f32>();
    if (row < params.n) {
        for (var c = lane % 16u; c < params.stride4; c += 16u) {
            let x = rows[row * params.stride4 + c];
            sum += x * x;
        }
    }
    part[lane] = total(sum);
    tree(lane, 16u);
    if (row < params.n && lane % 16u == 0u) {
        norms[row] = part[lane];
    }
}

@compute @workgroup_size(256)
fn block_sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
    let block = line(group, groups);
    var sum = 0.0;
    for (var i = block * 1024u + lane; i < min(params.n, (block + 1u) * 1024u); i += 256u) {
        sum += norms[i];
    }
    part[lane] = sum;
    tree(lane, 256u);
    if (lane == 0u && block * 1024u < params.n) {
        sums[block] = part[0];
    }
}
