//! Codecs that are trained again: renaming that changes no group, matching that is the best there is, starts that keep codes,
//! and what is told of the churn.

use proptest::prelude::*;
use sememe::eval::measure_churn;
use sememe::fit::rqvae::RqVae;
use sememe::ids::{align, align_without_rows, match_codes};
use sememe::{Codec, Codes, Device, Error, Matrix, Metric, Preprocess, RqKMeans, TrainedBy, io, rng};

fn packages(rows: usize) -> Matrix {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let source = io::open(path, &io::OpenOptions::default()).expect("the catalogue");
    let mut out = Matrix::zeros(rows, source.dims()).expect("a matrix");
    source.read_rows(0, out.as_mut_slice()).expect("rows");
    out
}

fn config(sizes: &[usize], seed: u64) -> RqKMeans {
    RqKMeans { codebook_sizes: sizes.to_vec(), iterations: 8, seed, ..RqKMeans::default() }
}

fn train(rows: &Matrix, config: &RqKMeans) -> Codec {
    Codec::train(rows, config, &Device::cpu(), &()).expect("a codec")
}

fn shuffled(size: usize, seed: u64) -> Vec<u32> {
    let mut stream = rng::stream(seed, "shuffle", 0);
    let mut out: Vec<u32> = (0..size as u32).collect();
    (1..size).rev().for_each(|i| out.swap(i, stream.below(i as u64 + 1) as usize));
    out
}

fn renamed(codes: &Codes, permutations: &[Vec<u32>]) -> Codes {
    let flat = codes.iter().flat_map(|id| id.iter().zip(permutations).map(|(c, p)| p[*c as usize]).collect::<Vec<_>>());
    Codes::from_vec(codes.rows(), codes.levels(), flat.collect()).expect("codes")
}

/// Renaming changes names only: codes, reconstructions bit by bit, files; and aligning undoes it, with rows and without.
fn renames(codec: &Codec, rows: &Matrix, permutations: &[Vec<u32>]) {
    let (codes, moved) = (codec.encode(rows).unwrap(), codec.permute(permutations, None).unwrap());
    assert!(permutations.iter().any(|p| !p.is_sorted()), "uninformative");
    assert_eq!(moved.encode(rows).unwrap(), renamed(&codes, permutations));
    assert_eq!(moved.decode(&renamed(&codes, permutations)).unwrap(), codec.decode(&codes).unwrap());
    assert_ne!(moved.content_hash(), codec.content_hash());
    let back = Codec::from_bytes(&moved.to_bytes().unwrap()).unwrap();
    assert_eq!((back.content_hash(), back.codebook(0)), (moved.content_hash(), moved.codebook(0)));

    let aligned = align(&moved, codec, &moved.encode(rows).unwrap(), &codes).unwrap();
    assert_eq!(aligned.codec.manifest().aligned_to.as_deref(), Some(codec.content_hash()));
    assert_eq!(aligned.codec.encode(rows).unwrap(), codes);
    assert_eq!(measure_churn(&codes, &aligned.codec.encode(rows).unwrap()).unwrap().changed_ids, 0);
    if codec.manifest().encoder.is_some() {
        let error = align_without_rows(&moved, codec).unwrap_err().to_string();
        assert!(error.contains("by rows only"), "{error}");
        return;
    }
    let blind = align_without_rows(&moved, codec).unwrap();
    let kept = measure_churn(&codes, &blind.codec.encode(rows).unwrap()).unwrap();
    assert!(kept.changed() < 0.02, "{kept:?}");
}

#[test]
fn renaming_changes_nothing_but_names() {
    let rows = packages(400);
    let orders = |sizes: &[usize]| sizes.iter().zip(1..).map(|(k, seed)| shuffled(*k, seed)).collect::<Vec<_>>();
    for config in [
        config(&[16, 8, 12], 3),
        RqKMeans { preprocess: Preprocess::basil(), ..config(&[16, 8], 3) },
        RqKMeans { metric: Metric::Cosine, normalize_residuals: true, ..config(&[16, 8], 3) },
        RqKMeans { refine: Some(sememe::Refine { rounds: 2, beam: 4 }), ..config(&[16, 8], 3) },
    ] {
        renames(&train(&rows, &config), &rows, &orders(&config.codebook_sizes));
    }
}

#[test]
fn prices_go_with_their_codewords() {
    let rows = packages(600);
    let balance = Some(sememe::Balance::sinkhorn());
    let codec = train(&rows, &RqKMeans { balance, ..config(&[8, 6], 3) });
    assert_eq!(codec.manifest().priced_levels, [0, 1]);
    renames(&codec, &rows, &[shuffled(8, 11), shuffled(6, 12)]);
}

#[test]
fn a_shared_codebook_has_one_renaming() {
    let rows = packages(400);
    let mut settings = RqVae::preset("animind").unwrap();
    settings.codebook_sizes = vec![24; 3];
    (settings.hidden, settings.code_dims, settings.epochs, settings.batch_rows) = (vec![32], 16, 2, 64);
    let codec = Codec::train_rqvae(&rows, &settings, &Device::cpu(), &()).unwrap();
    assert!(codec.manifest().shared_codebook && codec.manifest().encoder.is_some());
    let order = shuffled(24, 5);
    renames(&codec, &rows, &[order.clone(), order.clone(), order.clone()]);
    let error = codec.permute(&[order.clone(), order, shuffled(24, 6)], None).unwrap_err().to_string();
    assert!(error.contains("levels 0 and 2 share their codebook"), "{error}");
}

#[test]
fn what_is_no_renaming_is_refused() {
    let codec = train(&packages(100), &config(&[4, 3], 0));
    let refused = |orders: &[Vec<u32>], part: &str| {
        let error = codec.permute(orders, None).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&[vec![0, 1, 2, 3]], "expected levels = 2, got 1");
    refused(&[vec![0, 1, 2, 3], vec![0, 1]], "expected codewords = 3, got 2 in `permutation 1`");
    refused(&[vec![0, 1, 2, 2], vec![0, 1, 2]], "permutation 0 takes codeword 3 to 2");
    refused(&[vec![0, 1, 2, 3], vec![0, 3, 2]], "permutation 1 takes codeword 1 to 3");
}

#[test]
fn equal_codewords_keep_their_order() {
    // Three rows for four codewords: two of them are equal, and the lower one has the row.
    let rows = Matrix::from_vec(4, 1, vec![0.0, 4.0, 9.0, 9.0]).unwrap();
    let mut fitted =
        config(&[4], 0).fit(&Matrix::from_vec(4, 1, vec![0.0, 4.0, 9.0, 12.0]).unwrap(), &Device::cpu(), &()).unwrap();
    let book = |values: [f32; 4]| Matrix::from_vec(4, 1, values.to_vec()).unwrap();
    let mut made = |values| {
        fitted.quantizer.codebooks[0] = book(values);
        Codec::from_fitted(fitted.clone(), TrainedBy::RqKMeans(&RqKMeans::default())).unwrap()
    };
    let (old, new) = (made([0.0, 9.0, 4.0, 9.0]), made([9.0, 0.0, 9.0, 4.0]));
    let aligned = align(&new, &old, &new.encode(&rows).unwrap(), &old.encode(&rows).unwrap()).unwrap();
    assert_eq!(aligned.codec.encode(&rows).unwrap(), old.encode(&rows).unwrap());
    assert!(aligned.permutations[0][0] < aligned.permutations[0][2]);
}

#[test]
fn codecs_that_do_not_match_say_so() {
    let rows = packages(60);
    let (a, b) = (train(&rows, &config(&[4, 3], 0)), train(&rows, &config(&[6], 0)));
    // Another number of levels, and of codewords: what can be matched is.
    let codes = (a.encode(&rows).unwrap(), b.encode(&rows).unwrap());
    let more = align(&a, &b, &codes.0, &codes.1).unwrap();
    assert_eq!(more.permutations[1], [0, 1, 2]);
    assert_eq!(align(&b, &a, &codes.1, &codes.0).unwrap().permutations.len(), 1);
    assert!(matches!(align(&a, &b, &codes.1, &codes.1), Err(Error::Shape { .. })));
    let few = Codes::zeros(3, 2);
    assert!(matches!(align(&a, &a, &codes.0, &few), Err(Error::Shape { .. })));
    let error =
        match_codes(&Codes::from_vec(1, 1, vec![4]).unwrap(), &Codes::zeros(1, 1), &[4]).unwrap_err().to_string();
    assert_eq!(error, "row 0 has code 4 at level 0, past the 4 codewords of its codebook");
    let error = match_codes(&Codes::zeros(1, 1), &Codes::zeros(1, 1), &[8193]).unwrap_err().to_string();
    assert!(error.contains("at most 8192"), "{error}");
    assert_eq!(match_codes(&Codes::zeros(0, 1), &Codes::zeros(0, 1), &[3]).unwrap(), [[0, 1, 2]]);
}

/// Rows that keep their code under a renaming, of those that `agrees` names.
fn kept(new: &Codes, old: &Codes, level: usize, order: &[u32], agrees: &[bool]) -> usize {
    (0..new.rows()).filter(|i| agrees[*i] && order[new.row(*i)[level] as usize] == old.row(*i)[level]).count()
}

fn every_order(size: u32) -> Vec<Vec<u32>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let longer = |order: Vec<u32>| {
        (0..size).map(move |at| {
            let mut next = order.clone();
            next.insert(at as usize, size - 1);
            next
        })
    };
    every_order(size - 1).into_iter().flat_map(longer).collect()
}

fn tables() -> impl Strategy<Value = (Codes, Codes)> {
    (1usize..40, 1usize..4).prop_flat_map(|(rows, levels)| {
        let table = move || {
            prop::collection::vec(0u32..4, rows * levels)
                .prop_map(move |flat| Codes::from_vec(rows, levels, flat).expect("codes"))
        };
        (table(), table())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matching_is_the_best_of_all_renamings((new, old) in tables()) {
        let found = match_codes(&new, &old, &vec![4; new.levels()]).unwrap();
        let mut agrees = vec![true; new.rows()];
        for (level, order) in found.iter().enumerate() {
            let all = vec![true; new.rows()];
            let worth = |order: &[u32]| (kept(&new, &old, level, order, &agrees), kept(&new, &old, level, order, &all));
            let best = every_order(4).iter().map(|order| worth(order)).max().unwrap();
            prop_assert_eq!(worth(order), best, "level {}", level);
            for (i, agrees) in agrees.iter_mut().enumerate() {
                *agrees &= order[new.row(i)[level] as usize] == old.row(i)[level];
            }
        }
    }

    #[test]
    fn churn_is_what_counting_gives((new, old) in tables()) {
        let churn = measure_churn(&old, &new).unwrap();
        let n = new.rows();
        let differ = |i: usize, m: usize| old.row(i)[..m] != new.row(i)[..m];
        prop_assert_eq!(churn.changed_ids, (0..n).filter(|i| differ(*i, new.levels())).count());
        for (level, depth) in churn.levels.iter().enumerate() {
            let count = |f: &dyn Fn(usize) -> bool| (0..n).filter(|i| f(*i)).count() as f64;
            prop_assert_eq!(depth.changed, count(&|i| differ(i, level + 1)) / n as f64);
            prop_assert_eq!(depth.code_changed, count(&|i| old.row(i)[level] != new.row(i)[level]) / n as f64);
            let stood = count(&|i| !differ(i, level));
            let here = count(&|i| !differ(i, level) && differ(i, level + 1));
            prop_assert_eq!(depth.changed_here, if stood > 0.0 { here / stood } else { 0.0 });
            let together = |codes: &Codes, i: usize, j: usize| codes.row(i)[..=level] == codes.row(j)[..=level];
            let pairs: Vec<(usize, usize)> = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).collect();
            let share = |a: &Codes, b: &Codes| {
                let of = pairs.iter().filter(|(i, j)| together(a, *i, *j)).count();
                let both = pairs.iter().filter(|(i, j)| together(a, *i, *j) && together(b, *i, *j)).count();
                if of > 0 { both as f64 / of as f64 } else { 1.0 }
            };
            prop_assert_eq!(depth.kept_together, share(&old, &new));
            prop_assert_eq!(depth.together_before, share(&new, &old));
        }
    }
}

#[test]
fn churn_counts_ids_that_grew() {
    let (short, long) = (Codes::zeros(3, 1), Codes::zeros(3, 2));
    let churn = measure_churn(&short, &long).unwrap();
    assert_eq!((churn.changed_ids, churn.levels.len(), churn.levels[0].changed), (3, 1, 0.0));
    assert!(matches!(measure_churn(&short, &Codes::zeros(2, 1)), Err(Error::Shape { .. })));
    assert!(measure_churn(&Codes::zeros(0, 1), &Codes::zeros(0, 1)).unwrap_err().to_string().contains("0 rows"));
}

#[test]
fn a_catalogue_that_grows_keeps_most_ids() {
    let all = packages(1500);
    let few = Matrix::from_vec(1200, all.dims(), all.as_slice()[..1200 * all.dims()].to_vec()).unwrap();
    let settings = config(&[32, 16], 0);
    let old = train(&few, &settings);
    let before = old.encode(&few).unwrap();
    let churn = |codec: &Codec| measure_churn(&before, &codec.encode(&few).unwrap()).unwrap();
    let scratch = train(&all, &settings);
    let aligned = align(&scratch, &old, &scratch.encode(&few).unwrap(), &before).unwrap();
    let stay = RqKMeans { exchange: false, ..settings.clone() };
    let warm = Codec::train_from(&old, &all, &stay, &Device::cpu(), &()).unwrap();
    let shares = [&scratch, &aligned.codec, &warm]
        .map(|codec| churn(codec).levels.iter().map(|l| l.changed).collect::<Vec<_>>());
    println!("changed by depth, from scratch, aligned, warm: {shares:?}");
    for level in 0..2 {
        assert!(shares[0][level] > shares[1][level] && shares[1][level] > shares[2][level], "{shares:?}");
    }
    // What aligning renames it leaves as good as it was, and groups as they were.
    let together =
        |codec: &Codec| churn(codec).levels.iter().map(|l| (l.kept_together, l.together_before)).collect::<Vec<_>>();
    assert_eq!(together(&scratch), together(&aligned.codec));
    // The same start on the same rows changes nothing that is settled already; and it is the same every time.
    let again = Codec::train_from(&old, &all, &stay, &Device::cpu(), &()).unwrap();
    assert_eq!(again.to_bytes().unwrap(), warm.to_bytes().unwrap());
}

#[test]
fn a_start_decides_what_is_prepared() {
    let rows = packages(300);
    let steps = RqKMeans { preprocess: Preprocess::basil(), ..config(&[8, 8], 1) };
    let old = train(&rows, &steps);
    let warm = Codec::train_from(&old, &rows, &config(&[8, 8], 1), &Device::cpu(), &()).unwrap();
    assert_eq!(
        (&warm.quantizer().components, &warm.quantizer().scales),
        (&old.quantizer().components, &old.quantizer().scales)
    );
    assert_eq!(warm.manifest().config["preprocess"], old.manifest().config["preprocess"]);
    let refused = |config: RqKMeans, rows: &Matrix, part: &str| {
        let error = Codec::train_from(&old, rows, &config, &Device::cpu(), &()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(config(&[8], 1), &rows, "`codebook_sizes`: expected [8, 8] as in the codec to start from, got [8]");
    refused(RqKMeans { metric: Metric::Cosine, ..config(&[8, 8], 1) }, &rows, "`metric`");
    refused(RqKMeans { normalize_residuals: true, ..config(&[8, 8], 1) }, &rows, "`normalize_residuals`");
    refused(RqKMeans { starts: 2, ..config(&[8, 8], 1) }, &rows, "`starts`");
    refused(config(&[8, 8], 1), &Matrix::zeros(20, 3).unwrap(), "expected d = 384, got 3");
}
