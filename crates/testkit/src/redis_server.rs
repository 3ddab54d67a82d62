//! A real Redis server of a test's own, on a socket in a temporary folder.
//!
//! `SEMEME_REDIS=auto|require|off`: without `redis-server`, `auto` skips and says so, `require` fails; `off` always skips.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// A server that keeps every answered write, and is gone with the test.
pub struct Server {
    child: Child,
    home: tempfile::TempDir,
    settings: Vec<String>,
}

impl Server {
    /// A server with settings such as `--requirepass secret`, if there is one to be had.
    pub fn start(settings: &str) -> Option<Self> {
        let wish = std::env::var("SEMEME_REDIS").unwrap_or_else(|_| "auto".into());
        assert!(
            ["auto", "require", "off"].contains(&wish.as_str()),
            "SEMEME_REDIS is auto, require or off, got `{wish}`"
        );
        let home = tempfile::tempdir().expect("a folder");
        let settings: Vec<String> = settings.split_whitespace().map(str::to_owned).collect();
        let started = if wish == "off" { Err("SEMEME_REDIS=off".into()) } else { spawn(home.path(), &settings) };
        match started {
            Ok(child) => Some(Self { child, home, settings }),
            Err(why) if wish == "require" => panic!("SEMEME_REDIS=require: {why}"),
            Err(why) => {
                let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
                println!("skipped a Redis test ({count} so far): {why}");
                None
            }
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.home.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// As a loss of power to the process alone: nothing is flushed or said.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// On the files that it left.
    pub fn start_again(&mut self) {
        self.child = spawn(self.home.path(), &self.settings).expect("started before");
    }

    /// Stops the process where it is, or lets it go on.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(done.expect("kill").success());
    }

    /// A command from beside the library.
    pub fn say<T: redis::FromRedisValue>(&self, command: &[&[u8]]) -> T {
        let mut connection = redis::Client::open(self.url()).expect("a URL").get_connection().expect("a server");
        let mut cmd = redis::Cmd::new();
        for part in command {
            cmd.arg(*part);
        }
        cmd.query(&mut connection).expect("answered")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(home: &Path, settings: &[String]) -> Result<Child, String> {
    let socket = home.join("redis.sock");
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    command.arg("--unixsocket").arg(&socket).arg("--dir").arg(home).args(settings).stdin(Stdio::null());
    let log = std::fs::File::create(home.join("log")).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    let mut child = command.spawn().map_err(|e| format!("redis-server cannot be started: {e}"))?;
    let begun = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        if child.try_wait().expect("asked").is_some() || begun.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            panic!("redis-server ended: {}", std::fs::read_to_string(home.join("log")).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}
