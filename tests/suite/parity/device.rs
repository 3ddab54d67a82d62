//! What a device does beside computing: limits, loss, clocks, threads, a device that is brought along.

use super::*;
use sememe::compute::gpu::{Gpu, Options};
use sememe::compute::{AssignmentKernels as _, CentroidKernels as _, RowKernels as _, Storage as _};

/// Lines of more than 65,535 workgroups fold into rectangles: a counting table of 65,536 groups, and one row a group.
#[test]
fn more_workgroups_than_one_dimension_holds() {
    let Some(gpu) = plain() else { return };
    let (n, k) = (1000, 1 << 24);
    let labels: Vec<u32> = (0..n).map(|i| i * 16_777).collect();
    let mut partition = gpu.partition_from(&labels).expect("partition");
    let counts = gpu.tally(&mut partition, k).expect("tally");
    assert_eq!(counts.iter().map(|c| *c as usize).sum::<usize>(), n as usize);
    assert!(labels.iter().all(|l| counts[*l as usize] == 1));
    let n = 66_000;
    let data: Vec<f32> = (0..n).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
    let resident = upload(gpu, &data, n, 1);
    let book = gpu.codebook(2, 1, &[-1.0, 1.0], Metric::SquaredL2).expect("codebook");
    let got = gpu.beam(&resident, &[book], &[Vec::new()], 1).expect("beam");
    assert!(got.codes.iter().enumerate().all(|(i, c)| (*c == 1) == (i % 3 == 0)));
}

#[test]
fn a_lost_device_is_an_error() {
    let Some(gpu) = crate::support::open(Options::default()) else { return };
    let data = rows("lost", 64, 8);
    let resident = upload(&gpu, &data, 64, 8);
    gpu.destroy();
    let lost = gpu.row_norms(&resident);
    assert!(matches!(lost, Err(Error::DeviceLost(_))), "{lost:?}");
    assert!(matches!(gpu.codebook(1, 8, &[0.0; 8], Metric::Cosine), Err(Error::DeviceLost(_))));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(gpu) = plain() else { return };
    let fill = &mut |_: usize, _: &mut [f32]| Err(Error::Data("not reached".into()));
    let refused = gpu.upload_rows(1 << 42, 64, fill);
    assert!(refused.is_err());
    // The device goes on working.
    assert_eq!(gpu.column_sums(&upload(gpu, &[1.0, 2.0], 2, 1)).expect("sums"), [3.0]);
}

#[test]
fn adapters_and_refusals() {
    let Some(gpu) = plain() else { return };
    let adapters = Gpu::adapters();
    assert!(adapters.iter().any(|a| a.info == gpu.info()));
    if adapters.iter().all(|a| a.info.kind == sememe::DeviceKind::SoftwareGpu) {
        let hardware = Gpu::open(false).err();
        let refused = hardware.as_ref().map(Error::root);
        assert!(matches!(refused, Some(Error::Device(_))), "software adapters are used only when asked for");
    }
    assert!(gpu.tile_key().contains(&gpu.info().name));
}

/// A caller's own device serves, and answers as ours does.
#[test]
fn a_device_can_be_brought_along() {
    use sememe::compute::gpu::wgpu;
    let Some(gpu) = plain() else { return };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).expect("adapter");
    // WebGPU's default limits are all that the kernels need.
    let (device, queue) =
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("device");
    let own = Gpu::from_wgpu(&adapter.get_info(), device, queue).expect("default limits suffice");
    assert_eq!(own.options().chunk_bytes, 128 << 20);
    let data = rows("own device", 300, 20);
    let sums = |gpu: &Gpu| gpu.row_norms(&upload(gpu, &data, 300, 20)).expect("norms");
    if own.info() == gpu.info() {
        assert_eq!(sums(&own), sums(gpu));
    }
    case_assign(&own);
    case_update(&own);
    case_beam(&own);
}

/// The device's own clock, where it has one.
#[test]
fn kernels_can_be_timed() {
    let Some(gpu) = crate::support::open(Options { timings: true, ..Options::default() }) else { return };
    case_determinism(&gpu);
    let timings = gpu.take_timings().expect("timings");
    if gpu.options().timings {
        assert!(timings.iter().any(|t| t.stem == "assign" && t.nanoseconds > 0.0), "{timings:?}");
        assert!(gpu.take_timings().expect("timings").is_empty());
    }
}

/// Operations of several threads on one device do not get into each other's scratch space.
#[test]
fn threads_share_a_device() {
    let Some(gpu) = small_chunks() else { return };
    let run = |seed: usize| {
        let (n, k, d) = (200 + 70 * seed, 9 + seed, 5 + 11 * seed);
        let (data, words) = (rows("threads", n, d), codewords("thread words", k, d));
        let resident = upload(gpu, &data, n, d);
        let mut codebook = gpu.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
        let mut partition = gpu.partition(n).expect("partition");
        let sum = gpu.assign(&resident, &codebook, &mut partition).expect("assign").score_sum;
        let counts = gpu.tally(&mut partition, k).expect("tally");
        gpu.update(&resident, &mut partition, &mut codebook, &vec![1.0; k]).expect("update");
        (sum.to_bits(), counts, gpu.read_codebook(&codebook).expect("read"), gpu.row_norms(&resident).expect("norms"))
    };
    let alone: Vec<_> = (0..4).map(run).collect();
    for _ in 0..3 {
        let together: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        assert_eq!(together, alone);
    }
}
