//! Tiny models with random weights as files, and what they give by plain `f64` loops that share nothing with the library.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sememe::rng;
use serde_json::{Value, json};

/// Rows of values: a text's tokens, or a weight's outputs.
pub type Rows = Vec<Vec<f64>>;

/// Tensors by name.
pub struct Tensors(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    /// Random values; `mean` is 1 for gains.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], mean: f64, spread: f64) {
        let name = name.into();
        let mut stream = rng::stream(7, &name, 0);
        let count = shape.iter().product();
        let values = (0..count).map(|_| (mean + spread * stream.normal()) as f32).collect();
        self.0.insert(name, (shape.to_vec(), values));
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[outputs, inputs], 0.0, 1.2 / (inputs as f64).sqrt());
        if bias {
            self.add(format!("{name}.bias"), &[outputs], 0.0, 0.3);
        }
    }

    fn norm(&mut self, name: &str, size: usize) {
        self.add(format!("{name}.weight"), &[size], 1.0, 0.2);
        self.add(format!("{name}.bias"), &[size], 0.0, 0.2);
    }

    pub fn save(&self, path: &Path) {
        self.save_some(path, |_| true);
    }

    pub fn save_some(&self, path: &Path, keep: impl Fn(&str) -> bool) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let chosen = self.0.iter().filter(|(name, _)| keep(name));
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = chosen
            .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor"))
        });
        safetensors::serialize_to_file(views, None, path).expect("written");
    }

    fn row(&self, name: &str, at: usize) -> Vec<f64> {
        let (shape, values) = &self.0[name];
        let width = shape.last().copied().unwrap_or(1);
        values[at * width..(at + 1) * width].iter().map(|v| f64::from(*v)).collect()
    }

    /// `x Wᵀ + b`; without a bias where there is none.
    pub fn apply(&self, name: &str, x: &Rows) -> Rows {
        let outputs = self.0[&format!("{name}.weight")].0[0];
        let bias = self.0.contains_key(&format!("{name}.bias")).then(|| self.row(&format!("{name}.bias"), 0));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let weight: Rows = (0..outputs).map(|o| self.row(&format!("{name}.weight"), o)).collect();
        let one = |row: &Vec<f64>| {
            weight.iter().enumerate().map(|(o, w)| dot(row, w) + bias.as_ref().map_or(0.0, |b| b[o])).collect()
        };
        x.iter().map(one).collect()
    }

    fn layer_norm(&self, name: &str, x: &Rows, eps: f64) -> Rows {
        let (gain, bias) = (self.row(&format!("{name}.weight"), 0), self.row(&format!("{name}.bias"), 0));
        let one = |row: &Vec<f64>| -> Vec<f64> {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let spread = (row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
            row.iter().enumerate().map(|(c, v)| (v - mean) / spread * gain[c] + bias[c]).collect()
        };
        x.iter().map(one).collect()
    }

    fn rms_norm(&self, name: &str, x: &Rows, plus: f64) -> Rows {
        let gain = self.row(&format!("{name}.weight"), 0);
        let one = |row: &Vec<f64>| -> Vec<f64> {
            let size = (row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64 + 1e-6).sqrt();
            row.iter().enumerate().map(|(c, v)| v / size * (gain[c] + plus)).collect()
        };
        x.iter().map(one).collect()
    }
}

fn add(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

/// Heads of `size` values; consecutive heads share a group of keys. `sees(query, key)`.
fn attend(q: &Rows, k: &Rows, v: &Rows, size: usize, scale: f64, sees: impl Fn(usize, usize) -> bool) -> Rows {
    let (heads, groups) = (q[0].len() / size, k[0].len() / size);
    let mut out = vec![vec![0.0; q[0].len()]; q.len()];
    for h in 0..heads {
        let g = h / (heads / groups);
        for i in 0..q.len() {
            let score = |j: usize| (0..size).map(|c| q[i][h * size + c] * k[j][g * size + c]).sum::<f64>() * scale;
            let weights: Vec<f64> = (0..q.len()).map(|j| if sees(i, j) { score(j).exp() } else { 0.0 }).collect();
            let total: f64 = weights.iter().sum();
            for (j, weight) in weights.iter().enumerate() {
                for c in 0..size {
                    out[i][h * size + c] += weight / total * v[j][g * size + c];
                }
            }
        }
    }
    out
}

pub const WORDS: [&str; 14] = [
    "small", "large", "editor", "for", "text", "plays", "music", "video", "a", "the", "network", "tool", "##s", "mail",
];
pub const VOCABULARY: usize = 4 + WORDS.len();

/// Numbers of a text's words, as the tokenizer below has them: `[PAD]` 0, `[UNK]` 1, `[CLS]` 2, `[SEP]` 3, then words.
pub fn ids(text: &str, max: usize) -> Vec<usize> {
    let word = |w: &str| WORDS.iter().position(|known| *known == w).map_or(1, |at| at + 4);
    let mut ids = vec![2];
    ids.extend(text.split_whitespace().map(word).take(max - 2));
    ids.push(3);
    ids
}

/// A WordPiece tokenizer whose file says to cut at 5 and to fill up to 16 tokens, as that of all-MiniLM-L6-v2 does in its way.
pub fn tokenizer() -> Value {
    let special = |id: usize, text: &str| json!({"id": id, "content": text, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    let vocabulary: BTreeMap<&str, usize> = names.iter().chain(&WORDS).enumerate().map(|(i, w)| (*w, i)).collect();
    let piece = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "[PAD]"},
        "added_tokens": names.iter().enumerate().map(|(i, name)| special(i, name)).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")], "pair": [],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocabulary}
    })
}

fn write(folder: &Path, name: &str, value: &Value) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, value.to_string()).expect("written");
}

pub const HIDDEN: usize = 24;
const LAYERS: usize = 3;

/// A BERT of 3 layers and 3 heads over 12 positions, and how sentence-transformers would use it.
pub fn bert(folder: &Path, pooling: &str) -> Tensors {
    let mut t = Tensors(BTreeMap::new());
    t.add("embeddings.word_embeddings.weight", &[VOCABULARY, HIDDEN], 0.0, 1.0);
    t.add("embeddings.position_embeddings.weight", &[12, HIDDEN], 0.0, 0.7);
    t.add("embeddings.token_type_embeddings.weight", &[2, HIDDEN], 0.0, 0.7);
    t.norm("embeddings.LayerNorm", HIDDEN);
    for i in 0..LAYERS {
        let at = |name: &str| format!("encoder.layer.{i}.{name}");
        for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            t.linear(&at(name), HIDDEN, HIDDEN, true);
        }
        t.norm(&at("attention.output.LayerNorm"), HIDDEN);
        t.linear(&at("intermediate.dense"), HIDDEN, 40, true);
        t.linear(&at("output.dense"), 40, HIDDEN, true);
        t.norm(&at("output.LayerNorm"), HIDDEN);
    }
    t.save(&folder.join("model.safetensors"));
    write(folder, "tokenizer.json", &tokenizer());
    let config = json!({"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN,
        "intermediate_size": 40, "layer_norm_eps": 1e-12, "max_position_embeddings": 12, "num_attention_heads": 3,
        "num_hidden_layers": LAYERS, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": VOCABULARY});
    write(folder, "config.json", &config);
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    write(folder, "modules.json", &json!([module("", "Transformer"), module("1_Pooling", "Pooling")]));
    let on = |name: &str| pooling == name;
    let said = json!({"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": on("cls"), "pooling_mode_mean_tokens": on("mean"),
        "pooling_mode_max_tokens": on("max"), "pooling_mode_mean_sqrt_len_tokens": false});
    write(folder, "1_Pooling/config.json", &said);
    write(folder, "sentence_bert_config.json", &json!({"max_seq_length": 9, "do_lower_case": false}));
    t
}

/// Adds a layer of `outputs` values with tanh, and normalisation.
pub fn dense(folder: &Path, outputs: usize) -> Tensors {
    let mut t = Tensors(BTreeMap::new());
    t.linear("linear", HIDDEN, outputs, true);
    let said = json!({"in_features": HIDDEN, "out_features": outputs, "bias": true,
        "activation_function": "torch.nn.modules.activation.Tanh"});
    write(folder, "2_Dense/config.json", &said);
    t.save(&folder.join("2_Dense/model.safetensors"));
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    let list = json!([
        module("", "Transformer"),
        module("1_Pooling", "Pooling"),
        module("2_Dense", "Dense"),
        module("3_Normalize", "Normalize")
    ]);
    write(folder, "modules.json", &list);
    t
}

/// What the BERT gives for every token.
pub fn run_bert(t: &Tensors, ids: &[usize]) -> Rows {
    let sum = |(at, id): (usize, &usize)| -> Vec<f64> {
        let (word, place) =
            (t.row("embeddings.word_embeddings.weight", *id), t.row("embeddings.position_embeddings.weight", at));
        let kind = t.row("embeddings.token_type_embeddings.weight", 0);
        (0..HIDDEN).map(|c| word[c] + place[c] + kind[c]).collect()
    };
    let mut x = t.layer_norm("embeddings.LayerNorm", &ids.iter().enumerate().map(sum).collect(), 1e-12);
    for i in 0..LAYERS {
        let at = |name: &str| format!("encoder.layer.{i}.{name}");
        let part = |name: &str| t.apply(&at(&format!("attention.self.{name}")), &x);
        let seen = attend(&part("query"), &part("key"), &part("value"), 8, 8f64.powf(-0.5), |_, _| true);
        let seen = t.apply(&at("attention.output.dense"), &seen);
        x = t.layer_norm(&at("attention.output.LayerNorm"), &add(&seen, &x), 1e-12);
        let mut inner = t.apply(&at("intermediate.dense"), &x);
        for v in inner.iter_mut().flatten() {
            *v = 0.5 * *v * (1.0 + libm::erf(*v / 2f64.sqrt()));
        }
        x = t.layer_norm(&at("output.LayerNorm"), &add(&t.apply(&at("output.dense"), &inner), &x), 1e-12);
    }
    x
}

/// A decoder of 4 layers, 4 heads in 2 groups, 8 values a head. `more` goes into its `config.json`.
pub fn decoder(folder: &Path, gemma: bool, more: &Value) -> Tensors {
    let mut t = Tensors(BTreeMap::new());
    t.add("model.embed_tokens.weight", &[VOCABULARY, HIDDEN], 0.0, 1.0);
    // Gemma keeps gains less one.
    let mean = if gemma { 0.0 } else { 1.0 };
    t.add("model.norm.weight", &[HIDDEN], mean, 0.2);
    for i in 0..4 {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        for (name, inputs, outputs) in
            [("q_proj", HIDDEN, 32), ("k_proj", HIDDEN, 16), ("v_proj", HIDDEN, 16), ("o_proj", 32, HIDDEN)]
        {
            t.linear(&at(&format!("self_attn.{name}")), inputs, outputs, false);
        }
        for name in ["q_norm", "k_norm"] {
            t.add(at(&format!("self_attn.{name}.weight")), &[8], mean, 0.2);
        }
        for (name, inputs, outputs) in [("gate_proj", HIDDEN, 40), ("up_proj", HIDDEN, 40), ("down_proj", 40, HIDDEN)] {
            t.linear(&at(&format!("mlp.{name}")), inputs, outputs, false);
        }
        let norms =
            ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"];
        for name in norms.iter().take(if gemma { 4 } else { 2 }) {
            t.add(at(&format!("{name}.weight")), &[HIDDEN], mean, 0.2);
        }
    }
    t.save(&folder.join("model.safetensors"));
    write(folder, "tokenizer.json", &tokenizer());
    let mut config = json!({"model_type": if gemma { "gemma3_text" } else { "qwen3" }, "hidden_size": HIDDEN, "intermediate_size": 40,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-6,
        "vocab_size": VOCABULARY, "max_position_embeddings": 64});
    for (name, value) in more.as_object().expect("an object") {
        config[name] = value.clone();
    }
    write(folder, "config.json", &config);
    t
}

/// How a decoder differs from the other.
pub struct Kind {
    pub gemma: bool,
    /// Base of the rotary positions and what they are divided by, in a layer.
    pub rope: fn(usize) -> (f64, f64),
    pub scale: f64,
    /// Whether a query sees a key in a layer.
    pub sees: fn(usize, usize, usize) -> bool,
}

/// What a decoder gives for every token.
pub fn run_decoder(t: &Tensors, ids: &[usize], kind: &Kind) -> Rows {
    let (plus, scale) = if kind.gemma { (1.0, (HIDDEN as f64).sqrt()) } else { (0.0, 1.0) };
    let word = |id: &usize| t.row("model.embed_tokens.weight", *id).iter().map(|v| v * scale).collect();
    let mut x: Rows = ids.iter().map(word).collect();
    for i in 0..4 {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        let norm = |name: &str, x: &Rows| t.rms_norm(&at(name), x, plus);
        let (base, factor) = (kind.rope)(i);
        // Norm of each head, then the turn of each pair of values (c, c + 4).
        let heads = |name: &str, norm: &str, input: &Rows| -> Rows {
            let all = t.apply(&at(&format!("self_attn.{name}")), input);
            let turned = |(place, row): (usize, &Vec<f64>)| {
                let mut out = Vec::new();
                for head in row.chunks(8) {
                    let head = &t.rms_norm(&at(&format!("self_attn.{norm}")), &vec![head.to_vec()], plus)[0];
                    let angle = |c: usize| place as f64 / base.powf(2.0 * (c % 4) as f64 / 8.0) / factor;
                    let other = |c: usize| if c < 4 { -head[c + 4] } else { head[c - 4] };
                    out.extend((0..8).map(|c| head[c] * angle(c).cos() + other(c) * angle(c).sin()));
                }
                out
            };
            all.iter().enumerate().map(turned).collect()
        };
        let input = norm("input_layernorm", &x);
        let (q, k) = (heads("q_proj", "q_norm", &input), heads("k_proj", "k_norm", &input));
        let v = t.apply(&at("self_attn.v_proj"), &input);
        let mut seen =
            t.apply(&at("self_attn.o_proj"), &attend(&q, &k, &v, 8, kind.scale, |q, k| (kind.sees)(i, q, k)));
        if kind.gemma {
            seen = norm("post_attention_layernorm", &seen);
        }
        x = add(&x, &seen);
        let input = norm(if kind.gemma { "pre_feedforward_layernorm" } else { "post_attention_layernorm" }, &x);
        let (mut gate, up) = (t.apply(&at("mlp.gate_proj"), &input), t.apply(&at("mlp.up_proj"), &input));
        for (g, u) in gate.iter_mut().flatten().zip(up.iter().flatten()) {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (*g + 0.044715 * g.powi(3));
            *g = u * if kind.gemma { 0.5 * *g * (1.0 + inner.tanh()) } else { *g / (1.0 + (-*g).exp()) };
        }
        let mut products = t.apply(&at("mlp.down_proj"), &gate);
        if kind.gemma {
            products = norm("post_feedforward_layernorm", &products);
        }
        x = add(&x, &products);
    }
    t.rms_norm("model.norm", &x, plus)
}

/// The mean over tokens.
pub fn mean(x: &Rows) -> Vec<f64> {
    (0..x[0].len()).map(|c| x.iter().map(|row| row[c]).sum::<f64>() / x.len() as f64).collect()
}

/// Texts of one to ten words, some of them alike.
pub fn items(count: usize) -> Vec<(String, String)> {
    let text = |i: usize| (0..1 + i % 10).map(|j| WORDS[(i * 7 + j * j) % 12]).collect::<Vec<_>>().join(" ");
    (0..count).map(|i| (format!("item {i:03}"), text(i % 30))).collect()
}
