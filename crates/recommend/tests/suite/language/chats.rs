//! Chat templates as transformers renders them.

use super::*;
use sememe_recommend::{ChatMessage, ChatOptions, ChatTemplate};
use sememe_testkit::files::error;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Chats {
    templates: BTreeMap<String, String>,
    chats: BTreeMap<String, Box<RawValue>>,
    rendered: Vec<Rendered>,
}

#[derive(Deserialize)]
struct Rendered {
    template: String,
    chat: String,
    options: BTreeMap<String, Box<RawValue>>,
    text: Option<String>,
    error: Option<String>,
}

/// What transformers was told, as our options say it.
fn options(of: &BTreeMap<String, Box<RawValue>>) -> ChatOptions {
    let json = |name: &str| of.get(name).map(|value| value.get().to_owned());
    let own = ["add_generation_prompt", "tools", "documents"];
    let rest: BTreeMap<&String, &Box<RawValue>> = of.iter().filter(|(name, _)| !own.contains(&name.as_str())).collect();
    ChatOptions {
        add_generation_prompt: json("add_generation_prompt").is_some_and(|value| value == "true"),
        tools: json("tools"),
        documents: json("documents"),
        variables: Some(serde_json::to_string(&rest).expect("JSON")),
        now: None,
    }
}

#[test]
fn templates_are_rendered_as_in_transformers() {
    let text = std::fs::read_to_string(folder("chats.json")).expect("chats");
    let chats: Chats = serde_json::from_str(&text).expect("chats of transformers");
    let specials = [("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")];
    let specials: BTreeMap<String, String> = specials.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let (mut same, mut refused) = (0, 0);
    for wanted in &chats.rendered {
        let template = ChatTemplate::new(&chats.templates[&wanted.template], &specials).expect("a template");
        let got = template.render_json(chats.chats[&wanted.chat].get(), &options(&wanted.options));
        match (&wanted.text, &wanted.error) {
            (Some(text), _) => {
                assert_eq!(
                    &got.expect(&wanted.template),
                    text,
                    "{} {} {:?}",
                    wanted.template,
                    wanted.chat,
                    wanted.options
                );
                same += 1;
            }
            (None, Some(said)) => {
                let ours = error(got);
                assert!(ours.contains("chat template"), "{ours}");
                // What the template raises comes through in its own words.
                if said.contains("must alternate") {
                    assert!(ours.contains(said.as_str()), "{ours}");
                }
                refused += 1;
            }
            (None, None) => panic!("an answer without a text"),
        }
    }
    assert!(same > 40 && refused > 3, "uninformative: {same} rendered, {refused} refused");
}

#[test]
fn templates_are_found_wherever_folders_keep_them() {
    let chat = [ChatMessage::new("user", "hi")];
    let said = |name: &str| load(name).chat(&chat, true).expect(name);
    assert_eq!(
        said("llama"),
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    );
    assert!(said("llama3").starts_with("<s><|start_header_id|>system"));
    assert_eq!(said("qwen2"), "<|user|>\nhi</s>\n<|assistant|>\n");
    assert_eq!(said("qwen3"), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");

    let place = copied("qwen2");
    let settings = place.path().join("tokenizer_config.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&settings).expect("settings")).expect("JSON");
    value["chat_template"] = serde_json::json!([
        {"name": "tool_use", "template": "t"},
        {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"}
    ]);
    value["bos_token"] = serde_json::json!({"content": "<s>", "special": true});
    std::fs::write(&settings, value.to_string()).expect("written");
    assert_eq!(LanguageModel::load(place.path()).expect("loaded").chat(&chat, true).expect("a text"), "<s>hi");

    std::fs::remove_file(&settings).expect("removed");
    let without = LanguageModel::load(place.path()).expect("loaded");
    assert!(without.chat_template().is_none());
    assert!(error(without.chat(&chat, true)).contains("the model has no chat template"));
    std::fs::write(place.path().join("chat_template.jinja"), "{% if %}").expect("written");
    let said = error(LanguageModel::load(place.path()));
    assert!(said.contains("chat_template.jinja") && said.contains("line 1"), "{said}");
}
