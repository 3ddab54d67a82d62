//! A service over made-up items, and a client.

use sememe::ids::Style;
use sememe::ids::store::{SqliteStore, Store as _};
use sememe::io::RowsWriter;
use sememe::{Codec, Codes, Device, Matrix, RqKMeans};
use sememe_serve::Handle;
use sememe_serve::SpellingSource;
use sememe_serve::{Bound, Settings, Sources};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

pub const ITEMS: usize = 300;
pub const DIMS: usize = 6;
pub const LEVELS: usize = 3;

/// Rows without a pattern, the same at every run.
pub fn made_up(rows: usize, dims: usize, seed: u64) -> Matrix {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    Matrix::from_vec(rows, dims, (0..rows * dims).map(|_| next()).collect()).expect("rows")
}

pub fn train(rows: &Matrix, seed: u64, to: &Path) -> Codec {
    let settings = RqKMeans { codebook_sizes: vec![5; LEVELS], seed, ..RqKMeans::default() };
    let codec = Codec::train(rows, &settings, &Device::cpu(), &()).expect("a codec");
    codec.save(to).expect("written");
    codec
}

/// A folder with a codec, a store, items and vectors.
pub struct Desk {
    place: tempfile::TempDir,
    pub rows: Matrix,
    pub codec: Codec,
    pub codes: Codes,
}

impl Desk {
    pub fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let rows = made_up(ITEMS, DIMS, 1);
        let codec = train(&rows, 0, &place.path().join("codec.safetensors"));
        let codes = codec.encode(&rows).expect("codes");
        let mut items = String::new();
        for i in 0..ITEMS {
            let colour = ["red", "green", "Blåes"][i % 3];
            let _ = writeln!(
                items,
                "{{\"id\":\"item/{i}\",\"title\":\"{colour} thing {}\",\"text\":\"text of {i}\"}}",
                i / 3
            );
        }
        fs::write(place.path().join("items.jsonl"), items).expect("written");
        let mut writer = RowsWriter::create(place.path().join("rows.npy"), ITEMS, DIMS).expect("rows");
        writer.write(rows.as_slice()).expect("written");
        writer.finish().expect("written");
        let desk = Self { place, rows, codec, codes };
        let keys: Vec<String> = (0..ITEMS).map(key).collect();
        let asked: Vec<(&str, &[u32])> =
            keys.iter().enumerate().map(|(i, key)| (key.as_str(), desk.codes.row(i))).collect();
        desk.store().assign(&asked).expect("IDs");
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn store(&self) -> SqliteStore {
        SqliteStore::open(self.path("ids.sqlite"), self.codec.content_hash(), LEVELS).expect("a store")
    }

    pub fn sources(&self) -> Sources {
        Sources {
            codec: Some(self.path("codec.safetensors")),
            store: Some(self.path("ids.sqlite")),
            items: Some(self.path("items.jsonl")),
            vectors: Some(self.path("rows.npy")),
            spelling: Some(SpellingSource::of(Style::LcRec)),
            ..Sources::default()
        }
    }

    pub fn serve(&self) -> Service {
        Service::start(self.sources(), Settings::default())
    }

    /// The row of an item, as a JSON list.
    pub fn row(&self, item: usize) -> Value {
        serde_json::json!(self.rows.row(item))
    }
}

pub fn key(item: usize) -> String {
    format!("item/{item}")
}

/// A running service; dropped, it stops.
pub struct Service {
    pub address: SocketAddr,
    pub handle: Handle,
    thread: Option<JoinHandle<()>>,
    pub token: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    /// Whether it is an error of this code, of the one shape, that says this.
    #[track_caller]
    pub fn fails(&self, status: u16, code: &str, part: &str) {
        let body = self.json();
        let error = &body["error"];
        assert_eq!((self.status, error["code"].as_str()), (status, Some(code)), "{body}");
        let said =
            format!("{} {}", error["message"].as_str().expect("a message"), error["hint"].as_str().unwrap_or_default());
        assert!(said.contains(part), "`{part}` in `{said}`");
        let fields: Vec<&String> = error.as_object().expect("an object").keys().collect();
        assert!(fields.iter().all(|field| ["code", "message", "hint"].contains(&field.as_str())), "{body}");
        let again = matches!(status, 429 | 503);
        assert_eq!(self.header("retry-after").is_some(), again, "{:?}", self.headers);
    }
}

impl Service {
    pub fn start(sources: Sources, settings: Settings) -> Self {
        let bound = Bound::new(sources, settings, "127.0.0.1:0").expect("a service");
        let (address, handle) = (bound.address(), bound.handle());
        let thread = std::thread::spawn(move || bound.run().expect("finished"));
        Self { address, handle, thread: Some(thread), token: None }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn agent() -> ureq::Agent {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into()
    }

    fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut response = response.expect("an answer");
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: response.body_mut().with_config().limit(1 << 30).read_to_vec().expect("a body"),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Self::agent().get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::answer(request.call())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = Self::agent().post(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::answer(request.send(body))
    }

    /// A connection that speaks for itself.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream
    }

    /// All that is answered to these bytes until the connection ends.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The service may have hung up before all of it was sent.
        let _ = stream.write_all(bytes);
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Waits until the service has ended by itself.
    pub fn join(mut self) {
        self.thread.take().expect("running").join().expect("a service that ends well");
    }
}

impl Drop for Service {
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
