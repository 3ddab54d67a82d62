//! What this crate writes, as transformers reads it.
//!
//! `SEMEME_PYTHON` names a Python that has torch, transformers and tokenizers. Without it this skips, and says so.

use super::*;
use sememe_recommend::{ChatMessage, SaveOptions};
use sememe_testkit::python_with;
use std::io::Write as _;
use std::process::Stdio;

#[derive(Deserialize)]
struct Said {
    logits: Vec<Vec<Vec<f32>>>,
    greedy: Vec<Vec<u32>>,
    texts: Vec<String>,
    tokens: Vec<Vec<u32>>,
    special: Vec<u32>,
    chats: Vec<SaidChat>,
    rows: usize,
}

#[derive(Deserialize)]
struct SaidChat {
    text: Option<String>,
}

fn ask(place: &Path, question: &serde_json::Value) -> Option<Said> {
    let mut command = python_with(&["torch", "transformers", "tokenizers"])?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/make_models.py");
    let command = command.arg(script).arg("ask").arg(place).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut run = command.stderr(Stdio::piped()).spawn().expect("a Python that runs");
    run.stdin.take().expect("a pipe").write_all(question.to_string().as_bytes()).expect("asked");
    let run = run.wait_with_output().expect("an answer");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(serde_json::from_slice(&run.stdout).expect("an answer in JSON"))
}

#[test]
fn transformers_reads_what_is_written() {
    for (number, name) in MODELS.into_iter().enumerate() {
        let (mut model, place) = (load(name), tempfile::tempdir().expect("a folder"));
        let new = model.add_tokens(&["<item>"], &["<a_0>", "<a_1>", "<b_7>", "Größe"], None).expect("added");
        let shard_bytes = if number % 2 == 0 { 10_000 } else { u64::MAX };
        model.save_with(place.path(), &SaveOptions { shard_bytes, ..SaveOptions::default() }).expect("saved");

        let sequences = [vec![1, new.start, new.end - 1, 70], vec![5, 6, 7, 260, new.start + 2, 9, 10, 11, 12, 13]];
        let texts = ["<item>the user's<a_1><b_7> Größe</s>", "<s> <a_0>", "Größe<item>"];
        let chat = [ChatMessage::new("user", " <a_1>? "), ChatMessage::new("assistant", "<item>")];
        let question = serde_json::json!({"sequences": sequences, "texts": texts, "chats": [chat]});
        let Some(said) = ask(place.path(), &question) else { return };

        assert_eq!(said.rows, model.shape().vocabulary);
        for (number, sequence) in sequences.iter().enumerate() {
            let ours = model.logits(&[sequence], &Device::cpu()).expect("logits").remove(0);
            let apart = distance(ours.as_slice(), &said.logits[number].concat());
            assert!(apart <= 1e-4, "{name}: {apart}");
            let tokens = greedy(&model, sequence, 12, &Device::cpu());
            assert_eq!(tokens, said.greedy[number], "{name}");
            assert_eq!(model.tokenizer().decode(&tokens, true).expect("a text"), said.texts[number], "{name}");
        }
        for (text, tokens) in texts.iter().zip(&said.tokens) {
            assert_eq!(&model.tokenizer().encode(text, false).expect("tokens"), tokens, "{name}: {text}");
        }
        assert!(said.special.contains(&new.start) && !said.special.contains(&(new.start + 1)), "{:?}", said.special);
        // The date in the template of Llama 3's kind is today's.
        let ours = model.chat(&chat, true).expect("a text");
        assert_eq!(said.chats[0].text.as_deref().map(str::len), Some(ours.len()), "{name}");
        if name != "llama3" {
            assert_eq!(said.chats[0].text.as_deref(), Some(ours.as_str()), "{name}");
        }
    }
}

/// `SEMEME_SMOLLM2` names a folder of SmolLM2-135M-Instruct. Its logits are as large as 39 here, where transformers in f32 is 9e-5 away from
/// itself in f64: what is asked for is relative to the largest, and to f64.
#[test]
fn a_real_model_has_the_logits_of_transformers() {
    let Some(place) = std::env::var_os("SEMEME_SMOLLM2") else {
        eprintln!("skipped: SEMEME_SMOLLM2 names no folder of SmolLM2-135M-Instruct");
        return;
    };
    let model = LanguageModel::load(&place).expect("SmolLM2");
    let chat = [ChatMessage::new("user", "Name three fruits, Größe egal. 🙂")];
    let text = model.chat(&chat, true).expect("a text");
    let tokens = model.tokenizer().encode(&text, false).expect("tokens");
    let question = serde_json::json!({"sequences": [tokens], "texts": [text], "chats": [chat], "dtype": "float64"});
    let Some(said) = ask(Path::new(&place), &question) else { return };
    assert_eq!(said.chats[0].text.as_deref(), Some(text.as_str()));
    assert_eq!(said.tokens[0], tokens);
    let ours = model.logits(&[&tokens], &Device::cpu()).expect("logits").remove(0);
    let apart = distance(ours.as_slice(), &said.logits[0].concat());
    let largest = ours.as_slice().iter().fold(0.0f32, |most, v| most.max(v.abs()));
    println!("{} logits up to {largest}, at most {apart} apart", ours.as_slice().len());
    assert!(apart <= 1e-5 * largest, "{apart} of {largest}");
    assert_eq!(greedy(&model, &tokens, 12, &Device::cpu()), said.greedy[0]);
}
