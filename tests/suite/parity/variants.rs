//! Every kernel that computes `assign` on a GPU.

use super::*;
use sememe::compute::gpu::kernel::TILES;
use sememe::compute::gpu::{AssignKernel, Gpu, Options};
use sememe::compute::{AssignmentKernels as _, Storage as _};
use sememe::{Codec, Device, EncodeOptions, Matrix, RqKMeans};
use std::collections::BTreeMap;

/// All tiles find the same codes, and the same bits in every score.
#[test]
fn every_tile_gives_the_same_scores() {
    let Some(gpu) = small_chunks() else { return };
    let (n, k, d) = (260, 140, 40);
    let (data, words) = (rows("tiles", n, d), codewords("tile words", k, d));
    let Some(gpu) = crate::support::open(gpu.options().clone()) else { return };
    let resident = upload(&gpu, &data, n, d);
    let codebook = gpu.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
    let mut first: Option<(HostPartition, u64)> = None;
    let names = TILES.iter().flat_map(|t| [t.name.to_owned(), format!("{} subgroup", t.name)]);
    for name in names {
        gpu.set_tiles(BTreeMap::from([("assign d64 k256".to_owned(), name.clone())])).expect("tiles");
        let mut partition = gpu.partition(n).expect("partition");
        let sum = gpu.assign(&resident, &codebook, &mut partition).expect("assign").score_sum;
        let found = (gpu.read_partition(&partition).expect("read"), sum.to_bits());
        check_partition(&gpu, &found.0, &data, &words, d, Metric::SquaredL2);
        assert_eq!(&found, first.get_or_insert_with(|| found.clone()), "{name}");
    }
    assert_eq!(gpu.tiles().len(), 1);
    assert!(gpu.set_tiles(BTreeMap::from([("x".to_owned(), "7x7x7".to_owned())])).is_err());
}

/// A kernel of `assign` that was asked for by name, through every case that computes it. Skipped where the adapter does not
/// name the feature; where it does, opening must succeed.
fn run_assign_kernel(assign: AssignKernel, feature: &str) {
    let Some(plain) = plain() else { return };
    let options = Options { chunk_bytes: 96 << 10, checked: true, poison: true, assign, ..Options::default() };
    let has = |a: &sememe::compute::gpu::AdapterSummary| a.info == plain.info() && a.features.contains(&feature);
    if !feature.is_empty() && !Gpu::adapters().iter().any(has) {
        println!("skipped {assign:?}: {} has no {feature}", plain.info().name);
        assert!(Gpu::with_options(Options { software: true, ..options }).is_err(), "{assign:?} without {feature}");
        return;
    }
    let Some(gpu) = crate::support::open(options) else { return };
    assert_eq!(gpu.options().assign, assign);
    case_assign(&gpu);
    case_assign_ties(&gpu);
    case_assign_perturbed(&gpu);
    case_dot_error_is_kept(&gpu);
    case_zero_codeword_under_cosine(&gpu);
    case_mixed_magnitudes(&gpu);
    case_levels(&gpu);
    case_determinism(&gpu);
    // Whatever computes the scores, its bound is what certifies codes: they are the reference's.
    let (n, d) = (700, 24);
    let matrix = Matrix::from_vec(n, d, rows("codes by kernel", n, d)).expect("matrix");
    let config = RqKMeans { codebook_sizes: vec![40, 20, 8], iterations: 5, ..RqKMeans::default() };
    let codec = Codec::train(&matrix, &config, &Device::cpu(), &()).expect("train");
    let device = Device::Gpu(std::sync::Arc::new(gpu));
    let encoded = codec.encoder(&device, &EncodeOptions::default()).and_then(|e| e.encode(&matrix)).expect("encode");
    assert_eq!(encoded.codes, codec.encode_reference(&matrix, 1).expect("reference"));
    assert!(encoded.rechecked * 10 < n as u64, "{} of {n} rows were rechecked", encoded.rechecked);
    println!("{assign:?}: {} of {n} rows were rechecked", encoded.rechecked);
}

#[test]
fn assign_by_tiles_alone() {
    run_assign_kernel(AssignKernel::Tiles, "");
}

#[test]
fn assign_by_subgroups() {
    run_assign_kernel(AssignKernel::Subgroup, "subgroup");
}

#[test]
fn assign_by_split_f16() {
    run_assign_kernel(AssignKernel::SplitF16, "shader-f16");
}

#[test]
fn assign_by_cooperative_matrices() {
    run_assign_kernel(AssignKernel::Matrix, "cooperative-matrix");
}
