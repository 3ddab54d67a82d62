//! Phases that begin anew and are stopped at once: what an earlier run left is not gone on with.

use super::*;

/// Lets a phase begin and fail before it has done anything.
fn fails_at_once(place: &Place, set: &[&str], phase: Phase) {
    let events = place.out("tracking/events").join(phase.name());
    fs::remove_dir_all(&events).expect("removed");
    fs::write(&events, "in the way").expect("written");
    let options = RunOptions { phases: vec![phase], ..RunOptions::default() };
    place.run_with(set, &options).expect_err("its figures have no folder");
    fs::remove_file(&events).expect("removed");
}

#[test]
fn a_training_of_new_rows_does_not_go_on_from_the_old_ones() {
    let place = Place::new(120);
    let set = [
        "train.method=rqvae",
        "train.on_new_rows=retrain",
        "train.epochs=2",
        "train.rqvae={hidden=[8], code_dims=4, batch_rows=32}",
    ];
    place.run(&set);
    let mut other = Catalogue::new(120);
    other.rows.iter_mut().flatten().for_each(|value| *value += 1.0);
    other.write(place.0.path());
    let options = RunOptions { phases: vec![Phase::Prep, Phase::Embed], ..RunOptions::default() };
    place.run_with(&set, &options).expect("rows");
    fails_at_once(&place, &set, Phase::Train);
    let report = place.run(&set);
    assert!(ran(&report).contains(&"train"));
    // As if nobody had trained here before.
    let fresh = Place::new(120);
    other.write(fresh.0.path());
    fresh.run(&set);
    let codec = |place: &Place| fs::read(place.out("train/codec.safetensors")).expect("a codec");
    assert!(codec(&place) == codec(&fresh));
}

#[test]
fn ids_are_compared_with_those_of_the_run_before() {
    let place = Place::new(120);
    place.run(&[]);
    place.run(&["train.levels=3"]);
    // `previous.jsonl` holds the first run's now; the third is stopped as it begins to assign.
    let set = ["train.levels=3", "train.codebook_size=6"];
    let options = RunOptions { phases: vec![Phase::Train], ..RunOptions::default() };
    place.run_with(&set, &options).expect("a codec");
    let second = fs::read(place.out("assign/ids.jsonl")).expect("read");
    fails_at_once(&place, &set, Phase::Assign);
    place.run(&set);
    assert!(fs::read(place.out("assign/previous.jsonl")).expect("read") == second);
}
