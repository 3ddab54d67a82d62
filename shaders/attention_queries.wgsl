// attention_queries: the gradient of `attention` for its queries.
// Formula:    p_tj = exp(scale * q_t.k_j - log_sums_t), delta_t = g_t.out_t, d_tj = scale * p_tj * (g_t.v_j - delta_t), starts_t <= j <= t;
//             grad of q_t = sum_j d_tj k_j
// Inputs:     qkv and starts as `attention` has them; out and its gradient g [tokens, heads, dims], log_sums [tokens, heads]
// Outputs:    grad as qkv, its queries alone; deltas [tokens, heads], for `attention_keys`
// Ties:       none
// Non-finite: passes through to the tokens that see it
// Lanes:      2 * OWN lanes a tile of OWN queries of one head and up to WIDTH columns, keys stream past 32 at a time
// Source:     Dao 2023, but with passes of their own for queries, keys and values, so that nothing is added by atomics, and that one
//             gradient at a time fills the registers
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
@group(0) @binding(5) var<storage, read> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> deltas: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad: array<f32>;

var<workgroup> own_deltas: array<vec4<f32>, OWN4>;

// Where the sums of tokens t and a head lie.
fn sums_at(t: vec4<u32>, head: u32) -> vec4<u32> {
    return min(t, vec4<u32>(params.tokens - 1u)) * params.heads + head;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let p = place(line(group, groups) + params.first, params.heads);
    if (p.first >= params.tokens) {
        return;
    }
    if (lane == 0u) {
        atomicStore(&spoilt, 0u);
    }
    let dims = params.dims;
    let end = min(p.first + OWN, params.tokens);
    let own = Side(QKV, p.head * dims, params.row, p.first, end);
    let own_g = Side(G, p.head * dims, params.heads * dims, p.first, end);
    let k = (params.heads + p.head / params.share) * dims;
    let t = p.first + lane / 8u * 4u + STEPS;
    let at = sums_at(t, p.head);
    var delta = vec4<f32>();
    for (var c = lane % 8u; c < dims; c += 8u) {
        let i = at * dims + c;
        delta += vec4<f32>(g[i.x] * out[i.x], g[i.y] * out[i.y], g[i.z] * out[i.z], g[i.w] * out[i.w]);
    }
    delta = row_sum(lane, delta);
    if (lane % 8u == 0u) {
        own_deltas[lane / 8u] = delta;
        for (var x = 0u; x < 4u; x++) {
            if (t[x] < params.tokens && p.column == 0u) {
                deltas[at[x]] = delta[x];
            }
        }
    }
    var sums = Sums();
    for (var j0 = starts[p.first]; j0 < end; j0 += 32u) {
        let keys = Side(QKV, k, params.row, j0, end);
        let j = vec4<u32>(j0 + lane % 8u * 4u);
        let s = products(lane, own, keys);
        // What belongs to own rows is read again for every tile, so that it takes no registers in between.
        let begins = vec4<u32>(begin(t.x), begin(t.y), begin(t.z), begin(t.w));
        let i = sums_at(t, p.head);
        let logs = vec4<f32>(log_sums[i.x], log_sums[i.y], log_sums[i.z], log_sums[i.w]);
        keep_weights(lane, mat4x4<f32>(
            probability(s[0], logs, hidden(j, begins, t)), probability(s[1], logs, hidden(j + 1u, begins, t)),
            probability(s[2], logs, hidden(j + 2u, begins, t)), probability(s[3], logs, hidden(j + 3u, begins, t))));
        let gv = products(lane, own_g, Side(QKV, k + params.kv_heads * dims, params.row, j0, end));
        let mine = weights_at(lane);
        let own_delta = own_deltas[lane / 8u];
        slope(mine, gv[0], own_delta, hidden(j, begins, t));
        slope(mine + OWN4, gv[1], own_delta, hidden(j + 1u, begins, t));
        slope(mine + 2u * OWN4, gv[2], own_delta, hidden(j + 2u, begins, t));
        slope(mine + 3u * OWN4, gv[3], own_delta, hidden(j + 3u, begins, t));
        accumulate(lane, &sums, keys, p.column);
    }
    write_all(lane, own, p.column, &sums);
}
