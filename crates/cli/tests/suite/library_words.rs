//! The libraries speak of fields, never of this program's flags and verbs: whoever calls them may have neither.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// What a line of code says of the program: a flag, or a verb after its name.
fn program_words(line: &str) -> Option<String> {
    let line = line.trim_start();
    if line.starts_with("//") {
        return None;
    }
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
    let flag = line.match_indices("--").find_map(|(at, _)| {
        // `var(--soft)` is a colour of a page, `---` a rule.
        let before = line[..at].chars().next_back();
        let name = word(&line[at + 2..]);
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        (starts && !matches!(before, Some('(' | '-' | '{' | ';'))).then(|| format!("--{name}"))
    });
    let verb = || {
        let (_, rest) = line.split_once("`sememe ")?;
        Some(format!("sememe {}", word(rest)))
    };
    flag.or_else(verb)
}

#[test]
fn libraries_name_no_flags_and_verbs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in
        ["src", "crates/text/src", "crates/recommend/src", "crates/import/src", "crates/run/src", "crates/serve/src"]
    {
        sources(&root.join(folder), &mut files);
    }
    // Beside its programs.
    let mut cluster = Vec::new();
    sources(&root.join("crates/cluster/src"), &mut cluster);
    files.extend(cluster.into_iter().filter(|path| !path.to_string_lossy().contains("src/bin")));
    assert!(files.len() > 100, "{} sources found", files.len());
    let mut found = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("source");
        for (number, line) in text.lines().enumerate() {
            if let Some(words) = program_words(line) {
                found.push(format!("{}:{}: {words}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "libraries that speak of the program:\n{}", found.join("\n"));
    assert_eq!(program_words(r#"format!("drop them with `--on-bad drop`")"#).as_deref(), Some("--on-bad"));
    assert_eq!(program_words(r#""`sememe resolve` does""#).as_deref(), Some("sememe resolve"));
    assert_eq!(program_words("style=\"color:var(--soft)\" a -- b"), None);
}
