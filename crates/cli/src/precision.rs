//! The arithmetic of products, as a flag.

use clap::ValueEnum;
use sememe_recommend::Precision;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// 32 bits throughout
    F32,
    /// Operands of products rounded to 16 bits, sums in 32; for GPUs that have it
    F16,
    /// The same in bfloat16; for processors that have it
    Bf16,
}

/// The arithmetic of products.
pub fn precision(choice: PrecisionChoice) -> Precision {
    match choice {
        PrecisionChoice::F32 => Precision::F32,
        PrecisionChoice::F16 => Precision::F16,
        PrecisionChoice::Bf16 => Precision::Bf16,
    }
}
