// ema: codewords as moving averages of the rows that took them.
// Formula:    N = decay*N + (1 - decay)*batch;  M = decay*M + (1 - decay)*sums;  c_j = M_j / ((N_j + eps)/(S + k*eps)*S), S = sum N
// Inputs:     batch [k], sums [k, e], counts [k + 1], means [k, e]
// Outputs:    counts (the last one is S), means, codebook [k, e] from value `at` on
// Ties:       a codeword whose N is 0 stays
// Non-finite: passes through: from a count or a sum to its codeword, and by S to all
// Lanes:      counts: one workgroup, fixed tree; codewords: one lane a value
// Source:     van den Oord, Vinyals and Kavukcuoglu 2017, appendix A.1, with Laplace smoothing of the counts
struct Params {
    k: u32,
    e: u32,
    at: u32,
    decay: u32,
    epsilon: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<f32>;
@group(0) @binding(4) var<storage, read_write> means: array<f32>;
@group(0) @binding(5) var<storage, read_write> codebook: array<f32>;

var<workgroup> part: array<f32, 256>;

fn moved(before: f32, now: f32) -> f32 {
    let decay = bitcast<f32>(params.decay);
    return decay * before + (1.0 - decay) * now;
}

@compute @workgroup_size(256)
fn move_counts(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var j = lane; j < params.k; j += 256u) {
        let count = moved(counts[j], batch[j]);
        counts[j] = count;
        sum += count;
    }
    part[lane] = sum;
    for (var step = 128u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            part[lane] += part[lane + step];
        }
    }
    if (lane == 0u) {
        counts[params.k] = part[0];
    }
}

@compute @workgroup_size(256)
fn move_codewords(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let i = line(group, groups) * 256u + lane;
    if (i >= params.k * params.e) {
        return;
    }
    let mean = moved(means[i], sums[i]);
    means[i] = mean;
    let count = counts[i / params.e];
    if (count == 0.0) {
        return;
    }
    let all = counts[params.k];
    let epsilon = bitcast<f32>(params.epsilon);
    codebook[params.at + i] = mean / ((count + epsilon) / (all + f32(params.k) * epsilon) * all);
}
