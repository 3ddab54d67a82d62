//! A scheduler and two executors, each a process of its own, killed while they work.

use crate::support::{DIMS, Kept, codec, codes_by_key, expected, keys, rows, saved, text, write_items};
use sememe::Matrix;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Ports that nobody has now. Executors need two in a row.
fn port() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").expect("port");
        let port = first.local_addr().expect("address").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two ports in a row are free");
}

/// A cluster of two executors with a thread each, gone when this is dropped.
pub struct Cluster {
    folder: PathBuf,
    scheduler: (Child, u16),
    executors: Vec<(Child, u16)>,
    starts: usize,
}

fn log(folder: &Path, name: &str) -> Stdio {
    File::options().create(true).append(true).open(folder.join(name)).expect("log").into()
}

impl Cluster {
    pub fn start(folder: &Path) -> Self {
        let port = port();
        let scheduler = Command::new(env!("CARGO_BIN_EXE_sememe-scheduler"))
            .args(["--port", &port.to_string(), "--executor-timeout", "6", "--log", "info"])
            .stdout(Stdio::null())
            .stderr(log(folder, "scheduler.log"))
            .spawn()
            .expect("scheduler");
        let mut cluster =
            Self { folder: folder.to_path_buf(), scheduler: (scheduler, port), executors: Vec::new(), starts: 0 };
        cluster.reach(port);
        for _ in 0..2 {
            let executor = cluster.executor();
            cluster.executors.push(executor);
        }
        cluster
    }

    fn reach(&self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody listens on {port}, see {:?}", self.folder);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn executor(&mut self) -> (Child, u16) {
        let port = port();
        let place = self.folder.join(format!("work-{}", self.starts));
        self.starts += 1;
        let child = Command::new(env!("CARGO_BIN_EXE_sememe-executor"))
            .args(["--scheduler", &format!("127.0.0.1:{}", self.scheduler.1), "--port", &port.to_string()])
            .args(["--threads", "1", "--heartbeat", "2", "--memory", "1GiB", "--log", "info"])
            .arg("--work-dir")
            .arg(place)
            .stdout(Stdio::null())
            .stderr(log(&self.folder, &format!("executor-{port}.log")))
            .spawn()
            .expect("executor");
        self.reach(port);
        (child, port)
    }

    pub fn url(&self) -> String {
        format!("df://127.0.0.1:{}", self.scheduler.1)
    }

    /// Kills an executor as the system does that runs out of memory, and starts another in its place.
    pub fn kill(&mut self, which: usize) {
        let (mut child, _) = self.executors.remove(which);
        child.kill().expect("killed");
        child.wait().expect("gone");
        let executor = self.executor();
        self.executors.push(executor);
    }

    pub fn begin(&self, arguments: &[&str]) -> Child {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sememe-cluster"));
        program.args(arguments).args(["--scheduler", &self.url(), "--json"]);
        program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("program")
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.begin(arguments).wait_with_output().expect("output")
    }

    /// What the log of every process says, for a test that failed.
    pub fn logs(&self) -> String {
        let logs = std::fs::read_dir(&self.folder).expect("folder").flatten();
        let logs = logs.filter(|entry| entry.path().extension().is_some_and(|e| e == "log"));
        logs.map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            format!("== {:?}\n{}\n", entry.file_name(), tail.join("\n"))
        })
        .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (child, _) in self.executors.iter_mut().chain([&mut self.scheduler]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn succeeded(output: &Output, cluster: &Cluster) -> serde_json::Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", cluster.logs());
    serde_json::from_slice(&output.stdout).expect("json")
}

/// How many kills a test makes.
pub fn kills() -> usize {
    std::env::var("SEMEME_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(2)
}

#[test]
fn codes_of_a_cluster_equal_the_librarys_and_errors_arrive_whole() {
    let folder = tempfile::tempdir().expect("folder");
    let cluster = Cluster::start(folder.path());
    let (rows, keys) = (rows(6000, 1), keys(6000));
    let items = folder.path().join("items");
    write_items(&items, &rows, &keys, 3, Kept::Fixed32);
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    let out = folder.path().join("out");
    let (items_text, out_text) = (text(&items), text(&out));
    let encode = ["encode", &items_text, "--codec", &place, "--key", "item", "-o", &out_text];
    for partitions in ["1", "3", "8"] {
        let report = succeeded(&cluster.run(&[&encode[..], &["--partitions", partitions]].concat()), &cluster);
        assert_eq!(report["rows"], 6000);
        assert_eq!(codes_by_key(&out, "item"), expected(&codec, &rows, &keys));
    }

    let ids = text(&folder.path().join("ids"));
    let assign = ["assign", &items_text, "--codec", &place, "--key", "item", "--ids", &ids];
    assert_eq!(succeeded(&cluster.run(&assign), &cluster)["new"], 6000);
    assert_eq!(succeeded(&cluster.run(&assign), &cluster)["new"], 0);

    // A row that no codec takes, in words of ours and with its key.
    let mut values = rows.as_slice().to_vec();
    values[4321 * DIMS] = f32::NAN;
    write_items(&items, &Matrix::from_vec(6000, DIMS, values).expect("shape"), &keys, 3, Kept::Fixed32);
    let failed = cluster.run(&encode);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(3), "{said}");
    assert!(said.starts_with("error: 1 of ") && said.contains(&keys[4321]), "{said}");
    assert!(!said.contains("Job") && !said.contains("Execution") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_codec_that_changes_under_its_name_fails_the_work_with_both_hashes() {
    let folder = tempfile::tempdir().expect("folder");
    let cluster = Cluster::start(folder.path());
    let (rows, keys) = (rows(500, 2), keys(500));
    write_items(&folder.path().join("items"), &rows, &keys, 1, Kept::Fixed32);
    let first = codec(&rows);
    let place = saved(&first, folder.path(), "codec");
    let other = sememe::RqKMeans { codebook_sizes: vec![4], ..sememe::RqKMeans::default() };
    let other = sememe::Codec::train(&rows, &other, &sememe::Device::cpu(), &()).expect("trained");
    // As an executor sees it that has an older file of the same name: asked for one hash, it finds another.
    other.save(&place).expect("saved");
    let found = crate::support::block(async {
        let options = sememe_cluster::SessionOptions { scheduler: Some(cluster.url()), ..Default::default() };
        let session = sememe_cluster::Session::open(&options).await.expect("session");
        let items = text(&folder.path().join("items/items-0.parquet"));
        session.context().register_parquet("items", &items, Default::default()).await.expect("items");
        let sql = format!("select semantic_id(embedding, '{place}', '{}') from items", first.content_hash());
        session.run(session.context().sql(&sql).await.expect("query"), &()).await
    });
    let said = crate::support::error(found);
    assert!(said.contains(first.content_hash()) && said.contains(other.content_hash()), "{said}");
}

#[test]
fn executors_killed_in_mid_work_change_no_code() {
    let folder = tempfile::tempdir().expect("folder");
    let mut cluster = Cluster::start(folder.path());
    let n = 150_000;
    let (rows, keys) = (rows(n, 3), keys(n));
    let items = folder.path().join("items");
    write_items(&items, &rows, &keys, 6, Kept::Fixed32);
    // Slow enough that kills hit: a beam of many prefixes.
    let config = sememe::RqKMeans {
        codebook_sizes: vec![64; 4],
        iterations: 3,
        max_training_rows: Some(4000),
        refine: Some(sememe::Refine { rounds: 1, beam: 32 }),
        ..sememe::RqKMeans::default()
    };
    let codec = sememe::Codec::train(&rows, &config, &sememe::Device::cpu(), &()).expect("trained");
    let place = saved(&codec, folder.path(), "codec");
    let want = expected(&codec, &rows, &keys);
    let mut random = sememe::rng::stream(3, "kills", 0);
    let (items, out) = (text(&items), folder.path().join("out"));
    let out_text = text(&out);
    let encode = ["encode", &items, "--codec", &place, "--key", "item", "-o", &out_text, "--partitions", "12"];
    let begun = Instant::now();
    let whole = succeeded(&cluster.run(&encode), &cluster);
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(whole["rows"], n);
    for kill in 0..kills() {
        let running = cluster.begin(&encode);
        std::thread::sleep(Duration::from_secs_f64(seconds * (0.1 + 0.8 * random.uniform())));
        cluster.kill(random.below(2) as usize);
        let output = running.wait_with_output().expect("output");
        let report = succeeded(&output, &cluster);
        assert_eq!(report["rows"], n, "kill {kill}");
        assert_eq!(codes_by_key(&out, "item"), want, "kill {kill}");
        let left: Vec<_> = std::fs::read_dir(&out).expect("folder").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len() as u64, report["files"].as_u64().expect("files"), "kill {kill}: {left:?}");
    }
}
