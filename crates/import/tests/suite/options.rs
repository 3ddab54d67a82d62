//! What is asked for: which arrays, which system, and what means nothing.

use crate::support::{codec, codes, fixture, imported, ties};
use sememe::Matrix;
use sememe::io::{ArrayValues, NamedArray, write_arrays};
use sememe_import::{ImportOptions, Origin, import, recognise};
use sememe_testkit::files::error;

fn options(tensor: &str) -> ImportOptions {
    ImportOptions { tensor: Some(tensor.into()), ..ImportOptions::default() }
}

/// A file of arrays by name, shape and first value.
fn file(folder: &tempfile::TempDir, name: &str, arrays: &[(&str, &[usize])]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    let values: Vec<Vec<f32>> =
        arrays.iter().map(|(_, shape)| (0..shape.iter().product::<usize>()).map(|i| i as f32).collect()).collect();
    let named: Vec<NamedArray<'_>> = arrays
        .iter()
        .zip(&values)
        .map(|((name, shape), values)| NamedArray::new(*name, shape, ArrayValues::F32(values)))
        .collect();
    write_arrays(&path, &named).expect("written");
    path
}

#[test]
fn plain_arrays_are_levels_whatever_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.npz", "a.safetensors"] {
        let path = file(&folder, name, &[("q.1.w", &[3, 2]), ("q.0.w", &[4, 2]), ("bias", &[4])]);
        assert_eq!(recognise(&path).expect(name), Origin::Arrays);
        let codec = codec(&import(&path, &ImportOptions::default()).expect(name));
        assert_eq!((codec.codebook_sizes(), codec.dims()), (vec![4, 3], 2));
        let starred = import(&path, &options("q.*.w")).expect(name);
        assert_eq!(crate::support::codec(&starred).content_hash(), codec.content_hash());
        let one = import(&path, &options("q.1.w")).expect(name);
        assert_eq!(crate::support::codec(&one).codebook_sizes(), vec![3]);
    }
    let stacked = file(&folder, "b.npy", &[("", &[2, 5, 3])]);
    let codec = codec(&import(&stacked, &ImportOptions::default()).expect("stacked"));
    assert_eq!((codec.codebook_sizes(), codec.dims()), (vec![5, 5], 3));
    let asked = ImportOptions { normalize_residuals: Some(true), ..ImportOptions::default() };
    assert!(crate::support::codec(&import(&stacked, &asked).expect("normalised")).manifest().normalize_residuals);
}

#[test]
fn what_could_be_several_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let two = file(&folder, "two.npz", &[("a.0", &[4, 2]), ("b.0", &[4, 2])]);
    let text = error(import(&two, &ImportOptions::default()));
    assert!(text.contains("2 families") && text.contains("`a.0` [4, 2]"), "{text}");
    let gap = file(&folder, "gap.npz", &[("a.0", &[4, 2]), ("a.2", &[4, 2])]);
    assert!(error(import(&gap, &options("a.*"))).contains("from 0 to 2"));
    let none = file(&folder, "none.npz", &[("bias", &[4])]);
    assert!(error(import(&none, &ImportOptions::default())).contains("`bias` [4]"));
    let widths = file(&folder, "widths.npz", &[("a.0", &[4, 2]), ("a.1", &[4, 3])]);
    assert!(error(import(&widths, &ImportOptions::default())).contains("have the same"));
    let models = file(&folder, "m.safetensors", &[("x.centroids.0", &[4, 2]), ("y.centroids.0", &[5, 2])]);
    let text = error(import(&models, &ImportOptions::default()));
    assert!(text.contains("2 models") && text.contains("`x`, `y`"), "{text}");
    assert_eq!(codec(&import(&models, &options("y")).expect("named")).codebook_sizes(), vec![5]);
    assert!(error(import(&models, &options("z"))).contains("`tensor`"));
}

#[test]
fn a_part_of_a_larger_model_is_named_by_what_stands_before_it() {
    let found = imported("vector-quantize-pytorch/sizes.pt", &options("tokenizer.vq"));
    assert_eq!(ties("sizes", &codec(&found), &codes("vector-quantize-pytorch/sizes.codes.npy")), 0);
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let none = ImportOptions::default;
    let row = || Matrix::from_vec(1, 16, vec![1.0; 16]).expect("a row");
    let refused = |name: &str, options: &ImportOptions, field: &str| {
        let text = error(import(fixture(name), options));
        assert!(text.contains(&format!("`{field}`")), "{name}: {text}");
    };
    refused("basil", &options("x"), "tensor");
    refused("lc-rec/items.index.json", &options("x"), "tensor");
    refused("openonerec/model.pt", &ImportOptions { normalize_residuals: Some(true), ..none() }, "normalize_residuals");
    refused("faiss/opq.npz", &ImportOptions { beam: Some(2), ..none() }, "beam");
    refused("grid/normalized.ckpt", &ImportOptions { beam: Some(2), ..none() }, "beam");
    refused("grid/plain.ckpt", &ImportOptions { beam: Some(65), ..none() }, "beam");
    refused("grid/plain.ckpt", &ImportOptions { rows: row(), ..none() }, "rows");
    refused("vector-quantize-pytorch/plain.pt", &ImportOptions { rows: row(), ..none() }, "rows");
    let wrong = Matrix::from_vec(1, 3, vec![1.0; 3]).expect("a row");
    let text = error(import(fixture("lc-rec/model.pth"), &ImportOptions { rows: wrong, ..none() }));
    assert!(text.contains("expected d = 16, got 3"), "{text}");
}

#[test]
fn another_system_than_it_is_is_refused_by_what_is_missing() {
    for (name, from) in [
        ("faiss/rq.npz", Origin::Grid),
        ("grid/plain.ckpt", Origin::LcRec),
        ("openonerec/model.pt", Origin::AniMind),
        ("semantic-id/kmeans/codebooks.npz", Origin::Basil),
        ("semantic-id/kmeans/codebooks.npz", Origin::Numpy),
        ("semantic-id/kmeans", Origin::Basil),
    ] {
        let text = error(import(fixture(name), &ImportOptions { from: Some(from), ..ImportOptions::default() }));
        assert!(text.contains("hold") || text.contains("levels") || text.contains("folder without"), "{name}: {text}");
    }
}
