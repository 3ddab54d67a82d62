//! The program with a model in a folder.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use sememe::RowSource as _;
use sememe::io::{OpenOptions, open};
use sememe_text::embed::{EmbedCall, Embedder as _, LocalModel};
use serde_json::json;

use crate::cli::Desk;
use sememe_testkit::embed_oracle::{self as oracle, items};

fn jsonl(items: &[(String, String)]) -> Vec<u8> {
    let line = |(key, text): &(String, String)| format!("{}\n", json!({"id": key, "text": text}));
    items.iter().map(line).collect::<String>().into_bytes()
}

/// Keys and vectors of a run's table.
fn table(path: &Path) -> Vec<(String, Vec<u8>)> {
    let db = Connection::open(path).expect("a database");
    let mut statement = db.prepare("SELECT id, embedding FROM embeddings ORDER BY id").expect("columns");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<rusqlite::Result<_>>().expect("rows")
}

#[test]
fn the_program_takes_a_folder_in_place_of_an_endpoint() {
    let desk = Desk::new();
    oracle::bert(&desk.path("tiny"), "mean");
    desk.file("items.jsonl", &jsonl(&items(40)));
    let args = "embed items.jsonl -o v.sqlite --model-folder tiny --rows r.npy --keys k.jsonl --json";
    let first = desk.run(args).json();
    assert_eq!((&first["items"], &first["dims"], &first["model"]), (&40.into(), &24.into(), &"tiny".into()), "{first}");
    assert!(first["asked"].as_u64().expect("a count") < 40, "uninformative: every text is another");
    let notes = first["notes"].to_string();
    assert!(notes.contains("longer than 9 tokens, and cut there"), "{notes}");
    let rows = open(desk.path("r.npy"), &OpenOptions::default()).expect("rows");
    let mut row = vec![0.0; 24];
    rows.read_rows(7, &mut row).expect("a row");
    let embedder = LocalModel { folder: desk.path("tiny"), ..LocalModel::default() }.open().expect("a model");
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&row), bits(embedder.embed(&[&items(40)[7].1], &EmbedCall::default()).expect("a row").row(0)));
    assert_eq!(desk.run(args).json()["kept"], 40);
    let said = desk.run("embed items.jsonl -o w.sqlite --model-folder tiny --pooling cls --model other").ok();
    assert!(said.stdout.contains("40 items") && said.stdout.contains("24 values each"), "{}", said.stdout);

    desk.refuses("embed items.jsonl -o v.sqlite", 2, &["--url", "--model-folder"]);
    desk.refuses("embed items.jsonl -o v.sqlite --model-folder absent", 3, &["absent", "is not there"]);
    desk.refuses("embed items.jsonl -o v.sqlite --model-folder tiny --max-tokens 99", 2, &["--max-tokens", "3 to 12"]);
    desk.refuses(
        "embed items.jsonl -o v.sqlite --model-folder tiny --api-key-env X",
        2,
        &["--api-key-env", "--model-folder"],
    );
    desk.refuses("embed items.jsonl -o v.sqlite --model-folder tiny --timeout 5", 2, &["--timeout", "--model-folder"]);
    if cfg!(feature = "embed-http") {
        let both = "embed items.jsonl -o v.sqlite --model-folder tiny --url http://localhost:1/v1 --model m";
        desk.refuses(both, 2, &["--url", "--model-folder"]);
        let pooled = "embed items.jsonl -o v.sqlite --url http://localhost:1/v1 --model m --pooling cls";
        desk.refuses(pooled, 2, &["--pooling", "--url"]);
        desk.refuses("embed items.jsonl -o v.sqlite --url http://localhost:1/v1", 2, &["--model"]);
    }
}

#[test]
fn a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one() {
    let desk = Desk::new();
    oracle::bert(&desk.path("tiny"), "mean");
    // A number behind each text, which is no word of the model, makes all of them texts of their own.
    let own = |(i, (key, text)): (usize, (String, String))| (key, format!("{text} {i}"));
    desk.file("items.jsonl", &jsonl(&items(900).into_iter().enumerate().map(own).collect::<Vec<_>>()));
    let args = |db: &str| format!("embed items.jsonl -o {db} --model-folder tiny --batch-items 1 --rows {db}.npy");
    let run = |db: &str, threads: &str| {
        let out = desk.command(&args(db)).env("RAYON_NUM_THREADS", threads).output().expect("run");
        crate::cli::Run::from(out).ok()
    };
    let begun = Instant::now();
    run("whole.sqlite", "1");
    let length = begun.elapsed();
    let mut random = sememe::rng::stream(7, "kills", 0);
    let mut busy = 0;
    for _ in 0..100 {
        let mut child =
            desk.command(&args("killed.sqlite")).stdout(std::process::Stdio::null()).spawn().expect("started");
        std::thread::sleep(length.mul_f64(random.uniform()));
        let at_work = child.try_wait().expect("asked").is_none();
        child.kill().expect("killed");
        child.wait().expect("gone");
        if at_work {
            busy += usize::from(desk.path("killed.sqlite").exists() && rows_of(&desk.path("killed.sqlite")) > 0);
        } else {
            fs::remove_file(desk.path("killed.sqlite")).expect("removed");
        }
        if busy == 6 {
            break;
        }
    }
    println!("{busy} kills hit a run that had kept something");
    assert!(busy > 0, "uninformative");
    run("killed.sqlite", "4");
    assert_eq!(table(&desk.path("killed.sqlite")), table(&desk.path("whole.sqlite")));
    let bytes = |name: &str| fs::read(desk.path(name)).expect("read");
    assert_eq!(bytes("killed.sqlite.npy"), bytes("whole.sqlite.npy"));
}

/// Rows that a run has kept so far; 0 while there is no table.
fn rows_of(path: &Path) -> i64 {
    let count = |db: Connection| db.query_row("SELECT count(*) FROM embeddings", [], |row| row.get(0));
    Connection::open(path).and_then(count).unwrap_or(0)
}
