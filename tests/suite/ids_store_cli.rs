//! `assign` and `lookup`: IDs that stay, and processes that are killed.

use crate::cli::Desk;
use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::time::Duration;

fn desk(items: usize) -> Desk {
    let desk = Desk::fitted();
    let lines: String = (0..items).map(|i| format!("{{\"id\":\"package {}\"}}\n", i * 7 % 300)).collect();
    desk.file("items.jsonl", lines.as_bytes());
    desk
}

const ASSIGN: &str = "assign codec.safetensors items.npy --keys items.jsonl --store ids.sqlite";

#[test]
fn an_item_asked_twice_has_the_same_id() {
    let desk = desk(300);
    let first = desk.run(&format!("{ASSIGN} -o ids.csv --json")).json();
    assert_eq!(
        (first["new"].as_u64(), first["known"].as_u64(), first["in_store"].as_u64()),
        (Some(300), Some(0), Some(300))
    );
    let again = desk.run(&format!("{ASSIGN} -o again.csv --batch-items 7 --json")).json();
    assert_eq!(
        (again["new"].as_u64(), again["known"].as_u64(), again["drifted"].as_u64()),
        (Some(0), Some(300), Some(0))
    );
    let ids = fs::read_to_string(desk.path("ids.csv")).unwrap();
    assert_eq!(ids, fs::read_to_string(desk.path("again.csv")).unwrap());
    let distinct: BTreeSet<&str> = ids.lines().skip(1).map(|l| l.split_once(',').unwrap().1).collect();
    assert_eq!(distinct.len(), 300);
    // Row 1 is `package 7`; its ID leads back to it, and its prefixes too.
    let row: Vec<&str> = ids.lines().nth(2).unwrap().split(',').skip(1).collect();
    let found = desk.run("lookup ids.sqlite none --json").json();
    assert_eq!(found["found"], serde_json::json!([{ "key": "none", "id": null }]));
    let codes = row[..3].join("-");
    let id = if row[3] == "0" { codes.clone() } else { row.join("-") };
    let mut keyed = desk.command("lookup ids.sqlite");
    let keyed: crate::cli::Run = keyed.arg("package 7").output().unwrap().into();
    assert_eq!(keyed.ok().stdout, format!("{id}\tpackage 7\n"));
    for question in [format!("--id {id}"), format!("--id {codes}"), format!("--prefix {}", row[..2].join("-"))] {
        let found = desk.run(&format!("lookup ids.sqlite {question}")).ok().stdout;
        assert!(found.contains(&format!("{id}\tpackage 7\n")), "{question}: {found}");
    }
    assert_eq!(desk.run("lookup ids.sqlite --id 7-7-7-99").ok().stdout, "no item, of 300 items in the store\n");
    // Another order of the file gives a fresh store the same IDs.
    let text = desk
        .run(&format!("{} -o fresh.csv --batch-items 50", ASSIGN.replace("ids.sqlite", "fresh.sqlite")))
        .ok()
        .stdout;
    assert!(text.contains("300 items got an ID, 0 had one; 300 in all"), "{text}");
    assert_eq!(ids, fs::read_to_string(desk.path("fresh.csv")).unwrap());
}

#[test]
fn what_a_store_refuses() {
    let desk = desk(300);
    desk.run(ASSIGN).ok();
    desk.run("train items.npy -o other.safetensors --codebook-size 8 --seed 5").ok();
    let other = ASSIGN.replace("codec.safetensors", "other.safetensors");
    desk.run(&other).fails(5, &["store: `ids.sqlite` holds IDs of codec ", "not of codec "]);
    desk.file("few.jsonl", b"{\"id\":1}\n").file("twice.jsonl", &b"{\"id\":1}\n".repeat(300));
    desk.run(&ASSIGN.replace("items.jsonl", "few.jsonl")).fails(3, &["holds 1 items, but `items.npy` 300 rows"]);
    desk.run(&ASSIGN.replace("items.jsonl", "twice.jsonl")).fails(3, &["rows 0 and 1 have the same key `1`"]);
    desk.run(&ASSIGN.replace("ids.sqlite", "redis://here")).fails(2, &["a store is an SQLite file so far"]);
    desk.run(&format!("{ASSIGN} --batch-items 0")).fails(2, &["`--batch-items`"]);
    desk.run("lookup ids.sqlite").fails(2, &["one of keys, `--id` and `--prefix`"]);
    desk.run("lookup ids.sqlite --prefix 1-x").fails(2, &["`x` of `1-x` is no code"]);
    desk.run("lookup ids.sqlite --id 1-2").fails(3, &["character 4", "the text ends"]);
    desk.run("lookup none.sqlite a").fails(5, &["none.sqlite"]);
    desk.run("lookup items.jsonl a").fails(5, &["items.jsonl"]);
}

#[test]
fn killed_processes_lose_and_double_nothing() {
    let desk = desk(300);
    let start = || -> Child {
        let mut command = desk.command(&format!("{ASSIGN} --batch-items 3 --quiet"));
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("started")
    };
    let mut seen: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut killed = 0;
    for round in 0..12u64 {
        let mut crowd: Vec<Child> = (0..3).map(|_| start()).collect();
        std::thread::sleep(Duration::from_millis(40 + 23 * round));
        for child in &mut crowd {
            killed += usize::from(child.try_wait().expect("asked").is_none());
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
        // What the store has told once stays as it is.
        let run = desk.run("lookup ids.sqlite --prefix 0 --json");
        let all: Vec<serde_json::Value> = (0..8)
            .filter(|_| run.code == Some(0))
            .map(|code| desk.run(&format!("lookup ids.sqlite --prefix {code} --json")).json())
            .collect();
        for item in all.iter().flat_map(|v| v["found"].as_array().expect("a list")) {
            let (key, id) = (item["key"].as_str().unwrap().to_owned(), item["id"].as_str().unwrap().to_owned());
            let before = seen.insert(key.clone(), id.clone());
            assert!(before.is_none_or(|b| b == id), "{key} changed to {id}");
        }
    }
    assert!(killed > 0, "uninformative: every process had ended before");
    let last = desk.run(&format!("{ASSIGN} -o ids.csv --json")).json();
    assert_eq!((last["in_store"].as_u64(), last["drifted"].as_u64()), (Some(300), Some(0)));
    assert_eq!(last["known"].as_u64(), Some(seen.len() as u64), "nothing told was lost");
    let ids = fs::read_to_string(desk.path("ids.csv")).unwrap();
    let distinct: BTreeSet<&str> = ids.lines().skip(1).map(|l| l.split_once(',').unwrap().1).collect();
    assert_eq!(distinct.len(), 300);
}
