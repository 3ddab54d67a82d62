//! Readers of catalogues, texts and settings.

use sememe_run::config::{self, Overrides};
use sememe_text::dialogues::Templates;
use sememe_text::embed::TextSource;
use sememe_text::prep::{OnBad, Prep, TextTemplate, prepare};

use crate::Scratch;

fn prepared(name: &str, bytes: &[u8], scratch: &Scratch) {
    let source = scratch.file(name, bytes);
    let prep = Prep {
        source,
        template: "{title}[: {description}]".into(),
        on_bad: OnBad::Drop,
        max_chars: Some(100),
        ..Prep::default()
    };
    let Ok(done) = prepare(&prep, &()) else { return };
    for item in &done.items {
        assert!(!item.id.is_empty() && !item.text.trim().is_empty(), "{item:?}");
        assert!(item.text.chars().count() <= 100, "{item:?}");
    }
}

pub fn prep(bytes: &[u8], scratch: &Scratch) {
    for name in ["p.jsonl", "p.csv", "p.tsv"] {
        prepared(name, bytes, scratch);
    }
}

pub fn prep_sqlite(bytes: &[u8], scratch: &Scratch) {
    prepared("p.sqlite", bytes, scratch);
}

pub fn prep_template(bytes: &[u8], _: &Scratch) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = TextTemplate::parse(text);
    }
}

pub fn embed_texts(bytes: &[u8], scratch: &Scratch) {
    for name in ["x.sqlite", "x.jsonl", "x.csv"] {
        let source = TextSource { skip_empty: true, ..TextSource::new(scratch.file(name, bytes)) };
        if let Ok(texts) = source.read() {
            assert_eq!(texts.keys().len(), texts.texts().len());
        }
    }
}

pub fn config(bytes: &[u8], scratch: &Scratch) {
    let path = scratch.file("sememe.toml", bytes);
    let _ = config::load(&path, &Overrides::default());
    if let Ok(text) = std::str::from_utf8(bytes) {
        // The same as overrides, a line each.
        let set = text.lines().filter(|line| line.contains('=')).map(str::to_owned).collect();
        let empty = scratch.file("empty.toml", b"\n");
        let _ = config::load(empty, &Overrides { set, ..Overrides::default() });
    }
}

pub fn dialogue_templates(bytes: &[u8], scratch: &Scratch) {
    for name in ["t.toml", "t.json"] {
        let _ = Templates::load(scratch.file(name, bytes));
    }
}
