//! Items in parquet files, codecs of every kind, and whole results read back.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, ListArray, RecordBatch,
    StringArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use half::f16;
use sememe::fit::ProductQuantization;
use sememe::fit::rqvae::RqVae;
use sememe::rng::stream;
use sememe::{Balance, Codec, Device, Matrix, Metric, Refine, RqKMeans};
use sememe_cluster::{Session, SessionOptions};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const DIMS: usize = 12;

/// Rows in groups, so that codes mean something.
pub fn rows(n: usize, seed: u64) -> Matrix {
    let mut random = stream(seed, "rows", 0);
    let mut value = || random.uniform() as f32 - 0.5;
    let centres: Vec<f32> = (0..10 * DIMS).map(|_| 8.0 * value()).collect();
    let values = (0..n * DIMS).map(|at| centres[at / DIMS % 10 * DIMS + at % DIMS] + value()).collect();
    Matrix::from_vec(n, DIMS, values).expect("shape")
}

/// Keys that are not in the order of the rows.
pub fn keys(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("item-{:06}", i * 7919 % 1_000_003)).collect()
}

/// How a file holds embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kept {
    Fixed32,
    List32,
    List64,
    Fixed16,
}

pub fn column(values: &[f32], dims: usize, kept: Kept) -> ArrayRef {
    let n = values.len() / dims;
    let (kind, inner): (DataType, ArrayRef) = match kept {
        Kept::Fixed32 | Kept::List32 => (DataType::Float32, Arc::new(Float32Array::from(values.to_vec()))),
        Kept::List64 => {
            (DataType::Float64, Arc::new(Float64Array::from(values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>())))
        }
        Kept::Fixed16 => (
            DataType::Float16,
            Arc::new(Float16Array::from(values.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>())),
        ),
    };
    let item = Arc::new(Field::new_list_field(kind, true));
    match kept {
        Kept::Fixed32 | Kept::Fixed16 => {
            Arc::new(FixedSizeListArray::try_new(item, dims as i32, inner, None).expect("column"))
        }
        _ => {
            let offsets = OffsetBuffer::from_repeated_length(dims, n);
            Arc::new(ListArray::try_new(item, offsets, inner, None).expect("column"))
        }
    }
}

/// Writes columns as one parquet file.
pub fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    std::fs::create_dir_all(path.parent().expect("folder")).expect("made");
    let batch = RecordBatch::try_from_iter(columns).expect("batch");
    let mut writer = ArrowWriter::try_new(File::create(path).expect("file"), batch.schema(), None).expect("writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// Items in several files of a folder.
pub fn write_items(folder: &Path, rows: &Matrix, keys: &[String], files: usize, kept: Kept) {
    let each = rows.rows().div_ceil(files);
    for (file, keys) in keys.chunks(each).enumerate() {
        let values = &rows.as_slice()[file * each * rows.dims()..(file * each + keys.len()) * rows.dims()];
        let columns = vec![
            ("item", Arc::new(StringArray::from_iter_values(keys)) as ArrayRef),
            ("embedding", column(values, rows.dims(), kept)),
        ];
        write(&folder.join(format!("items-{file}.parquet")), columns);
    }
}

/// A codec of every kind, with its name.
pub fn every_kind(rows: &Matrix) -> Vec<(&'static str, Codec)> {
    let base = RqKMeans { codebook_sizes: vec![8; 3], iterations: 6, ..RqKMeans::default() };
    let product = ProductQuantization { codebook_sizes: vec![8; 4], iterations: 6, ..ProductQuantization::default() };
    let network = RqVae { epochs: 2, batch_rows: 128, ..small_network() };
    let (device, device_of) =
        (Device::cpu(), |config: &RqKMeans| Codec::train(rows, config, &Device::cpu(), &()).expect("trained"));
    let with_prices = RqKMeans { balance: Some(Balance::sinkhorn()), ..base.clone() };
    let exact = RqKMeans { balance: Some(Balance::capacity()), ..base.clone() };
    let refined = RqKMeans { refine: Some(Refine { rounds: 2, beam: 4 }), ..base.clone() };
    let mut whitened = base.clone();
    (whitened.preprocess.pca, whitened.preprocess.whiten) =
        (Some(sememe::Pca { keep_variance: 1.0, max_dims: 8 }), true);
    let shared = RqVae { shared_codebook: true, ..network.clone() };
    vec![
        ("k-means", device_of(&base)),
        ("sinkhorn", device_of(&with_prices)),
        ("capacity", device_of(&exact)),
        ("refined", device_of(&refined)),
        ("cosine", device_of(&RqKMeans { metric: Metric::Cosine, ..base.clone() })),
        ("residual-normalised", device_of(&RqKMeans { normalize_residuals: true, ..base.clone() })),
        ("whitened", device_of(&whitened)),
        ("RQ-VAE", Codec::train_rqvae(rows, &network, &device, &()).expect("trained")),
        ("shared codebook", Codec::train_rqvae(rows, &shared, &device, &()).expect("trained")),
        ("pq", Codec::train_product(rows, &product, &device, &()).expect("trained")),
    ]
}

fn small_network() -> RqVae {
    RqVae { codebook_sizes: vec![8; 3], hidden: vec![16], code_dims: 8, ..RqVae::default() }
}

pub fn codec(rows: &Matrix) -> Codec {
    let config = RqKMeans { codebook_sizes: vec![16, 8, 8], iterations: 8, ..RqKMeans::default() };
    Codec::train(rows, &config, &Device::cpu(), &()).expect("trained")
}

/// Saves a codec and gives its place as text.
pub fn saved(codec: &Codec, folder: &Path, name: &str) -> String {
    let path = folder.join(format!("{name}.safetensors"));
    codec.save(&path).expect("saved");
    path.to_string_lossy().into_owned()
}

/// Runs asynchronous work to its end.
pub fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime").block_on(work)
}

pub async fn session(partitions: usize) -> Session {
    let options = SessionOptions { partitions: Some(partitions), ..SessionOptions::default() };
    Session::open(&options).await.expect("session")
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Parquet files of a folder, in order.
pub fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "parquet")).collect();
    found.sort();
    found
}

pub fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("file")).expect("parquet");
    reader.build().expect("reader").map(|batch| batch.expect("batch")).collect()
}

/// What `key` has in `codes`, over all files of a folder; each key once.
pub fn codes_by_key(folder: &Path, key: &str) -> BTreeMap<String, Vec<u32>> {
    let mut found = BTreeMap::new();
    for batch in parts(folder).iter().flat_map(|path| batches(path)) {
        let keys = batch.column_by_name(key).expect("key").as_string::<i32>();
        let codes = batch.column_by_name("codes").expect("codes").as_fixed_size_list();
        assert_eq!(codes.null_count(), 0);
        let values = codes.values().as_primitive::<UInt32Type>().values();
        let levels = codes.value_length() as usize;
        for (i, key) in keys.iter().enumerate() {
            let codes = values[i * levels..(i + 1) * levels].to_vec();
            assert!(found.insert(key.expect("key").to_owned(), codes).is_none(), "{key:?} is there twice");
        }
    }
    found
}

/// The same by the library alone.
pub fn expected(codec: &Codec, rows: &Matrix, keys: &[String]) -> BTreeMap<String, Vec<u32>> {
    let codes = codec.encode(rows).expect("encoded");
    keys.iter().cloned().zip(codes.iter().map(<[u32]>::to_vec)).collect()
}

/// The text of an error.
pub fn error<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

/// Everything in a folder, with its bytes.
pub fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.expect("entry");
        if entry.path().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.insert(name, std::fs::read(entry.path()).expect("read"));
        }
    }
    found
}

pub fn schema_names(path: &Path) -> Vec<String> {
    let schema: Arc<Schema> = batches(path)[0].schema();
    schema.fields().iter().map(|field| field.name().clone()).collect()
}
