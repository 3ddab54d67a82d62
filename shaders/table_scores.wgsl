// table_scores: scores of items, whose codes say which values of a table to add.
// Formula:    out[i, j] = sum_m tables[i, first_m + codes[j, m]], m ascending; what leads past the row adds nothing
// Inputs:     tables [n, width], first [levels], codes [items, levels]
// Outputs:    out [n, items]
// Ties:       none
// Non-finite: passes through to the items that use it
// Lanes:      a lane holds 8 rows of one item, 256 items a workgroup
// Source:     asymmetric distances, Jegou, Douze and Schmid 2011. A code is read once for 8 rows; the table's rows stay in caches
struct Params {
    n: u32,
    items: u32,
    levels: u32,
    width: u32,
    item_groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> first: array<u32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> tables: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// Where value `at` of rows row.. lies; rows past the end stand for the last, and are not written.
fn values(row: u32, at: u32) -> vec4<f32> {
    let rows = min(row + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n - 1u)) * params.width + at;
    return vec4<f32>(tables[rows.x], tables[rows.y], tables[rows.z], tables[rows.w]);
}

fn write(row: u32, item: u32, sums: vec4<f32>) {
    for (var x = 0u; x < 4u; x++) {
        if (row + x < params.n) {
            out[(row + x) * params.items + item] = sums[x];
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let row = at / params.item_groups * 8u;
    let item = at % params.item_groups * 256u + lane;
    if (row >= params.n || item >= params.items) {
        return;
    }
    var low = vec4<f32>();
    var high = vec4<f32>();
    for (var m = 0u; m < params.levels; m++) {
        let begin = first[m];
        let code = codes[item * params.levels + m];
        if (begin < params.width && code < params.width - begin) {
            low += values(row, begin + code);
            high += values(row + 4u, begin + code);
        }
    }
    write(row, item, low);
    write(row + 4u, item, high);
}
