//! Language models in folders, as transformers writes and reads them.
//!
//! `tests/python/make_models.py` made the folders in `tests/models`, with what transformers answers.

mod added;
mod chats;
mod generation;
mod hostile;
mod parity;
mod placed;
mod spoken;
mod transformers;

use sememe::Device;
use sememe::io::TensorFile;
use sememe_recommend::LanguageModel;
use serde::Deserialize;
use std::path::{Path, PathBuf};

const MODELS: [&str; 4] = ["llama", "llama3", "qwen2", "qwen3"];

#[derive(Deserialize)]
struct Answers {
    sequences: Vec<Vec<u32>>,
    greedy: Vec<Vec<u32>>,
    /// Texts of what is generated.
    #[serde(rename = "texts")]
    generated: Vec<String>,
    tokens: Vec<Vec<u32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)
}

fn load(name: &str) -> LanguageModel {
    LanguageModel::load(folder(name)).expect(name)
}

fn answers(name: &str) -> Answers {
    let text = std::fs::read_to_string(folder(name).join("answers.json")).expect("answers");
    serde_json::from_str(&text).expect("answers of transformers")
}

fn wanted_logits(name: &str, sequence: usize, shape: [usize; 2]) -> Vec<f32> {
    let file = TensorFile::open(&folder(name).join("logits.st")).expect("logits of transformers");
    file.read(&sequence.to_string(), &shape).expect("logits of a sequence")
}

/// The largest difference; NaN is one without end.
fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let apart = got.iter().zip(want).map(|(g, w)| (g - w).abs());
    apart.fold(0.0, |most, d| {
        if d <= most {
            most
        } else if d > most {
            d
        } else {
            f32::INFINITY
        }
    })
}

/// A sequence with its `count` most probable continuations, one after the other.
fn greedy(model: &LanguageModel, sequence: &[u32], count: usize, device: &Device) -> Vec<u32> {
    let mut tokens = sequence.to_vec();
    for _ in 0..count {
        let logits = model.logits(&[&tokens], device).expect("logits").remove(0);
        let last = logits.row(tokens.len() - 1);
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b]).then(b.cmp(a))).expect("a token");
        tokens.push(best as u32);
    }
    tokens
}

/// A copy of a model's folder that may be damaged.
fn copied(name: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder(name)).expect("a model") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, place.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    place
}

/// Changes a copy's `config.json`.
fn reconfigure(place: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = place.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).expect("a configuration")).expect("JSON");
    change(&mut config);
    std::fs::write(&path, serde_json::to_vec(&config).expect("JSON")).expect("written");
}
