//! `sememe doctor`.

use crate::device;
use crate::output::{print, print_json};
#[cfg(feature = "gpu")]
use crate::text::size;
use crate::text::{table, whole};
use anyhow::Result;
use sememe::device::AUTO_GPU_ROWS;
use sememe::{Device, DeviceInfo, DeviceKind};
use serde_json::json;

/// What is known of the GPU: the adapter that `--device gpu` would take, or why there is none.
pub struct GpuReport {
    pub adapter: Option<DeviceInfo>,
    pub problem: Option<String>,
    /// Lines on limits and features, as (name, value).
    pub details: Vec<(String, String)>,
}

/// Opens the GPU as `--device gpu` would.
pub fn gpu_report() -> GpuReport {
    let details = adapters();
    match Device::gpu() {
        Ok(device) => GpuReport { adapter: Some(device.info()), problem: None, details },
        Err(error) => GpuReport { adapter: None, problem: Some(error.to_string()), details },
    }
}

/// Every adapter that the system names, usable or not.
#[cfg(feature = "gpu")]
fn adapters() -> Vec<(String, String)> {
    let describe = |(i, a): (usize, sememe::device::gpu::AdapterSummary)| {
        let features = if a.features.is_empty() { "none".to_owned() } else { a.features.join(", ") };
        let subgroups = match a.subgroup_lanes {
            (least, most) if least == most => most.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        let text = format!(
            "{}; buffers to {}, bindings to {}, workgroups of {} lanes and {}, subgroups of {subgroups}; features: {features}",
            device::name(&a.info),
            size(a.buffer_bytes),
            size(a.binding_bytes),
            a.workgroup_lanes,
            size(u64::from(a.workgroup_bytes)),
        );
        (format!("adapter {}", i + 1), text)
    };
    sememe::device::gpu::Gpu::adapters().into_iter().enumerate().map(describe).collect()
}

/// A build without the GPU backend asks for none.
#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<(String, String)> {
    Vec::new()
}

fn features() -> Vec<&'static str> {
    let all = [
        ("gpu", cfg!(feature = "gpu")),
        ("sqlite", cfg!(feature = "sqlite")),
        ("redis", cfg!(feature = "redis")),
        ("embed-http", cfg!(feature = "embed-http")),
        ("mlflow", cfg!(feature = "mlflow")),
        ("embed", cfg!(feature = "embed")),
        ("parquet", cfg!(feature = "parquet")),
        ("language", cfg!(feature = "language")),
        ("serve", cfg!(feature = "serve")),
        ("import", cfg!(feature = "import")),
    ];
    all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

/// Prints what there is and what would be used.
pub fn run(json: bool) -> Result<()> {
    let cpu = Device::cpu().info();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = rayon::current_num_threads();
    let gpu = gpu_report();
    let hardware = gpu.adapter.as_ref().is_some_and(|info| info.kind == DeviceKind::Gpu);
    if json {
        let details: serde_json::Map<_, _> = gpu.details.into_iter().map(|(k, v)| (k, json!(v))).collect();
        return print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "features": features(),
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "cores": cores,
            "threads": threads,
            "cpu": cpu,
            "gpu": gpu.adapter,
            "gpu_problem": gpu.problem,
            "gpu_details": details,
            "auto": if hardware { "gpu" } else { "cpu" },
            "auto_gpu_rows": AUTO_GPU_ROWS,
        }));
    }
    let fact = |name: &str, value: String| vec![name.to_owned(), value];
    let auto = if hardware {
        format!("the GPU from {} rows on, the CPU below", whole(AUTO_GPU_ROWS as u64))
    } else {
        "the CPU".to_owned()
    };
    let mut rows = vec![
        fact("sememe", format!("{}, {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)),
        fact("features", features().join(", ")),
        fact("CPU", format!("{}, {}", cpu.name, cpu.driver)),
        fact("threads", format!("{threads} on {cores} cores")),
        fact(
            "GPU",
            match (&gpu.adapter, &gpu.problem) {
                (Some(info), _) => format!("{}, {}", device::name(info), info.driver),
                (None, problem) => {
                    let problem = problem.clone().unwrap_or_default();
                    format!("none: {}", problem.strip_prefix("device: ").unwrap_or(&problem))
                }
            },
        ),
    ];
    rows.extend(gpu.details.into_iter().map(|(name, value)| vec![name, value]));
    rows.push(fact("--device auto", format!("takes {auto}")));
    print(&table(&rows, &[0, 1]))
}
