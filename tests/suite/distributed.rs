//! Trainings over rows on many machines: the same bytes however the rows are divided.

use crate::real::{load, shared};
use crate::support::quantiser::normals;
use sememe::distributed::{DistributedRqKMeans, DistributedTrainer, Partial, Round};
use sememe::eval::Reconstruction;
use sememe::fit::rqvae::RqVae;
use sememe::{Balance, Codec, Device, Error, Matrix, MatrixView, Metric, Pca, Preprocess, RqKMeans};

/// `n` rows of `d` values around `groups` centres, with a few that are alike.
fn clustered(n: usize, d: usize, groups: usize) -> Matrix {
    let (centres, noise) = (normals("centres", groups * d, 2.0), normals("noise", n * d, 0.6));
    let mut rows = Matrix::zeros(n, d).unwrap();
    for i in 0..n {
        let group = (i * 7 + i / 13) % groups;
        for c in 0..d {
            rows.row_mut(i)[c] = centres[group * d + c] + if i % 50 == 0 { 0.0 } else { noise[i * d + c] };
        }
    }
    rows
}

/// Parts of `rows`: `count` of about one size, the last one first, and one without rows.
fn parts(rows: &Matrix, count: usize) -> Vec<MatrixView<'_>> {
    let step = rows.rows().div_ceil(count);
    let part = |i: usize| rows.view().slice((i * step).min(rows.rows()), ((i + 1) * step).min(rows.rows()));
    let mut parts: Vec<MatrixView<'_>> = (0..count).rev().map(part).collect();
    parts.push(rows.view().slice(0, 0));
    parts
}

/// What all parts answer, batches of `batch` rows at a time.
fn answer(round: &Round, parts: &[MatrixView<'_>], batch: usize) -> Partial {
    let asked = Round::from_bytes(&round.to_bytes()).unwrap();
    assert_eq!((asked.hash(), asked.dims()), (round.hash(), round.dims()));
    let worker = asked.worker(&Device::cpu()).unwrap();
    let mut whole: Option<Partial> = None;
    for part in parts {
        let mut partial = worker.partial();
        for start in (0..part.rows()).step_by(batch) {
            worker.add(part.slice(start, (start + batch).min(part.rows())), &mut partial).unwrap();
        }
        let back = Partial::from_bytes(&partial.to_bytes().unwrap()).unwrap();
        assert_eq!(back, partial);
        match &mut whole {
            Some(whole) => whole.merge(&back).unwrap(),
            None => whole = Some(back),
        }
    }
    whole.unwrap()
}

/// Trains, saving and loading the state between rounds; returns the codec and how many passes it took.
fn train(config: &DistributedRqKMeans, parts: &[MatrixView<'_>], batch: usize) -> (Codec, usize) {
    let mut trainer = DistributedTrainer::new(config.clone(), parts[0].dims()).unwrap();
    let mut passes = 0;
    while let Some(round) = trainer.round().unwrap() {
        trainer.take(&answer(&round, parts, batch), &Device::cpu(), &()).unwrap();
        let again = DistributedTrainer::from_bytes(&trainer.to_bytes().unwrap()).unwrap();
        assert_eq!(again, trainer);
        trainer = again;
        passes += 1;
    }
    (trainer.codec().unwrap(), passes)
}

fn small(kmeans: RqKMeans) -> DistributedRqKMeans {
    let kmeans = RqKMeans { codebook_sizes: vec![12, 8], iterations: 8, seed: 5, ..kmeans };
    DistributedRqKMeans { kmeans, sample_rows: Some(400) }
}

/// Every kind of codec that it trains.
fn kinds() -> Vec<(&'static str, RqKMeans)> {
    let plain = RqKMeans::default();
    let preprocess = |preprocess| RqKMeans { preprocess, ..RqKMeans::default() };
    vec![
        ("plain", plain.clone()),
        ("cosine", RqKMeans { metric: Metric::Cosine, ..plain.clone() }),
        ("normalised residuals", RqKMeans { normalize_residuals: true, ..plain.clone() }),
        ("balanced", RqKMeans { balance: Some(Balance::sinkhorn()), ..plain.clone() }),
        ("balanced cosine", RqKMeans { balance: Some(Balance::sinkhorn()), metric: Metric::Cosine, ..plain.clone() }),
        (
            "one balanced level",
            RqKMeans { balance: Some(Balance { levels: Some(vec![1]), ..Balance::sinkhorn() }), ..plain.clone() },
        ),
        ("basil", preprocess(Preprocess::basil())),
        ("normalised", preprocess(Preprocess { normalize: true, ..Preprocess::default() })),
        ("scaled", preprocess(Preprocess { scale: true, ..Preprocess::default() })),
        ("pca", preprocess(Preprocess { pca: Some(Pca { keep_variance: 1.0, max_dims: 5 }), ..Preprocess::default() })),
    ]
}

#[test]
fn bytes_do_not_depend_on_how_rows_are_divided() {
    let rows = clustered(1500, 9, 10);
    for (name, kmeans) in kinds() {
        let config = small(kmeans);
        let (codec, passes) = train(&config, &parts(&rows, 1), 4096);
        for (count, batch) in [(3, 100), (7, 33), (40, 7)] {
            let (other, _) = train(&config, &parts(&rows, count), batch);
            assert_eq!(other.to_bytes().unwrap(), codec.to_bytes().unwrap(), "{name} in {count} parts");
        }
        assert_eq!(codec.manifest().method, "distributed-rq-kmeans");
        assert!(passes >= 5, "{name}: {passes} passes");
        let codes = codec.encode(&rows).unwrap();
        assert_eq!(codes, codec.encode_reference(&rows, 1).unwrap(), "{name}");
        // What training told of the rows is so.
        let summary = &codec.manifest().training;
        assert_eq!(summary.rows, 1500);
        for (level, told) in summary.levels.iter().enumerate() {
            let mut loads = vec![0u32; told.codebook_size];
            codes.iter().for_each(|row| loads[row[level] as usize] += 1);
            assert!((told.perplexity - sememe::fit::perplexity(&loads)).abs() < 1e-9, "{name}");
            if let Some(balance) = &told.balance {
                let range = (u64::from(*loads.iter().min().unwrap()), u64::from(*loads.iter().max().unwrap()));
                assert_eq!((balance.least_load, balance.largest_load), range, "{name}");
            }
        }
    }
}

#[test]
fn it_is_about_as_good_as_with_all_rows_at_hand() {
    let rows = clustered(3000, 9, 30);
    for (name, kmeans) in kinds() {
        let DistributedRqKMeans { kmeans, .. } = small(kmeans);
        let local = Codec::train(&rows, &kmeans, &Device::cpu(), &()).unwrap();
        let config = DistributedRqKMeans { kmeans, sample_rows: Some(800) };
        let (codec, _) = train(&config, &parts(&rows, 4), 4096);
        let r2 = |codec: &Codec| codec.manifest().training.levels.last().unwrap().r2;
        println!("{name}: R² {:.4}, with all rows at hand {:.4}", r2(&codec), r2(&local));
        // Loads are more even here than in eight iterations at hand, which costs where groups are as few as these.
        let worse = if config.kmeans.balance.is_some() { 0.08 } else { 0.02 };
        assert!(r2(&codec) > r2(&local) - worse, "{name}: {} against {}", r2(&codec), r2(&local));
        let norms = |codec: &Codec| codec.residual_norms().to_vec();
        assert_eq!(norms(&codec).len(), norms(&local).len());
        for (a, b) in norms(&codec).iter().zip(norms(&local)) {
            assert!((a / b - 1.0).abs() < 0.1, "{name}: {a} against {b}");
        }
        if name == "balanced" {
            for level in &codec.manifest().training.levels {
                let balance = level.balance.unwrap();
                let wanted = 3000.0 / level.codebook_size as f64;
                assert!(balance.largest_load as f64 <= 1.1 * wanted, "{balance:?}");
                assert!(balance.least_load as f64 >= 0.9 * wanted, "{balance:?}");
            }
        }
    }
}

#[test]
fn many_rows_alike_are_sampled_once() {
    let distinct = clustered(40, 3, 40);
    let values = (0..30_000).flat_map(|i| distinct.row(i % 40).to_vec()).collect();
    let rows = Matrix::from_vec(30_000, 3, values).unwrap();
    let kmeans = RqKMeans { codebook_sizes: vec![30], iterations: 4, ..RqKMeans::default() };
    let (codec, _) = train(&DistributedRqKMeans { kmeans, sample_rows: Some(1000) }, &parts(&rows, 2), 8192);
    assert_eq!(codec.manifest().training.levels[0].utilisation, 1.0);
    // More codewords than distinct rows are refused, once all were looked at.
    let kmeans = RqKMeans { codebook_sizes: vec![41], ..RqKMeans::default() };
    let config = DistributedRqKMeans { kmeans, sample_rows: Some(1000) };
    let mut trainer = DistributedTrainer::new(config, 3).unwrap();
    let error = loop {
        let round = trainer.round().unwrap().unwrap();
        if let Err(error) = trainer.take(&answer(&round, &parts(&rows, 2), 8192), &Device::cpu(), &()) {
            break error.to_string();
        }
    };
    assert_eq!(
        error,
        "40 distinct rows among 30000 are fewer than the 41 codewords of a level; give a smaller codebook size"
    );
}

#[test]
fn rows_of_any_size_train() {
    for size in [1e-20f32, 1e12, 1e20] {
        let mut rows = clustered(600, 4, 8);
        rows.as_mut_slice().iter_mut().for_each(|v| *v *= size);
        let kmeans = RqKMeans { codebook_sizes: vec![8], iterations: 5, ..RqKMeans::default() };
        let config = DistributedRqKMeans { kmeans, sample_rows: Some(100) };
        let (codec, _) = train(&config, &parts(&rows, 3), 512);
        let summary = &codec.manifest().training.levels[0];
        assert!(summary.r2 > 0.8, "{size}: {summary:?}");
        let measured = answer(&Round::measure(&codec).unwrap(), &parts(&rows, 4), 99).measures().unwrap();
        assert!((measured.levels[0].r2 - summary.r2).abs() < 1e-5, "{size}: {measured:?}");
    }
}

#[test]
fn measures_are_those_of_an_evaluation() {
    let rows = clustered(900, 6, 12);
    let product = sememe::fit::ProductQuantization { codebook_sizes: vec![8, 4, 4], ..Default::default() };
    let mut codecs: Vec<(&str, Codec)> = kinds()
        .into_iter()
        .map(|(name, kmeans)| {
            let kmeans = RqKMeans { codebook_sizes: vec![12, 8], iterations: 8, ..kmeans };
            (name, Codec::train(&rows, &kmeans, &Device::cpu(), &()).unwrap())
        })
        .collect();
    codecs.push(("pq", Codec::train_product(&rows, &product, &Device::cpu(), &()).unwrap()));
    let network = RqVae { codebook_sizes: vec![8, 4], hidden: vec![16], code_dims: 4, epochs: 2, ..RqVae::default() };
    codecs.push(("rqvae", Codec::train_rqvae(&rows, &network, &Device::cpu(), &()).unwrap()));
    for (name, codec) in codecs {
        let whole = answer(&Round::measure(&codec).unwrap(), &parts(&rows, 1), 900);
        assert_eq!(answer(&Round::measure(&codec).unwrap(), &parts(&rows, 5), 64), whole, "{name}");
        let (measured, codes) = (whole.measures().unwrap(), codec.encode(&rows).unwrap());
        let mut gathered = Reconstruction::new(codec.dims(), codec.levels());
        let decoded: Vec<Matrix> = (1..=codec.levels())
            .map(|depth| {
                let first = codes.iter().flat_map(|row| row[..depth].to_vec()).collect();
                codec.decode(&sememe::Codes::from_vec(900, depth, first).unwrap()).unwrap()
            })
            .collect();
        gathered.add(rows.view(), &decoded).unwrap();
        let want = gathered.finish().unwrap();
        for (level, (got, want)) in measured.levels.iter().zip(&want.depths).enumerate() {
            assert!((got.r2 - want.r2).abs() < 1e-9, "{name} {level}: {} {}", got.r2, want.r2);
            let mut loads = vec![0u64; codec.codebook_sizes()[level]];
            codes.iter().for_each(|row| loads[row[level] as usize] += 1);
            assert_eq!(got.loads, loads);
        }
    }
}

#[test]
fn bad_input_is_refused_with_its_numbers() {
    let refused = |config: DistributedRqKMeans| DistributedTrainer::new(config, 3).unwrap_err().to_string();
    let of = |kmeans| DistributedRqKMeans { kmeans, sample_rows: None };
    let plain = RqKMeans::default;
    assert!(
        refused(of(RqKMeans { refine: Some(Default::default()), ..plain() })).starts_with("`refine`: refinement needs")
    );
    assert!(refused(of(RqKMeans { max_training_rows: Some(9), ..plain() })).contains("max_training_rows"));
    let exact = refused(of(RqKMeans { balance: Some(Balance::capacity()), ..plain() }));
    assert!(exact.contains("exact loads") && exact.contains("even"), "{exact}");
    let few = refused(DistributedRqKMeans { kmeans: plain(), sample_rows: Some(10) });
    assert!(few.contains("10 rows") && few.contains("256 codewords"), "{few}");
    assert!(DistributedTrainer::new(of(plain()), 0).is_err());

    let rows = clustered(300, 3, 5);
    let config = small(RqKMeans::default());
    let mut trainer = DistributedTrainer::new(config.clone(), 3).unwrap();
    assert!(trainer.codec().unwrap_err().to_string().contains("has not ended"));
    let round = trainer.round().unwrap().unwrap();
    let worker = round.worker(&Device::cpu()).unwrap();
    let mut partial = worker.partial();
    let mut bad = rows.clone();
    bad.row_mut(7)[1] = f32::NAN;
    assert!(matches!(
        worker.add(bad.view(), &mut partial),
        Err(Error::NonFinite { first: 7, count: 1, rows: 300, .. })
    ));
    assert!(matches!(
        worker.add(Matrix::zeros(2, 4).unwrap().view(), &mut partial),
        Err(Error::Shape { expected: 3, got: 4, .. })
    ));
    let empty = trainer.take(&worker.partial(), &Device::cpu(), &()).unwrap_err().to_string();
    assert!(empty.contains("no rows"), "{empty}");
    let counted = answer(&round, &parts(&rows, 2), 50);
    trainer.take(&counted, &Device::cpu(), &()).unwrap();
    let late = trainer.take(&counted, &Device::cpu(), &()).unwrap_err().to_string();
    assert!(late.contains(round.hash()) && late.contains(trainer.round().unwrap().unwrap().hash()), "{late}");
    assert!(
        worker.partial().merge(&trainer.round().unwrap().unwrap().worker(&Device::cpu()).unwrap().partial()).is_err()
    );
    // An answer that is missing.
    let before = trainer.to_bytes().unwrap();
    let round = trainer.round().unwrap().unwrap();
    let some = answer(&round, &[rows.view().slice(0, 200)], 50);
    let missing = trainer.take(&some, &Device::cpu(), &()).unwrap_err().to_string();
    assert!(missing.contains("300 rows were counted") && missing.contains("200 answered"), "{missing}");
    assert_eq!(trainer.to_bytes().unwrap(), before);
    // Rows that grew between two passes.
    trainer.take(&answer(&round, &parts(&rows, 1), 50), &Device::cpu(), &()).unwrap();
    let round = trainer.round().unwrap().unwrap();
    let mut grown = rows.clone();
    grown.row_mut(3)[0] = 1e6;
    let worker = round.worker(&Device::cpu()).unwrap();
    let error = worker.add(grown.view(), &mut worker.partial()).unwrap_err().to_string();
    assert!(error.contains("changed between two passes"), "{error}");

    let mut cosine = DistributedTrainer::new(small(RqKMeans { metric: Metric::Cosine, ..plain() }), 3).unwrap();
    let mut zero = rows.clone();
    zero.row_mut(9).fill(0.0);
    let error = loop {
        let round = cosine.round().unwrap().unwrap();
        let worker = round.worker(&Device::cpu()).unwrap();
        let mut partial = worker.partial();
        if let Err(error) =
            worker.add(zero.view(), &mut partial).and_then(|()| cosine.take(&partial, &Device::cpu(), &()))
        {
            break error.to_string();
        }
    };
    assert!(error.contains("zero") && error.contains("cosine"), "{error}");
}

/// Whether bytes are refused.
type Refuses<'a> = &'a dyn Fn(&[u8]) -> bool;

#[test]
fn damaged_bytes_are_refused() {
    let rows = clustered(300, 3, 5);
    let mut trainer = DistributedTrainer::new(small(RqKMeans::default()), 3).unwrap();
    while let Some(round) = trainer.round().unwrap() {
        let whole = answer(&round, &parts(&rows, 2), 64);
        let kinds: [(Vec<u8>, Refuses<'_>); 3] = [
            (round.to_bytes(), &|b| Round::from_bytes(b).is_err()),
            (whole.to_bytes().unwrap(), &|b| Partial::from_bytes(b).is_err()),
            (trainer.to_bytes().unwrap(), &|b| DistributedTrainer::from_bytes(b).is_err()),
        ];
        for (bytes, refused) in kinds {
            for cut in [0, 1, 50, 87, 88, bytes.len() / 2, bytes.len() - 1] {
                assert!(refused(&bytes[..cut]), "cut to {cut}");
            }
            for at in [0, 9, 17, 30, 90, bytes.len() - 1] {
                let mut other = bytes.clone();
                other[at] ^= 4;
                assert!(refused(&other), "bit flipped at {at}");
            }
            assert!(refused(&[bytes.clone(), vec![0]].concat()));
        }
        trainer.take(&whole, &Device::cpu(), &()).unwrap();
    }
    assert!(
        trainer
            .take(
                &answer(&Round::measure(&trainer.codec().unwrap()).unwrap(), &parts(&rows, 1), 64),
                &Device::cpu(),
                &()
            )
            .is_err()
    );
}

/// A catalogue as people have it.
#[test]
fn a_real_catalogue_is_as_good_as_with_all_rows_at_hand() {
    let Some(path) = shared("beauty/embeddings.npy") else { return };
    let rows = load(&path);
    let kmeans = RqKMeans { codebook_sizes: vec![64; 3], iterations: 12, ..RqKMeans::default() };
    let local = Codec::train(&rows, &kmeans, &Device::cpu(), &()).unwrap();
    let config = DistributedRqKMeans { kmeans, sample_rows: Some(4096) };
    let (codec, passes) = train(&config, &parts(&rows, 3), 4096);
    let r2 = |codec: &Codec| codec.manifest().training.levels.last().unwrap().r2;
    println!("R² {:.4} in {passes} passes, with all rows at hand {:.4}", r2(&codec), r2(&local));
    assert!(r2(&codec) > r2(&local) - 0.003);
}
