//! The verbs that turn codes into what others read: formats and back.

use crate::cli::Desk;
use std::fs;

const CODES: &str = "row,code_0,code_1,code_2\n0,12,5,33\n4,255,0,7\n";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.file("codes.csv", CODES.as_bytes());
    desk
}

fn text(desk: &Desk, name: &str) -> String {
    fs::read_to_string(desk.path(name)).expect("read")
}

#[test]
fn ids_go_to_text_and_come_back() {
    let desk = desk();
    for (name, want) in [
        ("a.txt", "<a_12><b_5><c_33>\n<a_255><b_0><c_7>\n"),
        ("a.jsonl", "{\"row\":0,\"id\":\"<a_12><b_5><c_33>\"}\n{\"row\":4,\"id\":\"<a_255><b_0><c_7>\"}\n"),
        ("a.csv", "row,id\n0,<a_12><b_5><c_33>\n4,<a_255><b_0><c_7>\n"),
    ] {
        let run = desk.run(&format!("format codes.csv -o {name} --codebook-size 256 --style lc-rec")).ok();
        assert!(run.stdout.contains(&format!("wrote {name}: 2 IDs as <a_12><b_5><c_33>")), "{}", run.stdout);
        assert_eq!(text(&desk, name), want);
        desk.run(&format!("parse {name} -o back.csv --codebook-size 256,256,256 --style lc-rec")).ok();
        let want = if name == "a.txt" { CODES.replace("4,255", "1,255") } else { CODES.to_owned() };
        assert_eq!(text(&desk, "back.csv"), want);
    }
    let value = desk.run("format codes.csv -o b.csv --codebook-size 256 --separator , --cumulative --json").json();
    assert_eq!((value["rows"].as_u64(), value["example"].as_str()), (Some(2), Some("12,261,545")));
    assert_eq!(text(&desk, "b.csv"), "row,id\n0,\"12,261,545\"\n4,\"255,256,519\"\n");
    desk.run("parse b.csv -o back.csv --codebook-size 256 --levels 3 --separator , --cumulative").ok();
    assert_eq!(text(&desk, "back.csv"), CODES);
}

#[test]
fn a_counter_is_read_as_the_last_number() {
    let desk = desk();
    desk.file("ids.txt", b"12-5\r\n12-5-1\n12-5-2");
    desk.run("parse ids.txt -o codes.jsonl --codebook-size 256,256 --counter").ok();
    let codes = text(&desk, "codes.jsonl");
    assert!(codes.ends_with("{\"row\":2,\"codes\":[12,5,2]}\n"), "{codes}");
    desk.run("format codes.jsonl -o again.txt --codebook-size 256 --counter").ok();
    assert_eq!(text(&desk, "again.txt"), "12-5\n12-5-1\n12-5-2\n");
}

#[test]
fn a_codec_knows_its_sizes() {
    let desk = Desk::fitted();
    desk.run("encode codec.safetensors items.npy -o codes.npy").ok();
    desk.run("format codes.npy -o ids.jsonl --codec codec.safetensors --style sem").ok();
    desk.run("parse ids.jsonl -o back.npy --codec codec.safetensors --style sem").ok();
    assert_eq!(fs::read(desk.path("codes.npy")).unwrap(), fs::read(desk.path("back.npy")).unwrap());
    desk.file("far.csv", b"row,code_0,code_1,code_2\n0,1,2,8\n");
    desk.refuses("format far.csv -o far.txt --codec codec.safetensors", 3, &["far.csv", "row 0", "code 8 of level 2"]);
}

#[test]
fn faults_name_file_line_and_character() {
    let desk = desk();
    desk.file("ids.txt", b"12-5-33\n12-5-256\n").file("ids.jsonl", b"{\"id\":\"1-2-3\"}\n{\"id\":7}\n");
    desk.file("wrong.csv", b"row,name\n0,x\n").file("empty.txt", b"").file("blank.txt", b"1-2-3\n\n");
    let sizes = "--codebook-size 256 --levels 3";
    let last = "line 2: `12-5-256`, character 6: code 256 of level 2 is past 255, the last of 256";
    desk.refuses(&format!("parse ids.txt -o out.npy {sizes}"), 3, &["ids.txt", last]);
    desk.refuses(&format!("parse ids.jsonl -o out.npy {sizes}"), 3, &["ids.jsonl", "line 2"]);
    desk.refuses(&format!("parse wrong.csv -o out.npy {sizes}"), 3, &["has no column `id`; it holds `row`, `name`"]);
    desk.refuses(&format!("parse empty.txt -o out.npy {sizes}"), 3, &["empty"]);
    desk.refuses(&format!("parse blank.txt -o out.npy {sizes}"), 3, &["line 2", "the text ends"]);
    desk.refuses(&format!("parse codes.npy -o out.npy {sizes}"), 3, &["codes.npy"]);
    desk.refuses(
        "format codes.csv -o out.txt --codebook-size 256,256",
        3,
        &["expected levels = 2, got 3 in `codes.csv`"],
    );
}

#[test]
fn usage_is_told_before_anything_is_read() {
    let desk = desk();
    desk.refuses("format none.csv -o out.txt", 2, &["`--codec` or `--codebook-size` is needed"]);
    desk.refuses("format none.csv -o out.txt --codebook-size 9 --token {code}1", 2, &["`--token`", "parsed back"]);
    desk.refuses("format none.csv -o out.txt --codebook-size 9 --separator 1", 2, &["starts with a digit"]);
    desk.refuses("format codes.csv -o out.npy --codebook-size 256", 2, &[".txt, .jsonl or .csv"]);
    desk.refuses("format codes.csv -o codes.csv --codebook-size 256", 2, &["is an input too"]);
    desk.refuses("format codes.csv -o out.txt --codebook-size 0", 2, &["`--codebook-size`", "0 codewords"]);
    desk.refuses("parse none.txt -o out.npy --codebook-size 9", 2, &["`--levels` is needed"]);
    desk.refuses("parse none.txt -o out.npy --codebook-size 9,9 --levels 3", 2, &["lists 2 levels", "says 3"]);
    desk.refuses("parse none.txt -o out.npy --codebook-size 9 --levels 70", 2, &["expected 1 to 64 levels"]);
}
