//! `sememe import`, and `export --format`, as users meet them.

use crate::cli::Desk;
use sememe::ids::store::open_existing;
use sememe::io::read_codes;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/fixtures").join(name)
}

/// A desk with a system's file or folder, and the rows.
fn desk(names: &[&str]) -> Desk {
    fn copy(from: &Path, to: &Path) {
        if from.is_dir() {
            std::fs::create_dir_all(to).expect("a folder");
            for entry in std::fs::read_dir(from).expect("a folder") {
                let entry = entry.expect("an entry");
                copy(&entry.path(), &to.join(entry.file_name()));
            }
        } else {
            std::fs::copy(from, to).expect("a file");
        }
    }
    let desk = Desk::new();
    for name in names.iter().chain(&["rows.npy"]) {
        copy(&fixture(name), &desk.path(Path::new(name).file_name().expect("a name").to_str().expect("UTF-8")));
    }
    desk
}

#[test]
fn a_codec_of_another_system_encodes_as_it_did() {
    for (name, origin, codes) in [
        ("basil", "basil", "basil/codes.npy"),
        ("lc-rec/model.pth", "lc-rec", "lc-rec/codes.npy"),
        ("grid/normalized.ckpt", "grid", "grid/normalized.codes.npy"),
    ] {
        let desk = desk(&[name]);
        let file = Path::new(name).file_name().expect("a name").to_string_lossy();
        let told = desk.run(&format!("import {file} -o codec.safetensors --json")).json();
        assert_eq!((&told["from"], &told["kind"]), (&origin.into(), &"codec".into()), "{told}");
        assert_eq!(told["codebook_sizes"], serde_json::json!([8, 8, 8]));
        desk.run("encode codec.safetensors rows.npy -o codes.npy").ok();
        let (ours, theirs) = (read_codes(desk.path("codes.npy")), read_codes(fixture(codes)));
        assert_eq!(ours.expect("codes"), theirs.expect("codes"), "{name}");
        let shown = desk.run("show codec.safetensors").ok().stdout;
        assert!(shown.contains("imported") && shown.contains(&format!("trained by    {origin}")), "{shown}");
    }
}

#[test]
fn what_was_assumed_is_said_once_and_in_json() {
    let desk = desk(&["lc-rec/model.pth"]);
    let run = desk.run("import model.pth -o codec.safetensors").ok();
    assert!(
        run.stdout
            .starts_with("wrote codec.safetensors from lc-rec\n8 × 8 × 8 of 16 dimensions, encoder 16-12-10-6, relu"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("assumed: ReLU") && run.stderr.contains("64 random rows"), "{}", run.stderr);
    let told = desk.run("import model.pth -o codec.safetensors --rows rows.npy --json").json();
    let notes = told["notes"].as_array().expect("notes");
    assert!(notes.len() == 1 && notes[0].as_str().is_some_and(|note| note.contains("ReLU")), "{told}");
}

#[test]
fn ids_come_with_their_keys() {
    let desk = desk(&["lc-rec/items.index.json", "animind-tokens"]);
    let told = desk.run("import items.index.json -o codes.jsonl --json").json();
    assert_eq!((told["kind"].as_str(), told["rows"].as_u64()), (Some("ids"), Some(12)));
    assert!(
        std::fs::read_to_string(desk.path("codes.jsonl"))
            .expect("codes")
            .starts_with("{\"row\":0,\"key\":\"0\",\"codes\":[")
    );
    desk.run("import animind-tokens -o ids.csv").ok();
    assert!(
        std::fs::read_to_string(desk.path("ids.csv"))
            .expect("codes")
            .starts_with("row,key,code_0,code_1,code_2\n0,100,")
    );
    desk.refuses("import items.index.json -o codec.safetensors", 2, &["holds IDs", ".jsonl, .csv or .parquet"]);
    desk.refuses("import items.index.json -o codes.npy", 2, &["holds IDs"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn ids_that_an_engine_gave_out_are_not_given_out_again() {
    let desk = desk(&["semantic-id/engine"]);
    let told = desk.run("import engine -o codec.safetensors --store ids.sqlite --json").json();
    assert_eq!(told["reserved_ids"].as_u64(), Some(180));
    let mut store = open_existing(desk.path("ids.sqlite")).expect("a store");
    assert_eq!((store.count().expect("a count"), store.codec_hash()), (0, told["codec"].as_str().expect("a hash")));
    drop(store);
    let items: String = (0..160).map(|i| format!("{{\"id\":\"k{i}\"}}\n")).collect();
    desk.file("items.jsonl", items.as_bytes());
    desk.run("assign codec.safetensors rows.npy --keys items.jsonl --store ids.sqlite -o ids.npy").ok();
    let ids = read_codes(desk.path("ids.npy")).expect("IDs");
    // The engine had counted from 0 on everywhere.
    assert!(ids.iter().all(|id| id[3] > 0), "an ID was given out twice");
    let other = desk_of_basil();
    other.refuses("import basil -o codec.safetensors --store ids.sqlite", 2, &["`--store`", "of basil"]);
}

#[cfg(feature = "sqlite")]
fn desk_of_basil() -> Desk {
    desk(&["basil"])
}

#[test]
fn what_means_nothing_is_refused_by_its_flag_and_leaves_nothing() {
    let desk = desk(&["basil", "grid/plain.ckpt", "hostile/evil.pth", "hostile/kmeans.joblib", "faiss/pq.npy"]);
    desk.refuses("import basil -o codec.npz", 2, &["a codec is written as .safetensors"]);
    desk.refuses("import basil -o codec.safetensors --tensor x", 2, &["`--tensor`", "basil"]);
    desk.refuses("import plain.ckpt -o codec.safetensors --beam 99", 2, &["`--beam`", "got 99"]);
    desk.refuses("import plain.ckpt -o codec.safetensors --rows rows.npy", 2, &["`--rows`", "no networks"]);
    desk.refuses("import plain.ckpt -o codec.safetensors --from sklearn", 2, &["--from", "basil, semantic-id"]);
    desk.refuses("import evil.pth -o codec.safetensors", 3, &["`posix.system`", "nothing was run"]);
    desk.refuses("import kmeans.joblib -o codec.safetensors", 3, &["scikit-learn", "cluster_centers_"]);
    desk.refuses("import none.pt -o codec.safetensors", 3, &["none.pt"]);
    let told = desk.run("import pq.npy -o pq.safetensors --from faiss-pq --json").json();
    assert_eq!((told["product"].as_bool(), told["dims"].as_u64()), (Some(true), Some(16)));
}

#[test]
fn a_codec_goes_out_and_flags_of_codes_do_not() {
    let desk = Desk::fitted();
    let told = desk.run("export codec.safetensors -o books.npz --format faiss --json").json();
    assert_eq!(told["format"], "faiss");
    assert!(told["notes"][0].as_str().is_some_and(|note| note.contains("max_beam_size")), "{told}");
    desk.run("import books.npz -o again.safetensors").ok();
    let churn = desk.run("churn codec.safetensors again.safetensors items.npy --json").json();
    assert_eq!(churn["changed_ids"].as_u64(), Some(0), "{churn}");
    desk.refuses("export codec.safetensors -o x.safetensors --format faiss", 2, &["faiss is written as .npz"]);
    desk.refuses("export codec.safetensors -o x.npz --format faiss --no-trie", 2, &["`--no-trie`", "`--format`"]);
    desk.refuses("export codec.safetensors -o x.npz --format numpy --items items.jsonl", 2, &["`--items`"]);
    desk.run("train items.npy -o cosine.safetensors --codebook-size 8 --metric cosine").ok();
    desk.refuses("export cosine.safetensors -o x.npz --format faiss", 3, &["faiss cannot express cosine"]);
}
