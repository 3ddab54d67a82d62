// attention_keys: the gradient of `attention` for its keys and its values.
// Formula:    with p, delta and d as `attention_queries` has them: `of_keys`: grad of k_j = sum_t d_tj q_t;  `of_values`: grad of v_j =
//             sum_t p_tj g_t; over starts_t <= j <= t and all heads that read this one
// Inputs:     qkv and starts as `attention` has them; the gradient g [tokens, heads, dims]; log_sums, deltas [tokens, heads]
// Outputs:    grad as qkv, its keys or its values alone
// Ties:       none; heads are added up in order
// Non-finite: passes through to the tokens that are seen
// Lanes:      2 * OWN lanes a tile of OWN keys of one head and up to WIDTH columns, queries stream past 32 at a time
// Source:     as `attention_queries`
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> g: array<f32>;
@group(0) @binding(4) var<storage, read> log_sums: array<f32>;
@group(0) @binding(5) var<storage, read> deltas: array<f32>;
@group(0) @binding(6) var<storage, read_write> grad: array<f32>;

fn one_hidden(j: vec4<u32>, t: u32) -> vec4<bool> {
    return hidden(j, vec4<u32>(begin(t)), vec4<u32>(t));
}

// Adds what queries t0.. of a head pass on to the workgroup's keys, or to its values.
fn pass_on(lane: u32, sums: ptr<function, Sums>, keys: Side, values_offset: u32, head: u32, t0: u32, column: u32,
           for_keys: bool) {
    let dims = params.dims;
    let queries = Side(QKV, head * dims, params.row, t0, params.tokens);
    let queries_g = Side(G, head * dims, params.heads * dims, t0, params.tokens);
    let j = keys.first + lane / 8u * 4u + STEPS;
    let t = t0 + lane % 8u * 4u + STEPS;
    let at = min(t, vec4<u32>(params.tokens - 1u)) * params.heads + head;
    let s = products(lane, keys, queries);
    keep_weights(lane, mat4x4<f32>(
        probability(s[0], vec4<f32>(log_sums[at.x]), one_hidden(j, t.x)),
        probability(s[1], vec4<f32>(log_sums[at.y]), one_hidden(j, t.y)),
        probability(s[2], vec4<f32>(log_sums[at.z]), one_hidden(j, t.z)),
        probability(s[3], vec4<f32>(log_sums[at.w]), one_hidden(j, t.w))));
    if (for_keys) {
        let gv = products(lane, Side(QKV, values_offset, params.row, keys.first, keys.end), queries_g);
        let mine = weights_at(lane);
        slope(mine, gv[0], vec4<f32>(deltas[at.x]), one_hidden(j, t.x));
        slope(mine + OWN4, gv[1], vec4<f32>(deltas[at.y]), one_hidden(j, t.y));
        slope(mine + 2u * OWN4, gv[2], vec4<f32>(deltas[at.z]), one_hidden(j, t.z));
        slope(mine + 3u * OWN4, gv[3], vec4<f32>(deltas[at.w]), one_hidden(j, t.w));
        accumulate(lane, sums, queries, column);
    } else {
        accumulate(lane, sums, queries_g, column);
    }
}

fn run(lane: u32, at: u32, for_keys: bool) {
    let p = place(at, params.kv_heads);
    if (p.first >= params.tokens) {
        return;
    }
    if (lane == 0u) {
        atomicStore(&spoilt, 0u);
    }
    let end = min(p.first + OWN, params.tokens);
    let keys = Side(QKV, (params.heads + p.head) * params.dims, params.row, p.first, end);
    let values_offset = keys.offset + params.kv_heads * params.dims;
    var sums = Sums();
    for (var head = p.head * params.share; head < (p.head + 1u) * params.share; head++) {
        for (var t0 = p.first; t0 < params.tokens; t0 += 32u) {
            // Later tokens see none of these keys either.
            if (starts[t0] >= end) {
                break;
            }
            pass_on(lane, &sums, keys, values_offset, head, t0, p.column, for_keys);
        }
    }
    write_all(lane, Side(QKV, select(values_offset, keys.offset, for_keys), params.row, p.first, end), p.column, &sums);
}

@compute @workgroup_size(THREADS)
fn of_keys(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    run(lane, line(group, groups) + params.first, true);
}

@compute @workgroup_size(THREADS)
fn of_values(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    run(lane, line(group, groups) + params.first, false);
}
