//! One ID for each item, for good.

use crate::support::{
    Kept, batches, block, codec, content, error, keys, parts, rows, saved, session, text, write_items,
};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::UInt32Type;
use sememe::{Matrix, ids::resolve};
use sememe_cluster::jobs::{Assign, AssignReport, Items, assign};
use std::collections::BTreeMap;
use std::path::Path;

const N: usize = 3000;

fn run(folder: &Path, codec: &str, partitions: usize) -> sememe::Result<AssignReport> {
    let items = Items { places: vec![text(&folder.join("items"))], column: None, key: Some("item".into()) };
    let job = Assign { items, codec: codec.to_owned(), ids: text(&folder.join("ids")) };
    block(async { assign(&session(partitions).await, &job, &()).await })
}

/// The table: codes and number by key.
fn table(folder: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut found = BTreeMap::new();
    for batch in parts(&folder.join("ids")).iter().flat_map(|path| batches(path)) {
        let codes = batch.column_by_name("codes").expect("codes").as_fixed_size_list();
        let numbers = batch.column_by_name("number").expect("number").as_primitive::<UInt32Type>();
        for (i, key) in batch.column_by_name("key").expect("key").as_string::<i32>().iter().enumerate() {
            let mut id = codes.value(i).as_primitive::<UInt32Type>().values().to_vec();
            id.push(numbers.value(i));
            assert!(found.insert(key.expect("key").to_owned(), id).is_none(), "{key:?} twice");
        }
    }
    found
}

fn part(rows: &Matrix, from: usize, to: usize) -> Matrix {
    let d = rows.dims();
    Matrix::from_vec(to - from, d, rows.as_slice()[from * d..to * d].to_vec()).expect("shape")
}

#[test]
fn a_first_run_numbers_as_the_library_does_and_growth_keeps_what_was_given() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(N, 1), keys(N));
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    let items = folder.path().join("items");
    write_items(&items, &part(&rows, 0, 2000), &keys[..2000], 2, Kept::Fixed32);
    let report = run(folder.path(), &place, 3).expect("assigned");
    assert_eq!((report.new, report.before), (2000, 0));
    let codes = codec.encode(&part(&rows, 0, 2000)).expect("encoded");
    let want = resolve::number(&keys[..2000], &codes).expect("numbered");
    assert!(want.cost.moved > 100, "there are collisions to number");
    let want: BTreeMap<_, _> = keys[..2000].iter().cloned().zip(want.codes.iter().map(<[u32]>::to_vec)).collect();
    assert_eq!(table(folder.path()), want);

    // The same again is nothing new, whatever the number of partitions.
    let before = content(&folder.path().join("ids"));
    let report = run(folder.path(), &place, 1).expect("assigned");
    assert_eq!((report.new, report.before, report.files), (0, 2000, 0));
    assert_eq!(content(&folder.path().join("ids")), before);

    // More items, those from before among them.
    std::fs::remove_dir_all(&items).expect("removed");
    write_items(&items, &part(&rows, 1000, N), &keys[1000..], 2, Kept::Fixed32);
    let report = run(folder.path(), &place, 4).expect("assigned");
    assert_eq!((report.new, report.before), (1000, 2000));
    let grown = table(folder.path());
    assert_eq!(grown.len(), N);
    assert!(want.iter().all(|(key, id)| grown[key] == *id), "an old item has a new ID");
    let mut ids: Vec<&Vec<u32>> = grown.values().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), N, "two items share an ID");
    // New ones on taken codes go on from the highest number, in the order of their keys.
    let mut next: BTreeMap<&[u32], u32> = BTreeMap::new();
    for id in want.values() {
        let last = next.entry(&id[..3]).or_default();
        *last = (*last).max(id[3] + 1);
    }
    for (key, id) in grown.iter().filter(|(key, _)| !want.contains_key(*key)) {
        let number = next.entry(&id[..3]).or_default();
        assert_eq!(id[3], *number, "{key}");
        *number += 1;
    }
}

#[test]
fn keys_codecs_and_folders_that_do_not_do_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, mut keys) = (rows(600, 2), keys(600));
    let place = saved(&codec(&rows), folder.path(), "codec");
    let items = folder.path().join("items");
    keys[17] = keys[500].clone();
    write_items(&items, &rows, &keys, 2, Kept::Fixed32);
    let said = error(run(folder.path(), &place, 2));
    assert!(said.contains(&format!("2 items have the item `{}`", keys[17])), "{said}");
    assert!(!folder.path().join("ids").exists());
    keys[17] = String::new();
    write_items(&items, &rows, &keys, 2, Kept::Fixed32);
    let said = error(run(folder.path(), &place, 2));
    assert!(said.contains("1 items have no `item`: it is empty"), "{said}");
    keys[17] = "one".into();
    write_items(&items, &rows, &keys, 2, Kept::Fixed32);
    run(folder.path(), &place, 2).expect("assigned");
    let before = content(&folder.path().join("ids"));

    let other = codec(&part(&rows, 0, 300));
    let elsewhere = saved(&other, folder.path(), "other");
    let said = error(run(folder.path(), &elsewhere, 2));
    assert!(said.contains(other.content_hash()) && said.contains("IDs of one codec"), "{said}");
    assert_eq!(content(&folder.path().join("ids")), before);

    // Half of a run that was killed counts for nobody.
    std::fs::write(folder.path().join("ids/part-killed.parquet"), "half").expect("written");
    assert_eq!(run(folder.path(), &place, 2).expect("assigned").before, 600);

    std::fs::create_dir(folder.path().join("docs")).expect("made");
    std::fs::write(folder.path().join("docs/letter.txt"), "dear").expect("written");
    let items = Items { places: vec![text(&items)], column: None, key: Some("item".into()) };
    let job = Assign { items, codec: place, ids: text(&folder.path().join("docs")) };
    let said = error(block(async { assign(&session(1).await, &job, &()).await }));
    assert!(said.contains("holds files that are no table of IDs"), "{said}");
}

#[test]
fn of_two_that_grow_a_table_at_once_one_is_refused_or_both_are_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(N, 3), keys(N));
    let place = saved(&codec(&rows), folder.path(), "codec");
    for (name, from, to) in [("a", 0, 1500), ("b", 1500, N)] {
        write_items(&folder.path().join(name), &part(&rows, from, to), &keys[from..to], 1, Kept::Fixed32);
    }
    let job = |name: &str| Assign {
        items: Items { places: vec![text(&folder.path().join(name))], column: None, key: Some("item".into()) },
        codec: place.clone(),
        ids: text(&folder.path().join("ids")),
    };
    let (a, b) = (job("a"), job("b"));
    let (a, b) = block(async {
        let session = session(1).await;
        futures::join!(assign(&session, &a, &()), assign(&session, &b, &()))
    });
    let done = [&a, &b].iter().filter(|report| report.is_ok()).count();
    assert!(done >= 1, "{a:?} {b:?}");
    for report in [a, b] {
        if let Err(error) = report {
            assert!(matches!(error, sememe::Error::Store(_)), "{error}");
        }
    }
    assert_eq!(table(folder.path()).len(), 1500 * done);
}
