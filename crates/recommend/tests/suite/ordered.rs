//! Ordered prediction as a user meets it: IDs code by code, and what a search finds.

use crate::training::{Kept, StopAfter};
use crate::{ring, small, walks};
use sememe::rng::stream;
use sememe::{Codes, Device, Error, Matrix, Sequences};
use sememe_recommend::{
    ItemSources, Prediction, RecommendOptions, Recommender, RecommenderSettings, RecommenderTraining, Sampling,
};
use std::sync::atomic::AtomicU64;

fn ordered() -> RecommenderSettings {
    RecommenderSettings { prediction: Prediction::Ordered, ..small() }
}

fn train(settings: RecommenderSettings, sources: &ItemSources, histories: &Sequences) -> Recommender {
    RecommenderTraining::new(settings)
        .expect("settings")
        .run(sources, histories, &Device::cpu(), &(), &mut ())
        .expect("trained")
}

/// Items on a ring, with vectors that say where each stands.
fn ring_with_vectors(n: u32) -> ItemSources {
    let turn = |i: u32| f64::from(i) * std::f64::consts::TAU / f64::from(n);
    let values = (0..n).flat_map(|i| [turn(i).cos() as f32, turn(i).sin() as f32, 1.0]).collect();
    ItemSources { vectors: Some(Matrix::from_vec(n as usize, 3, values).expect("vectors")), ..ring(n) }
}

#[test]
fn a_walk_on_a_ring_is_learned_code_by_code() {
    let histories = walks(64, 16, 12);
    for sources in [ring(16), ring_with_vectors(16)] {
        let recommender = train(RecommenderSettings { epochs: 25, ..ordered() }, &sources, &histories);
        let measures = recommender.evaluate(&histories, 0, false, &Device::cpu(), &()).expect("measured");
        assert!(measures.all.ndcg_at_5 > 0.95, "{measures:?}");
        assert_eq!(measures.all.questions, 64);
        let next = recommender.recommend(&[&[1, 2, 3], &[15]], 3, true, None, &Device::cpu()).expect("answers");
        assert_eq!((next[0][0].item, next[1][0].item), (4, 0));
        // One beam finds what it stands on.
        let one = recommender.evaluate_with(&histories, 0, false, Some(1), &Device::cpu(), &()).expect("measured");
        assert!(one.all.ndcg_at_5 > 0.9 && one.coverage_at_10 <= 1.0, "{one:?}");
    }
}

#[test]
fn items_on_one_id_tie_and_share_its_probability() {
    // Items 0 and 5 share an ID, and so do 1, 2 and 3.
    let codes = Codes::from_vec(7, 2, vec![0, 0, 1, 1, 1, 1, 1, 1, 2, 0, 0, 0, 2, 2]).expect("codes");
    let sources = ItemSources { items: 7, codes: Some(codes), ..ItemSources::default() };
    let recommender = train(RecommenderSettings { epochs: 2, ..ordered() }, &sources, &walks(30, 7, 6));
    let list = &recommender.recommend(&[&[4, 6]], 7, false, None, &Device::cpu()).expect("answers")[0];
    assert_eq!(list.len(), 7);
    let of = |item: u32| list.iter().find(|r| r.item == item).expect("listed").log_probability;
    assert!((list.iter().map(|r| r.log_probability.exp()).sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(of(0) == of(5) && of(1) == of(2) && of(2) == of(3) && of(0) != of(1));
    // Seen items are left out, those that share their IDs are not, and no probability changes.
    let hidden = &recommender.recommend(&[&[4, 1, 0]], 7, true, None, &Device::cpu()).expect("answers")[0];
    let mut items: Vec<u32> = hidden.iter().map(|r| r.item).collect();
    items.sort_unstable();
    assert_eq!(items, [2, 3, 5, 6]);
    let all = &recommender.recommend(&[&[4, 1, 0]], 7, false, None, &Device::cpu()).expect("answers")[0];
    assert!(hidden.iter().all(|r| all.contains(r)));
}

#[test]
fn every_answer_exists_and_a_wide_search_adds_up_to_one() {
    for seed in 0..6 {
        let mut random = stream(seed, "codes", 0);
        let (items, levels) = (5 + 7 * seed as usize, 1 + seed as usize % 4);
        let codes = (0..items * levels).map(|_| random.below(3) as u32).collect();
        let codes = Some(Codes::from_vec(items, levels, codes).expect("codes"));
        let sources = ItemSources { items, codes, ..ItemSources::default() };
        let settings = RecommenderSettings { epochs: 1, seed, ..ordered() };
        let recommender = train(settings, &sources, &walks(20, items as u32, 6));
        let even = |item: u32| item.is_multiple_of(2);
        let histories: [&[u32]; 3] = [&[0], &[1, 2, 3], &[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]];
        let ask = |options: &RecommendOptions, allowed: Option<&(dyn Fn(u32) -> bool + Sync)>| {
            recommender.recommend_with(&histories, options, allowed, &Device::cpu()).expect("answers")
        };
        let all = RecommendOptions { count: items, hide_seen: false, beams: Some(1000), sampling: None };
        for list in ask(&all, None) {
            assert_eq!(list.len(), items, "seed {seed}");
            assert!((list.iter().map(|r| r.log_probability.exp()).sum::<f64>() - 1.0).abs() < 1e-6, "seed {seed}");
        }
        let sampling = Some(Sampling { temperature: 1.3, top_p: 0.9, seed });
        let some = RecommendOptions { count: 6, beams: Some(4), hide_seen: true, sampling };
        for (options, allowed) in [(RecommendOptions { sampling: None, ..some }, true), (some, true), (some, false)] {
            let lists = ask(&options, if allowed { Some(&even) } else { None });
            for (list, history) in lists.iter().zip(&histories) {
                assert!(list.len() <= 6);
                for r in list {
                    assert!((r.item as usize) < items && !history.contains(&r.item) && (!allowed || even(r.item)));
                    assert!(r.log_probability <= 0.0, "{r:?}");
                }
                assert!(list.windows(2).all(|pair| pair[0].log_probability >= pair[1].log_probability));
            }
        }
        let none = |_: u32| false;
        assert!(ask(&all, Some(&none)).iter().all(Vec::is_empty));
    }
}

#[test]
fn answers_do_not_depend_on_what_is_asked_beside_them() {
    let sources = ring_with_vectors(16);
    let settings = RecommenderSettings { epochs: 2, batch_tokens: 32, ..ordered() };
    let recommender = train(settings, &sources, &walks(20, 16, 6));
    let histories: Vec<Vec<u32>> = (0..40).map(|i| (0..1 + i % 11).map(|t| (i * 3 + t) % 16).collect()).collect();
    let asked: Vec<&[u32]> = histories.iter().map(Vec::as_slice).collect();
    let together = recommender.recommend(&asked, 16, true, None, &Device::cpu()).expect("answers");
    for (history, list) in asked.iter().zip(&together) {
        let alone = &recommender.recommend(&[history], 16, true, None, &Device::cpu()).expect("answers")[0];
        assert_eq!(alone.len(), list.len());
        for (a, b) in alone.iter().zip(list) {
            assert!((a.log_probability - b.log_probability).abs() < 1e-5, "{a:?} {b:?}");
        }
    }
    assert!(recommender.recommend(&[], 3, true, None, &Device::cpu()).expect("no histories").is_empty());
}

#[test]
fn a_training_that_is_stopped_and_resumed_ends_with_the_same_bits() {
    let (sources, histories) = (ring_with_vectors(16), walks(40, 16, 7));
    let settings = RecommenderSettings { epochs: 6, smoothing: 0.1, ..ordered() };
    let mut whole = Kept::default();
    let straight = RecommenderTraining::new(settings.clone())
        .expect("settings")
        .run(&sources, &histories, &Device::cpu(), &(), &mut whole)
        .expect("trained");
    for stop in [1, 9, 20] {
        let mut kept = Kept::default();
        let mut state = RecommenderTraining::new(settings.clone()).expect("settings").to_bytes().expect("bytes");
        let mut rounds = 0;
        let resumed = loop {
            rounds += 1;
            let mut training = RecommenderTraining::from_bytes(&state).expect("a state");
            let observer = StopAfter(AtomicU64::new(stop + 9 * rounds));
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
    let again = Recommender::from_bytes(&straight.to_bytes().expect("bytes")).expect("loaded");
    assert_eq!(again, straight);
    let ask = |r: &Recommender| r.recommend(&[&[1, 2]], 5, true, None, &Device::cpu()).expect("answers");
    assert_eq!(ask(&again), ask(&straight));
}

#[test]
fn what_has_no_meaning_is_refused() {
    let (sources, histories) = (ring(16), walks(20, 16, 6));
    let refused = |settings: RecommenderSettings, sources: &ItemSources| {
        let mut training = RecommenderTraining::new(settings).expect("settings");
        training.run(sources, &histories, &Device::cpu(), &(), &mut ()).expect_err("refused").to_string()
    };
    let with = |change: fn(&mut ItemSources)| {
        let mut sources = ring_with_vectors(16);
        change(&mut sources);
        refused(ordered(), &sources)
    };
    assert!(with(|s| s.identities = true).contains("identities are none"));
    assert!(with(|s| s.prefixes = true).contains("no vectors of prefixes"));
    assert!(with(|s| s.codes = None).contains("there are none"));
    let long = Codes::from_vec(16, 300, vec![1; 4800]).expect("codes");
    assert!(refused(ordered(), &ItemSources { codes: Some(long), ..ring(16) }).contains("at most 255 levels, got 300"));
    let short = refused(RecommenderSettings { batch_tokens: 17, ..ordered() }, &sources);
    assert!(short.contains("at least 18") && short.contains("got 17"), "{short}");
    let items = train(RecommenderSettings { epochs: 1, ..small() }, &sources, &histories);
    let ask = |options: RecommendOptions| {
        items.recommend_with(&[&[1]], &options, None, &Device::cpu()).expect_err("refused").to_string()
    };
    assert!(ask(RecommendOptions { beams: Some(3), ..RecommendOptions::default() }).contains("ranks all items"));
    let sampling = Some(Sampling::default());
    assert!(ask(RecommendOptions { sampling, ..RecommendOptions::default() }).contains("ranks all items"));
    let error = items.evaluate_with(&histories, 0, false, Some(3), &Device::cpu(), &()).expect_err("refused");
    assert!(error.to_string().contains("ranks all items"), "{error}");
    let codes = train(RecommenderSettings { epochs: 1, ..ordered() }, &sources, &histories);
    let ask = |beams| {
        let options = RecommendOptions { beams: Some(beams), ..RecommendOptions::default() };
        codes.recommend_with(&[&[1]], &options, None, &Device::cpu()).expect_err("refused").to_string()
    };
    assert!(ask(0).contains("got 0"));
}

#[test]
fn files_of_before_predict_items() {
    let recommender = train(RecommenderSettings { epochs: 1, ..small() }, &ring(16), &walks(20, 16, 6));
    let text = serde_json::to_string(recommender.settings()).expect("JSON");
    let before = text.replace("\"prediction\":\"items\",", "");
    assert_ne!(text, before);
    assert_eq!(serde_json::from_str::<RecommenderSettings>(&before).expect("settings"), *recommender.settings());
}

/// The same training on a GPU, a software one say: other roundings, the same course and the same answers.
#[cfg(feature = "gpu")]
#[test]
fn a_gpu_learns_and_finds_what_the_cpu_does() {
    let gpu = match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(gpu) => gpu,
        Err(e) if std::env::var("SEMEME_GPU").as_deref() == Ok("require") => panic!("no GPU: {e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            return;
        }
    };
    let (sources, histories) = (ring_with_vectors(16), walks(40, 16, 7));
    let settings = RecommenderSettings { epochs: 3, smoothing: 0.1, ..ordered() };
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
    // One recommender on both devices.
    let options = RecommendOptions { count: 16, beams: Some(16), hide_seen: true, sampling: None };
    let ask = |device: &Device| {
        let mut lists = ours.1.recommend_with(&[&[1, 2, 3], &[9]], &options, None, device).expect("answers");
        lists.iter_mut().for_each(|list| list.sort_by_key(|r| r.item));
        lists
    };
    for (cpu, gpu) in ask(&Device::cpu()).iter().flatten().zip(ask(&gpu).iter().flatten()) {
        assert!(cpu.item == gpu.item && (cpu.log_probability - gpu.log_probability).abs() < 1e-5, "{cpu:?} {gpu:?}");
    }
}
