//! Exact codes on real catalogues: every device against the CPU, and the CPU against the reference.
//!
//! The shipped catalogue always runs. The larger ones live beside the repository where it is developed; without them
//! their tests say that they are skipped.

use crate::codec::devices;
use sememe::{Codec, Device, EncodeOptions, Matrix, Preprocess, RqKMeans, io};
use std::path::{Path, PathBuf};

pub fn load(path: &Path) -> Matrix {
    let source = io::open(path, &io::OpenOptions::default()).unwrap();
    let mut rows = Matrix::zeros(source.rows(), source.dims()).unwrap();
    source.read_rows(0, rows.as_mut_slice()).unwrap();
    rows
}

pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.exists() {
        println!("skipped: no ../shared/data/{name}");
        return None;
    }
    Some(path)
}

/// No row may get another code on another device; returns how many rows the reference had to decide.
fn same_codes(rows: &Matrix, config: &RqKMeans, beam: Option<usize>) {
    let codec = Codec::train(rows, config, &Device::cpu(), &()).unwrap();
    let options = EncodeOptions { beam, ..EncodeOptions::default() };
    let mut first: Option<sememe::Codes> = None;
    for device in devices() {
        let encoder = codec.encoder(&device, &options).unwrap();
        let found = encoder.encode(rows).unwrap();
        assert!(!encoder.fell_back(), "{device:?} failed and the CPU took over");
        println!("{:?}: {} of {} rows decided by the reference", device.info().api, found.rechecked, rows.rows());
        assert!(found.rechecked * 4 < rows.rows() as u64, "the bound is too loose to be of use: {}", found.rechecked);
        let base = first.get_or_insert_with(|| found.codes.clone());
        let differing = base.iter().zip(found.codes.iter()).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{differing} of {} rows on {device:?}", rows.rows());
    }
    // The reference is slow: every 16th row.
    let base = first.unwrap();
    let (mut sample, mut expected) = (Vec::new(), Vec::new());
    for i in (0..rows.rows()).step_by(16) {
        sample.extend_from_slice(rows.row(i));
        expected.extend_from_slice(base.row(i));
    }
    let sample = Matrix::from_vec(sample.len() / rows.dims(), rows.dims(), sample).unwrap();
    let reference = codec.encode_reference(&sample, encoder_beam(&codec, beam)).unwrap();
    assert_eq!(reference.as_slice(), expected);
}

fn encoder_beam(codec: &Codec, beam: Option<usize>) -> usize {
    beam.unwrap_or(codec.manifest().beam)
}

fn quick() -> RqKMeans {
    RqKMeans { iterations: 5, ..RqKMeans::default() }
}

#[test]
fn the_shipped_catalogue() {
    let rows = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/packages.npy"));
    same_codes(&rows, &quick(), None);
    same_codes(&rows, &quick(), Some(4));
    same_codes(&rows, &RqKMeans { preprocess: Preprocess::basil(), ..quick() }, None);
    same_codes(&rows, &RqKMeans { normalize_residuals: true, ..quick() }, None);
}

#[test]
fn beauty() {
    if let Some(path) = shared("beauty/embeddings.npy") {
        same_codes(&load(&path), &quick(), None);
    }
}

#[test]
fn debian() {
    if let Some(path) = shared("debian/embeddings_f16.npy") {
        same_codes(&load(&path), &quick(), None);
    }
}
