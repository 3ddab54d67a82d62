//! Formats: files that other programs wrote, round trips, choice of array, atomic files.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sememe::io::{self, CodesWriter, OpenOptions, RowsWriter};
use sememe::{Codes, RowSource};
use sememe_testkit::files::{error, npy_v1};

/// A file of `tests/fixtures`, made by its `make.py`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The 5 × 4 values that every fixture holds.
pub fn expected() -> Vec<f32> {
    (0..20).map(|i| i as f32 * 0.25 - 3.0).collect()
}

pub fn array(name: &str) -> OpenOptions {
    OpenOptions { array: Some(name.into()), ..OpenOptions::default() }
}

pub fn all(source: &dyn RowSource) -> Vec<f32> {
    let mut out = vec![f32::NAN; source.rows() * source.dims()];
    source.read_rows(0, &mut out).expect("whole range");
    out
}

/// Opens, compares with [`expected`], and reads every range, in two orders.
fn check(name: &str, options: &OpenOptions) {
    let source = io::open(fixture(name), options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((source.rows(), source.dims()), (5, 4), "{name}");
    let want = expected();
    assert_eq!(all(&source), want, "{name}");
    let ranges = (0..=5).flat_map(|start| (0..=5 - start).map(move |count| (start, count)));
    let ranges: Vec<_> = ranges.collect();
    for &(start, count) in ranges.iter().chain(ranges.iter().rev()) {
        let mut out = vec![f32::NAN; count * 4];
        source.read_rows(start, &mut out).unwrap_or_else(|e| panic!("{name} {start}+{count}: {e}"));
        assert_eq!(out, want[start * 4..(start + count) * 4], "{name} {start}+{count}");
    }
    // Row by row, which is what reading ahead is for.
    for (i, row) in want.chunks(4).enumerate() {
        let mut out = [f32::NAN; 4];
        source.read_rows(i, &mut out).expect("one row");
        assert_eq!(out, row);
    }
    for (start, values) in [(5, 4), (4, 8), (usize::MAX, 4)] {
        let text = error(source.read_rows(start, &mut vec![0.0; values]));
        assert!(text.contains("past the 5 rows"), "{text}");
    }
    assert!(error(source.read_rows(0, &mut [0.0; 6])).contains("expected values = 4, got 6"));
}

#[test]
fn npy_files_of_numpy_are_read() {
    for order in ["le", "be"] {
        for kind in ["f2", "f4", "f8"] {
            check(&format!("{order}_{kind}.npy"), &OpenOptions::default());
            check(&format!("{order}_{kind}_fortran.npy"), &OpenOptions::default());
        }
    }
    check("version_2.npy", &OpenOptions::default());
    check("version_3.npy", &OpenOptions::default());
}

#[test]
fn npz_files_of_numpy_are_read() {
    check("stored.npz", &array("text"));
    check("deflated.npz", &array("text"));
    check("usual.npz", &OpenOptions::default());
    check("single.npz", &OpenOptions::default());
    let text = error(io::open(fixture("stored.npz"), &OpenOptions::default()));
    for part in ["2 of its arrays", "`array`", "`ids` (5,) int64", "`text` (5, 4) float16", "`image` (5, 2) float32"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = error(io::open(fixture("deflated.npz"), &array("txt")));
    assert!(text.contains("has no array `txt`; it holds `ids` (5,) int64"), "{text}");
}

#[test]
fn safetensors_files_are_read() {
    for name in ["b", "f16", "f32", "f64"] {
        check("kinds.safetensors", &array(name));
    }
    let text = error(io::open(fixture("kinds.safetensors"), &OpenOptions::default()));
    assert!(text.contains("4 of its tensors") && text.contains("`b` (5, 4) BF16"), "{text}");
    let text = error(io::open(fixture("kinds.safetensors"), &array("ids")));
    assert!(text.contains("`ids`: holds I64, expected F16, BF16, F32, F64, I8 or U8"), "{text}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_of_pyarrow_are_read() {
    for name in ["list_f4", "list_f8", "large_f4", "fixed_f4", "fixed_f2", "fixed_f8", "gzip", "zstd"] {
        check(&format!("{name}.parquet"), &OpenOptions::default());
    }
    check("two_columns.parquet", &array("a"));
    check("two_columns.parquet", &array("b"));
    let text = error(io::open(fixture("two_columns.parquet"), &OpenOptions::default()));
    assert!(text.contains("2 of its columns") && text.contains("`a` List"), "{text}");
    let text = error(io::open(fixture("list_f4.parquet"), &array("title")));
    assert!(text.contains("`title`: holds Utf8, expected lists of float16, float32, float64, int8 or uint8; if these are lists written as text"), "{text}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_ragged_rows_are_named() {
    let open = |name: &str| -> String {
        match io::open(fixture(name), &OpenOptions::default()) {
            Ok(source) => error(source.read_rows(0, &mut vec![0.0; source.rows() * source.dims()])),
            Err(e) => e.to_string(),
        }
    };
    let text = open("ragged.parquet");
    assert!(text.contains("expected d = 4, got 3") && text.contains("row 2"), "{text}");
    let text = open("ragged_even.parquet");
    assert!(text.contains("expected d = 4, got 3") && text.contains("row 1"), "{text}");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_without_its_feature_says_so() {
    let text = error(io::open(fixture("list_f4.parquet"), &OpenOptions::default()));
    assert!(text.contains("build with the feature `parquet`"), "{text}");
    assert!(error(io::read_codes(fixture("codes.parquet"))).contains("build with the feature `parquet`"));
    assert!(error(CodesWriter::create("codes.parquet", 1, 1, &[2])).contains("build with the feature `parquet`"));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_larger_than_a_batch_is_read_forwards_and_backwards() {
    use arrow_array::types::Float32Type;
    use arrow_array::{ArrayRef, FixedSizeListArray, RecordBatch};
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("large.parquet");
    let (rows, dims) = (5000usize, 640usize);
    let value = |i: usize, c: usize| (i * 7 + c) as f32;
    let list = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..rows).map(|i| Some((0..dims).map(|c| Some(value(i, c))).collect::<Vec<_>>())),
        dims as i32,
    );
    let batch = RecordBatch::try_from_iter([("v", std::sync::Arc::new(list) as ArrayRef)]).expect("batch");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(1900))
        .set_dictionary_enabled(false)
        .build();
    let file = fs::File::create(&path).expect("file");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("writer");
    writer.write(&batch).expect("write");
    writer.close().expect("close");

    let source = io::open(&path, &OpenOptions::default()).expect("open");
    assert_eq!((source.rows(), source.dims()), (rows, dims));
    let starts: Vec<usize> = (0..rows).step_by(617).collect();
    for &start in starts.iter().chain(starts.iter().rev()).chain(&[1899, 1900, 1898, 4999, 0]) {
        let count = 700.min(rows - start);
        let mut out = vec![f32::NAN; count * dims];
        source.read_rows(start, &mut out).expect("range");
        for (at, v) in out.iter().enumerate() {
            assert_eq!(*v, value(start + at / dims, at % dims), "from {start}");
        }
    }
}

#[test]
fn a_fortran_array_larger_than_its_buffers_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("columns.npy");
    let (rows, dims) = (300_001usize, 5usize);
    let dict = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': ({rows}, {dims})}}\n");
    let mut bytes = npy_v1(&dict);
    let value = |i: usize, c: usize| (c * rows + i) as f32;
    bytes.extend((0..dims).flat_map(|c| (0..rows).flat_map(move |i| value(i, c).to_le_bytes())));
    fs::write(&path, bytes).expect("write");
    let source = io::open(&path, &OpenOptions::default()).expect("open");
    let right =
        |start: usize, out: &[f32]| out.iter().enumerate().all(|(at, v)| *v == value(start + at / dims, at % dims));
    assert!(right(0, &all(&source)));
    for start in (0..rows).step_by(997).chain([rows - 1, 17, 18]) {
        let mut out = vec![f32::NAN; 997.min(rows - start) * dims];
        source.read_rows(start, &mut out).expect("range");
        assert!(right(start, &out), "from {start}");
    }
}

#[test]
fn what_is_no_float_matrix_is_refused_by_name() {
    let cases = [
        ("object.npy", "Python objects"),
        ("record.npy", "structured dtype"),
        ("ints.npy", "holds int64, expected float16, float32, float64, int8 or uint8"),
        ("complex.npy", "`<c8` (complex64)"),
        ("flat.npy", "(20,) has 1 dimension, expected [rows, dims]; reshape"),
        ("cube.npy", "(5, 2, 2) has 3 dimensions, expected 2; flatten"),
        ("no_rows.npy", "(0, 4) holds no values"),
    ];
    for (name, part) in cases {
        let text = error(io::open(fixture(name), &OpenOptions::default()));
        assert!(text.contains(part) && text.contains(name), "{part}: {text}");
    }
}

#[test]
fn a_double_beyond_f32_arrives_as_infinity() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("big.npy");
    let mut bytes = npy_v1("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }");
    bytes.extend([1e300f64, -1e300].iter().flat_map(|v| v.to_le_bytes()));
    fs::write(&path, bytes).expect("write");
    let source = io::open(&path, &OpenOptions::default()).expect("open");
    assert_eq!(all(&source), [f32::INFINITY, f32::NEG_INFINITY]);
    let text = error(sememe::Screened::new(source, sememe::BadRows::Refuse));
    assert!(
        text.contains("1 of 1 rows hold NaN, infinity, a missing value or a number too large for float32")
            && text.contains("big.npy"),
        "{text}"
    );
}

#[test]
fn rows_are_written_and_read_back() {
    let folder = tempfile::tempdir().expect("folder");
    for name in ["rows.npy", "rows.safetensors"] {
        let path = folder.path().join(name);
        let (rows, dims) = (70_001usize, 3usize);
        let values: Vec<f32> = (0..rows * dims).map(|i| (i as f32).sin()).collect();
        let mut out = RowsWriter::create(&path, rows, dims).expect("create");
        out.write(&values[..3]).expect("one row");
        out.write(&[]).expect("none");
        out.write(&values[3..]).expect("the rest");
        assert!(!path.exists(), "{name} appeared before it was complete");
        out.finish().expect("finish");
        assert_eq!(all(&io::open(&path, &OpenOptions::default()).expect("open")), values);
    }
    let bytes = fs::read(folder.path().join("rows.safetensors")).expect("read");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("as the reference reads it");
    assert_eq!(tensors.tensor("embeddings").expect("tensor").shape(), [70_001, 3]);
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 2, "temporary files were left behind");
}

#[test]
fn rows_fewer_or_more_than_announced_are_errors_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("rows.npy");
    let mut out = RowsWriter::create(&path, 2, 2).expect("create");
    assert!(error(out.write(&[1.0])).contains("expected values = 0, got 1"));
    assert!(error(out.write(&[0.0; 6])).contains("expected rows = 2, got 3"));
    out.write(&[0.0; 2]).expect("one row");
    assert!(error(out.finish()).contains("expected rows = 2, got 1"));
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
    assert!(error(RowsWriter::create(folder.path().join("rows.txt"), 2, 2)).contains("got `.txt`"));
    assert!(error(RowsWriter::create(&path, 0, 2)).contains("(0, 2)"));
    assert!(error(RowsWriter::create(&path, usize::MAX, 2)).contains("cannot be written"));
}

const EXTENSIONS: &[&str] =
    if cfg!(feature = "parquet") { &["npy", "jsonl", "csv", "parquet"] } else { &["npy", "jsonl", "csv"] };

#[test]
fn codes_are_written_and_read_back() {
    let folder = tempfile::tempdir().expect("folder");
    for sizes in [[65_536usize, 4, 9], [65_537, 4, 9]] {
        for extension in EXTENSIONS {
            let path = folder.path().join(format!("codes.{extension}"));
            let rows = 40_003usize;
            let codes: Vec<u32> = (0..rows).flat_map(|i| [(i % sizes[0]) as u32 | 1, (i % 4) as u32, 8]).collect();
            let numbers: Vec<u64> = (0..rows as u64).map(|i| i * 3).collect();
            let mut out = CodesWriter::create(&path, rows, 3, &sizes).expect("create");
            out.write_with_rows(&numbers[..2], &codes[..6]).expect("two rows");
            out.write_with_rows(&numbers[2..], &codes[6..]).expect("the rest");
            out.finish().expect("finish");
            let back = io::read_codes_file(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(back.codes, Codes::from_vec(rows, 3, codes).expect("codes"), "{extension}");
            assert_eq!(back.rows, (*extension != "npy").then_some(numbers), "{extension}");
        }
        let text = fs::read(folder.path().join("codes.npy")).expect("read");
        let descr: &[u8] = if sizes[0] == 65_536 { b"'<u2'" } else { b"'<u4'" };
        assert!(text[..128].windows(5).any(|w| w == descr));
    }
}

#[test]
fn codes_without_row_numbers_are_numbered_from_zero() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("codes.jsonl");
    let mut out = CodesWriter::create(&path, 3, 1, &[4]).expect("create");
    out.write(&[3]).expect("write");
    out.write(&[1, 2]).expect("write");
    out.finish().expect("finish");
    let text = fs::read_to_string(&path).expect("read");
    assert_eq!(text, "{\"row\":0,\"codes\":[3]}\n{\"row\":1,\"codes\":[1]}\n{\"row\":2,\"codes\":[2]}\n");
}

#[test]
fn wrong_codes_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    for extension in EXTENSIONS {
        let path = folder.path().join(format!("codes.{extension}"));
        let mut out = CodesWriter::create(&path, 2, 2, &[4, 8]).expect("create");
        assert!(error(out.write(&[1])).contains("expected codes = 0, got 1"));
        assert!(error(out.write(&[0; 6])).contains("expected rows = 2, got 3"));
        assert!(error(out.write_with_rows(&[0], &[0; 4])).contains("expected codes = 2, got 4"));
        let text = error(out.write(&[0, 0, 3, 8]));
        assert!(text.contains("row 1 has code 8 in level 1, whose codebook has 8 codewords"), "{text}");
        out.write(&[3, 7]).expect("one row");
        assert!(error(out.finish()).contains("expected rows = 2, got 1"));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
    let create =
        |name: &str, rows, sizes: &[usize]| error(CodesWriter::create(folder.path().join(name), rows, 2, sizes));
    assert!(create("codes.txt", 1, &[4, 4]).contains("got `.txt`"));
    assert!(create("codes.npy", 1, &[4]).contains("expected levels = 2, got 1"));
    assert!(create("codes.npy", 1, &[4, 0]).contains("expected 1 to 2^32, got 0"));
    assert!(create("codes.npy", 0, &[4, 4]).contains("(0, 2)"));
}

#[test]
fn codes_of_other_programs_are_read() {
    let want = Codes::from_vec(3, 3, vec![1, 2, 3, 255, 0, 7, 40000, 5, 6]).expect("codes");
    assert_eq!(io::read_codes(fixture("ints.npy")).expect("int64"), want);
    #[cfg(feature = "parquet")]
    {
        let file = io::read_codes_file(fixture("codes.parquet")).expect("parquet");
        assert_eq!((file.codes, file.rows), (want, Some(vec![0, 2, 5])));
    }
    let folder = tempfile::tempdir().expect("folder");
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("write");
        io::read_codes(&path)
    };
    let npy = |dict: &str, data: &[u8]| [npy_v1(dict), data.to_vec()].concat();
    let codes = |values: &[u32]| Codes::from_vec(2, values.len() / 2, values.to_vec()).expect("codes");
    let fortran = npy("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2)}", &[0, 1, 0, 2, 1, 0, 0, 3]);
    assert_eq!(read("a.npy", &fortran).expect("fortran"), codes(&[1, 256, 2, 3]));
    let bytes = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1)}", &[255, 7]);
    assert_eq!(read("a.npy", &bytes).expect("bytes"), codes(&[255, 7]));
    let text = error(read("a.npy", &npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 1)}", &[1, 255])));
    assert!(text.contains("row 1 holds -1"), "{text}");
    let csv = b"code_0,code_1,row,title\n1,2,9,x\n3,4,11,\"a,b\"\n";
    assert_eq!(read("a.csv", csv).expect("csv"), codes(&[1, 2, 3, 4]));
    let jsonl = b"\xEF\xBB\xBF{\"title\":\"x\",\"codes\":[1,2]}\r\n{\"codes\":[3,4]}\n\n";
    assert_eq!(read("a.jsonl", jsonl).expect("jsonl"), codes(&[1, 2, 3, 4]));
    for (name, bytes, part) in [
        ("a.jsonl", &b"{\"codes\":[1,-2]}"[..], "row 0 holds -2"),
        ("a.jsonl", b"{\"codes\":[1,2]}\n{\"codes\":[1]}", "expected levels = 2, got 1"),
        ("a.jsonl", b"{\"codes\":[1,2]}\n\n{\"codes\":[1,2]}", "line 2 is blank"),
        ("a.jsonl", b"{\"codes\":[1]}\n{\"codes\":[1.5]}", "line 2, column 12: "),
        ("a.jsonl", b"{\"codes\":[1],\"row\":0}\n{\"codes\":[1]}", "only 1 of 2 rows"),
        ("a.jsonl", b"{\"codes\":[]}", "row 0 holds no codes"),
        ("a.jsonl", b"{\"codes\":[4294967296]}", "row 0 holds 4294967296"),
        ("a.jsonl", b"{\"codes\":[1], \"t\":\"\xff\"}", "line 1 is not UTF-8 from column 20 on"),
        ("a.csv", b"a,b\n1,2\n", "has no column `code_0`; it holds `a`, `b`"),
        ("a.csv", b"code_0\n1\nx\n", "line 3: `x` is not an integer"),
        ("a.csv", b"code_0\n1\n1,2\n", "line 3: expected 1 fields, got 2"),
        ("a.csv", b"code_0\n", "holds no codes"),
        ("a.txt", b"1", "got `.txt`"),
    ] {
        let text = error(read(name, bytes));
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn titles_are_read() {
    let folder = tempfile::tempdir().expect("folder");
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("write");
        io::read_titles(&path, "title")
    };
    let jsonl = "{\"id\":1,\"title\":\"Übermut\"}\n{\"title\":\"1984\"}\n".as_bytes();
    assert_eq!(read("a.jsonl", jsonl).expect("jsonl"), ["Übermut", "1984"]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(jsonl).expect("deflate");
    let gz = gz.finish().expect("deflate");
    assert_eq!(read("a.jsonl.gz", &gz).expect("gz"), ["Übermut", "1984"]);
    assert!(read("a.jsonl.gz", &gz[..gz.len() - 9]).is_err());
    assert_eq!(read("a.csv", b"id,title\n1,\"a, b\"\n2,c\n").expect("csv"), ["a, b", "c"]);
    for (name, bytes, part) in [
        ("a.jsonl", &b"{\"title\":\"a\"}\n{\"name\":\"b\"}"[..], "line 2: has no `title`; it holds `name`"),
        ("a.jsonl", b"{\"title\":3}", "line 1: `title` is a number, expected text"),
        ("a.jsonl", b"{\"title\":\"a\"}\n[1]", "line 2: expected an object"),
        ("a.jsonl", b"{\"title\":\"a\"", "line 1, column 12: EOF"),
        ("a.csv", b"id,name\n1,2\n", "has no column `title`; it holds `id`, `name`"),
        ("a.txt", b"x", "got `.txt`"),
    ] {
        let text = error(read(name, bytes));
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_atomic_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.txt");
    io::write_bytes_atomic(&path, b"old").expect("write");
    let mut file = io::AtomicFile::create(&path).expect("create");
    file.put(b"new content").expect("put");
    file.seek(SeekFrom::Start(0)).expect("seek");
    file.write_all(b"N").expect("write");
    assert_eq!(fs::read(&path).expect("read"), b"old");
    drop(file);
    assert_eq!(fs::read(&path).expect("read"), b"old");
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1, "the temporary file was left behind");
    let mut one = io::AtomicFile::create(&path).expect("create");
    let mut two = io::AtomicFile::create(&path).expect("two at once");
    one.put(b"one").expect("put");
    two.put(b"two").expect("put");
    one.commit().expect("commit");
    two.commit().expect("commit");
    assert_eq!(io::read_bytes_capped(&path, 3).expect("read"), b"two");
    let text = error(io::read_bytes_capped(&path, 2));
    assert!(text.contains("has 3 bytes, at most 2 are read"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
}

#[cfg(unix)]
#[test]
fn an_atomic_file_keeps_permissions_and_follows_links() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let (path, link) = (folder.path().join("a.txt"), folder.path().join("link"));
    fs::write(&path, b"old").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
    std::os::unix::fs::symlink("a.txt", &link).expect("link");
    io::write_bytes_atomic(&link, b"new").expect("write");
    assert!(link.is_symlink());
    assert_eq!(fs::read(&path).expect("read"), b"new");
    assert_eq!(fs::metadata(&path).expect("meta").permissions().mode() & 0o777, 0o600);
}

/// Any other fault is no absence: what is taken for absent is made anew, in the place of what is there.
#[test]
fn only_what_is_not_there_is_absent() {
    let folder = tempfile::tempdir().expect("folder");
    let (file, none) = (folder.path().join("a"), folder.path().join("none"));
    fs::write(&file, b"x").expect("write");
    assert_eq!(io::read_if_there(&file, 9).expect("there"), Some(b"x".to_vec()));
    assert_eq!(io::read_if_there(&none, 9).expect("absent"), None);
    assert!(io::is_there(&file).expect("there") && !io::is_there(&none).expect("absent"));
    io::remove_if_there(&none).expect("absent");
    // Larger than asked for, a folder, a name below a file: all are there, or cannot be told.
    fs::write(&file, b"xyz").expect("write");
    assert!(io::read_if_there(&file, 2).is_err());
    assert!(io::read_if_there(folder.path(), 9).is_err());
    assert!(io::remove_if_there(folder.path()).is_err() && folder.path().is_dir());
    #[cfg(unix)]
    {
        assert!(io::read_if_there(file.join("below"), 9).is_err());
        assert!(io::is_there(file.join("below")).is_err());
    }
    io::remove_if_there(&file).expect("there");
    assert!(!file.exists());
}
