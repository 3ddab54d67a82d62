// Appended to `assign_split`: products by single lanes, 8 sums of every 16 x 16 block a lane: row in_wave % 16, columns
// from in_wave / 16 * 8 on. Slower than f32 tiles; it runs the splitting and the epilogue where there are no matrices.
struct Blocks {
    high: array<array<f32, 8>, 4>,
    cross: array<array<f32, 8>, 4>,
}

fn multiply_split(sums: ptr<function, Blocks>, left: u32, right: u32, in_wave: u32) {
    for (var block = 0u; block < 4u; block++) {
        let a = left + (block / 2u * 16u + in_wave % 16u) * 16u;
        for (var i = 0u; i < 8u; i++) {
            let b = right + (block % 2u * 16u + in_wave / 16u * 8u + i) * 16u;
            for (var c = 0u; c < 16u; c++) {
                let hi = vec2<f32>(f32(terms[a + c]), f32(terms[b + c]));
                let lo = vec2<f32>(f32(terms[a + LOW + c]), f32(terms[b + LOW + c]));
                (*sums).high[block][i] += hi.x * hi.y;
                (*sums).cross[block][i] += hi.x * lo.y + lo.x * hi.y;
            }
        }
    }
}

fn show(sums: ptr<function, Blocks>, block: u32, at: u32, in_wave: u32) {
    for (var i = 0u; i < 8u; i++) {
        let place = at + in_wave % 16u * 16u + in_wave / 16u * 8u + i;
        shown[place] = (*sums).high[block][i] + (*sums).cross[block][i];
    }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row_tile = params.first_tile + line(group, groups);
    if (row_tile >= params.row_tiles) {
        return;
    }
    run(row_tile, lane, lane / 32u, lane % 32u);
}
