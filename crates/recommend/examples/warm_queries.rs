//! How long one warm query takes: a recommender on a device, asked for ten items after one history at a time, and after many at once.
//!
//!     cargo run --release -p sememe-recommend --example warm_queries -- recommender.safetensors [cpu|gpu] [items of a history]

use sememe::device::DeviceChoice;
use sememe::rng::stream;
use sememe::{Error, Result};
use sememe_recommend::{Recommender, RecommenderQuery};
use std::time::Instant;

/// Queries before the first that counts, and those that count.
const WARM: usize = 20;
const TIMED: usize = 200;
/// Queries of a batch.
const BATCH: usize = 64;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or_else(|| Error::Data("expected the file of a recommender".into()))?;
    let device = match args.next().as_deref() {
        Some("gpu") => DeviceChoice::Gpu.open(1)?,
        _ => DeviceChoice::Cpu.open(1)?,
    };
    let length: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(20).max(1);
    let recommender = Recommender::load(&path)?;
    let mut random = stream(1, "histories", 0);
    let histories: Vec<Vec<u32>> =
        (0..TIMED).map(|_| (0..length).map(|_| random.below(recommender.items() as u64) as u32).collect()).collect();
    let queries: Vec<RecommenderQuery<'_>> =
        histories.iter().map(|history| RecommenderQuery { history, wish: None }).collect();
    let begun = Instant::now();
    let mut session = recommender.session(&device)?;
    let opened = begun.elapsed();
    let mut times = Vec::new();
    for query in queries.iter().cycle().take(WARM + TIMED) {
        let begun = Instant::now();
        session.recommend(std::slice::from_ref(query), 10, true, None)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.drain(..WARM);
    times.sort_by(f64::total_cmp);
    let begun = Instant::now();
    for batch in queries.chunks(BATCH) {
        session.recommend(batch, 10, true, None)?;
    }
    let each = begun.elapsed().as_secs_f64() * 1e3 / queries.len() as f64;
    let items = recommender.items();
    println!("{items} items, histories of {length}, {}", device.info().name);
    println!("session opened in {:.1} ms", opened.as_secs_f64() * 1e3);
    println!("one query: median {:.2} ms, 95 % within {:.2} ms", times[TIMED / 2], times[TIMED * 95 / 100]);
    println!("{BATCH} at once: {each:.2} ms each");
    Ok(())
}
