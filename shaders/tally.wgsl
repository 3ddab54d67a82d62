// tally: rows sorted by label, stably, and the number of rows of each label: a counting sort in three steps.
// Formula:    starts[j] = number of rows with label < j;  order[starts[j]..starts[j + 1]] = rows of label j, ascending
// Inputs:     labels [n]; table [k, blocks] of zeros; rows with a label of k or more are left out
// Outputs:    order [n], starts [k + 1]; scratch: table, sums [entries/1024]
// Ties:       equal labels keep the order of the rows
// Non-finite: integers only; integer atomics count, so any order of arrival gives the same counts
// Lanes:      one lane a row; a workgroup takes a block of block_rows rows, 256 at a time
// Source:     the counting step of radix sort (Satish, Harris and Garland 2009); ranks by comparing with the 256 neighbours
struct Params {
    n: u32,
    k: u32,
    block_rows: u32,
    blocks: u32,
    entries: u32,
    entry_groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> table: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<u32>;
@group(0) @binding(4) var<storage, read_write> order: array<u32>;
@group(0) @binding(5) var<storage, read_write> starts: array<u32>;

var<workgroup> scratch: array<u32, 256>;

@compute @workgroup_size(256)
fn histogram(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let block = line(group, groups);
    let end = min(params.n, (block + 1u) * params.block_rows);
    for (var i = block * params.block_rows + lane; i < end; i += 256u) {
        if (labels[i] < params.k) {
            atomicAdd(&table[labels[i] * params.blocks + block], 1u);
        }
    }
}

// Inclusive scan over the 256 lanes.
fn scan(lane: u32, value: u32) -> u32 {
    scratch[lane] = value;
    for (var step = 1u; step < 256u; step *= 2u) {
        workgroupBarrier();
        var before = 0u;
        if (lane >= step) {
            before = scratch[lane - step];
        }
        workgroupBarrier();
        scratch[lane] += before;
    }
    workgroupBarrier();
    return scratch[lane];
}

// Exclusive scan of each run of 1,024 entries; `sums` gets the totals of the runs.
@compute @workgroup_size(256)
fn scan_runs(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let run = line(group, groups);
    var values: vec4<u32>;
    for (var e = 0u; e < 4u; e++) {
        let i = run * 1024u + lane * 4u + e;
        if (i < params.entries) {
            values[e] = atomicLoad(&table[i]);
        }
    }
    var sum = scan(lane, values.x + values.y + values.z + values.w);
    if (lane == 255u && run < params.entry_groups) {
        sums[run] = sum;
    }
    for (var e = 4u; e > 0u; e--) {
        let i = run * 1024u + lane * 4u + e - 1u;
        sum -= values[e - 1u];
        if (i < params.entries) {
            atomicStore(&table[i], sum);
        }
    }
}

// Exclusive scan of `sums` by one workgroup, 256 at a time.
@compute @workgroup_size(256)
fn scan_sums(@builtin(local_invocation_index) lane: u32) {
    var carry = 0u;
    for (var at = 0u; at < params.entry_groups; at += 256u) {
        let inside = at + lane < params.entry_groups;
        let value = select(0u, sums[min(at + lane, params.entry_groups - 1u)], inside);
        let upto = scan(lane, value);
        if (inside) {
            sums[at + lane] = carry + upto - value;
        }
        carry += scratch[255];
        workgroupBarrier();
    }
    if (lane == 0u) {
        starts[params.k] = carry;
    }
}

// Adds the runs' offsets; the first block's entry of a label is where that label starts.
@compute @workgroup_size(256)
fn add_sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i < params.entries) {
        let start = atomicLoad(&table[i]) + sums[i / 1024u];
        atomicStore(&table[i], start);
        if (i % params.blocks == 0u) {
            starts[i / params.blocks] = start;
        }
    }
}

@compute @workgroup_size(256)
fn scatter(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let block = line(group, groups);
    for (var at = 0u; at < params.block_rows; at += 256u) {
        let i = block * params.block_rows + at + lane;
        var label = 0xffffffffu;
        if (i < params.n && block < params.blocks) {
            label = labels[i];
        }
        scratch[lane] = label;
        workgroupBarrier();
        var rank = 0u;
        var same = 0u;
        for (var other = 0u; other < 256u; other++) {
            let equal = u32(scratch[other] == label);
            same += equal;
            rank += select(0u, equal, other < lane);
        }
        let counted = label < params.k;
        let entry = select(0u, label * params.blocks + block, counted);
        var place = 0u;
        if (counted) {
            place = atomicLoad(&table[entry]);
            order[place + rank] = i;
        }
        // All have read the entry before the last of each label moves it on.
        storageBarrier();
        workgroupBarrier();
        if (counted && rank + 1u == same) {
            atomicStore(&table[entry], place + same);
        }
        storageBarrier();
        workgroupBarrier();
    }
}
