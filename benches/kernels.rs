//! Times of the heavy kernels and, for `assign`, the share of arithmetic they reach.
//!
//! `cargo bench -p sememe --bench kernels` takes large shapes on hardware and small ones on a software device; `-- --test` runs every
//! bench once. Products of networks are timed beside it. Every kernel of `assign` that the device has is timed, or those that `SEMEME_ASSIGN=Tiles,Matrix` names;
//! `SEMEME_SMALL=1` takes the small shapes; `SEMEME_PEAK_TFLOPS` is the device's f32 peak, for shares of it. Each `assign` is first checked against f64 on sampled rows: a wrong kernel's time means nothing.

use criterion::{BenchmarkId, Criterion, Throughput};
use sememe::compute::gpu::{AssignKernel, Gpu, Options, Rows};
use sememe::compute::tensor::{DenseKernels, Layout, Precision, Product, Tensors, whole};
use sememe::compute::{AssignmentKernels, Backend, CentroidKernels, DeviceKind, Metric, RowKernels, Storage};
use sememe::rng;
use std::time::{Duration, Instant};

/// (n, d, k): the two that the README names, and two of Flash-KMeans's grid.
const LARGE: &[(usize, usize, usize)] =
    &[(1_000_000, 768, 1024), (1_000_000, 128, 256), (1_048_576, 256, 4096), (1_048_576, 64, 1024)];
const SMALL: &[(usize, usize, usize)] = &[(2048, 64, 64), (512, 768, 64)];
/// (m, n, k) of the products that networks are made of: a batch through a layer. On software a corner of it.
const LAYER: (usize, usize, usize) = (1024, 512, 384);
const SMALL_LAYER: (usize, usize, usize) = (128, 128, 96);

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
            let mut calls = 0u32;
            let begun = Instant::now();
            group.bench_function(BenchmarkId::new("assign and soft loads", &shape), |bench| {
                bench.iter(|| {
                    let found = gpu.loads(&resident, &codebook, 0.1 * d as f32, &mut partition).expect("loads");
                    calls += 1;
                    let sum: f64 = found.loads.iter().sum();
                    assert!((sum - n as f64).abs() <= 1e-3 * n as f64, "{sum} rows of {n}");
                });
            });
            if calls > 0 {
                let seconds = begun.elapsed().as_secs_f64() / f64::from(calls);
                println!("RESULT Sinkhorn iteration {shape}: {:.3} ms, without an N×K buffer", 1e3 * seconds);
            }
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

/// Products in every layout and precision; sampled sums are first held to f64.
fn products(criterion: &mut Criterion, gpu: &Gpu, (m, n, k): (usize, usize, usize)) {
    let source = Source::new();
    let tensor = |first: usize, len: usize| {
        let mut values = vec![0.0; len];
        source.fill(first, &mut values);
        let mut made = gpu.zeros("bench", len).expect("zeros");
        gpu.write_tensor(&mut made, 0, &values).expect("write");
        (values, made)
    };
    let ((left, a), (right, b), (_, mut out)) = (tensor(0, m * k), tensor(77, n * k), tensor(0, m * n));
    let mut group = criterion.benchmark_group("products");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    for (layout, precision) in [Layout::Nt, Layout::Nn, Layout::Tn]
        .into_iter()
        .flat_map(|layout| [(layout, Precision::F32), (layout, Precision::F16)])
        .filter(|(_, precision)| gpu.offers(*precision))
    {
        let product = Product { layout, m, n, k, alpha: 1.0, accumulate: false };
        gpu.matmul(&product, precision, whole(&a), whole(&b), &mut out, 0).expect("matmul");
        let mut found = vec![0.0; m * n];
        gpu.read_tensor(&out, 0, &mut found).expect("read");
        // Rounded operands are right within 2^-10 each.
        let relative = if precision == Precision::F16 { 3e-3 } else { 1e-5 };
        for (i, j) in (0..m * n).step_by(m * n / 64 + 1).map(|at| (at / n, at % n)) {
            let (mut want, mut size) = (0.0f64, 0.0f64);
            for t in 0..k {
                let x = if layout == Layout::Tn { left[t * m + i] } else { left[i * k + t] };
                let y = if layout == Layout::Nt { right[j * k + t] } else { right[t * n + j] };
                want += f64::from(x) * f64::from(y);
                size += (f64::from(x) * f64::from(y)).abs();
            }
            assert!(
                (f64::from(found[i * n + j]) - want).abs() <= relative * size,
                "{layout:?} {precision:?} at {i}, {j}"
            );
        }
        gpu.take_timings().expect("timings");
        let name = format!("{layout:?} by {precision:?}");
        // Many calls between waits, as in training.
        const CALLS: u32 = 32;
        let (mut fastest, mut calls) = (f64::INFINITY, 0u32);
        group.bench_function(BenchmarkId::new(&name, format!("{m}x{n}x{k}")), |bench| {
            bench.iter_custom(|count| {
                let start = Instant::now();
                for _ in 0..count {
                    let one = Instant::now();
                    for _ in 0..CALLS {
                        gpu.matmul(&product, precision, whole(&a), whole(&b), &mut out, 0).expect("matmul");
                    }
                    gpu.synchronize().expect("synchronize");
                    fastest = fastest.min(one.elapsed().as_secs_f64() / f64::from(CALLS));
                    calls += CALLS;
                }
                start.elapsed() / CALLS
            });
        });
        if calls > 0 {
            let rate = work(m, k, n) / fastest;
            println!("RESULT matmul {m}x{n}x{k} {name}: {rate:.3} TFLOP/s at best{}", share(rate));
            let timings = gpu.take_timings().expect("timings");
            let clock: f64 = timings.iter().map(|t| t.nanoseconds).sum();
            let timed = timings.iter().filter(|t| t.stem == "matmul").count();
            if clock > 0.0 {
                let rate = work(m, k, n) * timed as f64 / (clock / 1e9);
                println!("RESULT matmul {m}x{n}x{k} {name}: {rate:.3} TFLOP/s by the device's clock{}", share(rate));
            }
        }
    }
    group.finish();
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
        if kernel == AssignKernel::Auto {
            products(&mut criterion, &gpu, if small { SMALL_LAYER } else { LAYER });
        }
    }
    criterion.final_summary();
}
