//! A headless Chromium that opens a page from a file and is driven over a pipe, as its developer tools drive it.
//!
//! `SEMEME_CHROMIUM` names the program. Without it what needs one skips, and says so.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Nothing that is asked of it takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Chromium {
    child: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// What it told unasked.
    events: Vec<Value>,
    folder: tempfile::TempDir,
}

impl Chromium {
    /// Starts it, with a profile of its own and one empty tab.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("SEMEME_CHROMIUM").filter(|program| !program.is_empty()) else {
            eprintln!("skipped: SEMEME_CHROMIUM names no Chromium");
            return None;
        };
        let folder = tempfile::tempdir().expect("folder");
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&to, &from]).status().expect("mkfifo").success());
        // The pipe of the developer tools is file 3 for what they say and file 4 for the answers.
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$PAGE_TO\" 4>\"$PAGE_FROM\""])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-pipe", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .env("PAGE_TO", &to)
            .env("PAGE_FROM", &from)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let to = File::options().write(true).open(to).expect("pipe");
        let answers = BufReader::new(File::open(from).expect("pipe"));
        let (send, from) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0) {
                let Ok(message) = message else { return };
                if send.send(serde_json::from_slice(&message).expect("JSON")).is_err() {
                    return;
                }
            }
        });
        let mut this = Self { child, to, from, next: 0, session: None, events: Vec::new(), folder };
        let target = this.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = this.ask("Target.attachToTarget", attach);
        this.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            this.ask(domain, json!({}));
        }
        Some(this)
    }

    /// One command and its answer.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("a Chromium that listens");
        loop {
            let answer =
                self.from.recv_timeout(PATIENCE).expect("an answer of the Chromium that SEMEME_CHROMIUM names");
            if answer["id"].as_u64() == Some(self.next) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub fn text(&mut self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_else(|| panic!("{expression} is a text")).to_owned()
    }

    /// Opens a page from a file, `#hash` and all, and waits until `ready` is true in it.
    pub fn open(&mut self, page: &str, hash: &str, ready: &str) {
        let path = self.folder.path().join("page.html");
        std::fs::write(&path, page).expect("write");
        self.events.clear();
        self.ask("Page.navigate", json!({ "url": "about:blank" }));
        self.ask("Page.navigate", json!({ "url": format!("{}{hash}", url(&path)) }));
        let begun = Instant::now();
        while self.value(&format!("document.readyState === 'complete' && Boolean({ready})")) != json!(true) {
            assert!(begun.elapsed() < PATIENCE, "never {ready}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types a text into the box, in place of what is there.
    pub fn type_text(&mut self, text: &str) {
        self.value("document.getElementById('query').select()");
        if text.is_empty() {
            self.key("Backspace", 8, "");
        } else {
            self.ask("Input.insertText", json!({ "text": text }));
        }
    }

    /// Presses a key.
    pub fn key(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.ask("Input.dispatchKeyEvent", params);
        }
    }

    /// Fails if the page threw, complained or asked for anything but itself since it was opened.
    pub fn was_quiet(&mut self) {
        let path = url(&self.folder.path().join("page.html"));
        for event in &self.events {
            let params = &event["params"];
            match event["method"].as_str() {
                Some("Network.requestWillBeSent") => {
                    let asked = params["request"]["url"].as_str().unwrap_or_default();
                    assert!(asked == "about:blank" || asked.starts_with(&path), "the page asked for {asked}");
                }
                Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => {
                    panic!("the page complains: {params}")
                }
                _ => {}
            }
        }
    }
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked to close it takes its helpers along; the kill is for one that does not listen.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
