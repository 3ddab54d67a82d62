//! `sememe recommend compare`: several tables of IDs under the same recommender and seeds.

use crate::cli::Desk;
use crate::recommend_cli::{TRAIN, desk, number};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::SystemTime;

fn command(rest: &str) -> String {
    format!(
        "{} {rest} -o comparison",
        TRAIN.replace("recommend train", "recommend compare").replace("--epochs 25", "--epochs 6")
    )
}

/// A second table, by which the items are in another order.
fn other(desk: &Desk) {
    let mut codes = "row,code_0,code_1\n".to_owned();
    for i in 0..16 {
        let _ = writeln!(codes, "{i},{},{}", i * 7 % 16 / 4, i * 5 % 4);
    }
    desk.file("other.csv", codes.as_bytes());
}

fn times(desk: &Desk) -> BTreeMap<String, SystemTime> {
    let entries = fs::read_dir(desk.path("comparison")).expect("a folder").map(|e| e.expect("entry"));
    let named = entries.map(|e| (e.file_name().to_string_lossy().into_owned(), e));
    let named = named.filter(|(name, _)| name != "comparison.lock");
    named.map(|(name, e)| (name, e.metadata().expect("there").modified().expect("a time"))).collect()
}

#[test]
fn tables_are_compared_over_seeds_and_what_is_trained_is_kept() {
    let desk = desk();
    other(&desk);
    let tables = "--ids codes.csv --ids other.csv --vectors rows.npy --sasrec";
    let first = desk.run(&command(&format!("{tables} --seeds 0,5 --json"))).json();
    assert_eq!(number(&first, "/trained"), 8.0);
    let names: Vec<&str> =
        first["tables"].as_array().expect("a list").iter().filter_map(|t| t["name"].as_str()).collect();
    assert_eq!(names, ["codes.csv", "other.csv", "item identities", "item identities and vectors"]);
    for table in 0..4 {
        let run = |seed: usize, name: &str| number(&first, &format!("/tables/{table}/runs/{seed}/measures/{name}"));
        for name in ["recall_at_5", "recall_at_10", "ndcg_at_5", "ndcg_at_10", "coverage_at_10"] {
            let (a, b) = (run(0, name), run(1, name));
            let said = |part: &str| number(&first, &format!("/tables/{table}/{name}/{part}"));
            assert!((said("mean") - 0.5 * (a + b)).abs() < 1e-12, "{name}");
            assert!((said("deviation") - (a - b).abs() / 2f64.sqrt()).abs() < 1e-12, "{name}");
        }
        assert_eq!(run(0, "questions"), 48.0);
    }
    let baselines: Vec<&str> =
        first["baselines"].as_array().expect("a list").iter().filter_map(|b| b["by"].as_str()).collect();
    assert_eq!(baselines, ["popularity", "item_knn", "vectors"]);
    let written: Value =
        serde_json::from_slice(&fs::read(desk.path("comparison/comparison.json")).expect("read")).expect("JSON");
    assert_eq!((&written["tables"], &written["baselines"]), (&first["tables"], &first["baselines"]));
    // The same as `train` says of the same table and seed.
    let train = TRAIN.replace("--epochs 25", "--epochs 6");
    let trained =
        desk.run(&format!("{train} --ids codes.csv --vectors rows.npy --seed 5 -o r.safetensors --json")).json();
    assert_eq!(trained["test"], first["tables"][0]["runs"][1]["measures"]);

    // Again: nothing is trained; with a seed more, that one only.
    let before = times(&desk);
    let again = desk.run(&command(&format!("{tables} --seeds 0,5 --json"))).json();
    assert_eq!((number(&again, "/trained"), &again["tables"]), (0.0, &first["tables"]));
    let changed = times(&desk).into_iter().filter(|(name, at)| before.get(name) != Some(at)).map(|(name, _)| name);
    assert_eq!(changed.collect::<Vec<_>>(), ["comparison.json"]);
    let more = desk.run(&command(&format!("{tables} --seeds 0,5,7 --json"))).json();
    assert_eq!(number(&more, "/trained"), 4.0);
    // A result that is damaged is made anew, and so is one of other settings.
    let result = before.keys().find(|name| name.starts_with("codes-") && name.ends_with("seed-0.json")).expect("one");
    fs::write(desk.path("comparison").join(result), "{}").expect("written");
    let again = desk.run(&command(&format!("{tables} --seeds 0,5 --json"))).json();
    assert_eq!((number(&again, "/trained"), &again["tables"]), (1.0, &first["tables"]));
    let other = command(&format!("{tables} --seeds 0 --json")).replace("--rate 0.01", "--rate 0.02");
    assert_eq!(number(&desk.run(&other).json(), "/trained"), 4.0);
    assert!(times(&desk).keys().all(|name| name.ends_with(".json")), "states of finished trainings are gone");
    let said = desk.run(&command(&format!("{tables} --seeds 0,5"))).ok().stdout;
    for part in ["0 trained, 8 kept", "codes.csv", " ± ", "item-kNN", "mean of vectors", "wrote"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let desk = desk();
    other(&desk);
    let refused = |rest: &str, code, parts: &[&str]| desk.run(&command(rest)).fails(code, parts);
    refused("", 2, &["not provided"]);
    refused("--ids codes.csv --hold-out validation", 2, &["--hold-out"]);
    refused("--ids codes.csv --seeds 1,1", 2, &["--seeds", "twice"]);
    refused("--ids codes.csv --seeds 1,2 --seed 3", 2, &["--seed"]);
    refused("--ids codes.csv --ids gone.npy", 3, &["gone.npy"]);
    desk.file("short.csv", b"row,code_0\n0,1\n1,2\n");
    refused("--ids codes.csv --ids short.csv", 3, &["short.csv", "16", "2"]);
    refused("--ids codes.csv --dropout 2", 2, &["--dropout"]);
    refused("--ids codes.csv --predict levels --no-prefixes", 2, &["`--no-prefixes`", "`--predict levels`"]);
    refused("--ids codes.csv --predict ordered --identities", 2, &["`--identities`", "`--predict ordered`"]);
    assert!(!desk.path("comparison").exists());
    let one = desk.run(&command("--ids codes.csv --json")).json();
    assert_eq!(one["tables"][0]["recall_at_10"]["deviation"], Value::Null);
    assert!(one["baselines"].as_array().is_some_and(|b| b.len() == 2), "without vectors there is no mean of them");
}

#[test]
fn every_prediction_is_compared_as_it_is_trained() {
    let desk = desk();
    for predict in ["items", "ordered", "levels"] {
        let compared = desk.run(&command(&format!("--ids codes.csv --predict {predict} --seeds 5 --json"))).json();
        let train = TRAIN.replace("--epochs 25", "--epochs 6");
        let trained =
            desk.run(&format!("{train} --ids codes.csv --predict {predict} --seed 5 -o r.safetensors --json")).json();
        assert_eq!(trained["test"], compared["tables"][0]["runs"][0]["measures"], "{predict}");
    }
}
