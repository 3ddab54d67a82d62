//! Which device does the arithmetic, chosen at run time.

use super::cpu::Cpu;
#[cfg(feature = "gpu")]
use super::gpu::Gpu;
use super::info::DeviceInfo;
use super::tensor::TensorBackend;
use crate::error::Result;
use std::sync::Arc;

/// Below so many rows [`DeviceChoice::Auto`] means the CPU: starting a GPU takes longer than the work.
pub const AUTO_GPU_ROWS: usize = 50_000;

/// Which device to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// A hardware GPU if there is one and there are [`AUTO_GPU_ROWS`] rows, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, one in software included.
    Gpu,
}

impl DeviceChoice {
    /// Opens the device for work over `rows` rows.
    ///
    /// # Errors
    /// As [`Device::gpu`], if a GPU was named.
    pub fn open(self, rows: usize) -> Result<Device> {
        match self {
            DeviceChoice::Cpu => Ok(Device::cpu()),
            DeviceChoice::Gpu => Device::gpu(),
            DeviceChoice::Auto if rows < AUTO_GPU_ROWS => Ok(Device::cpu()),
            DeviceChoice::Auto => Ok(Device::auto()),
        }
    }
}

/// A device to fit and encode on.
///
/// ```
/// let device = sememe::Device::cpu();
/// assert_eq!(device.info().api, "cpu");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Device {
    /// The CPU backend.
    Cpu(Cpu),
    /// The WGSL backend.
    #[cfg(feature = "gpu")]
    Gpu(Arc<Gpu>),
}

impl Device {
    /// The CPU.
    #[must_use]
    pub fn cpu() -> Self {
        Device::Cpu(Cpu::new())
    }

    /// A hardware GPU if there is one, else the CPU. Never a software GPU. One that is there and cannot be used is a warning, with
    /// the reason.
    #[must_use]
    pub fn auto() -> Self {
        #[cfg(feature = "gpu")]
        match Gpu::find(super::gpu::Options::default()) {
            Ok(Some(gpu)) => return Device::Gpu(Arc::new(gpu)),
            Ok(None) => tracing::debug!("no hardware GPU; the CPU is used"),
            Err(error) => tracing::warn!("the GPU cannot be used, the CPU is used instead: {error}"),
        }
        Device::cpu()
    }

    /// A GPU; a software one (lavapipe) serves where there is no hardware.
    ///
    /// # Errors
    /// If there is no adapter at all, or the crate was built without the feature `gpu`.
    pub fn gpu() -> Result<Self> {
        #[cfg(feature = "gpu")]
        return Ok(Device::Gpu(Arc::new(Gpu::open(true)?)));
        #[cfg(not(feature = "gpu"))]
        Err(crate::error::Error::Device("this build has no GPU backend".into())
            .mend([crate::Remedy::build("gpu"), crate::Remedy::set("device", "cpu").to("go on")]))
    }

    /// What the device is.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        use super::Backend as _;
        match self {
            Device::Cpu(cpu) => cpu.info(),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.info(),
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.info()).finish()
    }
}

/// Runs one expression with whichever backend a device is.
macro_rules! on_device {
    ($device:expr, $backend:ident => $body:expr) => {
        match $device {
            $crate::compute::Device::Cpu($backend) => $body,
            #[cfg(feature = "gpu")]
            $crate::compute::Device::Gpu(gpu) => {
                let $backend = gpu.as_ref();
                $body
            }
        }
    };
}
pub(crate) use on_device;

/// Work that can be done on any backend.
pub trait BackendTask {
    /// What comes of it.
    type Output;

    /// Does the work. What is to stay on the device keeps a handle of the backend.
    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output;
}

/// Does some work on the backend that a device is.
pub fn run_on<T: BackendTask>(device: &Device, task: T) -> T::Output {
    match device {
        Device::Cpu(cpu) => task.on(&Arc::new(cpu.clone())),
        #[cfg(feature = "gpu")]
        Device::Gpu(gpu) => task.on(gpu),
    }
}
