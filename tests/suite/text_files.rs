//! Text files as people's programs write them: quotes, blank lines, NaN, half characters, long numbers, Python, names of columns.

use std::fs;
use std::path::{Path, PathBuf};

use sememe::io::{self, EventFields, EventItem};
use sememe::{Error, Result};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("write");
        path
    }
}

/// Every reader of CSV, by what it is for.
type Reader = (&'static str, fn(&Path) -> Result<()>);

fn events(path: &Path) -> Result<io::EventsFile> {
    io::read_events(path, &EventFields::default(), &|item| match item {
        EventItem::Number(number) => u32::try_from(number).ok(),
        EventItem::Text(_) => Some(7),
    })
}

const READERS: [Reader; 6] = [
    ("titles", |path| io::read_titles(path, "id").map(drop)),
    ("keys", |path| io::read_keys(path, "id").map(drop)),
    ("labels", |path| io::read_labels(path, "id").map(drop)),
    ("events", |path| events(path).map(drop)),
    ("codes", |path| io::read_codes(path).map(drop)),
    ("ids", |path| io::read_ids(path, &mut |_| Ok(())).map(drop)),
];

#[test]
fn no_reader_of_csv_swallows_rows() {
    let folder = Folder::new();
    let head = "id,item,user,code_0\n1,1,1,1\n";
    for (what, read) in READERS {
        let fails = |text: &str, part: &str| {
            let error = read(&folder.file("a.csv", text)).map_err(|e| e.to_string()).expect_err(what);
            assert!(error.contains(part), "{what}: {error}");
        };
        read(&folder.file("a.csv", format!("\u{FEFF}{head}2,2,\"2\",2\n"))).expect(what);
        fails(&format!("{head}2,\"2,2,2\n3,3,3,3\n"), "line 3: a quote is not closed");
        fails(&format!("{head}2,\"2,2,2\n3,\"3\",3,3\n"), "line 3: a quote is not closed; the next one");
        fails(&format!("{head}2,\"2\"x,2,2\n"), "line 3: a quote within a quoted field is followed by `x`");
        fails(&format!("{head}2,2,2\n"), "line 3: expected 4 fields, got 3");
        let error = read(&folder.file("a.csv", b"\xFF\xFEi\0d\0")).map_err(|e| e.to_string()).expect_err(what);
        assert!(error.contains("is UTF-16"), "{what}: {error}");
    }
}

#[test]
fn a_table_of_one_column_keeps_its_rows() {
    let folder = Folder::new();
    let read = |text: &str| io::read_labels(folder.file("a.csv", text), "label");
    assert_eq!(read("label\na\n\"\"\nb\n\n").expect("read"), ["a", "", "b"]);
    let error = read("label\na\n\nb\n").expect_err("a row would be lost").to_string();
    assert!(error.contains("line 3 is blank"), "{error}");
    let read = |name: &str, text: &str| io::read_titles(folder.file(name, text), "title");
    assert_eq!(read("a.tsv", "id\ttitle\n1\t\"Rocky\" Road\n2\t\"Half\n").expect("tsv"), ["\"Rocky\" Road", "\"Half"]);
    let error = read("a.tsv", "id\ttitle\n1\t\"two\nlines\"\n").expect_err("no quoting").to_string();
    assert!(error.contains("line 2") || error.contains("line 3"), "{error}");
    assert!(error.contains("in .tsv quotes are letters"), "{error}");
    let error = read("a.csv", "id;title\n1;x\n").expect_err("semicolons").to_string();
    assert!(error.contains("has no column `title`") && error.contains("parted by something else"), "{error}");
}

#[test]
fn json_lines_are_read_as_python_writes_them() {
    let folder = Folder::new();
    let lines = "{\"id\":18446744073709551616,\"title\":\"half \\ud83d\",\"price\":NaN,\"d\":{\"x\":\"in\"}}\n\
                 {\"id\":2,\"title\":\"whole \\ud83d\\ude00\",\"price\":-Infinity,\"d\":{\"x\":\"side\"}}\n";
    let path = folder.file("a.jsonl", lines);
    assert_eq!(io::read_titles(&path, "title").expect("titles"), ["half \u{FFFD}", "whole 😀"]);
    assert_eq!(io::read_keys(&path, "id").expect("keys"), ["18446744073709551616", "2"]);
    assert_eq!(io::read_labels(&path, "d.x").expect("labels"), ["in", "side"]);
    let error = io::read_labels(&path, "price").expect_err("nothing but NaN").to_string();
    assert!(error.contains("`price` is"), "{error}");
    let path = folder.file("e.jsonl", "{\"user\":\"u\",\"item\":18446744073709551616,\"rating\":NaN}\n");
    let named = |item: EventItem<'_>| (item == EventItem::Text("18446744073709551616")).then_some(0);
    assert_eq!(io::read_events(&path, &EventFields::default(), &named).expect("events").sequences.events(), 1);
    let python = folder.file("p.jsonl", "{'id': 'B1', 'title': None}\n");
    for error in [
        io::read_titles(&python, "title").map(drop),
        io::read_keys(&python, "id").map(drop),
        events(&python).map(drop),
        io::read_codes(&python).map(drop),
        io::read_ids(&python, &mut |_| Ok(())),
    ] {
        let error = error.expect_err("no JSON").to_string();
        assert!(error.contains("line 1: a Python literal, not JSON"), "{error}");
        assert!(error.contains("json.dumps(ast.literal_eval(line))"), "{error}");
    }
}

#[test]
fn events_are_read_as_they_are_published() {
    let folder = Folder::new();
    let lists = |file: io::EventsFile| file.sequences.iter().map(<[u32]>::to_vec).collect::<Vec<_>>();
    for (name, text) in [
        ("m.csv", "userId,movieId,rating,timestamp\n1,2,4.0,9\n1,1,3.0,8\n2,3,3.0,1\n"),
        ("m.tsv", "uid\tiid\ttime\na\t2\t9\na\t1\t8\nb\t3\t1\n"),
        (
            "a.jsonl",
            "{\"reviewerID\":\"a\",\"asin\":2,\"unixReviewTime\":9}\n{\"reviewerID\":\"a\",\"asin\":1,\"unixReviewTime\":\"8\"}\n\
             {\"reviewerID\":\"b\",\"asin\":3,\"unixReviewTime\":1}\n",
        ),
    ] {
        assert_eq!(lists(events(&folder.file(name, text)).expect(name)), [vec![1, 2], vec![3]], "{name}");
    }
    let path = folder.file("own.csv", "who,what,when,user,item,time\nx,2,9,q,9,0\nx,1,8,q,9,1\n");
    let own = |user: &str, time: Option<&str>| EventFields {
        user: Some(user.into()),
        item: Some("what".into()),
        time: time.map(str::to_owned),
    };
    let read = |fields: &EventFields| {
        io::read_events(&path, fields, &|item| match item {
            EventItem::Number(number) => u32::try_from(number).ok(),
            EventItem::Text(_) => None,
        })
    };
    assert_eq!(lists(read(&own("who", Some("when"))).expect("named")), [vec![1, 2]]);
    // Without a time of its own, the usual name is taken.
    assert_eq!(lists(read(&own("who", None)).expect("named")), [vec![2, 1]]);
    for (fields, parts) in [
        (own("whom", None), &["`whom`", "`who`, `what`, `when`"][..]),
        (own("who", Some("then")), &["`then`", "`who`, `what`, `when`"]),
    ] {
        let error = read(&fields).expect_err("no such column").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let error = events(&folder.file("none.csv", "a,b\n1,2\n")).expect_err("no column").to_string();
    assert!(error.contains("a user (`user`") && error.contains("an item (`item`"), "{error}");
    assert!(error.contains("say what they are called") && error.contains("`a`, `b`"), "{error}");
    let error = events(&folder.file("none.jsonl", "{\"a\":1}\n")).expect_err("no field").to_string();
    assert!(error.contains("line 1: expected a list `items`, or a user") && error.contains("it holds `a`"), "{error}");
    let empty = EventFields { user: Some(" ".into()), ..EventFields::default() };
    assert!(matches!(empty.validate(), Err(Error::Config { field, .. }) if field == "event_fields.user"));
}

#[cfg(feature = "parquet")]
#[test]
fn events_and_fields_of_structs_are_read_from_parquet() {
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::{DataType, Field};
    use std::sync::Arc;

    let folder = Folder::new();
    let path = folder.0.path().join("e.parquet");
    let brand: ArrayRef = Arc::new(StringArray::from(vec![Some("Acme"), None, Some("Ajax")]));
    let details = StructArray::from(vec![(Arc::new(Field::new("Brand", DataType::Utf8, true)), brand)]);
    let batch = RecordBatch::try_from_iter([
        ("user_id", Arc::new(StringArray::from(vec!["u", "u", "v"])) as ArrayRef),
        ("parent_asin", Arc::new(Int64Array::from(vec![2, 1, 3])) as ArrayRef),
        ("timestamp", Arc::new(Int64Array::from(vec![9, 8, 1])) as ArrayRef),
        ("details", Arc::new(details) as ArrayRef),
    ])
    .expect("a batch");
    let file = fs::File::create(&path).expect("a file");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    let lists: Vec<Vec<u32>> = events(&path).expect("events").sequences.iter().map(<[u32]>::to_vec).collect();
    assert_eq!(lists, [vec![1, 2], vec![3]]);
    assert_eq!(io::read_labels(&path, "details.Brand").expect("labels"), ["Acme", "", "Ajax"]);
    let error = io::read_labels(&path, "details.Colour").expect_err("no such field").to_string();
    assert!(error.contains("has no column `details.Colour`"), "{error}");
}
