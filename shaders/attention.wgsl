// attention: causal attention over sequences that lie one behind another, never with an N x N matrix.
// Formula:    out_t = sum_j softmax_j(scale * q_t.k_j) v_j and log_sums_t = log sum_j exp(scale * q_t.k_j), starts_t <= j <= t
// Inputs:     qkv [tokens, row]: a token's queries [heads, dims], its keys and its values [kv_heads, dims]; starts [tokens], ascending
// Outputs:    out [tokens, heads, dims], log_sums [tokens, heads]
// Ties:       none; head i reads head i / share of keys and values
// Non-finite: passes through to the tokens that see it
// Lanes:      2 * OWN lanes a tile of OWN queries of one head and up to WIDTH columns; wider heads take several, each with all the scores
// Source:     Vaswani et al. 2017; Dao 2023: keys stream past 32 at a time, and what is summed up is scaled down when a larger score
//             comes (Milakov and Gimelshein 2018)
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
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_sums: array<f32>;

fn one(source: u32, at: u32) -> f32 {
    return qkv[at];
}

fn four(source: u32, at: u32) -> vec4<f32> {
    return vec4<f32>(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]);
}

fn write(at: u32, value: f32) {
    out[at] = value;
}

fn row_max(lane: u32, block: mat4x4<f32>) -> vec4<f32> {
    let at = passed(lane, max(max(block[0], block[1]), max(block[2], block[3])));
    var m = stage[at];
    for (var x = 1u; x < 8u; x++) {
        m = max(m, stage[at + x * OWN4]);
    }
    return m;
}

// Scores of key j; minus the largest number where it is out of sight.
fn scores(s: vec4<f32>, j: u32, begins: vec4<u32>, t: vec4<u32>) -> vec4<f32> {
    return select(bitcast<f32>(params.scale) * s, vec4<f32>(-LARGEST), hidden(vec4<u32>(j), begins, t));
}

// Weights of key j; 0 where it is out of sight, even if nothing has been seen yet.
fn shares(score: vec4<f32>, m: vec4<f32>, j: u32, begins: vec4<u32>, t: vec4<u32>) -> vec4<f32> {
    return select(decays(score - m), vec4<f32>(), hidden(vec4<u32>(j), begins, t));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let p = place(line(group, groups) + params.first, params.heads);
    let first = p.first;
    let head = p.head;
    if (first >= params.tokens) {
        return;
    }
    if (lane == 0u) {
        atomicStore(&spoilt, 0u);
    }
    let dims = params.dims;
    let keys = (params.heads + head / params.share) * dims;
    let end = min(first + OWN, params.tokens);
    let queries = Side(0u, head * dims, params.row, first, end);
    let t = first + lane / 8u * 4u + STEPS;
    var m = vec4<f32>(-LARGEST);
    var total = vec4<f32>();
    var sums = Sums();
    for (var j0 = starts[first]; j0 < end; j0 += 32u) {
        let j = j0 + lane % 8u * 4u;
        var s = products(lane, queries, Side(0u, keys, params.row, j0, end));
        // Read again for every tile, so that they take no registers in between.
        let begins = vec4<u32>(begin(t.x), begin(t.y), begin(t.z), begin(t.w));
        s = mat4x4<f32>(scores(s[0], j, begins, t), scores(s[1], j + 1u, begins, t), scores(s[2], j + 2u, begins, t),
            scores(s[3], j + 3u, begins, t));
        let next = max(m, row_max(lane, s));
        s = mat4x4<f32>(shares(s[0], next, j, begins, t), shares(s[1], next, j + 1u, begins, t),
            shares(s[2], next, j + 2u, begins, t), shares(s[3], next, j + 3u, begins, t));
        keep_weights(lane, s);
        let by = decays(m - next);
        m = next;
        total = total * by + ((s[0] + s[1]) + (s[2] + s[3]));
        scale_all(&sums, by);
        accumulate(lane, &sums, Side(0u, keys + params.kv_heads * dims, params.row, j0, end), p.column);
    }
    total = row_sum(lane, total);
    scale_all(&sums, 1.0 / total);
    write_all(lane, Side(0u, head * dims, params.heads * dims, first, end), p.column, &sums);
    if (lane % 8u == 0u && p.column == 0u) {
        for (var x = 0u; x < 4u; x++) {
            if (t[x] < params.tokens) {
                log_sums[t[x] * params.heads + head] = log_of(vec2<f32>(m[x], total[x]));
            }
        }
    }
}
