// assign_split: `assign` on f16 units: every value is the sum of two f16, and three of the four products are taken.
// Formula:    x 2^(14 - e) = hi + lo;  x . c = 2^(e_x + e_c - 28) sum (hi hi' + (hi lo' + lo hi'));  then as `assign`
// Inputs:     as `assign`, and exponents: e = floor(log2 max |value|) of every row, then of every codeword
// Outputs:    as `assign`
// Ties:       the lowest index wins
// Non-finite: refused before rows reach the device; a NaN score never wins
// Lanes:      four waves of 32 lanes, each with 2 x 2 blocks of 16 rows x 16 codewords
// Source:     Markidis et al. 2018, Ootomo and Yokota 2022 on splitting f32 for matrix units; own epilogue
// Products come from split_lanes.wgsl (run on any device with f16, slow, there to test this file) or split_matrix.wgsl
// (cooperative matrices: validated, not run: no device at hand has them). The error is derived at `split_error` on the host.
// Scaled by its own power of two, no value overflows f16, and what underflows is below 2^-28 of its row's largest.
struct Params {
    n: u32,
    first_tile: u32,
    stride4: u32,
    column_tiles: u32,
    depth: u32,
    codeword_exponents: u32,
    row_tiles: u32,
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> codewords: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scale_bias: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> labels: array<u32>;
@group(0) @binding(5) var<storage, read_write> best: array<f32>;
@group(0) @binding(6) var<storage, read_write> second: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<f32>;
@group(0) @binding(8) var<storage, read> exponents: array<i32>;

// Lines of 16 terms: 64 rows' hi, 64 codewords' hi, 64 rows' lo, 64 codewords' lo.
var<workgroup> terms: array<f16, 4096>;
const RIGHT: u32 = 1024u;
const LOW: u32 = 2048u;
// One 16 x 16 block of sums a wave, row by row; at the end, what four lanes found of every row.
var<workgroup> shown: array<f32, 1024>;

struct Best {
    best: f32,
    second: f32,
    index: u32,
}

// 2^e for a normal result.
fn power(e: i32) -> f32 {
    return bitcast<f32>(u32(e + 127) << 23u);
}

fn put_split(at: u32, value: vec4<f32>, e: i32) {
    let x = value * power(14 - e);
    let hi = vec4<f16>(x);
    // Opaque, or a compiler may take hi for x.
    let lo = vec4<f16>(x - opaque(vec4<f32>(hi), params.zero));
    for (var c = 0u; c < 4u; c++) {
        terms[at + c] = hi[c];
        terms[at + LOW + c] = lo[c];
    }
}

// 64 rows and 64 codewords, 16 terms of each, over 128 lanes.
fn stage(lane: u32, row_tile: u32, column_tile: u32, depth: u32) {
    for (var i = lane; i < 256u; i += 128u) {
        let row = row_tile * 64u + i / 4u;
        let at = depth * 4u + i % 4u;
        put_split(i * 4u, rows[row * params.stride4 + at], exponents[row]);
        let j = column_tile * 64u + i / 4u;
        put_split(RIGHT + i * 4u, codewords[j * params.stride4 + at], exponents[params.codeword_exponents + j]);
    }
}

// A lane looks at 8 codewords from `j` on for one row of the block its wave shows.
fn consider_shown(top: ptr<function, Best>, wave: u32, in_wave: u32, j: u32, row: u32) {
    let e = exponents[row] - 28;
    for (var i = 0u; i < 8u; i++) {
        let column = in_wave / 16u * 8u + i;
        let shift = e + exponents[params.codeword_exponents + j + column];
        // In two halves, so that neither factor leaves the range of f32.
        let dot = shown[wave * 256u + in_wave % 16u * 16u + column] * power(shift / 2) * power(shift - shift / 2);
        let scale = scale_bias[j + column];
        let s = scale.y - scale.x * dot;
        let less = s < (*top).best;
        (*top).second = select(min((*top).second, s), (*top).best, less);
        (*top).best = select((*top).best, s, less);
        (*top).index = select((*top).index, j + column, less);
    }
}

// Shares what a lane found of local row `row`, as one of four.
fn share(top: Best, row: u32, place: u32) {
    let at = (row * 4u + place) * 3u;
    shown[at] = top.best;
    shown[at + 1u] = top.second;
    // Exact below 2^24.
    shown[at + 2u] = f32(top.index);
}

fn run(row_tile: u32, lane: u32, wave: u32, in_wave: u32) {
    let left = wave / 2u * 32u;
    let right = wave % 2u * 32u;
    let row = row_tile * 64u + left + in_wave % 16u;
    var top0 = Best(LARGEST, LARGEST, 0u);
    var top1 = top0;
    for (var t = 0u; t < params.column_tiles; t++) {
        var sums = Blocks();
        for (var d = 0u; d < params.depth; d++) {
            workgroupBarrier();
            stage(lane, row_tile, t, d);
            workgroupBarrier();
            multiply_split(&sums, left * 16u, RIGHT + right * 16u, in_wave);
        }
        for (var block = 0u; block < 4u; block++) {
            workgroupBarrier();
            show(&sums, block, wave * 256u, in_wave);
            workgroupBarrier();
            let j = t * 64u + right + block % 2u * 16u;
            if (block < 2u) {
                consider_shown(&top0, wave, in_wave, j, row);
            } else {
                consider_shown(&top1, wave, in_wave, j, row + 16u);
            }
        }
    }
    workgroupBarrier();
    let place = wave % 2u * 2u + in_wave / 16u;
    share(top0, left + in_wave % 16u, place);
    share(top1, left + 16u + in_wave % 16u, place);
    workgroupBarrier();
    finish(row_tile, lane);
}
