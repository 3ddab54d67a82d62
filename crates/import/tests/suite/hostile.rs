//! Files that lie, that would run something, or that are nothing that is read: refused by name, and nothing is run.

use crate::support::fixture;
use sememe::io::{ArrayValues, NamedArray, write_arrays};
use sememe_import::{ImportOptions, import};
use sememe_testkit::files::{error, npy_v1};
use std::fs;
use std::path::Path;

fn refused(path: impl AsRef<Path>, parts: &[&str]) {
    let text = error(import(path.as_ref(), &ImportOptions::default()));
    for part in parts {
        assert!(text.contains(part), "{}: {part:?} is not in {text:?}", path.as_ref().display());
    }
    assert!(!text.ends_with('.'), "{text}");
}

#[test]
fn a_pickle_that_is_more_than_tensors_is_refused_by_name_and_not_run() {
    let here = std::env::current_dir().expect("a folder");
    for name in ["hostile/evil.pth", "hostile/evil_legacy.pt"] {
        refused(fixture(name), &["`posix.system`", "nothing was run", "torch.save(model.state_dict()"]);
    }
    assert!(!here.join("PWNED").exists() && !fixture("hostile/PWNED").exists());
}

#[test]
fn lies_about_sizes_are_refused_before_memory_is_taken() {
    // 2³¹ values of a storage that has four; a pickle that doubles itself twenty times; four bytes that stand for four gigabytes.
    refused(fixture("hostile/lie.pt"), &["lie.pt"]);
    refused(fixture("hostile/bomb.pt"), &["bomb.pt"]);
    refused(fixture("hostile/expanded.pt"), &["4294967296 bytes", "contiguous"]);
    // 71 MB of zeros in 70 KB.
    refused(fixture("hostile/zeros.npz"), &["max_inflation_ratio"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("claims.npy");
    for shape in ["(3, 1000000, 1000000)", "(18446744073709551615, 8, 8)", "(4294967296, 4294967296, 4294967296)"] {
        fs::write(&path, npy_v1(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n")))
            .expect("a file");
        refused(&path, &["claims.npy"]);
    }
    let many = folder.path().join("levels.npy");
    write_arrays(&many, &[NamedArray::new("", &[65, 1, 1], ArrayValues::F32(&[0.0; 65]))]).expect("written");
    refused(&many, &["65 levels, expected 1 to 64"]);
}

#[test]
fn values_that_are_no_numbers_are_refused_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nan.npz");
    write_arrays(&path, &[NamedArray::new("codebook_0", &[2, 2], ArrayValues::F32(&[0.0, 1.0, f32::NAN, 2.0]))])
        .expect("written");
    refused(&path, &["`codebook_0` holds NaN at value 2"]);
}

#[test]
fn what_only_running_gives_back_is_refused_with_the_way_out() {
    for name in ["hostile/kmeans.joblib", "hostile/kmeans.pkl"] {
        refused(fixture(name), &["scikit-learn", "np.savez(\"books.npz\", codebook_0=model.cluster_centers_)"]);
    }
}

#[test]
fn what_a_codec_cannot_express_is_refused_by_name() {
    refused(fixture("vector-quantize-pytorch/implicit.pt"), &["implicit neural codebooks", "`mlps."]);
    refused(fixture("grid/merged_predictions_tensor.pt"), &["one tensor without a name", "numpy.save"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.faiss");
    fs::write(&path, b"IxRQ").expect("a file");
    refused(&path, &["vector_to_array(rq.codebooks)"]);
    let path = folder.path().join("grid.safetensors");
    let names = ["encoder.0.weight", "quantization_layer_list.0.centroids"];
    let arrays = names.map(|name| NamedArray::new(name, &[1, 1], ArrayValues::F32(&[0.5])));
    write_arrays(&path, &arrays).expect("written");
    refused(&path, &["`encoder.0.weight`", "GRID's configuration"]);
}

#[test]
fn nothing_and_half_of_something_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    refused(folder.path(), &["engine_meta.json", "name the file itself"]);
    refused(folder.path().join("none.pt"), &["cannot open"]);
    for name in [
        "lc-rec/model.pth",
        "lc-rec/legacy.pt",
        "basil/basil.npz",
        "faiss/pq.npy",
        "semantic-id/engine/resolver/collisions.db",
    ] {
        let whole = fs::read(fixture(name)).expect(name);
        let path = folder.path().join(Path::new(name).file_name().expect("a name"));
        for cut in [0, 1, 7, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).expect("a file");
            refused(&path, &[]);
        }
    }
    let already = folder.path().join("codec.safetensors");
    let found = import(fixture("openonerec/model.pt"), &ImportOptions::default()).expect("a codec");
    crate::support::codec(&found).save(&already).expect("saved");
    refused(&already, &["is a codec of Sememe already"]);
}

#[test]
fn settings_that_disagree_with_the_arrays_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |name: &str, as_name: &str| fs::copy(fixture(name), folder.path().join(as_name)).expect(name);
    copy("basil/basil.npz", "basil.npz");
    fs::write(folder.path().join("metadata.json"), "{\"levels\": 4}").expect("a file");
    refused(folder.path(), &["`levels` = 4, but the arrays have 3"]);
    fs::write(folder.path().join("metadata.json"), "{\"levels\": \"x\"}").expect("a file");
    refused(folder.path(), &["`levels` is \"x\""]);
    fs::write(folder.path().join("metadata.json"), "[1]").expect("a file");
    refused(folder.path(), &["no object"]);
}

#[test]
fn a_store_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("encoder")).expect("a folder");
    fs::create_dir_all(at("resolver")).expect("a folder");
    for name in ["engine_meta.json", "encoder/metadata.json", "encoder/codebooks.npz"] {
        fs::copy(fixture("semantic-id/engine").join(name), at(name)).expect(name);
    }
    refused(folder.path(), &["collisions.db"]);
    fs::write(at("resolver/collisions.db"), "not a database, but of some length, as such files are").expect("a file");
    refused(folder.path(), &["no store of semantic-id"]);
    fs::write(at("engine_meta.json"), "{\"encoder_type\": \"Other\"}").expect("a file");
    refused(folder.path(), &["`encoder_type` is Other"]);
}
