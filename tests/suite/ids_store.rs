//! Stores against a plain map, several at once, and what they refuse.

use proptest::prelude::*;
use sememe::Error;
use sememe::ids::store::{MemoryStore, Store, StoredId};
use std::collections::{BTreeMap, BTreeSet};

/// What may be asked of a store.
#[derive(Clone, Debug)]
enum Step {
    Assign(Vec<(u8, [u8; 2])>),
    Get(Vec<u8>),
    Prefix(Vec<u8>, usize),
    Delete(Vec<u8>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let code = 0u8..3;
    let step = prop_oneof![
        4 => prop::collection::btree_map(0u8..30, [code.clone(), code.clone()], 0..8)
            .prop_map(|batch| Step::Assign(batch.into_iter().rev().collect())),
        2 => prop::collection::vec(0u8..30, 0..5).prop_map(Step::Get),
        2 => (prop::collection::vec(code, 0..3), 0usize..40).prop_map(|(p, most)| Step::Prefix(p, most)),
        1 => prop::collection::vec(0u8..30, 0..4).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

/// The plain form: keys with IDs, and a next counter for every codes that were ever used.
#[derive(Default)]
struct Plain {
    ids: BTreeMap<String, StoredId>,
    next: BTreeMap<Vec<u32>, u32>,
}

fn name(key: u8) -> String {
    // Keys with separators, quotes and other scripts; bytes order them.
    format!("{}'-\"{key}ключ", ["b", "A", "é"][key as usize % 3])
}

fn wide(codes: &[u8]) -> Vec<u32> {
    // Past one byte and past the sign, so that the order of stored bytes matters.
    codes.iter().map(|c| [0, 255, u32::MAX - 7][*c as usize]).collect()
}

fn agrees<S: Store>(mut store: S, mut reopen: impl FnMut(S) -> S, steps: &[Step]) {
    let mut plain = Plain::default();
    for step in steps {
        match step {
            Step::Assign(batch) => {
                let batch: Vec<(String, Vec<u32>)> = batch.iter().map(|(k, c)| (name(*k), wide(c))).collect();
                let items: Vec<(&str, &[u32])> = batch.iter().map(|(k, c)| (k.as_str(), c.as_slice())).collect();
                let given = store.assign(&items).expect("assigned");
                let mut sorted: Vec<usize> = (0..batch.len()).collect();
                sorted.sort_by_key(|i| batch[*i].0.as_bytes());
                for i in sorted {
                    let (key, codes) = &batch[i];
                    let new = !plain.ids.contains_key(key);
                    if new {
                        let next = plain.next.entry(codes.clone()).or_default();
                        plain.ids.insert(key.clone(), StoredId { codes: codes.clone(), counter: *next });
                        *next += 1;
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
                let want = keys.iter().filter(|k| plain.ids.remove(*k).is_some()).count();
                assert_eq!(store.delete(&asked).expect("written"), want);
            }
            Step::Reopen => store = reopen(store),
        }
        assert_eq!(store.count().expect("read"), plain.ids.len() as u64);
        let distinct: BTreeSet<_> = plain.ids.values().collect();
        assert_eq!(distinct.len(), plain.ids.len(), "one ID, one key");
    }
}

#[track_caller]
fn refuses_bad_batches(store: &mut impl Store) {
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
            assert_eq!(error.exit_code(), 5);
            for part in parts {
                assert!(error.to_string().contains(part), "{part:?} is not in {error}");
            }
        };
        refused("bbbb", 2, &["codec aaaa with 2 levels", "codec bbbb with 2"]);
        refused("aaaa", 3, &["with 2 levels", "with 3"]);
        assert_eq!(SqliteStore::open_existing(&path).unwrap().codec_hash(), "aaaa");
        drop(store);
        let change = |sql: &str| rusqlite_run(&path, sql);
        change("PRAGMA user_version = 2");
        refused("aaaa", 2, &["has layout 2, this release reads 1"]);
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
        let one = |worker: usize| {
            let mut store = SqliteStore::open(&path, "hash", 1).expect("a store");
            let mut seen = BTreeMap::new();
            // Everybody wants the same 600 items, each from another place on, in small batches.
            for start in (0..600).step_by(20) {
                let keys: Vec<String> = (0..20).map(|i| format!("item {}", (start + i + worker * 150) % 600)).collect();
                let codes: Vec<[u32; 1]> =
                    keys.iter().map(|k| [k.len() as u32 + u32::from(k.as_bytes()[5] % 3)]).collect();
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
}
