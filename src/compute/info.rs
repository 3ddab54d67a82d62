//! Facts about a compute device.

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// The CPU backend.
    Cpu,
    /// A hardware GPU.
    Gpu,
    /// A GPU API that runs on the CPU (lavapipe, WARP): correct and slow, used only when asked for.
    SoftwareGpu,
}

/// Facts about a compute device, for messages and reports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceInfo {
    /// Its kind.
    pub kind: DeviceKind,
    /// Adapter or processor name.
    pub name: String,
    /// Driver and version, or the instruction set in use.
    pub driver: String,
    /// `cpu`, `vulkan`, `metal`, `dx12`, `webgpu`.
    pub api: String,
}
