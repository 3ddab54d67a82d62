// segment: rows added up by label, and labels counted.
// Formula:    sums: out[at + j*e + c] = alpha * sum_(label_i = j) values_ic (+ out);  counts: out[j] = |{i: label_i = j}| (+ out)
// Inputs:     values [n, e], labels [n]; rows with a label of k or more are left out
// Outputs:    out [k, e] from value `at` on, or out [k]
// Ties:       rows of a label are added in their order
// Non-finite: passes through to the sum of its label and column
// Lanes:      sums: COLUMNS lanes a codeword, 256/COLUMNS codewords a workgroup; counts: one lane a codeword
// Source:     every workgroup reads all labels, 1,024 at a time, and notes as bits which rows are its codewords': bits are set in
//             any order but read in that of the rows, so that neither a sort nor float atomics are needed
struct Params {
    n: u32,
    k: u32,
    e: u32,
    at: u32,
    alpha: u32,
    accumulate: u32,
    column_groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const TEAMS: u32 = 256u / COLUMNS;

// 32 words of 32 rows for each of at most 16 codewords.
var<workgroup> hits: array<atomic<u32>, 512>;

@compute @workgroup_size(256)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let first = at / params.column_groups * TEAMS;
    if (first >= params.k) {
        return;
    }
    let column = at % params.column_groups * COLUMNS + lane % COLUMNS;
    let team = lane / COLUMNS;
    var sum = 0.0;
    for (var base = 0u; base < params.n; base += 1024u) {
        for (var word = lane; word < TEAMS * 32u; word += 256u) {
            atomicStore(&hits[word], 0u);
        }
        workgroupBarrier();
        for (var i = lane; i < min(1024u, params.n - base); i += 256u) {
            // Labels below `first` wrap to large numbers.
            let codeword = labels[base + i] - first;
            if (codeword < TEAMS) {
                atomicOr(&hits[codeword * 32u + i / 32u], 1u << (i % 32u));
            }
        }
        workgroupBarrier();
        if (column < params.e) {
            for (var word = 0u; word < 32u; word++) {
                var bits = atomicLoad(&hits[team * 32u + word]);
                // Four at a time, so that their loads are under way together.
                for (var four = 0u; four < 8u && bits != 0u; four++) {
                    var next = vec4<f32>();
                    for (var x = 0u; x < 4u; x++) {
                        if (bits != 0u) {
                            let row = base + word * 32u + firstTrailingBit(bits);
                            next[x] = values[row * params.e + column];
                            bits &= bits - 1u;
                        }
                    }
                    sum = (((sum + next.x) + next.y) + next.z) + next.w;
                }
            }
        }
        workgroupBarrier();
    }
    let codeword = first + team;
    if (codeword < params.k && column < params.e) {
        let place = params.at + codeword * params.e + column;
        var result = bitcast<f32>(params.alpha) * sum;
        if (params.accumulate != 0u) {
            result += out[place];
        }
        out[place] = result;
    }
}

@compute @workgroup_size(256)
fn counts(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let first = line(group, groups) * 256u;
    if (first >= params.k) {
        return;
    }
    atomicStore(&hits[lane], 0u);
    workgroupBarrier();
    for (var i = lane; i < params.n; i += 256u) {
        let codeword = labels[i] - first;
        if (codeword < 256u) {
            atomicAdd(&hits[codeword], 1u);
        }
    }
    workgroupBarrier();
    let codeword = first + lane;
    if (codeword < params.k) {
        var result = f32(atomicLoad(&hits[lane]));
        if (params.accumulate != 0u) {
            result += out[codeword];
        }
        out[codeword] = result;
    }
}
