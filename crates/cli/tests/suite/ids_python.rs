//! Exports as Python's libraries read them: tokenizers, transformers with tiny models, numpy and safetensors.
//!
//! `SEMEME_PYTHON` names a Python that has torch, transformers, tokenizers, safetensors and numpy. Without it this skips, and says so.

use crate::cli::Desk;
use sememe::rng;
use sememe_testkit::python_with;
use std::fmt::Write as _;
use std::path::Path;

fn python(args: &[&str]) -> Option<String> {
    let mut command = python_with(&["torch", "transformers", "tokenizers", "safetensors", "numpy"])?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/bundle.py");
    // The models are tiny; its threads would only wait for each other on a busy machine.
    let run = command.arg(script).args(args).output().expect("a Python that runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{args:?}\n{stdout}{stderr}");
    Some(stdout.into_owned())
}

/// Items on 5 × 4 × 3 codes: some share an ID, many IDs are of no item.
fn codes(counters: bool) -> String {
    let mut stream = rng::stream(11, "python", 0);
    let mut text = String::from("row,code_0,code_1,code_2");
    text.push_str(if counters { ",code_3\n" } else { "\n" });
    let mut seen = std::collections::HashMap::new();
    for row in 0..30 {
        let id = [stream.below(5), stream.below(2) * stream.below(4), stream.below(3)];
        let nth = seen.entry(id).or_insert(0u32);
        let _ = write!(text, "{row},{},{},{}", id[0], id[1], id[2]);
        let _ = if counters { writeln!(text, ",{nth}") } else { writeln!(text) };
        *nth += 1;
    }
    assert!(seen.values().any(|n| *n > 1) && seen.len() < 60, "uninformative");
    text
}

#[test]
fn transformers_and_tokenizers_take_what_is_exported() {
    let desk = Desk::new();
    let folder = desk.path("").display().to_string();
    if python(&["make", &folder]).is_none() {
        return;
    }
    desk.file("codes.csv", codes(false).as_bytes());
    desk.file("counted.csv", codes(true).as_bytes());
    let bundles = [
        ("bpe.json", "codes.csv", "--style lc-rec --end-token </s> --special-token [REC] --static npz", 1),
        ("wordpiece.json", "codes.csv", "--style sem --static safetensors --static-dense 1", 1),
        ("unigram.json", "counted.csv", "--style openonerec --counter", 0),
    ];
    for (tokenizer, codes, flags, _) in bundles {
        let sizes = "--codebook-size 5,4,3 --python-helper";
        desk.run(&format!("export {codes} -o bundle-{tokenizer} {sizes} --tokenizer {tokenizer} {flags}")).ok();
    }
    let said = python(&["check", &folder]).expect("ran before");
    for (tokenizer, _, _, layouts) in bundles {
        let line = said.lines().find(|line| line.starts_with(&format!("bundle-{tokenizer}: "))).expect("a line each");
        assert!(line.contains(&format!(", {layouts} layouts, ")), "{line}");
        println!("{line}");
    }
}
