//! Rows as others keep them: lists in JSON lines, 8-bit integers, shards, and parquet with what is missing in it.

use sememe::RowSource as _;
use sememe::io::{self, OpenOptions};
#[cfg(feature = "parquet")]
use sememe::{BadRows, Screened};
use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::io::{all, array};
use sememe_testkit::files::{error, npy_v1};

fn npy(descr: &str, rows: usize, dims: usize, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dims}), }}");
    [npy_v1(&dict), data.to_vec()].concat()
}

fn floats(rows: usize, values: &[f32]) -> Vec<u8> {
    npy("<f4", rows, values.len() / rows, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

fn open(path: &Path) -> sememe::Result<Box<dyn sememe::RowSource>> {
    io::open(path, &OpenOptions::default())
}

#[test]
fn lists_in_json_lines_are_rows() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("rows.jsonl");
    // More than a few of the steps by which places are kept, with lines of unequal length.
    let (n, d) = (1500usize, 3usize);
    let value = |i: usize, c: usize| (i * 7 + c) as f32 * 0.37 - 100.0;
    let mut text = String::from("\u{FEFF}");
    for i in 0..n {
        let list: Vec<String> = (0..d).map(|c| value(i, c).to_string()).collect();
        let title = "é".repeat(i % 50);
        text.push_str(&format!("{{\"id\":{i},\"title\":\"{title}\",\"embedding\":[{}]}}\r\n", list.join(", ")));
    }
    text.push_str("\n\n");
    fs::write(&path, &text).expect("write");
    let rows = open(&path).expect("open");
    assert_eq!((rows.rows(), rows.dims()), (n, d));
    assert!(rows.name().contains("rows.jsonl[embedding]"), "{}", rows.name());
    let want: Vec<f32> = (0..n).flat_map(|i| (0..d).map(move |c| value(i, c))).collect();
    assert_eq!(all(&rows), want);
    // Any place, forwards and backwards, and past the end.
    let mut two = vec![0.0; 2 * d];
    for start in [1498, 0, 700, 702, 255, 256, 257, 511, 3] {
        rows.read_rows(start, &mut two).expect("rows");
        assert_eq!(two, want[start * d..(start + 2) * d], "{start}");
    }
    assert!(error(rows.read_rows(1499, &mut two)).contains("past the 1500 rows"));
    // The same, compressed.
    let path = folder.path().join("rows.jsonl.gz");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(text.as_bytes()).expect("deflate");
    fs::write(&path, gz.finish().expect("deflate")).expect("write");
    assert_eq!(all(&open(&path).expect("open")), want);
}

#[test]
fn fields_of_json_lines_are_chosen_or_asked_for() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.jsonl");
    let read = |text: &str, options: &OpenOptions| {
        fs::write(&path, text).expect("write");
        io::open(&path, options).and_then(|rows| {
            let mut out = vec![0.0; rows.rows() * rows.dims()];
            rows.read_rows(0, &mut out).map(|()| out)
        })
    };
    let any = OpenOptions::default();
    assert_eq!(read("{\"codes\":[7],\"vector\":[1,2]}", &any).expect("usual"), [1.0, 2.0]);
    assert_eq!(read("{\"tags\":[\"a\"],\"mine\":[1,2e0]}", &any).expect("only"), [1.0, 2.0]);
    assert_eq!(read("{\"a\":[1],\"b\":[2]}", &array("b")).expect("named"), [2.0]);
    // What is missing is NaN, what is too large infinity: both are found by whoever screens rows.
    let odd = read("{\"embedding\":null}\n{\"embedding\":[1,null]}\n{\"embedding\":[1e60,-0.5]}", &any).expect("odd");
    assert!(odd[..2].iter().all(|v| v.is_nan()) && odd[2] == 1.0 && odd[3].is_nan());
    assert_eq!(odd[4..], [f32::INFINITY, -0.5]);
    // As Python's json and others write: values that are none, here and in fields nobody asked for.
    let python =
        "{\"id\":NaN,\"embedding\":[1,NaN]}\n{\"embedding\":NaN}\n{\"embedding\":[-Infinity,2],\"t\":\"\\ud83d\"}\n";
    for options in [&any, &array("embedding")] {
        let odd = read(python, options).expect("what Python writes");
        assert_eq!((odd[0], odd[5]), (1.0, 2.0));
        assert!(odd[1..5].iter().all(|v| v.is_nan()), "{odd:?}");
    }
    for (text, part) in [
        ("{\"a\":[1],\"b\":[2]}", "2 fields of line 1 could be the embeddings"),
        ("{\"id\":1,\"title\":\"x\"}", "line 1 has no list of numbers; it holds `id`, `title`"),
        ("{\"embedding\":[1,2]}\n{\"embedding\":[1]}", "expected d = 2, got 1 in"),
        ("{\"embedding\":[1,2]}\n{\"id\":3}", "line 2 has no `embedding`; it holds `id`"),
        ("{\"embedding\":[1,2]}\n\n{\"embedding\":[1,2]}", "line 2 is blank"),
        ("{\"embedding\":[1,\"2\"]}", "line 1"),
        ("{\"embedding\":[1,2}", "line 1, column 18"),
        ("{\"embedding\":[1]}\n{'embedding':[1]}", "line 2: a Python literal, not JSON"),
        ("{\"embedding\":[]}", "`embedding` holds no values"),
        ("{\"embedding\":null}", "`embedding` is null in all 1 lines"),
        ("[1,2]", "line 1: expected an object"),
        ("\n\n", "holds no lines"),
    ] {
        let problem = error(read(text, &any));
        assert!(problem.contains(part) && problem.contains("a.jsonl"), "{part}: {problem}");
    }
    // A first line unlike all others sizes nothing.
    let long = format!("{{\"embedding\":[{}1]}}\n{}", "1,".repeat(9999), "{\"embedding\":[1]}\n".repeat(2000));
    let problem = error(read(&long, &any));
    assert!(problem.contains("holds 10000 values, and 2001 such lines do not fit"), "{problem}");
    // The file shrinks after it was opened.
    fs::write(&path, "{\"embedding\":[1]}\n{\"embedding\":[2]}\n").expect("write");
    let rows = open(&path).expect("open");
    fs::write(&path, "{\"embedding\":[1]}\n").expect("write");
    assert!(rows.read_rows(0, &mut [0.0; 2]).is_err());
}

#[test]
fn integers_of_8_bits_are_read_and_packed_bits_are_not() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.npy");
    let bytes: Vec<u8> = (0..=255).cycle().take(2 * 256).collect();
    fs::write(&path, npy("|i1", 2, 256, &bytes)).expect("write");
    let want: Vec<f32> = bytes.iter().map(|b| f32::from(*b as i8)).collect();
    assert_eq!(all(&open(&path).expect("int8")), want);
    fs::write(&path, npy("|i1", 4, 2, &[1, 255, 128, 127, 0, 2, 3, 4])).expect("write");
    assert_eq!(all(&open(&path).expect("narrow int8")), [1., -1., -128., 127., 0., 2., 3., 4.]);
    fs::write(&path, npy("|u1", 2, 256, &bytes)).expect("write");
    let want: Vec<f32> = bytes.iter().map(|b| f32::from(*b)).collect();
    assert_eq!(all(&open(&path).expect("uint8")), want);
    fs::write(&path, npy("|u1", 2, 8, &bytes[..16])).expect("write");
    let problem = error(open(&path));
    assert!(problem.contains("uint8, 8 a row") && problem.contains("np.unpackbits(a, axis=1)"), "{problem}");
    // The same in a container, where floats go first.
    let header = "{\"a\":{\"dtype\":\"I8\",\"shape\":[1,2],\"data_offsets\":[0,2]}}";
    let tensors =
        |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    let path = folder.path().join("a.safetensors");
    fs::write(&path, tensors(header, &[5, 251])).expect("write");
    assert_eq!(all(&open(&path).expect("I8")), [5.0, -5.0]);
    let both = "{\"a\":{\"dtype\":\"I8\",\"shape\":[1,2],\"data_offsets\":[0,2]},\
                 \"b\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[2,6]}}";
    fs::write(&path, tensors(both, &[&[5, 251][..], &1.5f32.to_le_bytes()].concat())).expect("write");
    assert_eq!(all(&open(&path).expect("floats")), [1.5]);
    assert_eq!(all(&io::open(&path, &array("a")).expect("named")), [5.0, -5.0]);
}

#[test]
fn several_files_are_one_source() {
    let folder = tempfile::tempdir().expect("folder");
    let shards = folder.path().join("d");
    fs::create_dir(&shards).expect("folder");
    // By name, not by the order in which they were written.
    for (name, rows, values) in
        [("b.npy", 1, &[5., 6.][..]), ("c.npy", 2, &[7., 8., 9., 10.]), ("a.npy", 2, &[1., 2., 3., 4.])]
    {
        fs::write(shards.join(name), floats(rows, values)).expect("write");
    }
    for name in [".hidden", "_SUCCESS"] {
        fs::write(shards.join(name), "").expect("write");
    }
    let rows = open(&shards).expect("open");
    let want: Vec<f32> = (1..=10).map(|v| v as f32).collect();
    assert_eq!((rows.rows(), rows.dims()), (5, 2));
    assert_eq!(all(&rows), want);
    for start in 0..5 {
        for count in 0..=5 - start {
            let mut out = vec![0.0; 2 * count];
            rows.read_rows(start, &mut out).expect("rows");
            assert_eq!(out, want[2 * start..2 * (start + count)]);
        }
    }
    assert!(error(rows.read_rows(4, &mut [0.0; 4])).contains("past the 5 rows"));
    let named = io::open_all(&[shards.join("c.npy"), shards.join("a.npy")], &OpenOptions::default()).expect("open");
    assert_eq!(all(&named), [7., 8., 9., 10., 1., 2., 3., 4.]);
    assert!(named.name().contains("c.npy and 1 more"));
    assert!(io::open_all::<&Path>(&[], &OpenOptions::default()).is_err());
    fs::write(shards.join("d.npy"), floats(1, &[1., 2., 3.])).expect("write");
    let problem = error(open(&shards));
    assert!(problem.contains("expected d = 2, got 3") && problem.contains("d.npy"), "{problem}");
    fs::remove_file(shards.join("d.npy")).expect("remove");
    fs::write(shards.join("notes.txt"), "").expect("write");
    assert!(error(open(&shards)).contains("holds `notes.txt`, expected files of rows only"));
    fs::remove_file(shards.join("notes.txt")).expect("remove");
    fs::write(shards.join("a.jsonl"), "{\"embedding\":[1,2]}").expect("write");
    assert!(error(open(&shards)).contains("of several formats, such as `a.jsonl` and `a.npy`"));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("folder");
    assert!(error(open(&empty)).contains("holds no files of rows"));
    // A catalogue may lie in shards as well.
    let items = folder.path().join("items");
    fs::create_dir(&items).expect("folder");
    fs::write(items.join("2.jsonl"), "{\"id\":3}\n").expect("write");
    fs::write(items.join("1.jsonl"), "{\"id\":\"a\"}\n{\"id\":2}\n").expect("write");
    assert_eq!(io::read_keys(&items, "id").expect("keys"), ["a", "2", "3"]);
}

#[cfg(feature = "parquet")]
mod parquet {
    use super::*;
    use ::parquet::arrow::ArrowWriter;
    use ::parquet::basic::{BrotliLevel, Compression};
    use ::parquet::file::properties::WriterProperties;
    use arrow_array::types::{Float32Type, Int8Type, UInt8Type};
    use arrow_array::{ArrayRef, Float32Array, Int64Array, ListArray, RecordBatch, StringArray};
    use std::sync::Arc;

    fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, compression: Compression) {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).expect("batch");
        let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(40));
        let file = fs::File::create(path).expect("file");
        let mut out = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("writer");
        out.write(&batch).expect("write");
        out.close().expect("close");
    }

    fn lists(rows: &[Option<Vec<Option<f32>>>]) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows.iter().cloned()))
    }

    fn plain(n: usize) -> Vec<Option<Vec<Option<f32>>>> {
        (0..n).map(|i| Some((0..3).map(|c| Some((i * 3 + c) as f32)).collect())).collect()
    }

    #[test]
    fn rows_that_are_null_are_dropped_and_counted_or_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("null.parquet");
        let mut rows = plain(100);
        rows[0] = None;
        rows[44] = None;
        rows[45] = None;
        rows[99] = Some(vec![Some(1.0), None, Some(2.0)]);
        write(&path, vec![("embedding", lists(&rows))], Compression::UNCOMPRESSED);
        let source = open(&path).expect("open");
        assert_eq!((source.rows(), source.dims()), (100, 3));
        let text = error(Screened::new(open(&path).expect("open"), BadRows::Refuse));
        assert!(text.contains("4 of 100 rows hold NaN, infinity, a missing value") && text.contains("row 0"), "{text}");
        let kept = Screened::new(source, BadRows::Drop).expect("kept");
        assert_eq!((kept.dropped(), kept.rows()), (&[0, 44, 45, 99][..], 96));
        let want: Vec<f32> = (0..99)
            .filter(|i| ![0, 44, 45].contains(i))
            .flat_map(|i| (0..3).map(move |c| (i * 3 + c) as f32))
            .collect();
        assert_eq!(all(&kept), want);
        // Only nulls, and rows of another length beside nulls.
        write(&path, vec![("embedding", lists(&vec![None; 70]))], Compression::UNCOMPRESSED);
        assert!(error(open(&path)).contains("all 70 rows are null"));
        let mut rows = plain(50);
        rows[2] = None;
        rows[30] = Some(vec![Some(1.0)]);
        write(&path, vec![("embedding", lists(&rows))], Compression::UNCOMPRESSED);
        let problem = match open(&path) {
            Ok(source) => error(source.read_rows(0, &mut vec![0.0; 150])),
            Err(e) => e.to_string(),
        };
        assert!(problem.contains("expected d = 3, got 1") && problem.contains("row 30"), "{problem}");
    }

    #[test]
    fn every_usual_compression_and_8_bit_lists_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.parquet");
        let want: Vec<f32> = (0..300).map(|v| v as f32).collect();
        for compression in
            [Compression::SNAPPY, Compression::LZ4_RAW, Compression::LZ4, Compression::BROTLI(BrotliLevel::default())]
        {
            write(&path, vec![("embedding", lists(&plain(100)))], compression);
            assert_eq!(all(&open(&path).expect("open")), want, "{compression:?}");
        }
        let rows = [Some(vec![Some(-5i8), Some(127)]), None, Some(vec![Some(-128), Some(0)])];
        let bytes: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int8Type, _, _>(rows));
        write(&path, vec![("embedding", bytes)], Compression::SNAPPY);
        let read = all(&open(&path).expect("int8"));
        assert_eq!((&read[..2], &read[4..]), (&[-5., 127.][..], &[-128., 0.][..]));
        assert!(read[2].is_nan() && read[3].is_nan());
        let bits: ArrayRef = Arc::new(ListArray::from_iter_primitive::<UInt8Type, _, _>([Some(vec![Some(200u8); 96])]));
        write(&path, vec![("embedding", bits)], Compression::SNAPPY);
        assert!(error(open(&path)).contains("np.unpackbits"));
    }

    #[test]
    fn columns_that_are_no_lists_say_what_to_do() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.parquet");
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["[1, 2]", "[3, 4]"]));
        write(&path, vec![("id", ids.clone()), ("embedding", text.clone())], Compression::SNAPPY);
        for options in [OpenOptions::default(), array("embedding")] {
            let problem = error(io::open(&path, &options));
            assert!(problem.contains("json.loads"), "{problem}");
        }
        let column = |v: f32| Arc::new(Float32Array::from(vec![v, v])) as ArrayRef;
        write(
            &path,
            vec![("id", ids.clone()), ("d0", column(0.)), ("d1", column(1.)), ("d2", column(2.))],
            Compression::SNAPPY,
        );
        let problem = error(open(&path));
        assert!(
            problem.contains("3 columns of numbers, `d0` to `d2`") && problem.contains("to_numpy(\"float32\")"),
            "{problem}"
        );
        // Two columns of text: nothing is guessed.
        write(&path, vec![("id", ids.clone()), ("a", text.clone()), ("b", text)], Compression::SNAPPY);
        assert!(error(open(&path)).contains("it holds `id` Int64"));
    }

    #[test]
    fn keys_lie_beside_the_rows() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.parquet");
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![10, 20]));
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
        write(&path, vec![("id", ids), ("name", names), ("embedding", lists(&plain(2)))], Compression::SNAPPY);
        assert_eq!(io::read_keys(&path, "id").expect("keys"), ["10", "20"]);
        assert!(error(io::read_keys(&path, "name")).contains("`name` of row 1 is empty"));
        assert!(error(io::read_titles(&path, "name")).contains("`name` of row 1 is empty"));
        assert_eq!(io::read_labels(&path, "name").expect("labels"), ["x", ""]);
        assert!(error(io::read_keys(&path, "embedding")).contains("expected text or whole numbers"));
        assert!(error(io::read_keys(&path, "none")).contains("has no column `none`; it holds `id`, `name`"));
    }
}
