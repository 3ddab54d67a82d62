//! Which device a run uses.

use crate::flags::DeviceChoice;
use sememe::device::DeviceChoice as Choice;
use sememe::{Device, DeviceInfo, DeviceKind, Result};

/// Opens the device for a run over `rows` rows.
pub fn open(choice: DeviceChoice, rows: usize) -> Result<Device> {
    let choice = match choice {
        DeviceChoice::Cpu => Choice::Cpu,
        DeviceChoice::Gpu => Choice::Gpu,
        DeviceChoice::Auto => Choice::Auto,
    };
    let device = choice.open(rows)?;
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
