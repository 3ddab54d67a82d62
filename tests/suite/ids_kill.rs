//! Processes that are killed at any time, and a server that is: no ID twice, none changed, none lost that was told.
//!
//! Small by default; at full size `SEMEME_KILLS=50 SEMEME_KILL_ITEMS=100000 cargo test --release --features redis ids_kill`. Eight
//! processes assign items, each its own window of a common pool, so that every item is asked for by two. They write down
//! what they are told, as a caller would, and are killed (SIGKILL) at random moments that are spread over the work, then started
//! again a little before the point that they had reached. In the end everything that was ever written down is held against the
//! store.

use sememe::ids::store::{self, StoredId};
use sememe::rng;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WORKERS: usize = 8;
const BATCH: usize = 250;
const HASH: &str = "hash of the codec";

/// Bytes of a line: item, three codes, counter.
const LINE: usize = 33;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

fn key(item: usize) -> String {
    format!("item {item:07}")
}

/// Crowded: hundreds of items on the same codes at full size.
fn codes(item: usize) -> [u32; 3] {
    let mixed = (item as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    [(mixed % 16) as u32, (mixed / 16 % 16) as u32, (mixed / 256 % 4) as u32]
}

fn line(item: usize, id: &StoredId) -> String {
    format!("{item:08} {:03} {:03} {:03} {:010} \n", id.codes[0], id.codes[1], id.codes[2], id.counter)
}

/// Not a test by itself: what the tests below start as processes of their own.
#[test]
fn worker() {
    let Ok(order) = std::env::var("SEMEME_KILL_WORKER") else { return };
    let parts: Vec<&str> = order.split('|').collect();
    let [place, told, first, start, count, pool] = parts[..] else { panic!("{order}") };
    let [first, start, count, pool] = [first, start, count, pool].map(|n| n.parse::<usize>().expect("a number"));
    // A server that was just killed is back in a moment.
    let mut tries =
        (0..200).map(|_| store::open(place, HASH, 3).inspect_err(|_| std::thread::sleep(Duration::from_millis(100))));
    let mut store = tries.find(Result::is_ok).expect("200 tries").expect("a store");
    // How long a busy machine takes is no matter here.
    store.set_patience(Duration::from_secs(900)).expect("a store");
    let mut told = File::create(told).expect("a file");
    for from in (start..count).step_by(BATCH) {
        let items: Vec<usize> = (from..count.min(from + BATCH)).map(|i| (first + i) % pool).collect();
        let keys: Vec<String> = items.iter().map(|item| key(*item)).collect();
        let codes: Vec<[u32; 3]> = items.iter().map(|item| codes(*item)).collect();
        let batch: Vec<(&str, &[u32])> = keys.iter().zip(&codes).map(|(k, c)| (k.as_str(), &c[..])).collect();
        let given = store.assign(&batch).expect("assigned");
        let lines: String = items.iter().zip(&given).map(|(item, given)| line(*item, &given.id)).collect();
        told.write_all(lines.as_bytes()).expect("written");
    }
}

/// One of the processes, and what it and those before it in its place wrote down.
struct Worker {
    number: usize,
    child: Child,
    start: usize,
    told: Vec<PathBuf>,
}

struct Scene<'a> {
    place: &'a str,
    folder: &'a Path,
    count: usize,
    pool: usize,
}

impl Scene<'_> {
    fn spawn(&self, number: usize, start: usize, file: &Path) -> Child {
        let first = number * self.pool / WORKERS;
        let order = format!("{}|{}|{first}|{start}|{}|{}", self.place, file.display(), self.count, self.pool);
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["ids_kill::worker", "--exact", "--nocapture"]).env("SEMEME_KILL_WORKER", order);
        let log = File::create(self.folder.join(format!("log{number}"))).expect("a log");
        command.stdout(Stdio::null()).stderr(log).spawn().expect("started")
    }

    fn start(&self, number: usize) -> Worker {
        let file = self.folder.join(format!("told-{number}-0"));
        Worker { number, child: self.spawn(number, 0, &file), start: 0, told: vec![file] }
    }

    /// Kills a process and starts it again, a little before where it was; says whether it was at work.
    fn kill(&self, worker: &mut Worker) -> bool {
        let busy = worker.child.try_wait().expect("asked").is_none();
        worker.child.kill().expect("killed");
        worker.child.wait().expect("gone");
        let at = if busy { worker.at() } else { 0 };
        worker.start = at.saturating_sub(2 * BATCH + 17);
        let file = self.folder.join(format!("told-{}-{}", worker.number, worker.told.len()));
        worker.child = self.spawn(worker.number, worker.start, &file);
        worker.told.push(file);
        busy
    }

    /// Holds all that was written down against each other and against the store.
    fn judge(&self, workers: &[Worker]) {
        let mut told: HashMap<usize, StoredId> = HashMap::new();
        let mut lines = 0usize;
        for file in workers.iter().flat_map(|w| &w.told) {
            // A process that is killed at once has not made its file.
            let bytes = std::fs::read(file).unwrap_or_default();
            for line in bytes.chunks_exact(LINE) {
                let text = std::str::from_utf8(line).expect("text");
                let n: Vec<u32> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
                let id = StoredId { codes: n[1..4].to_vec(), counter: n[4] };
                let before = told.insert(n[0] as usize, id.clone());
                assert!(before.as_ref().is_none_or(|b| *b == id), "item {} was told {before:?}, then {id:?}", n[0]);
                lines += 1;
            }
        }
        assert_eq!(told.len(), self.pool, "every item was told its ID");
        let mut owners: HashMap<&StoredId, usize> = HashMap::new();
        for (item, id) in &told {
            assert_eq!(id.codes, codes(*item));
            let other = owners.insert(id, *item);
            assert!(other.is_none(), "items {other:?} and {item} were both told {id:?}");
        }
        let mut store = store::open_existing(self.place).expect("a store");
        let items: Vec<usize> = (0..self.pool).collect();
        for part in items.chunks(10_000) {
            let keys: Vec<String> = part.iter().map(|item| key(*item)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (item, id) in part.iter().zip(store.get(&keys).expect("read")) {
                assert_eq!(id.as_ref(), told.get(item), "item {item}");
            }
        }
        assert_eq!(store.count().expect("read"), self.pool as u64);
        let listed = store.with_prefix(&[], usize::MAX).expect("read");
        assert_eq!(listed.len(), self.pool);
        assert!(listed.windows(2).all(|pair| pair[0].0 < pair[1].0), "one item an ID");
        // Without deletions no counter is left out, whoever was killed when.
        for same in listed.chunk_by(|a, b| a.0.codes == b.0.codes) {
            assert!(
                same.iter().enumerate().all(|(i, (id, _))| id.counter as usize == i),
                "a gap on {:?}",
                same[0].0.codes
            );
        }
        println!("{lines} answers for {} items: 0 duplicates, 0 changed, 0 lost", self.pool);
    }
}

impl Worker {
    /// How far it has got.
    fn at(&self) -> usize {
        let bytes = std::fs::metadata(self.told.last().expect("one")).map_or(0, |m| m.len());
        self.start + bytes as usize / LINE
    }
}

/// Runs everything; `strike` is called at moments spread over the work, and says whether somebody was at work.
fn survive(name: &str, place: &str, mut strike: impl FnMut(&Scene, &mut [Worker], &mut rng::Stream) -> bool) {
    let (kills, count) = (number("SEMEME_KILLS", 6), number("SEMEME_KILL_ITEMS", 1500));
    let folder = tempfile::tempdir().expect("a folder");
    let scene = Scene { place, folder: folder.path(), count, pool: (count * WORKERS / 2).max(1) };
    let begun = Instant::now();
    let mut stream = rng::stream(number("SEMEME_KILL_SEED", 1) as u64, "kills", 0);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|number| scene.start(number)).collect();
    let mut informative = 0;
    for kill in 0..kills {
        let due = (kill as f64 + stream.uniform()) / kills as f64 * (count * WORKERS) as f64;
        loop {
            let done: usize = workers.iter().map(Worker::at).sum();
            let over = workers.iter_mut().all(|w| w.child.try_wait().expect("asked").is_some());
            if done as f64 >= due || over {
                break;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        std::thread::sleep(Duration::from_micros(stream.below(8000)));
        informative += usize::from(strike(&scene, &mut workers, &mut stream));
    }
    for worker in &mut workers {
        let status = worker.child.wait().expect("ended");
        let log = std::fs::read_to_string(folder.path().join(format!("log{}", worker.number))).unwrap_or_default();
        assert!(status.success(), "worker {}: {log}", worker.number);
    }
    let seconds = begun.elapsed().as_secs_f64();
    scene.judge(&workers);
    println!(
        "{name}: {WORKERS} processes x {count} items, {kills} kills, {informative} of them at work, {seconds:.1} s"
    );
    assert!(informative * 2 > kills, "uninformative: only {informative} of {kills} kills hit somebody at work");
}

/// Kills one that is at work, if there is one.
fn one_process(scene: &Scene, workers: &mut [Worker], stream: &mut rng::Stream) -> bool {
    let busy: Vec<usize> =
        (0..workers.len()).filter(|w| workers[*w].child.try_wait().expect("asked").is_none()).collect();
    let all: Vec<usize> = (0..workers.len()).collect();
    let among = if busy.is_empty() { &all } else { &busy };
    scene.kill(&mut workers[among[stream.below(among.len() as u64) as usize]])
}

#[cfg(feature = "sqlite")]
#[test]
fn killed_processes_lose_nothing_in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("ids.sqlite");
    survive("SQLite, processes killed", place.to_str().expect("text"), one_process);
}

#[cfg(all(feature = "redis", unix))]
#[test]
fn killed_processes_lose_nothing_in_redis() {
    let Some(server) = sememe_testkit::redis_server::Server::start("") else { return };
    survive("Redis, processes killed", &server.url(), one_process);
}

/// The clients wait for the server and go on; what it had acknowledged is there when it is back.
#[cfg(all(feature = "redis", unix))]
#[test]
fn a_killed_redis_loses_nothing() {
    let Some(mut server) = sememe_testkit::redis_server::Server::start("") else { return };
    let url = server.url();
    survive("Redis, server killed", &url, |_, workers, _| {
        let busy = workers.iter_mut().any(|w| w.child.try_wait().expect("asked").is_none());
        server.kill();
        server.start_again();
        busy
    });
}
