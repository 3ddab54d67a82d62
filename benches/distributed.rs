//! What a pass over rows costs a worker of a distributed training, and how many bytes go each way.
//!
//! `cargo bench -p sememe --bench distributed [-- FILE.npy]`, by default on rows of 768 values around 4,096 centres, on one thread and on all;
//! `-- --test` takes a few of 32.

use sememe::distributed::{DistributedRqKMeans, DistributedTrainer, Partial, Round};
use sememe::io::{OpenOptions, open};
use sememe::{Device, Matrix, RowSource as _, RqKMeans, rng};
use std::time::Instant;

/// Rows around centres.
fn clustered(n: usize, d: usize, groups: u64) -> Matrix {
    let mut random = rng::stream(0, "bench distributed", 0);
    let mut rows = Matrix::zeros(n, d).expect("room");
    for i in 0..n {
        let mut centre = rng::stream(1, "bench distributed centre", random.below(groups));
        let own = rows.row_mut(i);
        own.iter_mut().for_each(|value| *value = (centre.normal() + 0.7 * random.normal()) as f32);
    }
    rows
}

/// Seconds for rows to answer a round, in batches as engines hand them over.
fn answer(round: &Round, rows: &Matrix) -> (Partial, f64) {
    let worker = round.worker(&Device::cpu()).expect("a worker");
    let mut partial = worker.partial();
    let begun = Instant::now();
    for start in (0..rows.rows()).step_by(8192) {
        let end = (start + 8192).min(rows.rows());
        worker.add(rows.view().slice(start, end), &mut partial).expect("an answer");
    }
    (partial, begun.elapsed().as_secs_f64())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let once = args.iter().any(|a| a == "--test");
    let rows = match args.iter().find(|a| a.ends_with(".npy")) {
        Some(path) => {
            let source = open(path, &OpenOptions::default()).expect("rows");
            let mut rows = Matrix::zeros(source.rows(), source.dims()).expect("room");
            source.read_rows(0, rows.as_mut_slice()).expect("rows");
            rows
        }
        None if once => clustered(600, 32, 64),
        None => clustered(65_536, 768, 4096),
    };
    let size = if once { 16 } else { 256 };
    let kmeans = RqKMeans { codebook_sizes: vec![size; 3], iterations: 2, ..RqKMeans::default() };
    let mut trainer =
        DistributedTrainer::new(DistributedRqKMeans { kmeans, sample_rows: None }, rows.dims()).expect("settings");
    println!("{} × {}, 3 × {size}", rows.rows(), rows.dims());
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let mut number = 0;
    while let Some(round) = trainer.round().expect("a round") {
        number += 1;
        let (partial, alone) = one.install(|| answer(&round, &rows));
        let (again, all) = answer(&round, &rows);
        assert_eq!(partial, again, "threads change an answer");
        let begun = Instant::now();
        let mut merged = partial.clone();
        merged.merge(&again).expect("answers to one round");
        let merging = begun.elapsed().as_secs_f64();
        let rate = |seconds: f64| rows.rows() as f64 / seconds;
        println!(
            "pass {number}: {:.0} rows/s on one thread, {:.0} on {}; asked {} bytes, answered {}, merged in {:.1} ms",
            rate(alone),
            rate(all),
            rayon::current_num_threads(),
            round.to_bytes().len(),
            partial.to_bytes().expect("bytes").len(),
            1e3 * merging
        );
        trainer.take(&partial, &Device::cpu(), &()).expect("a step");
    }
}
