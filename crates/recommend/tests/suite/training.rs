//! Training, stopping, going on, and what comes out.

use crate::{ring, small, walks};
use sememe::progress::{Event, Observer};
use sememe::{Codes, Device, Error, Matrix, Sequences};
use sememe_recommend::{
    HoldOut, ItemSources, RecommenderEpoch, RecommenderSettings, RecommenderTraining, TrainingRecorder, questions,
};
use std::sync::atomic::{AtomicU64, Ordering};

fn train(settings: RecommenderSettings, sources: &ItemSources, histories: &Sequences) -> sememe_recommend::Recommender {
    RecommenderTraining::new(settings)
        .expect("settings")
        .run(sources, histories, &Device::cpu(), &(), &mut ())
        .expect("trained")
}

#[test]
fn a_walk_on_a_ring_is_learned_from_codes_alone() {
    let (sources, histories) = (ring(16), walks(64, 16, 7));
    let recommender = train(RecommenderSettings { epochs: 30, ..small() }, &sources, &histories);
    let measures = recommender.evaluate(&histories, 0, false, &Device::cpu(), &()).expect("measured");
    assert!(measures.all.ndcg_at_5 > 0.95, "{measures:?}");
    assert_eq!((measures.all.questions, measures.coverage_at_10), (64, 1.0));
    let next = recommender.recommend(&[&[1, 2, 3], &[15]], 3, true, None, &Device::cpu()).expect("answers");
    assert_eq!((next[0][0].item, next[1][0].item), (4, 0));
}

#[test]
fn probabilities_of_all_items_add_up_to_one() {
    let (sources, histories) = (ring(16), walks(20, 16, 6));
    let recommender = train(RecommenderSettings { epochs: 2, ..small() }, &sources, &histories);
    for list in recommender.recommend(&[&[3], &[0, 9, 9]], 100, false, None, &Device::cpu()).expect("answers") {
        assert_eq!(list.len(), 16);
        let sum: f64 = list.iter().map(|r| r.log_probability.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert!(list.windows(2).all(|pair| pair[0].log_probability >= pair[1].log_probability));
    }
}

#[test]
fn an_item_that_no_history_names_is_found_by_its_codes() {
    // Item (a, b) is followed by (a + 1, b), round and round; (3, 2) is named by nobody, and the last of each list is held out.
    let item = |a: u32, b: u32| a % 4 * 5 + b;
    let lists = (0..100).map(|i| {
        let (start, b) = (i % 4, i / 4 % 5);
        match b {
            2 => vec![item(0, 2), item(1, 2), item(2, 2), item(0, 2)],
            _ => (0..7).map(|t| item(start + t, b)).collect::<Vec<u32>>(),
        }
    });
    let histories = Sequences::from_lists(lists).expect("sequences");
    assert!(histories.iter().flatten().all(|i| *i != item(3, 2)));
    let codes = (0..20).flat_map(|i| [i / 5, i % 5]).collect();
    let sources =
        ItemSources { items: 20, codes: Some(Codes::from_vec(20, 2, codes).expect("codes")), ..ItemSources::default() };
    let settings =
        RecommenderSettings { epochs: 60, dropout: 0.2, hold_out: HoldOut::Validation, patience: None, ..small() };
    let recommender = train(settings, &sources, &histories);
    let next = recommender.recommend(&[&[item(1, 2), item(2, 2)]], 3, true, None, &Device::cpu()).expect("answers");
    assert!(next[0].iter().any(|r| r.item == item(3, 2)), "{next:?}");
}

#[test]
fn vectors_alone_and_identities_alone_learn_too() {
    let histories = walks(64, 16, 7);
    let values = (0..16).flat_map(|i| {
        let turn = f64::from(i) * std::f64::consts::TAU / 16.0;
        [turn.cos() as f32 + 3.0, turn.sin() as f32, (2.0 * turn).cos() as f32, (2.0 * turn).sin() as f32]
    });
    let vectors = Some(Matrix::from_vec(16, 4, values.collect()).expect("vectors"));
    for sources in [
        ItemSources { items: 16, vectors, ..ItemSources::default() },
        ItemSources { items: 16, identities: true, ..ItemSources::default() },
    ] {
        let recommender = train(RecommenderSettings { epochs: 30, ..small() }, &sources, &histories);
        let next = recommender.recommend(&[&[1, 2, 3]], 2, true, None, &Device::cpu()).expect("answers");
        assert!(next[0].iter().any(|r| r.item == 4), "{next:?}");
    }
}

#[test]
fn lists_leave_out_what_was_seen_and_what_is_not_allowed() {
    let (sources, histories) = (ring(16), walks(20, 16, 6));
    let recommender = train(RecommenderSettings { epochs: 1, ..small() }, &sources, &histories);
    let even = |item: u32| item.is_multiple_of(2);
    let lists = recommender.recommend(&[&[4, 6, 7]], 16, true, Some(&even), &Device::cpu()).expect("answers");
    let mut items: Vec<u32> = lists[0].iter().map(|r| r.item).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 2, 8, 10, 12, 14]);
}

/// Asks to stop after some events.
pub struct StopAfter(pub AtomicU64);

impl Observer for StopAfter {
    fn event(&self, _: Event<'_>) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
    }
    fn stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[derive(Default)]
pub struct Kept {
    pub state: Option<Vec<u8>>,
    epochs: Vec<RecommenderEpoch>,
}

impl TrainingRecorder for Kept {
    fn epoch(&mut self, epoch: &RecommenderEpoch) -> sememe::Result<()> {
        self.epochs.push(*epoch);
        Ok(())
    }
    fn checkpoint(&mut self, training: &RecommenderTraining) -> sememe::Result<()> {
        self.state = Some(training.to_bytes()?);
        Ok(())
    }
}

#[test]
fn a_training_that_is_stopped_and_resumed_ends_with_the_same_bits() {
    let (sources, histories) = (ring(16), walks(40, 16, 7));
    let mut whole = Kept::default();
    let straight = RecommenderTraining::new(small())
        .expect("settings")
        .run(&sources, &histories, &Device::cpu(), &(), &mut whole)
        .expect("trained");
    for stop in [1, 4, 11, 20] {
        let mut kept = Kept::default();
        let mut state = RecommenderTraining::new(small()).expect("settings").to_bytes().expect("bytes");
        let mut rounds = 0;
        let resumed = loop {
            rounds += 1;
            let mut training = RecommenderTraining::from_bytes(&state).expect("a state");
            let observer = StopAfter(AtomicU64::new(stop + 5 * rounds));
            match training.run(&sources, &histories, &Device::cpu(), &observer, &mut kept) {
                Ok(recommender) => break recommender,
                Err(Error::Interrupted(_)) => {}
                Err(other) => panic!("{other}"),
            }
            state = kept.state.clone().unwrap_or(state);
        };
        assert!(rounds > 1, "stopping after {stop} events stopped nothing");
        assert_eq!(resumed.to_bytes().expect("bytes"), straight.to_bytes().expect("bytes"), "stopped after {stop}");
        assert_eq!(kept.state, whole.state);
    }
    assert!(whole.epochs.iter().any(|e| e.best) && whole.epochs[0].loss > whole.epochs[whole.epochs.len() - 1].loss);
}

#[test]
fn other_histories_are_refused_when_a_training_is_resumed() {
    let sources = ring(16);
    let mut training = RecommenderTraining::new(RecommenderSettings { epochs: 1, ..small() }).expect("settings");
    training.run(&sources, &walks(20, 16, 6), &Device::cpu(), &(), &mut ()).expect("trained");
    let error = training.run(&sources, &walks(21, 16, 6), &Device::cpu(), &(), &mut ()).expect_err("refused");
    assert!(error.to_string().contains("other histories"), "{error}");
}

#[test]
fn training_stops_once_it_no_longer_improves() {
    // Nothing can be learned from histories that are all the same item.
    let histories = Sequences::from_lists((0..20).map(|_| vec![3u32; 6])).expect("sequences");
    let settings = RecommenderSettings { epochs: 50, patience: Some(2), ..small() };
    let mut training = RecommenderTraining::new(settings).expect("settings");
    training.run(&ring(16), &histories, &Device::cpu(), &(), &mut ()).expect("trained");
    assert!(training.is_finished() && training.epochs().len() < 50, "{} epochs", training.epochs().len());
}

#[test]
fn bad_input_is_refused_with_the_numbers() {
    let (sources, histories) = (ring(16), walks(20, 16, 6));
    let refused = |sources: &ItemSources, histories: &Sequences| {
        let mut training = RecommenderTraining::new(small()).expect("settings");
        training.run(sources, histories, &Device::cpu(), &(), &mut ()).expect_err("refused").to_string()
    };
    assert!(refused(&ring(8), &histories).contains("past the 8 rows"));
    let short = Sequences::from_lists([vec![1, 2, 3]]).expect("sequences");
    assert!(refused(&sources, &short).contains("none of 1 users has 4 items"));
    let recommender = train(RecommenderSettings { epochs: 1, ..small() }, &sources, &histories);
    let asked = |history: &[u32]| {
        recommender.recommend(&[&[1], history], 3, true, None, &Device::cpu()).expect_err("refused").to_string()
    };
    assert!(asked(&[]).contains("history 1 is empty"));
    assert!(asked(&[1, 16]).contains("history 1 names item 16, past the 16 items"));
    let single = Sequences::from_lists([vec![1]]).expect("sequences");
    let error = recommender.evaluate(&single, 0, false, &Device::cpu(), &()).expect_err("refused");
    assert!(error.to_string().contains("none of 1 users has 2 items"), "{error}");
    assert_eq!(questions(&single, 0).count(), 0);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_training() {
    let settings = RecommenderSettings { rate: 1e30, epochs: 3, patience: None, ..small() };
    let mut training = RecommenderTraining::new(settings).expect("settings");
    let error = training.run(&ring(16), &walks(20, 16, 6), &Device::cpu(), &(), &mut ()).expect_err("diverges");
    assert!(error.to_string().contains("not finite") && error.to_string().contains("rate"), "{error}");
}

/// The same training on a GPU, a software one say: other roundings, the same course.
#[cfg(feature = "gpu")]
#[test]
fn a_gpu_learns_what_the_cpu_learns() {
    let gpu = match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(gpu) => gpu,
        Err(e) if std::env::var("SEMEME_GPU").as_deref() == Ok("require") => panic!("no GPU: {e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            return;
        }
    };
    let vectors = (0..32).map(|i| ((i * 7) % 11) as f32).collect();
    let sources =
        ItemSources { identities: true, vectors: Some(Matrix::from_vec(16, 2, vectors).expect("vectors")), ..ring(16) };
    let (histories, settings) = (walks(40, 16, 7), RecommenderSettings { epochs: 4, smoothing: 0.1, ..small() });
    let run = |device: &Device| {
        let mut training = RecommenderTraining::new(settings.clone()).expect("settings");
        let made = training.run(&sources, &histories, device, &(), &mut ()).expect("trained");
        let measured = made.evaluate(&histories, 0, false, device, &()).expect("measured");
        let losses: Vec<f64> = training.epochs().iter().map(|e| e.loss).collect();
        (losses, measured.all.ndcg_at_10)
    };
    let (ours, theirs) = (run(&Device::cpu()), run(&gpu));
    for (cpu, gpu) in ours.0.iter().zip(&theirs.0) {
        assert!((cpu - gpu).abs() < 1e-3 * cpu, "{ours:?} {theirs:?}");
    }
    assert!((ours.1 - theirs.1).abs() < 0.05, "{ours:?} {theirs:?}");
}

#[test]
fn updates_from_several_batches_learn_what_one_batch_as_large_does() {
    let (sources, histories) = (ring(16), walks(40, 16, 7));
    let losses = |batch_tokens: usize, accumulate: usize| {
        let settings = RecommenderSettings { batch_tokens, accumulate, dropout: 0.0, epochs: 6, ..small() };
        let mut training = RecommenderTraining::new(settings).expect("settings");
        training.run(&sources, &histories, &Device::cpu(), &(), &mut ()).expect("trained");
        training.epochs().iter().map(|e| e.loss).collect::<Vec<_>>()
    };
    // Forty pieces of four steps: updates from 16 of them, and from the 8 that are left.
    let (one, four) = (losses(64, 1), losses(16, 4));
    assert!(one[5] < 0.9 * one[0], "{one:?}");
    for (a, b) in one.iter().zip(&four) {
        assert!((a - b).abs() <= 1e-3 * a, "{one:?} {four:?}");
    }
    assert_ne!(one[5].to_bits(), losses(16, 1)[5].to_bits());
}
