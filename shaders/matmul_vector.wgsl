// Appended to matmul where every row and every offset is a multiple of four values: a load is whole or it is nothing.
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> post: array<vec4<f32>>;

fn load_a(at: u32, count: u32) -> vec4<f32> {
    if (count == 0u) {
        return vec4<f32>();
    }
    return a[at / 4u];
}

fn load_b(at: u32, count: u32) -> vec4<f32> {
    if (count == 0u) {
        return vec4<f32>();
    }
    return b[at / 4u];
}

fn load_bias(at: u32, count: u32) -> vec4<f32> {
    return bias[at / 4u];
}

fn load_out(at: u32, count: u32) -> vec4<f32> {
    return out[at / 4u];
}

fn store_out(at: u32, values: vec4<f32>, count: u32) {
    out[at / 4u] = values;
}

fn store_post(at: u32, values: vec4<f32>, count: u32) {
    post[at / 4u] = values;
}
