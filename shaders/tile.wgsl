// Appended to the tiled kernels: BM x BN outputs a workgroup, BK terms a step, RH x CH blocks of 4 x 4 outputs a lane.
// BM, BN, BK, RH, CH and THREADS = NX * NY are constants of the variant, put before the file by the host; so is `Stored`, the
// type of four values in workgroup memory, vec4<f32> or vec4<f16>. Products and sums are f32 either way.
// Source: Volkov and Demmel 2008; CUTLASS's SIMT tiles. Named blocks, not arrays, so that they stay in registers.
const A4: u32 = BM / 4u;
const B4: u32 = BN / 4u;
const KB: u32 = BK / 4u;
const NX: u32 = B4 / CH;
const NY: u32 = A4 / RH;
const B0: u32 = BK * A4;

// Both operands, k-major: [BK][BM/4] then [BK][BN/4]. The place in a line is xor-ed with twice the k-block, so that the
// k-blocks of one row do not fall into the same memory banks when they are stored.
var<workgroup> tile: array<Stored, BK * (A4 + B4)>;

struct Products {
    c00: mat4x4<f32>,
    c01: mat4x4<f32>,
    c10: mat4x4<f32>,
    c11: mat4x4<f32>,
}

// Stores block `block` (4 lines x 4 terms, line by line) of either operand.
fn put(block: u32, values: mat4x4<f32>) {
    let line4 = block / KB;
    if (line4 < A4 + B4) {
        let left = line4 < A4;
        put_terms(left, select(line4 - A4, line4, left), block % KB, transpose(values));
    }
}

// Stores 4 terms x 4 lines, term by term.
fn put_terms(left: bool, line4: u32, k_block: u32, values: mat4x4<f32>) {
    let width = select(B4, A4, left);
    let at = select(B0, 0u, left) + k_block * 4u * width + (line4 ^ ((k_block * 2u) & (width - 1u)));
    tile[at] = Stored(values[0]);
    tile[at + width] = Stored(values[1]);
    tile[at + 2u * width] = Stored(values[2]);
    tile[at + 3u * width] = Stored(values[3]);
}

// Where the lane's rows and codewords lie in the tile at step kk.
fn left_at(kk: u32, ty: u32) -> u32 {
    return kk * A4 + (ty ^ ((kk / 4u * 2u) & (A4 - 1u)));
}

fn right_at(kk: u32, tx: u32) -> u32 {
    return B0 + kk * B4 + (tx ^ ((kk / 4u * 2u) & (B4 - 1u)));
}

// Adds the tile's BK terms to the lane's outputs.
fn multiply(acc: ptr<function, Products>, tx: u32, ty: u32) {
    for (var kk = 0u; kk < BK; kk++) {
        let a = left_at(kk, ty);
        let b = right_at(kk, tx);
        let a0 = vec4<f32>(tile[a]);
        let b0 = vec4<f32>(tile[b]);
        (*acc).c00 += outer(a0, b0);
        if (CH > 1u) {
            (*acc).c01 += outer(a0, vec4<f32>(tile[b + NX * (CH - 1u)]));
        }
        if (RH > 1u) {
            let a1 = vec4<f32>(tile[a + NY * (RH - 1u)]);
            (*acc).c10 += outer(a1, b0);
            if (CH > 1u) {
                (*acc).c11 += outer(a1, vec4<f32>(tile[b + NX * (CH - 1u)]));
            }
        }
    }
}

// Adds the sums of one fold to the totals, opaquely, and starts the next fold.
fn fold(sum: ptr<function, Products>, acc: ptr<function, Products>, zero: u32) {
    (*sum).c00 += opaque_block((*acc).c00, zero);
    if (CH > 1u) {
        (*sum).c01 += opaque_block((*acc).c01, zero);
    }
    if (RH > 1u) {
        (*sum).c10 += opaque_block((*acc).c10, zero);
        if (CH > 1u) {
            (*sum).c11 += opaque_block((*acc).c11, zero);
        }
    }
    *acc = Products();
}
