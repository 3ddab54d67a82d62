//! Schemathesis asks whatever the OpenAPI document allows and forbids, and holds the answers to it.
//!
//! `SEMEME_PYTHON` names a Python that has `schemathesis`. Without it this skips, and says so. `SEMEME_SCHEMATHESIS` is how many requests
//! are made up of each kind.

use crate::desk::{self, Service};
use crate::models_desk;
use sememe_recommend::Prediction;
use sememe_serve::{Settings, Sources, Tokens};
use sememe_testkit::python_with;
use std::path::Path;

const TOKEN: &str = "token-of-schemathesis";

/// Asks a service, and says how many requests that were.
fn ask(service: &Service, dims: usize) {
    let Some(mut python) = python_with(&["schemathesis"]) else { return };
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi");
    let examples = std::env::var("SEMEME_SCHEMATHESIS").unwrap_or_else(|_| "25".into());
    let report = tempfile::tempdir().expect("a folder");
    let run = python
        .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()"])
        .arg("--config-file")
        .arg(place.join("schemathesis.toml"))
        .args(["run", &service.url("/openapi.json"), "--max-examples", &examples, "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--continue-on-failure"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &place)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SEMEME_DIMS", dims.to_string())
        // Where it keeps what it found before.
        .current_dir(report.path())
        .output()
        .expect("started");
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    // Warnings it may have: of keys that no item has, say.
    assert!(run.status.success() && said.contains("Fuzzing"), "{said}");
    let cases = said.lines().find_map(|line| line.trim().split_once(" generated, ")).expect("a summary");
    assert!(cases.0.parse::<u32>().is_ok_and(|count| count > 100), "{said}");
    println!("{said}");
}

fn settings() -> Settings {
    Settings { tokens: Tokens::parse(TOKEN).expect("a token"), ..Settings::default() }
}

#[test]
fn everything_that_can_be_loaded() {
    let desk = models_desk::Desk::new();
    ask(&Service::start(desk.everything(), settings()), models_desk::DIMS);
}

#[test]
fn a_codec_alone() {
    let desk = desk::Desk::new();
    let sources = Sources { codec: desk.sources().codec, ..Sources::default() };
    ask(&Service::start(sources, settings()), desk::DIMS);
}

#[test]
fn a_store_and_a_recommender_that_searches() {
    let desk = models_desk::Desk::new();
    let (_, sources) = desk.recommender(Prediction::Ordered, 2);
    ask(&Service::start(sources, settings()), models_desk::DIMS);
}
