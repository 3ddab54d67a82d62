// beam: extends every row's prefixes by one level and keeps the cheapest.
// Formula:    cost(p, j) = cost_p + b_j + products[i, j] + sum_(l < level) c_(code_l) . c_j, with products = -x . c_j
// Inputs:     products [n, products_stride], scale_bias [k], gram [sum of earlier k, k], codes_in and cost_in of `beams`
//             prefixes a row in lexicographic order; codes are stored as code + offset of its level
// Outputs:    codes_out [n, stride, levels], cost_out [n, stride], again in lexicographic order; margin [n]: smallest gap
//             between the last kept and the first discarded prefix (at the last level, where one is kept: the runner-up)
// Ties:       the lexicographically smaller codes win: candidates are numbered prefix by prefix in that order
// Non-finite: refused before rows reach the device; a NaN cost is never kept
// Lanes:      256 lanes a row, one candidate each in turn; keep + 1 rounds of a fixed tree
// Source:     beam search for additive quantisation (Babenko and Lempitsky 2014), costs from inner-product tables
struct Params {
    n: u32,
    level: u32,
    levels: u32,
    k: u32,
    beams: u32,
    keep: u32,
    stride: u32,
    products_stride: u32,
    offset: u32,
    unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>;
@group(0) @binding(2) var<storage, read> scale_bias: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> gram: array<f32>;
@group(0) @binding(4) var<storage, read> codes_in: array<u32>;
@group(0) @binding(5) var<storage, read> cost_in: array<f32>;
@group(0) @binding(6) var<storage, read_write> codes_out: array<u32>;
@group(0) @binding(7) var<storage, read_write> cost_out: array<f32>;
@group(0) @binding(8) var<storage, read_write> margin: array<f32>;

const NONE: u32 = 0xffffffffu;

var<workgroup> part_cost: array<f32, 256>;
var<workgroup> part_index: array<u32, 256>;
var<workgroup> kept_cost: array<f32, 65>;
var<workgroup> kept_index: array<u32, 65>;

fn cost(row: u32, candidate: u32) -> f32 {
    let prefix = row * params.stride + candidate / params.k;
    let j = candidate % params.k;
    var sum = scale_bias[j].y + products[row * params.products_stride + j];
    if (params.level > 0u) {
        sum += cost_in[prefix];
    }
    for (var l = 0u; l < params.level; l++) {
        sum += gram[codes_in[prefix * params.levels + l] * params.k + j];
    }
    return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups);
    if (row >= params.n) {
        return;
    }
    var last_cost = -LARGEST;
    var last_index = 0u;
    for (var round = 0u; round <= params.keep; round++) {
        var best = LARGEST;
        var index = NONE;
        for (var i = lane; i < params.beams * params.k; i += 256u) {
            let c = cost(row, i);
            let fresh = round == 0u || c > last_cost || (c == last_cost && i > last_index);
            if (fresh && c < best) {
                best = c;
                index = i;
            }
        }
        part_cost[lane] = best;
        part_index[lane] = index;
        for (var step = 128u; step > 0u; step /= 2u) {
            workgroupBarrier();
            if (lane < step) {
                let c = part_cost[lane + step];
                let i = part_index[lane + step];
                if (c < part_cost[lane] || (c == part_cost[lane] && i < part_index[lane])) {
                    part_cost[lane] = c;
                    part_index[lane] = i;
                }
            }
        }
        workgroupBarrier();
        last_cost = part_cost[0];
        last_index = part_index[0];
        if (lane == 0u) {
            kept_cost[round] = last_cost;
            kept_index[round] = last_index;
        }
        workgroupBarrier();
    }
    if (lane < params.keep) {
        let index = kept_index[lane];
        var rank = 0u;
        for (var other = 0u; other < params.keep; other++) {
            rank += u32(kept_index[other] < index);
        }
        let source = (row * params.stride + index / params.k) * params.levels;
        let place = row * params.stride + rank;
        for (var l = 0u; l < params.level; l++) {
            codes_out[place * params.levels + l] = codes_in[source + l];
        }
        codes_out[place * params.levels + params.level] = params.offset + index % params.k;
        cost_out[place] = kept_cost[lane];
    }
    if (lane == 0u) {
        let gap = select(LARGEST, kept_cost[params.keep] - kept_cost[params.keep - 1u], kept_index[params.keep] != NONE);
        margin[row] = min(gap, select(margin[row], LARGEST, params.level == 0u));
    }
}
