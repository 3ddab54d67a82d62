//! Writes the seeds of every target, from the fixtures of the tests and from what the library itself writes:
//! `cargo run -p sememe-fuzzing --example seeds`. Inputs that were found by fuzzing stay as they are.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sememe::fit::rqvae::{RqVae, RqVaeTrainer};
use sememe::fit::{MiniBatchRqKMeans, MiniBatchTrainer};
use sememe::ids::store::{SqliteStore, Store};
use sememe::ids::{Style, Trie};
use sememe::io::{CodesWriter, IdsWriter, RowsWriter};
use sememe::{Balance, Codec, Codes, Device, Matrix, Metric, Pca, Preprocess, Refine, RqKMeans};
use sememe_fuzzing::training_rows;
use sememe_recommend::{ItemSources, Prediction, RecommenderSettings, RecommenderTraining};
use sememe_run::track::{EventWriter, MetricsWriter};
use sememe_text::dialogues::Templates;
use sememe_text::prep::{Prep, prepare};

type Done = Result<(), Box<dyn Error>>;

struct Seeds {
    root: PathBuf,
    fixtures: PathBuf,
    folder: PathBuf,
}

impl Seeds {
    fn put(&self, target: &str, name: &str, bytes: &[u8]) -> Done {
        let folder = self.root.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    }

    /// The fixtures with an extension, each for several targets.
    fn fixtures(&self, extension: &str, targets: &[&str]) -> Done {
        for entry in fs::read_dir(&self.fixtures)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == extension) {
                let (name, bytes) = (path.file_name().unwrap_or_default().to_string_lossy(), fs::read(&path)?);
                targets.iter().try_for_each(|target| self.put(target, &name, &bytes))?;
            }
        }
        Ok(())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a writer left in the folder.
    fn written(&self, name: &str, targets: &[&str]) -> Done {
        let bytes = fs::read(self.at(name))?;
        targets.iter().try_for_each(|target| self.put(target, name, &bytes))
    }

    /// A safetensors file as it is, and as its header, a line feed and its data.
    fn tensors(&self, target: &str, name: &str, bytes: &[u8]) -> Done {
        self.put(target, name, bytes)?;
        let length = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
        let header = std::str::from_utf8(&bytes[8..8 + length])?.trim_end();
        assert!(!header.contains('\n'), "a header of one line");
        self.put(target, &format!("{name}.framed"), &[header.as_bytes(), b"\n", &bytes[8 + length..]].concat())
    }
}

fn main() -> Done {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join(format!("sememe-seeds-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let fixtures = here.join("../../tests/fixtures");
    let seeds = Seeds { root: here.join("../../fuzz/seeds"), fixtures, folder };
    embeddings(&seeds)?;
    codecs(&seeds)?;
    ids(&seeds)?;
    catalogues(&seeds)?;
    states(&seeds)?;
    languages(&seeds, here)?;
    settings(&seeds, here)?;
    others(&seeds, here)?;
    Ok(fs::remove_dir_all(&seeds.folder)?)
}

fn embeddings(seeds: &Seeds) -> Done {
    seeds.fixtures("npy", &["npy"])?;
    seeds.fixtures("npz", &["npz"])?;
    seeds.fixtures("parquet", &["parquet_rows", "codes_parquet", "labels_parquet"])?;
    seeds.tensors("safetensors", "kinds.safetensors", &fs::read(seeds.fixtures.join("kinds.safetensors"))?)?;
    seeds.put("codes_npy", "ints.npy", &fs::read(seeds.fixtures.join("ints.npy"))?)?;
    let mut rows = RowsWriter::create(seeds.at("rows.npy"), 64, 4)?;
    rows.write(training_rows().as_slice())?;
    rows.finish()?;
    seeds.written("rows.npy", &["npy"])?;
    for (name, target) in
        [("c.npy", "codes_npy"), ("c.jsonl", "codes_text"), ("c.csv", "codes_text"), ("c.parquet", "codes_parquet")]
    {
        let mut codes = CodesWriter::create(seeds.at(name), 8, 3, &[8, 300, 70_000])?;
        codes.write(&(0..24).map(|at| [at % 8, at * 12, at * 3000][at as usize % 3]).collect::<Vec<u32>>())?;
        codes.finish()?;
        seeds.written(name, &[target])?;
    }
    let counted_on = "code_0,code_1\n0,5\n3,4\n1,6\n";
    seeds.put("codes_text", "counted_on.csv", counted_on.as_bytes())?;
    seeds.put("codes_text", "numbered.jsonl", b"{\"row\":3,\"codes\":[1,2]}\n{\"row\":0,\"codes\":[0,7]}\n")
}

fn codecs(seeds: &Seeds) -> Done {
    for version in 1..=4 {
        let name = format!("codec-v{version}.safetensors");
        seeds.tensors("codec", &name, &fs::read(seeds.fixtures.join(&name))?)?;
    }
    let plain = || RqKMeans { codebook_sizes: vec![8, 4], ..RqKMeans::default() };
    let pca = Preprocess { pca: Some(Pca::default()), ..Preprocess::default() };
    let kinds = [
        ("plain", plain()),
        ("cosine", RqKMeans { metric: Metric::Cosine, ..plain() }),
        ("normalized", RqKMeans { normalize_residuals: true, ..plain() }),
        ("refined", RqKMeans { refine: Some(Refine::default()), ..plain() }),
        ("pca", RqKMeans { preprocess: pca, ..plain() }),
        ("balanced", RqKMeans { balance: Some(Balance::default()), ..plain() }),
    ];
    for (name, config) in kinds {
        let codec = Codec::train(&training_rows(), &config, &Device::cpu(), &())?;
        seeds.tensors("codec", &format!("{name}.safetensors"), &codec.to_bytes()?)?;
    }
    Ok(())
}

fn ids(seeds: &Seeds) -> Done {
    let ids: [&[u32]; 5] = [&[7, 20, 31], &[7, 20, 32], &[7, 21], &[8, 20, 31], &[7, 20, 31]];
    Trie::build(ids.into_iter(), 2)?.save(seeds.at("small.trie"))?;
    let many: Vec<Vec<u32>> = (0..40).map(|i| vec![i % 3, i % 5, i % 7, i / 7]).collect();
    Trie::build(many.iter().map(Vec::as_slice), 1000)?.save(seeds.at("many.trie"))?;
    seeds.written("small.trie", &["trie"])?;
    seeds.written("many.trie", &["trie"])?;

    let bpe = r#"{"version":"1.0","added_tokens":[{"id":0,"content":"</s>","special":true},{"id":4,"content":"[MASK]"}],
"model":{"type":"BPE","vocab":{"</s>":0,"a":1,"b":2,"ab":3},"merges":[["a","b"]]}}"#;
    let unigram = r#"{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5]]},"added_tokens":[]}"#;
    seeds.put("tokenizer", "bpe.json", bpe.as_bytes())?;
    seeds.put("tokenizer", "unigram.json", unigram.as_bytes())?;
    seeds.put("tokenizer", "bare.json", br#"{"model":{"vocab":{"a":0}}}"#)?;

    for style in [Style::Plain, Style::LcRec, Style::OpenOneRec] {
        let template = serde_json::to_string(&style.template())?;
        let format = sememe::ids::TextFormat::preset(style, &[4, 256])?;
        let text = format!("{template}\n{}\n{}\n", format.write(&[0, 255])?, format.write(&[3, 17])?);
        seeds.put("id_text", style.name(), text.as_bytes())?;
    }
    seeds.put(
        "id_text",
        "letters",
        b"{\"token\":\"{letter}{{{code}}}{level1}\",\"cumulative\":true,\"first\":1}\na{1}1-b{9}2\n",
    )?;
    for name in ["i.txt", "i.jsonl", "i.csv"] {
        let mut writer = IdsWriter::create(seeds.at(name))?;
        for row in 0..3 {
            writer.write(row, &format!("<a_{row}><b_5>"))?;
        }
        writer.finish()?;
        seeds.written(name, &["ids"])?;
    }
    let mut store = SqliteStore::open(seeds.at("s.sqlite"), "hash", 2)?;
    store.assign(&[("nano", &[1, 2]), ("pico", &[1, 2]), ("vi", &[1, 3])])?;
    store.delete(&["pico"])?;
    drop(store);
    seeds.written("s.sqlite", &["store"])?;
    for (name, place) in
        [("redis", "redis://me:secret@host:6379/0?namespace=books"), ("unix", "unix:///run/r.sock?pass=x&db=1")]
    {
        seeds.put("store_place", name, place.as_bytes())?;
    }
    Ok(())
}

fn catalogues(seeds: &Seeds) -> Done {
    let jsonl = "{\"id\":2,\"title\":\"nano\",\"description\":\"an <b>editor</b> &amp; more\",\"text\":\"x\"}\n{\"id\":\"b\",\"title\":\"vi\",\"description\":[\"a\",\"b\"],\"text\":\"y\"}\n";
    let csv = "id,title,description,text\n2,nano,\"an editor, small\",x\nb,vi,\"two\nlines\",y\n";
    let tsv = "id\ttitle\tdescription\ttext\n2\tnano\tan editor\tx\n";
    for target in ["catalogue", "prep", "embed_texts"] {
        seeds.put(target, "t.jsonl", jsonl.as_bytes())?;
        seeds.put(target, "t.csv", csv.as_bytes())?;
    }
    seeds.put("prep", "t.tsv", tsv.as_bytes())?;
    let html =
        "{\"id\":1,\"title\":\"<p>a<br/>b<!-- c --><script>x</script>&#x41;&nbsp;e\\u0301\",\"description\":null}\n";
    seeds.put("prep", "html.jsonl", html.as_bytes())?;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(jsonl.as_bytes())?;
    seeds.put("catalogue_gz", "t.jsonl.gz", &gz.finish()?)?;
    for (at, text) in ["{title}", "{title}[: {description:300}]", "{{x}} [[y]] {a b}[ ({c})]"].into_iter().enumerate() {
        seeds.put("prep_template", &at.to_string(), text.as_bytes())?;
    }
    seeds.put("events", "items.jsonl", b"{\"user\":\"a\",\"items\":[1,\"two\",3]}\n{\"items\":[4]}\n")?;
    seeds.put(
        "events",
        "single.jsonl",
        b"{\"user\":7,\"item\":\"x\",\"time\":2.5}\n{\"user\":7,\"item\":3,\"timestamp\":1}\n",
    )?;
    seeds.put("events", "e.csv", b"user,item,time\na,1,2\na,007,1.5\nb,x,3\n")?;
    seeds.put("events", "e.npy", &fs::read(seeds.fixtures.join("ints.npy"))?)?;

    fs::write(seeds.at("t.jsonl"), jsonl)?;
    let template = "{title}[: {description}]".to_owned();
    let prep = Prep { source: seeds.at("t.jsonl"), template, title: Some("title".into()), ..Prep::default() };
    let prepared = prepare(&prep, &())?;
    prepared.save(seeds.at("items.sqlite"), "items")?;
    seeds.written("items.sqlite", &["prep_sqlite", "embed_texts"])?;
    prepared.save(seeds.at("items.parquet"), "items")?;
    seeds.written("items.parquet", &["labels_parquet"])
}

fn states(seeds: &Seeds) -> Done {
    let rows: Matrix = training_rows();
    let small = || RqVae {
        hidden: vec![8],
        code_dims: 4,
        codebook_sizes: vec![4, 4],
        batch_rows: 16,
        epochs: 2,
        ..RqVae::default()
    };
    let shared = RqVae { codebook_sizes: vec![4, 4], shared_codebook: true, ..small() };
    for (name, config) in [("small", small()), ("shared", shared)] {
        let mut trainer = RqVaeTrainer::new(config)?;
        seeds.tensors("checkpoint_rqvae", &format!("{name}-new"), &trainer.to_bytes()?)?;
        trainer.run(&rows, None, &Device::cpu(), &(), &mut ())?;
        seeds.tensors("checkpoint_rqvae", &format!("{name}-done"), &trainer.to_bytes()?)?;
    }
    let config = MiniBatchRqKMeans {
        codebook_sizes: vec![4, 2],
        init_rows: 16,
        batch_rows: 16,
        epochs: 2,
        ..Default::default()
    };
    let mut trainer = MiniBatchTrainer::new(config, 4)?;
    seeds.put("checkpoint_minibatch", "new.json", &trainer.to_bytes()?)?;
    trainer.partial_fit(&rows, &Device::cpu())?;
    seeds.put("checkpoint_minibatch", "begun.json", &trainer.to_bytes()?)?;
    trainer.fit_source(&rows, &Device::cpu(), &())?;
    seeds.put("checkpoint_minibatch", "done.json", &trainer.to_bytes()?)?;

    let histories = sememe_fuzzing::training_histories();
    let codes = Codes::from_vec(8, 2, (0..8).flat_map(|i| [i / 4, i % 4]).collect())?;
    let vectors = Matrix::from_vec(8, 2, (0..16).map(|i| ((i * 5) % 7) as f32).collect())?;
    let alone = ItemSources { items: 8, identities: true, ..ItemSources::default() };
    let all = ItemSources { codes: Some(codes), prefixes: true, vectors: Some(vectors), ..alone.clone() };
    let by_code = ItemSources { identities: false, prefixes: false, ..all.clone() };
    let kinds = [
        ("identities", Prediction::Items, alone),
        ("all", Prediction::Items, all),
        ("levels", Prediction::Levels, by_code.clone()),
        ("ordered", Prediction::Ordered, by_code),
    ];
    for (name, prediction, sources) in kinds {
        let settings = RecommenderSettings {
            prediction,
            dims: 4,
            layers: 1,
            heads: 1,
            positions: 4,
            batch_tokens: 16,
            epochs: 2,
            ..RecommenderSettings::default()
        };
        let mut training = RecommenderTraining::new(settings)?;
        seeds.tensors("recommender_training", &format!("{name}-new"), &training.to_bytes()?)?;
        let trained = training.run(&sources, &histories, &Device::cpu(), &(), &mut ())?;
        seeds.tensors("recommender_training", &format!("{name}-done"), &training.to_bytes()?)?;
        seeds.tensors("recommender", name, &trained.to_bytes()?)?;
        let keys = (0..8).map(|i| format!("k{i}")).collect();
        seeds.tensors("recommender", &format!("{name}-keys"), &trained.with_keys(keys)?.to_bytes()?)?;
    }

    let log = fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../run/tests/fixtures/events.out.tfevents.1700000000.sememe.000"),
    )?;
    seeds.put("event_log", "fixture", &log)?;
    let mut events = EventWriter::create_at(seeds.at("log"), 1_700_000_000)?;
    for step in 0..4 {
        events.scalar(step, 1.0, &[("loss", 0.5), ("r2", 0.25)])?;
    }
    events.sync()?;
    let bytes = fs::read(events.path())?;
    seeds.put("event_log", "four", &bytes)?;
    // The payloads alone, each after its length.
    let (mut at, mut payloads) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into()?) as usize;
        payloads.push(u8::try_from(length)?);
        payloads.extend_from_slice(&bytes[at + 12..at + 12 + length]);
        at += length + 16;
    }
    seeds.put("event_log", "four.payloads", &payloads)?;
    let mut metrics = MetricsWriter::create(seeds.at("metrics.jsonl"))?;
    for step in 0..3 {
        metrics.line(&serde_json::json!({"kind": "step", "step": step, "loss": 0.5}))?;
    }
    drop(metrics);
    seeds.written("metrics.jsonl", &["metrics", "epochs"])?;
    struct Epochs(Vec<u8>);
    impl sememe::fit::rqvae::Recorder for Epochs {
        fn epoch(&mut self, report: &sememe::fit::rqvae::EpochReport) -> sememe::Result<()> {
            let mut value = serde_json::to_value(report).unwrap_or_default();
            value["kind"] = "epoch".into();
            self.0.extend(value.to_string().into_bytes());
            self.0.push(b'\n');
            Ok(())
        }
    }
    let mut epochs = Epochs(Vec::new());
    RqVaeTrainer::new(small())?.run(&rows, None, &Device::cpu(), &(), &mut epochs)?;
    seeds.put("epochs", "epochs.jsonl", &epochs.0)?;
    let state = r#"{"format":1,"phases":{"prep":{"version":"0.1.0","settings":{},"inputs":{},"outputs":{"prep.json":{"bytes":2,
"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},"facts":null,"seconds":0.1,"finished_at":1}},"begun":{}}"#;
    seeds.put("run_state", "prep.json", state.as_bytes())
}

/// Folders of language models: each kind of file from each that the tests have.
fn languages(seeds: &Seeds, here: &Path) -> Done {
    let models = here.join("../recommend/tests/models");
    for name in ["llama", "llama3", "qwen2", "qwen3"] {
        let folder = models.join(name);
        seeds.put("language_config", &format!("{name}.json"), &fs::read(folder.join("config.json"))?)?;
        for file in ["tokenizer_config.json", "generation_config.json"] {
            seeds.put("language_settings", &format!("{name}-{file}"), &fs::read(folder.join(file))?)?;
        }
    }
    let index = fs::read_to_string(models.join("qwen2/model.safetensors.index.json"))?;
    seeds.put("language_index", "qwen2.json", index.as_bytes())?;
    let one = r#"{"metadata": {}, "weight_map": {"model.norm.weight": "a.safetensors"}}"#;
    seeds.put("language_index", "one.json", one.as_bytes())?;
    seeds.tensors("language_weights", "llama", &fs::read(models.join("llama/model.safetensors"))?)?;
    let chats: serde_json::Value = serde_json::from_slice(&fs::read(models.join("chats.json"))?)?;
    for (name, template) in chats["templates"].as_object().ok_or("templates")? {
        seeds.put("chat_template", &format!("{name}.jinja"), template.as_str().ok_or("a text")?.as_bytes())?;
    }
    Ok(())
}

fn settings(seeds: &Seeds, here: &Path) -> Done {
    seeds.put("config", "catalogue.toml", &fs::read(here.join("../../examples/catalogue/sememe.toml"))?)?;
    // Every setting there is: most stand behind a `#`.
    let every = sememe_run::config::TEMPLATE;
    seeds.put("config", "template.toml", every.as_bytes())?;
    let starter = Templates::starter();
    seeds.put("dialogue_templates", "starter.toml", starter.to_toml().as_bytes())?;
    seeds.put("dialogue_templates", "starter.json", &serde_json::to_vec(&starter)?)
}

/// Files of other systems, and hostile ones.
fn others(seeds: &Seeds, here: &Path) -> Done {
    let fixtures = here.join("../import/tests/fixtures");
    let mut folders = vec![fixtures.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&fixtures)?.to_string_lossy().replace('/', "-");
            let target = match path.extension().and_then(|e| e.to_str()) {
                Some("pt" | "pth" | "ckpt") => "import_torch",
                Some("npz") => "import_arrays",
                Some("npy") if matches!(name.as_str(), "faiss-rq.npy" | "faiss-pq.npy") => "import_arrays",
                Some("db") => "import_counters",
                Some("jsonl") => "import_ids",
                Some("json") if name.ends_with("index.json") => "import_ids",
                Some("json") if name.starts_with("semantic-id-kmeans") => "import_settings",
                _ => continue,
            };
            // Inflates to 71 MB, which is refused before.
            if name != "hostile-zeros.npz" {
                seeds.put(target, &name, &fs::read(&path)?)?;
            }
        }
    }
    Ok(())
}
