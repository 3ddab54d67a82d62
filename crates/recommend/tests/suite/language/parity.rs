//! Logits, greedy texts and tokens against transformers, from folders of all families, and through a folder of our own.

use super::*;
use sememe_recommend::{LanguageFamily, RopeScaling, SaveOptions, WeightType};
use sememe_testkit::files::error;

fn check(model: &LanguageModel, name: &str, device: &Device) {
    let want = answers(name);
    let sequences: Vec<&[u32]> = want.sequences.iter().map(Vec::as_slice).collect();
    let got = model.logits(&sequences, device).expect("logits");
    for (number, logits) in got.iter().enumerate() {
        let shape = [sequences[number].len(), model.shape().vocabulary];
        let wanted = wanted_logits(name, number, shape);
        let spread = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(spread > 1.0, "uninformative: logits up to {spread}");
        let apart = distance(logits.as_slice(), &wanted);
        assert!(apart <= 1e-4, "{name}, sequence {number}: {apart}");
    }
}

#[test]
fn logits_and_greedy_texts_are_those_of_transformers() {
    for name in MODELS {
        let (model, want) = (load(name), answers(name));
        check(&model, name, &Device::cpu());
        for (number, sequence) in want.sequences.iter().enumerate() {
            let tokens = greedy(&model, sequence, 12, &Device::cpu());
            assert_eq!(tokens, want.greedy[number], "{name}");
            assert_eq!(model.tokenizer().decode(&tokens, true).expect("a text"), want.generated[number], "{name}");
        }
        for (text, tokens) in ["the user's item 7</s>", " Größe\n42"].iter().zip(&want.tokens) {
            assert_eq!(&model.tokenizer().encode(text, false).expect("tokens"), tokens, "{name}");
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_gpu_gives_the_same_logits() {
    let device = match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(device) => device,
        Err(e) if std::env::var("SEMEME_GPU").as_deref() == Ok("require") => panic!("no GPU: {e}"),
        Err(e) => {
            eprintln!("skipped: {e}");
            return;
        }
    };
    for name in MODELS {
        check(&load(name), name, &device);
    }
}

#[test]
fn families_differ_in_what_they_should() {
    let of = |name: &str| load(name).shape().clone();
    let (llama, scaled, qwen2, qwen3) = (of("llama"), of("llama3"), of("qwen2"), of("qwen3"));
    assert!(llama.tied && !scaled.tied && !qwen2.tied && qwen3.tied);
    assert!(matches!(scaled.decoder.rope_scaling, Some(RopeScaling::Llama3 { original_positions: 32, .. })));
    assert_eq!((scaled.decoder.rope_theta, qwen2.decoder.rope_theta), (500.0, 1e6));
    assert!(qwen2.decoder.attention_bias && qwen3.decoder.query_key_norm);
    assert_eq!((qwen3.decoder.head_dims, qwen3.decoder.dims / qwen3.decoder.heads), (6, 4));
    let model = load("qwen3");
    assert_eq!(model.family(), LanguageFamily::Qwen3);
    assert_eq!((model.begin_token(), model.end_tokens(), model.padding_token()), (Some(1), &[2, 0][..], Some(0)));
    assert_eq!(model.tokenizer().token(1).as_deref(), Some("<s>"));
    let shown = format!("{model:?}");
    assert!(shown.contains("Qwen3") && shown.len() < 1500, "{shown}");
}

#[test]
fn a_saved_model_is_the_same_model() {
    for name in MODELS {
        let (model, place) = (load(name), tempfile::tempdir().expect("a folder"));
        let options = SaveOptions { shard_bytes: 8_000, ..SaveOptions::default() };
        let target = place.path().join("model");
        model.save_with(&target, &options).expect("saved in shards");
        assert!(target.join("model.safetensors.index.json").exists());
        std::fs::write(target.join("notes.txt"), "mine").expect("a file of the user");
        check(&LanguageModel::load(&target).expect("shards"), name, &Device::cpu());

        // The same folder again, in one file: no shard of the earlier time is left, and other files are.
        LanguageModel::load(&target).expect("shards").save(&target).expect("saved whole");
        let mut names: Vec<String> = std::fs::read_dir(&target)
            .expect("a folder")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert!(names.contains(&"model.safetensors".into()) && names.contains(&"notes.txt".into()), "{names:?}");
        assert!(!names.iter().any(|n| n.contains("-of-") || n.contains("index")), "{names:?}");
        let bytes = |file: &str| std::fs::read(target.join(file)).expect(file);
        let (first, config) = (bytes("model.safetensors"), bytes("config.json"));
        LanguageModel::load(&target).expect("one file").save(&target).expect("saved again");
        assert_eq!((bytes("model.safetensors"), bytes("config.json")), (first, config), "not the same bytes");
        check(&LanguageModel::load(&target).expect("one file"), name, &Device::cpu());
    }
}

#[test]
fn what_a_configuration_says_beside_is_kept() {
    let place = tempfile::tempdir().expect("a folder");
    load("llama3").save(place.path()).expect("saved");
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path().join("config.json")).expect("a file")).expect("JSON");
    assert_eq!(config["something_new"], serde_json::json!({"b": 1, "a": [1e-5]}));
    assert_eq!(config["rope_scaling"]["rope_type"], "llama3");
    assert_eq!((&config["dtype"], config.get("torch_dtype")), (&"float32".into(), None));
}

#[test]
fn weights_in_bf16_are_the_nearest() {
    let place = tempfile::tempdir().expect("a folder");
    let options = SaveOptions { weights: WeightType::Bf16, ..SaveOptions::default() };
    // These are of that type already, so nothing is lost.
    load("qwen2").save_with(place.path(), &options).expect("saved");
    check(&LanguageModel::load(place.path()).expect("loaded"), "qwen2", &Device::cpu());
    let [short, long] = [place.path().to_owned(), folder("llama")].map(|f| f.join("config.json"));
    let dtype = |path: &Path| {
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
        config["dtype"].as_str().map(str::to_owned)
    };
    assert_eq!((dtype(&short).as_deref(), dtype(&long).as_deref()), (Some("bfloat16"), Some("float32")));
}

#[test]
fn sequences_that_cannot_be_read_are_refused() {
    let model = load("llama");
    let ask = |sequence: &[u32]| error(model.logits(&[&[1], sequence], &Device::cpu()));
    assert!(ask(&[]).contains("sequence 1 has 0 tokens, expected 1 to 64"));
    assert!(ask(&[1; 65]).contains("sequence 1 has 65 tokens, expected 1 to 64"));
    assert!(ask(&[288]).contains("names token 288, past the 288 of the model"));
    assert!(model.logits(&[], &Device::cpu()).expect("nothing").is_empty());
}

/// `SEMEME_SMOLLM2` names a folder of SmolLM2-135M-Instruct.
#[test]
fn a_real_model_speaks() {
    let Some(place) = std::env::var_os("SEMEME_SMOLLM2") else {
        eprintln!("skipped: SEMEME_SMOLLM2 names no folder of SmolLM2-135M-Instruct");
        return;
    };
    let model = LanguageModel::load(place).expect("SmolLM2");
    let chat = [sememe_recommend::ChatMessage::new("user", "What is the capital of France?")];
    let text = model.chat(&chat, true).expect("a text");
    let tokens = model.tokenizer().encode(&text, false).expect("tokens");
    let said = greedy(&model, &tokens, 7, &Device::cpu());
    let answer = model.tokenizer().decode(&said[tokens.len()..], true).expect("a text");
    assert_eq!(answer, "The capital of France is Paris.");
}
