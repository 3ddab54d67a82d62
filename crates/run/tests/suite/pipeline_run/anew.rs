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

#[test]
fn ids_that_cannot_be_read_are_an_error_and_lose_nothing() {
    let place = Place::new(120);
    place.run(&[]);
    place.run(&["train.levels=3"]);
    let set = ["train.levels=3", "train.codebook_size=6"];
    let train = RunOptions { phases: vec![Phase::Train], ..RunOptions::default() };
    place.run_with(&set, &train).expect("a codec");
    let previous = fs::read(place.out("assign/previous.jsonl")).expect("read");
    // A folder opens and cannot be read, for every user.
    let (ids, aside) = (place.out("assign/ids.jsonl"), place.path("aside"));
    fs::rename(&ids, &aside).expect("moved");
    fs::create_dir(&ids).expect("made");
    let assign = RunOptions { phases: vec![Phase::Assign], ..RunOptions::default() };
    let error = place.run_with(&set, &assign).expect_err("cannot be read").to_string();
    assert!(error.contains("ids.jsonl"), "{error}");
    assert!(fs::read(place.out("assign/previous.jsonl")).expect("still there") == previous);
    // With the file back the comparison is with it.
    fs::remove_dir(&ids).expect("removed");
    fs::rename(&aside, &ids).expect("moved back");
    let second = fs::read(&ids).expect("read");
    place.run(&set);
    assert!(fs::read(place.out("assign/previous.jsonl")).expect("read") == second);
}

#[test]
fn of_items_with_one_key_the_one_that_the_file_says_counts_everywhere() {
    let with_dialogues = |place: &Place| {
        let config = format!("{CONFIG}[dialogues]\nquery_end = \"[REC]\"\nvalidation = 0.2\n");
        fs::write(place.path("sememe.toml"), config).expect("written");
    };
    let plain = Place::new(60);
    with_dialogues(&plain);
    plain.run(&[]);
    for (which, at) in [("first", 60), ("last", 0)] {
        // Item 7 a second time, with another title and other vectors: after all others, or before them.
        let place = Place::new(60);
        with_dialogues(&place);
        let mut catalogue = Catalogue::new(60);
        let twice = catalogue.keys[7].clone();
        catalogue.keys.insert(at, twice.clone());
        catalogue.titles.insert(at, "Another".into());
        catalogue.rows.insert(at, vec![9.0; DIMS]);
        catalogue.write(place.0.path());
        place.refused(&[], &["have the same key"]);
        let setting = format!("prep.on_duplicate={which}");
        let report = place.run(&[&setting]);
        assert!(report.phases[0].summary.contains("1 "), "{}", report.phases[0].summary);
        assert_eq!(place.lines("assign/ids.jsonl"), plain.lines("assign/ids.jsonl"), "{which}");
        for name in ["dialogues/train.jsonl", "dialogues/validation.jsonl"] {
            assert_eq!(place.lines(name), plain.lines(name), "{which}: {name}");
        }
    }
    let set = ["prep.on_duplicate=first"];
    assert_eq!(ran(&plain.run(&set)), ["prep", "dialogues", "report"], "nothing was there twice");
}
