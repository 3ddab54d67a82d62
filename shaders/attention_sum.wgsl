// Part of `attention` and `attention_backward`, after attention_tile.wgsl: sums over streamed rows, times the weight that each of them has
// for each own row. Named blocks, not arrays, so that they stay in registers.
const KEYS: u32 = 1024u / WIDTH;

// Four own rows times columns 4 * (lane % 8).. of each 32.
struct Sums {
    c0: mat4x4<f32>,
    c1: mat4x4<f32>,
    c2: mat4x4<f32>,
    c3: mat4x4<f32>,
}

// A line of own rows for every streamed row, rotated by the lane that wrote it, so that lanes write to different memory banks.
var<workgroup> weights: array<vec4<f32>, 32u * OWN4>;
// Whether what was summed up held NaN or infinity, which a weight of 0 must keep out.
var<workgroup> spoilt: atomic<u32>;

fn weights_at(lane: u32) -> u32 {
    return lane % 8u * 4u * OWN4 + (lane / 8u + lane % 8u) % OWN4;
}

fn keep_weights(lane: u32, block: mat4x4<f32>) {
    let at = weights_at(lane);
    weights[at] = block[0];
    weights[at + OWN4] = block[1];
    weights[at + 2u * OWN4] = block[2];
    weights[at + 3u * OWN4] = block[3];
}

// What `outer` gives, but 0 wherever the weight is 0.
fn kept(p: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
    let m = outer(p, v);
    let none = p == vec4<f32>();
    let zero = vec4<f32>();
    return mat4x4<f32>(
        select(m[0], zero, none), select(m[1], zero, none), select(m[2], zero, none), select(m[3], zero, none));
}

fn product(p: vec4<f32>, at: u32, careful: bool) -> mat4x4<f32> {
    if (careful) {
        return kept(p, stage[at]);
    }
    return outer(p, stage[at]);
}

fn add_staged(lane: u32, sums: ptr<function, Sums>, k0: u32, careful: bool) {
    for (var k = 0u; k < KEYS; k++) {
        let p = weights[(k0 + k) * OWN4 + (lane / 8u + (k0 + k) / 4u) % OWN4];
        let at = k * (WIDTH / 4u) + lane % 8u;
        (*sums).c0 += product(p, at, careful);
        if (WIDTH > 32u) {
            (*sums).c1 += product(p, at + 8u, careful);
        }
        if (WIDTH > 64u) {
            (*sums).c2 += product(p, at + 16u, careful);
            (*sums).c3 += product(p, at + 24u, careful);
        }
    }
}

// Adds the streamed rows' columns from `column` on, each row times its weights. After `keep_weights`.
fn accumulate(lane: u32, sums: ptr<function, Sums>, other: Side, column: u32) {
    for (var k0 = 0u; k0 < 32u; k0 += KEYS) {
        workgroupBarrier();
        for (var x = lane; x < 256u; x += THREADS) {
            let at = start(other, k0 + x / (WIDTH / 4u));
            let c = column + x % (WIDTH / 4u) * 4u;
            var v: vec4<f32>;
            if (c + 4u <= params.dims) {
                v = four(other.source, at + c);
            } else {
                v = tail(other.source, at, c);
            }
            if (any((bitcast<vec4<u32>>(v) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u))) {
                atomicStore(&spoilt, 1u);
            }
            stage[x] = v;
        }
        workgroupBarrier();
        if (atomicLoad(&spoilt) != 0u) {
            add_staged(lane, sums, k0, true);
        } else {
            add_staged(lane, sums, k0, false);
        }
    }
}

fn scaled(m: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(m[0] * by, m[1] * by, m[2] * by, m[3] * by);
}

fn scale_all(sums: ptr<function, Sums>, by: vec4<f32>) {
    (*sums).c0 = scaled((*sums).c0, by);
    (*sums).c1 = scaled((*sums).c1, by);
    (*sums).c2 = scaled((*sums).c2, by);
    (*sums).c3 = scaled((*sums).c3, by);
}

fn write_block(to: Side, row: u32, column: u32, m: mat4x4<f32>) {
    let by_row = transpose(m);
    for (var x = 0u; x < 4u; x++) {
        for (var c = 0u; c < 4u; c++) {
            if (row + x < to.end && column + c < params.dims) {
                write(to.offset + (row + x) * to.stride + column + c, by_row[x][c]);
            }
        }
    }
}

// Writes the own rows' columns from `column` on.
fn write_all(lane: u32, to: Side, column: u32, sums: ptr<function, Sums>) {
    let row = to.first + lane / 8u * 4u;
    let c = column + lane % 8u * 4u;
    write_block(to, row, c, (*sums).c0);
    if (WIDTH > 32u) {
        write_block(to, row, c + 32u, (*sums).c1);
    }
    if (WIDTH > 64u) {
        write_block(to, row, c + 64u, (*sums).c2);
        write_block(to, row, c + 96u, (*sums).c3);
    }
}
