//! Assignments a second, new and known, in stores of 1M items: one process, batches of 10,000, as `sememe assign` does.
//!
//! `cargo bench -p sememe --features sqlite,redis --bench stores`, or with `-- --test` 20,000 items. `SEMEME_BENCH_ITEMS` sets another number. Redis is
//! measured where `redis-server` is installed: a server of its own on a socket, with `appendfsync always` and `everysec`.

// Without either kind of store nothing is left to be measured.
#![cfg_attr(not(any(feature = "sqlite", feature = "redis")), allow(dead_code))]

use sememe::ids::store::Store;
use sememe::rng;
use std::time::Instant;

const BATCH: usize = 10_000;

/// Keys as shops have them, and codes of uneven use, about three items on the busiest.
fn items(count: usize, seed: u64) -> Vec<(String, [u32; 3])> {
    let mut stream = rng::stream(seed, "bench stores", 0);
    let mut code = || {
        let u = stream.below(1 << 20) as f64 / f64::from(1 << 20);
        (256.0 * u.powf(1.2)) as u32
    };
    (0..count).map(|i| (format!("B{:09X}", i * 7_368_787 % 0x1_0000_0000), [code(), code(), code()])).collect()
}

/// Assigns everything, in the order given, and says how many a second.
fn assign(store: &mut dyn Store, items: &[(String, [u32; 3])], new: bool) -> f64 {
    let begun = Instant::now();
    for batch in items.chunks(BATCH) {
        let batch: Vec<(&str, &[u32])> = batch.iter().map(|(key, codes)| (key.as_str(), &codes[..])).collect();
        let given = store.assign(&batch).expect("assigned");
        assert!(given.iter().all(|given| given.new == new && !given.drifted));
    }
    items.len() as f64 / begun.elapsed().as_secs_f64()
}

fn measure(name: &str, open: &mut dyn FnMut() -> Box<dyn Store>, count: usize) {
    let mut all = items(count, 1);
    let mut store = open();
    // Half in the order of the keys, as `sememe assign` gives a file; half in any order, as a service would.
    let (sorted, shuffled) = all.split_at_mut(count / 2);
    sorted.sort();
    let first = assign(store.as_mut(), sorted, true);
    let second = assign(store.as_mut(), shuffled, true);
    drop(store);
    let mut store = open();
    let known_sorted = assign(store.as_mut(), sorted, false);
    let known_shuffled = assign(store.as_mut(), shuffled, false);
    let keys: Vec<&str> = shuffled.iter().map(|(key, _)| key.as_str()).collect();
    let begun = Instant::now();
    for part in keys.chunks(BATCH) {
        assert!(store.get(part).expect("read").iter().all(Option::is_some));
    }
    let looked_up = keys.len() as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let asked = 2000;
    for i in 0..asked {
        store.assign(&[(keys[i * 37 % keys.len()], &shuffled[i * 37 % keys.len()].1)]).expect("assigned");
    }
    let single = begun.elapsed().as_secs_f64() / f64::from(u32::try_from(asked).expect("small")) * 1e6;
    println!(
        "{name}: {count} items; new, sorted {first:.0}/s, any order {second:.0}/s; known, sorted {known_sorted:.0}/s, any order \
         {known_shuffled:.0}/s; lookups {looked_up:.0}/s; one known item {single:.0} µs"
    );
}

fn main() {
    let once = std::env::args().any(|a| a == "--test");
    let set = std::env::var("SEMEME_BENCH_ITEMS").ok().and_then(|n| n.parse().ok());
    let count = set.unwrap_or(if once { 20_000 } else { 1_000_000 });
    let folder = tempfile::tempdir().expect("a folder");
    let _ = (count, &folder);
    #[cfg(feature = "sqlite")]
    {
        use sememe::ids::store::SqliteStore;
        let path = folder.path().join("ids.sqlite");
        let mut open = || -> Box<dyn Store> { Box::new(SqliteStore::open(&path, "hash", 3).expect("a store")) };
        measure("SQLite", &mut open, count);
        println!(
            "SQLite file: {:.1} bytes an item",
            std::fs::metadata(&path).expect("a file").len() as f64 / count as f64
        );
    }
    #[cfg(feature = "redis")]
    redis(folder.path(), count);
}

#[cfg(feature = "redis")]
fn redis(folder: &std::path::Path, count: usize) {
    use sememe::ids::store::RedisStore;
    for sync in ["always", "everysec"] {
        let home = folder.join(sync);
        std::fs::create_dir(&home).expect("a folder");
        let socket = home.join("redis.sock");
        let mut command = std::process::Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", sync]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(&home).stdout(std::process::Stdio::null());
        let Ok(mut server) = command.spawn() else {
            println!("Redis is skipped: no redis-server is installed");
            return;
        };
        let url = format!("unix://{}", socket.display());
        let begun = Instant::now();
        while RedisStore::open(&url, "hash", 3).is_err() {
            assert!(begun.elapsed().as_secs() < 20, "the server does not start");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut open = || -> Box<dyn Store> { Box::new(RedisStore::open(&url, "hash", 3).expect("a store")) };
        measure(&format!("Redis, appendfsync {sync}"), &mut open, count);
        server.kill().expect("killed");
        server.wait().expect("gone");
    }
}
