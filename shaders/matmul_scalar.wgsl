// Appended to matmul for any sizes and offsets: up to four values, one by one. Blocks inside the matrix take no tests.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> post: array<f32>;

fn load_a(at: u32, count: u32) -> vec4<f32> {
    if (count == 4u) {
        return vec4<f32>(a[at], a[at + 1u], a[at + 2u], a[at + 3u]);
    }
    var v = vec4<f32>();
    if (count > 0u) {
        v.x = a[at];
    }
    if (count > 1u) {
        v.y = a[at + 1u];
    }
    if (count > 2u) {
        v.z = a[at + 2u];
    }
    return v;
}

fn load_b(at: u32, count: u32) -> vec4<f32> {
    if (count == 4u) {
        return vec4<f32>(b[at], b[at + 1u], b[at + 2u], b[at + 3u]);
    }
    var v = vec4<f32>();
    if (count > 0u) {
        v.x = b[at];
    }
    if (count > 1u) {
        v.y = b[at + 1u];
    }
    if (count > 2u) {
        v.z = b[at + 2u];
    }
    return v;
}

fn load_bias(at: u32, count: u32) -> vec4<f32> {
    let last = at + count - 1u;
    return vec4<f32>(bias[at], bias[min(at + 1u, last)], bias[min(at + 2u, last)], bias[min(at + 3u, last)]);
}

fn load_out(at: u32, count: u32) -> vec4<f32> {
    let last = at + count - 1u;
    return vec4<f32>(out[at], out[min(at + 1u, last)], out[min(at + 2u, last)], out[min(at + 3u, last)]);
}

fn store_out(at: u32, values: vec4<f32>, count: u32) {
    out[at] = values.x;
    if (count > 1u) {
        out[at + 1u] = values.y;
    }
    if (count > 2u) {
        out[at + 2u] = values.z;
    }
    if (count > 3u) {
        out[at + 3u] = values.w;
    }
}

fn store_post(at: u32, values: vec4<f32>, count: u32) {
    post[at] = values.x;
    if (count > 1u) {
        post[at + 1u] = values.y;
    }
    if (count > 2u) {
        post[at + 2u] = values.z;
    }
    if (count > 3u) {
        post[at + 3u] = values.w;
    }
}
