//! Files as others keep them: rows out of order and twice, shards, indices, and folders that a failure leaves as they were.

use crate::cli::Desk;
use std::fs;

fn text(desk: &Desk, name: &str) -> String {
    fs::read_to_string(desk.path(name)).expect("read")
}

/// Every file of a folder with its content.
fn contents(desk: &Desk, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(desk.path(folder)).expect("list");
    let mut all: Vec<_> = entries
        .map(|e| e.expect("entry"))
        .map(|e| (e.file_name().into_string().expect("a name"), fs::read(e.path()).expect("read")))
        .collect();
    all.sort();
    all
}

#[test]
fn decoding_goes_by_the_row_column() {
    let desk = Desk::fitted();
    desk.run("encode codec.safetensors items.npy -o c.csv").ok();
    desk.run("decode codec.safetensors c.csv -o straight.npy").ok();
    // The same table in the order of its codes, which is what a database gives back.
    let table = text(&desk, "c.csv");
    let (head, body) = table.split_once('\n').expect("a header");
    let mut lines: Vec<&str> = body.lines().collect();
    lines.sort_by_key(|line| line.split_once(',').expect("a row").1);
    assert_ne!(lines, body.lines().collect::<Vec<_>>(), "uninformative");
    desk.file("s.csv", format!("{head}\n{}\n", lines.join("\n")).as_bytes());
    desk.run("decode codec.safetensors s.csv -o sorted.npy").ok();
    assert_eq!(fs::read(desk.path("sorted.npy")).unwrap(), fs::read(desk.path("straight.npy")).unwrap());
    // A row that is not there leaves no gap, and that is told.
    let without: Vec<&str> = body.lines().filter(|line| !line.starts_with("7,")).collect();
    desk.file("gap.csv", format!("{head}\n{}\n", without.join("\n")).as_bytes());
    let run = desk.run("decode codec.safetensors gap.csv -o gap.npy").ok();
    assert!(
        run.stderr.contains("has no codes for row 7") && run.stderr.contains("row 8 is written as row 7"),
        "{}",
        run.stderr
    );
    // Labels and names go by the row column too, where no rows are read.
    desk.file("two.csv", b"row,code_0\n1,5\n0,5\n");
    desk.file("labels.csv", b"label\nfirst\nsecond\n");
    desk.run("eval --codes two.csv --codebook-size 8 --labels labels.csv --label label").ok();
    desk.refuses("eval --codes far.csv --codebook-size 8 --labels labels.csv --label label", 3, &["far.csv"]);
    desk.file("far.csv", b"row,code_0\n1,5\n9,5\n");
    desk.file("far.csv", b"row,code_0\n1,5\n9,5\n");
    desk.refuses(
        "eval --codes far.csv --codebook-size 8 --labels labels.csv --label label",
        3,
        &["expected items = 10, got 2"],
    );
}

#[test]
fn a_row_that_comes_twice_is_refused_by_every_verb() {
    let desk = Desk::fitted();
    desk.run("encode codec.safetensors items.npy -o c.csv").ok();
    let table = text(&desk, "c.csv");
    desk.file("d.csv", format!("{table}0,1,1,1\n").as_bytes());
    desk.file("items.jsonl", (0..300).map(|i| format!("{{\"id\":\"k{i}\"}}\n")).collect::<String>().as_bytes());
    for verb in [
        "eval codec.safetensors items.npy --codes d.csv --queries 0",
        "eval --codes d.csv",
        "format d.csv -o d.txt --codec codec.safetensors",
        "churn --codes c.csv d.csv",
        "churn --codes d.csv c.csv",
        "decode codec.safetensors d.csv -o d.npy",
        "resolve d.csv -o r.csv --items items.jsonl --key id --policy suffix",
        "export d.csv -o bundle --codec codec.safetensors --no-trie",
    ] {
        desk.refuses(verb, 3, &["d.csv", "row number 0 twice, in its rows 0 and 300"]);
    }
}

#[test]
fn an_export_that_fails_changes_nothing() {
    let desk = Desk::new();
    desk.file("a.csv", b"row,code_0,code_1\n0,1,2\n1,3,4\n").file("b.csv", b"row,code_0,code_1\n0,5,6\n1,7,8\n");
    desk.file("ok.jsonl", b"{\"id\":\"x\",\"title\":\"X\"}\n{\"id\":\"y\",\"title\":\"Y\"}\n");
    desk.file("bad.jsonl", b"{\"id\":\"x\\ty\",\"title\":\"X\"}\n{\"id\":\"y\",\"title\":\"Y\"}\n");
    let export = "-o bundle --codebook-size 16 --style openonerec --title title";
    desk.run(&format!("export a.csv {export} --items ok.jsonl")).ok();
    desk.file("bundle/README.md", b"mine");
    let before = contents(&desk, "bundle");
    assert!(before.len() > 4, "{before:?}");
    let run = desk.run(&format!("export b.csv {export} --items bad.jsonl"));
    run.fails(3, &["key \"x\\ty\" of row 0 holds a tab"]);
    assert_eq!(contents(&desk, "bundle"), before);
    // Nothing is left beside it, and a first export that fails makes no folder.
    assert!(fs::read_dir(desk.path("")).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().ends_with(".tmp")));
    assert_eq!(
        desk.run("export b.csv -o new --codebook-size 16 --style openonerec --title title --items bad.jsonl").code,
        Some(3)
    );
    assert!(!desk.path("new").exists());
    // One that succeeds replaces its own files, drops those of before that it does not write, and keeps what is not its own.
    desk.run("export b.csv -o bundle --codebook-size 16 --style openonerec --items ok.jsonl --no-trie").ok();
    let names: Vec<String> = contents(&desk, "bundle").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["README.md", "index.json", "items.jsonl", "special_tokens.json", "vocabulary.json"]);
    assert!(text(&desk, "bundle/index.json").contains("<s_a_5>"));
    // The folder that the program stands in cannot be replaced; its files can.
    desk.run("export a.csv -o . --codebook-size 16 --style openonerec --items ok.jsonl").ok();
    assert!(text(&desk, "index.json").contains("<s_a_1>") && desk.path("bundle").is_dir());
}

#[test]
fn an_index_comes_back_with_its_keys() {
    let desk = Desk::new();
    desk.file("codes.csv", b"row,code_0,code_1\n0,1,2\n1,3,4\n2,3,5\n");
    desk.file("items.jsonl", b"{\"id\":\"pico\"}\n{\"id\":\"na,no\"}\n{\"id\":\"mg\"}\n");
    for style in ["lc-rec", "openonerec", "sem", "animind"] {
        desk.run(&format!("export codes.csv -o b --codebook-size 8 --style {style} --items items.jsonl --no-trie"))
            .ok();
        let value =
            desk.run(&format!("parse b/index.json -o back.csv --style {style} --codebook-size 8,8 --json")).json();
        assert_eq!((value["rows"].as_u64(), value["keys"].as_bool()), (Some(3), Some(true)), "{style}");
        assert_eq!(
            text(&desk, "back.csv"),
            "row,key,code_0,code_1\n0,pico,1,2\n1,\"na,no\",3,4\n2,mg,3,5\n",
            "{style}"
        );
    }
    // A table with keys is a catalogue of its own, and they go out again.
    desk.run("export back.csv -o again --codebook-size 8 --style lc-rec --no-trie").ok();
    assert!(text(&desk, "again/index.json").contains("\"na,no\": [\"<a_3>\", \"<b_4>\"]"));
    desk.run("resolve back.csv -o r.csv --items back.csv --key key --policy error").ok();
    let value = desk.run("eval --codes again/index.json --codebook-size 8 --json").json();
    assert_eq!(value["rows"].as_u64(), Some(3), "{value}");
    desk.refuses("parse again/index.json -o c.npy --style lc-rec --codebook-size 8,8", 3, &["no place for keys"]);
    desk.file("bad.json", b"{\"k\":[\"<a_1>\",\"<b_9>\"]}");
    desk.refuses(
        "parse bad.json -o c.csv --style lc-rec --codebook-size 8,8",
        3,
        &["bad.json", "item `k`", "code 9 of level 1 is past 7"],
    );
}

#[test]
fn rows_may_lie_in_several_files() {
    let desk = Desk::fitted();
    let rows = fs::read(desk.path("items.npy")).expect("rows");
    desk.run("encode codec.safetensors items.npy -o whole.csv").ok();
    // The same rows in two files, and a folder of them.
    let (header, data) = rows.split_at(rows.len() - 300 * 384 * 4);
    let part = |from: usize, to: usize| {
        let header = String::from_utf8_lossy(&header[10..]).replace("(300, 384)", &format!("({}, 384)", to - from));
        let mut out = header_with(&header);
        out.extend(&data[from * 384 * 4..to * 384 * 4]);
        out
    };
    fs::create_dir(desk.path("d")).expect("folder");
    for (name, from, to) in [("a.npy", 0, 120), ("b.npy", 120, 300)] {
        desk.file(name, &part(from, to)).file(&format!("d/{name}"), &part(from, to));
    }
    for inputs in ["a.npy b.npy", "d"] {
        desk.run(&format!("encode codec.safetensors {inputs} -o parts.csv")).ok();
        assert_eq!(text(&desk, "parts.csv"), text(&desk, "whole.csv"), "{inputs}");
        desk.run(&format!("train {inputs} -o parts.safetensors --codebook-size 8")).ok();
        assert_eq!(
            fs::read(desk.path("parts.safetensors")).unwrap(),
            fs::read(desk.path("codec.safetensors")).unwrap()
        );
        desk.run(&format!("eval codec.safetensors {inputs} --queries 0")).ok();
    }
    desk.refuses("train a.npy b.npy -o b.npy", 2, &["b.npy"]);
    desk.refuses("encode codec.safetensors a.npy b.npy -o b.npy", 2, &["is an input too"]);
}

/// A `.npy` header of this dictionary.
fn header_with(dict: &str) -> Vec<u8> {
    let dict = format!("{}\n", dict.trim_end());
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((dict.len() as u16).to_le_bytes());
    out.extend(dict.as_bytes());
    out
}

#[test]
fn rows_in_json_lines_train() {
    let desk = Desk::new();
    let lines: String =
        (0..64).map(|i| format!("{{\"id\":{i},\"embedding\":[{},{}]}}\n", i % 8, f64::from(i % 4) * 0.5)).collect();
    desk.file("a.jsonl", lines.as_bytes());
    desk.run("train a.jsonl -o a.safetensors --codebook-size 8 --levels 1").ok();
    desk.file("hole.jsonl", lines.replace("\"id\":5,\"embedding\":[5,0.5]", "\"id\":5,\"embedding\":null").as_bytes());
    let run = desk.run("train hole.jsonl -o a.safetensors --codebook-size 8 --levels 1 --on-bad drop").ok();
    assert!(run.stderr.contains("dropped 1 of 64 rows"), "{}", run.stderr);
    desk.refuses("train hole.jsonl -o a.safetensors --codebook-size 8 --levels 1", 3, &["a missing value", "row 5"]);
}

#[test]
fn a_file_of_several_arrays_asks_for_the_option() {
    let desk = Desk::new();
    desk.file("a.jsonl", b"{\"a\":[1],\"b\":[2]}\n");
    let run = desk.run("train a.jsonl -o a.safetensors");
    run.fails(3, &["2 fields of line 1 could be the embeddings", "name one with `--array`"]);
}

#[test]
fn a_key_that_begins_with_a_dash_is_explained() {
    let desk = Desk::new();
    desk.refuses("lookup s.sqlite -8x", 2, &["`-8x` begins with a dash", "`-- -8x`"]);
    // A misspelt option stays clap's to explain.
    let run = desk.run("lookup s.sqlite --kye");
    assert!(run.code == Some(2) && run.stderr.contains("--kye"), "{}", run.stderr);
}
