//! Balanced training on files: loads, R² and time beside plain training, one `RESULT` line a case.
//!
//! usage: cargo bench -p sememe --bench balance                    shipped catalogue, and seeded clusters (23,000 × 50, 10 clusters)
//!        cargo bench -p sememe --bench balance -- DATA.npy ...    files in the place of the shipped catalogue
//!        cargo bench -p sememe --bench balance -- --test          everything once on little
//!
//! The clusters: 40 centres of 50 standard normal values, each row a centre drawn uniformly plus 0.5 times standard normal noise, all
//! from the stream "bench.clusters" of seed 7.

use sememe::io::{OpenOptions, open};
use sememe::rng::stream;
use sememe::{Balance, Codec, Codes, Device, Matrix, RowSource, RqKMeans};
use std::path::Path;
use std::time::Instant;

fn perplexities(codes: &Codes, sizes: &[usize]) -> Vec<String> {
    let one = |(level, k): (usize, &usize)| {
        let mut loads = vec![0u32; *k];
        codes.iter().for_each(|row| loads[row[level] as usize] += 1);
        let (least, most) = (loads.iter().min().copied(), loads.iter().max().copied());
        let perplexity = sememe::fit::perplexity(&loads);
        format!("{perplexity:.1} [{}, {}]", least.unwrap_or(0), most.unwrap_or(0))
    };
    sizes.iter().enumerate().map(one).collect()
}

fn rows(source: &dyn RowSource) -> Matrix {
    let (n, d) = (source.rows(), source.dims());
    let mut data = vec![0.0; n * d];
    source.read_rows(0, &mut data).expect("rows");
    Matrix::from_vec(n, d, data).expect("a matrix")
}

/// Trains, encodes and tells; returns the seconds of training.
fn tell(name: &str, how: &str, rows: &Matrix, config: &RqKMeans, plain_seconds: Option<f64>) -> f64 {
    let start = Instant::now();
    let codec = Codec::train(rows, config, &Device::cpu(), &()).expect("training");
    let seconds = start.elapsed().as_secs_f64();
    let codes = codec.encode(rows).expect("encoding");
    let back = codec.decode(&codes).expect("decoding");
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let error: f64 = rows.as_slice().iter().zip(back.as_slice()).map(square).sum();
    let training = &codec.manifest().training;
    let moved: Vec<u64> = training.levels.iter().filter_map(|l| l.balance.map(|b| b.moved_rows)).collect();
    let times = plain_seconds.map_or_else(String::new, |plain| format!(", {:.2} × plain", seconds / plain));
    println!(
        "RESULT {name} {how}: {seconds:.2} s{times}, R² {:.4}, perplexity and loads as encoded {}, rows elsewhere by prices {moved:?}",
        1.0 - error / training.total_variance,
        perplexities(&codes, &config.codebook_sizes).join("; ")
    );
    seconds
}

fn catalogue(name: &str, rows: &Matrix, size: usize) {
    let plain = RqKMeans { codebook_sizes: vec![size; 3], ..RqKMeans::default() };
    let seconds = tell(name, "plain", rows, &plain, None);
    let with = |balance| RqKMeans { balance: Some(balance), ..plain.clone() };
    tell(name, "sinkhorn", rows, &with(Balance::sinkhorn()), Some(seconds));
    tell(name, "capacity", rows, &with(Balance::capacity()), Some(seconds));
}

fn clusters(n: usize, d: usize) -> Matrix {
    let mut random = stream(7, "bench.clusters", 0);
    let centres: Vec<f32> = (0..40 * d).map(|_| random.normal() as f32).collect();
    let mut data = Vec::with_capacity(n * d);
    for _ in 0..n {
        let at = random.below(40) as usize * d;
        data.extend(centres[at..at + d].iter().map(|c| c + 0.5 * random.normal() as f32));
    }
    Matrix::from_vec(n, d, data).expect("a matrix")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let test = args.iter().any(|a| a == "--test");
    let files: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/packages.npy");
    if files.is_empty() {
        let all = rows(&open(shipped, &OpenOptions::default()).expect("the shipped catalogue"));
        let few = if test { 500 } else { all.rows() };
        let part = Matrix::from_vec(few, all.dims(), all.as_slice()[..few * all.dims()].to_vec()).expect("a matrix");
        catalogue("packages", &part, if test { 16 } else { 256 });
    }
    for file in files {
        catalogue(file, &rows(&open(file, &OpenOptions::default()).expect("a file of rows")), 256);
    }
    let n = if test { 1000 } else { 23_000 };
    let config = RqKMeans { codebook_sizes: vec![10], balance: Some(Balance::capacity()), ..RqKMeans::default() };
    let points = clusters(n, 50);
    let plain = RqKMeans { balance: None, ..config.clone() };
    let seconds = tell(&format!("{n} × 50, 10 clusters"), "plain", &points, &plain, None);
    tell(&format!("{n} × 50, 10 clusters"), "capacity", &points, &config, Some(seconds));
}
