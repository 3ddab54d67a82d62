// Appended to every kernel: what all of them share.

// The sentinel of "no score yet": the largest finite f32. Infinities may be assumed away by a compiler.
const LARGEST: f32 = 0x1.fffffep+127f;

// By its bits: a compiler may take comparisons with NaN for granted.
fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}

// Index of a workgroup in a 2-D grid that stands for a line longer than 65,535 groups.
fn line(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}

// Makes a value opaque, so that sums on either side cannot be reordered into each other. `zero` comes from a
// uniform: no compiler knows that it is 0.
fn opaque(value: vec4<f32>, zero: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) ^ vec4<u32>(zero));
}

fn opaque_block(m: mat4x4<f32>, zero: u32) -> mat4x4<f32> {
    return mat4x4<f32>(opaque(m[0], zero), opaque(m[1], zero), opaque(m[2], zero), opaque(m[3], zero));
}

// Column c of the result is a·b[c]: four rows times four codewords.
fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a * b.x, a * b.y, a * b.z, a * b.w);
}

fn squares(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    let x = a - b.x;
    let y = a - b.y;
    let z = a - b.z;
    let w = a - b.w;
    return mat4x4<f32>(x * x, y * y, z * z, w * w);
}

fn total(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
