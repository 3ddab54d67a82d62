//! Lists the GPU adapters of the system and describes each.

use crate::compute::{DeviceInfo, DeviceKind};

/// One adapter, as `doctor` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// What it is.
    pub info: DeviceInfo,
    /// Features that kernels could use, by name.
    pub features: Vec<&'static str>,
    /// Largest buffer that one binding reaches, in bytes.
    pub binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub buffer_bytes: u64,
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// Lanes of a workgroup.
    pub workgroup_lanes: u32,
    /// Smallest and largest subgroup.
    pub subgroup_lanes: (u32, u32),
}

fn api_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Noop => "noop",
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
    }
}

pub(super) fn describe(info: &wgpu::AdapterInfo) -> DeviceInfo {
    let kind = if info.device_type == wgpu::DeviceType::Cpu { DeviceKind::SoftwareGpu } else { DeviceKind::Gpu };
    DeviceInfo {
        kind,
        name: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        api: api_name(info.backend).to_owned(),
    }
}

fn instance() -> wgpu::Instance {
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // The default flags of a debug build make DX12 compile shaders without optimisation.
    description.flags = wgpu::InstanceFlags::empty().with_env();
    wgpu::Instance::new(description)
}

pub(super) fn all_adapters() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let backends = backends | wgpu::Backends::BROWSER_WEBGPU;
    pollster::block_on(instance().enumerate_adapters(backends))
}

/// All adapters that the system names, usable or not.
pub(super) fn summaries() -> Vec<AdapterSummary> {
    let names = [
        (wgpu::Features::SUBGROUP, "subgroup"),
        (wgpu::Features::SHADER_F16, "shader-f16"),
        (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
        (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
    ];
    let summary = |adapter: &wgpu::Adapter| {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        AdapterSummary {
            info: describe(&info),
            features: names.iter().filter(|(f, _)| features.contains(*f)).map(|(_, n)| *n).collect(),
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_lanes: limits.max_compute_invocations_per_workgroup,
            subgroup_lanes: (info.subgroup_min_size, info.subgroup_max_size),
        }
    };
    all_adapters().iter().map(summary).collect()
}
