//! Language models in folders.

use sememe::Device;
use sememe_recommend::{ChatMessage, ChatOptions, ChatTemplate, LanguageModel};

use crate::Scratch;
use crate::sealed::framed;

const CONFIG: &[u8] = include_bytes!("../../recommend/tests/models/llama/config.json");
const TOKENIZER: &[u8] = include_bytes!("../../recommend/tests/models/llama/tokenizer.json");
const WEIGHTS: &[u8] = include_bytes!("../../recommend/tests/models/llama/model.safetensors");

/// A folder with one file of the fuzzer's and the others as they should be.
fn load(scratch: &Scratch, name: &str, bytes: &[u8]) -> Option<LanguageModel> {
    scratch.clear();
    for (file, whole) in [("config.json", CONFIG), ("tokenizer.json", TOKENIZER), ("model.safetensors", WEIGHTS)] {
        let _ = scratch.file(file, whole);
    }
    let _ = scratch.file(name, bytes);
    LanguageModel::load(scratch.path()).ok()
}

fn used(model: &LanguageModel, scratch: &Scratch) {
    let logits = model.logits(&[&[1, 2]], &Device::cpu()).expect("a model that loaded is asked");
    assert_eq!(logits[0].dims(), model.shape().vocabulary);
    model.save(scratch.path().join("saved")).expect("a model that loaded is saved");
    let again = LanguageModel::load(scratch.path().join("saved")).expect("a model that was saved loads");
    assert_eq!(again.shape(), model.shape());
}

pub fn config(bytes: &[u8], scratch: &Scratch) {
    if let Some(model) = load(scratch, "config.json", bytes) {
        used(&model, scratch);
    }
}

pub fn settings(bytes: &[u8], scratch: &Scratch) {
    for name in ["tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "chat_template.json"] {
        if let Some(model) = load(scratch, name, bytes) {
            let _ = model.chat(&[ChatMessage::new("user", "a")], true);
        }
    }
}

pub fn weights(bytes: &[u8], scratch: &Scratch) {
    for bytes in [Some(bytes.to_vec()), framed(bytes)].into_iter().flatten() {
        if let Some(model) = load(scratch, "model.safetensors", &bytes) {
            used(&model, scratch);
        }
    }
}

pub fn index(bytes: &[u8], scratch: &Scratch) {
    let _ = load(scratch, "model.safetensors.index.json", bytes);
    let (whole, part) = (scratch.path().join("model.safetensors"), scratch.path().join("a.safetensors"));
    std::fs::rename(whole, part).expect("the weights under another name");
    let _ = LanguageModel::load(scratch.path());
}

pub fn chat_template(bytes: &[u8], _: &Scratch) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let specials = [("eos_token".to_owned(), "</s>".to_owned())].into();
    let Ok(template) = ChatTemplate::new(text, &specials) else { return };
    let chat = [ChatMessage::new("system", "be brief"), ChatMessage::new("user", "a"), ChatMessage::new("tool", "{}")];
    let options = ChatOptions {
        add_generation_prompt: true,
        tools: Some(r#"[{"name": "f", "n": [1, 2.5, null, true, "é"]}]"#.into()),
        now: Some(1),
        ..ChatOptions::default()
    };
    let _ = template.render(&chat, &options);
}
