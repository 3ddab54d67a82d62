// rotation: the gradient through the rotation that carries a residual onto what it is quantised to.
// Formula:    q = residual - next;  out = |q|/|r| * (g - 2 w (w.g) + 2 r^ (q^.g)), w = (r^ + q^)/|r^ + q^|, r^ = r/|r|, q^ = q/|q|
// Inputs:     residual r [n, e], next [n, e], upstream g [n, e]
// Outputs:    out [n, e]
// Ties:       g passes unchanged where r or q is zero (or too short for its square), or |r^ + q^|^2 <= 1e-6: they are opposite
// Non-finite: passes through to its row
// Lanes:      32 lanes a row, 8 rows a workgroup; fixed trees
// Source:     the rotation trick (Fifty et al. 2024): R = I - 2 w w' + 2 q^ r^' turns r^ onto q^ in their plane; out is its transpose
struct Params {
    n: u32,
    e: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> residual: array<f32>;
@group(0) @binding(2) var<storage, read> next: array<f32>;
@group(0) @binding(3) var<storage, read> upstream: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

var<workgroup> part: array<vec3<f32>, 256>;

// Sums over the 32 lanes of a row.
fn added(lane: u32, value: vec3<f32>) -> vec3<f32> {
    workgroupBarrier();
    part[lane] = value;
    for (var step = 16u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane % 32u < step) {
            part[lane] += part[lane + step];
        }
    }
    workgroupBarrier();
    return part[lane - lane % 32u];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = line(group, groups) * 8u + lane / 32u;
    let first = row * params.e + lane % 32u;
    // A row past the end has no values, so that all lanes meet at the barriers.
    let end = select(0u, (row + 1u) * params.e, row < params.n);
    var squares = vec3<f32>();
    for (var i = first; i < end; i += 32u) {
        let r = residual[i];
        let q = r - next[i];
        squares += vec3<f32>(r * r, q * q, 0.0);
    }
    squares = added(lane, squares);
    let from_norm = sqrt(squares.x);
    let to_norm = sqrt(squares.y);
    // The bisector is formed from unit vectors value by value: by cosines it would cancel where they are nearly opposite.
    var products = vec3<f32>();
    for (var i = first; i < end; i += 32u) {
        let r = residual[i];
        let q = (r - next[i]) / to_norm;
        let s = r / from_norm + q;
        products += vec3<f32>(s * s, s * upstream[i], q * upstream[i]);
    }
    products = added(lane, products);
    // Not written by what must hold: NaN has to take the way of the formula.
    let unchanged = squares.x == 0.0 || squares.y == 0.0 || products.x <= 1e-6;
    let along = 2.0 * products.y / products.x;
    for (var i = first; i < end; i += 32u) {
        let g = upstream[i];
        let r = residual[i] / from_norm;
        let s = r + (residual[i] - next[i]) / to_norm;
        let turned = to_norm / from_norm * (g - s * along + 2.0 * r * products.z);
        out[i] = select(turned, g, unchanged);
    }
}
