//! THE table of kernels: stem, source, entry points, bindings, workgroup sizes and variants.
//!
//! A kernel's text is its variant's `const` lines, its file, the parts it shares with others, and `common.wgsl`. The
//! contract test reads every text with naga and holds entry points, workgroup sizes, bindings and uniforms to this table.

use crate::compute::params;

/// How an entry point accesses a binding. Binding 0 is always the uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read-only storage.
    Read,
    /// Storage that is written.
    Write,
}

/// One entry point.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in the shader.
    pub name: &'static str,
    /// Storage bindings it uses: number and access, ascending.
    pub bindings: &'static [(u32, Access)],
    /// Lanes a workgroup; 0 stands for the variant's `THREADS`.
    pub threads: u32,
}

/// A set of constants put before the text.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name: `32x32x16`.
    pub name: &'static str,
    /// Names and values, all `u32`.
    pub constants: &'static [(&'static str, u32)],
}

impl Variant {
    /// The value of a constant.
    ///
    /// # Panics
    /// If the variant has none of that name: the table and the host code disagree.
    #[must_use]
    pub fn get(&self, name: &str) -> u32 {
        let found = self.constants.iter().find(|(n, _)| *n == name);
        found.unwrap_or_else(|| panic!("variant `{}` has no constant `{name}`", self.name)).1
    }
}

/// Features that a kernel needs beyond core WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it runs everywhere.
    Core,
    /// Subgroup operations.
    Subgroup,
    /// 16-bit floats.
    F16,
    /// Cooperative matrices of f16, 16 × 16 × 16 into f32, and subgroups of 32 lanes.
    Matrix,
}

impl Needs {
    /// Directives at the head of the text. Subgroups have none: naga knows no `enable subgroups`, see `merge_subgroup.wgsl`.
    #[must_use]
    pub fn directives(self) -> &'static str {
        match self {
            Self::Core | Self::Subgroup => "",
            Self::F16 => "enable f16;\n",
            Self::Matrix => "enable f16;\nenable wgpu_cooperative_matrix;\n",
        }
    }
}

/// One kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Stem of its files.
    pub stem: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// Stem of the CPU file that computes the same: its own, but for device variants of another kernel.
    pub twin: &'static str,
    /// Text of `shaders/<stem>.wgsl`.
    pub source: &'static str,
    /// Texts appended before `common.wgsl`.
    pub parts: &'static [&'static str],
    /// Fields of its uniform, all 32-bit words.
    pub fields: &'static [&'static str],
    /// Entry points.
    pub entries: &'static [Entry],
    /// Variants, at least one.
    pub variants: &'static [Variant],
}

impl Kernel {
    /// The whole text of a variant.
    #[must_use]
    pub fn text(&self, variant: usize) -> String {
        let mut text = self.needs.directives().to_owned();
        for (name, value) in self.variants[variant].constants {
            text.push_str(&format!("const {name}: u32 = {value}u;\n"));
        }
        text.push_str(self.source);
        for part in self.parts {
            text.push_str(part);
        }
        text.push_str(COMMON);
        text
    }

    /// Lanes a workgroup of an entry point.
    #[must_use]
    pub fn threads(&self, entry: usize, variant: usize) -> u32 {
        match self.entries[entry].threads {
            0 => self.variants[variant].get("THREADS"),
            threads => threads,
        }
    }
}

/// Text of `common.wgsl`.
pub const COMMON: &str = include_str!("../../../shaders/common.wgsl");
const TILE: &str = concat!("alias Stored = vec4<f32>;\n", include_str!("../../../shaders/tile.wgsl"));
const TILE_F16: &str = concat!("alias Stored = vec4<f16>;\n", include_str!("../../../shaders/tile.wgsl"));
const TOP_TWO: &str = include_str!("../../../shaders/top_two.wgsl");
const LANES: &str = include_str!("../../../shaders/merge_lanes.wgsl");
const SUBGROUP: &str = include_str!("../../../shaders/merge_subgroup.wgsl");
const SPLIT_LANES: &str = include_str!("../../../shaders/split_lanes.wgsl");
const SPLIT_MATRIX: &str = include_str!("../../../shaders/split_matrix.wgsl");
const SPLIT_FINISH: &str = include_str!("../../../shaders/split_finish.wgsl");
const LOG_SUM: &str = include_str!("../../../shaders/log_sum.wgsl");
const HEAD_TILE: &str = include_str!("../../../shaders/attention_tile.wgsl");
const HEAD_SUM: &str = include_str!("../../../shaders/attention_sum.wgsl");
const HEAD_GRAD: &str = include_str!("../../../shaders/attention_grad.wgsl");

const FETCH: &str = include_str!("../../../shaders/matmul_fetch.wgsl");
const SCALAR: &str = include_str!("../../../shaders/matmul_scalar.wgsl");
const VECTOR: &str = include_str!("../../../shaders/matmul_vector.wgsl");
const NONLINEAR: &str = include_str!("../../../shaders/nonlinear.wgsl");

macro_rules! tile {
    ($name:literal, $bm:literal, $bn:literal, $bk:literal, $rh:literal, $ch:literal, $threads:literal) => {
        Variant {
            name: $name,
            constants: &[("BM", $bm), ("BN", $bn), ("BK", $bk), ("RH", $rh), ("CH", $ch), ("THREADS", $threads)],
        }
    };
}

/// Tiles of `assign` and `project`: smallest first.
pub const TILES: &[Variant] = &[
    tile!("32x32x16", 32, 32, 16, 1, 1, 64),
    tile!("64x64x16", 64, 64, 16, 1, 1, 256),
    tile!("128x64x16", 128, 64, 16, 2, 1, 256),
    tile!("128x128x8", 128, 128, 8, 2, 2, 256),
    tile!("128x128x16", 128, 128, 16, 2, 2, 256),
];
/// Tiles with one 4 × 4 block a lane.
const SINGLE: &[Variant] = &[TILES[0], TILES[1]];
/// Tiles of `matmul`, smallest first: each lane fetches exactly one block a step.
pub const PRODUCTS: &[Variant] = &[TILES[0], tile!("64x64x32", 64, 64, 32, 1, 1, 256), TILES[4]];
/// Tiles of `seeding`: few candidates, many candidates.
const NARROW: &[Variant] = &[tile!("128x16x16", 128, 16, 16, 1, 1, 128), tile!("64x64x16", 64, 64, 16, 1, 1, 256)];
/// The one tile of `assign_split`.
const BLOCKS: &[Variant] = &[Variant { name: "64x64x16", constants: &[] }];
const ONE: &[Variant] = &[Variant { name: "only", constants: &[] }];
/// Variants of `centroid`: lanes a row, for rows of up to 16, up to 64, and more values.
const COLUMNS: &[Variant] = &[
    Variant { name: "4", constants: &[("COLUMNS", 4)] },
    Variant { name: "16", constants: &[("COLUMNS", 16)] },
    Variant { name: "64", constants: &[("COLUMNS", 64)] },
];
/// Variants of `segment`: lanes a codeword, for vectors of up to 16, up to 32, and more values.
const SEGMENTS: &[Variant] = &[
    Variant { name: "16", constants: &[("COLUMNS", 16)] },
    Variant { name: "32", constants: &[("COLUMNS", 32)] },
    Variant { name: "64", constants: &[("COLUMNS", 64)] },
];
/// Variants of kernels that walk along rows: lanes a row, for short and for long rows.
const ROWS: &[Variant] =
    &[Variant { name: "32", constants: &[("LANES", 32)] }, Variant { name: "256", constants: &[("LANES", 256)] }];
/// Variants of the attention kernels: columns of a head that a workgroup sums up.
pub(super) const HEADS: &[Variant] = &[
    Variant { name: "32", constants: &[("WIDTH", 32), ("OWN", 32), ("THREADS", 64)] },
    Variant { name: "64", constants: &[("WIDTH", 64), ("OWN", 32), ("THREADS", 64)] },
    Variant { name: "128", constants: &[("WIDTH", 128), ("OWN", 32), ("THREADS", 64)] },
];

use Access::{Read as R, Write as W};

macro_rules! kernels {
    ($($id:ident: $stem:literal $needs:ident $twin:literal, [$($part:expr),*], $fields:ident, $variants:expr,
       [$($entry:literal $threads:literal [$($n:literal $a:ident),*]),*];)*) => {
        /// Places of the kernels in [`KERNELS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Id { $($id),* }

        /// All kernels.
        pub const KERNELS: &[Kernel] = &[$(Kernel {
            stem: $stem,
            needs: Needs::$needs,
            twin: $twin,
            source: include_str!(concat!("../../../shaders/", $stem, ".wgsl")),
            parts: &[$($part),*],
            fields: params::$fields::FIELDS,
            entries: &[$(Entry { name: $entry, bindings: &[$(($n, $a)),*], threads: $threads }),*],
            variants: $variants,
        }),*];
    };
}

kernels! {
    Assign: "assign" Core "assign", [TILE, TOP_TWO, LANES], Assign, TILES,
        ["main" 0 [1 R, 2 R, 3 R, 4 W, 5 W, 6 W, 7 W]];
    AssignSubgroup: "assign" Subgroup "assign", [TILE, TOP_TWO, SUBGROUP], Assign, TILES,
        ["main" 0 [1 R, 2 R, 3 R, 4 W, 5 W, 6 W, 7 W]];
    AssignF16: "assign_split" F16 "assign", [SPLIT_FINISH, SPLIT_LANES], AssignSplit, BLOCKS,
        ["main" 128 [1 R, 2 R, 3 R, 4 W, 5 W, 6 W, 7 W, 8 R]];
    AssignMatrix: "assign_split" Matrix "assign", [SPLIT_FINISH, SPLIT_MATRIX], AssignSplit, BLOCKS,
        ["main" 128 [1 R, 2 R, 3 R, 4 W, 5 W, 6 W, 7 W, 8 R]];
    Exponent: "exponent" Core "row_norm", [], Exponent, ONE, ["main" 256 [1 R, 2 W]];
    Loads: "loads" Core "loads", [TILE], Loads, SINGLE, ["main" 0 [1 R, 2 R, 3 R, 4 R, 5 W], "totals" 256 [5 W, 6 W]];
    Distance: "distance" Core "distance", [TILE], Distance, SINGLE, ["main" 0 [1 R, 2 R, 3 W]];
    Project: "project" Core "project", [TILE], Project, TILES,
        ["main" 0 [1 R, 2 R, 3 R, 4 R, 5 W], "scale_rows" 256 [1 R, 3 R, 4 R, 5 W]];
    Covariance: "covariance" Core "covariance", [TILE], Covariance, SINGLE, ["main" 0 [1 R, 2 R, 3 W]];
    RowNorm: "row_norm" Core "row_norm", [], Rows, ONE, ["main" 256 [1 R, 2 W], "block_sums" 256 [2 W, 3 W]];
    Normalize: "normalize" Core "normalize", [], Rows, ONE, ["main" 256 [1 W, 2 W]];
    ColumnSum: "column_sum" Core "column_sum", [], ColumnSum, ONE, ["main" 256 [1 R, 2 W]];
    Residual: "residual" Core "residual", [], Rows, ONE, ["main" 256 [1 W, 2 R, 3 R]];
    Tally: "tally" Core "tally", [], Tally, ONE, [
        "histogram" 256 [1 R, 2 W],
        "scan_runs" 256 [2 W, 3 W],
        "scan_sums" 256 [3 W, 5 W],
        "add_sums" 256 [2 W, 3 W, 5 W],
        "scatter" 256 [1 R, 2 W, 4 W]
    ];
    Centroid: "centroid" Core "centroid", [], Centroid, COLUMNS,
        ["main" 64 [1 R, 2 R, 3 R, 4 W], "move_codewords" 64 [3 R, 4 W, 5 R, 6 R, 7 W, 8 W]];
    Seeding: "seeding" Core "seeding", [TILE], Seeding, NARROW,
        ["main" 0 [1 R, 2 R, 3 W], "accept" 256 [3 W, 4 W], "potentials" 256 [3 W, 4 W, 5 W]];
    Beam: "beam" Core "beam", [], Beam, ONE, ["main" 256 [1 R, 2 R, 3 R, 4 R, 5 R, 6 W, 7 W, 8 W]];
    HalfNorms: "half_norms" Core "half_norms", [], HalfNorms, ONE, ["main" 256 [1 R, 2 W]];
    Nearest: "nearest" Core "nearest", [], Nearest, ROWS, ["main" 256 [1 R, 2 R, 3 W]];
    Repel: "repel" Core "repel", [], Repel, ONE, ["main" 256 [1 R, 2 R, 3 W, 4 W]];
    Quantize: "quantize" Core "quantize", [], Quantize, ONE, ["main" 256 [1 R, 2 R, 3 R, 4 W, 5 W]];
    Segment: "segment" Core "segment", [], Segment, SEGMENTS, ["sums" 256 [1 R, 2 R, 3 W], "counts" 256 [2 R, 3 W]];
    Ema: "ema" Core "ema", [], Ema, ONE,
        ["move_counts" 256 [1 R, 3 W], "move_codewords" 256 [2 R, 3 W, 4 W, 5 W]];
    Rotation: "rotation" Core "rotation", [], Rotation, ONE, ["main" 256 [1 R, 2 R, 3 R, 4 W]];
    Softmax: "softmax" Core "softmax", [LOG_SUM], Softmax, ONE, [
        "gumbel" 256 [1 W, 2 R, 3 R],
        "backward" 256 [1 W, 4 R],
        "contrast" 256 [1 W, 5 R, 6 R, 7 W]
    ];
    Sinkhorn: "sinkhorn" Core "sinkhorn", [], Sinkhorn, ONE, [
        "squared_l2" 256 [1 W, 2 R, 3 R, 4 W],
        "range" 256 [4 W],
        "exponents" 256 [1 W, 4 W]
    ];
    SinkhornSweep: "sinkhorn_sweep" Core "sinkhorn", [LOG_SUM], SinkhornSweep, ROWS, [
        "rows" 256 [1 R, 2 W, 3 W],
        "columns" 256 [1 R, 2 W, 4 W],
        "potentials" 256 [3 W, 4 W]
    ];
    Matmul: "matmul" Core "matmul", [FETCH, SCALAR, NONLINEAR, TILE], Matmul, PRODUCTS, ["main" 0 [1 R, 2 R, 3 W, 4 R, 5 W]];
    MatmulVector: "matmul" Core "matmul", [FETCH, VECTOR, NONLINEAR, TILE], Matmul, PRODUCTS,
        ["main" 0 [1 R, 2 R, 3 W, 4 R, 5 W]];
    MatmulF16: "matmul" F16 "matmul", [FETCH, SCALAR, NONLINEAR, TILE_F16], Matmul, PRODUCTS,
        ["main" 0 [1 R, 2 R, 3 W, 4 R, 5 W]];
    MatmulVectorF16: "matmul" F16 "matmul", [FETCH, VECTOR, NONLINEAR, TILE_F16], Matmul, PRODUCTS,
        ["main" 0 [1 R, 2 R, 3 W, 4 R, 5 W]];
    Activation: "activation" Core "activation", [NONLINEAR], Activation, ONE, [
        "forward" 256 [1 R, 2 W],
        "forward_masked" 256 [1 R, 2 W, 3 R],
        "backward" 256 [1 R, 2 W],
        "backward_masked" 256 [1 R, 2 W, 3 R],
        "dropout" 256 [2 W, 3 R]
    ];
    LayerNorm: "layer_norm" Core "layer_norm", [], LayerNorm, ONE,
        ["main" 256 [1 R, 2 R, 3 R, 4 W], "backward" 256 [1 R, 2 R, 4 W, 5 W]];
    ColumnTotal: "column_total" Core "column_total", [], ColumnTotal, ONE,
        ["main" 256 [1 R, 2 W], "finish" 256 [2 W, 3 W]];
    Total: "total" Core "total", [], Total, ONE, ["main" 256 [1 R, 2 W], "finish" 256 [2 W, 3 W]];
    Combine: "combine" Core "combine", [], Combine, ONE,
        ["main" 256 [1 R, 3 W], "subtract" 256 [1 R, 2 R, 3 W], "gather" 256 [1 R, 3 W],
         "rows" 256 [1 R, 2 R, 3 W]];
    Optimizer: "optimizer" Core "optimizer", [], Optimizer, ONE, [
        "sgd" 256 [1 R, 2 R, 3 W, 4 W],
        "adam" 256 [1 R, 2 R, 3 W, 4 W, 5 W],
        "adagrad" 256 [1 R, 2 R, 3 W, 4 W]
    ];
    Gather: "gather" Core "gather", [], Gather, ONE, ["main" 256 [1 R, 2 R, 3 W], "scatter" 256 [1 R, 2 R, 3 W, 4 R, 5 R]];
    RmsNorm: "rms_norm" Core "rms_norm", [], RmsNorm, ONE,
        ["main" 256 [1 R, 2 R, 3 W], "backward" 256 [1 R, 2 R, 3 W, 4 W]];
    Rotary: "rotary" Core "rotary", [], Rotary, ONE, ["main" 256 [1 R, 2 R, 3 W]];
    Attention: "attention" Core "attention", [HEAD_TILE, HEAD_SUM, LOG_SUM], Attention, HEADS, ["main" 0 [1 R, 2 R, 3 W, 4 W]];
    AttentionQueries: "attention_queries" Core "attention_backward", [HEAD_TILE, HEAD_SUM, HEAD_GRAD], Attention, HEADS,
        ["main" 0 [1 R, 2 R, 3 R, 4 R, 5 R, 6 W, 7 W]];
    AttentionKeys: "attention_keys" Core "attention_backward", [HEAD_TILE, HEAD_SUM, HEAD_GRAD], Attention, HEADS,
        ["of_keys" 0 [1 R, 2 R, 3 R, 4 R, 5 R, 6 W], "of_values" 0 [1 R, 2 R, 3 R, 4 R, 5 R, 6 W]];
    AttentionCached: "attention_cached" Core "attention_cached", [LOG_SUM], AttentionCached, ONE,
        ["main" 256 [1 R, 2 R, 3 R, 4 R, 5 W], "store" 256 [1 R, 3 R, 5 W]];
    Gated: "gated" Core "gated", [NONLINEAR], Gated, ONE, ["main" 256 [1 R, 3 W], "backward" 256 [1 R, 2 R, 3 W]];
    CrossEntropy: "cross_entropy" Core "cross_entropy", [LOG_SUM], CrossEntropy, ONE, ["main" 256 [1 W, 2 R, 3 W]];
    TableScores: "table_scores" Core "table_scores", [], TableScores, ONE, ["main" 256 [1 R, 2 R, 3 R, 4 W]];
    Restride: "restride" Core "restride", [], Restride, ONE, ["pack" 256 [1 R, 2 W], "unpack" 256 [3 R, 4 W]];
}
