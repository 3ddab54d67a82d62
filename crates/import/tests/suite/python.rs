//! The other systems load what was exported and give the same codes: needs a Python with them (`SEMEME_PYTHON`).

use crate::support::{fixture, rows};
use sememe::codec::Activation;
use sememe::fit::ProductQuantization;
use sememe::fit::Rotation;
use sememe::fit::rqvae::RqVae;
use sememe::io::CodesWriter;
use sememe::{Codec, Device, RqKMeans};
use sememe_import::{ExportFormat, export};
use sememe_testkit::python_with;
use std::path::Path;

/// Runs a check over a file of rows, an export, and the codes that it has to give.
fn check(modules: &[&str], kind: &str, codec: &Codec, format: ExportFormat) {
    let Some(mut python) = python_with(modules) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (out, codes) = (folder.path().join(format!("x.{}", format.extension())), folder.path().join("codes.npy"));
    export(codec, format, &out).expect("exported");
    let found = codec.encode(&rows()).expect("codes");
    let mut writer =
        CodesWriter::create(&codes, found.rows(), found.levels(), &codec.codebook_sizes()).expect("a file");
    writer.write(found.as_slice()).expect("codes");
    writer.finish().expect("codes");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/exports.py");
    let run = python.arg(script).arg(kind).arg(fixture("rows.npy")).arg(&out).arg(&codes).output().expect("a Python");
    let (said, wrong) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{kind}: {said}{wrong}");
    println!("{kind}: {said}");
}

fn k_means() -> Codec {
    let config = RqKMeans { codebook_sizes: vec![8; 3], ..RqKMeans::default() };
    Codec::train(&rows(), &config, &Device::cpu(), &()).expect("trained")
}

#[test]
fn faiss_loads_what_was_exported() {
    check(&["faiss", "numpy"], "faiss-rq", &k_means(), ExportFormat::Faiss);
    let config = ProductQuantization { codebook_sizes: vec![8; 4], ..ProductQuantization::default() };
    let codec = Codec::train_product(&rows(), &config, &Device::cpu(), &()).expect("trained");
    check(&["faiss", "numpy"], "faiss-pq", &codec, ExportFormat::Faiss);
    let config = ProductQuantization { rotation: Some(Rotation::default()), ..config };
    let codec = Codec::train_product(&rows(), &config, &Device::cpu(), &()).expect("trained");
    check(&["faiss", "numpy"], "faiss-opq", &codec, ExportFormat::Faiss);
}

#[test]
fn torch_loads_what_was_exported() {
    let modules = ["vector_quantize_pytorch", "safetensors", "torch", "numpy"];
    check(&modules, "vector-quantize-pytorch", &k_means(), ExportFormat::TorchSafetensors);
    let config = RqVae {
        hidden: vec![12],
        activation: Activation::Relu,
        code_dims: 6,
        codebook_sizes: vec![8; 3],
        batch_rows: 40,
        epochs: 3,
        ..RqVae::default()
    };
    let codec = Codec::train_rqvae(&rows(), &config, &Device::cpu(), &()).expect("trained");
    check(&["semantic_id", "safetensors", "torch", "numpy"], "lc-rec", &codec, ExportFormat::TorchSafetensors);
}
