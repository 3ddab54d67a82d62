// nearest: the best codeword of every row of dot products.
// Formula:    labels[i] = argmin_j (bias_j - values_ij); with `potentials`, argmax_j (values_ij + bias_j); with `others`, j != i
// Inputs:     values [n, k], bias [k]: half norms, or potentials of Sinkhorn
// Outputs:    labels [n]
// Ties:       the lowest index
// Non-finite: NaN is never best; a row of nothing else gets 0
// Lanes:      LANES lanes a row (32, or 256 for many codewords), 256/LANES rows a workgroup; fixed tree
// Source:     plain search; the matrix of dot products comes from `matmul`
struct Params {
    n: u32,
    k: u32,
    potentials: u32,
    others: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> labels: array<u32>;

const NONE: u32 = 0xffffffffu;

var<workgroup> part_score: array<f32, 256>;
var<workgroup> part_index: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let within = lane % LANES;
    let row = line(group, groups) * (256u / LANES) + lane / LANES;
    // A row past the end has no columns, so that all lanes meet at the barriers.
    let end = select(0u, params.k, row < params.n);
    var best = LARGEST;
    var index = NONE;
    for (var j = within; j < end; j += LANES) {
        let value = values[row * params.k + j];
        let score = select(bias[j] - value, -(value + bias[j]), params.potentials != 0u);
        let own = params.others != 0u && j == row;
        // A first score takes the place of NONE even where it is LARGEST itself.
        if (!is_nan(score) && !own && (score < best || (score == best && index == NONE))) {
            best = score;
            index = j;
        }
    }
    part_score[lane] = best;
    part_index[lane] = index;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (within < step) {
            let score = part_score[lane + step];
            let j = part_index[lane + step];
            if (score < part_score[lane] || (score == part_score[lane] && j < part_index[lane])) {
                part_score[lane] = score;
                part_index[lane] = j;
            }
        }
    }
    if (within == 0u && row < params.n) {
        labels[row] = select(part_index[lane], 0u, part_index[lane] == NONE);
    }
}
