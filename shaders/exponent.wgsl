// exponent: the binary exponent of every row's largest magnitude, for `assign_split`.
// Formula:    out[i] = max(-110, floor(log2 max_c |x_ic|)); a zero row gives -110
// Inputs:     rows [n, 4*stride4]
// Outputs:    out [n] from `first` on
// Ties:       none
// Non-finite: gives 128
// Lanes:      16 lanes a row, 16 rows a workgroup
// Source:     the bits of an f32 order as its magnitude; integers only, so the result is exact
// Below -110 the scale 2^(14 - e) would leave the range of f32; a value that small counts less than 2^-138.
struct Params {
    n: u32,
    stride4: u32,
    first: u32,
    unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<i32>;

var<workgroup> part: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 16u + lane / 16u;
    var largest = vec4<u32>();
    if (row < params.n) {
        for (var c = lane % 16u; c < params.stride4; c += 16u) {
            largest = max(largest, rows[row * params.stride4 + c] & vec4<u32>(0x7fffffffu));
        }
    }
    part[lane] = max(max(largest.x, largest.y), max(largest.z, largest.w));
    for (var step = 8u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane % 16u < step) {
            part[lane] = max(part[lane], part[lane + step]);
        }
    }
    workgroupBarrier();
    if (row < params.n && lane % 16u == 0u) {
        out[params.first + row] = max(-110, i32(part[lane] >> 23u) - 127);
    }
}
