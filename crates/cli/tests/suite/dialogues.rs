//! The verb `dialogues`.

use crate::cli::Desk;
use sememe_testkit::text::{CATALOGUE, IDS};
use std::fs;

#[test]
fn the_verb_writes_says_and_refuses() {
    let desk = Desk::new();
    desk.file("ids.jsonl", IDS.as_bytes()).file("shop.csv", CATALOGUE.as_bytes());
    let starter = desk.run("dialogues --print-templates").ok().stdout;
    let own = starter
        .replace("{title}", "{name}")
        .replace("{text:300}", "{about:300}")
        .replace("{history.title}", "{history.name}");
    desk.file("own.toml", own.as_bytes());
    assert!(desk.run("dialogues --print-templates --json").json()["next_item"].is_array());
    let run = desk
        .run("dialogues ids.jsonl --source shop.csv --templates own.toml -o out --validation 0 --query-end [REC]")
        .ok();
    for part in [
        "12 examples of 3 items",
        "training: 12 examples (id_from_query 6, attribute_from_id 6)",
        "for example",
        "wrote out/train.jsonl: 12 examples",
    ] {
        assert!(run.stdout.contains(part), "{part} in {}", run.stdout);
    }
    assert!(run.stderr.contains("left out 1 item of 4 without an ID, the first is `ed`"), "{}", run.stderr);
    let written = fs::read_to_string(desk.path("out/train.jsonl")).unwrap();
    assert_eq!(written.matches(" [REC]\"").count(), 6);
    let value = desk
        .run("dialogues ids.jsonl --source shop.csv --templates own.toml -o dry --dry-run --json --metadata")
        .json();
    assert_eq!(value["report"]["items"], 3);
    assert!(value["samples"][0]["task"].is_string() && !desk.path("dry").exists());
    let templates = "--source shop.csv --templates own.toml";
    desk.refuses(&format!("dialogues ids.jsonl {templates} -o new --strict"), 3, &["1 of 4 items", "`ed`", "--strict"]);
    desk.refuses("dialogues ids.jsonl --source shop.csv -o new", 2, &["`--templates`", "`title` or `text`"]);
    desk.refuses(&format!("dialogues ids.jsonl {templates} -o new --examples 0"), 2, &["`--examples`"]);
    desk.refuses(&format!("dialogues ids.jsonl {templates} -o new --task next-item"), 2, &["`--events`"]);
    desk.refuses(&format!("dialogues ids.jsonl {templates} -o ids.jsonl"), 2, &["is not a folder"]);
    desk.refuses(&format!("dialogues ids.jsonl {templates} -o ids.jsonl/x"), 3, &["cannot create"]);
    desk.refuses("dialogues out/train.jsonl -o out", 2, &["would be replaced"]);
    desk.refuses("dialogues no.jsonl -o new", 3, &["cannot open `no.jsonl`"]);
    desk.file("bad.toml", b"[[next_item]]\nquery = \"{history}\"\nanswer = \"{brand}\"\n")
        .file("events.csv", b"user,item\n1,nano\n1,vim\n");
    desk.refuses(
        "dialogues ids.jsonl --source shop.csv --templates bad.toml --events events.csv -o new",
        2,
        &["`--templates`: `next_item[0]`", "`brand`"],
    );
    assert!(desk.run("dialogues -o x").code == Some(2));
}
