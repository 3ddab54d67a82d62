//! Where the arithmetic runs: the CPU, or a GPU that is found or brought along.
//!
//! [`Device`] is all that most callers need. Codes do not depend on it; time does.

pub use crate::compute::cpu::{Instructions, Isa};
pub use crate::compute::{AUTO_GPU_ROWS, Device, DeviceChoice, DeviceInfo, DeviceKind};

/// A GPU with options of one's own, or one that the caller has opened already.
#[cfg(feature = "gpu")]
pub mod gpu {
    pub use crate::compute::gpu::{AdapterSummary, AssignKernel, Gpu, Options, Timing, wgpu};
}
