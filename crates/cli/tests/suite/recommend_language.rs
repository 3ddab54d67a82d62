//! `sememe recommend tune`, `query` of a language model's folder, `eval-chats`, and what is refused.

use crate::cli::Desk;
use crate::recommend_cli::number;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const WORDS: [&str; 6] = ["red", "green", "round", "flat", "loud", "soft"];
const TUNE: &str = "recommend tune base --chats chats.jsonl --bundle bundle --context 160 --batch-tokens 320 --epochs 40 --rate 0.01 \
                    --device cpu";

/// A tiny model, six items, what `export` makes for it, and chats that ask for the items.
fn desk() -> Desk {
    let desk = Desk::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recommend/tests/models/llama");
    fs::create_dir(desk.path("base")).expect("a folder");
    for entry in fs::read_dir(models).expect("a tiny model") {
        let path = entry.expect("a file").path();
        fs::copy(&path, desk.path("base").join(path.file_name().expect("a name"))).expect("a copy");
    }
    // Its letters are tokens, so chats are long.
    let config = fs::read_to_string(desk.path("base/config.json")).expect("a configuration");
    let longer = config.replace("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 256");
    assert_ne!(longer, config);
    fs::write(desk.path("base/config.json"), longer).expect("written");

    let (mut codes, mut items, mut chats) = ("row,code_0,code_1\n".to_owned(), String::new(), String::new());
    for (i, word) in WORDS.iter().enumerate() {
        let (a, b) = (i / 2, i % 2);
        let _ = writeln!(codes, "{i},{a},{b}");
        let _ = writeln!(items, "{{\"id\":\"k{i}\",\"title\":\"a {word} thing\"}}");
        for (asked, answered) in
            [(format!("{word}?"), format!("<a_{a}><b_{b}>")), (format!("<a_{a}><b_{b}>?"), word.to_string())]
        {
            let _ = writeln!(
                chats,
                "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{asked}\"}},{{\"role\":\"assistant\",\"content\":\"{answered}\"}}]}}"
            );
        }
    }
    desk.file("codes.csv", codes.as_bytes());
    desk.file("items.jsonl", items.as_bytes());
    desk.file("chats.jsonl", chats.as_bytes());
    desk.run(
        "export codes.csv -o bundle --codebook-size 3,2 --style lc-rec --items items.jsonl --tokenizer base/tokenizer.json \
         --end-token </s>",
    )
    .ok();
    desk
}

#[test]
fn a_language_model_learns_ids_and_names_items() {
    let desk = desk();
    let longer = TUNE.replace("--epochs 40", "--epochs 150");
    let done = desk.run(&format!("{longer} --validation chats.jsonl --checkpoint state.safetensors -o model")).ok();
    assert!(done.stdout.contains("wrote model: ") && done.stdout.contains("12 chats"), "{}", done.stdout);
    for part in ["update 1 of", "validation loss", "the lowest so far"] {
        assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
    }
    for file in ["config.json", "model.safetensors", "tokenizer.json", "ids.trie", "index.json"] {
        assert!(desk.path("model").join(file).is_file(), "{file}");
    }
    let value = desk.run("recommend eval-chats model --chats chats.jsonl --device cpu --json").json();
    assert_eq!((number(&value, "/chats"), number(&value, "/left_out")), (6.0, 6.0));
    assert!(number(&value, "/found_in_1") > 0.8 && number(&value, "/found_in_10") == 1.0, "{value}");

    let query = "recommend query model --text round? --names items.jsonl -k 6 --device cpu";
    let value = desk.run(&format!("{query} --json")).json();
    let list = value["answers"][0]["items"].as_array().expect("a list");
    let sum: f64 = list.iter().map(|item| item["log_probability"].as_f64().expect("a number").exp()).sum();
    assert!(list.len() == 6 && (sum - 1.0).abs() < 1e-6, "{value}");
    assert_eq!((list[0]["key"].as_str(), list[0]["id"].as_str()), (Some("k2"), Some("<a_1><b_0>")), "{value}");
    assert_eq!(list[0]["name"].as_str(), Some("a round thing"));
    let shown = desk.run(query).ok().stdout;
    assert!(shown.contains("k2") && shown.contains("<a_1><b_0>") && shown.contains("a round thing"), "{shown}");
    // What was taken does not come again, unless it is asked for.
    let history = "recommend query model --history k2,k4 --ask {history}? -k 6 --device cpu --json";
    let value = desk.run(history).json();
    assert_eq!(value["answers"][0]["question"].as_str(), Some("<a_1><b_0>, <a_2><b_0>?"));
    let keys: Vec<&str> = value["answers"][0]["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["key"].as_str())
        .collect();
    assert!(keys.len() == 4 && !keys.contains(&"k2") && !keys.contains(&"k4"), "{keys:?}");
    let all = desk.run(&format!("{history} --seen")).json();
    assert_eq!(all["answers"][0]["items"].as_array().map(Vec::len), Some(6));
}

#[test]
fn every_way_to_learn_goes_on_after_a_stop() {
    let desk = desk();
    for learn in ["full", "low-rank", "new-tokens"] {
        let command = TUNE.replace("--epochs 40", "--epochs 2");
        let run = |out: &str| {
            desk.run(&format!(
                "{command} --learn {learn} --rank 4 --checkpoint {learn}.safetensors --checkpoint-every 0 -o {out}"
            ))
            .ok()
        };
        run("whole");
        // What is finished only writes the model again.
        let again = run("again");
        assert!(again.stderr.contains("going on after"), "{}", again.stderr);
        let weights = |folder: &str| fs::read(desk.path(folder).join("model.safetensors")).expect("weights");
        assert!(weights("whole") == weights("again"), "{learn}");
        let other = command.replace("--rate 0.01", "--rate 0.02");
        desk.run(&format!("{other} --learn {learn} --rank 4 --checkpoint {learn}.safetensors -o other"))
            .fails(3, &["other settings", "\"rate\":0.01"]);
    }
    // A model that was taught is taught again without new tokens.
    let more = TUNE.replace("tune base", "tune whole").replace("--epochs 40", "--epochs 1");
    desk.run(&format!("{more} --weights bf16 -o more")).ok();
    assert!(fs::metadata(desk.path("more/model.safetensors")).expect("weights").len() < 60_000);
}

#[test]
fn new_tokens_begin_at_their_codewords() {
    let desk = desk();
    let rows = ["8,0,-1", "8,0,1", "0,8,-1", "0,8,1", "-8,-8,-1", "-8,-8,1"];
    let lines: String = rows.iter().map(|row| format!("{{\"embedding\":[{row}]}}\n")).collect();
    desk.file("rows.jsonl", lines.as_bytes());
    desk.run("train rows.jsonl -o codec.safetensors --codebook-size 3,2 --device cpu").ok();
    let command = TUNE.replace("--epochs 40", "--epochs 2");
    let first = |args: &str, out: &str| {
        let value = desk.run(&format!("{command} {args} -o {out} --json")).json();
        (value["looks"][0]["loss"].as_f64().expect("a loss"), value)
    };
    let (mean, said) = first("", "mean");
    assert!(said["codeword_map"].is_null(), "{said}");
    let (placed, said) = first("--codewords codec.safetensors --checkpoint state.safetensors", "placed");
    // The letters of "red", "round" and "loud" are in the template of all chats, so those chats have no words of their own.
    assert_eq!(number(&said, "/codeword_map/chats"), 6.0);
    let explained = number(&said, "/codeword_map/explained");
    assert!(explained > 0.0 && explained <= 1.0, "{said}");
    assert_ne!(mean.to_bits(), placed.to_bits());
    // The same command goes on from its state, and one without the map is another fine-tuning.
    let again =
        desk.run(&format!("{command} --codewords codec.safetensors --checkpoint state.safetensors -o again")).ok();
    assert!(
        again.stderr.contains("going on after") && again.stderr.contains("map of their codewords"),
        "{}",
        again.stderr
    );
    desk.run(&format!("{command} --checkpoint state.safetensors -o other")).fails(3, &["another model"]);
    let taught = command.replace("tune base", "tune placed");
    desk.run(&format!("{taught} --codewords codec.safetensors -o more")).fails(3, &["placed", "`--codewords`"]);
    let alone = command.replace("--bundle bundle", "");
    desk.run(&format!("{alone} --codewords codec.safetensors -o more")).fails(2, &["not provided"]);
    desk.run("train rows.jsonl -o wide.safetensors --codebook-size 6,6 --device cpu").ok();
    desk.run(&format!("{command} --codewords wide.safetensors -o more")).fails(3, &["vocabulary.json", "need 12"]);
    assert!(!desk.path("more").exists());
}

#[test]
fn what_does_not_fit_is_refused_before_the_model_learns() {
    let desk = desk();
    let refused = |args: &str, code, parts: &[&str]| desk.run(args).fails(code, parts);
    refused(&format!("{TUNE} -o base"), 2, &["would be replaced"]);
    refused(&format!("{TUNE} -o items.jsonl"), 2, &["is not a folder"]);
    refused(&TUNE.replace("--batch-tokens 320", "--batch-tokens 100 -o m"), 2, &["`--batch-tokens`", "got 100"]);
    refused(&format!("{} -o m", TUNE.replace("tune base", "tune nowhere")), 3, &["nowhere", "does not exist"]);
    refused(
        &format!(
            "{} -o m",
            TUNE.replace("--context 160", "--context 300 --batch-tokens 300").replace("--batch-tokens 320", "")
        ),
        2,
        &["256", "got 300"],
    );
    refused(&format!("{} -o m", TUNE.replace("--context 160", "--context 20")), 3, &["all 12 chats", "--context"]);
    desk.file("none.jsonl", b"{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n");
    refused(
        &format!("{} -o m", TUNE.replace("chats.jsonl", "none.jsonl")),
        3,
        &["none.jsonl", "line 1", "nothing to learn"],
    );
    fs::remove_file(desk.path("bundle/vocabulary.json")).expect("removed");
    refused(&format!("{TUNE} -o m"), 3, &["vocabulary.json"]);
    assert!(!desk.path("m").exists());
    refused("recommend query base --text q", 3, &["ids.trie"]);
    refused("recommend query base --history k1", 2, &["--ask"]);
    refused("recommend query base --text q --ask none", 2, &["{text}"]);
    refused("recommend query base --text q --vector rows.npy", 2, &["--vector", "cannot be used with"]);
    refused("recommend query base --text q --model-folder base", 2, &["`--model-folder`", "language model"]);
    refused("recommend query items.jsonl --text q --ask {text}", 2, &["`--ask`", "language models"]);
    refused("recommend eval-chats base --chats chats.jsonl", 3, &["ids.trie"]);
}
