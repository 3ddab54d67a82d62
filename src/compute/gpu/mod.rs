//! The WGSL backend.
pub mod kernel;
pub use wgpu;
use super::{DeviceInfo, DeviceKind};
use crate::error::Result;

/// The WGSL backend.
pub struct Gpu;

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(_software_allowed: bool) -> Result<Self> {
        Err(crate::error::Error::Device("no adapter found".into()))
    }
    /// What it is.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        DeviceInfo { kind: DeviceKind::Gpu, name: "gpu".into(), driver: String::new(), api: "vulkan".into() }
    }
}
