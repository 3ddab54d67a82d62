//! The CPU backend.
use super::{DeviceInfo, DeviceKind};

/// The CPU backend.
#[derive(Clone, Debug, Default)]
pub struct Cpu;

impl Cpu {
    /// The CPU.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
    /// What it is.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        DeviceInfo { kind: DeviceKind::Cpu, name: "cpu".into(), driver: String::new(), api: "cpu".into() }
    }
}
