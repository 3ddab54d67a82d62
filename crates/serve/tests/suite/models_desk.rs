//! A service over tiny models that are made here: items on a line, a recommender that has learned to walk along it, a language model
//! that knows their IDs.

use sememe::device::DeviceChoice;
use sememe::ids::store::{SqliteStore, Store as _};
use sememe::ids::{Export, IdTemplate, Style, TextFormat, Vocabulary};
use sememe::io::RowsWriter;
use sememe::{Codec, Codes, Device, Matrix, RqKMeans, Sequences};
use sememe_recommend::{
    ItemSources, LanguageModel, LanguageRecommender, Prediction, Recommender, RecommenderSettings, RecommenderTraining,
    SaveOptions,
};
use sememe_serve::Handle;
use sememe_serve::{Bound, Settings, Sources};
use sememe_serve::{EmbedSource, SpellingSource};
use sememe_text::embed::{EmbedCall, EmbedError, Embedder};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

pub const ITEMS: u32 = 12;
pub const DIMS: usize = 4;
const SIZES: [usize; 2] = [3, 4];

/// The vector of an item: a place on a spiral, so that neighbours are near.
pub fn vector(item: u32) -> Vec<f32> {
    let at = item as f32;
    vec![at / 4.0, (at / 2.0).sin(), (at / 2.0).cos(), 0.1 * (at * 7.0).sin()]
}

fn rows() -> Matrix {
    Matrix::from_vec(ITEMS as usize, DIMS, (0..ITEMS).flat_map(vector).collect()).expect("rows")
}

fn keys() -> Vec<String> {
    (0..ITEMS).map(|i| format!("k{i}")).collect()
}

/// The vector of the item whose number stands in the text.
struct Numbers;

impl Embedder for Numbers {
    fn model(&self) -> &str {
        "numbers"
    }

    fn embed(&self, texts: &[&str], _: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
        let number = |text: &&str| {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            digits.parse().map_err(|_| sememe::Error::Data(format!("`{text}` names no number")))
        };
        let numbers = texts.iter().map(number).collect::<Result<Vec<u32>, _>>()?;
        Ok(Matrix::from_vec(texts.len(), DIMS, numbers.into_iter().flat_map(vector).collect())?)
    }
}

/// The vector of the item whose number is the text's length: every text has one.
struct Lengths;

impl Embedder for Lengths {
    fn model(&self) -> &str {
        "lengths"
    }

    fn embed(&self, texts: &[&str], _: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
        let vectors = texts.iter().flat_map(|text| vector(text.len() as u32 % ITEMS)).collect();
        Ok(Matrix::from_vec(texts.len(), DIMS, vectors)?)
    }
}

/// A folder with all that can be served.
pub struct Desk {
    place: tempfile::TempDir,
    pub codec: Codec,
    pub codes: Codes,
}

impl Desk {
    pub fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let settings = RqKMeans { codebook_sizes: SIZES.to_vec(), ..RqKMeans::default() };
        let codec = Codec::train(&rows(), &settings, &Device::cpu(), &()).expect("a codec");
        codec.save(place.path().join("codec.safetensors")).expect("written");
        let codes = codec.encode(&rows()).expect("codes");
        let mut items = String::new();
        for i in 0..ITEMS {
            let _ = writeln!(items, "{{\"id\":\"k{i}\",\"title\":\"Thing number {i}\",\"text\":\"a thing\"}}");
        }
        fs::write(place.path().join("items.jsonl"), items).expect("written");
        let mut writer = RowsWriter::create(place.path().join("rows.npy"), ITEMS as usize, DIMS).expect("rows");
        writer.write(rows().as_slice()).expect("written");
        writer.finish().expect("written");
        Self { place, codec, codes }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Codec, items and their vectors.
    pub fn sources(&self) -> Sources {
        Sources {
            codec: Some(self.path("codec.safetensors")),
            items: Some(self.path("items.jsonl")),
            vectors: Some(self.path("rows.npy")),
            spelling: Some(SpellingSource::of(Style::LcRec)),
            device: DeviceChoice::Cpu,
            ..Sources::default()
        }
    }

    pub fn with_embedder(sources: Sources) -> Sources {
        let embed = EmbedSource { open: Arc::new(|| Ok(Box::new(Numbers))), prefix: String::new(), normalize: false };
        Sources { embed: Some(embed), ..sources }
    }

    /// Everything that can be loaded.
    pub fn everything(&self) -> Sources {
        let (_, recommender) = self.recommender(Prediction::Items, 0);
        let (_, language) = self.language();
        let store = self.path("ids.sqlite");
        let mut opened = SqliteStore::open(&store, self.codec.content_hash(), self.codec.levels()).expect("a store");
        let keys = keys();
        let asked: Vec<(&str, &[u32])> =
            keys.iter().enumerate().map(|(i, key)| (key.as_str(), self.codes.row(i))).collect();
        opened.assign(&asked).expect("IDs");
        let embed = EmbedSource { open: Arc::new(|| Ok(Box::new(Lengths))), prefix: String::new(), normalize: false };
        Sources { store: Some(store), recommender: recommender.recommender, embed: Some(embed), ..language }
    }

    /// Trains a recommender on walks along the items, and saves it without the last `left_out` of them.
    pub fn recommender(&self, prediction: Prediction, left_out: u32) -> (Recommender, Sources) {
        let known = ITEMS - left_out;
        let walks = (0..60).map(|user| (0..6).map(|t| (user + t) % known).collect::<Vec<u32>>());
        let histories = Sequences::from_lists(walks).expect("histories");
        let levels = self.codec.levels();
        let codes = self.codes.as_slice()[..known as usize * levels].to_vec();
        let vectors = rows().as_slice()[..known as usize * DIMS].to_vec();
        let ordered = prediction == Prediction::Ordered;
        let sources = ItemSources {
            items: known as usize,
            codes: Some(Codes::from_vec(known as usize, levels, codes).expect("codes")),
            vectors: (!ordered).then(|| Matrix::from_vec(known as usize, DIMS, vectors).expect("vectors")),
            identities: !ordered,
            ..ItemSources::default()
        };
        let settings = RecommenderSettings {
            prediction,
            dims: 16,
            heads: 2,
            positions: 8,
            batch_tokens: 64,
            epochs: 40,
            dropout: 0.0,
            rate: 1e-2,
            ..RecommenderSettings::default()
        };
        let mut training = RecommenderTraining::new(settings).expect("settings");
        let trained = training.run(&sources, &histories, &Device::cpu(), &(), &mut ()).expect("a recommender");
        let trained = trained.with_keys(keys()[..known as usize].to_vec()).expect("keys");
        let path = self.path("recommender.safetensors");
        trained.save(&path).expect("written");
        (trained, Sources { recommender: Some(path), ..self.sources() })
    }

    /// A tiny language model that has the items' IDs as tokens, but was never taught what they mean.
    pub fn language(&self) -> (LanguageRecommender, Sources) {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recommend/tests/models/llama");
        let base = self.path("base");
        fs::create_dir(&base).expect("a folder");
        for entry in fs::read_dir(models).expect("a tiny model") {
            let path = entry.expect("a file").path();
            fs::copy(&path, base.join(path.file_name().expect("a name"))).expect("a copy");
        }
        // Its letters are tokens, so chats are long.
        let config = fs::read_to_string(base.join("config.json")).expect("a configuration");
        let longer = config.replace("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 512");
        assert_ne!(longer, config);
        fs::write(base.join("config.json"), longer).expect("written");
        let mut model = LanguageModel::load(&base).expect("a model");

        let bundle = self.path("bundle");
        fs::create_dir(&bundle).expect("a folder");
        let template: IdTemplate = Style::LcRec.template();
        let format = TextFormat::new(template, &SIZES).expect("a format").with_counter().expect("a counter");
        // Items on the same codes are told apart.
        let levels = self.codec.levels();
        let mut counted = Vec::new();
        for i in 0..ITEMS as usize {
            let own = self.codes.row(i);
            let counter = (0..i).filter(|j| self.codes.row(*j) == own).count() as u32;
            counted.extend_from_slice(own);
            counted.push(counter);
        }
        let codes = Codes::from_vec(ITEMS as usize, levels + 1, counted).expect("codes");
        let first = model.tokenizer().tokens() as u32;
        let vocabulary = Vocabulary::new(&format, ITEMS, first, &[]).expect("a vocabulary");
        let keys = keys();
        let export = Export::new(&format, &codes, &keys).expect("an export");
        export.index(bundle.join("index.json")).expect("written");
        export.trie(&vocabulary, Some(2)).expect("a trie").save(bundle.join("ids.trie")).expect("written");
        vocabulary.save(bundle.join("vocabulary.json")).expect("written");
        vocabulary.save_special_tokens(bundle.join("special_tokens.json")).expect("written");
        model.add_id_tokens(&bundle).expect("added");
        let recommender = LanguageRecommender::with_bundle(model, &bundle).expect("a recommender");
        let folder = self.path("speaker");
        recommender.save(&folder, &SaveOptions::default()).expect("written");
        (recommender, Sources { language: Some(folder), ask: Some("a thing?".into()), ..self.sources() })
    }
}

/// A service on a thread of its own, which ends with it.
pub struct Running {
    url: String,
    pub handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(sources: Sources) -> Self {
        let bound = Bound::new(sources, Settings::default(), "127.0.0.1:0").expect("a service");
        let (url, handle) = (format!("http://{}", bound.address()), bound.handle());
        let thread = std::thread::spawn(move || bound.run().expect("finished"));
        Self { url, handle, thread: Some(thread) }
    }

    fn agent() -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).build().into()
    }

    /// Status and JSON.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = Self::agent()
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .send(body.to_string());
        let mut response = response.expect("an answer");
        let text = response.body_mut().read_to_string().expect("a text");
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        (response.status().as_u16(), value)
    }

    /// JSON of an answer that is fine.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, value) = self.post(path, body);
        assert_eq!(status, 200, "{body}: {value}");
        value
    }

    /// Code and message of a refusal.
    pub fn refused(&self, path: &str, body: &Value, wanted: u16, code: &str, part: &str) {
        let (status, value) = self.post(path, body);
        let message = format!("{} {}", value["error"]["message"], value["error"]["hint"]);
        assert_eq!((status, value["error"]["code"].as_str()), (wanted, Some(code)), "{body}: {value}");
        assert!(message.contains(part), "`{part}` in {message}");
    }

    /// The data of server-sent events, as they come.
    pub fn events(&self, path: &str, body: &Value) -> impl Iterator<Item = String> + use<> {
        use std::io::BufRead as _;
        let sent = Self::agent()
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .send(body.to_string());
        let response = sent.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().ok()),
            (200, Some("text/event-stream"))
        );
        let lines = std::io::BufReader::new(response.into_body().into_reader()).lines();
        lines
            .map(|line| line.expect("a line"))
            .filter(|line| !line.is_empty())
            .map(|line| line.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {line}")).to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("a service that ends well");
            }
        }
    }
}
