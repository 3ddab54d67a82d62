//! Which instructions are used, asked once, and a macro that compiles one body for each set.
//!
//! Release builds are for baseline x86-64, so the loops that matter are compiled three times and picked at run
//! time. Rust never fuses a multiplication with an addition by itself, so every version gives the same bits; only attention asks for
//! it, as the tuned GEMM does (`multiversion_fused`).

use crate::error::{Error, Result};
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
    /// All of them, from the narrowest on.
    pub const ALL: [Isa; 3] = [Isa::Baseline, Isa::Avx2, Isa::Avx512];

    /// The one in use: the widest that this processor has and [`Instructions`] allow.
    #[must_use]
    pub fn detect() -> Self {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| Self::widest().min(Instructions::in_force().isa))
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

impl std::str::FromStr for Isa {
    type Err = Error;

    /// From `baseline`, `avx2` or `avx512`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "baseline" => Ok(Isa::Baseline),
            "avx2" => Ok(Isa::Avx2),
            "avx512" => Ok(Isa::Avx512),
            other => Err(Error::config("isa", format!("expected `baseline`, `avx2` or `avx512`, got `{other}`"))),
        }
    }
}

/// Instructions that the CPU backend of this process may use, where the processor has them.
///
/// They are fixed by [`limit`](Self::limit) or by the first use of the backend, whichever comes first, and for good: codebooks are
/// packed for the instructions in force, and the same call gives the same bits throughout a process.
///
/// ```standalone_crate
/// use sememe::device::{Instructions, Isa};
///
/// // Before anything is computed.
/// Instructions { isa: Isa::Avx2, ..Instructions::default() }.limit()?;
/// assert!(sememe::Device::cpu().info().driver.split(',').next() != Some("avx-512"));
/// // Too late now.
/// assert!(Instructions::default().limit().is_err());
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instructions {
    /// The widest set of vector instructions.
    pub isa: Isa,
    /// Whether AMX tiles are used.
    pub amx: bool,
}

impl Default for Instructions {
    /// Everything that the processor has.
    fn default() -> Self {
        Self { isa: Isa::Avx512, amx: true }
    }
}

static IN_FORCE: OnceLock<Instructions> = OnceLock::new();

impl Instructions {
    /// Allows these and no others.
    ///
    /// # Errors
    /// [`Error::Config`] if others are in force, since the backend has been used or limited before.
    pub fn limit(self) -> Result<()> {
        let Self { isa, amx } = *IN_FORCE.get_or_init(|| self);
        if self == (Self { isa, amx }) {
            return Ok(());
        }
        let in_force = format!("{} with amx = {amx} is in force", isa.name());
        Err(Error::config("isa", format!("{in_force} since the first use of the CPU backend; set it before that")))
    }

    /// What is allowed, which is fixed by asking.
    #[must_use]
    pub fn in_force() -> Self {
        *IN_FORCE.get_or_init(Self::default)
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

/// The same for loops whose sums need no bound, as in training: the body has a constant, which says whether the version has fused
/// multiplications and additions, for [`madd`](super::math::madd). Versions with and without them give other bits.
macro_rules! multiversion_fused {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$fused:ident>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<const $fused: bool>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) { body::<true>($($arg),*) }
                match $crate::compute::cpu::isa::Isa::detect() {
                    // SAFETY: `detect` saw these features on this processor.
                    $crate::compute::cpu::isa::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::compute::cpu::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::compute::cpu::isa::Isa::Baseline => {}
                }
            }
            // NEON has fused instructions, SSE2 and WebAssembly have not, and a call for each would take their place.
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*);
        }
    };
}
pub(crate) use multiversion_fused;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_refused() {
        let names = ["baseline", "avx2", "avx512"];
        assert_eq!(names.map(|name| name.parse::<Isa>().ok()), Isa::ALL.map(Some));
        for name in ["", "AVX2", "avx-512", "avx512f", "sse"] {
            let refusal = name.parse::<Isa>().unwrap_err().to_string();
            assert!(
                names.iter().all(|known| refusal.contains(known)) && refusal.contains(&format!("`{name}`")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn what_is_in_force_stays() {
        let now = Instructions::in_force();
        assert!(now.limit().is_ok() && Isa::detect() <= now.isa);
        let refusal = Instructions { amx: !now.amx, ..now }.limit().unwrap_err().to_string();
        assert!(refusal.contains("is in force"), "{refusal}");
        assert_eq!(Instructions::in_force(), now);
    }
}
