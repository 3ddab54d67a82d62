//! Items to codes on the cores of this machine.

use crate::support::{
    DIMS, Kept, block, codec, codes_by_key, column, content, error, expected, keys, parts, rows, saved, schema_names,
    session, text, write, write_items,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
use sememe_cluster::jobs::{Encode, Items, encode};
use std::path::Path;
use std::sync::Arc;

fn job(folder: &Path, codec: &str, key: Option<&str>) -> Encode {
    let items = Items { places: vec![text(&folder.join("items"))], column: None, key: key.map(str::to_owned) };
    Encode { items, codec: codec.to_owned(), output: text(&folder.join("out")) }
}

#[test]
fn codes_equal_the_librarys_at_any_number_of_partitions() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(5000, 1), keys(5000));
    write_items(&folder.path().join("items"), &rows, &keys, 3, Kept::Fixed32);
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    for partitions in [1, 2, 7] {
        let job = job(folder.path(), &place, Some("item"));
        let report = block(async { encode(&session(partitions).await, &job, &()).await }).expect("encoded");
        assert_eq!((report.rows, report.levels), (5000, 3));
        assert_eq!(report.files, parts(&folder.path().join("out")).len());
        assert_eq!(codes_by_key(&folder.path().join("out"), "item"), expected(&codec, &rows, &keys));
    }
    // What an earlier run left is replaced, and what is another's stays.
    std::fs::write(folder.path().join("out/notes.txt"), "mine").expect("written");
    let again = job(folder.path(), &place, Some("item"));
    let report = block(async { encode(&session(1).await, &again, &()).await }).expect("encoded");
    assert_eq!(report.files, parts(&folder.path().join("out")).len());
    assert!(folder.path().join("out/notes.txt").exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 3, "nothing beside items, codec, out");
    // The program's readers take the files as they are.
    let part = &parts(&folder.path().join("out"))[0];
    assert_eq!(schema_names(part), ["item", "codes"]);
}

#[test]
fn all_columns_but_the_embedding_are_kept_without_a_key() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(50, 2);
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    let columns = vec![
        ("Price", Arc::new(Int64Array::from_iter_values(0..50)) as ArrayRef),
        ("vector", column(rows.as_slice(), DIMS, Kept::List64)),
        ("the title", Arc::new(StringArray::from_iter_values((0..50).map(|i| format!("t{i}"))))),
    ];
    write(&folder.path().join("items/one.parquet"), columns);
    let job = job(folder.path(), &place, None);
    let report = block(async { encode(&session(2).await, &job, &()).await }).expect("encoded");
    assert_eq!(report.columns, ["Price", "the title", "codes"]);
    assert_eq!(schema_names(&parts(&folder.path().join("out"))[0]), ["Price", "the title", "codes"]);
    let want: std::collections::BTreeMap<_, _> =
        expected(&codec, &rows, &(0..50).map(|i| format!("t{i}")).collect::<Vec<_>>());
    assert_eq!(codes_by_key(&folder.path().join("out"), "the title"), want);
}

#[test]
fn a_run_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(3000, 3), keys(3000));
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    write_items(&folder.path().join("items"), &rows, &keys, 2, Kept::Fixed32);
    let job = job(folder.path(), &place, Some("item"));
    block(async { encode(&session(2).await, &job, &()).await }).expect("encoded");
    let before = content(&folder.path().join("out"));
    let mut values = rows.as_slice().to_vec();
    values[2999 * DIMS] = f32::NAN;
    let bad = sememe::Matrix::from_vec(3000, DIMS, values).expect("shape");
    write_items(&folder.path().join("items"), &bad, &keys, 2, Kept::Fixed32);
    let said = error(block(async { encode(&session(2).await, &job, &()).await }));
    assert!(said.contains(&keys[2999]) && said.contains("hold NaN"), "{said}");
    assert!(!said.contains("sememe:") && !said.contains("Execution"), "the engine's own words: {said}");
    assert_eq!(content(&folder.path().join("out")), before);
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 3, "nothing beside items, codec, out");
}

#[test]
fn columns_and_places_that_do_not_do_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(40, 4), keys(40));
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    write_items(&folder.path().join("items"), &rows, &keys, 1, Kept::Fixed32);
    let run = |job: &Encode| error(block(async { encode(&session(1).await, job, &()).await }));
    let base = job(folder.path(), &place, Some("item"));
    let with = |change: &dyn Fn(&mut Encode)| {
        let mut job = base.clone();
        change(&mut job);
        run(&job)
    };
    let said = with(&|job| job.items.column = Some("vectors".into()));
    assert!(said.contains("there is no `vectors`; the items have `item`, `embedding`"), "{said}");
    let said = with(&|job| job.items.key = Some("Item".into()));
    assert!(said.contains("there is no `Item`; the items have `item`, `embedding`"), "{said}");
    let said = with(&|job| job.items.column = Some("item".into()));
    assert!(said.contains("`item` holds Utf8"), "{said}");
    let said = with(&|job| job.items.places = vec![text(&folder.path().join("nowhere"))]);
    assert!(said.contains("there is no") && said.contains("nowhere"), "{said}");
    let said = with(&|job| job.codec = text(&folder.path().join("nothing.safetensors")));
    assert!(said.contains("nothing.safetensors"), "{said}");
    let said = with(&|job| job.output = "gs://bucket/out".into());
    assert!(said.contains("paths, file:// and s3://, got gs://"), "{said}");
    assert!(!folder.path().join("out").exists());

    let two =
        vec![("a", column(rows.as_slice(), DIMS, Kept::Fixed32)), ("b", column(rows.as_slice(), DIMS, Kept::Fixed32))];
    write(&folder.path().join("two/one.parquet"), two);
    let said = with(&|job| (job.items.places, job.items.key) = (vec![text(&folder.path().join("two"))], None));
    assert!(said.contains("2 columns hold lists of floating point numbers, name one of `a`, `b`"), "{said}");
    let alone = vec![("embedding", column(rows.as_slice(), DIMS, Kept::Fixed32))];
    write(&folder.path().join("alone/one.parquet"), alone);
    let said = with(&|job| (job.items.places, job.items.key) = (vec![text(&folder.path().join("alone"))], None));
    assert!(said.contains("nothing would say whose codes are whose"), "{said}");
    let empty = vec![
        ("item", Arc::new(StringArray::from_iter_values(Vec::<String>::new())) as ArrayRef),
        ("embedding", column(&[], DIMS, Kept::Fixed32)),
    ];
    write(&folder.path().join("empty/one.parquet"), empty);
    let said = with(&|job| job.items.places = vec![text(&folder.path().join("empty"))]);
    assert!(said.contains("there are no rows"), "{said}");
}

#[test]
fn a_wish_to_stop_is_heard() {
    struct Stop;
    impl sememe::Observer for Stop {
        fn stop(&self) -> bool {
            true
        }
    }
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(400, 5), keys(400));
    let place = saved(&codec(&rows), folder.path(), "codec");
    write_items(&folder.path().join("items"), &rows, &keys, 1, Kept::Fixed32);
    let job = job(folder.path(), &place, Some("item"));
    let found = block(async { encode(&session(1).await, &job, &Stop).await });
    assert!(matches!(found, Err(sememe::Error::Interrupted(_))), "{found:?}");
    assert!(!folder.path().join("out").exists());
}
