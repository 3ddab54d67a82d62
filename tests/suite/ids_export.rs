//! Vocabularies, and the files that trainers and servers read.

use sememe::ids::{Export, IdTemplate, Style, TextFormat, Vocabulary, check_keys};
use sememe::{Codes, Error};
use serde_json::Value;
use std::fs;

fn format(style: Style) -> TextFormat {
    TextFormat::preset(style, &[8, 4]).expect("a preset")
}

fn keys() -> Vec<String> {
    ["nano", "mi\"cro", "nano-tiny"].map(str::to_owned).to_vec()
}

fn codes() -> Codes {
    Codes::from_vec(3, 2, vec![7, 3, 0, 1, 7, 3]).expect("codes")
}

#[test]
fn numbers_follow_the_tokens() {
    let format = format(Style::OpenOneRec).with_counter().unwrap();
    let vocabulary = Vocabulary::new(&format, 2, 1000, &["[REC]"]).unwrap();
    assert_eq!(vocabulary.tokens().len(), 3 + 8 + 4 + 2);
    assert_eq!(vocabulary.embedding_rows(), 1017);
    assert_eq!((vocabulary.end(), vocabulary.first_id()), (Some(1001), 1000));
    // A text's tokens are the vocabulary's, at the numbers that `encode` gives.
    for id in [[0, 0, 0], [7, 3, 0], [7, 3, 1], [2, 1, 2]] {
        let numbers = vocabulary.encode(&id).unwrap();
        let words: Vec<_> = numbers.iter().map(|n| vocabulary.tokens()[*n as usize - 1000].clone()).collect();
        let mut want = format.tokens(&id).unwrap();
        assert_eq!(want.pop().as_deref(), Some("<|sid_end|>"));
        assert_eq!(words, want);
        assert_eq!(vocabulary.decode(&numbers).unwrap(), id);
    }
    let fault = |tokens: &[u32]| vocabulary.decode(tokens).unwrap_err().to_string();
    assert_eq!(fault(&[1000, 1003]), "the ID ends after 1 codes, expected 2");
    assert_eq!(fault(&[1003, 1011]), "token 1003 at 0: expected the token that begins an ID");
    assert_eq!(fault(&[1000, 1011]), "token 1011 at 1: expected one of level 0, 1003 to 1010");
    assert_eq!(fault(&[1000, 1003, 1011, 1001]), "token 1001 at 3: expected one of level 2, 1015 to 1016");
    assert_eq!(fault(&[1000, 1003, 1011, 1015, 1015]), "token 1015 at 4: expected the end");
    assert!(vocabulary.encode(&[7, 3, 3]).unwrap_err().to_string().contains("code 3 of level 2"));
    assert!(vocabulary.encode(&[8, 3, 0]).unwrap_err().to_string().contains("code 8 of level 0"));
    assert!(matches!(vocabulary.encode(&[7, 3]), Err(Error::Shape { .. })));
}

#[test]
fn tokens_that_collide_are_refused() {
    let refused = |specials: &[&str], first: u32, counter: u32, part: &str| {
        let format = format(Style::LcRec).with_counter().unwrap();
        let error = Vocabulary::new(&format, counter, first, specials).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&["<b_2>"], 0, 0, "`<b_2>` would be token 0 and token 11");
    refused(&["<c_2>"], 0, 2, "`<c_2>` would be");
    refused(&["[A]", "[A]"], 0, 0, "`[A]` would be token 0 and token 1");
    refused(&[""], 0, 0, "a special token is empty");
    refused(&[], u32::MAX - 5, 0, "past 2^32 - 2");
    refused(&[], 0, 1 << 24, "counters");
    let plain = Vocabulary::new(&format(Style::Plain), 0, 0, &[]).unwrap_err().to_string();
    assert!(plain.contains("the token of two codes"), "{plain}");
}

#[test]
fn files_hold_what_their_readers_want() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    let (format, codes, keys) = (format(Style::LcRec), codes(), keys());
    let export = Export::new(&format, &codes, &keys).unwrap();
    export.index(at("index.json")).unwrap();
    let index: Value = serde_json::from_str(&read("index.json")).unwrap();
    assert_eq!(index["nano"], serde_json::json!(["<a_7>", "<b_3>"]));
    assert_eq!(index["mi\"cro"], serde_json::json!(["<a_0>", "<b_1>"]));
    assert_eq!(index.as_object().unwrap().len(), 3);
    let titles = ["small editor".to_owned(), "a\tb\nc".to_owned(), String::new()];
    export.info(at("info.tsv"), &titles).unwrap();
    assert_eq!(
        read("info.tsv"),
        "<a_7><b_3>\tsmall editor\tnano\n<a_0><b_1>\ta b c\tmi\"cro\n<a_7><b_3>\t\tnano-tiny\n"
    );
    export.items(at("items.jsonl")).unwrap();
    let lines = [
        r#"{"id":"<a_0><b_1>","codes":[0,1],"items":["mi\"cro"]}"#,
        r#"{"id":"<a_7><b_3>","codes":[7,3],"items":["nano","nano-tiny"]}"#,
    ];
    assert_eq!(read("items.jsonl"), format!("{}\n{}\n", lines[0], lines[1]));
    let vocabulary = Vocabulary::new(&format, 0, 50, &["[REC]"]).unwrap();
    vocabulary.save(at("vocabulary.json")).unwrap();
    let words: Value = serde_json::from_str(&read("vocabulary.json")).unwrap();
    assert_eq!(
        (words["[REC]"].as_u64(), words["<a_0>"].as_u64(), words["<b_3>"].as_u64()),
        (Some(50), Some(51), Some(62))
    );
    assert_eq!(words.as_object().unwrap().len(), 13);
    vocabulary.save_special_tokens(at("special.json")).unwrap();
    let special: Value = serde_json::from_str(&read("special.json")).unwrap();
    assert_eq!((special["ids"]["[REC]"].as_u64(), special["embedding_rows"].as_u64()), (Some(50), Some(63)));
    // The trie speaks the vocabulary's numbers and names rows.
    let trie = export.trie(&vocabulary, Some(2)).unwrap();
    assert_eq!(trie.allowed(&[]), [51, 58]);
    assert_eq!(trie.items(&vocabulary.encode(&[7, 3]).unwrap()), [0, 2]);
    assert!(export.trie(&vocabulary, None).unwrap_err().to_string().contains("no token that ends an ID"));
    assert!(export.trie(&vocabulary, Some(51)).unwrap_err().to_string().contains("holds the end token 51"));
}

#[test]
fn a_format_with_an_end_needs_no_other() {
    let template = IdTemplate { begin: "[B]".into(), end: "[E]".into(), ..Style::LcRec.template() };
    let format = TextFormat::new(template, &[8, 4]).unwrap();
    let (codes, keys) = (codes(), keys());
    let vocabulary = Vocabulary::new(&format, 0, 0, &[]).unwrap();
    let trie = Export::new(&format, &codes, &keys).unwrap().trie(&vocabulary, None).unwrap();
    assert_eq!((trie.end(), trie.depth()), (1, 3));
    assert_eq!(trie.allowed(&[]), [0], "the token that begins an ID");
}

#[test]
fn bad_keys_and_rows_are_named() {
    let (format, codes) = (format(Style::LcRec), codes());
    let refused = |keys: &[&str], part: &str| {
        let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
        let error = Export::new(&format, &codes, &keys).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&["a", "", "c"], "the key of row 1 is empty");
    refused(&["a", "b", "a"], "rows 0 and 2 have the same key `a`");
    refused(&["a", "b"], "expected keys = 3, got 2");
    check_keys(&["a", "A", " a", "ä", "a\u{308}"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let tabbed = ["a".to_owned(), "b\tc".to_owned(), "d".to_owned()];
    let error = Export::new(&format, &codes, &tabbed).unwrap().info(&path, &tabbed).unwrap_err().to_string();
    assert!(error.contains("\"b\\tc\" of row 1"), "{error}");
    // A row that is no ID stops the file, which then does not appear.
    let far = Codes::from_vec(3, 2, vec![7, 3, 0, 9, 7, 3]).unwrap();
    let keys = keys();
    let export = Export::new(&format, &far, &keys).unwrap();
    for error in [export.index(&path).unwrap_err(), export.items(&path).unwrap_err()] {
        assert!(error.to_string().contains("row 1, item `mi\"cro`: code 9 of level 1"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
