// Part of `attention` and `attention_backward`: OWN rows that a workgroup keeps against 32 rows that stream past.
// OWN, WIDTH and THREADS = 2 * OWN are constants of the variant. Lane (i, j) = (lane / 8, lane % 8) holds 4 own rows, from 4i on, against
// 4 streamed rows, from 4j on, and then 4 own rows against WIDTH/8 columns of a sum over streamed rows (attention_sum.wgsl).
// Source: Dao 2023, with the register tiles of tile.wgsl. The file before it says what `four` and `one` read.
const OWN4: u32 = OWN / 4u;
// Lines of [16][OWN/4] and [16][8] vectors, one longer each, so that columns do not fall into the same memory banks.
const LEFT: u32 = OWN4 + 1u;
const RIGHT: u32 = 9u;
const STEPS: vec4<u32> = vec4<u32>(0u, 1u, 2u, 3u);

// Rows first..end of one head in one of the kernel's tensors.
struct Side {
    source: u32,
    offset: u32,
    stride: u32,
    first: u32,
    end: u32,
}

var<workgroup> stage: array<vec4<f32>, 16u * (LEFT + RIGHT)>;

// The workgroup's tile, head and first column.
struct Place {
    first: u32,
    head: u32,
    column: u32,
}

fn place(at: u32, heads: u32) -> Place {
    let tile = at / params.chunks;
    return Place(tile / heads * OWN, tile % heads, at % params.chunks * WIDTH);
}

// Where a row starts. Rows past the end stand for the last: nothing sees them, and they are not written.
fn start(side: Side, row: u32) -> u32 {
    return side.offset + min(side.first + row, side.end - 1u) * side.stride;
}

// Values c..c + 4 of a row that ends before c + 4; 0 from its end on.
fn tail(source: u32, at: u32, c: u32) -> vec4<f32> {
    let last = params.dims - 1u;
    let v = vec4<f32>(one(source, at + min(c, last)), one(source, at + min(c + 1u, last)), one(source, at + min(c + 2u, last)), 0.0);
    return select(vec4<f32>(), v, c + STEPS < vec4<u32>(params.dims));
}

// Dot products of own rows with streamed rows, one column a streamed row. A lane fetches 4 rows x 4 depths of the 16 of a step: the
// first OWN lanes from own rows, the next 32 from the others.
fn products(lane: u32, own: Side, other: Side) -> mat4x4<f32> {
    let mine = lane < OWN;
    let block = select(lane - OWN, lane, mine);
    let side = Side(select(other.source, own.source, mine), select(other.offset, own.offset, mine),
        select(other.stride, own.stride, mine), select(other.first, own.first, mine), select(other.end, own.end, mine));
    let row = block / 4u * 4u;
    let depth = block % 4u * 4u;
    let at = vec4<u32>(start(side, row), start(side, row + 1u), start(side, row + 2u), start(side, row + 3u));
    let width = select(RIGHT, LEFT, mine);
    let to = select(16u * LEFT, 0u, mine) + depth * width + block / 4u;
    var sum = mat4x4<f32>();
    for (var c = 0u; c < params.dims; c += 16u) {
        workgroupBarrier();
        if (lane < OWN + 32u) {
            let d = c + depth;
            var m: mat4x4<f32>;
            if (d + 4u <= params.dims) {
                m = mat4x4<f32>(four(side.source, at.x + d), four(side.source, at.y + d), four(side.source, at.z + d),
                    four(side.source, at.w + d));
            } else {
                m = mat4x4<f32>(tail(side.source, at.x, d), tail(side.source, at.y, d), tail(side.source, at.z, d),
                    tail(side.source, at.w, d));
            }
            m = transpose(m);
            stage[to] = m[0];
            stage[to + width] = m[1];
            stage[to + 2u * width] = m[2];
            stage[to + 3u * width] = m[3];
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            sum += outer(stage[k * LEFT + lane / 8u], stage[16u * LEFT + k * RIGHT + lane % 8u]);
        }
    }
    return sum;
}

// Passes the lane's value of its rows to the 8 lanes of these rows, which find them from the result on, OWN4 apart. Called by all.
fn passed(lane: u32, value: vec4<f32>) -> u32 {
    workgroupBarrier();
    stage[lane % 8u * OWN4 + lane / 8u] = value;
    workgroupBarrier();
    return lane / 8u;
}

fn row_sum(lane: u32, value: vec4<f32>) -> vec4<f32> {
    let at = passed(lane, value);
    var sum = stage[at];
    for (var x = 1u; x < 8u; x++) {
        sum += stage[at + x * OWN4];
    }
    return sum;
}

// The first token that token t sees; none past the end.
fn begin(t: u32) -> u32 {
    if (t < params.tokens) {
        return starts[t];
    }
    return 0xffffffffu;
}

// Whether tokens t, which see all from `begins` on, do not see tokens j.
fn hidden(j: vec4<u32>, begins: vec4<u32>, t: vec4<u32>) -> vec4<bool> {
    return (j < begins) | (j > t);
}

// exp(t), but 0 where that is subnormal, as `decay` has it. NaN stays NaN.
fn decays(t: vec4<f32>) -> vec4<f32> {
    let nan = (bitcast<vec4<u32>>(t) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(select(exp(t), vec4<f32>(), t < vec4<f32>(-87.0)), t, nan);
}
