// centroid: sums of the rows of each label, and codewords moved towards their means.
// Formula:    `main`: sums[piece] += sum over the piece's rows in this chunk;  `move_codewords`: mean_j = (sum of its pieces)
//             / count_j, c_j = c_j + weight_j * (mean_j - c_j), mean_j itself where weight_j = 1; then (w_j, b_j) anew
// Inputs:     rows [n, 4*stride4] of one chunk, order (rows by label), pieces [m] of (label, start, end, unused),
//             piece_starts [k + 1], weights [k]
// Outputs:    sums [m, 4*stride4], zero before the first chunk; codewords [k, 4*stride4], scale_bias [k]
// Ties:       none
// Non-finite: passes through to its label
// Lanes:      `main`: COLUMNS lanes a row, 64 / COLUMNS rows side by side; `move_codewords`: 64 lanes a codeword
// Source:     segmented sums over a counting sort, no atomics: rows in ascending order within a lane, lanes by a tree, pieces
//             (at most 256 rows) in order
struct Params {
    first_row: u32,
    end_row: u32,
    stride4: u32,
    pieces: u32,
    k: u32,
    cosine: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> pieces: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> piece_starts: array<u32>;
@group(0) @binding(6) var<storage, read> weights: array<f32>;
@group(0) @binding(7) var<storage, read_write> codewords: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> scale_bias: array<vec2<f32>>;

var<workgroup> part: array<vec4<f32>, 64>;

// First place in order[begin..end] whose row is not below `row`: rows ascend within a piece.
fn lower_bound(begin: u32, end: u32, row: u32) -> u32 {
    var low = begin;
    var high = end;
    while (low < high) {
        let middle = (low + high) / 2u;
        if (order[middle] < row) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let piece = line(group, groups);
    if (piece >= params.pieces) {
        return;
    }
    let begin = lower_bound(pieces[piece].y, pieces[piece].z, params.first_row);
    let end = lower_bound(begin, pieces[piece].z, params.end_row);
    for (var c = 0u; c < params.stride4; c += COLUMNS) {
        let column4 = c + lane % COLUMNS;
        var sum = vec4<f32>();
        if (column4 < params.stride4) {
            for (var i = begin + lane / COLUMNS; i < end; i += 64u / COLUMNS) {
                sum += rows[(order[i] - params.first_row) * params.stride4 + column4];
            }
        }
        part[lane] = sum;
        for (var step = 32u; step >= COLUMNS; step /= 2u) {
            workgroupBarrier();
            if (lane < step) {
                part[lane] += part[lane + step];
            }
        }
        if (lane < COLUMNS && column4 < params.stride4 && begin < end) {
            sums[piece * params.stride4 + column4] += part[lane];
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(64)
fn move_codewords(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let j = line(group, groups);
    if (j >= params.k) {
        return;
    }
    let begin = piece_starts[j];
    let end = piece_starts[j + 1u];
    var squared = vec4<f32>();
    for (var c = lane; c < params.stride4; c += 64u) {
        var codeword = codewords[j * params.stride4 + c];
        if (begin < end) {
            var sum = vec4<f32>();
            for (var piece = begin; piece < end; piece++) {
                sum += sums[piece * params.stride4 + c];
            }
            let mean = sum / f32(pieces[end - 1u].z - pieces[begin].y);
            let weight = weights[j];
            codeword = select(codeword + weight * (mean - codeword), mean, weight == 1.0);
            codewords[j * params.stride4 + c] = codeword;
        }
        squared += codeword * codeword;
    }
    part[lane] = squared;
    for (var step = 32u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    if (lane == 0u && begin < end) {
        let norm2 = total(part[0]);
        let cosine = vec2<f32>(select(0.0, inverseSqrt(norm2), norm2 > 0.0), 0.0);
        scale_bias[j] = select(vec2<f32>(1.0, 0.5 * norm2), cosine, params.cosine != 0u);
    }
}
