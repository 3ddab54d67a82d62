//! Devices that were opened, kept for the next call.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use sememe::device::DeviceChoice;
use sememe::{Device, Error, Result};

use crate::pool;
use crate::values::described;

/// The GPU of this process, and which process that is.
static GPU: Mutex<Option<(u32, Device)>> = Mutex::new(None);

/// Rows from which on `auto` looks for a GPU; below, it is the CPU without a look.
const WORTH_A_GPU: usize = 50_000;

/// Opens the device that is asked for by name, for work over so many rows.
pub fn open(name: &str, rows: usize) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::cpu()),
        "auto" if rows < WORTH_A_GPU => DeviceChoice::Auto.open(rows),
        "auto" => kept(|| DeviceChoice::Auto.open(rows)),
        "gpu" => {
            let device = kept(|| DeviceChoice::Gpu.open(rows))?;
            // What `auto` found may be no GPU.
            if matches!(device, Device::Cpu(_)) { DeviceChoice::Gpu.open(rows) } else { Ok(device) }
        }
        other => Err(Error::config("device", format!("expected auto, cpu or gpu, got `{other}`"))),
    }
}

fn kept(open: impl FnOnce() -> Result<Device>) -> Result<Device> {
    let mut gpu = GPU.lock().unwrap_or_else(PoisonError::into_inner);
    // Drivers do not survive a fork.
    if let Some((pid, device)) = &*gpu
        && *pid == std::process::id()
    {
        return Ok(device.clone());
    }
    let device = open()?;
    if pool::forked()
        && let Some(old) = gpu.take()
    {
        #[allow(
            clippy::mem_forget,
            reason = "closing a parent's device here would use a driver that is not this process's"
        )]
        std::mem::forget(old);
    }
    *gpu = Some((std::process::id(), device.clone()));
    Ok(device)
}

/// What a device is: kind, name, interface and driver.
#[pyfunction]
pub fn device_info<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let info = crate::work::at_once(py, || open(name, WORTH_A_GPU).map(|device| device.info()))?;
    described(py, &info)
}
