//! Training, encoding and decoding of the shipped catalogue on the CPU backend.
//!
//! `cargo bench --bench pipeline`, or `-- --test` to run each once.

use criterion::{Criterion, Throughput};
use sememe::{Codec, Device, EncodeOptions, Matrix, Refine, RqKMeans, io};

fn catalogue() -> Matrix {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let source = io::open(path, &io::OpenOptions::default()).expect("the shipped catalogue");
    let mut rows = Matrix::zeros(source.rows(), source.dims()).expect("4,149 × 384 fits");
    source.read_rows(0, rows.as_mut_slice()).expect("the shipped catalogue");
    rows
}

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let rows = catalogue();
    let config = RqKMeans { tolerance: 0.0, ..RqKMeans::default() };
    let refined = RqKMeans { refine: Some(Refine { rounds: 2, beam: 8 }), ..config.clone() };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).expect("training");
    let codes = codec.encode(&rows).expect("encoding");

    let mut group = criterion.benchmark_group("cpu 4149x384, 3 x 256");
    group.throughput(Throughput::Elements(rows.rows() as u64));
    group.bench_function("train, 25 iterations", |b| {
        b.iter(|| Codec::train(&rows, &config, &Device::cpu(), &()).expect("training"));
    });
    group.bench_function("train, 25 iterations, 2 rounds of refinement", |b| {
        b.iter(|| Codec::train(&rows, &refined, &Device::cpu(), &()).expect("training"));
    });
    group.bench_function("encode, greedy", |b| b.iter(|| codec.encode(&rows).expect("encoding")));
    let options = EncodeOptions { beam: Some(8), ..EncodeOptions::default() };
    let beam = codec.encoder(&Device::cpu(), &options).expect("an encoder");
    group.bench_function("encode, beam 8", |b| b.iter(|| beam.encode(&rows).expect("encoding")));
    group.bench_function("decode", |b| b.iter(|| codec.decode(&codes).expect("decoding")));
    group.throughput(Throughput::Elements(1));
    let mut next = 0;
    group.bench_function("encode, one row at a time", |b| {
        b.iter(|| {
            next = (next + 1) % rows.rows();
            codec.encode_row(rows.row(next)).expect("encoding")
        });
    });
    group.finish();
    criterion.final_summary();
}
