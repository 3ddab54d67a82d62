//! The trie of 10M items of 4 codes: built, opened, and asked what may come next.
//!
//! `cargo bench -p sememe --bench ids`, or `-- --test` to run each once, on 100,000 items.

use criterion::Criterion;
use sememe::ids::Trie;
use sememe::{Codes, rng};
use std::time::Instant;

/// Codes of uneven use, as real ones are: their squares are even.
fn codes(items: usize) -> Codes {
    let mut stream = rng::stream(1, "bench ids", 0);
    let mut code = || {
        let u = stream.below(1 << 20) as f64 / f64::from(1 << 20);
        (256.0 * u * u.sqrt()) as u32
    };
    Codes::from_vec(items, 4, (0..items * 4).map(|i| 256 * (i % 4) as u32 + code()).collect()).expect("codes")
}

fn main() {
    let once = std::env::args().any(|a| a == "--test");
    let items = if once { 100_000 } else { 10_000_000 };
    let ids = codes(items);
    let begun = Instant::now();
    let trie = Trie::build(ids.iter(), 5000).expect("a trie");
    let seconds = begun.elapsed().as_secs_f64();
    println!("{items} items: built in {seconds:.2} s, {} nodes, {:.1} MB", trie.nodes(), trie.len_bytes() as f64 / 1e6);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ids.trie");
    trie.save(&path).expect("saved");
    drop(trie);

    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let mut group = criterion.benchmark_group(format!("trie of {items} x 4"));
    group.bench_function("load", |b| b.iter(|| Trie::load(&path).expect("a trie")));
    // SAFETY: the file lies in a folder of this bench's own, and nobody writes to it.
    group.bench_function("map", |b| b.iter(|| unsafe { Trie::map(&path) }.expect("a trie")));
    // SAFETY: as above.
    let trie = unsafe { Trie::map(&path) }.expect("a trie");
    trie.verify().expect("whole");
    let mut out = Vec::new();
    for depth in 0..=4 {
        // Drawn beforehand and laid out in a row, so that the time is the trie's and not that of finding an item.
        let count = 1 << 18;
        let asked: Vec<u32> = (1..=count).flat_map(|i| ids.row(i * 7_368_787 % items)[..depth].to_vec()).collect();
        let mut i = 0;
        group.bench_function(format!("allowed after {depth} tokens of a random item"), |b| {
            b.iter(|| {
                i = (i + 1) % count;
                trie.allowed_into(&asked[i * depth..(i + 1) * depth], &mut out);
                out.len()
            });
        });
    }
    let mut stream = rng::stream(2, "bench ids", 0);
    group.bench_function("beam search, 50 wide, random scores", |b| {
        b.iter(|| {
            let score = |frontier: &mut [sememe::ids::Frontier<'_>]| {
                frontier.iter_mut().flat_map(|f| f.scores.iter_mut()).for_each(|s| *s = stream.below(1 << 20) as f32);
                Ok(())
            };
            trie.beam(50, score).expect("hits")
        });
    });
    group.finish();
    criterion.final_summary();
}
