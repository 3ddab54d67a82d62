//! Every `#[repr(C)]` struct that a kernel reads as its uniform, next to the names and order of the shader's fields.
//!
//! All fields are 32-bit words (an f32 travels by its bits), so the WGSL layout is the C layout; the contract test compares names and offsets.

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "gpu", derive(bytemuck::Pod, bytemuck::Zeroable))]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: u32),* }

        impl $name {
            /// Field names in order; the field at place `i` lies `4·i` bytes in.
            pub const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    )*};
}

params! {
    /// What `assign.wgsl` reads.
    Assign { n, first_tile, stride4, column_tiles, depth, first_partial, row_tiles, zero }
    /// What `assign_split.wgsl` reads.
    AssignSplit { n, first_tile, stride4, column_tiles, depth, codeword_exponents, row_tiles, zero }
    /// What `exponent.wgsl` reads.
    Exponent { n, stride4, first, unused }
    /// What `loads.wgsl` reads.
    Loads { n, first_tile, stride4, column_tiles, depth, row_tiles, columns4, slot, scale, cut }
    /// What `distance.wgsl` reads.
    Distance { n, first_row, stride4, column_tiles, depth, k, row_tiles, zero }
    /// What `project.wgsl` reads.
    Project { n, first_row, stride4, out_stride4, column_tiles, depth, row_tiles, zero }
    /// What `covariance.wgsl` reads.
    Covariance { n, first_row, stride4, tiles, block_rows, blocks, zero, unused }
    /// What `row_norm.wgsl`, `normalize.wgsl` and `residual.wgsl` read.
    Rows { n, stride4 }
    /// What `column_sum.wgsl` reads.
    ColumnSum { n, stride4, column_groups, blocks }
    /// What `tally.wgsl` reads.
    Tally { n, k, block_rows, blocks, entries, entry_groups }
    /// What `centroid.wgsl` reads.
    Centroid { first_row, end_row, stride4, pieces, k, cosine }
    /// What `seeding.wgsl` reads.
    Seeding { n, stride4, depth, row_tiles, padded, slots, slot, blocks }
    /// What `beam.wgsl` reads.
    Beam { n, level, levels, k, beams, keep, stride, products_stride, offset, unused }
    /// What `half_norms.wgsl` reads.
    HalfNorms { k, e, offset }
    /// What `nearest.wgsl` reads.
    Nearest { n, k, potentials, others }
    /// What `repel.wgsl` reads.
    Repel { n, e, scale, epsilon }
    /// What `quantize.wgsl` reads.
    Quantize { n, k, e, offset, first }
    /// What `segment.wgsl` reads.
    Segment { n, k, e, at, alpha, accumulate, column_groups }
    /// What `ema.wgsl` reads.
    Ema { k, e, at, decay, epsilon }
    /// What `rotation.wgsl` reads.
    Rotation { n, e }
    /// What `softmax.wgsl` reads.
    Softmax { n, k, factor, exclude_diagonal, weighted }
    /// What `sinkhorn.wgsl` reads.
    Sinkhorn { n, k, e, batch_range, scale }
    /// What `sinkhorn_sweep.wgsl` reads.
    SinkhornSweep { n, k, block_rows, blocks, column_groups, log_share }
    /// What `matmul.wgsl` reads.
    Matmul {
        m, n, k, along, a, b, bias, at, alpha, flags, activation, row_tiles, column_tiles, piece, pieces, zero,
    }
    /// What `activation.wgsl` reads.
    Activation { len, kind, first_bit, scale }
    /// What `layer_norm.wgsl` reads.
    LayerNorm { n, d, gain, bias }
    /// What `column_total.wgsl` reads.
    ColumnTotal { n, d, block_rows, blocks, column_groups, alpha, accumulate, at }
    /// What `total.wgsl` reads.
    Total { len, offset, block_len, blocks, squares, alpha, accumulate, at }
    /// What `combine.wgsl` reads.
    Combine { len, a, b, at, alpha, beta, keep, pieces }
    /// What `optimizer.wgsl` reads.
    Optimizer {
        offset, len, rate, decay, shrink, clip, flags, norm_slot, keep, beta1, beta2, rest1, rest2, correct1, correct2, epsilon,
    }
    /// What `gather.wgsl` reads.
    Gather { n, e, k, first, first_row, segments, at, alpha, accumulate, column_groups, listed }
    /// What `rms_norm.wgsl` reads.
    RmsNorm { rows, d, heads, stride, offset, gain, epsilon }
    /// What `rotary.wgsl` reads.
    Rotary { tokens, heads, d, stride, offset, first_position, positions, inverse }
    /// What `attention.wgsl`, `attention_queries.wgsl` and `attention_keys.wgsl` read.
    Attention { tokens, heads, kv_heads, share, dims, row, chunks, first, scale }
    /// What `attention_cached.wgsl` reads.
    AttentionCached { tokens, heads, kv_heads, share, dims, row, chunks, first, scale, slots, listed }
    /// What `gated.wgsl` reads.
    Gated { n, f }
    /// What `cross_entropy.wgsl` reads.
    CrossEntropy { n, k, factor, smoothing, first, at }
    /// What `table_scores.wgsl` reads.
    TableScores { n, items, levels, width, item_groups }
    /// What `restride.wgsl` reads.
    Restride { rows, d, stride, first, at, columns, unused1, unused2 }
}
