//! Which device a run uses.

use crate::args::DeviceChoice;
use sememe::{Device, DeviceInfo, DeviceKind, Result};

/// Below so many rows `auto` means the CPU: starting a GPU takes longer than the work.
pub const AUTO_GPU_ROWS: usize = 50_000;

/// Opens the device for a run over `rows` rows.
pub fn open(choice: DeviceChoice, rows: usize) -> Result<Device> {
    let device = match choice {
        DeviceChoice::Cpu => Device::cpu(),
        DeviceChoice::Gpu => Device::gpu()?,
        DeviceChoice::Auto if rows < AUTO_GPU_ROWS => Device::cpu(),
        DeviceChoice::Auto => Device::auto(),
    };
    tracing::info!(device = name(&device.info()), rows, "device chosen");
    Ok(device)
}

/// A device as people read it.
pub fn name(info: &DeviceInfo) -> String {
    match info.kind {
        DeviceKind::Cpu => format!("CPU, {}", info.driver),
        DeviceKind::Gpu => format!("{}, {}", info.name, info.api),
        DeviceKind::SoftwareGpu => format!("{}, {}, in software", info.name, info.api),
    }
}
