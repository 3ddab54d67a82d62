//! A codec in a service: loaded once, used by many threads at a time: `cargo run --release --example service`.
//!
//! A [`Codec`] is `Send + Sync` and cheap to clone. Encoding one row wakes no other thread, so requests do not wait for
//! each other.

use sememe::io::{OpenOptions, open};
use sememe::{Codec, Device, Matrix, RowSource, RqKMeans};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUESTS: usize = 20_000;

/// What a request handler would hold.
struct Service {
    codec: Codec,
}

impl Service {
    /// One request: an embedding comes in, an ID goes out.
    fn name(&self, embedding: &[f32]) -> sememe::Result<String> {
        let id = self.codec.encode_row(embedding)?;
        Ok(id.iter().map(u32::to_string).collect::<Vec<_>>().join("-"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy"), &OpenOptions::default())?;
    let mut rows = Matrix::zeros(source.rows(), source.dims())?;
    source.read_rows(0, rows.as_mut_slice())?;

    // A service would load a file that was trained elsewhere: `Codec::load("codec.safetensors")?`.
    let config = RqKMeans { codebook_sizes: vec![256; 3], ..RqKMeans::default() };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &())?;

    let service = Arc::new(Service { codec });
    println!("first answer: {}", service.name(rows.row(0))?);
    let rows = Arc::new(rows);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let (service, rows) = (Arc::clone(&service), Arc::clone(&rows));
            std::thread::spawn(move || -> sememe::Result<Vec<Duration>> {
                let mut times = Vec::with_capacity(REQUESTS);
                for request in 0..REQUESTS {
                    let row = rows.row((worker * 7919 + request) % rows.rows());
                    let start = Instant::now();
                    std::hint::black_box(service.name(row)?);
                    times.push(start.elapsed());
                }
                Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.join().map_err(|_| "a worker panicked")??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{} requests on {threads} threads, {:.0} a second", times.len(), times.len() as f64 / seconds);
    println!(
        "latency in µs: median {:.1}, 90 % {:.1}, 99 % {:.1}, 99.9 % {:.1}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999)
    );

    // What cannot be answered is an error with the numbers in it, never a panic.
    let short = service.name(&[1.0, 2.0]).expect_err("two values are not an embedding");
    println!("a row of 2 values: {short}");
    Ok(())
}
