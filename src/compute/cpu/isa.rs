//! Which instructions this processor has, asked once, and a macro that compiles one body for each set.
//!
//! Release builds are for baseline x86-64, so the loops that matter are compiled three times and picked at run
//! time. Rust never fuses a multiplication with an addition by itself, so every version gives the same bits.

use std::sync::OnceLock;

/// An instruction set, from the narrowest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the build target guarantees (SSE2 on x86-64, NEON on AArch64).
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, BW, DQ.
    Avx512,
}

impl Isa {
    /// The widest set this processor has; `SEMEME_ISA=baseline|avx2|avx512` narrows it.
    #[must_use]
    pub fn detect() -> Self {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let widest = Self::widest();
            let asked = match std::env::var("SEMEME_ISA").as_deref() {
                Ok("baseline") => Isa::Baseline,
                Ok("avx2") => Isa::Avx2,
                _ => Isa::Avx512,
            };
            widest.min(asked)
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn widest() -> Self {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
        {
            Isa::Avx512
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Isa::Avx2
        } else {
            Isa::Baseline
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn widest() -> Self {
        Isa::Baseline
    }

    /// Its name, for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx-512",
        }
    }
}

/// Compiles the function for every instruction set and picks at run time.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                match $crate::compute::cpu::isa::Isa::detect() {
                    // SAFETY: `detect` saw these features on this processor.
                    $crate::compute::cpu::isa::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::compute::cpu::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::compute::cpu::isa::Isa::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
