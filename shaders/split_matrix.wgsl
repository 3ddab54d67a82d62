// Appended to `assign_split`: products by cooperative matrices, f16 16 x 16 x 16 into f32. Validated, not run: no device at
// hand has them. Nobody sees single elements of a matrix, so blocks go through memory to be looked at.
// Left operands lie row by row (coopLoadT), right ones codeword by codeword, which is column by column (coopLoad).
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;

struct Blocks {
    high00: Sums,
    high01: Sums,
    high10: Sums,
    high11: Sums,
    cross00: Sums,
    cross01: Sums,
    cross10: Sums,
    cross11: Sums,
}

fn multiply_split(sums: ptr<function, Blocks>, left: u32, right: u32, in_wave: u32) {
    let a0 = coopLoadT<Left>(&terms[left], 16u);
    let a1 = coopLoadT<Left>(&terms[left + 256u], 16u);
    let b0 = coopLoad<Right>(&terms[right], 16u);
    let b1 = coopLoad<Right>(&terms[right + 256u], 16u);
    (*sums).high00 = coopMultiplyAdd(a0, b0, (*sums).high00);
    (*sums).high01 = coopMultiplyAdd(a0, b1, (*sums).high01);
    (*sums).high10 = coopMultiplyAdd(a1, b0, (*sums).high10);
    (*sums).high11 = coopMultiplyAdd(a1, b1, (*sums).high11);
    let l0 = coopLoadT<Left>(&terms[left + LOW], 16u);
    let l1 = coopLoadT<Left>(&terms[left + LOW + 256u], 16u);
    (*sums).cross00 = coopMultiplyAdd(l0, b0, (*sums).cross00);
    (*sums).cross01 = coopMultiplyAdd(l0, b1, (*sums).cross01);
    (*sums).cross10 = coopMultiplyAdd(l1, b0, (*sums).cross10);
    (*sums).cross11 = coopMultiplyAdd(l1, b1, (*sums).cross11);
    let m0 = coopLoad<Right>(&terms[right + LOW], 16u);
    let m1 = coopLoad<Right>(&terms[right + LOW + 256u], 16u);
    (*sums).cross00 = coopMultiplyAdd(a0, m0, (*sums).cross00);
    (*sums).cross01 = coopMultiplyAdd(a0, m1, (*sums).cross01);
    (*sums).cross10 = coopMultiplyAdd(a1, m0, (*sums).cross10);
    (*sums).cross11 = coopMultiplyAdd(a1, m1, (*sums).cross11);
}

fn show(sums: ptr<function, Blocks>, block: u32, at: u32, in_wave: u32) {
    if (block == 0u) {
        coopStoreT((*sums).high00 + (*sums).cross00, &shown[at], 16u);
    } else if (block == 1u) {
        coopStoreT((*sums).high01 + (*sums).cross01, &shown[at], 16u);
    } else if (block == 2u) {
        coopStoreT((*sums).high10 + (*sums).cross10, &shown[at], 16u);
    } else {
        coopStoreT((*sums).high11 + (*sums).cross11, &shown[at], 16u);
    }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) wave: u32,
        @builtin(num_subgroups) waves: u32, @builtin(subgroup_invocation_id) in_wave: u32) {
    let row_tile = params.first_tile + line(group, groups);
    // Made for subgroups of 32. On others nothing is written, and the check at opening refuses the device.
    if (row_tile >= params.row_tiles || waves != 4u) {
        return;
    }
    run(row_tile, lane, wave, in_wave);
}
