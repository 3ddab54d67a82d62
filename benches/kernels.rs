//! Times of the heavy kernels and, for `assign`, the share of arithmetic they reach.
//!
//! `cargo bench --bench kernels` takes large shapes on hardware and small ones on a software device; `-- --test` runs every
//! bench once. Every kernel of `assign` that the device has is timed, or those that `SEMEME_ASSIGN=Tiles,Matrix` names;
//! `SEMEME_SMALL=1` takes the small shapes; `SEMEME_PEAK_TFLOPS` is the device's f32 peak, for shares of it. Each `assign` is first checked against f64 on sampled rows: a wrong kernel's time means nothing.

use criterion::{BenchmarkId, Criterion, Throughput};
use sememe::compute::gpu::{AssignKernel, Gpu, Options, Rows};
use sememe::compute::{Backend, DeviceKind, Metric};
use sememe::rng;
use std::time::{Duration, Instant};

/// (n, d, k): the two that the README names, and two of Flash-KMeans's grid.
const LARGE: &[(usize, usize, usize)] =
    &[(1_000_000, 768, 1024), (1_000_000, 128, 256), (1_048_576, 256, 4096), (1_048_576, 64, 1024)];
const SMALL: &[(usize, usize, usize)] = &[(2048, 64, 64), (512, 768, 64)];

/// Normal values; a block of them repeats with other factors, since drawing billions would take longer than the bench.
struct Source(Vec<f32>);

impl Source {
    fn new() -> Self {
        let mut stream = rng::stream(3, "bench", 0);
        Self((0..(1 << 18) + 1).map(|_| stream.normal() as f32).collect())
    }

    fn fill(&self, start: usize, out: &mut [f32]) {
        for (i, value) in out.iter_mut().enumerate() {
            let at = start + i;
            *value = self.0[at % self.0.len()] * (1.0 + (at / self.0.len() % 61) as f32 / 61.0);
        }
    }
}

fn rows(gpu: &Gpu, source: &Source, n: usize, d: usize) -> Rows {
    gpu.upload_rows(n, d, &mut |start, part| {
        source.fill(start * d, part);
        Ok(())
    })
    .expect("upload")
}

/// Holds sampled rows' best scores to f64.
fn check(gpu: &Gpu, rows: &Rows, words: &[f32], labels: &[u32], best: &[f32], d: usize) {
    let (n, u) = (labels.len(), gpu.unit_roundoff());
    let mut row = vec![0.0; d];
    for i in (0..n).step_by(n / 16 + 1) {
        gpu.read_rows(rows, i, &mut row).expect("read");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let score = |c: &[f32]| 0.5 * dot(c, c) - dot(&row, c);
        let want = words.chunks_exact(d).map(score).fold(f64::MAX, f64::min);
        let word = &words[labels[i] as usize * d..][..d];
        let bound =
            (gpu.dot_error(d) + 4.0 * u) * (dot(&row, &row) * dot(word, word)).sqrt() + 4.0 * u * dot(word, word);
        assert!((score(word) - want).abs() <= 2.0 * bound, "row {i}: a worse codeword than the nearest");
        assert!((f64::from(best[i]) - score(word)).abs() <= bound, "row {i}: the score is off");
    }
}

/// Floating-point operations of one `assign`, in units of 10^12.
fn work(n: usize, d: usize, k: usize) -> f64 {
    2.0 * n as f64 * d as f64 * k as f64 / 1e12
}

/// `, 61.2 % of the f32 peak` where the peak is given by `SEMEME_PEAK_TFLOPS`.
fn share(rate: f64) -> String {
    let peak = std::env::var("SEMEME_PEAK_TFLOPS").ok().and_then(|v| v.parse::<f64>().ok()).filter(|p| *p > 0.0);
    peak.map_or_else(String::new, |peak| format!(", {:.1} % of the f32 peak", 100.0 * rate / peak))
}

/// One kernel of `assign` over all shapes; `full` times what else a Lloyd iteration does.
fn kernels(criterion: &mut Criterion, gpu: &Gpu, kernel: AssignKernel, full: bool, shapes: &[(usize, usize, usize)]) {
    let source = Source::new();
    for (n, d, k) in shapes.iter().copied() {
        let resident = rows(gpu, &source, n, d);
        let mut words = vec![0.0; k * d];
        source.fill(12_345, &mut words);
        let mut codebook = gpu.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
        let mut partition = gpu.partition(n).expect("partition");
        gpu.assign(&resident, &codebook, &mut partition).expect("assign");
        let found = gpu.read_partition(&partition).expect("read");
        check(gpu, &resident, &words, &found.labels, &found.best, d);
        gpu.take_timings().expect("timings");

        let shape = format!("{n}x{d}, k = {k}");
        let mut group = criterion.benchmark_group("kernels");
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).throughput(Throughput::Elements(n as u64));
        let (mut fastest, mut calls) = (f64::INFINITY, 0u32);
        group.bench_function(BenchmarkId::new(format!("assign by {kernel:?}"), &shape), |bench| {
            bench.iter_custom(|count| {
                let start = Instant::now();
                for _ in 0..count {
                    let one = Instant::now();
                    gpu.assign(&resident, &codebook, &mut partition).expect("assign");
                    fastest = fastest.min(one.elapsed().as_secs_f64());
                    calls += 1;
                }
                start.elapsed()
            });
        });
        // A filter on the command line may have left the bench out.
        if calls > 0 {
            let rate = work(n, d, k) / fastest;
            println!(
                "RESULT assign {shape} by {kernel:?}: {rate:.3} TFLOP/s at best, readback included{}; tiles {:?}",
                share(rate),
                gpu.tiles()
            );
            let timings = gpu.take_timings().expect("timings");
            let clock: f64 = timings.iter().filter(|t| t.stem.starts_with("assign")).map(|t| t.nanoseconds).sum();
            if clock > 0.0 {
                let rate = work(n, d, k) * f64::from(calls) / (clock / 1e9);
                println!(
                    "RESULT assign {shape} by {kernel:?}: {rate:.3} TFLOP/s on average by the device's clock{}",
                    share(rate)
                );
            }
        }
        if full {
            group.bench_function(BenchmarkId::new("tally and update", &shape), |bench| {
                let weights = vec![1.0; k];
                bench.iter(|| {
                    gpu.tally(&mut partition, k).expect("tally");
                    gpu.update(&resident, &mut partition, &mut codebook, &weights).expect("update");
                    gpu.synchronize().expect("synchronize");
                });
            });
            group.bench_function(BenchmarkId::new("row norms", &shape), |bench| {
                bench.iter(|| gpu.sum_squares(&resident).expect("sum"));
            });
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let wishes =
        [AssignKernel::Auto, AssignKernel::Tiles, AssignKernel::Subgroup, AssignKernel::SplitF16, AssignKernel::Matrix];
    let wished = std::env::var("SEMEME_ASSIGN").unwrap_or_default();
    for kernel in wishes {
        if !wished.is_empty() && !wished.split(',').any(|w| w == format!("{kernel:?}")) {
            continue;
        }
        let options = Options { software: true, timings: true, assign: kernel, ..Options::default() };
        let gpu = match Gpu::with_options(options) {
            Ok(gpu) => gpu,
            Err(why) => {
                println!("RESULT no assign by {kernel:?}: {why}");
                continue;
            }
        };
        let info = gpu.info();
        println!("ADAPTER {} ({}, {})", info.name, info.api, info.driver);
        let small = info.kind != DeviceKind::Gpu || std::env::var_os("SEMEME_SMALL").is_some();
        let shapes = match (small, kernel) {
            (true, _) => SMALL,
            // Slow by design, so one shape will do.
            (false, AssignKernel::SplitF16) => &LARGE[1..2],
            (false, _) => LARGE,
        };
        kernels(&mut criterion, &gpu, kernel, kernel == AssignKernel::Auto, shapes);
    }
    criterion.final_summary();
}
