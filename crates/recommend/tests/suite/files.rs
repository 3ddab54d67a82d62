//! Recommenders and states as files: whole, exact, and hostile ones refused.

use crate::{ring, small, walks};
use sememe::{Device, Matrix};
use sememe_recommend::{ItemSources, Recommender, RecommenderSettings, RecommenderTraining};

fn trained() -> (Recommender, RecommenderTraining) {
    let vectors = Matrix::from_vec(16, 3, (0..48).map(|i| (i * 7 % 11) as f32).collect()).expect("vectors");
    let sources = ItemSources { vectors: Some(vectors), ..ring(16) };
    let mut training = RecommenderTraining::new(RecommenderSettings { epochs: 1, ..small() }).expect("settings");
    let made = training.run(&sources, &walks(20, 16, 6), &Device::cpu(), &(), &mut ()).expect("trained");
    let keys = (0..16).map(|i| format!("item\n\"{i}\"")).collect();
    (made.with_keys(keys).expect("keys"), training)
}

#[test]
fn a_recommender_survives_its_file() {
    let (recommender, training) = trained();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("r.safetensors");
    recommender.save(&path).expect("saved");
    let again = Recommender::load(&path).expect("loaded");
    assert_eq!(again, recommender);
    assert_eq!(again.keys().expect("keys")[3], "item\n\"3\"");
    assert_eq!(std::fs::read(&path).expect("bytes"), again.to_bytes().expect("bytes"));
    let ask = |r: &Recommender| r.recommend(&[&[1, 2]], 5, true, None, &Device::cpu()).expect("answers");
    assert_eq!(ask(&again), ask(&recommender));
    let state = training.to_bytes().expect("bytes");
    assert_eq!(RecommenderTraining::from_bytes(&state).expect("a state").to_bytes().expect("bytes"), state);
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let (recommender, training) = trained();
    let (bytes, state) = (recommender.to_bytes().expect("bytes"), training.to_bytes().expect("bytes"));
    for end in (0..bytes.len()).step_by(bytes.len() / 97) {
        assert!(Recommender::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 389) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        if let Ok(read) = Recommender::from_bytes(&damaged) {
            assert_ne!(read, recommender, "a bit at {at} was lost in silence");
            panic!("a bit at {at} was turned and nobody saw it");
        }
    }
    let error = Recommender::from_bytes(&state).expect_err("refused").to_string();
    assert!(error.contains("this is the state of a training, expected a trained recommender"), "{error}");
    let error = RecommenderTraining::from_bytes(&bytes).expect_err("refused").to_string();
    assert!(error.contains("this is a trained recommender"), "{error}");
    assert!(Recommender::from_bytes(&[]).is_err());
    let missing = Recommender::load("no/such/file.safetensors").expect_err("refused").to_string();
    assert!(missing.contains("no/such/file.safetensors"), "{missing}");
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let (recommender, _) = trained();
    assert!(recommender.clone().with_keys(vec!["a".into()]).is_err());
    assert!(recommender.with_keys(vec!["a".into(); 16]).is_err());
}
