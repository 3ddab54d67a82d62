//! Training, encoding and decoding of the shipped catalogue on the CPU backend.
//!
//! `cargo bench -p sememe --bench pipeline`, or `-- --test` to run each once.

use criterion::{Criterion, Throughput};
use sememe::compute::Storage as _;
use sememe::compute::cpu::Cpu;
use sememe::compute::mlp::{Layer, Mlp, ResidentMlp};
use sememe::compute::tensor::Activation;
use sememe::{Codec, Device, EncodeOptions, Matrix, Refine, RowSource as _, RqKMeans, TrainedBy, io};

fn catalogue() -> Matrix {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let source = io::open(path, &io::OpenOptions::default()).expect("the shipped catalogue");
    let mut rows = Matrix::zeros(source.rows(), source.dims()).expect("4,149 × 384 fits");
    source.read_rows(0, rows.as_mut_slice()).expect("the shipped catalogue");
    rows
}

/// A codec behind an untrained network of the usual size, 384-512-256-128-32.
fn with_network(rows: &Matrix) -> Codec {
    let mut random = sememe::rng::stream(0, "bench.network", 0);
    let mut mlp = |sizes: &[usize]| Mlp {
        layers: sizes
            .windows(2)
            .enumerate()
            .map(|(i, w)| {
                let scale = (2.0 / w[0] as f64).sqrt();
                let weight = (0..w[0] * w[1]).map(|_| (scale * random.normal()) as f32).collect();
                Layer {
                    weight: Matrix::from_vec(w[1], w[0], weight).expect("as many as asked for"),
                    bias: vec![0.0; w[1]],
                    norm: None,
                    activation: (i + 2 < sizes.len()).then_some(Activation::Relu),
                }
            })
            .collect(),
        skip: false,
    };
    let (encoder, decoder) = (mlp(&[384, 512, 256, 128, 32]), mlp(&[32, 128, 256, 512, 384]));
    let z = {
        let cpu = Cpu::new();
        let resident = cpu.upload_rows(rows.rows(), 384, &mut |at, out| rows.read_rows(at, out)).expect("rows");
        let z = ResidentMlp::new(&cpu, &encoder).and_then(|m| m.forward(&cpu, &resident)).expect("a network");
        let mut values = vec![0.0; rows.rows() * 32];
        cpu.read_rows(&z, 0, &mut values).expect("its results");
        Matrix::from_vec(rows.rows(), 32, values).expect("as many as there are")
    };
    let mut fitted = RqKMeans::default().fit(&z, &Device::cpu(), &()).expect("training");
    fitted.quantizer.dims = 384;
    (fitted.quantizer.encoder, fitted.quantizer.decoder) = (Some(encoder), Some(decoder));
    fitted.probes = Matrix::from_vec(64, 384, rows.as_slice()[..64 * 384].to_vec()).expect("64 rows");
    Codec::from_fitted(fitted, TrainedBy::RqKMeans(&RqKMeans::default())).expect("a codec")
}

fn network(criterion: &mut Criterion, rows: &Matrix) {
    let codec = with_network(rows);
    let encoder = codec.encoder(&Device::cpu(), &EncodeOptions::default()).expect("an encoder");
    let found = encoder.encode(rows).expect("encoding");
    assert_eq!(found.codes, codec.encode_reference(rows, 1).expect("the reference"));
    println!("network: e = {:?}, {} of {} rows decided twice", encoder.network_error(), found.rechecked, rows.rows());
    let few = Matrix::from_vec(100, 384, rows.as_slice()[..38_400].to_vec()).expect("100 rows");
    let mut group = criterion.benchmark_group("cpu 4149x384 through 384-512-256-128-32, 3 x 256");
    group.bench_function("make an encoder", |b| {
        b.iter(|| codec.encoder(&Device::cpu(), &EncodeOptions::default()).expect("an encoder"));
    });
    group.throughput(Throughput::Elements(rows.rows() as u64));
    group.bench_function("encode, greedy", |b| b.iter(|| encoder.encode(rows).expect("encoding")));
    group.bench_function("decode", |b| b.iter(|| codec.decode(&found.codes).expect("decoding")));
    group.throughput(Throughput::Elements(100));
    group.bench_function("encode, 100 rows by the reference", |b| {
        b.iter(|| codec.encode_reference(&few, 1).expect("encoding"));
    });
    for size in [1, 2, 4, 8, 16] {
        group.throughput(Throughput::Elements(size as u64));
        let mut next = 0;
        group.bench_function(format!("encode, {size} rows at a time"), |b| {
            b.iter(|| {
                next = (next + size) % (rows.rows() - size);
                encoder.encode(rows.view().slice(next, next + size)).expect("encoding")
            });
        });
    }
    group.finish();
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
    network(&mut criterion, &rows);
    criterion.final_summary();
}
