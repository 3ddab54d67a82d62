//! Phase recommend: what it leaves, what makes it run again, and that a stop changes nothing.

use super::*;
use sememe::progress::{Event, Observer};
use sememe_recommend::Recommender;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

const SECTION: &str = "[recommend]\ninteractions = \"walks.csv\"\ndims = 16\nlayers = 1\npositions = 8\n\
    batch_tokens = 64\nepochs = 3\ndropout = 0.1\nrate = 0.01\n";

/// Users who walk from item to item; `more` adds lines.
fn walks(more: &str) -> String {
    let keys = Catalogue::new(120).keys;
    let mut out = "user,item,time\n".to_owned();
    for user in 0..60usize {
        for time in 0..6 {
            let _ = writeln!(out, "{user},{},{time}", keys[(user * 7 + time) % 120]);
        }
    }
    out + more
}

fn place() -> Place {
    let place = Place::new(120);
    fs::write(place.path("sememe.toml"), format!("{CONFIG}{SECTION}")).expect("written");
    fs::write(place.path("walks.csv"), walks("")).expect("written");
    place
}

#[test]
fn a_recommender_is_a_phase_where_it_is_configured() {
    let place = place();
    let report = place.run(&[]);
    assert_eq!(ran(&report), ["prep", "embed", "train", "assign", "tokenize", "recommend", "report"]);
    let facts = &report.phases[5].facts;
    assert_eq!((&facts["items"], &facts["users"], &facts["events"]), (&120.into(), &60.into(), &360.into()), "{facts}");
    let named: Vec<&str> =
        facts["baselines"].as_array().expect("a list").iter().filter_map(|b| b["by"].as_str()).collect();
    assert_eq!(named, ["popularity", "item_knn", "vectors"]);
    assert_eq!(facts["test"]["questions"], 60);
    assert_eq!(facts["epochs"].as_array().map(Vec::len), Some(3));
    let recommender = Recommender::load(place.out("recommend/recommender.safetensors")).expect("a recommender");
    let keys: Vec<String> =
        place.lines("assign/ids.jsonl").iter().filter_map(|l| l["id"].as_str().map(str::to_owned)).collect();
    assert_eq!(recommender.keys().expect("keys"), keys, "items are the run's, in their order");
    assert!(!place.out("recommend/state.safetensors").exists(), "nothing is gone on from");
    let checked = verify(place.path("out")).expect("verified");
    assert!(checked.iter().any(|line| line.ends_with("a recommender of 120 items")), "{checked:#?}");
    let page = fs::read_to_string(place.out("report/report.html")).expect("page");
    sememe_testkit::html::assert_well_formed(&page);
    for part in ["Recommender", "item-knn", "best epoch", "Last item of each user"] {
        assert!(page.contains(part), "{part}");
    }
    let figures = place.lines("tracking/metrics.jsonl");
    let of_epochs: Vec<u64> = figures
        .iter()
        .filter(|line| line["phase"] == "recommend" && line["values"]["epoch/loss"].is_number())
        .filter_map(|line| line["step"].as_u64())
        .collect();
    assert_eq!(of_epochs, [1, 2, 3]);
    let content = place.content();
    assert_eq!(ran(&place.run(&[])), [""; 0]);
    assert_eq!(place.content(), content);
}

#[test]
fn it_runs_again_for_its_own_inputs_and_settings_alone() {
    let place = place();
    place.run(&[]);
    let report = place.run(&["recommend.dims=8"]);
    assert_eq!(ran(&report), ["recommend", "report"]);
    assert!(why(&report, Phase::Recommend).contains("dims: 16 → 8"), "{}", why(&report, Phase::Recommend));
    fs::write(place.path("walks.csv"), walks("60,item-0000,1\n60,item-7919,2\n")).expect("written");
    let report = place.run(&["recommend.dims=8"]);
    assert!(why(&report, Phase::Recommend).contains("the interactions changed"), "{}", why(&report, Phase::Recommend));
    let before = fs::read(place.out("recommend/recommender.safetensors")).expect("read");
    let report = place.run(&["recommend.dims=8", "train.levels=3"]);
    assert_eq!(ran(&report), ["train", "assign", "tokenize", "recommend", "report"]);
    assert!(why(&report, Phase::Recommend).contains("the IDs changed"), "{}", why(&report, Phase::Recommend));
    assert!(fs::read(place.out("recommend/recommender.safetensors")).expect("read") != before);
    // Without IDs they are no reason.
    let alone = ["recommend.ids=false", "recommend.identities=true", "recommend.vectors=true"];
    place.run(&alone);
    let report = place.run(&[&alone[..], &["train.codebook_size=6"]].concat());
    assert_eq!(ran(&report), ["train", "assign", "tokenize", "report"]);
    // What is not configured any more is not shown any more.
    fs::write(place.path("sememe.toml"), CONFIG).expect("written");
    assert!(ran(&place.run(&["train.codebook_size=6"])).contains(&"report"));
    let page = fs::read_to_string(place.out("report/report.html")).expect("page");
    assert!(!page.contains("best epoch"));
}

#[test]
fn every_prediction_is_a_phase() {
    let place = place();
    for prediction in ["items", "ordered", "levels"] {
        place.run(&[&format!("recommend.prediction={prediction}")]);
        let recommender = Recommender::load(place.out("recommend/recommender.safetensors")).expect("a recommender");
        let said = serde_json::to_value(recommender.settings().prediction).expect("JSON");
        assert_eq!(said, prediction);
    }
}

#[test]
fn events_of_unknown_items_are_refused_or_dropped_and_counted() {
    let place = place();
    fs::write(place.path("walks.csv"), walks("3,item-nowhere,9\n3,item-none,10\n")).expect("written");
    place.refused(&[], &["2 of 362 events", "the first is `item-nowhere` in line 362", "recommend.unknown = \"drop\""]);
    let report = place.run(&["recommend.unknown=drop"]);
    assert_eq!(report.phases[5].facts["unknown_events"], 2);
    fs::write(place.path("walks.csv"), "user,item,time\n1,a,1\n").expect("written");
    place.refused(&["recommend.unknown=drop"], &["none of its 1 events names a known item"]);
    fs::write(place.path("walks.csv"), "user,item,time\n1,item-0000,1\n").expect("written");
    place.refused(&[], &["none of 1 users has 4 items"]);
    fs::remove_file(place.path("walks.csv")).expect("removed");
    place.refused(&[], &["phase recommend reads the interactions", "walks.csv"]);
}

#[test]
fn settings_that_cannot_be_are_named_by_their_keys() {
    let place = place();
    for (setting, parts) in [
        ("recommend.heads=3", &["`recommend.heads`", "got 3"][..]),
        ("recommend.dropout=1.5", &["`recommend.dropout`", "1.5"]),
        ("recommend.ids=false", &["`recommend.ids`", "told apart"]),
        ("recommend.prediction=levels recommend.ids=false recommend.vectors=true", &["`recommend.ids`", "at once"]),
        ("recommend.accumulate=0", &["`recommend.accumulate`"]),
        ("recommend.interactions=none", &["`recommend.interactions`"]),
        ("recommend.batch_token=1", &["did you mean `batch_tokens`"]),
        ("recommend.precision=f8", &["f8"]),
        ("recommend.event_fields.user=who", &["`who`"]),
    ] {
        place.refused(&setting.split(' ').collect::<Vec<_>>(), parts);
    }
}

/// Asks to stop after so many steps of the training.
struct StopAfter(AtomicU64);

impl Observer for StopAfter {
    fn event(&self, event: Event<'_>) {
        if let Event::Phase { name: "train recommender", .. } = event {
            self.0.fetch_add(1000, Ordering::Relaxed);
        } else if matches!(event, Event::Advance { .. }) && self.0.load(Ordering::Relaxed) > 1000 {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    fn stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1000
    }
}

#[test]
fn a_stopped_training_goes_on_to_the_same_bytes() {
    let whole = place();
    whole.run(&[]);
    let stopped = place();
    let loaded = load(stopped.path("sememe.toml"), &Overrides::default()).expect("settings");
    let mut stops = 0;
    // A step more each time: within the first epoch, and then later and later.
    for steps in 2.. {
        let observer = StopAfter(AtomicU64::new(steps));
        match run(&loaded, &RunOptions::default(), &observer, &mut |_| {}) {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("go on with the same command"), "{error}"),
        }
        stops += 1;
        assert!(stops < 30, "it never ends");
    }
    assert!(stops > 1, "stopped {stops} times");
    assert_eq!(stopped.content(), whole.content());
    let steps = |place: &Place| -> Vec<(u64, f64)> {
        let lines = place.lines("tracking/metrics.jsonl");
        lines.iter().filter_map(|line| Some((line["step"].as_u64()?, line["values"]["epoch/loss"].as_f64()?))).collect()
    };
    assert_eq!(steps(&stopped), steps(&whole), "each epoch is told once");
    // The state of a run that was stopped is not gone on with, once its settings are others.
    let observer = StopAfter(AtomicU64::new(9));
    let set = |dims: &str| Overrides { set: vec![dims.to_owned()], ..Overrides::default() };
    let other = load(stopped.path("sememe.toml"), &set("recommend.dims=8")).expect("settings");
    run(&other, &RunOptions::default(), &observer, &mut |_| {}).expect_err("stopped");
    assert!(stopped.out("recommend/state.safetensors").exists());
    stopped.run(&["recommend.dims=12"]);
    let fresh = place();
    fresh.run(&["recommend.dims=12"]);
    assert_eq!(stopped.content(), fresh.content());
}

#[test]
fn ids_are_predicted_code_by_code_where_it_is_asked_for() {
    let place = place();
    let report = place.run(&["recommend.prediction=ordered", "recommend.epochs=1", "recommend.accumulate=2"]);
    assert_eq!(report.phases[5].facts["test"]["questions"], 60);
    place.refused(&["recommend.prediction=ordered", "recommend.identities=true"], &["`recommend.identities`"]);
    place.refused(
        &["recommend.prediction=ordered", "recommend.ids=false", "recommend.vectors=true"],
        &["`recommend.ids`"],
    );
}

#[test]
fn a_dry_run_trains_a_small_one() {
    let place = place();
    let loaded = load(place.path("sememe.toml"), &Overrides::default()).expect("settings");
    let small =
        sememe_run::config::LoadedConfig { config: loaded.config.dry(), written: loaded.written.dry(), ..loaded };
    let report = run(&small, &RunOptions::default(), &(), &mut |_| {}).expect("ran");
    assert_eq!(report.phases[5].facts["epochs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn it_trains_on_a_gpu() {
    if let Err(e) = sememe::device::DeviceChoice::Gpu.open(1) {
        assert_ne!(std::env::var("SEMEME_GPU").as_deref(), Ok("require"), "no GPU: {e}");
        eprintln!("skipped: {e}");
        return;
    }
    let place = place();
    place.run(&[]);
    let on_gpu = ["device=gpu", "recommend.vectors=true", "recommend.accumulate=2", "recommend.epochs=1"];
    let options = RunOptions { phases: vec![Phase::Recommend], ..RunOptions::default() };
    let report = place.run_with(&on_gpu, &options).expect("ran");
    assert_ne!(report.phases[0].facts["device"]["api"], "cpu", "{}", report.phases[0].facts);
}
