//! Codes in the order of their rows, with their keys, and each row once.

use sememe::Codes;
use sememe::io::{self, CodesWriter};
use std::fs;

use sememe_testkit::files::error;

#[test]
fn rows_come_in_the_order_of_their_numbers() {
    let folder = tempfile::tempdir().expect("folder");
    let mut names = vec!["c.csv", "c.jsonl"];
    if cfg!(feature = "parquet") {
        names.push("c.parquet");
    }
    for name in names {
        let path = folder.path().join(name);
        let mut out = CodesWriter::create(&path, 4, 2, &[100, 100]).expect("create");
        out.write_with_rows(&[7, 0, 3, 2], &[70, 71, 0, 1, 30, 31, 20, 21]).expect("rows");
        out.finish().expect("finish");
        let file = io::read_codes_file(&path).expect("read");
        assert_eq!(file.rows.as_deref(), Some(&[0, 2, 3, 7][..]), "{name}");
        assert_eq!(file.codes.as_slice(), [0, 1, 20, 21, 30, 31, 70, 71], "{name}");
        // A row that comes twice is refused, next to its like or far from it.
        for twice in [[7, 0, 0, 2], [2, 0, 3, 2]] {
            let mut out = CodesWriter::create(&path, 4, 2, &[100, 100]).expect("create");
            out.write_with_rows(&twice, &[70, 71, 0, 1, 30, 31, 20, 21]).expect("rows");
            out.finish().expect("finish");
            let text = error(io::read_codes_file(&path));
            let number = if twice[1] == twice[2] { 0 } else { 2 };
            assert!(text.contains(&format!("row number {number} twice, in its rows")), "{name}: {text}");
            assert!(text.contains(name), "{text}");
        }
    }
}

#[test]
fn keys_are_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let keys: Vec<String> = ["plain", "a, \"b\"", "ü\nx", " blank "].map(String::from).to_vec();
    let mut names = vec!["c.csv", "c.jsonl"];
    if cfg!(feature = "parquet") {
        names.push("c.parquet");
    }
    for name in names {
        let path = folder.path().join(name);
        let mut out = CodesWriter::create_keyed(&path, 4, 1, &[100]).expect("create");
        assert!(error(out.write_with_rows(&[0], &[1])).contains("expected keys = 1, got 0"));
        out.write_with_keys(&[3, 1, 2, 0], &keys, &[3, 1, 2, 0]).expect("rows");
        out.finish().expect("finish");
        let file = io::read_codes_file(&path).expect("read");
        assert_eq!(file.codes.as_slice(), [0, 1, 2, 3], "{name}");
        let want = [3, 1, 2, 0].map(|i: usize| keys[i].clone());
        assert_eq!(file.keys.as_deref(), Some(&want[..]), "{name}: keys go with their rows");
        assert_eq!(io::read_keys(&path, "key").expect("a catalogue of its own").len(), 4, "{name}");
    }
    let text = error(CodesWriter::create_keyed(folder.path().join("c.npy"), 1, 1, &[2]));
    assert!(text.contains("no place for keys"), "{text}");
    let mut plain = CodesWriter::create(folder.path().join("p.csv"), 1, 1, &[2]).expect("create");
    assert!(error(plain.write_with_keys(&[0], &keys[..1], &[0])).contains("expected keys = 0, got 1"));
}

/// The row number column of other programs: any width, never passed over.
#[cfg(feature = "parquet")]
#[test]
fn row_columns_of_any_integer_type_are_read() {
    use arrow_array::{ArrayRef, Float64Array, Int32Array, ListArray, RecordBatch, UInt16Array, types::Int32Type};
    use std::sync::Arc;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("c.parquet");
    let write = |rows: ArrayRef| {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(5)]), Some(vec![Some(6)])]);
        let batch = RecordBatch::try_from_iter([("row", rows), ("codes", Arc::new(lists) as ArrayRef)]).expect("batch");
        let file = fs::File::create(&path).expect("file");
        let mut out = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("writer");
        out.write(&batch).expect("write");
        out.close().expect("close");
    };
    for rows in [Arc::new(Int32Array::from(vec![1, 0])) as ArrayRef, Arc::new(UInt16Array::from(vec![1, 0]))] {
        write(rows);
        let file = io::read_codes_file(&path).expect("read");
        assert_eq!((file.rows, file.codes.as_slice()), (Some(vec![0, 1]), &[6, 5][..]));
    }
    write(Arc::new(Float64Array::from(vec![1.0, 0.0])));
    assert!(error(io::read_codes_file(&path)).contains("its column `row` holds Float64, expected whole numbers"));
}

#[test]
fn an_index_of_tokens_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let read = |text: &str| {
        let path = folder.path().join("index.json");
        fs::write(&path, text).expect("write");
        io::read_codes_file(&path)
    };
    let file = read("{\"9\": [\"<a_1>\", \"<b_20>\"],\n\"x\": [\"<a_3>\",\"<b_4>\"]}\n").expect("read");
    assert_eq!(file.codes, Codes::from_vec(2, 2, vec![1, 20, 3, 4]).expect("codes"));
    assert_eq!((file.keys, file.rows), (Some(vec!["9".into(), "x".into()]), None));
    let file =
        read("{\"k\": [\"<|sid_begin|>\", \"<s_a_12>\", \"[SEM_1_5]\", \"é7\", \"8\", \"<|end|>\"]}").expect("read");
    assert_eq!(file.codes.as_slice(), [12, 5, 7, 8]);
    for (text, part) in [
        ("{\"a\": [\"<a_1>\"], \"a\": [\"<a_2>\"]}", "the key `a` stands twice"),
        ("{\"a\": [\"<a_1>\", \"<b>\", \"<c_2>\"]}", "item `a`: the token `<b>` holds no code"),
        ("{\"a\": [\"<a_1>\"], \"b\": [\"<a_1>\", \"<b_1>\"]}", "expected levels = 1, got 2"),
        ("{\"a\": [\"<a_4294967296>\"]}", "holds 4294967296, expected a code"),
        ("{\"a\": [\"<a_99999999999999999999999999999999999999999>\"]}", "expected a code"),
        ("{\"a\": []}", "row 0 holds no codes"),
        ("{\"a\": [1]}", "line 1, column 9"),
        ("{\"a\":\n[\"<a_1>\"", "line 2, column 8: EOF"),
        ("[1]", "expected an object of lists of tokens"),
        ("{}", "holds no codes"),
    ] {
        let problem = error(read(text));
        assert!(problem.contains(part) && problem.contains("index.json"), "{part}: {problem}");
    }
}
