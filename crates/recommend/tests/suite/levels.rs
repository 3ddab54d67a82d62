//! All codes at once as a user meets it: one head a level, all items ranked.

use crate::training::{Kept, StopAfter};
use crate::{ring, small, walks};
use sememe::{Codes, Device, Error, Sequences};
use sememe_recommend::{
    ItemSources, Prediction, RecommendOptions, Recommender, RecommenderSettings, RecommenderTraining,
};
use std::sync::atomic::AtomicU64;

fn levels() -> RecommenderSettings {
    RecommenderSettings { prediction: Prediction::Levels, ..small() }
}

fn train(settings: RecommenderSettings, sources: &ItemSources, histories: &Sequences) -> Recommender {
    RecommenderTraining::new(settings)
        .expect("settings")
        .run(sources, histories, &Device::cpu(), &(), &mut ())
        .expect("trained")
}

#[test]
fn a_walk_on_a_ring_is_learned_by_all_heads() {
    let histories = walks(64, 16, 12);
    for sources in [ring(16), ItemSources { identities: true, prefixes: true, ..ring(16) }] {
        let recommender = train(RecommenderSettings { epochs: 25, ..levels() }, &sources, &histories);
        let measures = recommender.evaluate(&histories, 0, false, &Device::cpu(), &()).expect("measured");
        assert!(measures.all.ndcg_at_5 > 0.95, "{measures:?}");
        let next = recommender.recommend(&[&[1, 2, 3], &[15]], 3, true, None, &Device::cpu()).expect("answers");
        assert_eq!((next[0][0].item, next[1][0].item), (4, 0));
        let all = &recommender.recommend(&[&[1, 2, 3]], 16, false, None, &Device::cpu()).expect("answers")[0];
        assert!((all.iter().map(|r| r.log_probability.exp()).sum::<f64>() - 1.0).abs() < 1e-6);
    }
}

/// Levels of different sizes, one of them of a single code, and items on one ID.
#[test]
fn items_on_one_id_tie() {
    let codes = Codes::from_vec(5, 3, vec![0, 0, 9, 1, 0, 2, 1, 0, 2, 2, 0, 0, 0, 0, 1]).expect("codes");
    let sources = ItemSources { items: 5, codes: Some(codes), ..ItemSources::default() };
    let recommender = train(RecommenderSettings { epochs: 2, ..levels() }, &sources, &walks(30, 5, 6));
    for history in [&[4u32, 3][..], &[0], &[1, 2, 3, 4, 0, 1, 2, 3, 4, 0]] {
        let list = &recommender.recommend(&[history], 5, false, None, &Device::cpu()).expect("answers")[0];
        let of = |item: u32| list.iter().find(|r| r.item == item).expect("listed").log_probability;
        assert!(of(1) == of(2) && of(0) != of(1));
        assert!((list.iter().map(|r| r.log_probability.exp()).sum::<f64>() - 1.0).abs() < 1e-6);
    }
    // One item, which is certain.
    let one = ItemSources { items: 1, codes: Some(Codes::from_vec(1, 2, vec![3, 0]).expect("codes")), ..sources };
    let histories = Sequences::from_lists((0..9).map(|_| vec![0u32; 5])).expect("sequences");
    let recommender = train(RecommenderSettings { epochs: 1, ..levels() }, &one, &histories);
    let list = &recommender.recommend(&[&[0]], 3, false, None, &Device::cpu()).expect("answers")[0];
    assert!(list.len() == 1 && list[0].log_probability.abs() < 1e-9, "{list:?}");
}

#[test]
fn a_training_that_is_stopped_and_resumed_ends_with_the_same_bits() {
    let (sources, histories) = (ring(16), walks(40, 16, 7));
    let settings = RecommenderSettings { epochs: 6, smoothing: 0.1, ..levels() };
    let mut whole = Kept::default();
    let straight = RecommenderTraining::new(settings.clone())
        .expect("settings")
        .run(&sources, &histories, &Device::cpu(), &(), &mut whole)
        .expect("trained");
    let mut kept = Kept::default();
    let mut state = RecommenderTraining::new(settings).expect("settings").to_bytes().expect("bytes");
    let mut rounds = 0;
    let resumed = loop {
        rounds += 1;
        let mut training = RecommenderTraining::from_bytes(&state).expect("a state");
        let observer = StopAfter(AtomicU64::new(9 + 9 * rounds));
        match training.run(&sources, &histories, &Device::cpu(), &observer, &mut kept) {
            Ok(recommender) => break recommender,
            Err(Error::Interrupted(_)) => {}
            Err(other) => panic!("{other}"),
        }
        state = kept.state.clone().unwrap_or(state);
    };
    assert!(rounds > 1, "nothing was stopped");
    assert_eq!(resumed.to_bytes().expect("bytes"), straight.to_bytes().expect("bytes"));
    assert_eq!(kept.state, whole.state);
    let again = Recommender::from_bytes(&straight.to_bytes().expect("bytes")).expect("loaded");
    assert_eq!(again, straight);
    // A file that lacks what the heads are made of, or has other settings.
    let bytes = straight.to_bytes().expect("bytes");
    for end in [0, 9, bytes.len() / 2, bytes.len() - 1] {
        assert!(Recommender::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
}

#[test]
fn what_has_no_meaning_is_refused() {
    let histories = walks(20, 16, 6);
    let refused = |sources: &ItemSources| {
        let mut training = RecommenderTraining::new(levels()).expect("settings");
        training.run(sources, &histories, &Device::cpu(), &(), &mut ()).expect_err("refused").to_string()
    };
    let none = ItemSources { codes: None, identities: true, ..ring(16) };
    assert!(refused(&none).contains("predicts the codes of an ID, and there are none"));
    let long = Codes::from_vec(16, 300, vec![1; 4800]).expect("codes");
    assert!(refused(&ItemSources { codes: Some(long), ..ring(16) }).contains("at most 255 levels, got 300"));
    let recommender = train(RecommenderSettings { epochs: 1, ..levels() }, &ring(16), &histories);
    let options = RecommendOptions { beams: Some(3), ..RecommendOptions::default() };
    let error = recommender.recommend_with(&[&[1]], &options, None, &Device::cpu()).expect_err("refused");
    assert!(error.to_string().contains("ranks all items"), "{error}");
}

/// The same training on a GPU, a software one say: other roundings, the same course and the same answers.
#[cfg(feature = "gpu")]
#[test]
fn a_gpu_learns_and_ranks_as_the_cpu_does() {
    let gpu = match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(gpu) => gpu,
        Err(e) if std::env::var("SEMEME_GPU").as_deref() == Ok("require") => panic!("no GPU: {e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            return;
        }
    };
    let (sources, histories) = (ItemSources { identities: true, ..ring(19) }, walks(40, 19, 7));
    let settings = RecommenderSettings { epochs: 3, smoothing: 0.1, ..levels() };
    let run = |device: &Device| {
        let mut training = RecommenderTraining::new(settings.clone()).expect("settings");
        let made = training.run(&sources, &histories, device, &(), &mut ()).expect("trained");
        let losses: Vec<f64> = training.epochs().iter().map(|e| e.loss).collect();
        (losses, made)
    };
    let (ours, theirs) = (run(&Device::cpu()), run(&gpu));
    for (cpu, gpu) in ours.0.iter().zip(&theirs.0) {
        assert!((cpu - gpu).abs() < 1e-3 * cpu, "{:?} {:?}", ours.0, theirs.0);
    }
    let ask = |device: &Device| {
        let mut lists = ours.1.recommend(&[&[1, 2, 3], &[9]], 19, true, None, device).expect("answers");
        lists.iter_mut().for_each(|list| list.sort_by_key(|r| r.item));
        lists
    };
    for (cpu, gpu) in ask(&Device::cpu()).iter().flatten().zip(ask(&gpu).iter().flatten()) {
        assert!(cpu.item == gpu.item && (cpu.log_probability - gpu.log_probability).abs() < 1e-5, "{cpu:?} {gpu:?}");
    }
}
