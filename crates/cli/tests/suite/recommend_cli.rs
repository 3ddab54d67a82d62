//! `sememe recommend`: train, query, eval, and what is refused.

use crate::cli::Desk;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;

pub(crate) const TRAIN: &str = "recommend train --interactions walks.jsonl --dims 16 --layers 1 --positions 8 --batch-tokens 64 --epochs 25 \
                     --dropout 0.1 --rate 0.01 --device cpu";

/// Sixteen items on a ring, each with two codes, a key, a name and a vector; users who walk on it.
pub(crate) fn desk() -> Desk {
    let desk = Desk::new();
    let (mut codes, mut items, mut walks, mut by_key) =
        ("row,code_0,code_1\n".to_owned(), String::new(), String::new(), "user,item,time\n".to_owned());
    for i in 0..16 {
        let _ = writeln!(codes, "{i},{},{}", i / 4, i % 4);
        let _ = writeln!(items, "{{\"id\":\"k{i}\",\"title\":\"Item {i}\"}}");
    }
    for user in 0..48 {
        let walk: Vec<String> = (0..7).map(|t| ((user * 5 + t) % 16).to_string()).collect();
        let _ = writeln!(walks, "{{\"user\":{user},\"items\":[{}]}}", walk.join(","));
        for (time, item) in walk.iter().enumerate() {
            let _ = writeln!(by_key, "{user},k{item},{time}");
        }
    }
    desk.file("codes.csv", codes.as_bytes());
    desk.file("items.jsonl", items.as_bytes());
    desk.file("walks.jsonl", walks.as_bytes());
    desk.file("walks.csv", by_key.as_bytes());
    let mut npy = sememe_testkit::files::npy_v1("{'descr': '<f4', 'fortran_order': False, 'shape': (16, 2), }");
    for i in 0..16 {
        let turn = f64::from(i) * std::f64::consts::TAU / 16.0;
        npy.extend((turn.cos() as f32).to_le_bytes());
        npy.extend((turn.sin() as f32).to_le_bytes());
    }
    desk.file("rows.npy", &npy);
    desk
}

pub(crate) fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn a_recommender_is_trained_asked_and_measured() {
    let desk = desk();
    let done = desk.run(&format!("{TRAIN} --ids codes.csv -o r.safetensors")).ok();
    for part in
        ["wrote r.safetensors: 16 items", "best: epoch", "test: the last item of each user", "NDCG@10", "seen 10 to 49"]
    {
        assert!(done.stdout.contains(part), "{part} in {}", done.stdout);
    }
    assert!(done.stderr.contains("epoch 1 of 25: loss"), "{}", done.stderr);
    let value = desk.run("recommend eval r.safetensors --interactions walks.jsonl --json").json();
    assert_eq!(number(&value, "/measures/questions"), 48.0);
    assert!(number(&value, "/measures/recall_at_5") > 0.9, "{value}");
    // Beside what learns nothing, on the same questions.
    let eval = "recommend eval r.safetensors --interactions walks.jsonl --baselines";
    let value = desk.run(&format!("{eval} --vectors rows.npy --hide-seen --json")).json();
    for (at, by) in ["popularity", "item_knn", "vectors"].into_iter().enumerate() {
        assert_eq!(value.pointer(&format!("/baselines/{at}/by")).and_then(Value::as_str), Some(by), "{value}");
        assert_eq!(number(&value, &format!("/baselines/{at}/questions")), 48.0);
        assert!(number(&value, &format!("/baselines/{at}/recall_at_10")) < 1.01);
    }
    let said = desk.run(eval).ok().stdout;
    assert!(said.contains("item-kNN") && !said.contains("mean of vectors") && said.contains("cold R@10"), "{said}");
    desk.run("recommend eval r.safetensors --interactions walks.jsonl --vectors rows.npy").fails(2, &["not provided"]);
    let answer = desk.run("recommend query r.safetensors --history 1,2,3 -k 3 --names items.jsonl").ok().stdout;
    let first = answer.lines().nth(1).expect("a line");
    assert!(first.trim_start().starts_with('4') && first.ends_with("Item 4"), "{answer}");
    let value = desk.run("recommend query r.safetensors --history 1,2,3 --history 7 -k 16 --seen --json").json();
    let sum: f64 = (0..16).map(|i| number(&value, &format!("/answers/1/items/{i}/log_probability")).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn items_are_named_by_key_where_there_are_keys() {
    let desk = desk();
    let events = TRAIN.replace("walks.jsonl", "walks.csv");
    let sources = "--vectors rows.npy --identities --keys items.jsonl";
    let value = desk.run(&format!("{events} {sources} -o r.safetensors --json")).json();
    assert_eq!((number(&value, "/items"), number(&value, "/users")), (16.0, 48.0));
    assert!(number(&value, "/test/ndcg_at_10") > 0.5, "{value}");
    let value = desk.run("recommend query r.safetensors --history k14,k15 -k 1 --json").json();
    assert_eq!(value.pointer("/answers/0/items/0/key").and_then(Value::as_str), Some("k0"), "{value}");
    desk.run("recommend query r.safetensors --history 14").fails(3, &["none with the key `14`"]);
}

#[test]
fn the_same_command_goes_on_after_a_stop() {
    let desk = desk();
    let command = format!("{TRAIN} --ids codes.csv --checkpoint state.safetensors --patience 0 -o");
    desk.run(&format!("{command} whole.safetensors --quiet")).ok();
    let state = fs::read(desk.path("state.safetensors")).expect("a state");
    // A finished training is not trained again.
    let again = desk.run(&format!("{command} again.safetensors")).ok();
    assert!(
        again.stderr.contains("going on after 25 epochs") && !again.stderr.contains("epoch 1 of"),
        "{}",
        again.stderr
    );
    assert_eq!(fs::read(desk.path("whole.safetensors")).ok(), fs::read(desk.path("again.safetensors")).ok());
    assert_eq!(fs::read(desk.path("state.safetensors")).ok(), Some(state));
    let other = command.replace("--rate 0.01", "--rate 0.02");
    desk.run(&format!("{other} other.safetensors")).fails(3, &["other settings", "\"rate\":0.01"]);
}

#[test]
fn what_does_not_fit_is_refused_before_training() {
    let desk = desk();
    let refused = |args: &str, code, parts: &[&str]| desk.run(args).fails(code, parts);
    refused(&format!("{TRAIN} -o r.safetensors"), 2, &["`--ids`, `--vectors` or `--identities`"]);
    refused(&format!("{TRAIN} --ids codes.csv -o r.npy"), 2, &[".safetensors"]);
    refused(&format!("{TRAIN} --ids codes.csv --accumulate 0 -o r.safetensors"), 2, &["`--accumulate`", "got 0"]);
    refused(&format!("{TRAIN} --ids codes.csv --heads 3 -o r.safetensors"), 2, &["`--heads`", "got 3"]);
    refused(&format!("{} --ids codes.csv -o r.safetensors", TRAIN.replace("0.1", "1")), 2, &["`--dropout`", "got 1"]);
    desk.file("far.jsonl", b"{\"items\":[1,2,3,99]}\n{\"items\":[1,2,3,4,5]}\n");
    let far = TRAIN.replace("walks.jsonl", "far.jsonl");
    refused(&format!("{far} --ids codes.csv -o r.safetensors"), 3, &["1 of 9 events", "--unknown drop"]);
    desk.run(&format!("{far} --unknown drop --ids codes.csv -o r.safetensors")).ok();
    desk.file("short.jsonl", b"{\"items\":[1,2,3]}\n");
    let short = TRAIN.replace("walks.jsonl", "short.jsonl");
    refused(&format!("{short} --ids codes.csv -o s.safetensors"), 3, &["none of 1 users has 4 items"]);
    assert!(!desk.path("s.safetensors").exists());
    refused("recommend query rows.npy --history 1", 3, &["rows.npy"]);
    refused("recommend query r.safetensors --history 1,16", 3, &["below 16, got `16`"]);
    refused("recommend query r.safetensors --history ,", 2, &["separated by commas"]);
}

#[test]
fn ids_are_predicted_code_by_code() {
    let desk = desk();
    let command =
        format!("{TRAIN} --predict ordered --ids codes.csv --vectors rows.npy --checkpoint state.safetensors");
    let value = desk.run(&format!("{command} -o r.safetensors --json")).json();
    assert_eq!(value.pointer("/settings/prediction").and_then(Value::as_str), Some("ordered"), "{value}");
    assert!(number(&value, "/test/ndcg_at_10") > 0.5, "{value}");
    // A finished training goes on to the same recommender.
    desk.run(&format!("{command} -o again.safetensors --quiet")).ok();
    assert_eq!(fs::read(desk.path("r.safetensors")).ok(), fs::read(desk.path("again.safetensors")).ok());
    let other = command.replace("--predict ordered --ids codes.csv", "--ids codes.csv");
    desk.run(&format!("{other} -o other.safetensors")).fails(3, &["other settings", "\"prediction\":\"ordered\""]);

    let eval = "recommend eval r.safetensors --interactions walks.jsonl";
    let value = desk.run(&format!("{eval} --json")).json();
    assert_eq!((number(&value, "/measures/questions"), number(&value, "/beams")), (48.0, 20.0));
    assert!(
        desk.run(&format!("{eval} --beams 3")).ok().stdout.contains("among all 16 items, searched with 3 beams, in ")
    );
    let value = desk.run("recommend query r.safetensors --history 1,2,3 --history 7 -k 16 --seen --json").json();
    let sum: f64 = (0..16).map(|i| number(&value, &format!("/answers/1/items/{i}/log_probability")).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let lines = |args: &str| {
        let told = desk.run(&format!("recommend query r.safetensors --history 1,2,3 {args}")).ok().stdout;
        told.lines().skip(1).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines("-k 3 --names items.jsonl").len(), 3);
    // Five beams find five IDs, whatever the list could hold; the history's own are not among them.
    let few = lines("-k 16 --beams 5");
    assert_eq!(few.len(), 5);
    assert!(few.iter().all(|line| !["1", "2", "3"].contains(&line.split(' ').next().expect("an item"))), "{few:?}");
    let drawn = lines("--sampling --beams 40 --temperature 1.5 --top-p 0.9 --seed 4");
    assert!(!drawn.is_empty() && drawn == lines("--sampling --beams 40 --temperature 1.5 --top-p 0.9 --seed 4"));
    assert_eq!(lines("--sampling --temperature 0.000001").len(), 1);
}

#[test]
fn all_codes_are_predicted_at_once() {
    let desk = desk();
    let command = format!("{TRAIN} --predict levels --ids codes.csv --checkpoint state.safetensors");
    let value = desk.run(&format!("{command} -o r.safetensors --json")).json();
    assert_eq!(value.pointer("/settings/prediction").and_then(Value::as_str), Some("levels"), "{value}");
    assert!(number(&value, "/test/ndcg_at_10") > 0.5, "{value}");
    desk.run(&format!("{command} -o again.safetensors --quiet")).ok();
    assert_eq!(fs::read(desk.path("r.safetensors")).ok(), fs::read(desk.path("again.safetensors")).ok());
    let eval = desk.run("recommend eval r.safetensors --interactions walks.jsonl --json").json();
    assert!(number(&eval, "/measures/questions") == 48.0 && eval["beams"].is_null(), "{eval}");
    let value = desk.run("recommend query r.safetensors --history 1,2,3 -k 16 --seen --json").json();
    let sum: f64 = (0..16).map(|i| number(&value, &format!("/answers/0/items/{i}/log_probability")).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let refused = |args: &str, code, parts: &[&str]| desk.run(args).fails(code, parts);
    let train = format!("{TRAIN} --predict levels -o x.safetensors");
    refused(&format!("{train} --vectors rows.npy"), 2, &["`--predict levels`", "needs `--ids`"]);
    refused(&format!("{train} --ids codes.csv --no-prefixes"), 2, &["`--no-prefixes` has no meaning"]);
    refused("recommend query r.safetensors --history 1 --beams 5", 2, &["`--beams`", "ranks all items"]);
}

#[test]
fn what_ordered_prediction_has_no_use_for_is_refused() {
    let desk = desk();
    let refused = |args: &str, code, parts: &[&str]| desk.run(args).fails(code, parts);
    let train = format!("{TRAIN} --predict ordered -o r.safetensors");
    refused(&format!("{train} --vectors rows.npy"), 2, &["`--predict ordered`", "needs `--ids`"]);
    refused(&format!("{train} --ids codes.csv --identities"), 2, &["`--identities` has no meaning", "leave it out"]);
    refused(&format!("{train} --ids codes.csv --no-prefixes"), 2, &["`--no-prefixes` has no meaning"]);
    let short = train.replace("--batch-tokens 64", "--batch-tokens 17");
    refused(&format!("{short} --ids codes.csv"), 2, &["`--batch-tokens`", "at least 18", "got 17"]);
    assert!(!desk.path("r.safetensors").exists());
    desk.run(&format!("{TRAIN} --ids codes.csv --epochs 1 -o items.safetensors").replacen("--epochs 25 ", "", 1)).ok();
    let query = "recommend query items.safetensors --history 1";
    for (flags, flag) in [("--beams 5", "`--beams`"), ("--sampling", "`--sampling`")] {
        refused(&format!("{query} {flags}"), 2, &[flag, "ranks all items"]);
    }
    refused(
        "recommend eval items.safetensors --interactions walks.jsonl --beams 5",
        2,
        &["`--beams`", "ranks all items"],
    );
    refused(&format!("{query} --beams 0"), 2, &["`--beams`", "got 0"]);
    refused(&format!("{query} --temperature 2"), 2, &["required arguments"]);
    refused(&format!("{query} --sampling --temperature 0"), 2, &["`--temperature`", "got 0"]);
    refused(&format!("{query} --sampling --top-p 1.5"), 2, &["`--top-p`", "got 1.5"]);
}
