//! Training data as Hugging Face's `datasets` loads it, and the IDs in it as [`TextFormat`] reads them.
//!
//! `SEMEME_PYTHON` names a Python that has `datasets`. Without it this skips, and says so.

use crate::cli::Desk;
use sememe::ids::{Style, TextFormat};
use sememe_testkit::python_with;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn datasets_loads_every_form_and_its_ids_are_ids() {
    if python_with(&["datasets"]).is_none() {
        return;
    }
    let desk = Desk::new();
    let format = TextFormat::preset(Style::Animind, &[64; 3]).unwrap();
    let (mut ids, mut codes) = (String::new(), HashMap::new());
    for item in 0..60u32 {
        // Titles as the world has them: quotes, tabs out of HTML, other scripts, braces.
        let title = format!("Item “{item}” \\ {{x}} <b>日本</b>&#9;\\u2028");
        let row = vec![item, item * 7 % 64, item % 5];
        let line =
            serde_json::json!({ "id": item.to_string(), "semantic_id": format.write(&row).unwrap(), "title": title });
        let _ = writeln!(ids, "{line}");
        codes.insert(item.to_string(), row);
    }
    let events: String =
        (0..40).map(|user| format!("{{\"user\":\"u{user}\",\"items\":[{user},\"{}\",3]}}\n", user + 1)).collect();
    desk.file("ids.jsonl", ids.as_bytes()).file("events.jsonl", events.as_bytes());
    for form in ["messages", "prompt-completion", "chat-prompt-completion"] {
        let flags = format!(
            "--events events.jsonl --validation 0.3 --metadata --form {form} --query-end [REC] --system Answer."
        );
        desk.run(&format!("dialogues ids.jsonl -o {form} {flags}")).ok();
        let mut command = python_with(&["datasets"]).expect("there before");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/dialogues.py");
        command.arg(script).arg(desk.path(form)).arg(form);
        let run = command.env("HF_HOME", desk.path("hf")).env("HF_HUB_OFFLINE", "1").output().expect("run");
        let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{form}: {err}");
        let mut seen = HashMap::new();
        for line in out.lines() {
            let parts: Vec<String> = line.split('\t').map(|part| serde_json::from_str(part).unwrap()).collect();
            let [split, task, key, query, answer] = parts.as_slice() else { panic!("{line}") };
            *seen.entry((split.clone(), task.clone())).or_insert(0) += 1;
            match task.as_str() {
                "id_from_query" => {
                    assert_eq!(&format.parse(answer).unwrap(), &codes[key], "{line}");
                    assert!(query.ends_with(" [REC]") && query.contains("日本 \\u2028"), "{line}");
                }
                "next_item" if query.ends_with("[REC]") => assert!(format.parse(answer).is_ok(), "{line}"),
                _ => assert!(answer.contains("{x} 日本"), "{line}"),
            }
        }
        assert_eq!(seen.len(), 6, "{form}: every task on both sides: {seen:?}");
        println!("{form}: {} rows loaded", out.lines().count());
    }
}
