//! The verb `prep`.

use crate::cli::Desk;
use sememe_testkit::text::{ROWS, TEMPLATE};
use std::fs;

fn run(desk: &Desk, args: &str, template: &str) -> crate::cli::Run {
    let mut command = desk.command(args);
    command.args(["--template", template]);
    command.output().expect("run").into()
}

#[test]
fn the_verb_writes_says_and_refuses() {
    let desk = Desk::new();
    desk.file("items.jsonl", ROWS.as_bytes());
    let text = run(&desk, "prep items.jsonl --title name -o out.jsonl", TEMPLATE).ok().stdout;
    for part in ["3 items from 3 rows", "2 items share their text", "10  Nano (tty, edit)", "wrote out.jsonl: 3 items"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let value = run(&desk, "prep out.jsonl -o again.jsonl --json", "{text}").json();
    assert_eq!(value["report"]["items"], 3);
    assert_eq!(value["report"]["duplicate_texts"][0]["items"], 2);
    assert_eq!(value["outputs"][0]["saved"]["added"], 3);
    let dry = run(&desk, "prep items.jsonl -o dry.jsonl --dry-run", TEMPLATE).ok();
    assert!(dry.stdout.contains("nothing was written") && !desk.path("dry.jsonl").exists());
    run(&desk, "prep items.jsonl -o out.txt", TEMPLATE).fails(2, &["`--output`", ".jsonl, got `.txt`"]);
    run(&desk, "prep items.jsonl -o items.jsonl", TEMPLATE).fails(2, &["is an input too"]);
    run(&desk, "prep items.jsonl -o no/out.jsonl", TEMPLATE).fails(2, &["does not exist"]);
    run(&desk, "prep items.jsonl -o new.jsonl", "{name").fails(2, &["`--template`", "character 1"]);
    run(&desk, "prep items.jsonl -o new.jsonl", "{nme}").fails(3, &["has no field `nme`", "`name`"]);
    run(&desk, "prep items.jsonl -o new.jsonl --max-chars 0", TEMPLATE).fails(2, &["`--max-chars`"]);
    assert!(!desk.path("new.jsonl").exists());
    assert_eq!(fs::read_to_string(desk.path("items.jsonl")).unwrap(), ROWS);
}

#[cfg(feature = "sqlite")]
#[test]
fn one_database_may_be_source_and_output() {
    let desk = Desk::new();
    desk.file("items.jsonl", ROWS.as_bytes());
    run(&desk, "prep items.jsonl -o shop.db --output-table raw", "{name}").ok();
    run(&desk, "prep shop.db -o shop.db", "{text}").fails(2, &["is the source too", "--table"]);
    run(&desk, "prep shop.db -o shop.db --table raw --output-table Raw", "{text}").fails(2, &["is the source too"]);
    run(&desk, "prep shop.db -o shop.db --table raw", "{text}").ok();
    let text = run(&desk, "prep shop.db -o shop.db --table raw", "{text}").ok().stdout;
    assert!(text.contains("nothing to change"), "{text}");
}
