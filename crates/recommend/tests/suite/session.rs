//! Sessions: one network for many questions, and wishes as questions.

use crate::{ring, small, walks};
use sememe::{Device, Error, Matrix, Sequences};
use sememe_recommend::{
    ItemSources, Prediction, RecommendOptions, Recommender, RecommenderQuery, RecommenderSettings, RecommenderTraining,
};
use std::thread;

fn train(settings: RecommenderSettings, sources: &ItemSources, histories: &Sequences) -> Recommender {
    RecommenderTraining::new(settings)
        .expect("settings")
        .run(sources, histories, &Device::cpu(), &(), &mut ())
        .expect("trained")
}

fn after(history: &[u32]) -> RecommenderQuery<'_> {
    RecommenderQuery { history, wish: None }
}

/// Vectors of items on a ring, far from the origin.
fn turns(n: u32) -> Matrix {
    let values = (0..n).flat_map(|i| {
        let turn = f64::from(i) * std::f64::consts::TAU / f64::from(n);
        [turn.cos() as f32 + 3.0, turn.sin() as f32, (2.0 * turn).cos() as f32, (2.0 * turn).sin() as f32]
    });
    Matrix::from_vec(n as usize, 4, values.collect()).expect("vectors")
}

fn from_vectors() -> Recommender {
    let sources = ItemSources { items: 16, vectors: Some(turns(16)), ..ItemSources::default() };
    let settings = RecommenderSettings { epochs: 60, dropout: 0.0, patience: None, ..small() };
    train(settings, &sources, &walks(64, 16, 7))
}

fn devices() -> Vec<Device> {
    let mut out = vec![Device::cpu()];
    #[cfg(feature = "gpu")]
    match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(gpu) => out.push(gpu),
        Err(e) if std::env::var("SEMEME_GPU").as_deref() == Ok("require") => panic!("no GPU: {e}"),
        Err(e) => eprintln!("no GPU: {e}"),
    }
    out
}

#[test]
fn a_session_answers_what_single_calls_answer_and_in_any_order() {
    let (sources, histories) = (ring(16), walks(40, 16, 7));
    let recommender = train(RecommenderSettings { epochs: 3, ..small() }, &sources, &histories);
    for device in devices() {
        let mut session = recommender.session(&device).expect("a session");
        assert_eq!(session.items(), 16);
        // More tokens than a batch of 64 takes, and longer than the 8 positions.
        let asked: Vec<Vec<u32>> = (0..30).map(|i| (0..1 + i % 12).map(|t| (i + t) % 16).collect()).collect();
        let queries: Vec<_> = asked.iter().map(|h| after(h)).collect();
        let together = session.recommend(&queries, 16, false, None).expect("answers");
        assert_eq!(together.len(), 30);
        for (query, list) in queries.iter().zip(&together).rev() {
            let alone = &session.recommend(&[*query], 16, false, None).expect("an answer")[0];
            let single = &recommender.recommend(&[query.history], 16, false, None, &device).expect("an answer")[0];
            assert_eq!(alone, single);
            for (a, b) in alone.iter().zip(list) {
                assert!((a.log_probability - b.log_probability).abs() < 1e-5, "{alone:?} {list:?}");
            }
        }
        let measured = session.evaluate(&histories, 0, false, &()).expect("measured");
        assert_eq!(measured, recommender.evaluate(&histories, 0, false, &device, &()).expect("measured"));
        let even = |item: u32| item.is_multiple_of(2);
        let lists = session.recommend(&[after(&[4, 6, 7]), after(&[0])], 16, true, Some(&even)).expect("answers");
        let mut items: Vec<u32> = lists[0].iter().map(|r| r.item).collect();
        items.sort_unstable();
        assert_eq!((items, lists[1].len()), (vec![0, 2, 8, 10, 12, 14], 7));
        assert_eq!(session.recommend(&[], 3, true, None).expect("no answers"), Vec::<Vec<_>>::new());
    }
}

#[test]
fn a_session_outlives_its_recommender_and_goes_to_other_threads() {
    let recommender = train(RecommenderSettings { epochs: 2, ..small() }, &ring(16), &walks(20, 16, 6));
    let want = recommender.recommend(&[&[1, 2]], 4, true, None, &Device::cpu()).expect("answers");
    let mut session = recommender.session(&Device::cpu()).expect("a session");
    drop(recommender);
    let got = thread::spawn(move || session.recommend(&[after(&[1, 2])], 4, true, None)).join().expect("joined");
    assert_eq!(got.expect("answers"), want);
}

#[test]
fn a_wish_is_read_as_an_item_that_has_this_vector() {
    let recommender = from_vectors();
    let vectors = turns(16);
    for device in devices() {
        let mut session = recommender.session(&device).expect("a session");
        for item in 0..16u32 {
            let wish = Some(vectors.row(item as usize));
            let before = [(item + 14) % 16, (item + 15) % 16];
            for history in [&before[..], &[]] {
                let taken: Vec<u32> = history.iter().copied().chain([item]).collect();
                let lists = session
                    .recommend(&[RecommenderQuery { history, wish }, after(&taken)], 16, false, None)
                    .expect("answers");
                for (a, b) in lists[0].iter().zip(&lists[1]) {
                    assert!((a.log_probability - b.log_probability).abs() < 1e-3, "{lists:?}");
                }
                assert_eq!(lists[0][0].item, (item + 1) % 16, "{lists:?}");
            }
        }
        // Between two items of the ring, which no item is: what comes after them.
        let middle: Vec<f32> = vectors.row(4).iter().zip(vectors.row(5)).map(|(a, b)| 0.5 * (a + b)).collect();
        let query = RecommenderQuery { history: &[], wish: Some(&middle) };
        let list = &session.recommend(&[query], 2, false, None).expect("an answer")[0];
        let mut first = [list[0].item, list[1].item];
        first.sort_unstable();
        assert_eq!(first, [5, 6], "{list:?}");
    }
}

#[test]
fn a_wish_takes_the_last_place_of_a_long_history() {
    let recommender = from_vectors();
    let vectors = turns(16);
    let mut session = recommender.session(&Device::cpu()).expect("a session");
    let long: Vec<u32> = (0..40).map(|i| i % 16).collect();
    let wish = Some(vectors.row(3));
    // Eight positions: seven items and the wish.
    let lists = session
        .recommend(
            &[RecommenderQuery { history: &long, wish }, RecommenderQuery { history: &long[33..], wish }],
            16,
            false,
            None,
        )
        .expect("answers");
    for (a, b) in lists[0].iter().zip(&lists[1]) {
        assert!((a.log_probability - b.log_probability).abs() < 1e-5);
    }
    // One position: the wish alone.
    let sources = ItemSources { items: 16, vectors: Some(turns(16)), ..ItemSources::default() };
    let short = train(RecommenderSettings { positions: 1, epochs: 1, ..small() }, &sources, &walks(20, 16, 6));
    let mut session = short.session(&Device::cpu()).expect("a session");
    let query = |history| RecommenderQuery { history, wish };
    let lists = session.recommend(&[query(&[1, 2]), query(&[])], 16, false, None).expect("answers");
    assert_eq!(lists[0], lists[1]);
}

#[test]
fn wishes_that_cannot_be_read_are_refused_with_the_numbers() {
    let mut session = from_vectors().session(&Device::cpu()).expect("a session");
    let mut refused = |wish: &[f32]| {
        let good = [3.0f32, 0.0, 0.0, 1.0];
        let queries = [
            RecommenderQuery { history: &[], wish: Some(&good) },
            RecommenderQuery { history: &[1], wish: Some(wish) },
        ];
        session.recommend(&queries, 3, true, None).expect_err("refused").to_string()
    };
    let message = refused(&[1.0, 2.0, 3.0]);
    assert!(message.contains("wish 1") && message.contains('4') && message.contains('3'), "{message}");
    assert!(refused(&[1.0, f32::NAN, 0.0, 0.0]).contains("value 1 of wish 1 is NaN"));
    assert!(refused(&[1.0, 0.0, f32::INFINITY, 0.0]).contains("value 2 of wish 1 is inf"));
    assert!(refused(&[1e20, 0.0, 0.0, 0.0]).contains("e19 times as far"));
    assert!(refused(&[f32::MAX; 4]).contains("times as far"));
    let queries = [RecommenderQuery::default()];
    assert!(session.recommend(&queries, 3, true, None).expect_err("refused").to_string().contains("0 is empty"));
    let codes = train(RecommenderSettings { epochs: 1, ..small() }, &ring(16), &walks(20, 16, 6));
    let query = RecommenderQuery { history: &[1], wish: Some(&[0.0; 4]) };
    let error = codes.session(&Device::cpu()).expect("a session").recommend(&[query], 3, true, None);
    let error = error.expect_err("refused");
    assert!(matches!(&error, Error::Config { .. }) && error.to_string().contains("without vectors"), "{error}");
}

#[test]
fn wishes_within_the_bound_are_read_and_far_beyond_it_they_are_not() {
    let recommender = from_vectors();
    let bound = recommender.wish_bound().expect("a bound");
    assert!(bound > 1e4 && bound < 1e7, "{bound}");
    let mut session = recommender.session(&Device::cpu()).expect("a session");
    let mut read = |most: f64| {
        let signs = [[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, -1.0]];
        signs.map(|signs| {
            let wish = signs.map(|sign| (sign * most) as f32);
            session.recommend(&[RecommenderQuery { history: &[], wish: Some(&wish) }], 3, true, None).is_ok()
        })
    };
    assert_eq!((read(0.0), read(bound)), ([true; 4], [true; 4]));
    // A single value may be larger by the root of how many there are.
    assert_eq!(read(1.1 * bound), [false, false, false, true]);
    assert_eq!(read(2.1 * bound), [false; 4]);
    // The same values for all items stand for any: nothing is too far. Without vectors, nothing is read.
    let same =
        ItemSources { items: 16, vectors: Some(Matrix::from_vec(16, 2, vec![0.5; 32]).expect("vectors")), ..ring(16) };
    let same = train(RecommenderSettings { epochs: 1, ..small() }, &same, &walks(20, 16, 6));
    assert_eq!(same.wish_bound(), Some(f64::from(f32::MAX)));
    let codes = train(RecommenderSettings { epochs: 1, ..small() }, &ring(16), &walks(20, 16, 6));
    assert_eq!(codes.wish_bound(), None);
}

#[test]
fn a_session_predicts_ids_code_by_code_too() {
    let settings = RecommenderSettings { prediction: Prediction::Ordered, epochs: 3, ..small() };
    let (sources, histories) = (ItemSources { vectors: Some(turns(16)), ..ring(16) }, walks(40, 16, 7));
    let recommender = train(settings.clone(), &sources, &histories);
    for device in devices() {
        let mut session = recommender.session(&device).expect("a session");
        let options = RecommendOptions { count: 5, beams: Some(16), ..RecommendOptions::default() };
        for history in [&[1u32, 2, 3][..], &[15], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            let got = session.recommend_with(&[after(history)], &options, None).expect("answers");
            let want = recommender.recommend_with(&[history], &options, None, &device).expect("answers");
            assert_eq!((got[0].len(), &got), (5, &want));
        }
        let wish = RecommenderQuery { history: &[1], wish: Some(&[3.0, 0.0, 0.0, 1.0]) };
        let error = session.recommend(&[wish], 3, true, None).expect_err("refused").to_string();
        assert!(error.contains("code by code"), "{error}");
    }
    // An update from several batches is that of their join.
    let losses = |batch_tokens: usize, accumulate: usize| {
        let settings = RecommenderSettings { batch_tokens, accumulate, dropout: 0.0, ..settings.clone() };
        let mut training = RecommenderTraining::new(settings).expect("settings");
        training.run(&sources, &histories, &Device::cpu(), &(), &mut ()).expect("trained");
        training.epochs().iter().map(|e| e.loss).collect::<Vec<_>>()
    };
    // Five items of two codes, less the last.
    let tokens = 9;
    let (one, four) = (losses(16 * tokens, 1), losses(4 * tokens, 4));
    for (a, b) in one.iter().zip(&four) {
        assert!((a - b).abs() <= 1e-3 * a, "{one:?} {four:?}");
    }
}
