//! Files that lie, are cut short or are full of traps: every one gives an error that names them, none a panic.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sememe::io::{self, OpenOptions};
use tempfile::TempDir;

use crate::io::{all, array, expected, fixture};
use sememe_testkit::files::{error, npy_v1};

/// A folder for one test's files.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Bench(tempfile::tempdir().expect("folder"))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("write");
        path
    }

    /// The error of opening these bytes under this name.
    fn refuses(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file(name, bytes);
        let text = error(io::open(&path, &OpenOptions::default()));
        assert!(text.contains(name), "the file is not named: {text}");
        text
    }

    fn entries(&self) -> usize {
        fs::read_dir(self.0.path()).expect("list").count()
    }
}

/// Opens and reads all; only whether it fails matters, and that it does not panic or allocate beyond reason.
fn open_and_read(path: &Path, options: &OpenOptions) -> sememe::Result<Vec<f32>> {
    let source = io::open(path, options)?;
    let (rows, dims) = (source.rows(), source.dims());
    assert!(rows > 0 && dims > 0);
    let mut out = vec![0.0; rows.min(1000) * dims.min(1 << 20)];
    if dims <= 1 << 20 {
        source.read_rows(0, &mut out)?;
        source.read_rows(rows - 1, &mut out[..dims])?;
    }
    Ok(out)
}

#[test]
fn every_prefix_of_a_file_is_refused() {
    let bench = Bench::new();
    let mut names = vec!["le_f4.npy", "le_f8_fortran.npy", "version_2.npy", "single.npz", "usual.npz"];
    if cfg!(feature = "parquet") {
        names.extend(["fixed_f4.parquet", "list_f4.parquet"]);
    }
    for name in names {
        let whole = fs::read(fixture(name)).expect("fixture");
        for len in 0..whole.len() {
            let path = bench.file(name, &whole[..len]);
            assert!(open_and_read(&path, &OpenOptions::default()).is_err(), "{name} cut to {len} bytes was read");
        }
    }
    let whole = fs::read(fixture("kinds.safetensors")).expect("fixture");
    for len in 0..whole.len() {
        let path = bench.file("kinds.safetensors", &whole[..len]);
        assert!(open_and_read(&path, &array("b")).is_err(), "safetensors cut to {len} bytes was read");
    }
    let codes = fs::read(fixture("ints.npy")).expect("fixture");
    for len in 0..codes.len() {
        assert!(io::read_codes(bench.file("codes.npy", &codes[..len])).is_err(), "codes cut to {len} bytes");
    }
}

/// A text has no length to hold it to, so a cut one is a shorter one or is refused; it never reads as other values.
#[test]
fn prefixes_of_json_rows_are_shorter_or_refused() {
    let bench = Bench::new();
    let whole = b"{\"id\":1,\"embedding\":[1.5,-2]}\n{\"id\":2,\"embedding\":[3,4e1]}\n{\"embedding\":[5,60]}\n";
    let want = [1.5, -2.0, 3.0, 40.0, 5.0, 60.0];
    let mut read_some = 0;
    for len in 0..whole.len() {
        let path = bench.file("a.jsonl", &whole[..len]);
        let read = io::open(&path, &OpenOptions::default()).and_then(|rows| {
            let mut out = vec![0.0; rows.rows() * rows.dims()];
            rows.read_rows(0, &mut out).map(|()| out)
        });
        if let Ok(values) = read {
            assert_eq!(values, want[..values.len()], "cut to {len} bytes");
            read_some += 1;
        }
        let path = bench.file("index.json", &b"{\"a\":[\"<a_1>\",\"<b_2>\"]}"[..len.min(22)]);
        assert!(io::read_codes(path).is_err(), "an index cut to {len} bytes");
    }
    assert!(read_some > 3, "uninformative: {read_some}");
}

#[test]
fn npy_headers_that_lie_are_refused_with_both_numbers() {
    let bench = Bench::new();
    let with = |descr: &str, shape: &str, data: usize| {
        let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
        bench.refuses("a.npy", &[npy_v1(&dict), vec![0; data]].concat())
    };
    let cases = [
        (with("'<f4'", "(5, 4)", 79), "claims (5, 4) `<f4`, 80 bytes, but 79 follow the header; it is truncated"),
        (with("'<f4'", "(5, 4)", 81), "claims (5, 4) `<f4`, 80 bytes, but 81 follow the header; it has bytes too many"),
        (with("'<f4'", "(4611686018427387904, 4)", 16), "overflows, and 16 bytes follow"),
        (with("'<f4'", "(9223372036854775807, 9223372036854775807)", 0), "overflows"),
        (with("'<f4'", "(1000000000000, 1000)", 64), "4000000000000000 bytes, but 64 follow"),
        (with("'<f4'", "(99999999999999999999, 4)", 64), "shape holds 99999999999999999999, expected 0 to"),
        (with("'<f4'", "(-1, 4)", 64), "shape holds -1, expected 0 to"),
        (with("'<f4'", "(True, 4)", 64), "expected integers"),
        (with("'<f4'", "(5, 0)", 0), "(5, 0) holds no values"),
        (with("'<f4'", "()", 4), "is a single number, not rows"),
        (with("'|O'", "(2, 2)", 32), "Python objects"),
        (with("[('a', '<f4')]", "(2, 2)", 16), "structured dtype"),
        (with("'<V2'", "(2, 2)", 8), "bfloat16"),
        (with("'f4'", "(2, 2)", 16), "holds `f4`"),
        (with("'|f4'", "(2, 2)", 16), "does not say its byte order"),
        (with("'<f16'", "(2, 2)", 64), "holds `<f16` (float128)"),
        (with("'<U5'", "(2, 2)", 80), "holds `<U5` (text)"),
        (with("'<f4', 'x': 1", "(2, 2)", 16), "'x'"),
        (with("'<f4', 'shape': (2, 2)", "(2, 2)", 16), "'shape' stands twice"),
        (with("'<f4'", "(2, 2)} {", 16), "expected the end of the header"),
        (with("eval('1')", "(2, 2)", 16), "expected a string"),
    ];
    for (text, part) in cases {
        assert!(text.contains(part), "{part}: {text}");
    }
    let lacking = bench.refuses("a.npy", &npy_v1("{'descr': '<f4', 'shape': (2, 2)}"));
    assert!(lacking.contains("lacks one of"), "{lacking}");
    let huge = bench.refuses("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}");
    assert!(huge.contains("header of 4294967295 bytes, at most 65536"), "{huge}");
    let beyond = bench.refuses("a.npy", b"\x93NUMPY\x01\x00\xff\xf0{}");
    assert!(beyond.contains("header of 61695 bytes, but only 2 follow"), "{beyond}");
    let version = bench.refuses("a.npy", b"\x93NUMPY\x09\x00\x02\x00{}");
    assert!(version.contains("version 9.0"), "{version}");
}

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let bench = Bench::new();
    let with = |json: &str, data: usize| {
        let len = (json.len() as u64).to_le_bytes();
        bench.refuses("a.safetensors", &[&len[..], json.as_bytes(), &vec![0; data]].concat())
    };
    let one = |shape: &str, offsets: &str| {
        format!("{{\"e\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    let two = |a: &str, b: &str| {
        format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":{a}}},\
             \"e\":{{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":{b}}}}}"
        )
    };
    let cases = [
        (
            with(&one("[2,2]", "[0,16]"), 15),
            "at bytes 0..16 of the data, expected it to start at 0 and to end within 15",
        ),
        (with(&one("[2,2]", "[0,16]"), 17), "hold 16 bytes, but 17 follow"),
        (with(&one("[2,3]", "[0,16]"), 16), "claims (2, 3) `F32`, 24 bytes, but its offsets hold 16"),
        (with(&one("[4294967296,4294967296]", "[0,16]"), 16), "too many bytes"),
        (with(&one("[2,2]", "[16,0]"), 16), "at bytes 16..0"),
        (with(&one("[2,2]", "[0,18446744073709551615]"), 16), "at bytes 0..18446744073709551615"),
        (with(&one("[2,-2]", "[0,16]"), 16), "not valid"),
        (with(&one("[4]", "[0,16]"), 16), "no 2-D tensor of floats or 8-bit integers"),
        (with(&one("[0,4]", "[0,0]"), 0), "(0, 4) holds no values"),
        (with(&two("[0,8]", "[4,12]"), 12), "`e` lies at bytes 4..12 of the data, expected it to start at 8"),
        (with(&two("[0,8]", "[12,20]"), 20), "`e` lies at bytes 12..20 of the data, expected it to start at 8"),
        (with(&two("[0,8]", "[8,16]").replace("\"a\"", "\"e\""), 16), "`e` stands twice"),
        (with("{", 0), "not valid"),
        (with("{}", 0), "it holds nothing"),
    ];
    for (text, part) in cases {
        assert!(text.contains(part), "{part}: {text}");
    }
    let huge = bench.refuses("a.safetensors", &[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    assert!(huge.contains("header of 18446744073709551615 bytes, at most 100000000"), "{huge}");
    let beyond = bench.refuses("a.safetensors", &[&90_000_000u64.to_le_bytes()[..], b"{}"].concat());
    assert!(beyond.contains("header of 90000000 bytes, but only 2 follow"), "{beyond}");
    let deep = bench.refuses("a.safetensors", &{
        let json = format!("{{\"__metadata__\":{}", "[".repeat(100_000));
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
    });
    assert!(deep.contains("not valid"), "{deep}");
}

fn zipped(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        writer.start_file(*name, options).expect("entry");
        writer.write_all(bytes).expect("content");
    }
    writer.finish().expect("archive").into_inner()
}

fn zeros_npy(rows: usize, dims: usize) -> Vec<u8> {
    let mut bytes = npy_v1(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims})}}\n"));
    bytes.resize(bytes.len() + rows * dims * 4, 0);
    bytes
}

#[test]
fn zip_bombs_are_refused_with_the_numbers() {
    let bench = Bench::new();
    let bomb = zipped(&[("e.npy", &zeros_npy(24_000, 1024))], zip::CompressionMethod::Deflated);
    assert!(bomb.len() < 1 << 20);
    let text = bench.refuses("bomb.npz", &bomb);
    assert!(text.contains("98304") && text.contains("more than `max_inflation_ratio` = 200"), "{text}");
    let path = bench.file("bomb.npz", &bomb);
    let small = OpenOptions { max_inflated_bytes: 1 << 20, ..OpenOptions::default() };
    let text = error(io::open(&path, &small));
    assert!(text.contains("more than `max_inflated_bytes` = 1048576"), "{text}");
    let trusting = OpenOptions { max_inflation_ratio: u64::MAX, ..OpenOptions::default() };
    assert_eq!(io::open(&path, &trusting).expect("the override").rows(), 24_000);
}

/// Where the first central directory record starts.
fn central(zip: &[u8]) -> usize {
    zip.windows(4).position(|w| w == b"PK\x01\x02").expect("a central directory")
}

#[test]
fn zip_directories_that_lie_are_refused() {
    use zip::CompressionMethod::{Deflated, Stored};
    let bench = Bench::new();
    let npy = fs::read(fixture("le_f4.npy")).expect("fixture");
    for method in [Stored, Deflated] {
        let good = zipped(&[("other.txt", b"words"), ("e.npy", &npy)], method);
        let path = bench.file("good.npz", &good);
        assert_eq!(all(&io::open(path, &OpenOptions::default()).expect("as it was made")), expected());
        let first = central(&good);
        let entry = first + 4 + central(&good[first + 4..]);
        // Packed size, size, offset of the local header: as far as possible off, and one off.
        for (at, name) in [(20, "packed size"), (24, "size"), (42, "offset")] {
            let now = u32::from_le_bytes(good[entry + at..entry + at + 4].try_into().expect("four bytes"));
            for value in [0, now.wrapping_sub(1), now + 1, now + 1000, u32::MAX - 1] {
                let mut bad = good.clone();
                bad[entry + at..entry + at + 4].copy_from_slice(&value.to_le_bytes());
                let read = open_and_read(&bench.file("bad.npz", &bad), &OpenOptions::default());
                // A deflated stream ends by itself, so a packed size beyond its end changes nothing.
                if !(method == Deflated && name == "packed size" && value > now) {
                    assert!(read.is_err(), "{name} {value} in place of {now}, {method:?}, was read");
                }
            }
        }
    }
    let torch = zipped(&[("model/data.pkl", b"\x80\x02}."), ("model/data/0", b"....")], Stored);
    let text = bench.refuses("model.zip", &torch);
    assert!(text.contains("a torch checkpoint") && text.contains("safetensors"), "{text}");
    assert!(bench.refuses("empty.npz", &zipped(&[], Stored)).contains("it holds nothing"));
    let many: Vec<String> = (0..4097).map(|i| format!("{i}.npy")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert!(bench.refuses("many.npz", &zipped(&many, Stored)).contains("4097 entries, at most 4096"));
}

#[test]
fn a_corrupt_deflated_entry_is_refused() {
    let bench = Bench::new();
    let good = fs::read(fixture("usual.npz")).expect("fixture");
    let mut refused = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        if let Ok(values) = open_and_read(&bench.file("bad.npz", &bad), &array("embeddings")) {
            // The last row is read last, into the front.
            let want = [&expected()[16..20], &expected()[4..]].concat();
            assert_eq!(values, want, "byte {at} changed the values and was not noticed");
        } else {
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn pickles_are_never_run() {
    let bench = Bench::new();
    for name in ["a.pt", "a.pth", "a.pkl", "a.PT", "a.pickle"] {
        let text = bench.refuses(name, b"\x80\x04\x95");
        assert!(text.contains("would run code") && text.contains("numpy.save"), "{text}");
    }
    assert!(bench.refuses("a.bin", b"\x80\x04\x95 and so on").contains("a pickle by its first bytes"));
    assert!(error(io::open(bench.0.path().join("none.pt"), &OpenOptions::default())).contains("cannot open"));
}

#[test]
fn what_is_no_file_of_embeddings_is_refused() {
    let bench = Bench::new();
    for extension in ["npy", "npz", "safetensors", "parquet", "txt"] {
        let name = format!("empty.{extension}");
        assert!(bench.refuses(&name, b"").contains("is empty (0 bytes)"));
    }
    let text = bench.refuses("a.txt", b"hello, world");
    assert!(
        text.contains("`.txt`") && text.contains(".npy, .npz, .safetensors, .parquet and .jsonl are read"),
        "{text}"
    );
    assert!(bench.refuses("noextension", b"hello, world").contains(".npy, .npz"));
    assert!(bench.refuses("a.npy", b"hello, world").contains("is not a .npy file"));
    assert!(bench.refuses("a.npz", b"hello, world").contains("not a readable zip"));
    let text = error(io::open(bench.0.path(), &OpenOptions::default()));
    assert!(text.contains("expected files of rows only"), "{text}");
    let text = error(io::open(bench.0.path().join("none.npy"), &OpenOptions::default()));
    assert!(text.contains("cannot open") && text.contains("none.npy"), "{text}");
    assert!(error(io::read_codes(bench.0.path())).contains("is a folder"));
    assert!(error(io::read_titles(bench.0.path().join("none.csv"), "t")).contains("cannot open"));
}

#[cfg(unix)]
#[test]
fn pipes_and_forbidden_files_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let socket = bench.0.path().join("socket.npy");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
    assert!(error(io::open(&socket, &OpenOptions::default())).contains("is a pipe or a device"));
    assert!(error(io::AtomicFile::create(&socket)).contains("is a folder, a pipe or a device"));
    assert!(error(io::AtomicFile::create("/dev/full")).contains("is a folder, a pipe or a device"));
    let path = bench.file("secret.npy", &zeros_npy(1, 1));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("mode");
    if fs::read(&path).is_ok() {
        println!("skipped: this user may read everything");
    } else {
        assert!(error(io::open(&path, &OpenOptions::default())).contains("cannot open"));
    }
}

#[test]
fn a_file_cut_short_while_it_is_read_is_an_error() {
    let bench = Bench::new();
    let path = bench.file("a.npy", &zeros_npy(100_000, 8));
    let source = io::open(&path, &OpenOptions::default()).expect("open");
    let mut out = vec![1.0; 8 * 1000];
    source.read_rows(99_000, &mut out).expect("whole");
    fs::File::options().write(true).open(&path).expect("open").set_len(1 << 20).expect("cut");
    source.read_rows(0, &mut out).expect("what is left");
    let text = error(source.read_rows(99_000, &mut out));
    assert!(text.contains("a.npy") && text.contains("cut short"), "{text}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let bench = Bench::new();
    let path = bench.0.path().join("none/a.npy");
    for text in [error(io::AtomicFile::create(&path)), error(io::RowsWriter::create(&path, 1, 1))] {
        assert!(text.contains("cannot create") && text.contains("none"), "{text}");
    }
    assert!(error(io::write_bytes_atomic(bench.0.path(), b"x")).contains("is a folder"));
}

const LIMITED: &str = "SEMEME_TEST_LIMITED_FOLDER";

/// The child of the next test; does nothing unless it is started by it.
#[test]
fn limited_child() {
    let Ok(folder) = std::env::var(LIMITED) else { return };
    let folder = Path::new(&folder);
    let check = |name: &str, result: sememe::Result<()>| {
        let text = error(result);
        assert!(text.contains("cannot write") && text.contains(name) && text.contains(" bytes"), "{text}");
        assert_eq!(fs::read(folder.join("old.npy")).expect("read"), b"old");
        assert_eq!(fs::read_dir(folder).expect("list").count(), 1, "{name} left something behind");
    };
    check("old.npy", io::write_bytes_atomic(folder.join("old.npy"), &vec![7; 1 << 20]));
    let rows = || {
        let mut out = io::RowsWriter::create(folder.join("old.npy"), 1 << 18, 4)?;
        out.write(&vec![1.0; 1 << 20])?;
        out.finish()
    };
    check("old.npy", rows());
    let extensions: &[&str] =
        if cfg!(feature = "parquet") { &["npy", "jsonl", "csv", "parquet"] } else { &["npy", "jsonl", "csv"] };
    for extension in extensions {
        let name = format!("codes.{extension}");
        let codes: Vec<u32> = (0..1u32 << 18).map(|i| i.wrapping_mul(2_654_435_761) >> 8).collect();
        let write = || {
            let mut out = io::CodesWriter::create(folder.join(&name), 1 << 17, 2, &[1 << 24, 1 << 24])?;
            out.write(&codes)?;
            out.finish()
        };
        check(&name, write());
    }
    println!("limited child done");
}

#[cfg(unix)]
#[test]
fn a_full_disk_says_so_and_leaves_nothing() {
    let bench = Bench::new();
    bench.file("old.npy", b"old");
    // A limit on the size of files stands for a full disk; its signal is ignored so that the write fails.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact hostile::limited_child --nocapture";
    let out = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .env(LIMITED, bench.0.path())
        .output()
        .expect("sh");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("limited child done"), "{text}");
    assert_eq!(bench.entries(), 1);
}

/// Every reader on these bytes, under every extension.
fn read_as_everything(bench: &Bench, bytes: &[u8]) {
    for extension in ["npy", "npz", "safetensors", "parquet", "jsonl", "jsonl.gz", "bin"] {
        let path = bench.file(&format!("a.{extension}"), bytes);
        let _ = open_and_read(&path, &OpenOptions::default());
        let _ = open_and_read(&path, &array("embeddings"));
    }
    for extension in ["npy", "jsonl", "csv", "parquet", "json"] {
        let _ = io::read_codes_file(bench.file(&format!("c.{extension}"), bytes));
    }
    for extension in ["jsonl", "jsonl.gz", "csv", "parquet"] {
        let _ = io::read_titles(bench.file(&format!("t.{extension}"), bytes), "title");
    }
}

const LEADS: [&[u8]; 11] = [
    b"",
    b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f4', 'fortran_order': False, 'shape': (",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PAR1",
    b"\x20\x00\x00\x00\x00\x00\x00\x00{\"e\":{\"dtype\":\"F32\",",
    b"{\"codes\":[",
    b"{\"embedding\":[1,2]}\n{\"embedding\":[",
    b"{\"embedding\":null}\n{\"id\":",
    b"{\"a\":[\"<a_1>\",\"",
    b"code_0,row\n",
];

const VALID: [&str; 14] = [
    "le_f4.npy",
    "be_f8_fortran.npy",
    "ints.npy",
    "object.npy",
    "single.npz",
    "usual.npz",
    "stored.npz",
    "kinds.safetensors",
    "list_f4.parquet",
    "fixed_f2.parquet",
    "gzip.parquet",
    "zstd.parquet",
    "large_f4.parquet",
    "codes.parquet",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_a_reader(
        lead in prop::sample::select(&LEADS[..]),
        rest in prop::collection::vec(any::<u8>(), 0..400),
        tail in prop::bool::ANY,
    ) {
        let mut bytes = [lead, &rest].concat();
        if tail {
            bytes.extend(if lead.starts_with(b"PAR1") { &b"\x20\x00\x00\x00PAR1"[..] } else { b"\n" });
        }
        read_as_everything(&Bench::new(), &bytes);
    }

    #[test]
    fn mutated_files_never_panic_a_reader(
        name in prop::sample::select(&VALID[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = fs::read(fixture(name)).expect("fixture");
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_as_everything(&Bench::new(), &bytes);
    }
}
