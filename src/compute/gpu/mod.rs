//! The WGSL backend: hand-written kernels on wgpu.
//!
//! The table of kernels is [`kernel::KERNELS`]. Rows stay on the device in chunks; reductions have a fixed order and use
//! no float atomics, so the same calls on the same device give the same bits.
//!
//! # Errors of a dot product
//!
//! `assign` and `project` add 32 products in one accumulator, make that sum opaque to the compiler, and add it to the
//! total. A term passes through at most 32 roundings within its fold (its own product and the additions, in whatever
//! order the compiler picks, fused or not) and ⌈d/32⌉ additions of folds. With u = 2⁻²³, since WGSL leaves the direction of
//! rounding open, the error of the dot product is at most γ_m·Σ|a_c·b_c| ≤ γ_m·‖a‖·‖b‖ with m = 32 + ⌈d/32⌉ + 2 and
//! γ_m = m·u / (1 − m·u) (Higham, *Accuracy and Stability of Numerical Algorithms*, lemma 3.1 and §4.2). Variants with split
//! operands have an η of their own, derived in `variant.rs`.

mod adapter;
mod assign;
mod attention;
mod backend;
mod buffer;
mod centroid;
mod columns;
mod dense;
mod device;
mod dispatch;
mod elementwise;
pub mod kernel;
mod levels;
mod loads;
mod matmul;
mod pipeline;
mod project;
mod quantise;
mod record;
mod reduce;
mod report;
mod resident;
mod seeding;
mod sequence;
mod sizes;
mod tensor;
mod timing;
mod transfer;
mod variant;

pub use adapter::AdapterSummary;
pub use device::Options;
pub use resident::{Codebook, Partition, Rows, Seeding};
pub use tensor::{Index, Tensor};
pub use timing::Timing;
pub use variant::AssignKernel;
pub use wgpu;

use super::DeviceInfo;
use crate::error::{Error, Result};
use device::Core;
use report::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The WGSL backend.
///
/// ```no_run
/// use sememe::device::gpu::Gpu;
/// let gpu = Gpu::open(true)?;
/// println!("{}", gpu.info().name);
/// # Ok::<(), sememe::Error>(())
/// ```
pub struct Gpu {
    core: Core,
    tiles: Mutex<BTreeMap<String, String>>,
}

impl Gpu {
    /// Opens the best adapter: discrete before integrated before virtual, a software one last and only if allowed.
    ///
    /// # Errors
    /// [`Error::Device`] if there is none, or none that gives a device.
    pub fn open(software_allowed: bool) -> Result<Self> {
        Self::with_options(Options { software: software_allowed, ..Options::default() })
    }

    /// Opens the best adapter with chosen [`Options`].
    ///
    /// # Errors
    /// As [`Gpu::open`]; and if the device lacks what [`Options::assign`] asks for, or computes it wrongly.
    pub fn with_options(options: Options) -> Result<Self> {
        let what = if options.software { "" } else { "hardware " };
        let none = || Error::Device(format!("no {what}adapter found")).mend([crate::Remedy::set("device", "cpu")]);
        Self::find(options)?.ok_or_else(none)
    }

    /// As [`Gpu::with_options`]; none if there is no adapter that the options allow.
    pub(crate) fn find(options: Options) -> Result<Option<Self>> {
        let Some(core) = Core::open(options)? else { return Ok(None) };
        let gpu = Self { core, tiles: Mutex::default() };
        if gpu.core.options.assign.is_split() {
            gpu.check_assign()?;
        }
        Ok(Some(gpu))
    }

    /// Uses a device that the caller already has. Its uncaptured-error and device-lost callbacks are replaced.
    ///
    /// # Errors
    /// [`Error::Device`] if its limits are below WebGPU's defaults.
    pub fn from_wgpu(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let options = Options { software: true, ..Options::default() };
        Ok(Self { core: Core::new(info, device, queue, options)?, tiles: Mutex::default() })
    }

    /// All adapters that the system names, usable or not.
    #[must_use]
    pub fn adapters() -> Vec<AdapterSummary> {
        adapter::summaries()
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        self.core.info.clone()
    }

    /// The options in force; `chunk_bytes` and `timings` as far as the device allows.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.core.options
    }

    /// What the tile choices depend on: the adapter and its driver. A cache of [`Gpu::tiles`] is keyed by it.
    #[must_use]
    pub fn tile_key(&self) -> String {
        let info = &self.core.info;
        format!("{}/{}/{}", info.api, info.name, info.driver)
    }

    /// The tiles chosen so far, by class of shape (`assign d768 k1024`): names out of [`kernel::TILES`],
    /// with ` subgroup` behind where lanes merge by shuffles.
    #[must_use]
    pub fn tiles(&self) -> BTreeMap<String, String> {
        lock(&self.tiles).clone()
    }

    /// Presets tile choices, as an earlier [`Gpu::tiles`] returned them, and so spares the trials.
    ///
    /// # Errors
    /// [`Error::Config`] for a tile that does not exist.
    pub fn set_tiles(&self, tiles: BTreeMap<String, String>) -> Result<()> {
        for (class, tile) in &tiles {
            if variant::KernelChoice::parse(tile).is_none() {
                return Err(Error::config(format!("tiles.{class}"), format!("no tile is called `{tile}`")));
            }
        }
        lock(&self.tiles).extend(tiles);
        Ok(())
    }

    /// Waits until the device has done all it was given.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::Device`].
    pub fn synchronize(&self) -> Result<()> {
        self.core.finish()
    }

    /// Takes the kernel times gathered since the last call, in order. Empty unless [`Options::timings`] is on and the
    /// device has timestamps.
    ///
    /// # Errors
    /// As [`Gpu::synchronize`].
    pub fn take_timings(&self) -> Result<Vec<Timing>> {
        self.core.take_timings()
    }

    /// Gives the device back to the system, as if it had gone away: every later call fails with [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.core.device.destroy();
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.core.info).field("options", &self.core.options).finish()
    }
}
