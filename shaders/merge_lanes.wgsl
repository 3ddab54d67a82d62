// Appended to `assign`: merges the lanes of a row by a tree through the tile's memory. Core WGSL only.
fn merge_lanes(top: ptr<function, Top>, tx: u32, ty: u32) {
    for (var step = NX / 2u; step > 0u; step /= 2u) {
        exchange_through_memory(top, tx, ty, step);
    }
    workgroupBarrier();
}
