//! The store in Redis, against a real server: the plain map, servers that go away, and what is refused.

use crate::ids_store::{agrees, crowd, refuses_bad_batches, runs_out_of_counters, steps};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sememe::Error;
use sememe::ids::store::{RedisStore, Reuse, Store};
use sememe_testkit::redis_server::Server;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[track_caller]
fn refused(url: &str, hash: &str, levels: usize, parts: &[&str]) {
    let error = RedisStore::open(url, hash, levels).expect_err("refused");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn redis_is_the_plain_map() {
    let Some(server) = Server::start("--appendfsync no") else { return };
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
    let case = std::cell::Cell::new(0);
    let run = runner.run(&steps(), |steps| {
        case.set(case.get() + 1);
        let url = format!("{}?namespace=case{}", server.url(), case.get());
        let open = || RedisStore::open(&url, "hash", 2).expect("a store");
        agrees(
            open(),
            |store| {
                drop(store);
                open()
            },
            &steps,
        );
        Ok(())
    });
    run.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn other_codecs_layouts_and_programs_are_refused() {
    let Some(server) = Server::start("--databases 2") else { return };
    let url = server.url();
    let none = RedisStore::open_existing(&url).expect_err("nothing there").to_string();
    assert!(none.contains("has no namespace `sememe`") && none.contains("nothing was assigned there yet"), "{none}");
    assert_eq!(server.say::<i64>(&[b"DBSIZE"]), 0, "looking makes nothing");
    let mut store = RedisStore::open(&url, "aaaa", 2).unwrap();
    refuses_bad_batches(&mut store);
    assert!(format!("{store:?}").contains("aaaa"));
    refused(&url, "bbbb", 2, &["codec aaaa with 2 levels", "codec bbbb with 2", "another store"]);
    refused(&url, "aaaa", 3, &["with 2 levels", "with 3"]);
    assert_eq!(RedisStore::open_existing(&url).unwrap().codec_hash(), "aaaa");
    // Another namespace and another database are other stores.
    assert_eq!(RedisStore::open(&format!("{url}?namespace=books"), "bbbb", 2).unwrap().count().unwrap(), 0);
    assert_eq!(RedisStore::open(&format!("{url}?db=1"), "bbbb", 2).unwrap().count().unwrap(), 0);
    assert!(matches!(RedisStore::open("redis://", "a", 1), Err(Error::Config { .. })));
    for bad in ["?namespace=", "?namespace=a{b}", "?namespace=a&namespace=b", "?namespace=a%20b"] {
        let error = RedisStore::open(&format!("{url}{bad}"), "a", 1).expect_err(bad);
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
    server.say::<()>(&[b"HSET", b"{sememe}:codec", b"layout", b"2"]);
    refused(&url, "aaaa", 2, &["has layout 2, this release reads 1; use a newer release"]);
    server.say::<()>(&[b"HSET", b"{sememe}:codec", b"layout", b"1", b"levels", b"x"]);
    refused(&url, "aaaa", 2, &["is damaged"]);
    server.say::<()>(&[b"SET", b"{taken}:items", b"mine"]);
    refused(&format!("{url}?namespace=taken"), "aaaa", 2, &["another program's keys"]);
    server.say::<()>(&[b"SET", b"{text}:codec", b"mine"]);
    refused(&format!("{url}?namespace=text"), "aaaa", 2, &["another program's keys"]);
    assert_eq!(server.say::<String>(&[b"GET", b"{text}:codec"]), "mine");
}

#[test]
fn several_at_once_give_every_item_one_id() {
    let Some(server) = Server::start("") else { return };
    crowd(|| Box::new(RedisStore::open(&server.url(), "hash", 1).expect("a store")));
}

#[test]
fn counters_run_out() {
    let Some(server) = Server::start("") else { return };
    let mut store = RedisStore::open(&server.url(), "hash", 2).unwrap();
    server.say::<()>(&[b"HSET", b"{sememe}:next", &[0, 0, 0, 1, 0, 0, 0, 2], b"4294967295"]);
    runs_out_of_counters(&mut store);
}

/// More than one call of the script, and more than one page of a lookup.
#[test]
fn large_batches_are_whole() {
    let Some(server) = Server::start("--appendfsync no") else { return };
    let mut store = RedisStore::open(&server.url(), "hash", 1).unwrap();
    let keys: Vec<String> = (0..25_000).map(|i| format!("item {i:05}")).collect();
    let items: Vec<(&str, &[u32])> =
        keys.iter().enumerate().map(|(i, k)| (k.as_str(), &[[7], [8]][i % 2][..])).collect();
    let given = store.assign(&items).unwrap();
    assert!(given.iter().enumerate().all(|(i, g)| g.new && g.id.to_row() == [7 + i as u32 % 2, i as u32 / 2]));
    let again = store.assign(&items).unwrap();
    assert!(again.iter().zip(&given).all(|(a, b)| !a.new && a.id == b.id));
    for most in [9_999, 10_000, 10_001, 25_000, usize::MAX] {
        let all = store.with_prefix(&[], most).unwrap();
        assert_eq!(all.len(), most.min(25_000));
        assert!(all.is_sorted());
    }
    assert_eq!(store.with_prefix(&[8], usize::MAX).unwrap().len(), 12_500);
    let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(store.delete(&asked).unwrap(), 25_000);
    assert_eq!((store.count().unwrap(), store.delete(&asked).unwrap()), (0, 0));
    let reused = store.assign_with(&items, Reuse::Deleted).unwrap();
    assert!(reused.iter().zip(&given).all(|(a, b)| a.new && a.id == b.id));
    let error = store.assign(&vec![items[0]; 250_001]).expect_err("too many").to_string();
    assert!(error.contains("the same key"), "{error}");
    let many: Vec<String> = (0..250_001).map(|i| i.to_string()).collect();
    let many: Vec<(&str, &[u32])> = many.iter().map(|k| (k.as_str(), &[1][..])).collect();
    assert!(store.assign(&many).expect_err("too many").to_string().contains("give at most 250000 at once"));
}

/// A socket between client and server. While `lose` is not 0, it passes a command on, waits for the answer and then hangs up.
fn lossy(
    path: &Path,
    server: std::path::PathBuf,
    lose: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(path).expect("bound");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            if end.load(Ordering::SeqCst) {
                return;
            }
            let (mut client, mut behind) = (client.expect("a client"), UnixStream::connect(&server).expect("a server"));
            let (mut up, mut to) = (client.try_clone().expect("a socket"), behind.try_clone().expect("a socket"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut up, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn({
                let lose = lose.clone();
                move || {
                    let mut buffer = [0; 1 << 16];
                    while let Ok(count @ 1..) = behind.read(&mut buffer) {
                        // Answers to the greeting pass; an answer with IDs or a number does not.
                        let greeting = buffer[..count].starts_with(b"+") || buffer[..count].starts_with(b"-");
                        if !greeting
                            && lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
                        {
                            break;
                        }
                        if client.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = client.shutdown(std::net::Shutdown::Both);
                }
            });
        }
    })
}

#[test]
fn a_batch_whose_answer_is_lost_is_answered_alike() {
    let Some(server) = Server::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lossy.sock");
    let (lose, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let proxy = lossy(&path, server.socket(), lose.clone(), end.clone());
    let mut store = RedisStore::open(&format!("unix://{}", path.display()), "hash", 1).unwrap();
    let mut plain = RedisStore::open(&server.url(), "hash", 1).unwrap();
    store.assign(&[("old", &[1])]).unwrap();
    for times in [1, 3] {
        let keys = [format!("b{times}"), format!("a{times}"), "old".to_owned()];
        let items: Vec<(&str, &[u32])> = keys.iter().map(|k| (k.as_str(), &[1][..])).collect();
        lose.store(times, Ordering::SeqCst);
        let given = store.assign(&items).unwrap();
        assert_eq!(lose.load(Ordering::SeqCst), 0, "uninformative: no answer was lost");
        assert_eq!(given.iter().map(|g| g.new).collect::<Vec<_>>(), [true, true, false], "as if nothing had been lost");
        let next = plain.count().unwrap() as u32 - 1;
        assert_eq!(given.iter().map(|g| g.id.counter).collect::<Vec<_>>(), [next, next - 1, 0], "no counter is lost");
        let held = plain.get(&[&keys[0], &keys[1], "old"]).unwrap();
        assert!(held.iter().zip(&given).all(|(held, given)| held.as_ref() == Some(&given.id)));
        assert!(store.assign(&items).unwrap().iter().all(|g| !g.new));
    }
    lose.store(1, Ordering::SeqCst);
    assert_eq!(store.delete(&["a1", "b1", "none"]).unwrap(), 2, "deleted once, counted once");
    assert_eq!((lose.load(Ordering::SeqCst), plain.count().unwrap()), (0, 3));
    lose.store(1, Ordering::SeqCst);
    assert_eq!(store.with_prefix(&[1], 9).unwrap().len(), 3);
    end.store(true, Ordering::SeqCst);
    let _ = UnixStream::connect(&path);
    drop(store);
    proxy.join().expect("ended");
}

#[test]
fn a_server_that_stays_away_is_one_clear_error() {
    let Some(mut server) = Server::start("") else { return };
    let mut store = RedisStore::open(&server.url(), "hash", 1).unwrap();
    store.set_patience(Duration::from_millis(400)).unwrap();
    let first = store.assign(&[("a", &[1]), ("b", &[1])]).unwrap();
    // One that says nothing.
    server.signal("STOP");
    let error = store.assign(&[("c", &[1])]).expect_err("silent");
    server.signal("CONT");
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    assert!(error.to_string().contains("tried "), "{error}");
    // Whether that batch arrived or not, its item has one ID from now on.
    let mut third = store.assign(&[("c", &[1])]).unwrap().remove(0);
    third.new = false;
    assert_eq!(store.assign(&[("c", &[1])]).unwrap()[0], third);
    assert_eq!(third.id.counter, 2);
    // One that is gone.
    server.kill();
    let error = store.assign(&[("d", &[1])]).expect_err("gone").to_string();
    assert!(error.contains("run again when the server is back, whatever has an ID keeps it"), "{error}");
    refused(&server.url(), "hash", 1, &["is a Redis server running there?"]);
    server.start_again();
    let again = store.assign(&[("a", &[1]), ("b", &[1]), ("d", &[1])]).unwrap();
    assert_eq!((&again[0].id, &again[1].id, again[2].id.counter), (&first[0].id, &first[1].id, 3));
    // One that is back in time.
    store.set_patience(Duration::from_secs(60)).unwrap();
    server.kill();
    let late = std::thread::scope(|scope| {
        let asked = scope.spawn(|| store.assign(&[("e", &[1])]));
        std::thread::sleep(Duration::from_millis(200));
        server.start_again();
        asked.join().expect("no panic")
    });
    assert_eq!(late.unwrap()[0].id.counter, 4);
}

#[test]
fn a_server_that_forgot_is_noticed() {
    let Some(server) = Server::start("") else { return };
    let mut store = RedisStore::open(&server.url(), "aaaa", 1).unwrap();
    store.assign(&[("a", &[1]), ("b", &[1])]).unwrap();
    server.say::<()>(&[b"FLUSHALL"]);
    // Otherwise `c` would get the ID that `a` was told.
    for error in [store.assign(&[("c", &[1])]).expect_err("empty"), store.delete(&["a"]).expect_err("empty")] {
        assert!(error.to_string().contains("emptied or filled anew while it was in use"), "{error}");
    }
    RedisStore::open(&server.url(), "bbbb", 1).unwrap();
    assert!(store.assign(&[("c", &[1])]).expect_err("another's").to_string().contains("codec bbbb with 1 levels"));
}

#[test]
fn full_and_read_only_servers_keep_nothing_of_a_batch() {
    let Some(server) = Server::start("") else { return };
    let mut store = RedisStore::open(&server.url(), "hash", 1).unwrap();
    store.set_patience(Duration::from_millis(100)).unwrap();
    store.assign(&[("a", &[1])]).unwrap();
    server.say::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let error = store.assign(&[("b", &[1]), ("c", &[1])]).expect_err("full").to_string();
    assert!(error.contains("nothing of this batch was kept, give the server more memory"), "{error}");
    assert_eq!(store.assign(&[("a", &[1])]).unwrap()[0].id.counter, 0, "what is known needs no memory");
    server.say::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    assert_eq!(store.get(&["b", "c"]).unwrap(), [None, None]);
    // A replica of a server that is not there.
    server.say::<()>(&[b"REPLICAOF", b"127.0.0.1", b"1"]);
    let error = store.assign(&[("b", &[1])]).expect_err("a replica").to_string();
    assert!(error.contains("tried "), "{error}");
    assert_eq!(store.get(&["a"]).unwrap()[0].as_ref().map(|id| id.counter), Some(0));
    server.say::<()>(&[b"REPLICAOF", b"NO", b"ONE"]);
    assert_eq!(store.assign(&[("b", &[1])]).unwrap()[0].id.counter, 1);
}

#[test]
fn passwords_are_asked_for_and_never_shown() {
    let Some(server) = Server::start("--requirepass sesame-open") else { return };
    refused(&server.url(), "hash", 1, &["give user and password"]);
    let wrong = format!("{}?pass=wrong-word", server.url());
    refused(&wrong, "hash", 1, &["pass=***"]);
    assert!(!RedisStore::open(&wrong, "hash", 1).unwrap_err().to_string().contains("wrong-word"));
    let url = format!("{}?pass=sesame-open&namespace=x", server.url());
    let mut store = RedisStore::open(&url, "hash", 1).unwrap();
    assert_eq!(store.assign(&[("a", &[1])]).unwrap()[0].id.counter, 0);
    assert!(!format!("{store:?}").contains("sesame"));
    refused(&url, "other", 1, &["holds IDs of codec hash"]);
    assert!(!RedisStore::open(&url, "other", 1).unwrap_err().to_string().contains("sesame"));
}

#[test]
fn settings_that_lose_ids_are_told() {
    let told = |settings: &str, parts: &[&str]| {
        let Some(server) = Server::start(settings) else { return };
        let risks = RedisStore::open(&server.url(), "hash", 1).unwrap().risks();
        assert_eq!(risks.len(), parts.len(), "{risks:?}");
        for (risk, part) in risks.iter().zip(parts) {
            assert!(risk.contains(part), "{part:?} is not in {risk}");
        }
    };
    told("", &[]);
    told("--appendfsync everysec", &["loses the last second of IDs; set it to always"]);
    told(
        "--appendonly no --maxmemory 100mb --maxmemory-policy allkeys-lru",
        &["`appendonly no`", "a full server drops IDs"],
    );
    told("--rename-command CONFIG hidden", &[]);
}
