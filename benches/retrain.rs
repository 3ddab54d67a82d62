//! What a catalogue's IDs go through when its codec is trained again: 80 % of the rows train the old codec, all rows the new one, and
//! the IDs of the 80 % are compared.
//!
//! `cargo bench -p sememe --bench retrain [-- FILE.npy]`, by default on Amazon Beauty where it is at hand, else on the shipped packages;
//! `-- --test` takes 1,000 of those.

use sememe::eval::{EvalOptions, evaluate, measure_churn};
use sememe::ids::{align, align_without_rows, match_codes};
use sememe::io::{OpenOptions, open};
use sememe::{Codec, Codes, Device, Matrix, RqKMeans, rng};
use std::path::Path;
use std::time::Instant;

fn pick(rows: &Matrix, at: &[u64]) -> Matrix {
    let values = at.iter().flat_map(|i| rows.row(*i as usize)).copied().collect();
    Matrix::from_vec(at.len(), rows.dims(), values).expect("rows")
}

fn r2(codec: &Codec, rows: &Matrix) -> f64 {
    let options = EvalOptions { queries: 0, ..EvalOptions::default() };
    let codes = codec.encode(rows).expect("codes");
    evaluate(rows, &codes, &codec.codebook_sizes(), &|c| codec.decode(c), &options)
        .expect("measures")
        .reconstruction
        .expect("rows were given")
        .r2
}

/// Time of matching codebooks of this size, two thirds of whose codes agree.
fn matching(size: u32, rows: usize) {
    let mut stream = rng::stream(1, "bench matching", 0);
    let old: Vec<u32> = (0..rows).map(|_| stream.below(u64::from(size)) as u32).collect();
    let other =
        |code: &u32| if stream.below(3) > 0 { (code * 7 + 1) % size } else { stream.below(u64::from(size)) as u32 };
    let new: Vec<u32> = old.iter().map(other).collect();
    let [new, old] = [new, old].map(|flat| Codes::from_vec(rows, 1, flat).expect("codes"));
    let begun = Instant::now();
    let found = match_codes(&new, &old, &[size as usize]).expect("a matching");
    let kept = new.iter().zip(old.iter()).filter(|(n, o)| found[0][n[0] as usize] == o[0]).count();
    let share = kept as f64 / rows as f64;
    println!("matching {size} codewords by {rows} rows: {:.3} s, {share:.3} kept", begun.elapsed().as_secs_f64());
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let once = args.iter().any(|a| a == "--test");
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/beauty/embeddings.npy");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let given = args.iter().find(|a| a.ends_with(".npy")).map(String::as_str);
    let path = given.unwrap_or(if once || !Path::new(shared).exists() { shipped } else { shared });
    let source = open(path, &OpenOptions::default()).expect("rows");
    let n = if once { 1000 } else { source.rows() };
    let mut all = Matrix::zeros(n, source.dims()).expect("room");
    source.read_rows(0, all.as_mut_slice()).expect("rows");
    let mut first = rng::stream(0, "bench retrain", 0).sample(n as u64, n * 4 / 5);
    first.sort_unstable();
    let few = pick(&all, &first);
    let size = if once { 32 } else { 256 };

    let config = |seed| RqKMeans { codebook_sizes: vec![size; 3], seed, ..RqKMeans::default() };
    let still = RqKMeans { exchange: false, ..config(0) };
    let device = Device::cpu();
    let old = Codec::train(&few, &config(0), &device, &()).expect("a codec");
    let before = old.encode(&few).expect("codes");
    println!(
        "{path}: {} of {n} rows, then all; 3 x {size}; R² of the old codec on all rows {:.4}",
        few.rows(),
        r2(&old, &all)
    );
    println!(
        "| new codec | R² on all rows | IDs changed | codes 1..1, 1..2, 1..3 changed | kept together at 1, 2, 3 |"
    );
    println!("|---|---|---|---|---|");
    let show = |name: &str, codec: &Codec| {
        let churn = measure_churn(&before, &codec.encode(&few).expect("codes")).expect("churn");
        let list = |f: &dyn Fn(usize) -> f64| (0..3).map(|l| format!("{:.3}", f(l))).collect::<Vec<_>>().join(", ");
        let (changed, together) = (list(&|l| churn.levels[l].changed), list(&|l| churn.levels[l].kept_together));
        println!("| {name} | {:.4} | {:.3} | {changed} | {together} |", r2(codec, &all), churn.changed());
    };
    let aligned =
        |codec: &Codec| align(codec, &old, &codec.encode(&few).expect("codes"), &before).expect("aligned").codec;
    show("old", &old);
    for seed in [0, 1] {
        let scratch = Codec::train(&all, &config(seed), &device, &()).expect("a codec");
        show(&format!("from scratch, seed {seed}"), &scratch);
        show("the same, aligned without rows", &align_without_rows(&scratch, &old).expect("aligned").codec);
        show("the same, aligned", &aligned(&scratch));
    }
    let moving = Codec::train_from(&old, &all, &config(0), &device, &()).expect("a codec");
    show("warm start with exchange", &moving);
    show("the same, aligned", &aligned(&moving));
    let warm = Codec::train_from(&old, &all, &still, &device, &()).expect("a codec");
    show("warm start", &warm);
    show("the same, aligned", &aligned(&warm));
    let short = RqKMeans { iterations: 3, ..still };
    show("warm start, 3 iterations a level", &Codec::train_from(&old, &all, &short, &device, &()).expect("a codec"));
    matching(256, 1_000_000);
    if !once {
        matching(1024, 1_000_000);
        matching(2048, 1_000_000);
    }
}
