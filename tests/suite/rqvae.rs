//! Trainings of RQ-VAEs: stopping and going on, refusals, collapse, starts from RQ-KMeans, all terms on both backends.
//!
//! One file past the usual length: every case builds on the rows, settings and recorders at the top.

use sememe::fit::rqvae::{
    Alignment, CheckpointKind, CodebookStart, CodebookUpdate, Diversity, EpochReport, Estimator, Monitor, NetworkInit,
    Optimizer, OptimizerKind, PRESETS, Recorder, Reduction, Repulsion, Restart, RqVae, RqVaeTrainer, Schedule,
    ScheduleKind, Sinkhorn, SinkhornForm, StepReport,
};
use sememe::{Codec, Device, Error, Matrix, Observer, RqKMeans};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows around a few centres, with a spread of their own in every dimension.
fn rows(n: usize, d: usize) -> Matrix {
    let mut random = sememe::rng::stream(5, "rqvae tests", (n * 100 + d) as u64);
    let centres: Vec<f64> = (0..9 * d).map(|_| 2.0 * random.normal()).collect();
    let mut out = Vec::with_capacity(n * d);
    for _ in 0..n {
        let centre = random.below(9) as usize;
        out.extend((0..d).map(|c| (centres[centre * d + c] + (0.2 + 0.1 * (c % 5) as f64) * random.normal()) as f32));
    }
    Matrix::from_vec(n, d, out).unwrap()
}

fn small() -> RqVae {
    RqVae {
        hidden: vec![24, 16],
        code_dims: 6,
        codebook_sizes: vec![12, 8],
        batch_rows: 50,
        epochs: 5,
        log_every: 3,
        ..RqVae::default()
    }
}

/// Settings that between them use every part of a training.
fn kinds() -> Vec<(&'static str, RqVae)> {
    let gradient = RqVae { codebook: CodebookUpdate::Gradient, ..small() };
    let restart = Restart { threshold: 0.5, interval_steps: Some(4), until: 0.9 };
    let ema = CodebookUpdate::Ema { decay: 0.9, epsilon: 1e-5 };
    let lc_rec = Sinkhorn { levels: Some(vec![1]), epsilon: 0.05, iterations: 10, form: SinkhornForm::BatchRange };
    vec![
        ("defaults", small()),
        ("averages", RqVae { codebook: ema, restart: Some(restart), quantize_dropout: 0.4, ..small() }),
        ("gradient", RqVae { restart: Some(restart), clip_norm: Some(0.5), validation: 0.2, ..gradient.clone() }),
        ("shared", RqVae { codebook_sizes: vec![12; 3], shared_codebook: true, codebook: ema, ..small() }),
        ("shared k-means", RqVae { codebook_sizes: vec![12; 3], shared_codebook: true, ..small() }),
        ("rotation", RqVae { estimator: Estimator::Rotation, ..gradient.clone() }),
        ("gumbel", RqVae { estimator: Estimator::Gumbel { from: 1.0, to: 0.1 }, ..gradient.clone() }),
        (
            "layer norm",
            RqVae {
                init: NetworkInit::He,
                layer_norm: true,
                dropout: 0.2,
                start: CodebookStart::Rows,
                ..gradient.clone()
            },
        ),
        ("sinkhorn", RqVae { sinkhorn: Some(lc_rec), ..gradient.clone() }),
        ("sinkhorn by codebook", RqVae { sinkhorn: Some(Sinkhorn::default()), codebook: ema, ..small() }),
        (
            "diversity",
            RqVae { diversity: Some(Diversity { weight: 0.1, clusters: 3, temperature: 1.0 }), ..gradient.clone() },
        ),
        (
            "balance",
            RqVae {
                codebook: CodebookUpdate::KMeans { iterations: 2, every: 1, settle: 0, balance: Some(0.3) },
                ..small()
            },
        ),
        (
            "sgd",
            RqVae {
                optimizer: Optimizer { kind: OptimizerKind::Sgd, rate: 1e-4, ..Optimizer::default() },
                schedule: Schedule { kind: ScheduleKind::OneCycle, ..Schedule::default() },
                start: CodebookStart::Uniform,
                ..gradient.clone()
            },
        ),
        (
            "adagrad",
            RqVae {
                optimizer: Optimizer { kind: OptimizerKind::Adagrad, ..Optimizer::default() },
                reconstruction: Reduction::Mean,
                repulsion: Some(Repulsion { weight: 0.01 }),
                ..gradient
            },
        ),
    ]
}

/// Asks for a stop at the `n`-th question.
struct StopAt(AtomicUsize, usize);

impl Observer for StopAt {
    fn stop(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= self.1
    }
}

/// Keeps everything, as the program does.
#[derive(Default)]
struct Kept {
    lines: Vec<String>,
    last: Vec<u8>,
    best: Vec<u8>,
}

impl Recorder for Kept {
    fn step(&mut self, report: &StepReport) -> sememe::Result<()> {
        self.lines.push(serde_json::to_string(report).unwrap());
        Ok(())
    }
    fn epoch(&mut self, report: &EpochReport) -> sememe::Result<()> {
        self.lines.push(serde_json::to_string(report).unwrap());
        Ok(())
    }
    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        content: &dyn Fn() -> sememe::Result<Vec<u8>>,
    ) -> sememe::Result<()> {
        let bytes = content()?;
        match kind {
            CheckpointKind::Last => self.last = bytes,
            CheckpointKind::Best => self.best = bytes,
        }
        Ok(())
    }
}

fn train(config: &RqVae, data: &Matrix, device: &Device) -> (Codec, Kept) {
    let mut trainer = RqVaeTrainer::new(config.clone()).unwrap();
    let mut kept = Kept::default();
    trainer.run(data, None, device, &(), &mut kept).unwrap();
    (Codec::from_trainer(&trainer).unwrap(), kept)
}

#[test]
fn going_on_equals_never_stopping() {
    let data = rows(300, 10);
    for (name, config) in kinds() {
        let (whole, kept) = train(&config, &data, &Device::cpu());
        for stop in [3, 11, 29] {
            let mut trainer = RqVaeTrainer::new(config.clone()).unwrap();
            let (mut stops, mut record) = (0, Kept::default());
            loop {
                let observer = StopAt(AtomicUsize::new(0), stop + 7 * stops);
                match trainer.run(&data, None, &Device::cpu(), &observer, &mut record) {
                    Ok(()) => break,
                    Err(Error::Interrupted(_)) => stops += 1,
                    Err(error) => panic!("{name}: {error}"),
                }
                if !record.last.is_empty() {
                    // Through the file, as after a crash.
                    trainer = RqVaeTrainer::from_bytes(&record.last).unwrap();
                    assert_eq!(trainer.to_bytes().unwrap(), record.last, "{name}");
                }
            }
            assert!(stops > 0, "{name}: never stopped");
            let again = Codec::from_trainer(&trainer).unwrap();
            assert_eq!(again.content_hash(), whole.content_hash(), "{name}, stopped {stops} times from {stop} on");
            assert_eq!(record.lines, kept.lines, "{name}");
            assert_eq!((record.last, record.best), (kept.last.clone(), kept.best.clone()), "{name}");
        }
    }
}

#[test]
fn every_kind_learns_and_threads_change_nothing() {
    let data = rows(300, 10);
    for (name, config) in kinds() {
        let (codec, kept) = train(&config, &data, &Device::cpu());
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (again, _) = single.install(|| train(&config, &data, &Device::cpu()));
        assert_eq!(codec.content_hash(), again.content_hash(), "{name}");
        let health = RqVaeTrainer::from_bytes(&kept.last).unwrap().health().unwrap().clone();
        // Plain gradient descent is slow at a rate at which it does not diverge.
        assert!(health.r2 > if name == "sgd" { 0.05 } else { 0.3 }, "{name}: R² {}", health.r2);
        assert_eq!(codec.encode(&data).unwrap(), codec.encode_reference(&data, 1).unwrap(), "{name}");
        let other = RqVae { seed: 9, ..config };
        assert_ne!(train(&other, &data, &Device::cpu()).0.content_hash(), codec.content_hash(), "{name}");
    }
}

/// The codebooks of every epoch's checkpoint: the last of its parameters.
#[derive(Default)]
struct Books(Vec<Vec<u8>>);

impl Recorder for Books {
    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        content: &dyn Fn() -> sememe::Result<Vec<u8>>,
    ) -> sememe::Result<()> {
        let bytes = content()?;
        let trainer = RqVaeTrainer::from_bytes(&bytes)?;
        if kind == CheckpointKind::Last && trainer.epochs() as usize > self.0.len() {
            let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a checkpoint");
            let params = tensors.tensor("parameters").expect("parameters").data().to_vec();
            let config = trainer.config();
            let books = 4 * config.codebook_sizes.iter().sum::<usize>() * config.code_dims;
            self.0.push(params[params.len() - books..].to_vec());
        }
        Ok(())
    }
}

#[test]
fn k_means_comes_every_so_many_epochs() {
    let data = rows(300, 10);
    let books = |every| {
        let codebook = CodebookUpdate::KMeans { iterations: 2, every, settle: 1, balance: None };
        let mut trainer = RqVaeTrainer::new(RqVae { codebook, epochs: 7, ..small() }).unwrap();
        let mut books = Books::default();
        trainer.run(&data, None, &Device::cpu(), &(), &mut books).unwrap();
        // Whether an epoch ended with other codebooks than the one before it.
        books.0.windows(2).map(|w| w[0] != w[1]).collect::<Vec<_>>()
    };
    // Codebooks start in the second epoch (the first trains the networks alone), and the last epoch leaves them.
    assert_eq!(books(1), [true, true, true, true, true, false]);
    assert_eq!(books(2), [true, false, true, false, true, false]);
    assert_eq!(books(3), [true, false, false, true, false, false]);
}

#[test]
fn products_in_bf16_train_a_codec_that_encodes_exactly() {
    use sememe::compute::tensor::{Precision, Tensors};
    let config = RqVae { precision: Precision::Bf16, ..small() };
    let data = rows(300, 10);
    if !sememe::compute::cpu::Cpu.offers(Precision::Bf16) {
        let refusal = RqVaeTrainer::new(config).unwrap().run(&data, None, &Device::cpu(), &(), &mut ()).unwrap_err();
        assert!(refusal.to_string().contains("precision") && refusal.to_string().contains("bf16"), "{refusal}");
        println!("skipped: no bf16 products on this processor");
        return;
    }
    let (codec, kept) = train(&config, &data, &Device::cpu());
    let (again, _) = train(&config, &data, &Device::cpu());
    let (single, _) = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap()
        .install(|| train(&config, &data, &Device::cpu()));
    assert_eq!(codec.to_bytes().unwrap(), again.to_bytes().unwrap());
    assert_eq!(codec.to_bytes().unwrap(), single.to_bytes().unwrap(), "threads change nothing");
    let (f32s, _) = train(&small(), &data, &Device::cpu());
    assert_ne!(codec.to_bytes().unwrap(), f32s.to_bytes().unwrap(), "the setting leaves a trace");
    // Looks at the corpus are in f32, as encoding is.
    let health = RqVaeTrainer::from_bytes(&kept.last).unwrap().health().cloned().unwrap();
    let codes = codec.encode(&data).unwrap();
    let ids: std::collections::HashSet<Vec<u32>> = (0..300).map(|i| codes.row(i).to_vec()).collect();
    assert!((health.collision_rate - (1.0 - ids.len() as f64 / 300.0)).abs() < 0.01, "{}", health.collision_rate);
    assert!(health.r2 > 0.3, "{}", health.r2);
}

#[test]
fn health_is_what_an_evaluation_of_the_codec_finds() {
    let data = rows(400, 10);
    let (codec, kept) = train(&small(), &data, &Device::cpu());
    let trainer = RqVaeTrainer::from_bytes(&kept.last).unwrap();
    let health = trainer.health().unwrap();
    let codes = codec.encode(&data).unwrap();
    let options = sememe::eval::EvalOptions { queries: 0, ..Default::default() };
    let measured =
        sememe::eval::evaluate(&data, &codes, &codec.codebook_sizes(), &|c| codec.decode(c), &options).unwrap();
    let r2 = measured.reconstruction.unwrap().r2;
    assert!((health.r2 - r2).abs() < 1e-4, "{} and {r2}", health.r2);
    assert!((health.collision_rate - measured.collision_rate).abs() < 1e-9);
    for (own, other) in health.levels.iter().zip(&measured.levels) {
        assert!((own.perplexity - other.codes.perplexity).abs() < 1e-6);
        assert!((own.utilisation - other.codes.utilisation).abs() < 1e-12);
        assert!((own.r2.unwrap() - other.error.unwrap().r2).abs() < 1e-4, "level {}", own.level);
    }
}

#[test]
fn a_start_from_k_means_begins_where_it_ended() {
    let data = rows(500, 10);
    let start =
        Codec::train(&data, &RqKMeans { codebook_sizes: vec![12, 8], ..RqKMeans::default() }, &Device::cpu(), &())
            .unwrap();
    let settings = |rate: f64| RqVae {
        codebook: CodebookUpdate::Ema { decay: 0.99, epsilon: 1e-5 },
        repulsion: None,
        optimizer: Optimizer { rate, ..Optimizer::default() },
        epochs: 4,
        ..small()
    };
    // With next to no learning the networks stay what they are at the start: nothing.
    let mut still = RqVaeTrainer::from_quantizer(settings(1e-12), start.quantizer(), 1.0).unwrap();
    still.run(&data, None, &Device::cpu(), &(), &mut ()).unwrap();
    let codec = Codec::from_trainer(&still).unwrap();
    assert_eq!(codec.manifest().method, "rq-kmeans-plus");
    let agree =
        codec.encode(&data).unwrap().iter().zip(start.encode(&data).unwrap().iter()).filter(|(a, b)| a == b).count();
    assert!(agree > 450, "{agree} of 500 rows keep their codes");
    let r2 = |codec: &Codec| {
        let options = sememe::eval::EvalOptions { queries: 0, ..Default::default() };
        let codes = codec.encode(&data).unwrap();
        sememe::eval::evaluate(&data, &codes, &codec.codebook_sizes(), &|c| codec.decode(c), &options)
            .unwrap()
            .reconstruction
            .unwrap()
            .r2
    };
    let mut learns = RqVaeTrainer::from_quantizer(settings(1e-3), start.quantizer(), 1.0).unwrap();
    learns.run(&data, None, &Device::cpu(), &(), &mut ()).unwrap();
    let plus = Codec::from_trainer(&learns).unwrap();
    assert!(r2(&plus) > r2(&start) - 0.01, "{} from {}", r2(&plus), r2(&start));
    assert_ne!(plus.content_hash(), codec.content_hash());
    // It loads like any other codec, and cannot be a start once more.
    let again = Codec::from_bytes(&plus.to_bytes().unwrap()).unwrap();
    assert_eq!(again.encode(&data).unwrap(), plus.encode(&data).unwrap());
    assert!(
        RqVaeTrainer::from_quantizer(small(), again.quantizer(), 1.0).unwrap_err().to_string().contains("RQ-KMeans")
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_with_the_last_good_state() {
    let data = rows(300, 10);
    let mut config = RqVae { epochs: 50, checkpoint_steps: Some(1), ..small() };
    config.optimizer = Optimizer { kind: OptimizerKind::Sgd, rate: 0.2, ..Optimizer::default() };
    config.schedule.kind = ScheduleKind::Constant;
    let (mut trainer, mut kept) = (RqVaeTrainer::new(config).unwrap(), Kept::default());
    let error = trainer.run(&data, None, &Device::cpu(), &(), &mut kept).unwrap_err().to_string();
    assert!(error.contains("not finite at step") && error.contains("optimizer.rate"), "{error}");
    let good = RqVaeTrainer::from_bytes(&kept.last).unwrap();
    assert!(good.steps() > 0 && !good.is_finished());
    assert!(kept.last.as_chunks::<4>().0.len() > 100 && !kept.lines.iter().any(|l| l.contains("\"total\":null")));
}

#[test]
fn a_collapse_is_told_and_stops_where_asked() {
    // Nine of ten rows are one and the same, so one codeword holds them all.
    let mut data = rows(1000, 10);
    let one = data.row(0).to_vec();
    (100..1000).for_each(|i| data.row_mut(i).copy_from_slice(&one));
    let config = RqVae { codebook_sizes: vec![64], stop_on_collapse: true, ..small() };
    let mut kept = Kept::default();
    let mut trainer = RqVaeTrainer::new(config.clone()).unwrap();
    let error = trainer.run(&data, None, &Device::cpu(), &(), &mut kept).unwrap_err().to_string();
    assert!(error.contains("level 1 collapsed") && error.contains("reconstruction"), "{error}");
    assert!(!kept.last.is_empty(), "the state is kept before stopping");
    let mut goes_on = RqVaeTrainer::new(RqVae { stop_on_collapse: false, ..config }).unwrap();
    goes_on.run(&data, None, &Device::cpu(), &(), &mut ()).unwrap();
    assert!(!goes_on.health().unwrap().collapsed().is_empty());
}

#[test]
fn patience_ends_a_training_and_more_epochs_let_it_go_on() {
    let data = rows(300, 10);
    let mut config = RqVae { epochs: 40, patience: Some(2), monitor: Monitor::CollisionRate, ..small() };
    (config.optimizer.rate, config.codebook) = (1e-30, CodebookUpdate::Gradient);
    let mut kept = Kept::default();
    let mut trainer = RqVaeTrainer::new(config).unwrap();
    trainer.run(&data, None, &Device::cpu(), &(), &mut kept).unwrap();
    assert!(trainer.is_finished() && trainer.epochs() < 40, "{}", trainer.epochs());
    let (mut short, mut long) = (small(), small());
    (short.epochs, long.epochs) = (3, 4);
    let mut trainer = RqVaeTrainer::new(short).unwrap();
    trainer.run(&data, None, &Device::cpu(), &(), &mut ()).unwrap();
    trainer.continue_with(&long).unwrap();
    trainer.run(&data, None, &Device::cpu(), &(), &mut ()).unwrap();
    assert_eq!((trainer.epochs(), trainer.is_finished()), (4, true));
    let other = RqVae { code_dims: 7, ..long };
    assert!(trainer.continue_with(&other).unwrap_err().to_string().contains("code_dims"));
}

#[test]
fn alignment_draws_codes_to_their_embeddings() {
    let data = rows(300, 10);
    for dims in [4, 6] {
        let other = rows(300, dims);
        let config = RqVae { alignment: Some(Alignment { weight: 2.0, temperature: 1.0 }), repulsion: None, ..small() };
        let mut kept = Kept::default();
        let mut trainer = RqVaeTrainer::new(config.clone()).unwrap();
        trainer.run(&data, Some(&other), &Device::cpu(), &(), &mut kept).unwrap();
        let term =
            |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["losses"]["alignment"].as_f64();
        let terms: Vec<f64> = kept.lines.iter().filter_map(term).filter(|v| *v > 0.0).collect();
        assert!(terms[terms.len() - 1] < 0.9 * terms[0], "{terms:?}");
        let missing = RqVaeTrainer::new(config).unwrap().run(&data, None, &Device::cpu(), &(), &mut ()).unwrap_err();
        assert!(missing.to_string().contains("alignment"), "{missing}");
    }
    let short = rows(299, 4);
    let config = RqVae { alignment: Some(Alignment::default()), ..small() };
    let error = RqVaeTrainer::new(config).unwrap().run(&data, Some(&short), &Device::cpu(), &(), &mut ()).unwrap_err();
    assert!(error.to_string().contains("expected rows = 300, got 299"), "{error}");
}

#[test]
fn other_rows_and_damaged_states_are_refused() {
    let data = rows(300, 10);
    let (_, kept) = train(&small(), &data, &Device::cpu());
    let mut other = data.clone();
    other.row_mut(17)[3] += 1.0;
    let mut config = small();
    config.epochs += 1;
    let mut trainer = RqVaeTrainer::from_bytes(&kept.last).unwrap();
    trainer.continue_with(&config).unwrap();
    let error = trainer.run(&other, None, &Device::cpu(), &(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("other rows than the training began with"), "{error}");
    for at in (0..kept.last.len()).step_by(kept.last.len() / 97) {
        let mut bytes = kept.last.clone();
        bytes[at] ^= 0x10;
        // A changed byte is noticed, or lies where it changes nothing: then the same state comes back.
        if let Ok(trainer) = RqVaeTrainer::from_bytes(&bytes) {
            assert_ne!(trainer.to_bytes().ok(), Some(kept.last.clone()), "byte {at}");
        }
        assert!(RqVaeTrainer::from_bytes(&kept.last[..at]).is_err(), "{at} bytes");
    }
    let few = rows(10, 10);
    let error = RqVaeTrainer::new(small()).unwrap().run(&few, None, &Device::cpu(), &(), &mut ()).unwrap_err();
    assert!(error.to_string().contains("fewer than the 12 codewords"), "{error}");
    let mut bad = rows(300, 10);
    bad.row_mut(41)[0] = f32::NAN;
    let error = RqVaeTrainer::new(small()).unwrap().run(&bad, None, &Device::cpu(), &(), &mut ()).unwrap_err();
    assert!(matches!(error, Error::NonFinite { first: 41, count: 1, .. }), "{error}");
}

#[test]
fn every_invalid_setting_is_refused_by_its_name() {
    let gumbel = Estimator::Gumbel { from: 1.0, to: 0.0 };
    let gradient = RqVae { codebook: CodebookUpdate::Gradient, ..small() };
    let kmeans = |iterations, balance| CodebookUpdate::KMeans { iterations, every: 1, settle: 0, balance };
    let optimizer = |change: fn(&mut Optimizer)| {
        let mut optimizer = Optimizer::default();
        change(&mut optimizer);
        optimizer
    };
    let cases = [
        ("hidden.1", RqVae { hidden: vec![4, 0], ..small() }),
        ("decoder_hidden.0", RqVae { decoder_hidden: Some(vec![1 << 20]), ..small() }),
        ("code_dims", RqVae { code_dims: 0, ..small() }),
        ("dropout", RqVae { dropout: 1.0, ..small() }),
        ("init", RqVae { layer_norm: true, ..small() }),
        ("pca_dims", RqVae { pca_dims: 0, ..small() }),
        ("codebook_sizes", RqVae { codebook_sizes: vec![], ..small() }),
        ("codebook_sizes.1", RqVae { codebook_sizes: vec![4, 0], ..small() }),
        ("shared_codebook", RqVae { shared_codebook: true, ..small() }),
        ("start.iterations", RqVae { start: CodebookStart::KMeans { iterations: 0, rows: 99 }, ..small() }),
        ("start.rows", RqVae { start: CodebookStart::KMeans { iterations: 1, rows: 5 }, ..small() }),
        ("estimator.to", RqVae { estimator: gumbel, ..gradient.clone() }),
        ("codebook", RqVae { estimator: Estimator::Gumbel { from: 1.0, to: 1.0 }, ..small() }),
        ("codebook.decay", RqVae { codebook: CodebookUpdate::Ema { decay: 1.0, epsilon: 1e-5 }, ..small() }),
        ("codebook.epsilon", RqVae { codebook: CodebookUpdate::Ema { decay: 0.9, epsilon: 0.0 }, ..small() }),
        ("codebook.iterations", RqVae { codebook: kmeans(0, None), ..small() }),
        (
            "codebook.every",
            RqVae { codebook: CodebookUpdate::KMeans { iterations: 1, every: 0, settle: 0, balance: None }, ..small() },
        ),
        ("codebook.balance", RqVae { codebook: kmeans(1, Some(-1.0)), ..small() }),
        ("restart", RqVae { restart: Some(Restart::default()), ..small() }),
        (
            "restart.threshold",
            RqVae { restart: Some(Restart { threshold: 2.0, ..Restart::default() }), ..gradient.clone() },
        ),
        (
            "sinkhorn.levels",
            RqVae { sinkhorn: Some(Sinkhorn { levels: Some(vec![2]), ..Sinkhorn::default() }), ..small() },
        ),
        ("sinkhorn.epsilon", RqVae { sinkhorn: Some(Sinkhorn { epsilon: 0.0, ..Sinkhorn::default() }), ..small() }),
        ("quantizer_weight", RqVae { quantizer_weight: -1.0, ..small() }),
        ("commitment_weight", RqVae { commitment_weight: f64::NAN, ..small() }),
        ("quantize_dropout", RqVae { quantize_dropout: 1.5, ..small() }),
        ("repulsion.weight", RqVae { repulsion: Some(Repulsion { weight: f64::INFINITY }), ..small() }),
        ("diversity", RqVae { diversity: Some(Diversity::default()), ..small() }),
        (
            "diversity.clusters",
            RqVae { diversity: Some(Diversity { clusters: 0, ..Diversity::default() }), ..gradient.clone() },
        ),
        ("alignment.temperature", RqVae { alignment: Some(Alignment { weight: 1.0, temperature: 0.0 }), ..small() }),
        ("batch_rows", RqVae { batch_rows: 0, ..small() }),
        ("batch_rows", RqVae { batch_rows: 9000, ..small() }),
        ("epochs", RqVae { epochs: 0, ..small() }),
        ("optimizer.rate", RqVae { optimizer: optimizer(|o| o.rate = 0.0), ..small() }),
        ("optimizer.beta2", RqVae { optimizer: optimizer(|o| o.beta2 = 1.0), ..small() }),
        ("optimizer.decoder_factor", RqVae { optimizer: optimizer(|o| o.decoder_factor = -1.0), ..small() }),
        ("schedule.least", RqVae { schedule: Schedule { least: 2.0, ..Schedule::default() }, ..small() }),
        ("clip_norm", RqVae { clip_norm: Some(0.0), ..small() }),
        ("validation", RqVae { validation: 1.0, ..small() }),
        ("monitor", RqVae { monitor: Monitor::ValidationR2, ..small() }),
        ("patience", RqVae { patience: Some(0), ..small() }),
        ("health_every", RqVae { health_every: 0, ..small() }),
        ("log_every", RqVae { log_every: 0, ..small() }),
        ("checkpoint_steps", RqVae { checkpoint_steps: Some(0), ..small() }),
        ("max_training_rows", RqVae { max_training_rows: Some(0), ..small() }),
        ("preprocess.scale", {
            let mut config = small();
            (config.preprocess.whiten, config.preprocess.pca) = (true, Some(sememe::Pca::default()));
            config
        }),
    ];
    for (field, config) in cases {
        match RqVaeTrainer::new(config) {
            Err(Error::Config { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn presets_train_on_small_data() {
    let data = rows(2100, 12);
    for name in PRESETS {
        let mut config = RqVae::preset(name).unwrap();
        (config.epochs, config.validation) = (config.autoencoder_epochs + 1, config.validation.min(0.01));
        config.hidden.iter_mut().for_each(|w| *w = (*w).min(32));
        config.code_dims = config.code_dims.min(16);
        let (codec, _) = train(&config, &data, &Device::cpu());
        assert_eq!(codec.codebook_sizes(), config.codebook_sizes, "{name}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_gpu_trains_every_kind_too() {
    if crate::support::plain().is_none() {
        return;
    }
    let gpu = Device::gpu().unwrap();
    let data = rows(300, 10);
    for (name, config) in kinds() {
        let (codec, kept) = train(&config, &data, &gpu);
        let (again, _) = train(&config, &data, &gpu);
        assert_eq!(codec.content_hash(), again.content_hash(), "{name}: the same device gives the same bits");
        let (_, other) = train(&config, &data, &Device::cpu());
        let r2 = |kept: &Kept| RqVaeTrainer::from_bytes(&kept.last).unwrap().health().unwrap().r2;
        // Rounding parts the two after some steps: they end alike, not the same.
        assert!((r2(&kept) - r2(&other)).abs() < 0.1, "{name}: {} and {}", r2(&kept), r2(&other));
        let codes = codec.encode(&data).unwrap();
        assert_eq!(codes, codec.encoder(&gpu, &Default::default()).unwrap().encode(&data).unwrap().codes, "{name}");
    }
}
