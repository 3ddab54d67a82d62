// Appended to `assign` where the device has subgroups: merges the lanes of a row by shuffles, and by the tree through
// memory where a step leaves the subgroup. Lanes are merged in the same order as in merge_lanes.wgsl, with the same rule.
// WGSL does not say which lanes of a workgroup form a subgroup, nor that all subgroups are of one size. So each lane
// asks its partners who they are, and only the steps at which every lane of the workgroup found the right one are shuffled.

// The steps below the result can be shuffled, everywhere in the workgroup.
fn shuffled_steps(lane: u32) -> u32 {
    workgroupBarrier();
    if (lane < 8u) {
        tile[lane] = vec4<f32>(1.0);
    }
    workgroupBarrier();
    for (var step = 1u; step < NX; step *= 2u) {
        // Whoever has no partner says so; all of them write the same.
        if (subgroupShuffleXor(lane, step) != (lane ^ step)) {
            tile[countTrailingZeros(step)] = vec4<f32>();
        }
    }
    workgroupBarrier();
    var steps = 1u;
    while (steps < NX && tile[countTrailingZeros(steps)].x == 1.0) {
        steps *= 2u;
    }
    return steps;
}

fn merge_lanes(top: ptr<function, Top>, tx: u32, ty: u32) {
    let steps = shuffled_steps(ty * NX + tx);
    for (var step = NX / 2u; step > 0u; step /= 2u) {
        if (step >= steps) {
            exchange_through_memory(top, tx, ty, step);
        } else {
            let b = subgroupShuffleXor((*top).best, step);
            let s = subgroupShuffleXor((*top).second, step);
            take_in(top, b, s, subgroupShuffleXor((*top).index, step));
        }
    }
    workgroupBarrier();
}
