//! Folders that lie, lack a part, or hold another model.

use super::*;
use sememe_testkit::files::error;
use serde_json::{Map, Value, json};

fn refused(place: &Path) -> String {
    error(LanguageModel::load(place))
}

/// What a changed configuration is told.
fn told(name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
    let place = copied(name);
    reconfigure(place.path(), change);
    refused(place.path())
}

fn set(name: &'static str, value: Value) -> impl FnOnce(&mut Map<String, Value>) {
    move |config| {
        config.insert(name.into(), value);
    }
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// A safetensors file of a header and bytes.
fn sealed(header: &Value, values: &[u8]) -> Vec<u8> {
    let text = header.to_string();
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_bytes());
    out.extend(values);
    out
}

/// The header and the values of a file.
fn opened(path: &Path) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(path).expect("a file");
    let len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    (serde_json::from_slice(&bytes[8..8 + len]).expect("a header"), bytes[8 + len..].to_vec())
}

#[test]
fn other_models_are_refused_by_name() {
    let text = told("llama", set("architectures", json!(["MistralForCausalLM"])));
    says(&text, &["`MistralForCausalLM` is not supported", "LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"]);
    says(&told("llama", set("model_type", json!("mistral"))), &["expected `llama`", "got `mistral`"]);
    says(&told("llama", set("attention_bias", json!(true))), &["`attention_bias`", "not supported"]);
    says(&told("llama", set("mlp_bias", json!(true))), &["`mlp_bias`"]);
    says(&told("llama", set("hidden_act", json!("gelu"))), &["`gelu` is not supported, expected silu"]);
    says(&told("llama", set("quantization_config", json!({"quant_method": "gptq"}))), &["quantised by `gptq`"]);
    says(&told("llama", set("partial_rotary_factor", json!(0.5))), &["`partial_rotary_factor`: 0.5"]);
    for kind in ["yarn", "dynamic", "longrope"] {
        let text = told("llama", set("rope_parameters", json!({"rope_type": kind, "factor": 2.0})));
        says(&text, &[&format!("type `{kind}` are not supported, expected default, linear or llama3")]);
        let text = told("qwen2", set("rope_scaling", json!({"type": kind, "factor": 2.0})));
        says(&text, &[&format!("type `{kind}` are not supported")]);
    }
    let text = told("llama3", |config| {
        config.insert("rope_scaling".into(), json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}));
    });
    says(&text, &["has no `high_freq_factor`"]);
}

#[test]
fn windows_are_refused_where_they_would_be_felt() {
    let windowed = |window: usize, layers: usize| {
        move |config: &mut Map<String, Value>| {
            config.remove("layer_types");
            config.insert("use_sliding_window".into(), json!(true));
            config.insert("sliding_window".into(), json!(window));
            config.insert("max_window_layers".into(), json!(layers));
        }
    };
    says(&told("qwen2", windowed(16, 1)), &["layer 1 has `sliding_attention` over 16 of 64 positions"]);
    says(&told("qwen3", set("layer_types", json!(["full_attention", "sliding_attention"]))), &["layer 1 has"]);
    says(&told("qwen3", set("layer_types", json!(["full_attention"]))), &["expected a list of 2 kinds"]);
    for (window, layers) in [(64, 0), (16, 2)] {
        let place = copied("qwen2");
        reconfigure(place.path(), windowed(window, layers));
        LanguageModel::load(place.path()).expect("a window that no sequence feels");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_before_memory_is_taken() {
    says(&told("llama", set("num_key_value_heads", json!(3))), &["4 heads do not divide among 3"]);
    says(&told("llama", set("num_attention_heads", json!(3))), &["16 values a token do not divide among 3 heads"]);
    says(&told("llama", set("hidden_size", json!(0))), &["`hidden_size`: expected a whole number above 0, got 0"]);
    says(&told("llama", set("vocab_size", json!(1u64 << 62))), &["vocab"]);
    for name in ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings", "intermediate_size"] {
        let without = told("llama", |config| {
            config.remove(name);
        });
        says(&without, &["config.json", &format!("has no `{name}`")]);
        says(&told("llama", set(name, json!("many"))), &[&format!("`{name}`: expected"), "got \"many\""]);
        let huge = told("llama", set(name, json!(1u64 << 40)));
        says(&huge, &["config.json", "1099511627776"]);
    }
    // Sizes that some model has, but not this one: two terabytes are never asked for.
    let large = told("llama", |config| {
        config.extend([
            ("hidden_size".into(), json!(16384)),
            ("intermediate_size".into(), json!(131072)),
            ("num_hidden_layers".into(), json!(500)),
            ("vocab_size".into(), json!(1 << 24)),
        ]);
    });
    says(&large, &["model.safetensors", "model.embed_tokens.weight", "(16777216, 16384)", "(288, 16)"]);
}

#[test]
fn folders_without_a_part_are_refused() {
    says(&refused(Path::new("no/such/folder")), &["no/such/folder", "does not exist"]);
    says(&refused(&folder("llama").join("config.json")), &["is a file, expected a folder"]);
    for (file, said) in [
        ("config.json", "has no `config.json`"),
        ("tokenizer.json", "has no `tokenizer.json`"),
        ("model.safetensors", "so that its weights are missing"),
    ] {
        let place = copied("llama");
        std::fs::remove_file(place.path().join(file)).expect("removed");
        says(&refused(place.path()), &[said]);
        std::fs::write(place.path().join(file), "").expect("written");
        assert!(refused(place.path()).contains(file), "an empty {file}");
        std::fs::write(place.path().join(file), "[]").expect("written");
        assert!(refused(place.path()).contains(file), "a foreign {file}");
    }
    for (file, said) in [
        ("pytorch_model.bin", "is a pickle, which could run code and is never read"),
        ("consolidated.00.pth", "is a pickle"),
        ("model-q4.gguf", "is llama.cpp's format"),
        ("weights.safetensors", "rename `weights.safetensors`"),
    ] {
        let place = copied("llama");
        std::fs::rename(place.path().join("model.safetensors"), place.path().join(file)).expect("renamed");
        says(&refused(place.path()), &[said, file]);
    }
}

#[test]
fn damaged_weights_are_refused() {
    let place = copied("llama");
    let path = place.path().join("model.safetensors");
    let whole = std::fs::read(&path).expect("weights");
    for end in (1..whole.len()).step_by(whole.len() / 53) {
        std::fs::write(&path, &whole[..end]).expect("written");
        says(&refused(place.path()), &["model.safetensors"]);
    }
    std::fs::write(&path, &whole).expect("written");
    let (header, values) = opened(&path);
    let change = |name: &str, field: &str, value: Value| {
        let mut header = header.clone();
        header[name][field] = value;
        std::fs::write(&path, sealed(&header, &values)).expect("written");
        refused(place.path())
    };
    let norm = "model.norm.weight";
    says(&change(norm, "shape", json!([1, 16])), &[norm, "expected the shape (16,), got (1, 16)"]);
    says(&change(norm, "shape", json!([u64::MAX, u64::MAX])), &[norm, "too many"]);
    says(&change(norm, "dtype", json!("I32")), &[norm, "holds I32, expected F16, BF16, F32"]);
    says(&change(norm, "data_offsets", json!([0, u64::MAX])), &["lies at bytes"]);

    let mut without = header.clone();
    without["model.other.weight"] = without[norm].take();
    without.as_object_mut().expect("an object").remove(norm);
    std::fs::write(&path, sealed(&without, &values)).expect("written");
    says(&refused(place.path()), &["have no tensor `model.norm.weight`"]);

    let mut more = header.clone();
    let end = values.len();
    more["model.layers.0.self_attn.q_proj.bias"] =
        json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
    let longer = [&values[..], &[0; 4]].concat();
    std::fs::write(&path, sealed(&more, &longer)).expect("written");
    says(&refused(place.path()), &["`model.layers.0.self_attn.q_proj.bias`", "does not have"]);
    // What old files hold beside the weights.
    let angles = more["model.layers.0.self_attn.q_proj.bias"].take();
    more.as_object_mut().expect("an object").remove("model.layers.0.self_attn.q_proj.bias");
    more["model.layers.0.self_attn.rotary_emb.inv_freq"] = angles;
    std::fs::write(&path, sealed(&more, &longer)).expect("written");
    LanguageModel::load(place.path()).expect("angles are computed");

    for number in [f32::NAN, f32::INFINITY] {
        let at = header[norm]["data_offsets"][0].as_u64().expect("a place") as usize + 8;
        let mut broken = values.clone();
        broken[at..at + 4].copy_from_slice(&number.to_le_bytes());
        std::fs::write(&path, sealed(&header, &broken)).expect("written");
        says(&refused(place.path()), &["`model.norm.weight`: 1 of 1 rows hold NaN or infinity"]);
    }
}

#[test]
fn a_second_table_of_a_tied_model_must_be_the_first() {
    let place = copied("llama");
    let path = place.path().join("model.safetensors");
    let (mut header, values) = opened(&path);
    let table = header["model.embed_tokens.weight"].clone();
    let [from, to] = [0, 1].map(|i| table["data_offsets"][i].as_u64().expect("a place") as usize);
    let end = values.len();
    header["lm_head.weight"] = json!({"dtype": "F32", "shape": table["shape"], "data_offsets": [end, end + to - from]});
    let mut both = [&values[..], &values[from..to]].concat();
    std::fs::write(&path, sealed(&header, &both)).expect("written");
    LanguageModel::load(place.path()).expect("the same table twice");
    let at = end + 4 * (3 * 16 + 5);
    both[at..at + 4].copy_from_slice(&9.5f32.to_le_bytes());
    std::fs::write(&path, sealed(&header, &both)).expect("written");
    says(
        &refused(place.path()),
        &["differs from `model.embed_tokens.weight` in row 3, value 5: 9.5 and", "tie_word_embeddings"],
    );

    // Under the other name alone.
    let mut renamed = header.clone();
    renamed["lm_head.weight"] = table;
    renamed.as_object_mut().expect("an object").remove("model.embed_tokens.weight");
    std::fs::write(&path, sealed(&renamed, &values)).expect("written");
    let model = LanguageModel::load(place.path()).expect("one table");
    let ask = |m: &LanguageModel| m.logits(&[&[1, 2]], &Device::cpu()).expect("logits").remove(0);
    assert_eq!(ask(&model), ask(&load("llama")));
}

#[test]
fn indices_that_lie_are_refused() {
    let place = copied("qwen2");
    let path = place.path().join("model.safetensors.index.json");
    let index: Value = serde_json::from_slice(&std::fs::read(&path).expect("an index")).expect("JSON");
    let with = |name: &str, file: Value| {
        let mut index = index.clone();
        index["weight_map"][name] = file;
        std::fs::write(&path, index.to_string()).expect("written");
        refused(place.path())
    };
    for outside in ["../x", "/etc/passwd", "a/b.safetensors", "..", ""] {
        says(&with("lm_head.weight", json!(outside)), &["expected a file in the same folder"]);
    }
    says(&with("lm_head.weight", json!("gone.safetensors")), &["has no `gone.safetensors`"]);
    says(&with("lm_head.weight", json!(7)), &["is no index of weights"]);
    let other = index["weight_map"]["model.norm.weight"].as_str().expect("a file");
    let wrong = index["weight_map"]["model.embed_tokens.weight"].as_str().expect("a file");
    assert_ne!(other, wrong);
    says(
        &with("model.norm.weight", json!(wrong)),
        &["says that the tensor `model.norm.weight` is in", "does not hold it"],
    );

    // The same shard under two names holds everything twice.
    std::fs::copy(place.path().join(wrong), place.path().join("twice.safetensors")).expect("copied");
    says(&with("model.norm.weight", json!("twice.safetensors")), &["holds the tensor", "holds too"]);
    std::fs::write(&path, r#"{"weight_map": {}}"#).expect("written");
    says(&refused(place.path()), &["names no file"]);
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let place = copied("llama");
    let tokens = load("llama").tokenizer().tokens();
    let path = place.path().join("tokenizer.json");
    let file = sememe::ids::Tokenizer::load(&path).expect("a tokenizer");
    let more: Vec<String> = (tokens..300).map(|i| format!("<{i}>")).collect();
    std::fs::write(&path, file.with_added(&[], &more).expect("added")).expect("written");
    says(&refused(place.path()), &["its tokenizer has 300 tokens, but its model knows 288 only"]);
}

#[test]
fn damaged_tokenizers_are_refused_or_read_but_never_panic() {
    let place = copied("llama");
    let path = place.path().join("tokenizer.json");
    let whole = std::fs::read(&path).expect("a tokenizer");
    let (mut read, mut refused) = (0, 0);
    for at in (0..whole.len()).step_by(41) {
        for damaged in [whole[..at].to_vec(), [&whole[..at], b"7", &whole[at + 1..]].concat()] {
            std::fs::write(&path, &damaged).expect("written");
            match LanguageModel::load(place.path()) {
                Ok(model) => {
                    let _ = model.tokenizer().encode("the user's item 7</s> Größe", true);
                    read += 1;
                }
                Err(e) => {
                    assert!(e.to_string().contains("token"), "{e}");
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 10 && refused > 200, "uninformative: {read} read, {refused} refused");
}
