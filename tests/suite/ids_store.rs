//! Stores against a plain map, several at once, and what they refuse.

use proptest::prelude::*;
use sememe::Error;
use sememe::ids::store::{MemoryStore, Reuse, Store, StoredId};
use std::collections::{BTreeMap, BTreeSet};

#[path = "../../examples/json_store.rs"]
mod json_store;

/// What may be asked of a store.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Assign(Vec<(u8, [u8; 2])>, Reuse),
    Get(Vec<u8>),
    Prefix(Vec<u8>, usize),
    Delete(Vec<u8>),
    Reopen,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let code = 0u8..3;
    let step = prop_oneof![
        4 => (prop::collection::btree_map(0u8..30, [code.clone(), code.clone()], 0..8), prop::bool::weighted(0.3))
            .prop_map(|(batch, again)| {
                let reuse = if again { Reuse::Deleted } else { Reuse::Never };
                Step::Assign(batch.into_iter().rev().collect(), reuse)
            }),
        2 => prop::collection::vec(0u8..30, 0..5).prop_map(Step::Get),
        2 => (prop::collection::vec(code, 0..3), 0usize..40).prop_map(|(p, most)| Step::Prefix(p, most)),
        2 => prop::collection::vec(0u8..30, 0..8).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

/// The plain form: keys with IDs, a next counter for every codes that were ever used, and the deleted IDs.
#[derive(Default)]
struct Plain {
    ids: BTreeMap<String, StoredId>,
    next: BTreeMap<Vec<u32>, u32>,
    deleted: BTreeSet<StoredId>,
}

fn name(key: u8) -> String {
    // Keys with separators, quotes, line ends, zero bytes and other scripts; bytes order them, and some begin with others.
    match key % 10 {
        9 => "🜁".repeat(1 + key as usize),
        8 => format!("{}\0", name(key - 1)),
        7 => format!("\r\n\t{key}, [{{}}];--"),
        _ => format!("{}'-\"{key}ключ", ["b", "A", "é"][key as usize % 3]),
    }
}

fn wide(codes: &[u8]) -> Vec<u32> {
    // Past one byte and past the sign, so that the order of stored bytes matters.
    codes.iter().map(|c| [0, 255, u32::MAX - 7][*c as usize]).collect()
}

pub(crate) fn agrees<S: Store>(mut store: S, mut reopen: impl FnMut(S) -> S, steps: &[Step]) {
    let mut plain = Plain::default();
    for step in steps {
        match step {
            Step::Assign(batch, reuse) => {
                let batch: Vec<(String, Vec<u32>)> = batch.iter().map(|(k, c)| (name(*k), wide(c))).collect();
                let items: Vec<(&str, &[u32])> = batch.iter().map(|(k, c)| (k.as_str(), c.as_slice())).collect();
                let given = store.assign_with(&items, *reuse).expect("assigned");
                let mut sorted: Vec<usize> = (0..batch.len()).collect();
                sorted.sort_by_key(|i| batch[*i].0.as_bytes());
                for i in sorted {
                    let (key, codes) = &batch[i];
                    let new = !plain.ids.contains_key(key);
                    if new {
                        let freed = plain.deleted.iter().find(|id| &id.codes == codes).cloned();
                        let freed = freed.filter(|_| *reuse == Reuse::Deleted);
                        if let Some(id) = &freed {
                            plain.deleted.remove(id);
                        }
                        let id = freed.unwrap_or_else(|| {
                            let next = plain.next.entry(codes.clone()).or_default();
                            *next += 1;
                            StoredId { codes: codes.clone(), counter: *next - 1 }
                        });
                        plain.ids.insert(key.clone(), id);
                    }
                    let want = &plain.ids[key];
                    assert_eq!((&given[i].id, given[i].new, given[i].drifted), (want, new, &want.codes != codes));
                }
            }
            Step::Get(keys) => {
                let keys: Vec<String> = keys.iter().map(|k| name(*k)).collect();
                let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
                let want: Vec<_> = keys.iter().map(|k| plain.ids.get(k).cloned()).collect();
                assert_eq!(store.get(&asked).expect("read"), want);
            }
            Step::Prefix(prefix, most) => {
                let prefix = wide(prefix);
                let mut want: Vec<(StoredId, String)> = plain
                    .ids
                    .iter()
                    .filter(|(_, id)| id.codes.starts_with(&prefix))
                    .map(|(k, id)| (id.clone(), k.clone()))
                    .collect();
                want.sort();
                want.truncate(*most);
                assert_eq!(store.with_prefix(&prefix, *most).expect("read"), want);
            }
            Step::Delete(keys) => {
                let keys: Vec<String> = keys.iter().map(|k| name(*k)).collect();
                let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
                let gone: Vec<StoredId> = keys.iter().filter_map(|k| plain.ids.remove(k)).collect();
                assert_eq!(store.delete(&asked).expect("written"), gone.len());
                plain.deleted.extend(gone);
            }
            Step::Reopen => store = reopen(store),
        }
        assert_eq!(store.count().expect("read"), plain.ids.len() as u64);
        let distinct: BTreeSet<_> = plain.ids.values().collect();
        assert_eq!(distinct.len(), plain.ids.len(), "one ID, one key");
        assert!(distinct.iter().all(|id| !plain.deleted.contains(id)), "a deleted ID is nobody's");
    }
}

#[track_caller]
pub(crate) fn refuses_bad_batches(store: &mut impl Store) {
    store.assign(&[("kept", &[1, 2])]).expect("assigned");
    for (batch, part) in [
        (vec![("a", &[1, 2][..]), ("", &[1, 2])], "the key of item 1 is empty"),
        (vec![("a", &[1, 2]), ("b", &[1, 2]), ("a", &[3, 4])], "items 0 and 2 of a batch have the same key `a`"),
        (vec![("a", &[1, 2]), ("b", &[1])], "expected levels = 2, got 1 in `codes of item `b``"),
    ] {
        let error = store.assign(&batch).expect_err("refused").to_string();
        assert!(error.contains(part), "{part:?} is not in {error}");
        assert_eq!(
            (store.count().unwrap(), store.get(&["a"]).unwrap()),
            (1, vec![None]),
            "nothing of the batch is kept"
        );
    }
    assert!(matches!(store.with_prefix(&[1, 2, 3], 9), Err(Error::Shape { .. })));
    assert_eq!(store.assign(&[]).expect("nothing"), []);
    assert_eq!(store.delete(&[]).expect("nothing"), 0);
    assert_eq!(store.get(&[]).expect("nothing"), []);
    assert_eq!(store.get(&[""]).expect("nobody"), [None]);
}

#[test]
fn memory_refuses_bad_batches() {
    refuses_bad_batches(&mut MemoryStore::new("hash", 2).unwrap());
    assert!(MemoryStore::new("hash", 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_the_plain_map(steps in steps()) {
        agrees(MemoryStore::new("hash", 2).unwrap(), |store| store, &steps);
    }
}

/// Everybody wants the same 600 items, each from another place on, in small batches.
pub(crate) fn crowd(open: impl Fn() -> Box<dyn Store> + Sync) {
    let one = |worker: usize| {
        let mut store = open();
        let mut seen = BTreeMap::new();
        for start in (0..600).step_by(20) {
            let keys: Vec<String> = (0..20).map(|i| format!("item {}", (start + i + worker * 150) % 600)).collect();
            let codes: Vec<[u32; 1]> = keys.iter().map(|k| [k.len() as u32 + u32::from(k.as_bytes()[5] % 3)]).collect();
            let items: Vec<(&str, &[u32])> = keys.iter().zip(&codes).map(|(k, c)| (k.as_str(), &c[..])).collect();
            for (key, given) in keys.iter().zip(store.assign(&items).expect("assigned")) {
                seen.insert(key.clone(), given.id);
            }
        }
        seen
    };
    let all: Vec<BTreeMap<String, StoredId>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|w| scope.spawn(move || one(w))).collect();
        workers.into_iter().map(|w| w.join().expect("no panic")).collect()
    });
    assert!(all.iter().all(|seen| seen == &all[0] && seen.len() == 600), "everybody was given the same");
    let distinct: BTreeSet<_> = all[0].values().collect();
    assert_eq!(distinct.len(), 600);
}

/// The last counter of some codes goes to one item; for two there is no room, and neither has an ID then.
pub(crate) fn runs_out_of_counters(store: &mut impl Store) {
    let error = store.assign(&[("a", &[1, 2]), ("b", &[0, 0]), ("c", &[1, 2])]).expect_err("one counter, two items");
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    assert!(error.to_string().contains("given out all of their 4294967296 counters"), "{error}");
    assert_eq!(store.get(&["a", "b", "c"]).unwrap(), [None, None, None]);
    assert_eq!(store.assign(&[("c", &[1, 2])]).unwrap()[0].id.counter, u32::MAX);
    assert!(store.assign(&[("a", &[1, 2])]).is_err());
    // A deleted one makes room, if that is asked for.
    assert_eq!(store.delete(&["c"]).unwrap(), 1);
    assert!(store.assign(&[("a", &[1, 2])]).is_err());
    assert_eq!(store.assign_with(&[("a", &[1, 2])], Reuse::Deleted).unwrap()[0].id.counter, u32::MAX);
}

/// A store whose codes [1, 2] have one counter left.
fn nearly_full(codec: &str) -> String {
    let deep = r#"{"codes":[1,2],"counter":4294967294,"key":"z"}"#;
    format!(r#"{{"layout":1,"codec":"{codec}","levels":2,"ids":[{deep}]}}"#)
}

#[test]
fn memory_runs_out_of_counters() {
    runs_out_of_counters(&mut serde_json::from_str::<MemoryStore>(&nearly_full("hash")).expect("a store"));
}

#[test]
fn what_is_read_back_is_checked() {
    let mut store = MemoryStore::new("hash", 2).unwrap();
    store.assign(&[("a", &[1, 2]), ("b", &[1, 2]), ("c", &[1, 2])]).unwrap();
    store.delete(&["b"]).unwrap();
    let text = serde_json::to_string(&store).unwrap();
    let mut again: MemoryStore = serde_json::from_str(&text).unwrap();
    assert_eq!(again.get(&["a", "b", "c"]).unwrap(), store.get(&["a", "b", "c"]).unwrap());
    assert_eq!(again.assign(&[("d", &[1, 2])]).unwrap()[0].id.counter, 3);
    for (from, to, part) in [
        (r#""layout":1"#, r#""layout":2"#, "has layout 2, this release reads 1"),
        (r#""levels":2"#, r#""levels":3"#, "expected levels = 3, got 2"),
        (r#""levels":2"#, r#""levels":0"#, "at least 1"),
        (r#""key":"c""#, r#""key":"a""#, "`a` has two IDs"),
        (r#""key":"c""#, r#""key":"""#, "empty key"),
        (r#""counter":2"#, r#""counter":1"#, "is there twice"),
        (r#""counter":2"#, r#""counter":-2"#, "invalid value"),
        (r#""key":"c""#, r#""key":"c","more":1"#, "unknown field"),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        let error = serde_json::from_str::<MemoryStore>(&text.replacen(from, to, 1)).expect_err("refused").to_string();
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

mod json {
    use super::json_store::JsonStore;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_store_of_ones_own_is_the_plain_map(steps in steps()) {
            let folder = tempfile::tempdir().unwrap();
            let open = || JsonStore::open(folder.path().join("ids.json"), "hash", 2).expect("a store");
            agrees(open(), |store| { drop(store); open() }, &steps);
        }
    }

    #[test]
    fn a_store_of_ones_own_is_refused_and_shared_like_any() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.json");
        refuses_bad_batches(&mut JsonStore::open(&path, "aaaa", 2).unwrap());
        let error = JsonStore::open(&path, "bbbb", 2).err().expect("refused").to_string();
        assert!(error.contains("aaaa") && error.contains("bbbb"), "{error}");
        std::fs::write(&path, nearly_full("aaaa")).unwrap();
        runs_out_of_counters(&mut JsonStore::open(&path, "aaaa", 2).unwrap());
        std::fs::write(&path, "{\"layout\":1,").unwrap();
        assert!(JsonStore::open(&path, "aaaa", 2).err().expect("refused").to_string().contains("is no store of IDs"));
        let path = folder.path().join("shared.json");
        crowd(|| Box::new(JsonStore::open(&path, "hash", 1).expect("a store")));
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use sememe::ids::store::SqliteStore;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sqlite_is_the_plain_map(steps in steps()) {
            let folder = tempfile::tempdir().unwrap();
            let open = || SqliteStore::open(folder.path().join("ids.sqlite"), "hash", 2).expect("a store");
            agrees(open(), |store| { drop(store); open() }, &steps);
        }
    }

    #[test]
    fn other_files_and_other_codecs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.sqlite");
        let mut store = SqliteStore::open(&path, "aaaa", 2).unwrap();
        refuses_bad_batches(&mut store);
        assert!(format!("{store:?}").contains("aaaa"));
        let refused = |hash: &str, levels: usize, parts: &[&str]| {
            let error = SqliteStore::open(&path, hash, levels).expect_err("refused");
            assert!(matches!(error, Error::Store(_)), "{error:?}");
            for part in parts {
                assert!(error.to_string().contains(part), "{part:?} is not in {error}");
            }
        };
        refused("bbbb", 2, &["codec aaaa with 2 levels", "codec bbbb with 2"]);
        refused("aaaa", 3, &["with 2 levels", "with 3"]);
        assert_eq!(SqliteStore::open_existing(&path).unwrap().codec_hash(), "aaaa");
        drop(store);
        let change = |sql: &str| rusqlite_run(&path, sql);
        change("PRAGMA user_version = 3");
        refused("aaaa", 2, &["has layout 3, this release reads 2; use a newer release"]);
        assert!(SqliteStore::open_existing(&path).unwrap_err().to_string().contains("has layout 3"));
        change("PRAGMA user_version = 1");
        refused("aaaa", 2, &["has layout 1, this release reads 2; assign into a new store"]);
        change("PRAGMA application_id = 7");
        refused("aaaa", 2, &["another program's SQLite file"]);
        std::fs::write(folder.path().join("text"), "no database at all, but long enough to be looked at").unwrap();
        let text = SqliteStore::open(folder.path().join("text"), "aaaa", 2).unwrap_err().to_string();
        assert!(text.contains("give the store another name"), "{text}");
        let none = folder.path().join("none");
        assert!(SqliteStore::open_existing(&none).unwrap_err().to_string().contains("none"));
        assert!(!none.exists(), "looking makes no file");
        assert!(
            SqliteStore::open(folder.path().join("no/folder"), "aaaa", 2)
                .unwrap_err()
                .to_string()
                .contains("does its folder exist")
        );
    }

    fn rusqlite_run(path: &std::path::Path, sql: &str) {
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    #[test]
    fn several_at_once_give_every_item_one_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.sqlite");
        crowd(|| Box::new(SqliteStore::open(&path, "hash", 1).expect("a store")));
    }

    #[test]
    fn counters_run_out_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.sqlite");
        drop(SqliteStore::open(&path, "hash", 2).unwrap());
        rusqlite_run(&path, "INSERT INTO ids VALUES (x'0000000100000002FFFFFFFE', 'z')");
        runs_out_of_counters(&mut SqliteStore::open(&path, "hash", 2).unwrap());
    }

    #[test]
    fn a_locked_file_is_waited_for_and_then_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.sqlite");
        let mut store = SqliteStore::open(&path, "hash", 1).unwrap();
        store.assign(&[("a", &[1])]).unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        // Opening, reading and asking for what is known wait for nobody.
        let mut second = SqliteStore::open(&path, "hash", 1).unwrap();
        assert_eq!(second.get(&["a"]).unwrap()[0].as_ref().map(|id| id.counter), Some(0));
        second.set_patience(std::time::Duration::from_millis(50)).unwrap();
        let error = second.assign(&[("b", &[1])]).expect_err("locked").to_string();
        assert!(error.contains("another process held it all the time"), "{error}");
        assert!(second.delete(&["a"]).is_err());
        // Waited for, if it ends in time.
        second.set_patience(std::time::Duration::from_secs(60)).unwrap();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            other.execute_batch("ROLLBACK").unwrap();
        });
        assert_eq!(second.assign(&[("b", &[1])]).unwrap()[0].id.counter, 1);
        ends.join().unwrap();
        // Known items are given their IDs while another writes.
        assert!(!second.assign(&[("b", &[1])]).unwrap()[0].new);
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        second.set_patience(std::time::Duration::ZERO).unwrap();
        assert!(!second.assign(&[("a", &[1]), ("b", &[1])]).unwrap()[0].new);
        assert!(second.assign(&[("a", &[1]), ("c", &[1])]).is_err());
    }
}
