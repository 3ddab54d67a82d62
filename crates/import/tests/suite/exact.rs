//! Codes of an imported codec are those of the system that it came from.

use crate::support::{codec, codes, decodes, fixture, imported, matrix, notes, rows, ties};
use sememe::ids::store::{MemoryStore, Store as _};
use sememe::{Codec, Metric};
use sememe_import::{Content, ImportOptions, NoteKind, Origin, recognise};

/// A fixture, what it is, its codes, and what they decode to.
struct Case {
    file: &'static str,
    origin: Origin,
    codes: &'static str,
    decoded: Option<&'static str>,
    options: ImportOptions,
}

fn case(file: &'static str, origin: Origin, codes: &'static str) -> Case {
    Case { file, origin, codes, decoded: None, options: ImportOptions::default() }
}

fn decoded(case: Case, decoded: &'static str) -> Case {
    Case { decoded: Some(decoded), ..case }
}

fn with(case: Case, options: ImportOptions) -> Case {
    Case { options, ..case }
}

fn cases() -> Vec<Case> {
    use Origin::{
        AniMind, Arrays, Basil, FaissPq, FaissRq, Grid, LcRec, OpenOneRec, SemanticId, SemanticIdEngine,
        VectorQuantizePytorch,
    };
    let from = |from| ImportOptions { from: Some(from), ..ImportOptions::default() };
    let beam = |beam| ImportOptions { beam: Some(beam), ..from(FaissRq) };
    let vqp = VectorQuantizePytorch;
    vec![
        decoded(case("basil", Basil, "basil/codes.npy"), "basil/decoded.npy"),
        case("basil/basil.npz", Basil, "basil/codes.npy"),
        decoded(
            case("semantic-id/kmeans", SemanticId, "semantic-id/kmeans.codes.npy"),
            "semantic-id/kmeans.decoded.npy",
        ),
        case("semantic-id/kmeans/codebooks.npz", SemanticId, "semantic-id/kmeans.codes.npy"),
        case("semantic-id/engine", SemanticIdEngine, "semantic-id/kmeans.codes.npy"),
        decoded(case("semantic-id/rqvae", LcRec, "semantic-id/rqvae.codes.npy"), "semantic-id/rqvae.decoded.npy"),
        decoded(
            case("semantic-id/batch-norm", LcRec, "semantic-id/batch-norm.codes.npy"),
            "semantic-id/batch-norm.decoded.npy",
        ),
        case("semantic-id/plus", LcRec, "semantic-id/plus.codes.npy"),
        decoded(case("lc-rec/model.pth", LcRec, "lc-rec/codes.npy"), "lc-rec/decoded.npy"),
        decoded(case("lc-rec/legacy.pt", LcRec, "lc-rec/codes.npy"), "lc-rec/decoded.npy"),
        case("grid/normalized.ckpt", Grid, "grid/normalized.codes.npy"),
        case("grid/plain.ckpt", Grid, "grid/plain.codes.npy"),
        case("openonerec/model.pt", OpenOneRec, "openonerec/codes.npy"),
        decoded(
            case("vector-quantize-pytorch/plain.pt", vqp, "vector-quantize-pytorch/plain.codes.npy"),
            "vector-quantize-pytorch/plain.decoded.npy",
        ),
        decoded(
            case("vector-quantize-pytorch/sizes.pt", vqp, "vector-quantize-pytorch/sizes.codes.npy"),
            "vector-quantize-pytorch/sizes.decoded.npy",
        ),
        decoded(
            case("vector-quantize-pytorch/projected.pt", vqp, "vector-quantize-pytorch/projected.codes.npy"),
            "vector-quantize-pytorch/projected.decoded.npy",
        ),
        decoded(
            case("vector-quantize-pytorch/cosine.pt", vqp, "vector-quantize-pytorch/cosine.codes.npy"),
            "vector-quantize-pytorch/cosine.decoded.npy",
        ),
        decoded(
            case("vector-quantize-pytorch/shared.pt", vqp, "vector-quantize-pytorch/shared.codes.npy"),
            "vector-quantize-pytorch/shared.decoded.npy",
        ),
        decoded(
            case("vector-quantize-pytorch/heads.pt", vqp, "vector-quantize-pytorch/heads.codes.npy"),
            "vector-quantize-pytorch/heads.decoded.npy",
        ),
        case("faiss/rq.npz", FaissRq, "faiss/rq.beam1.codes.npy"),
        with(case("faiss/rq.npy", FaissRq, "faiss/rq.beam5.codes.npy"), beam(5)),
        case("faiss/rq.npy", Arrays, "faiss/rq.beam1.codes.npy"),
        with(case("faiss/pq.npy", FaissPq, "faiss/pq.codes.npy"), from(FaissPq)),
        case("faiss/opq.npz", FaissPq, "faiss/opq.codes.npy"),
        decoded(case("animind", AniMind, "animind/codes.npy"), "animind/decoded.npy"),
        case("animind/rqvae_best.pt", AniMind, "animind/codes.npy"),
    ]
}

#[test]
fn codes_and_rows_are_those_of_the_system() {
    let mut differing = Vec::new();
    for case in cases() {
        if case.options.from.is_none() {
            assert_eq!(recognise(fixture(case.file)).expect(case.file), case.origin, "{}", case.file);
        }
        let found = imported(case.file, &case.options);
        assert_eq!(found.origin, case.origin, "{}", case.file);
        let (codec, theirs) = (codec(&found), codes(case.codes));
        let count = ties(case.file, &codec, &theirs);
        if count > 0 {
            differing.push((case.file, count));
        }
        if let Some(name) = case.decoded {
            decodes(case.file, &codec, &theirs, &matrix(name));
        }
        // It is a codec like any other: saved, loaded, the same.
        let again = Codec::from_bytes(&codec.to_bytes().expect("saved")).expect("loaded");
        assert_eq!(again.content_hash(), codec.content_hash());
        assert_eq!(codec.manifest().method, "imported");
        assert_eq!(codec.manifest().config["from"], case.origin.name());
    }
    // Of 160 rows each. What differs is a tie, and named above; more than one in a hundred would be another meaning.
    assert!(differing.iter().all(|(_, count)| *count <= 1), "{differing:?}");
    println!("rows that differ by a tie: {differing:?}");
}

#[test]
fn what_a_file_does_not_hold_is_said() {
    let said = |name: &str| notes(&imported(name, &ImportOptions::default()));
    assert!(said("lc-rec/model.pth").contains("ReLU"), "{}", said("lc-rec/model.pth"));
    assert!(said("lc-rec/model.pth").contains("64 random rows"));
    assert!(said("animind").contains("GELU"));
    assert!(said("faiss/rq.npz").contains("max_beam_size"));
    assert!(said("grid/normalized.ckpt").contains("mean norms of residuals"));
    assert!(said("vector-quantize-pytorch/sizes.pt").contains("the model around the quantiser"));
    assert!(said("vector-quantize-pytorch/cosine.pt").contains("cosine"));
    assert!(said("faiss/rq.npy").contains("nearest by squared L2, on rows as they are"));
    assert_eq!(said("basil"), "");
}

#[test]
fn rows_like_those_to_encode_take_the_place_of_random_ones() {
    let options = ImportOptions { rows: rows(), ..ImportOptions::default() };
    let found = imported("lc-rec/model.pth", &options);
    assert!(!notes(&found).contains("random"), "{}", notes(&found));
    let codec = codec(&found);
    assert_eq!((codec.probes().rows(), codec.probes().row(0)), (64, rows().row(0)));
    assert_eq!(ties("lc-rec with rows", &codec, &codes("lc-rec/codes.npy")), 0);
}

#[test]
fn what_grid_saved_of_its_residuals_counts() {
    let normalized = codec(&imported("grid/normalized.ckpt", &ImportOptions::default()));
    assert!(normalized.manifest().normalize_residuals && normalized.metric() == Metric::SquaredL2);
    assert!(!codec(&imported("grid/plain.ckpt", &ImportOptions::default())).manifest().normalize_residuals);
    let options = ImportOptions { normalize_residuals: Some(true), ..ImportOptions::default() };
    let asked = imported("grid/plain.ckpt", &options);
    assert!(codec(&asked).manifest().normalize_residuals);
    assert!(asked.notes.iter().any(|note| note.kind == NoteKind::LeftOut && note.text.contains("normalize_residuals")));
}

#[test]
fn an_engines_counters_keep_their_ids_from_others() {
    let found = imported("semantic-id/engine", &ImportOptions::default());
    let counters = found.counters.as_ref().expect("counters");
    // 160 rows, of which 20 were asked for twice.
    assert_eq!(counters.total(), 180);
    assert!(notes(&found).contains("which item has which of the 180 IDs"), "{}", notes(&found));
    let codec = codec(&found);
    let mut store = MemoryStore::new(codec.content_hash(), codec.levels()).expect("a store");
    assert_eq!(counters.reserve(&mut store).expect("reserved"), 180);
    assert_eq!(store.count().expect("a count"), 0);
    let (row, used) = counters.rows().next().expect("codes");
    let given = store.assign(&[("new", row)]).expect("an ID");
    assert_eq!(u64::from(given[0].id.counter), used);
    let refused = counters.reserve(&mut store).expect_err("a store with items").to_string();
    assert!(refused.contains("holds 1 items"), "{refused}");
}

#[test]
fn tables_of_ids_come_with_their_keys() {
    let table = |name: &str, origin: Origin| {
        assert_eq!(recognise(fixture(name)).expect(name), origin);
        let found = imported(name, &ImportOptions::default());
        match found.content {
            Content::Ids(ref table) => (table.clone(), notes(&found)),
            Content::Codec(_) => panic!("{name}: a codec"),
        }
    };
    let (index, said) = table("lc-rec/items.index.json", Origin::Index);
    assert_eq!((index.codes.rows(), index.keys[11].as_str()), (12, "11"));
    assert_eq!(index.codes.row(3), codes("lc-rec/codes.npy").row(3));
    assert!(said.contains("sizes of codebooks"), "{said}");
    for name in ["animind-tokens", "animind-tokens/semantic_ids.jsonl"] {
        let (ids, said) = table(name, Origin::AniMindIds);
        assert_eq!((ids.codes.rows(), ids.keys[0].as_str(), ids.codebook_sizes), (10, "100", vec![8; 3]));
        assert_eq!(ids.codes.row(9), codes("animind/codes.npy").row(9));
        assert_eq!(said, "");
    }
}
