//! `sememe recommend query` with wishes: texts, and rows of vectors.

use crate::cli::Desk;
use crate::recommend_cli::{TRAIN, desk, number};
use serde_json::Value;

/// A recommender over vectors, and one over codes alone.
fn trained() -> Desk {
    let desk = desk();
    desk.run(&format!("{TRAIN} --vectors rows.npy --patience 0 -o v.safetensors --quiet")).ok();
    desk.run(&format!("{TRAIN} --ids codes.csv --epochs 1 -o c.safetensors --quiet").replace("--epochs 25", "")).ok();
    desk
}

fn first(value: &Value, answer: usize) -> f64 {
    number(value, &format!("/answers/{answer}/items/0/row"))
}

#[test]
fn rows_of_vectors_are_wishes_alone_or_after_histories() {
    let desk = trained();
    let item = |i: u32| {
        let turn = f64::from(i) * std::f64::consts::TAU / 16.0;
        [turn.cos() as f32, turn.sin() as f32]
    };
    desk.rows("wishes.npy", 2, &[item(3), item(9)].concat());
    let alone = desk.run("recommend query v.safetensors --vector wishes.npy -k 16 --seen --json").json();
    assert_eq!(alone["answers"].as_array().map(Vec::len), Some(2));
    assert!(number(&alone, "/seconds") > 0.0 && alone["answers"][0]["history"].is_null(), "{alone}");
    // What has an item's vector is read as the item.
    let taken = desk.run("recommend query v.safetensors --history 3 --history 9 -k 16 --seen --json").json();
    for answer in 0..2 {
        assert_eq!(first(&alone, answer), first(&taken, answer));
    }
    let after = desk.run("recommend query v.safetensors --history 1,2 --vector wishes.npy -k 16 --seen --json").json();
    let taken = desk.run("recommend query v.safetensors --history 1,2,3 --history 1,2,9 -k 16 --seen --json").json();
    for answer in 0..2 {
        assert_eq!(first(&after, answer), first(&taken, answer));
        assert_eq!(after["answers"][answer]["history"], serde_json::json!(["1", "2"]));
    }
    let said = desk.run("recommend query v.safetensors --history 1 --history 2 --vector wishes.npy -k 1").ok().stdout;
    assert!(said.contains("after 1, for row 0 of wishes.npy") && said.contains("after 2, for row 1"), "{said}");
}

#[test]
fn wishes_that_cannot_be_read_are_refused() {
    let desk = trained();
    let refused = |args: &str, code, parts: &[&str]| desk.run(&format!("recommend query {args}")).fails(code, parts);
    desk.rows("wishes.npy", 2, &[1.0, 0.0, 0.0, 1.0]);
    desk.rows("wide.npy", 3, &[1.0, 0.0, 0.0]);
    desk.rows("far.npy", 2, &[1e20, 0.0]);
    desk.rows("nan.npy", 2, &[1.0, 0.0, f32::NAN, 0.0]);
    refused("v.safetensors", 2, &["not provided"]);
    refused("c.safetensors --vector wishes.npy", 2, &["c.safetensors", "`--vectors`"]);
    refused("v.safetensors --vector wide.npy", 3, &["wish 0", "2", "3"]);
    refused("v.safetensors --vector far.npy", 3, &["wish 0", "times as far"]);
    refused("v.safetensors --vector nan.npy", 3, &["value 0 of wish 1 is NaN"]);
    refused("v.safetensors --vector gone.npy", 3, &["gone.npy"]);
    let histories = "--history 1 --history 2 --history 3";
    refused(&format!("v.safetensors --vector wishes.npy {histories}"), 2, &["3 histories and 2 wishes"]);
    refused("v.safetensors --vector wishes.npy --text game", 2, &["--vector"]);
    refused("v.safetensors --text game", 2, &["--model-folder"]);
    refused("v.safetensors --history 1 --normalize", 2, &["not provided"]);
    refused("v.safetensors --history 1 --url http://localhost:1/v1", 2, &["--text"]);
}

/// A tiny model makes the items' vectors and that of the wish.
#[cfg(feature = "embed")]
#[test]
fn a_wish_in_words_is_read_by_the_model_that_made_the_items_vectors() {
    use sememe_testkit::embed_oracle as oracle;
    let desk = desk();
    oracle::bert(&desk.path("tiny"), "mean");
    let items = oracle::items(16);
    let lines = items.iter().map(|(key, text)| format!("{}\n", serde_json::json!({ "id": key, "text": text })));
    desk.file("texts.jsonl", lines.collect::<String>().as_bytes());
    desk.run("embed texts.jsonl -o v.sqlite --model-folder tiny --rows texts.npy --normalize --quiet").ok();
    desk.run(&format!("{TRAIN} --vectors texts.npy -o t.safetensors --quiet")).ok();
    let ask = |wish: &str| {
        let mut command = desk.command("recommend query t.safetensors -k 16 --seen --json --history 2 --normalize");
        command.args(["--model-folder", "tiny", "--text", wish]);
        let run: crate::cli::Run = command.output().expect("run").into();
        run.json()
    };
    let answer = ask(&items[5].1);
    assert_eq!(answer["answers"][0]["text"], items[5].1);
    let taken = desk.run("recommend query t.safetensors --history 2,5 -k 16 --seen --json").json();
    let top = |value: &Value| number(value, "/answers/0/items/0/log_probability");
    assert!((top(&answer) - top(&taken)).abs() < 1e-3, "{answer}\n{taken}");
    assert_eq!(first(&answer, 0), first(&taken, 0));
    let other = ask("something else");
    assert!((top(&other) - top(&answer)).abs() > 1e-6, "the words make no difference");
    desk.run("recommend query t.safetensors --text x --model-folder absent").fails(3, &["absent"]);
}
