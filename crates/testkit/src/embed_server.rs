//! A small HTTP server that plays an embeddings endpoint with all its faults.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

impl Call {
    pub fn texts(&self) -> Vec<String> {
        let texts = self.body["input"].as_array().expect("a list of texts");
        texts.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    }
}

/// What the server does with a request.
#[derive(Clone)]
pub enum Reply {
    /// The vectors of the texts, the last first, each with its index.
    Vectors,
    /// A status with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Vectors after so long.
    Late(Duration),
    /// Nothing, until the client goes.
    Never,
    /// The connection ends without an answer.
    HangUp,
    /// A good answer that ends in the middle.
    Half,
}

pub fn ok(body: impl Into<String>) -> Reply {
    Reply::Status(200, Vec::new(), body.into())
}

pub fn status(code: u16, body: impl Into<String>) -> Reply {
    Reply::Status(code, Vec::new(), body.into())
}

type Script = dyn Fn(usize, &Call) -> Reply + Send + Sync;

/// Listens until the test ends.
pub struct Server {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    script: Arc<Mutex<Arc<Script>>>,
}

/// The vector of a text: different for different texts, never zero.
pub fn vector(text: &str, dims: usize) -> Vec<f32> {
    let mut state =
        text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 0.999
    };
    (0..dims).map(|_| next()).collect()
}

pub fn answer(texts: &[String], dims: usize) -> String {
    let data: Vec<Value> =
        texts.iter().enumerate().map(|(i, t)| json!({"index": i, "embedding": vector(t, dims)})).collect();
    json!({"object": "list", "data": data.into_iter().rev().collect::<Vec<_>>(), "model": "m"}).to_string()
}

impl Server {
    /// Starts one whose replies go by the number of the call, from 0 on, and the call.
    pub fn start(script: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let (log, play) = (Arc::clone(&calls), Arc::clone(&script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, play) = (Arc::clone(&log), Arc::clone(&play));
                // A client that was killed is none of the server's business.
                std::thread::spawn(move || serve(&stream, &log, &play).ok());
            }
        });
        Self { url, calls, script }
    }

    /// Plays another script from now on, with its calls counted from 0.
    pub fn play(&self, script: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static) {
        self.take();
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
    }

    /// The calls since the last time, which are forgotten.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The texts of those calls, sorted.
    pub fn asked(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.take().iter().flat_map(Call::texts).collect();
        texts.sort();
        texts
    }

    /// Waits until all that clients sent before they were killed has been read.
    pub fn settle(&self) {
        let address = self.url.trim_start_matches("http://").trim_end_matches("/v1");
        // Connections are taken in order: when this one has ended, all earlier ones have their threads, which hold the list.
        let mut last = TcpStream::connect(address).expect("connected");
        last.shutdown(std::net::Shutdown::Write).expect("open");
        last.read_to_end(&mut Vec::new()).expect("ended");
        while Arc::strong_count(&self.calls) > 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn count(&self) -> usize {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<Call>>, play: &Mutex<Arc<Script>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let (mut length, mut authorization) = (0usize, None);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().expect("a length"),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = first.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let call = Call { path, authorization, body: serde_json::from_slice(&body).expect("JSON") };
        let number = {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(call.clone());
            log.len() - 1
        };
        let script = Arc::clone(&play.lock().unwrap_or_else(PoisonError::into_inner));
        let dims = call.body["dimensions"].as_u64().unwrap_or(4) as usize;
        let (code, headers, text) = match script(number, &call) {
            Reply::Vectors => (200, Vec::new(), answer(&call.texts(), dims)),
            Reply::Late(wait) => {
                std::thread::sleep(wait);
                (200, Vec::new(), answer(&call.texts(), dims))
            }
            Reply::Status(code, headers, text) => (code, headers, text),
            Reply::Never => return reader.read_to_end(&mut Vec::new()).map(drop),
            Reply::HangUp => return Ok(()),
            Reply::Half => {
                let text = answer(&call.texts(), dims);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                (&mut &*stream).write_all(head.as_bytes())?;
                return (&mut &*stream).write_all(&text.as_bytes()[..text.len() / 2]);
            }
        };
        let mut head =
            format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", text.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        (&mut &*stream).write_all(format!("{head}\r\n{text}").as_bytes())?;
    }
}
