//! The programs as they are typed.

use crate::support::{Kept, codec, keys, rows, saved, text, write_items};
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sememe-cluster")).args(arguments).output().expect("run")
}

fn refused(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

fn prepared(folder: &Path) -> (String, String) {
    let rows = rows(500, 1);
    write_items(&folder.join("items"), &rows, &keys(500), 2, Kept::Fixed32);
    (text(&folder.join("items")), saved(&codec(&rows), folder, "codec"))
}

#[test]
fn verbs_tell_what_they_did_as_text_and_as_json() {
    let folder = tempfile::tempdir().expect("folder");
    let (items, codec) = prepared(folder.path());
    let out = text(&folder.path().join("out"));
    let encode = ["encode", &items, "--codec", &codec, "-o", &out];
    let output = run(&encode);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.starts_with(&format!("wrote {out}: 500 rows of 3 codes in ")), "{said}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(&[&encode[..], &["--json", "--threads", "1", "--memory", "1GiB"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!((report["rows"].as_u64(), report["output"].as_str()), (Some(500), Some(out.as_str())));
    assert_eq!(run(&[&encode[..], &["--quiet"]].concat()).stdout, b"");

    let trained = text(&folder.path().join("trained.safetensors"));
    let output = run(&["fit", &items, "-o", &trained, "--levels", "2", "--codebook-size", "8", "--iterations", "4"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.starts_with(&format!("wrote {trained}: trained on 500 rows in ")),
        "{said}"
    );
    assert_eq!(sememe::Codec::load(&trained).expect("codec").codebook_sizes(), [8, 8]);
    let output = run(&["evaluate", &items, "--codec", &trained]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("500 rows") && said.contains("level 2  R² 0."), "{said}");
    let ids = text(&folder.path().join("ids"));
    let output = run(&["assign", &items, "--codec", &trained, "--ids", &ids, "--key", "item"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with(&format!("{ids}: 500 new items beside 0 from before")), "{said}");
}

#[test]
fn flags_that_do_not_do_are_refused_by_name_with_the_programs_exit_codes() {
    let folder = tempfile::tempdir().expect("folder");
    let (items, codec) = prepared(folder.path());
    let out = text(&folder.path().join("out"));
    let encode = ["encode", &items, "--codec", &codec, "-o", &out];
    let with = |more: &[&str], code| refused(&[&encode[..], more].concat(), code);
    assert!(with(&["--column", "vectors"], 2).starts_with("error: `--column`: there is no `vectors`"));
    assert!(with(&["--key", "name"], 2).starts_with("error: `--key`: there is no `name`"));
    assert!(with(&["--partitions", "0"], 2).starts_with("error: `--partitions`: expected at least 1"));
    assert!(with(&["--threads", "0"], 2).starts_with("error: `--threads`: expected at least 1"));
    assert!(with(&["--memory", "much"], 2).contains("expected bytes as in 4GiB"));
    assert!(
        with(&["--scheduler", "http://127.0.0.1:1"], 2)
            .contains("`--scheduler`: `http://127.0.0.1:1`: a scheduler's address begins with df://")
    );
    let nobody = with(&["--scheduler", "df://127.0.0.1:1"], 6);
    assert!(nobody.contains("the scheduler `df://127.0.0.1:1` does not answer"), "{nobody}");
    assert!(with(&["--scheduler", "df://127.0.0.1:1", "--threads", "2"], 2).contains("--threads"));

    let fit = ["fit", &items, "-o", &out];
    let fit = |more: &[&str]| refused(&[&fit[..], more].concat(), 2);
    assert!(fit(&["--levels", "0"]).contains("`--levels`: expected 1 to 64, got 0"));
    assert!(fit(&["--levels", "2", "--codebook-size", "4,4,4"]).contains("`--codebook-size`: lists 3 levels"));
    assert!(fit(&["--balance-epsilon", "0.1"]).contains("`--balance-epsilon`: goes with `--balance sinkhorn` only"));
    assert!(fit(&["--resume"]).contains("--checkpoint"));
    assert!(fit(&["--iterations", "0"]).contains("`--iterations`"));
    assert!(fit(&["--balance", "capacity"]).contains("capacity"));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn services_refuse_what_they_cannot_serve() {
    let folder = tempfile::tempdir().expect("folder");
    let place = text(&folder.path().join("work"));
    let executor = |more: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sememe-executor")).args(["--work-dir", &place]).args(more).output();
        let output = output.expect("run");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = executor(&["--port", "65535"]);
    assert!(code == Some(2) && said.contains("expected at most 65534"), "{said}");
    let (code, said) = executor(&["--scheduler", "nowhere"]);
    assert!(code == Some(2) && said.contains("expected host:port, got `nowhere`"), "{said}");
    let (code, said) = executor(&["--threads", "0"]);
    assert!(code == Some(2) && said.contains("`threads`: expected at least 1"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let port = taken.local_addr().expect("address").port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_sememe-scheduler")).args(["--port", &port]).output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(6) && said.contains(&port), "{said}");
}
