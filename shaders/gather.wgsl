// gather: rows of a table by number, and its gradient: rows added up where they came from.
// Formula:    `main`: out[at + i*e + c] = table[first + rows_i*e + c] (+ out), 0 for a row of k or more;
//             `scatter`: out[at + rows_s*e + c] += alpha * sum_p values[order_p*e + c], p from bounds_s up to bounds_(s+1)
// Inputs:     table [k, e] from `first` on, rows [n] from `first_row` on; `scatter`: values [n, e], order [listed],
//             bounds [segments + 1], rows [segments]
// Outputs:    out [n, e] or [k, e] from `at` on
// Ties:       none: the rows of `scatter` are all different
// Non-finite: passes through
// Lanes:      `main`: a lane holds one value; `scatter`: 64 columns of a segment a workgroup, 4 lanes a column
// Source:     places sorted by row on the host, so that no float atomics are needed. A lane adds 4 of every 16 places, whose loads
//             are under way together; then the 4 lanes' sums are added
struct Params {
    n: u32,
    e: u32,
    k: u32,
    first: u32,
    first_row: u32,
    segments: u32,
    at: u32,
    alpha: u32,
    accumulate: u32,
    column_groups: u32,
    listed: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read> bounds: array<u32>;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i >= params.n * params.e) {
        return;
    }
    let row = rows[params.first_row + i / params.e];
    var value = 0.0;
    if (row < params.k) {
        value = table[params.first + row * params.e + i % params.e];
    }
    if (params.accumulate != 0u) {
        value += out[params.at + i];
    }
    out[params.at + i] = value;
}

@compute @workgroup_size(256)
fn scatter(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let segment = at / params.column_groups;
    if (segment >= params.segments) {
        return;
    }
    let column = at % params.column_groups * 64u + lane % 64u;
    let end = min(bounds[segment + 1u], params.listed);
    var sum = 0.0;
    if (column < params.e) {
        for (var p = bounds[segment] + lane / 64u * 4u; p < end; p += 16u) {
            var next = vec4<f32>();
            for (var x = 0u; x < 4u; x++) {
                if (p + x < end) {
                    let row = order[p + x];
                    if (row < params.n) {
                        next[x] = table[row * params.e + column];
                    }
                }
            }
            sum = (((sum + next.x) + next.y) + next.z) + next.w;
        }
    }
    part[lane] = sum;
    workgroupBarrier();
    let row = rows[segment];
    if (lane < 64u && column < params.e && row < params.k) {
        let place = params.at + row * params.e + column;
        let whole = (part[lane] + part[lane + 64u]) + (part[lane + 128u] + part[lane + 192u]);
        out[place] += bitcast<f32>(params.alpha) * whole;
    }
}
