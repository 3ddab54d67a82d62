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

#[test]
fn a_folder_for_language_models() {
    let desk = desk();
    let items: String = (0..5).map(|i| format!("{{\"id\":{},\"name\":\"item {i}\"}}\n", 100 + i)).collect();
    desk.file("catalogue.jsonl", items.as_bytes());
    // The codes file holds rows 0 and 4 of five.
    let args = "export codes.csv -o out --codebook-size 256 --style sem --items catalogue.jsonl --title name \
                --first-token-id 1000 --special-token [REC]";
    let value = desk.run(&format!("{args} --json")).json();
    let names = ["vocabulary.json", "special_tokens.json", "index.json", "items.jsonl", "info.tsv", "ids.trie"];
    assert_eq!(value["files"], serde_json::json!(names));
    assert_eq!((value["tokens"].as_u64(), value["embedding_rows"].as_u64()), (Some(771), Some(1771)));
    let id = "[SEM_START][SEM_0_255][SEM_1_0][SEM_2_7][SEM_END]";
    assert!(text(&desk, "out/info.tsv").ends_with(&format!("{id}\titem 4\t104\n")));
    assert!(
        text(&desk, "out/items.jsonl")
            .contains(&format!("{{\"id\":\"{id}\",\"codes\":[255,0,7],\"items\":[\"104\"]}}"))
    );
    assert!(text(&desk, "out/index.json").contains("\"100\": [\"[SEM_START]\", \"[SEM_0_12]\""));
    let next = desk.run("trie out/ids.trie 1000 --json --verify").json();
    assert_eq!(next["allowed"], serde_json::json!([1003 + 12, 1003 + 255]));
    let leaf = desk.run("trie out/ids.trie 1000 1258 1259 1522 --json").json();
    assert_eq!((&leaf["allowed"], &leaf["rows"]), (&serde_json::json!([1001]), &serde_json::json!([1])));
    let shown = desk.run("trie out/ids.trie 5").ok().stdout;
    assert!(shown.contains("2 items, 4 tokens deep") && shown.contains("no ID starts so; next: 1001"), "{shown}");
    // Again into the same folder, without items and with the model's end token.
    desk.run("export codes.csv -o out --codebook-size 256 --style lc-rec --end-token-id 9999").ok();
    assert!(text(&desk, "out/index.json").contains("\"4\": [\"<a_255>\", \"<b_0>\", \"<c_7>\"]"));
}

#[test]
fn an_export_that_cannot_be_is_refused_whole() {
    let desk = desk();
    desk.file("four.jsonl", b"{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n{\"id\":\"d\"}\n");
    desk.file("twice.jsonl", &b"{\"id\":\"a\"}\n".repeat(5)).file("file", b"").file("bad.trie", &[7; 100]);
    let with = |more: &str| format!("export codes.csv -o out --codebook-size 256 {more}");
    desk.refuses(&with("--style lc-rec"), 2, &["`--end-token-id` is needed", "`--no-trie`"]);
    desk.refuses(&with("--end-token-id 9"), 2, &["`--token`", "would be the token of two codes"]);
    desk.refuses(&with("--style sem --special-token [SEM_END]"), 2, &["`--special-token`", "[SEM_END]"]);
    desk.refuses(&with("--style sem --items four.jsonl"), 3, &["four.jsonl", "holds 4 items", "row number 4"]);
    desk.refuses(&with("--style sem --items twice.jsonl"), 3, &["rows 0 and 1 have the same key `a`"]);
    desk.refuses(&with("--style sem --items four.jsonl --key asin"), 3, &["has no `asin`"]);
    desk.refuses(&with("--style lc-rec --end-token-id 12"), 3, &["holds the end token 12"]);
    desk.refuses("export codes.csv -o file --codebook-size 256 --style sem", 2, &["`file` is not a folder"]);
    desk.refuses("export codes.csv -o out --codebook-size 9,9 --style sem", 3, &["expected levels = 2, got 3"]);
    desk.refuses("trie bad.trie", 3, &["bad.trie", "is no trie"]);
}

#[test]
fn a_tokenizer_numbers_the_tokens_and_gains_them() {
    let desk = desk();
    let tokenizer = r#"{"added_tokens":[{"id":2,"content":"</s>"}],"model":{"vocab":{"a":0,"b":1}}}"#;
    desk.file("tokenizer.json", tokenizer.as_bytes());
    let with = |more: &str| {
        format!("export codes.csv -o out --codebook-size 256 --style lc-rec --tokenizer tokenizer.json {more}")
    };
    let value = desk.run(&with("--end-token </s> --static safetensors --static-dense 1 --python-helper --json")).json();
    let files = value["files"].as_array().expect("a list");
    for name in ["static.safetensors", "tokenizer.json", "sememe_trie.py"] {
        assert!(files.contains(&name.into()), "{files:?}");
        assert!(desk.path("out").join(name).is_file(), "{name}");
    }
    assert_eq!((value["first_token_id"].as_u64(), value["embedding_rows"].as_u64()), (Some(3), Some(3 + 768)));
    assert_eq!(value["end_token_id"].as_u64(), Some(2));
    assert!(text(&desk, "out/tokenizer.json").contains(r#""id":3,"content":"<a_0>""#));
    assert_eq!(desk.run("trie out/ids.trie --json").json()["allowed"], serde_json::json!([3 + 12, 3 + 255]));

    desk.refuses(&with("--end-token <eos>"), 2, &["`--end-token`", "no token `<eos>`"]);
    desk.refuses(&with("--end-token-id 3"), 2, &["`--end-token-id`", "no token 3"]);
    desk.refuses(&with("--end-token </s> --first-token-id 9"), 2, &["`--first-token-id` is 9", "end before 3"]);
    desk.refuses(&with("--end-token </s> --special-token b"), 3, &["tokenizer.json", "`b` (1)"]);
    desk.refuses(&with("--end-token </s> --static npz --static-dense 3"), 2, &["`--static-dense`: expected 1 or 2"]);
    desk.refuses(&with("--no-trie --static npz"), 2, &["cannot be used with"]);
    desk.refuses("export codes.csv -o out --codebook-size 256 --style sem --end-token x", 2, &["required arguments"]);
    let again = "export codes.csv -o out --codebook-size 256 --style sem --tokenizer out/tokenizer.json";
    desk.refuses(again, 2, &["would be replaced"]);
    desk.file("half.json", &tokenizer.as_bytes()[..40]);
    let half = with("--no-trie").replace("tokenizer.json", "half.json");
    desk.refuses(&half, 3, &["half.json", "is no tokenizer.json"]);
    // A separator is made of tokens that the trie does not know.
    let spaced = desk
        .run("export codes.csv -o spaced --codebook-size 256 --style animind --tokenizer tokenizer.json --no-trie")
        .ok();
    assert!(spaced.stderr.contains("--separator ''"), "{}", spaced.stderr);
}

#[test]
fn items_on_the_same_codes_get_ids_of_their_own() {
    let desk = desk();
    desk.file("codes.csv", b"row,code_0,code_1\n0,1,2\n2,1,2\n3,0,0\n4,1,2\n");
    desk.file("items.csv", b"id,name\nz,A\nn,B\nm,C\na,D\nb,E\n");
    let value = desk.run("resolve codes.csv -o out.csv --items items.csv --json").json();
    assert_eq!((value["cost"]["moved"].as_u64(), value["cost"]["ids_after"].as_u64()), (Some(2), Some(4)));
    // Keys z, m, a, b of rows 0, 2, 3, 4: b first, then m, then z.
    assert_eq!(text(&desk, "out.csv"), "row,code_0,code_1,code_2\n0,1,2,2\n2,1,2,1\n3,0,0,0\n4,1,2,0\n");
    let shown = desk.run("resolve codes.csv -o out.csv --items items.csv --key name --policy extra-level").ok().stdout;
    assert!(shown.contains("2 different IDs before, 4 after; at most 3 on one before, 1 after"), "{shown}");
    desk.run("format out.csv -o ids.txt --codebook-size 3 --counter").ok();
    assert_eq!(text(&desk, "ids.txt"), "1-2\n1-2-1\n0-0\n1-2-2\n");
    let first = "3 of 4 items share their codes with others, first `b` and `m` on 1-2";
    desk.refuses("resolve codes.csv -o new.csv --items items.csv --policy error", 3, &[first]);
    desk.refuses(
        "resolve codes.csv -o new.csv --items items.csv --policy relocate",
        2,
        &["needs `--codec` and `--rows`"],
    );
    desk.refuses("resolve codes.csv -o items.csv --items items.csv", 2, &["is an input too"]);
    desk.file("few.csv", b"id\nz\n");
    desk.refuses("resolve codes.csv -o new.csv --items few.csv", 3, &["few.csv", "holds 1 items", "row number 2"]);
}

#[test]
fn relocating_needs_the_rows_and_says_what_it_cost() {
    let desk = Desk::fitted();
    let items: String = (0..300).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    desk.file("items.jsonl", items.as_bytes());
    desk.run("encode codec.safetensors items.npy -o codes.npy").ok();
    let args = "resolve codes.npy --items items.jsonl --policy relocate --codec codec.safetensors --rows items.npy";
    let value = desk.run(&format!("{args} -o own.npy --json")).json();
    let cost = &value["cost"];
    assert_eq!((cost["largest_after"].as_u64(), cost["ids_after"].as_u64()), (Some(1), Some(300)));
    assert!(cost["ids_before"].as_u64().unwrap() < 300 && value["added_share"].as_f64().unwrap() > 0.0, "{value}");
    let shown = desk.run(&format!("{args} -o two.npy --capacity 2")).ok().stdout;
    assert!(shown.contains("mean squared L2") && shown.contains(" on one before, "), "{shown}");
    desk.refuses(&format!("{args} -o own.npy --capacity 0"), 2, &["`--capacity`"]);
    desk.refuses(
        "resolve codes.npy -o a.npy --items items.jsonl --codec codec.safetensors --rows items.npy",
        2,
        &["leave them out"],
    );
}
