//! Tokenizers that are given tokens: numbers, what is refused, and that nothing else of a file changes. What the libraries make of
//! the result is in `ids_python`.

use sememe::Error;
use sememe::ids::{Style, TextFormat, Tokenizer, Vocabulary};
use serde_json::Value;

const BPE: &str = r#"{
  "version": "1.0",
  "truncation": null,
  "added_tokens": [
    {
      "id": 0,
      "content": "</s>",
      "single_word": false,
      "lstrip": false,
      "rstrip": false,
      "normalized": false,
      "special": true
    },
    {"id":4,"content":"[MASK]","single_word":false,"lstrip":true,"rstrip":false,"normalized":true,"special":false}
  ],
  "normalizer": {"type": "Lowercase", "weight": 0.10000000000000000555},
  "model": {
    "type": "BPE",
    "vocab": {"</s>": 0, "a": 1, "b": 2, "ab": 3},
    "merges": [["a", "b"]]
  }
}"#;

fn vocabulary(first_id: u32, specials: &[&str]) -> Vocabulary {
    let format = TextFormat::preset(Style::LcRec, &[2, 2]).expect("a preset");
    Vocabulary::new(&format, 0, first_id, specials).expect("a vocabulary")
}

#[track_caller]
fn refused(text: &str, part: &str) {
    let error = Tokenizer::parse(text).expect_err("refused").to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn tokens_go_behind_those_that_are_there() {
    let tokenizer = Tokenizer::parse(BPE).unwrap();
    assert_eq!(
        (tokenizer.next_id(), tokenizer.id("ab"), tokenizer.id("[MASK]"), tokenizer.id("c")),
        (5, Some(3), Some(4), None)
    );
    let patched = tokenizer.with_tokens(&vocabulary(5, &["[REC]\"\n"])).unwrap();
    assert_eq!(patched, tokenizer.with_tokens(&vocabulary(5, &["[REC]\"\n"])).unwrap());
    let value: Value = serde_json::from_str(&patched).unwrap();
    let added = value["added_tokens"].as_array().unwrap();
    let ours: Vec<_> = added[2..].iter().map(|t| (t["id"].as_u64().unwrap(), t["content"].as_str().unwrap())).collect();
    assert_eq!(ours, [(5, "[REC]\"\n"), (6, "<a_0>"), (7, "<a_1>"), (8, "<b_0>"), (9, "<b_1>")]);
    for (at, token) in added[2..].iter().enumerate() {
        assert_eq!(token["special"], Value::Bool(at == 0));
        for flag in ["single_word", "lstrip", "rstrip", "normalized"] {
            assert_eq!(token[flag], Value::Bool(false), "{flag}");
        }
    }
    // The text around the new tokens is that of the file, to the last digit.
    let (before, after) = BPE.split_at(BPE.find("\n  ],").unwrap());
    assert!(patched.starts_with(before) && patched.ends_with(after), "{patched}");
    let again = Tokenizer::parse(&patched).unwrap();
    assert_eq!((again.next_id(), again.id("<b_1>")), (10, Some(9)));
}

#[test]
fn every_kind_of_model_is_read() {
    for (model, next) in [
        (r#"{"type":"WordPiece","unk_token":"[UNK]","vocab":{"[UNK]":0,"\u0023s":1}}"#, 2),
        (r#"{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁a",-1.5],["b",-2]]}"#, 3),
        (r#"{"vocab":{}}"#, 0),
    ] {
        for list in ["", r#""added_tokens":[],"#, r#""added_tokens": [ ] ,"#] {
            let text = format!("{{{list}\"model\":{model}}}");
            let tokenizer = Tokenizer::parse(&text).unwrap();
            assert_eq!(tokenizer.next_id(), next);
            let patched = tokenizer.with_tokens(&vocabulary(next, &[])).unwrap();
            assert!(!patched.contains('\n'), "a file in one line stays one: {patched}");
            let again = Tokenizer::parse(&patched).unwrap();
            assert_eq!(again.id("<a_0>"), Some(next));
            assert!(patched.contains(model));
        }
    }
}

#[test]
fn tokens_that_are_there_already_are_named() {
    let own = BPE.replace("\"ab\": 3", "\"<b_1>\": 3");
    let error = Tokenizer::parse(&own).unwrap().with_tokens(&vocabulary(5, &["[MASK]"])).unwrap_err();
    assert!(matches!(error, Error::Data(_)));
    let text = error.to_string();
    assert!(text.contains("`[MASK]` (4), `<b_1>` (3)") && text.contains("tokenizer.json"), "{text}");
    let patched = Tokenizer::parse(BPE).unwrap().with_tokens(&vocabulary(5, &[])).unwrap();
    let twice = Tokenizer::parse(&patched).unwrap().with_tokens(&vocabulary(9, &[])).unwrap_err().to_string();
    assert!(twice.contains("all 4 tokens, from `<a_0>` on, are in"), "{twice}");
    let elsewhere = Tokenizer::parse(BPE).unwrap().with_tokens(&vocabulary(7, &[])).unwrap_err().to_string();
    assert!(elsewhere.contains("end at 4, so new ones begin at 5, got 7"), "{elsewhere}");
}

#[test]
fn what_is_no_tokenizer_or_would_be_renumbered_is_refused() {
    refused("", "is no tokenizer.json");
    refused("[]", "is no tokenizer.json");
    refused("{}", "missing field `model`");
    refused(r#"{"model":{"type":"BPE"}}"#, "missing field `vocab`");
    refused(r#"{"model":{"vocab":{"a":-1}}}"#, "`model.vocab`");
    refused(r#"{"model":{"vocab":[["a"]]}}"#, "`model.vocab`");
    refused(r#"{"model":{"vocab":7}}"#, "`model.vocab`");
    refused(r#"{"added_tokens":null,"model":{"vocab":{"a":0}}}"#, "`added_tokens`");
    refused(r#"{"added_tokens":[],"added_tokens":[],"model":{"vocab":{}}}"#, "duplicate field");
    refused(r#"{"added_tokens":[{"id":1}],"model":{"vocab":{"a":0}}}"#, "`added_tokens`");
    refused(&BPE[..BPE.len() - 1], "is no tokenizer.json");
    refused(&format!("{BPE}x"), "is no tokenizer.json");
    // `tokenizers` numbers added tokens on from how many tokens there are, whatever the file says.
    refused(r#"{"model":{"vocab":{"a":0,"b":2}}}"#, "2 tokens are numbered up to 2, with gaps");
    refused(
        &BPE.replace("\"id\":4", "\"id\":7"),
        "the added token `[MASK]` says it is 7, but whoever loads the file makes it 4",
    );
    // Gaps that added tokens fill are none.
    let filled = r#"{"added_tokens":[{"id":1,"content":"x"}],"model":{"vocab":{"a":0}}}"#;
    assert_eq!(Tokenizer::parse(filled).unwrap().next_id(), 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Tokenizer::load(&path).unwrap_err().to_string().contains("not UTF-8"));
    assert!(matches!(Tokenizer::load(folder.path().join("none.json")), Err(Error::Io { .. })));
}
