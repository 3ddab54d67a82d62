//! `serve`: a run's folder over HTTP, signals, and kills under writing clients.

use crate::cli::{Desk, Run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A service that was started by the program; killed when dropped.
pub(crate) struct Served {
    child: Child,
    address: String,
}

impl Served {
    /// Starts `serve` with these arguments, and waits until it listens.
    pub(crate) fn start(desk: &Desk, args: &str) -> Self {
        let mut command = desk.command(&format!("serve {args} --address 127.0.0.1:0 --json"));
        command.stdout(Stdio::piped()).stderr(fs::File::create(desk.path("serve.log")).expect("a log"));
        let mut child = command.spawn().expect("started");
        let mut told = String::new();
        for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
            let line = line.expect("a line");
            told.push_str(&line);
            if line == "}" {
                break;
            }
        }
        let log = || fs::read_to_string(desk.path("serve.log")).expect("a log");
        let value: Value = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}{}", log()));
        let address = value["address"].as_str().expect("an address").to_owned();
        Self { child, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.ended()
    }

    /// Status and body of an answer; nothing if the service was gone before it had answered.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        ask(&self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, "", b"").expect("an answer");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.ask("POST", path, "", body.to_string().as_bytes()).expect("an answer");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    /// Sends a signal by the name that `kill` has for it.
    fn signal(&self, number: i32) {
        let process = i32::try_from(self.child.id()).expect("a number");
        // SAFETY: it is our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(process, number) }, 0);
    }

    /// The exit code, once it ends by itself.
    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("asked") {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn ask(address: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let said = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
    let body = answer.split_off(end + 4);
    // An answer that was cut is none.
    (body.len() == said).then_some(())?;
    Some((head.get(9..12)?.parse().ok()?, body))
}

fn run_folder() -> Desk {
    let desk = Desk::new();
    desk.items("rows.npy", 300);
    let items: String = (0..300)
        .map(|i| format!("{{\"id\":\"p{i}\",\"title\":\"package number {i}\",\"text\":\"about {i}\"}}\n"))
        .collect();
    desk.file("items.jsonl", items.as_bytes());
    let events: String = (0..40)
        .map(|user| {
            format!(
                "{{\"user\":\"u{user}\",\"items\":[{}]}}\n",
                (0..8).map(|t| format!("\"p{}\"", (user + t) % 60)).collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    desk.file("events.jsonl", events.as_bytes());
    let config = "output = \"run\"\n\
        [prep]\nsource = \"items.jsonl\"\ntemplate = \"{title}\"\ntitle = \"title\"\n\
        [embed]\nvectors = \"rows.npy\"\nkeys = \"items.jsonl\"\n\
        [train]\ncodebook_size = 8\nlevels = 3\n\
        [recommend]\ninteractions = \"events.jsonl\"\nvectors = true\ndims = 16\nepochs = 1\n";
    desk.file("sememe.toml", config.as_bytes());
    desk.run("run --quiet").ok();
    desk
}

#[test]
fn a_runs_folder_is_served_until_it_is_told_to_stop() {
    let desk = run_folder();
    let mut served = Served::start(&desk, "run");
    let (status, info) = served.get("/v1/info");
    assert_eq!((status, info["items"].as_u64(), info["style"].as_str()), (200, Some(300), Some("animind")), "{info}");
    for what in ["encode", "assign", "search_words", "recommend"] {
        assert_eq!(info["can"][what], true, "{info}");
    }
    let (_, item) = served.get("/v1/items/p7");
    assert_eq!((item["title"].as_str(), item["text"].as_str()), (Some("package number 7"), Some("package number 7")));
    let stored = desk.run(&format!("lookup {} p7 --json", store(&desk))).json();
    assert_eq!(item["codes"], stored["found"][0]["codes"]);
    let (_, found) = served.post("/v1/search", &json!({ "words": "number 29", "limit": 3 }));
    assert_eq!(found["items"][0]["key"], "p29");
    let (status, next) = served.post("/v1/recommend", &json!({ "history": ["p1", "p2"], "count": 5 }));
    assert_eq!((status, next["items"].as_array().map(Vec::len)), (200, Some(5)), "{next}");
    let (_, like) = served.post("/v1/search", &json!({ "like": "p3", "limit": 2 }));
    assert_eq!(like["by"], "distance");
    // SIGHUP takes up what was assigned by others meanwhile.
    let row = vec![0.25f32; 384];
    let (_, given) =
        served.post("/v1/assign", &json!({ "items": [{ "key": "later", "row": row, "title": "came later" }] }));
    served.signal(libc::SIGHUP);
    let begun = Instant::now();
    while served.get("/v1/info").1["generation"] != 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no new generation");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (_, later) = served.get("/v1/items/later");
    assert_eq!((&later["id"], later["title"].as_str()), (&given["items"][0]["id"], Some("came later")));
    assert_eq!(served.stop(), Some(0));
    let log = fs::read_to_string(desk.path("serve.log")).unwrap();
    assert!(log.contains("answered") && log.contains("route=\"/v1/items/{key}\""), "{log}");
    // What clients send is not in it.
    assert!(!log.contains("p7") && !log.contains("later") && !log.contains("number 29"), "{log}");
    // What was given out is still there.
    let again = Served::start(&desk, "run --log-content");
    assert_eq!(again.get("/v1/items/later").1["id"], given["items"][0]["id"]);
    assert!(fs::read_to_string(desk.path("serve.log")).unwrap().contains("/v1/items/later"));
}

#[test]
fn who_is_told_to_stop_twice_does_not_wait() {
    let desk = Desk::fitted();
    let mut served = Served::start(&desk, "--codec codec.safetensors --stop-seconds 60");
    // Its body is not here yet, so it has begun and cannot end.
    let mut begun = TcpStream::connect(served.address()).expect("a connection");
    begun.write_all(b"POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").expect("sent");
    while !figure(&served, "sememe_requests_in_flight 2") {
        std::thread::sleep(Duration::from_millis(10));
    }
    served.signal(libc::SIGTERM);
    while served.ask("GET", "/readyz", "", b"").map(|(status, _)| status) != Some(503) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(served.child.try_wait().expect("asked").is_none(), "it left before what was begun was finished");
    served.signal(libc::SIGINT);
    assert_eq!(served.ended(), Some(130));
    let log = fs::read_to_string(desk.path("serve.log")).expect("a log");
    assert!(log.contains("told to stop again"), "{log}");
}

/// Whether a line stands among the service's figures.
fn figure(served: &Served, line: &str) -> bool {
    let (_, body) = served.ask("GET", "/metrics", "", b"").expect("figures");
    String::from_utf8_lossy(&body).lines().any(|l| l == line)
}

/// Where the run keeps its IDs.
fn store(desk: &Desk) -> String {
    let entries = fs::read_dir(desk.path("run/assign")).expect("a folder").map(|e| e.expect("entry").path());
    let store = entries.into_iter().find(|path| path.extension().is_some_and(|e| e == "sqlite")).expect("a store");
    store.display().to_string()
}

#[test]
fn tokens_come_from_a_file_or_from_the_environment() {
    let desk = Desk::fitted();
    desk.file("tokens.txt", b"# mine\nsecret-of-mine\n").file("short.txt", b"abc\n");
    let served = Served::start(&desk, "--codec codec.safetensors --tokens tokens.txt");
    assert_eq!(served.get("/v1/info").0, 401);
    let (status, _) = served.ask("GET", "/v1/info", "authorization: Bearer secret-of-mine\r\n", b"").unwrap();
    assert_eq!(status, 200);
    desk.run("serve --codec codec.safetensors --tokens short.txt").fails(2, &["`--tokens`", "3 characters"]);
    let mut from_outside = desk.command("serve --codec codec.safetensors");
    let run: Run = from_outside.env("SEMEME_TOKENS", "a b").output().expect("run").into();
    run.fails(2, &["`SEMEME_TOKENS`"]);
}

#[test]
fn what_serve_refuses() {
    let desk = Desk::fitted();
    desk.run("serve").fails(2, &["required arguments"]);
    desk.run("serve none").fails(3, &["state.json"]);
    desk.run("serve --codec none.safetensors").fails(3, &["none.safetensors"]);
    desk.run("serve --codec codec.safetensors --ids a --store b").fails(2, &["cannot be used with"]);
    desk.run("serve --codec codec.safetensors --rows 0").fails(2, &["`--rows`: expected at least 1"]);
    desk.run("serve --codec codec.safetensors --seconds nan").fails(2, &["`--seconds`"]);
    desk.run("serve --codec codec.safetensors --model name").fails(2, &["`--model` needs `--url`"]);
    desk.run("serve --codec codec.safetensors --vectors items.npy").fails(3, &["300 rows, but there are 0 items"]);
    desk.run("serve --codec codec.safetensors --address nowhere").fails(3, &["cannot listen at `nowhere`"]);
    let served = Served::start(&desk, "--codec codec.safetensors");
    let taken = format!("serve --codec codec.safetensors --address {}", served.address);
    desk.run(&taken).fails(3, &["cannot listen at", "in use"]);
}

/// IDs that were answered are there after a kill, once each, and as they were.
#[test]
fn a_killed_service_loses_and_doubles_nothing() {
    let desk = Desk::fitted();
    let rounds: usize = std::env::var("SEMEME_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let told: Mutex<BTreeMap<String, Value>> = Mutex::default();
    let mut cut = 0;
    for round in 0..rounds {
        let mut served = Served::start(&desk, "--codec codec.safetensors --store ids.sqlite");
        let over = AtomicBool::new(false);
        let cut_here = std::thread::scope(|threads| {
            let clients: Vec<_> = (0..8)
                .map(|client| {
                    let (address, over, told) = (served.address.clone(), &over, &told);
                    threads.spawn(move || write_until(&address, over, told, round, client))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(40 + 37 * (round as u64 % 11)));
            served.child.kill().expect("killed");
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().expect("a client")).sum::<usize>()
        });
        served.child.wait().expect("gone");
        cut += cut_here;
    }
    let told = told.into_inner().unwrap();
    assert!(cut > 0 && !told.is_empty(), "uninformative: {cut} requests cut, {} items", told.len());
    let served = Served::start(&desk, "--codec codec.safetensors --store ids.sqlite");
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (key, item) in &told {
        let (status, found) = served.get(&format!("/v1/items/{key}"));
        assert_eq!(
            (status, &found["id"], &found["codes"]),
            (200, &item["id"], &item["codes"]),
            "{key} was lost or changed"
        );
        let other = names.insert(item["id"].to_string(), key);
        assert!(other.is_none(), "{key} and {other:?} have one ID");
    }
}

/// Gives items IDs until the service is gone; some again, some that other clients ask for too. Says how many requests were cut.
fn write_until(
    address: &str,
    over: &AtomicBool,
    told: &Mutex<BTreeMap<String, Value>>,
    round: usize,
    client: usize,
) -> usize {
    for i in 0.. {
        let own = |n: usize| json!({ "key": format!("r{round}c{client}i{i}n{n}"), "row": row(round + i + n) });
        let shared = json!({ "key": format!("shared{}", (round + i) % 20), "row": row(i % 20) });
        let items = json!({ "items": [own(0), own(1), shared] });
        match ask(address, "POST", "/v1/assign", "", items.to_string().as_bytes()) {
            Some((200, body)) => {
                let answer: Value = serde_json::from_slice(&body).expect("JSON");
                let mut told = told.lock().expect("no client failed");
                for item in answer["items"].as_array().expect("a list") {
                    let key = item["key"].as_str().expect("a key").to_owned();
                    let before = told.insert(key.clone(), item.clone());
                    assert!(before.is_none_or(|b| b["id"] == item["id"]), "{key} changed to {item}");
                }
            }
            Some((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            None if over.load(Ordering::Relaxed) => return 1,
            // Killed, but not told so yet.
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    0
}

/// Few different rows, so that items share their codes.
fn row(number: usize) -> Vec<f32> {
    (0..384).map(|i| ((i * 7 + number * 13) % 29) as f32 / 29.0 - 0.5).collect()
}
