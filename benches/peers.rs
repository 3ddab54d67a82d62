//! Sememe's side of the comparison with other systems: trains and encodes one file from memory, prints one JSON line.
//!
//! `cargo bench -p sememe --bench peers -- DATA.npy [--refine ROUNDS,BEAM] [--iterations 25] [--seed 0]`; `benches/peers/compare.py` runs it
//! beside the peers. Without a file it runs on the shipped catalogue, which keeps it honest in CI.

use sememe::{Codec, Device, EncodeOptions, Matrix, Refine, RqKMeans, eval, io};
use std::time::Instant;

fn value(args: &[String], name: &str) -> Option<String> {
    args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).cloned()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench" && a != "--test").collect();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let path = args.first().filter(|a| !a.starts_with("--")).map_or(shipped, String::as_str);
    let source = io::open(path, &io::OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut rows = Matrix::zeros(source.rows(), source.dims()).expect("rows that fit memory");
    source.read_rows(0, rows.as_mut_slice()).unwrap_or_else(|e| panic!("{e}"));
    let refine = value(&args, "--refine").map(|text| {
        let (rounds, beam) = text.split_once(',').expect("--refine ROUNDS,BEAM");
        Refine { rounds: rounds.parse().expect("rounds"), beam: beam.parse().expect("beam") }
    });
    let number = |name: &str, default: u64| value(&args, name).map_or(default, |v| v.parse().expect(name));
    let config = RqKMeans {
        iterations: number("--iterations", 25) as usize,
        seed: number("--seed", 0),
        tolerance: 0.0,
        refine,
        ..RqKMeans::default()
    };
    let begun = Instant::now();
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap_or_else(|e| panic!("{e}"));
    let train_s = begun.elapsed().as_secs_f64();
    let encoder = codec.encoder(&Device::cpu(), &EncodeOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let begun = Instant::now();
    let encoded = encoder.encode(&rows).unwrap_or_else(|e| panic!("{e}"));
    let encode_s = begun.elapsed().as_secs_f64();
    let options = eval::EvalOptions { queries: 0, ..eval::EvalOptions::default() };
    let measures =
        eval::evaluate(&rows, &encoded.codes, &codec.codebook_sizes(), &|codes| codec.decode(codes), &options)
            .unwrap_or_else(|e| panic!("{e}"));
    let perplexity: Vec<f64> = measures.levels.iter().map(|l| l.codes.perplexity).collect();
    let line = serde_json::json!({
        "peer": if refine.is_some() { "sememe, refined" } else { "sememe" },
        "rows": rows.rows(), "dims": rows.dims(), "train_s": train_s, "encode_s": encode_s,
        "rechecked": encoded.rechecked as f64 / rows.rows() as f64, "r2": measures.reconstruction.map(|full| full.r2),
        "collision_rate": measures.collision_rate, "perplexity": perplexity, "device": Device::cpu().info(),
    });
    println!("{line}");
}
