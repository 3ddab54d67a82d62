// attention_cached: attention of new tokens over keys and values that were kept, and keeping them.
// Formula:    `main`: out_t = sum_s softmax_s(scale * q_t.k_s) v_s over the slots s = seen[bounds_t..bounds_(t+1)];
//             `store`: cache[slots_t] = (k_t, v_t)
// Inputs:     qkv as `attention` has it; cache [slots, 2*kv_heads*dims], seen [listed], bounds [tokens + 1]; `store`: in place of seen the
//             slots [tokens] from `first` on
// Outputs:    out [tokens, heads, dims]; `store`: in its place the cache. A slot past the cache is passed over; without slots out is 0
// Ties:       head i reads head i / share of keys and values; of two tokens for one slot either may stay
// Non-finite: passes through to the tokens that see it
// Lanes:      `main`: 256 lanes a token, head and 256 columns; 8 lanes a score, 32 slots at a time; then 64 lanes for the columns, four
//             for each, a quarter of the slots each; `store`: a lane holds one value
// Source:     as `attention`
struct Params {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    share: u32,
    dims: u32,
    row: u32,
    chunks: u32,
    first: u32,
    scale: u32,
    slots: u32,
    listed: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> seen: array<u32>;
@group(0) @binding(2) var<storage, read> bounds: array<u32>;
@group(0) @binding(3) var<storage, read> qkv: array<f32>;
@group(0) @binding(4) var<storage, read> cache: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// The slots of a block, NONE where there is none, and their scores; scores in eight parts, then sums in four.
var<workgroup> block: array<u32, 32>;
var<workgroup> scores: array<f32, 32>;
var<workgroup> part: array<f32, 1024>;

const NONE: u32 = 0xffffffffu;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = line(group, groups);
    let head = at / params.chunks % params.heads;
    let token = at / params.chunks / params.heads;
    if (token >= params.tokens) {
        return;
    }
    let dims = params.dims;
    let width = 2u * params.kv_heads * dims;
    let query = token * params.row + head * dims;
    let keys = head / params.share * dims;
    let values = keys + params.kv_heads * dims;
    let column = at % params.chunks * 256u + lane % 64u;
    let end = min(bounds[token + 1u], params.listed);
    let quarter = lane / 64u * 8u;
    var m = -LARGEST;
    var total = 0.0;
    var found = 0.0;
    var sums = vec4<f32>();
    for (var first = bounds[token]; first < end; first += 32u) {
        workgroupBarrier();
        if (lane < 32u) {
            var slot = NONE;
            if (first + lane < end) {
                slot = seen[first + lane];
            }
            block[lane] = select(NONE, slot, slot < params.slots);
        }
        workgroupBarrier();
        let mine = block[lane / 8u];
        var sum = 0.0;
        if (mine != NONE) {
            for (var c = lane % 8u; c < dims; c += 8u) {
                sum += qkv[query + c] * cache[mine * width + keys + c];
            }
        }
        part[lane] = sum;
        workgroupBarrier();
        if (lane < 32u) {
            let i = lane * 8u;
            let sum = ((part[i] + part[i + 1u]) + (part[i + 2u] + part[i + 3u]))
                + ((part[i + 4u] + part[i + 5u]) + (part[i + 6u] + part[i + 7u]));
            scores[lane] = select(bitcast<f32>(params.scale) * sum, -LARGEST, block[lane] == NONE);
        }
        workgroupBarrier();
        var next = m;
        for (var s = 0u; s < 32u; s++) {
            next = max(next, scores[s]);
        }
        let by = decay(m - next);
        m = next;
        total *= by;
        sums *= by;
        for (var s = quarter; s < quarter + 8u; s++) {
            let slot = block[s];
            if (slot != NONE) {
                let p = decay(scores[s] - m);
                total += p;
                for (var x = 0u; x < 4u; x++) {
                    if (column + 64u * x < dims) {
                        sums[x] += p * cache[slot * width + values + column + 64u * x];
                    }
                }
                found = 1.0;
            }
        }
    }
    workgroupBarrier();
    if (lane % 64u == 0u) {
        scores[lane / 64u] = total;
        scores[4u + lane / 64u] = found;
    }
    for (var x = 0u; x < 4u; x++) {
        part[lane / 64u * 256u + 64u * x + lane % 64u] = sums[x];
    }
    workgroupBarrier();
    let c = at % params.chunks * 256u + lane;
    if (c < dims) {
        let sum = (part[lane] + part[lane + 256u]) + (part[lane + 512u] + part[lane + 768u]);
        let all = (scores[0] + scores[1]) + (scores[2] + scores[3]);
        let nothing = (scores[4] + scores[5]) + (scores[6] + scores[7]) == 0.0;
        out[(token * params.heads + head) * dims + c] = sum / select(all, 1.0, nothing);
    }
}

@compute @workgroup_size(256)
fn store(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    let width = 2u * params.kv_heads * params.dims;
    if (i < params.tokens * width) {
        let slot = seen[params.first + i / width];
        if (slot < params.slots) {
            out[slot * width + i % width] = qkv[i / width * params.row + params.heads * params.dims + i % width];
        }
    }
}
