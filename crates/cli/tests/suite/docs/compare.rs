//! Whether a command printed what its page says.

use snapbox::{Assert, IntoData as _, Redactions};

/// Numbers that another processor, which rounds in another order, may give.
const TOLERANCE: f64 = 0.02;

/// What differs from run to run: times, rates, hashes.
fn steady() -> Redactions {
    let mut redactions = Redactions::new();
    for (name, pattern) in [
        ("[TIME]", r"\b\d[\d.,]*(e-?\d+)? ?(ns|µs|ms|s|min|h)\b( \d+ ?(s|min)\b)?"),
        ("[RATE]", r"\b\d[\d.,]*[kMG]? (rows|items|texts)(/s| a second)"),
        ("[CPU]", r"\bon the CPU, [a-z0-9-]+, \d+ threads?|\bCPU, [a-z0-9-]+, \d+ threads?"),
        ("[HASH]", r"\b[0-9a-f]{64}\b|\b(codec |ids-|hash )[0-9a-f]{12}[0-9a-f]*"),
    ] {
        redactions.insert(name, regex::Regex::new(pattern).expect("a pattern")).expect("a name in brackets");
    }
    redactions
}

/// `Err` shows how `printed` differs from what the page expects.
pub(super) fn same(printed: &str, expected: &str) -> Result<(), String> {
    let (printed, expected) = (trim(printed), trim(expected));
    let steady = steady();
    let (printed, expected) = (steady.redact(&printed), steady.redact(&expected));
    let printed = numbers_of(&printed, &expected);
    Assert::new().try_eq(None, printed.into_data().raw(), expected.into_data()).map_err(|e| e.to_string())
}

/// Lines without blanks at their ends, and without progress, which only shows where a command takes long.
fn trim(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).filter(|line| !line.ends_with(" left")).collect();
    lines.join("\n") + "\n"
}

/// `printed` with the numbers of `expected` where they are near enough and everything around them is the same.
fn numbers_of(printed: &str, expected: &str) -> String {
    let mut wanted = expected.lines();
    let mut out = String::new();
    for line in printed.lines() {
        // The next line of the page that is this one but for numbers; lines in between are left for the comparison to show.
        let near = wanted.clone().position(|want| near(line, want));
        out.push_str(near.and_then(|at| wanted.nth(at)).unwrap_or(line));
        out.push('\n');
    }
    out
}

fn near(a: &str, b: &str) -> bool {
    let (a, b) = (pieces(a), pieces(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| a == b || matches!((a, b), (Piece::Number(a), Piece::Number(b)) if close(*a, *b)))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Number(f64),
}

/// Text and numbers in turn; codes such as `7-26-57` stay text, as they are names. Columns may be padded in another way.
fn pieces(line: &str) -> Vec<Piece<'_>> {
    line.split_whitespace()
        .flat_map(|word| {
            let bare = word.trim_matches(|c: char| !c.is_ascii_digit() && c != '-');
            let number = bare.replace(',', "").parse::<f64>().ok().filter(|_| !bare.is_empty());
            match (number, word.split_once(bare)) {
                (Some(number), Some((before, after))) => {
                    vec![Piece::Text(before), Piece::Number(number), Piece::Text(after)]
                }
                _ => vec![Piece::Text(word)],
            }
        })
        .collect()
}

/// `printed` as the page shows it: what the page leaves out stays left out, where all that it shows still has a line of its form.
pub(super) fn shown(printed: &str, expected: &str) -> String {
    let printed = trim(printed);
    let mut rest = printed.lines();
    let mut out = String::new();
    for want in expected.lines() {
        let line = if want == "..." {
            want
        } else {
            let Some(line) = rest.by_ref().find(|line| form(line, want)) else { return printed };
            if want.contains("[..]") { want } else { line }
        };
        out.push_str(line);
        out.push('\n');
    }
    if expected.lines().any(|line| line == "..." || line.contains("[..]")) { out } else { printed }
}

/// Whether two lines are the same but for digits, units of time and what is left out.
fn form(line: &str, want: &str) -> bool {
    let bare = |text: &str| -> String { steady().redact(text).chars().filter(|c| c.is_alphabetic()).collect() };
    match want.split_once("[..]") {
        Some((before, after)) => line.starts_with(before) && line.ends_with(after),
        None => bare(line) == bare(want),
    }
}

#[test]
fn only_what_may_differ_may_differ() {
    let same = |a: &str, b: &str| same(a, b).is_ok();
    assert!(same("trained in 0.31 s, R² 0.3950\n", "trained in 12 s, R² 0.395\n"));
    assert!(same("codec b000109ed117\n", "codec a000109ed117\n"));
    assert!(same("605 items moved (1.45 %)", "604 items moved (1.44 %)"));
    assert!(!same("605 items moved", "705 items moved"));
    assert!(!same("7-26-57 nano", "7-26-58 nano"));
    assert!(!same("R² 0.3950", "R² 0.2950"));
    assert!(!same("R² NaN", "R² 0.2950"));
    assert!(!same("trained", "trained\nand more"));
    assert!(!same("trained\nand more", "trained"));
    assert!(same("a\nb\nc\n", "a\n...\nc\n"));
    assert!(same("wrote /tmp/x/y", "wrote [..]/y"));
    assert!(!same("a\nb\nc\n", "a\nc\n"));
}

#[test]
fn what_a_page_leaves_out_stays_left_out() {
    let printed = "a 1\nnoise\nb 20 %\nwrote x: y, z\nend";
    assert_eq!(shown(printed, "a 2\n...\nb 3 %\nwrote x: [..]\n...\n"), "a 1\n...\nb 20 %\nwrote x: [..]\n...\n");
    assert_eq!(shown(printed, "a 2\n...\nc 3\n"), trim(printed));
    assert_eq!(shown(printed, "a 2\nb 3 %\n"), trim(printed));
}
