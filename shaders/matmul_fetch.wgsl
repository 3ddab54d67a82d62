// Appended to matmul: what a lane fetches of either operand, wherever its values lie.
// Blocks of a step: left ones are fetched by the first lanes, right ones by the others.
const LEFT: u32 = A4 * KB;

// How many of four places from `at` on lie before `end`.
fn room(at: u32, end: u32) -> u32 {
    return min(4u, max(at, end) - at);
}

// What one lane fetches and stores: an operand's block of 4 lines x 4 terms. Consecutive lanes take what lies side by side.
struct Place {
    left: bool,
    along: bool,
    line4: u32,
    k_block: u32,
}

fn place(lane: u32) -> Place {
    let left = lane < LEFT;
    let block = select(lane - LEFT, lane, left);
    let width = select(B4, A4, left);
    if ((params.along & select(2u, 1u, left)) != 0u) {
        return Place(left, true, block % width, block / width);
    }
    return Place(left, false, block / KB, block % KB);
}

// The block of a place as 4 terms x 4 lines, zeros past the ends.
fn fetch(p: Place, row_tile: u32, column_tile: u32, first: u32, end: u32) -> mat4x4<f32> {
    let term = first + p.k_block * 4u;
    let terms = room(term, end);
    let line = select(column_tile * BN, row_tile * BM, p.left) + p.line4 * 4u;
    let all = select(params.n, params.m, p.left);
    let lines = room(line, all);
    if (p.along) {
        let at = select(params.b, params.a, p.left) + term * all + line;
        return load_block(p.left, at, all, terms, lines);
    }
    let at = select(params.b, params.a, p.left) + line * params.k + term;
    return transpose(load_block(p.left, at, params.k, lines, terms));
}

// `count` values of each of `runs` runs that start `stride` apart.
fn load_block(left: bool, at: u32, stride: u32, runs: u32, count: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load(left, at, select(0u, count, runs > 0u)),
        load(left, at + stride, select(0u, count, runs > 1u)),
        load(left, at + 2u * stride, select(0u, count, runs > 2u)),
        load(left, at + 3u * stride, select(0u, count, runs > 3u)));
}

fn load(left: bool, at: u32, count: u32) -> vec4<f32> {
    if (left) {
        return load_a(at, count);
    }
    return load_b(at, count);
}
