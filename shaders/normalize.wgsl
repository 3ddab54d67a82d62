// normalize: divides every row by its L2 norm, in place.
// Formula:    norms[i] = sqrt(sum_c x_ic^2);  x_ic = x_ic / norms[i], or stays 0 where the norm is 0
// Inputs:     rows [n, 4*stride4]
// Outputs:    rows [n, 4*stride4], norms [n]
// Ties:       none
// Non-finite: passes through to its row
// Lanes:      16 lanes a row, 16 rows a workgroup; fixed tree
// Source:     the row is first scaled by a power of two near its largest value, as BLAS's nrm2 does, so that the squares of
//             very long or very short rows neither overflow nor vanish
struct Params {
    n: u32,
    stride4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 16u + lane / 16u;
    let first = row * params.stride4 + lane % 16u;
    // A row past the end has no columns, so that all lanes meet at the barriers.
    let end = select(0u, (row + 1u) * params.stride4, row < params.n);
    var largest = vec4<f32>();
    for (var i = first; i < end; i += 16u) {
        largest = max(largest, abs(rows[i]));
    }
    part[lane] = max(max(largest.x, largest.y), max(largest.z, largest.w));
    for (var step = 8u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane % 16u < step) {
            part[lane] = max(part[lane], part[lane + step]);
        }
    }
    workgroupBarrier();
    // The exponent alone, kept where both 2^e and 2^-e are normal numbers.
    let exponent = clamp(bitcast<u32>(part[lane - lane % 16u]) >> 23u, 1u, 253u);
    let up = bitcast<f32>(exponent << 23u);
    let down = bitcast<f32>((254u - exponent) << 23u);
    workgroupBarrier();
    var sum = vec4<f32>();
    for (var i = first; i < end; i += 16u) {
        let x = rows[i] * down;
        sum += x * x;
    }
    part[lane] = total(sum);
    for (var step = 8u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane % 16u < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    let scaled = sqrt(part[lane - lane % 16u]);
    if (row < params.n && lane % 16u == 0u) {
        norms[row] = scaled * up;
    }
    if (scaled > 0.0) {
        for (var i = first; i < end; i += 16u) {
            rows[i] = rows[i] * down / scaled;
        }
    }
}
