// repel: what drives rows apart from their neighbours.
// Formula:    d = |z_i - z_j|^2 + epsilon, j = neighbours[i];  pull[i] = scale * (z_i - z_j) / d;  logs[i] = ln d
// Inputs:     z [n, e], neighbours [n]
// Outputs:    pull [n, e], logs [n]; zeros where the neighbour is the row itself or past the rows
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      32 lanes a row, 8 rows a workgroup; fixed trees
// Source:     gradient of the Kozachenko-Leonenko entropy estimate (Sablayrolles et al. 2019)
struct Params {
    n: u32,
    e: u32,
    scale: u32,
    epsilon: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read> neighbours: array<u32>;
@group(0) @binding(3) var<storage, read_write> pull: array<f32>;
@group(0) @binding(4) var<storage, read_write> logs: array<f32>;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let within = lane % 32u;
    let row = line(group, groups) * 8u + lane / 32u;
    // A row past the end has no values, so that all lanes meet at the barriers.
    let end = select(0u, params.e, row < params.n);
    let first = min(row, params.n - 1u);
    let other = neighbours[first];
    let apart = other != first && other < params.n;
    let from_row = first * params.e;
    let to_row = select(first, other, apart) * params.e;
    var squared = 0.0;
    for (var c = within; c < end; c += 32u) {
        let difference = z[from_row + c] - z[to_row + c];
        squared += difference * difference;
    }
    part[lane] = squared;
    for (var step = 16u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (within < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    let d = part[lane - within] + bitcast<f32>(params.epsilon);
    let factor = select(0.0, bitcast<f32>(params.scale) / d, apart);
    for (var c = within; c < end; c += 32u) {
        pull[from_row + c] = select(0.0, factor * (z[from_row + c] - z[to_row + c]), apart);
    }
    if (within == 0u && row < params.n) {
        logs[row] = select(0.0, log(d), apart);
    }
}
