//! Whole runs: what they leave, what they skip, and that a kill changes nothing.
//!
//! One file past the usual length: every case builds on the catalogue and the place at the top.

mod anew;
#[cfg(feature = "embed-http")]
mod endpoint;
#[cfg(feature = "embed")]
mod folder;
mod recommend;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use sememe::ids::{Style, TextFormat, Trie};
use sememe::io::RowsWriter;
use sememe::{Codec, Result};
use sememe_run::config::{Overrides, load};
use sememe_run::run::{Phase, RunEvent, RunOptions, RunReport, run, verify};
use serde_json::Value;

use sememe_testkit::catalogue::{CONFIG, Catalogue, DIMS, content, files};

struct Place(tempfile::TempDir);

impl Place {
    fn new(items: usize) -> Self {
        let place = Place(tempfile::tempdir().expect("folder"));
        Catalogue::new(items).write(place.0.path());
        fs::write(place.path("sememe.toml"), CONFIG).expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    fn run_with(&self, set: &[&str], options: &RunOptions) -> Result<RunReport> {
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        let loaded = load(self.path("sememe.toml"), &Overrides { set, ..Overrides::default() })?;
        run(&loaded, options, &(), &mut |_: RunEvent<'_>| {})
    }

    fn run(&self, set: &[&str]) -> RunReport {
        self.run_with(set, &RunOptions::default()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn refused(&self, set: &[&str], parts: &[&str]) {
        let error = self.run_with(set, &RunOptions::default()).expect_err("refused").to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.out(name)).expect("read");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn content(&self) -> BTreeMap<String, Vec<u8>> {
        content(&self.path("out"))
    }

    fn times(&self) -> BTreeMap<String, SystemTime> {
        let modified = |path: &PathBuf| fs::metadata(path).expect("there").modified().expect("a time");
        files(&self.path("out")).into_iter().map(|(name, path)| (name, modified(&path))).collect()
    }
}

fn ran(report: &RunReport) -> Vec<&'static str> {
    report.phases.iter().filter(|phase| phase.ran).map(|phase| phase.phase.name()).collect()
}

fn why(report: &RunReport, phase: Phase) -> String {
    let found = report.phases.iter().find(|done| done.phase == phase);
    found.and_then(|done| done.why.clone()).unwrap_or_default()
}

#[test]
fn a_run_leaves_every_artifact_and_the_next_does_nothing() {
    let place = Place::new(200);
    let report = place.run(&[]);
    assert_eq!(ran(&report), ["prep", "embed", "train", "assign", "tokenize", "report"]);
    let checked = verify(place.path("out")).expect("verified");
    for name in [
        "prep/items.jsonl",
        "embed/rows.npy",
        "train/codec.safetensors",
        "assign/ids.jsonl",
        "tokenize/semantic_ids.jsonl",
        "tokenize/semantic_vocab.json",
        "tokenize/special_tokens.json",
        "tokenize/semantic_lookup.tsv",
        "tokenize/semantic_id_to_item.jsonl",
        "tokenize/cluster_inspection.jsonl",
        "tokenize/cluster_summary.json",
        "report/evaluation.json",
        "report/report.html",
    ] {
        assert!(checked.iter().any(|line| line.starts_with(&format!("{name}: "))), "{name} in {checked:#?}");
    }
    let page = fs::read_to_string(place.out("report/report.html")).expect("page");
    sememe_testkit::html::assert_well_formed(&page);
    for part in
        ["Find an item", "What went in", "Collisions before and after", "&lt;L1_", "SHA-256 of", "Level by level"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("Since the run before"));
    let (content, times) = (place.content(), place.times());
    let again = place.run(&[]);
    assert_eq!(ran(&again), [""; 0]);
    assert_eq!(place.content(), content);
    // Opening the lock and a database touches them; nothing else is.
    let touched: Vec<String> =
        place.times().into_iter().filter(|(name, at)| times.get(name) != Some(at)).map(|(name, _)| name).collect();
    assert!(touched.iter().all(|name| name == "run.lock" || name.contains("assign/ids-")), "{touched:?}");
    let summary: Value = serde_json::from_slice(&fs::read(place.out("run_summary.json")).expect("read")).expect("JSON");
    let artifacts = summary["artifacts"].as_array().expect("a list");
    let codec = Codec::load(place.out("train/codec.safetensors")).expect("codec");
    for artifact in artifacts {
        assert_eq!(artifact["sha256"].as_str().map(str::len), Some(64), "{artifact}");
        assert!(artifact["inputs"].as_object().is_some_and(|inputs| !inputs.is_empty()), "{artifact}");
        if artifact["phase"] == "tokenize" {
            assert_eq!(artifact["codec"], codec.content_hash());
        }
    }
    assert!(artifacts.len() >= 13);
}

#[test]
fn every_id_is_its_items_own_and_parses_back() {
    let place = Place::new(200);
    place.run(&["tokenize.style=sem", "tokenize.special_tokens=[\"<watch>\"]", "tokenize.first_token_id=1000"]);
    let ids = place.lines("tokenize/semantic_ids.jsonl");
    let format = TextFormat::preset(Style::Sem, &[8, 8]).and_then(TextFormat::with_counter).expect("format");
    let mut seen = std::collections::HashSet::new();
    for line in &ids {
        let text = line["semantic_id"].as_str().expect("text");
        assert!(seen.insert(text.to_owned()), "{text} twice");
        let mut expected: Vec<u64> =
            line["codes"].as_array().expect("codes").iter().filter_map(Value::as_u64).collect();
        expected.extend(line["counter"].as_u64());
        let parsed: Vec<u64> = format.parse(text).expect("parsed").into_iter().map(u64::from).collect();
        assert_eq!(parsed, expected);
        assert!(line["title"].as_str().is_some_and(|title| title.starts_with("Thing ")));
    }
    assert_eq!(ids.len(), 200);
    let keys: Vec<&str> = ids.iter().filter_map(|line| line["id"].as_str()).collect();
    assert!(keys.is_sorted());
    assert!(ids.iter().any(|line| line["counter"] != 0), "copies share their codes");
    let vocabulary: Value =
        serde_json::from_slice(&fs::read(place.out("tokenize/semantic_vocab.json")).expect("read")).expect("JSON");
    let numbers = ["[SEM_START]", "[SEM_END]", "<watch>", "[SEM_0_0]"].map(|token| vocabulary[token].as_u64());
    assert_eq!(numbers, [1000, 1001, 1002, 1003].map(Some), "special tokens come first");
    // The spelling has an end of its own, so the trie is there and holds all.
    let trie = Trie::load(place.out("tokenize/ids.trie")).expect("trie");
    assert_eq!(trie.item_count(), 200);
    let lookup = fs::read_to_string(place.out("tokenize/semantic_lookup.tsv")).expect("read");
    assert_eq!(lookup.lines().count(), 201);
    let clusters = place.lines("tokenize/cluster_inspection.jsonl");
    let of_depth = |depth: u64| {
        clusters.iter().filter(|c| c["depth"] == depth).map(|c| c["items"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    assert_eq!((of_depth(1), of_depth(2)), (200, 200));
}

#[test]
fn a_changed_setting_runs_what_depends_on_it() {
    let place = Place::new(150);
    place.run(&[]);
    let report = place.run(&["tokenize.style=plain"]);
    assert_eq!(ran(&report), ["tokenize", "report"], "the page finds IDs by their text");
    assert!(
        why(&report, Phase::Tokenize).contains("style: \"animind\" → \"plain\""),
        "{}",
        why(&report, Phase::Tokenize)
    );
    let report = place.run(&["tokenize.style=plain", "train.levels=3"]);
    assert_eq!(ran(&report), ["train", "assign", "tokenize", "report"]);
    assert!(why(&report, Phase::Assign).contains("the codec changed"), "{}", why(&report, Phase::Assign));
    // The old codec's store is still there, beside the new one's.
    let stores =
        files(&place.path("out")).iter().filter(|(name, _)| name.ends_with(".sqlite") && name.contains("ids-")).count();
    assert_eq!(stores, 2);
    // Back to the first codec: the same IDs as then.
    let report = place.run(&["tokenize.style=plain"]);
    assert_eq!(ran(&report), ["train", "assign", "tokenize", "report"]);
    let facts = &report.phases[3].facts;
    assert_eq!((&facts["new"], &facts["known"]), (&Value::from(0), &Value::from(150)));
    // How fast it goes is no reason to run.
    assert_eq!(ran(&place.run(&["tokenize.style=plain", "assign.batch_items=7", "embed.concurrency=2"])), [""; 0]);
    let options = RunOptions { rebuild: vec![Phase::Report], ..RunOptions::default() };
    assert_eq!(ran(&place.run_with(&["tokenize.style=plain"], &options).expect("ran")), ["report"]);
}

#[test]
fn an_artifact_that_is_gone_or_touched_is_made_again() {
    let place = Place::new(150);
    place.run(&[]);
    let content = place.content();
    fs::remove_file(place.out("tokenize/index.json")).expect("removed");
    fs::write(place.out("embed/rows.npy"), b"not rows").expect("written");
    let report = place.run(&[]);
    assert_eq!(ran(&report), ["embed", "tokenize"]);
    assert!(why(&report, Phase::Embed).contains("`embed/rows.npy` is not as it was written"));
    assert!(why(&report, Phase::Tokenize).contains("`tokenize/index.json` is missing"));
    assert_eq!(place.content(), content);
    // A state that cannot be read is no state.
    fs::write(place.out("state.json"), b"{").expect("written");
    assert_eq!(ran(&place.run(&[])).len(), 6);
    assert_eq!(place.content(), content);
}

#[test]
fn one_changed_item_moves_no_other_id() {
    for (policy, moves) in [("keep", false), ("move", true)] {
        let place = Place::new(200);
        let set = format!("assign.on_change={policy}");
        place.run(&[&set]);
        let before = place.lines("assign/ids.jsonl");
        let codec = fs::read(place.out("train/codec.safetensors")).expect("read");
        let mut catalogue = Catalogue::new(200);
        // It becomes what an item of another group is.
        let other = catalogue.rows[1].clone();
        catalogue.titles[0] = "Another thing".into();
        catalogue.rows[0] = other;
        catalogue.write(place.0.path());
        let report = place.run(&[&set]);
        assert_eq!(ran(&report), ["prep", "embed", "assign", "tokenize", "report"], "the codec stays");
        let page = fs::read_to_string(place.out("report/report.html")).expect("page");
        assert!(
            page.contains("Since the run before")
                && page.contains(&format!("{} of 200 items that both", u8::from(moves)))
        );
        assert_eq!(fs::read(place.out("train/codec.safetensors")).expect("read"), codec);
        let after = place.lines("assign/ids.jsonl");
        let changed: Vec<(&Value, &Value)> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert_eq!(changed.len(), 1, "{changed:#?}");
        let (a, b) = changed[0];
        assert_eq!(a["id"], catalogue.keys[0].as_str());
        assert_eq!(a["codes"] != b["codes"], moves);
        if !moves {
            assert!(b["encoded"].is_array(), "the codes that it has now stand beside its ID");
        }
        assert_eq!(report.phases[3].facts["new"], 0);
    }
}

#[test]
fn new_items_move_no_id_and_a_retrained_codec_is_asked_for() {
    let place = Place::new(150);
    place.run(&[]);
    let before = place.lines("assign/ids.jsonl");
    Catalogue::new(220).write(place.0.path());
    let report = place.run(&[]);
    assert_eq!(ran(&report), ["prep", "embed", "assign", "tokenize", "report"]);
    let after: BTreeMap<String, Value> =
        place.lines("assign/ids.jsonl").into_iter().map(|line| (line["id"].to_string(), line)).collect();
    for line in &before {
        assert_eq!(&after[&line["id"].to_string()], line);
    }
    assert_eq!(report.phases[3].facts["new"], 70);
    let report = place.run(&["train.on_new_rows=retrain"]);
    assert_eq!(ran(&report)[0], "train");
    let churn: Value = serde_json::from_slice(&fs::read(place.out("assign/churn.json")).expect("read")).expect("JSON");
    assert_eq!(churn["rows"], 220, "items of both runs");
    let new: Vec<Value> = place.lines("assign/ids.jsonl");
    let changed = new.iter().filter(|line| after[&line["id"].to_string()]["codes"] != line["codes"]).count();
    assert_eq!(churn["changed_ids"], changed);
    assert!(why(&report, Phase::Train).contains("the vectors changed"), "{}", why(&report, Phase::Train));
}

#[test]
fn policies_and_spellings() {
    let place = Place::new(200);
    let report = place.run(&[
        "assign.policy=extra-level",
        "tokenize.style=lc-rec",
        "tokenize.end_token_id=2",
        "tokenize.first_token_id=10",
    ]);
    let ids = place.lines("tokenize/semantic_ids.jsonl");
    assert!(
        ids.iter().all(|line| line["semantic_id"].as_str().is_some_and(|text| text.matches('<').count() == 3)),
        "{}",
        ids[0]
    );
    assert_eq!(report.phases[4].facts["trie"], true);
    let report = place.run(&["assign.policy=relocate", "train.codebook_size=32", "tokenize.style=plain"]);
    let ids = place.lines("tokenize/semantic_ids.jsonl");
    assert!(ids.iter().all(|line| line["counter"] == 0), "all have places of their own");
    assert!(report.phases[3].facts["cost"]["moved"].as_u64().is_some_and(|moved| moved > 0));
    assert!(!place.out("tokenize/semantic_vocab.json").exists(), "`12` is no token of one level");
    place.refused(
        &["assign.policy=relocate", "train.codebook_size=32", "tokenize.style=plain", "tokenize.end_token_id=2"],
        &["`tokenize.end_token_id`"],
    );
    place.refused(&["assign.policy=error"], &["share"]);
}

#[test]
fn training_data_is_a_phase_where_it_is_configured() {
    let place = Place::new(150);
    let config = format!("{CONFIG}[dialogues]\nquery_end = \"[REC]\"\nvalidation = 0.2\n");
    fs::write(place.path("sememe.toml"), config).expect("written");
    let report = place.run(&[]);
    assert_eq!(ran(&report), ["prep", "embed", "train", "assign", "tokenize", "dialogues", "report"]);
    let (train, validation) = (place.lines("dialogues/train.jsonl"), place.lines("dialogues/validation.jsonl"));
    assert!(train.len() > 100 && validation.len() > 20, "{} and {}", train.len(), validation.len());
    let ids: Vec<String> = place
        .lines("tokenize/semantic_ids.jsonl")
        .iter()
        .filter_map(|l| l["semantic_id"].as_str().map(str::to_owned))
        .collect();
    let answers = train.iter().filter_map(|l| l["messages"].as_array()?.last()?["content"].as_str());
    assert!(answers.filter(|answer| ids.iter().any(|id| id == answer)).count() > 50);
    assert_eq!(ran(&place.run(&[])), [""; 0]);
    assert_eq!(ran(&place.run(&["dialogues.query_end=[GO]"])), ["dialogues"]);
    place.refused(&["dialogues.ids=other.jsonl"], &["`dialogues.ids`"]);
    place.refused(&["dialogues.validation=2"], &["`dialogues.validation`"]);
}

#[test]
fn the_store_is_asked_too() {
    let place = Place::new(120);
    place.run(&["assign.store=shared.sqlite"]);
    let codec = Codec::load(place.out("train/codec.safetensors")).expect("codec");
    let mut store = sememe::ids::store::open(place.path("shared.sqlite"), codec.content_hash(), 2).expect("store");
    assert_eq!(ran(&place.run(&["assign.store=shared.sqlite"])), [""; 0]);
    let first = place.lines("assign/ids.jsonl")[0]["id"].as_str().expect("a key").to_owned();
    store.delete(&[&first]).expect("deleted");
    drop(store);
    let report = place.run(&["assign.store=shared.sqlite"]);
    assert!(why(&report, Phase::Assign).contains(&first), "{}", why(&report, Phase::Assign));
    // A named store belongs to one codec.
    place.refused(&["assign.store=shared.sqlite", "train.levels=3"], &["store", codec.content_hash()]);
}

#[test]
fn phases_by_themselves_name_what_they_miss() {
    let place = Place::new(120);
    let only = |phase| RunOptions { phases: vec![phase], ..RunOptions::default() };
    let error = place.run_with(&[], &only(Phase::Tokenize)).expect_err("refused").to_string();
    assert!(error.contains("phase tokenize reads") && error.contains("phase prep writes it"), "{error}");
    let optional = [Phase::Dialogues, Phase::Recommend];
    for phase in Phase::ALL.into_iter().filter(|phase| !optional.contains(phase)) {
        assert_eq!(ran(&place.run_with(&[], &only(phase)).expect("ran")), [phase.name()]);
    }
    for phase in optional {
        let error = place.run_with(&[], &only(phase)).expect_err("refused").to_string();
        assert!(error.contains(&format!("no section `[{}]`", phase.name())), "{error}");
    }
    assert_eq!(ran(&place.run(&[])), [""; 0]);
}

#[test]
fn vectors_and_items_that_do_not_fit_are_refused() {
    let place = Place::new(120);
    let mut catalogue = Catalogue::new(120);
    catalogue.rows.pop();
    let mut out = RowsWriter::create(place.path("short.npy"), 119, DIMS).expect("created");
    catalogue.rows.iter().for_each(|row| out.write(row).expect("written"));
    out.finish().expect("finished");
    place.refused(&["embed.vectors=short.npy"], &["119 rows", "120 items", "embed.keys"]);
    fs::write(place.path("keys.csv"), format!("id\n{}\n", catalogue.keys[..119].join("\n"))).expect("written");
    place.refused(
        &["embed.vectors=short.npy", "embed.keys=keys.csv"],
        &["1 of 120 items have no row", &catalogue.keys[119]],
    );
    catalogue.rows[3][2] = f32::NAN;
    let mut out = RowsWriter::create(place.path("nan.npy"), 119, DIMS).expect("created");
    catalogue.rows.iter().for_each(|row| out.write(row).expect("written"));
    out.finish().expect("finished");
    place.refused(&["embed.vectors=nan.npy", "embed.keys=keys.csv", "prep.limit=119"], &["no row"]);
    place.refused(&["embed.vectors=gone.npy"], &["gone.npy"]);
    place.refused(&["prep.source=gone.jsonl"], &["gone.jsonl"]);
    place.refused(&["train.codebook_size=500"], &["500"]);
    // Nothing of a phase that failed counts as done.
    let report = place.run(&[]);
    assert!(ran(&report).contains(&"train"));
}

#[test]
fn a_file_that_no_phase_writes_is_missed_before_any_begins() {
    let place = Place::new(60);
    for (setting, name) in [
        ("embed.vectors=gone.npy", "phase embed reads the vectors"),
        ("tokenize.tokenizer=gone.json", "phase tokenize reads the tokenizer"),
    ] {
        place.refused(&[setting], &[name, "gone."]);
        assert!(!place.out("prep").exists(), "{setting}");
    }
}

#[test]
fn vectors_may_be_in_an_order_of_their_own() {
    let place = Place::new(150);
    place.run(&[]);
    let content = place.content();
    let mut catalogue = Catalogue::new(150);
    catalogue.keys.reverse();
    catalogue.rows.reverse();
    catalogue.titles.reverse();
    let other = Place::new(150);
    catalogue.write(other.0.path());
    fs::copy(other.path("items.jsonl"), other.path("keys.jsonl")).expect("copied");
    // The source in its first order again: rows go by `keys`.
    let rows = fs::read(other.path("rows.npy")).expect("read");
    Catalogue::new(150).write(other.0.path());
    fs::write(other.path("rows.npy"), rows).expect("written");
    other.run(&["embed.keys=keys.jsonl"]);
    // The page says where its vectors came from; everything else is the same.
    let but_page = |mut all: BTreeMap<String, Vec<u8>>| {
        all.remove("report/report.html").expect("a page");
        all
    };
    assert!(but_page(other.content()) == but_page(content));
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let place = Place::new(120);
    place.run(&[]);
    let lock = fs::File::create(place.out("run.lock")).expect("created");
    lock.try_lock().expect("locked");
    place.refused(&[], &["another run is at work"]);
    drop(lock);
    place.run(&[]);
}

#[test]
fn figures_of_every_phase_are_kept() {
    let place = Place::new(150);
    let report = place.run(&[]);
    let tracked = report.tracking.expect("something ran");
    let lines = place.lines("tracking/metrics.jsonl");
    for phase in ["prep", "embed", "train", "assign", "tokenize", "report"] {
        assert!(lines.iter().any(|line| line["phase"] == phase), "{phase} in {lines:#?}");
        let events = fs::read_dir(place.out("tracking/events").join(phase)).expect("a folder").count();
        assert_eq!(events, 1, "{phase}");
    }
    assert!(
        lines.iter().any(|line| line["phase"] == "train" && line["step"].as_u64() > Some(0)),
        "levels and iterations"
    );
    assert!(tracked.scalars > 20, "{tracked:?}");
    let params: Value =
        serde_json::from_slice(&fs::read(place.out("tracking/params.json")).expect("read")).expect("JSON");
    assert_eq!(params["train.rq_kmeans.iterations"], "5");
    // A phase that runs again replaces its own figures and no others.
    let again = place.run(&["tokenize.style=sem"]);
    assert_eq!(ran(&again), ["tokenize", "report"]);
    let count =
        |phase: &str| place.lines("tracking/metrics.jsonl").iter().filter(|line| line["phase"] == phase).count();
    assert_eq!(count("train"), lines.iter().filter(|line| line["phase"] == "train").count());
    assert_eq!(count("tokenize"), 1);
    assert!(place.run(&["tokenize.style=sem"]).tracking.is_none(), "nothing ran");
}

#[test]
fn recall_is_a_report_where_it_is_configured() {
    let place = Place::new(200);
    let catalogue = Catalogue::new(200);
    // Every user takes items of one group.
    let mut text = String::from("user,item,score\n");
    for user in 0..60 {
        for at in 0..5 {
            let item = (user % 12) + 12 * ((user / 12 + 3 * at) % 16);
            text.push_str(&format!("u{user},{},{}\n", catalogue.keys[item.min(199)], 5 + at));
        }
    }
    fs::write(place.path("interactions.csv"), text).expect("written");
    fs::write(place.path("sememe.toml"), format!("{CONFIG}[recall]\nsource = \"interactions.csv\"\nscore = \"score\"\npositive_score = 6\nmin_support = 1\nk = 5\n"))
        .expect("written");
    let report = place.run(&[]);
    let recall: Value =
        serde_json::from_slice(&fs::read(place.out("tokenize/recall_report.json")).expect("read")).expect("JSON");
    let (found, chance) = (
        recall["measures"]["recall_at_5"].as_f64().expect("a number"),
        recall["measures"]["recall_by_chance"].as_f64().expect("a number"),
    );
    assert!(found > 3.0 * chance, "{recall:#}");
    assert_eq!(recall["read"]["below_score"], 60);
    let page = fs::read_to_string(place.out("report/report.html")).expect("read");
    assert!(page.contains("recall@5") || page.to_lowercase().contains("recall"), "the page shows it");
    assert!(report.phases[4].summary.contains("recall@5"), "{}", report.phases[4].summary);
    let report = place.run(&["recall.k=6"]);
    assert_eq!(ran(&report), ["tokenize", "report"]);
    // Without the section the report goes.
    fs::write(place.path("sememe.toml"), CONFIG).expect("written");
    place.run(&[]);
    assert!(!place.out("tokenize/recall_report.json").exists());
}
