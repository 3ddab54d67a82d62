//! The program as a user meets it: verbs, exit codes, what it says, and that a failure leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use sememe::RowSource as _;
use sememe::io::{OpenOptions, RowsWriter, open, read_codes_file};
use serde_json::Value;
use tempfile::TempDir;

use crate::io::npy_v1;

/// A folder that the program runs in.
pub(crate) struct Desk(TempDir);

/// What came of a run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Run {
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    pub(crate) fn json(self) -> Value {
        let run = self.ok();
        let value: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout));
        assert!(value.is_object(), "{value}");
        value
    }

    /// One `error:` line with these parts, nothing on stdout.
    pub(crate) fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stdout, "", "a failure prints nothing to stdout");
        let errors: Vec<&str> = self.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(!errors[0].ends_with('.'), "{}", errors[0]);
        for part in parts {
            assert!(errors[0].contains(part), "{part:?} is not in {:?}", errors[0]);
        }
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk(tempfile::tempdir().expect("folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> &Self {
        fs::write(self.path(name), bytes).expect("write");
        self
    }

    fn rows(&self, name: &str, dims: usize, values: &[f32]) -> &Self {
        let mut out = RowsWriter::create(self.path(name), values.len() / dims, dims).expect("create");
        out.write(values).expect("write");
        out.finish().expect("finish");
        self
    }

    /// A codec of 3 × 8 codewords for the 384 dimensions of [`items`], and the items.
    pub(crate) fn fitted() -> Self {
        static CODEC: OnceLock<Vec<u8>> = OnceLock::new();
        let desk = Desk::new();
        desk.items("items.npy", 300);
        let bytes = CODEC.get_or_init(|| {
            desk.run("train items.npy -o codec.safetensors --codebook-size 8").ok();
            fs::read(desk.path("codec.safetensors")).expect("codec")
        });
        desk.file("codec.safetensors", bytes);
        desk
    }

    /// The first packages of the demo's catalogue.
    pub(crate) fn items(&self, name: &str, count: usize) {
        let source = open(data("packages.npy"), &OpenOptions::default()).expect("catalogue");
        let mut values = vec![0.0; count * source.dims()];
        source.read_rows(0, &mut values).expect("rows");
        self.rows(name, source.dims(), &values);
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sememe"));
        command.args(args.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("RUST_LOG");
        command
    }

    pub(crate) fn run(&self, args: &str) -> Run {
        self.command(args).output().expect("run").into()
    }

    /// Everything in the folder with its size and content hash.
    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.0.path()).expect("list").map(|e| e.expect("entry").path());
        let read = |p: PathBuf| {
            let name = p.file_name().expect("name").to_string_lossy().into_owned();
            (name, if p.is_file() { fs::read(&p).expect("read") } else { Vec::new() })
        };
        let mut all: Vec<_> = entries.map(read).collect();
        all.sort();
        all
    }

    /// Fails so, and leaves the folder as it was.
    pub(crate) fn refuses(&self, args: &str, code: i32, parts: &[&str]) {
        let before = self.content();
        self.run(args).fails(code, parts);
        assert!(self.content() == before, "`{args}` left something behind or changed a file");
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

/// Rows without structure, from a small generator: the same on every machine.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn keys(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value.get(name).is_some_and(|v| !v.is_null()), "`{name}` is missing in {value:#}");
    }
}

#[test]
fn the_whole_way_and_back() {
    let desk = Desk::new();
    desk.items("items.npy", 500);
    let run = desk.run("train items.npy -o codec.safetensors --codebook-size 16").ok();
    assert!(
        run.stdout.starts_with("wrote codec.safetensors: 16 × 16 × 16 codewords for 384 dimensions"),
        "{}",
        run.stdout
    );
    for level in ["level 1/3", "level 2/3", "level 3/3"] {
        let line = run.stderr.lines().find(|l| l.starts_with(level)).expect(level);
        for word in ["inertia", "perplexity", "used", "R²", "iteration"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
    let mut formats = vec!["npy", "jsonl", "csv"];
    if cfg!(feature = "parquet") {
        formats.push("parquet");
    }
    let mut seen = Vec::new();
    for format in formats {
        let run = desk.run(&format!("encode codec.safetensors items.npy -o codes.{format}")).ok();
        assert!(run.stdout.contains("500 rows of 3 codes") && run.stdout.contains("rows/s"), "{}", run.stdout);
        let file = read_codes_file(desk.path(&format!("codes.{format}"))).expect("codes");
        assert_eq!((file.codes.rows(), file.codes.levels()), (500, 3));
        seen.push(file.codes);
    }
    assert!(seen.iter().all(|codes| *codes == seen[0]), "every format holds the same codes");
    let library = sememe::Codec::load(desk.path("codec.safetensors")).expect("codec");
    desk.run("decode codec.safetensors codes.jsonl -o rows.npy").ok();
    desk.run("decode codec.safetensors codes.csv -o coarse.safetensors --depth 1").ok();
    for (name, depth) in [("rows.npy", 3), ("coarse.safetensors", 1)] {
        let cut = seen[0].iter().flat_map(|id| id[..depth].iter().copied()).collect();
        let want = library.decode(&sememe::Codes::from_vec(500, depth, cut).expect("codes")).expect("decode");
        let got = open(desk.path(name), &OpenOptions::default()).expect("rows");
        let mut values = vec![0.0; 500 * 384];
        got.read_rows(0, &mut values).expect("read");
        assert!(values == want.as_slice(), "{name}");
    }
    // A beam, small batches and another thread count are options of encoding, not of the codes' format.
    let greedy = fs::read(desk.path("codes.npy")).expect("codes");
    desk.run("encode codec.safetensors items.npy -o again.npy --batch-rows 7 --threads 1 --beam 1").ok();
    assert!(fs::read(desk.path("again.npy")).expect("codes") == greedy);
    desk.run("encode codec.safetensors items.npy -o beam.npy --beam 4").ok();
}

#[test]
fn json_is_one_object() {
    let desk = Desk::fitted();
    let train = desk.run("train items.npy -o new.safetensors --codebook-size 8 --refine 2 --beam 3 --json").json();
    keys(&train, &["output", "content_hash", "dims", "codebook_sizes", "seed", "training", "ids", "device", "notes"]);
    assert_eq!(train["training"]["levels"].as_array().map(Vec::len), Some(3));
    assert_eq!(train["training"]["refined_r2"].as_array().map(Vec::len), Some(3));
    let plan =
        desk.run("train items.npy -o plan.safetensors --preset basil --codebook-size 8,4 --dry-run --json").json();
    assert_eq!(plan["config"]["codebook_sizes"], serde_json::json!([8, 4]));
    assert_eq!((plan["rows"].as_u64(), plan["dims"].as_u64()), (Some(300), Some(384)));
    assert!(!desk.path("plan.safetensors").exists());
    let encode = desk.run("encode codec.safetensors items.npy -o codes.npy --json").json();
    keys(&encode, &["rows", "levels", "rechecked", "rechecked_share", "rows_per_second", "codec", "device"]);
    let decode = desk.run("decode codec.safetensors codes.npy -o rows.npy --json").json();
    keys(&decode, &["rows", "dims", "depth", "seconds"]);
    let eval = desk.run("eval codec.safetensors items.npy --queries 50 --json").json();
    let names =
        ["rows", "collision_rate", "colliding_item_rate", "max_bucket", "entropy_ratio", "levels", "r2", "cosine"];
    keys(&eval, &names);
    keys(&eval, &["recall_at_10", "notes", "codec"]);
    for level in eval["levels"].as_array().expect("levels") {
        keys(level, &["utilisation", "perplexity", "max_over_mean_load", "gini", "prefix_collision_rate", "r2", "mse"]);
    }
    let show = desk.run("show codec.safetensors --json").json();
    keys(&show, &["format_version", "method", "dims", "codebook_sizes", "training", "content_hash", "file_bytes"]);
    assert_eq!(show["content_hash"], eval["codec"]);
    keys(&desk.run("doctor --json").json(), &["version", "features", "threads", "cpu", "auto"]);
    keys(&desk.run("completions fish --json").json(), &["shell", "script"]);
    let demo = desk.run("demo -o demo.html --json").json();
    keys(&demo, &["rows", "recall_at_10", "groups", "report"]);
    assert_eq!(demo["rows"], 4149);
}

#[test]
fn capacities_are_kept_told_and_refused() {
    let desk = Desk::new();
    desk.items("items.npy", 301);
    let train = "train items.npy -o codec.safetensors --levels 2 --codebook-size 8 --balance capacity";
    let run = desk.run(&format!("{train} --assigned codes.csv")).ok();
    assert!(run.stderr.contains("loads 37 to 38"), "{}", run.stderr);
    let text = fs::read_to_string(desk.path("codes.csv")).expect("codes");
    let mut counts = [[0u32; 8]; 2];
    for line in text.lines().skip(1) {
        let numbers: Vec<usize> = line.split(',').map(|v| v.parse().expect("a number")).collect();
        let codes = &numbers[numbers.len() - 2..];
        (counts[0][codes[0]], counts[1][codes[1]]) = (counts[0][codes[0]] + 1, counts[1][codes[1]] + 1);
    }
    assert!(counts.iter().flatten().all(|c| (37..=38).contains(c)), "{counts:?}");
    let show = desk.run("show codec.safetensors").ok().stdout;
    assert!(show.contains("balanced, level 2") && show.contains("within 37 to 38"), "{show}");
    let json = desk.run("show codec.safetensors --json").ok().json();
    assert_eq!(json["priced_levels"], serde_json::json!([0, 1]));
    assert_eq!(json["training"]["levels"][1]["balance"]["largest_load"], 38);
    assert_eq!(json["config"]["balance"]["loads"]["capacity"]["minimum"], Value::Null);
    let dry = desk.run(&format!("{train} --capacity 30..40 --balance-levels 1 --dry-run")).ok().stdout;
    assert!(dry.contains("at least 30 rows and at most 40 rows a codeword at level 1"), "{dry}");
    for also in ["", " --dry-run"] {
        desk.refuses(&format!("{train} --capacity ..37{also}"), 2, &["--capacity", "301 rows", "least that can is 38"]);
        desk.refuses(
            &format!("{train} --capacity 38..{also}"),
            2,
            &["--capacity", "301 rows", "most that can be is 37"],
        );
    }
    let even = "train items.npy -o even.safetensors --codebook-size 8 --balance sinkhorn --balance-levels 0,2 --json";
    let json = desk.run(even).ok().json();
    assert!(json["training"]["levels"][0]["balance"]["exact"] == false, "{json:#}");
    assert!(json["training"]["levels"][1].get("balance").is_none(), "{json:#}");
    desk.run("encode even.safetensors items.npy -o even.csv").ok();
}

#[test]
fn the_demo_shows_items_under_their_prefixes() {
    let desk = Desk::new();
    let run = desk.run("demo").ok();
    let page = fs::read_to_string(desk.path("sememe-demo.html")).expect("page");
    assert!(page.starts_with("<!doctype html>") && page.contains("4,149 Debian packages"));
    assert!(run.stdout.contains("wrote sememe-demo.html"), "{}", run.stdout);
    let ids: Vec<&str> = run.stdout.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let ids: Vec<&str> =
        ids.into_iter().filter(|w| w.split('-').filter(|c| c.parse::<u32>().is_ok()).count() == 3).collect();
    assert!(ids.len() >= 20, "{}", run.stdout);
    let prefix = |id: &str| id.rsplit_once('-').map(|(prefix, _)| prefix.to_owned());
    let shared = ids.windows(2).filter(|w| prefix(w[0]) == prefix(w[1])).count();
    assert!(shared * 3 > ids.len() * 2, "neighbouring lines share prefixes: {}", run.stdout);
    assert!(!run.stdout.contains('\x1b'), "no colours into a pipe");
    assert_eq!(desk.content().len(), 1, "the page and nothing else");
}

#[test]
fn eval_reads_names_and_writes_a_page() {
    let desk = Desk::fitted();
    let names: String =
        fs::read_to_string(data("packages.jsonl")).expect("names").split_inclusive('\n').take(300).collect();
    desk.file("items.jsonl", names.as_bytes());
    let args = "eval codec.safetensors items.npy --queries 20 --report page.html --names items.jsonl";
    let run = desk.run(&format!("{args} --field package --detail short")).ok();
    assert!(run.stdout.contains("300 items") && run.stdout.contains("recall@10"), "{}", run.stdout);
    assert!(fs::read_to_string(desk.path("page.html")).expect("page").contains("3dchess"));
    desk.refuses(args, 3, &["has no `title`", "`package`"]);
    desk.file("few.jsonl", b"{\"title\": \"a\"}\n");
    let args = "eval codec.safetensors items.npy --report page.html --names few.jsonl";
    desk.refuses(args, 3, &["expected items = 300, got 1", "few.jsonl"]);
}

#[test]
fn the_small_verbs_answer() {
    let desk = Desk::fitted();
    let show = desk.run("show codec.safetensors").ok().stdout;
    assert!(show.contains("8 × 8 × 8, 512 possible IDs") && show.contains("300 rows, seed 0"), "{show}");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/codec-v2.safetensors");
    let show = desk.run(&format!("show {golden}")).ok().stdout;
    for part in ["6-5-6, gelu, layer norm, skip connection; 81 parameters", "shared by all levels", "kept epoch 3"] {
        assert!(show.contains(part), "{part}: {show}");
    }
    let show = desk.run(&format!("show {golden} --json")).json();
    assert_eq!((&show["encoder"]["layers"][0]["activation"], &show["encoder"]["skip"]), (&"gelu".into(), &true.into()));
    let doctor = desk.run("doctor").ok().stdout;
    for part in ["features", "threads", "GPU", "--device auto", "cli"] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(desk.run(&format!("completions {shell}")).ok().stdout.contains("codebook-size"), "{shell}");
    }
    assert!(desk.run("--help").ok().stdout.contains("Exit codes"));
    assert!(desk.run("--version").ok().stdout.starts_with("sememe "));
    for verb in ["demo", "train", "encode", "decode", "eval", "show", "doctor", "completions"] {
        assert!(desk.run(&format!("{verb} --help")).ok().stdout.contains("Usage: sememe"), "{verb}");
    }
}

#[test]
fn quiet_says_nothing_and_verbose_more() {
    let desk = Desk::fitted();
    for args in
        ["train items.npy -o c.safetensors --codebook-size 8", "encode codec.safetensors items.npy -o codes.npy"]
    {
        let run = desk.run(&format!("{args} --quiet")).ok();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{args}");
    }
    let run = desk.run("train items.npy -o c.safetensors --codebook-size 8 -vv").ok();
    assert!(run.stderr.contains("iteration"), "{}", run.stderr);
}

#[test]
fn usage_errors_come_before_any_reading() {
    let desk = Desk::new();
    // No such input: whatever is refused here was refused without opening it.
    let train = "train missing.npy -o codec.safetensors";
    for (args, parts) in [
        ("train missing.npy -o codec.bin", vec!["`codec.bin`", ".safetensors"]),
        ("train missing.npy -o codec", vec![".safetensors"]),
        ("train missing.npy -o no/codec.safetensors", vec!["folder `no` does not exist"]),
        ("encode c.safetensors missing.npy -o codes.txt", vec![".npy, .parquet, .jsonl or .csv"]),
        ("decode c.safetensors codes.npy -o rows.csv", vec![".npy or .safetensors"]),
        ("eval c.safetensors missing.npy --report page.pdf", vec![".html"]),
        ("demo -o page.txt", vec![".html"]),
        ("decode c.safetensors codes.npy -o rows.npy --depth 0", vec!["--depth", "got 0"]),
        ("encode c.safetensors missing.npy -o codes.npy --beam 65", vec!["--beam", "1 to 64", "65"]),
        ("encode c.safetensors missing.npy -o codes.npy --batch-rows 0", vec!["--batch-rows", "got 0"]),
        ("doctor --threads 0", vec!["--threads", "got 0"]),
        (&format!("{train} --levels 0"), vec!["--levels", "1 to 64", "got 0"]),
        (&format!("{train} --balance-levels 0"), vec!["--balance-levels", "--balance sinkhorn"]),
        (&format!("{train} --capacity 3..4"), vec!["--capacity", "needs `--balance capacity`"]),
        (&format!("{train} --balance sinkhorn --capacity 3..4"), vec!["--capacity", "--balance capacity"]),
        (&format!("{train} --balance sinkhorn --assigned c.npy"), vec!["--assigned", "--balance capacity"]),
        (&format!("{train} --balance capacity --capacity 3-4"), vec!["--capacity 3-4", "40..60"]),
        (&format!("{train} --balance capacity --capacity .."), vec!["--capacity ..", "40..60"]),
        (&format!("{train} --balance capacity --capacity 5..4"), vec!["--capacity", "minimum of 5", "got 4"]),
        (&format!("{train} --balance sinkhorn --balance-levels 3"), vec!["--balance-levels", "level 3 of 3"]),
        (&format!("{train} --balance sinkhorn --balance-epsilon 0"), vec!["--balance-epsilon", "got 0"]),
        (&format!("{train} --balance capacity --refine"), vec!["--balance", "refinement"]),
        (&format!("{train} --balance capacity --assigned codes.txt"), vec![".npy, .parquet, .jsonl or .csv"]),
        (
            &format!("{train} --balance capacity --assigned codes.npy --max-training-rows 9"),
            vec!["--assigned", "--max-training-rows"],
        ),
        (&format!("{train} --method minibatch --balance sinkhorn"), vec!["--balance", "--method kmeans"]),
        (&format!("{train} --method rqvae --balance sinkhorn"), vec!["--balance", "--method kmeans"]),
        (&format!("{train} --levels 65"), vec!["--levels", "got 65"]),
        (&format!("{train} --levels 2 --codebook-size 8,8,8"), vec!["lists 3 levels", "--levels` says 2"]),
        (&format!("{train} --codebook-size 0"), vec!["--codebook-size", "got 0"]),
        (&format!("{train} --codebook-size 99999999"), vec!["--codebook-size", "16777216"]),
        (&format!("{train} --iterations 0"), vec!["--iterations", "got 0"]),
        (&format!("{train} --tolerance 1.5"), vec!["--tolerance", "1.5"]),
        (&format!("{train} --tolerance NaN"), vec!["--tolerance", "NaN"]),
        (&format!("{train} --starts 0"), vec!["--starts", "got 0"]),
        (&format!("{train} --max-training-rows 0"), vec!["--max-training-rows"]),
        (&format!("{train} --pca 1.5"), vec!["--pca", "1.5"]),
        (&format!("{train} --pca-dims 0"), vec!["--pca-dims", "got 0"]),
        (&format!("{train} --whiten"), vec!["--whiten", "needs `--pca`"]),
        (&format!("{train} --refine 0"), vec!["--refine", "got 0"]),
        (&format!("{train} --refine 2 --beam 0"), vec!["--beam", "got 0"]),
        (&format!("{train} --refine 2 --metric cosine"), vec!["--refine", "--metric cosine"]),
    ] {
        desk.refuses(args, 2, &parts);
    }
    for args in [
        "",
        "fly",
        "train",
        "train missing.npy",
        "train a -o b --device tpu",
        "train a -o b --beam 4",
        "completions csh",
    ] {
        let run = desk.run(args);
        assert_eq!(run.code, Some(2), "{args}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{args}");
    }
    desk.items("items.npy", 20);
    desk.file("codec.safetensors", b"not one");
    desk.refuses("encode codec.safetensors items.npy -o items.npy", 2, &["`items.npy` is an input too"]);
    desk.refuses("encode codec.safetensors ./items.npy -o items.npy", 2, &["is an input too"]);
    fs::create_dir(desk.path("folder.npy")).expect("folder");
    desk.refuses("encode codec.safetensors items.npy -o folder.npy", 2, &["folder.npy", "is a folder"]);
    desk.refuses("train missing.npy -o codec.safetensors", 3, &["missing.npy", "No such file"]);
}

#[test]
fn rows_that_cannot_be_trained_on_are_refused() {
    let desk = Desk::new();
    let train = |name: &str| format!("train {name} -o codec.safetensors --codebook-size 8 --levels 2");
    desk.file("none.npy", b"");
    desk.refuses(&train("none.npy"), 3, &["none.npy", "empty"]);
    desk.file("zero.npy", &npy_v1("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }"));
    desk.refuses(&train("zero.npy"), 3, &["zero.npy", "(0, 4)"]);
    desk.rows("few.npy", 2, &noise(14));
    desk.refuses(&train("few.npy"), 3, &["7 training rows", "8 codewords"]);
    desk.refuses(&format!("{} --dry-run", train("few.npy")), 3, &["7 training rows", "8 codewords"]);
    desk.rows("same.npy", 2, &[1.0, 2.0].repeat(40));
    desk.refuses(&train("same.npy"), 3, &["1 distinct rows among 40", "8 codewords"]);
    let mut zeros = noise(200);
    zeros[6..8].fill(0.0);
    desk.rows("zeros.npy", 2, &zeros);
    let cosine = format!("{} --metric cosine", train("zeros.npy"));
    desk.refuses(&cosine, 3, &["1 of 100 rows are zero", "training row 3", "squared L2"]);
    desk.run(&train("zeros.npy")).ok();
}

#[test]
fn nan_and_infinity_are_refused_or_dropped_and_counted() {
    let desk = Desk::fitted();
    let source = open(desk.path("items.npy"), &OpenOptions::default()).expect("items");
    let mut values = vec![0.0; 300 * 384];
    source.read_rows(0, &mut values).expect("rows");
    values[17 * 384 + 3] = f32::NAN;
    values[40 * 384] = f32::INFINITY;
    values[299 * 384 + 383] = f32::NEG_INFINITY;
    desk.rows("bad.npy", 384, &values);
    let told = ["3 of 300 rows", "first is row 17", "bad.npy", "--on-bad drop"];
    desk.refuses("train bad.npy -o new.safetensors --codebook-size 8", 3, &told);
    desk.refuses("encode codec.safetensors bad.npy -o codes.jsonl", 3, &told);
    desk.refuses("encode codec.safetensors bad.npy -o codes.jsonl --batch-rows 5", 3, &told);
    desk.refuses("eval codec.safetensors bad.npy", 3, &told);
    let told = "dropped 3 of 300 rows with NaN or infinity, the first is row 17";
    let run = desk.run("train bad.npy -o new.safetensors --codebook-size 8 --on-bad drop").ok();
    assert!(run.stderr.contains(told) && run.stdout.contains("297 rows"), "{} {}", run.stdout, run.stderr);
    desk.run("encode codec.safetensors items.npy -o all.jsonl").ok();
    let run = desk.run("encode codec.safetensors bad.npy -o codes.jsonl --on-bad drop").ok();
    assert!(run.stderr.contains(told), "{}", run.stderr);
    let (all, kept) = (read_codes_file(desk.path("all.jsonl")), read_codes_file(desk.path("codes.jsonl")));
    let (all, kept) = (all.expect("all"), kept.expect("kept"));
    let numbers = kept.rows.expect("row numbers");
    assert_eq!(numbers.len(), 297);
    assert!(!numbers.contains(&17) && !numbers.contains(&40) && !numbers.contains(&299));
    assert!(numbers.iter().zip(kept.codes.iter()).all(|(row, id)| all.codes.row(*row as usize) == id));
    let run = desk.run("encode codec.safetensors bad.npy -o codes.npy --on-bad drop --json");
    assert!(run.json()["notes"].to_string().contains("keeps no row numbers"));
    assert_eq!(desk.run("eval codec.safetensors bad.npy --on-bad drop --queries 5 --json").json()["dropped"], 3);
    desk.rows("worst.npy", 1, &[f32::NAN; 9]);
    desk.refuses("train worst.npy -o new.safetensors --on-bad drop", 3, &["all 9 rows", "worst.npy"]);
}

#[test]
fn files_that_do_not_fit_or_lie_are_refused() {
    let desk = Desk::fitted();
    desk.rows("narrow.npy", 3, &noise(90));
    desk.refuses("encode codec.safetensors narrow.npy -o codes.npy", 3, &["d = 384", "got 3", "narrow.npy"]);
    desk.refuses("eval codec.safetensors narrow.npy --report p.html", 3, &["d = 384", "got 3"]);
    let header = |descr: &str, shape: &str| {
        let mut bytes = npy_v1(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"));
        bytes.extend([0u8; 64]);
        bytes
    };
    for (name, bytes, part) in [
        ("object.npy", header("|O", "(4, 4)"), "Python objects"),
        ("complex.npy", header("<c8", "(4, 2)"), "c8"),
        ("lying.npy", header("<f4", "(1000000, 384)"), "1000000"),
        ("huge.npy", header("<f4", "(9223372036854775807, 9223372036854775807)"), "9223372036854775807"),
        ("cube.npy", header("<f4", "(2, 2, 4)"), "2, 2, 4"),
        ("text.txt", b"hello".to_vec(), "format"),
        ("pickle.pkl", vec![0x80, 4, 0x95], "run code"),
    ] {
        desk.file(name, &bytes);
        for args in [format!("train {name} -o c.safetensors"), format!("encode codec.safetensors {name} -o codes.csv")]
        {
            desk.refuses(&args, 3, &[name, part]);
        }
    }
    let whole = fs::read(desk.path("items.npy")).expect("items");
    desk.file("cut.npy", &whole[..whole.len() - 5]);
    desk.refuses("encode codec.safetensors cut.npy -o codes.csv", 3, &["cut.npy", "bytes"]);
    desk.refuses("encode items.npy items.npy -o codes.csv", 3, &["codec", "items.npy"]);
    // Codes of another codec, and too deep ones.
    desk.file("codes.csv", b"row,code_0,code_1,code_2\n0,7,7,7\n1,7,8,7\n");
    let told = ["codes.csv", "row 1 has code 8 at level 2", "ends at 7"];
    desk.refuses("decode codec.safetensors codes.csv -o rows.npy", 3, &told);
    desk.file("deep.csv", b"row,code_0,code_1,code_2,code_3\n0,7,7,7,7\n");
    desk.refuses("decode codec.safetensors deep.csv -o rows.npy", 3, &["levels = 3", "got 4", "deep.csv"]);
    desk.refuses("decode codec.safetensors deep.csv -o rows.npy --depth 4", 2, &["--depth", "1 to 3", "4"]);
    desk.file("text.csv", b"row,code_0\n0,x\n");
    desk.refuses("decode codec.safetensors text.csv -o rows.npy", 3, &["text.csv", "line 2"]);
}

#[test]
fn codecs_newer_or_damaged_are_refused() {
    let desk = Desk::fitted();
    let whole = fs::read(desk.path("codec.safetensors")).expect("codec");
    let at = |needle: &[u8]| whole.windows(needle.len()).position(|w| w == needle).expect("in the manifest");
    let mut newer = whole.clone();
    let version = br#"\"format_version\":1"#;
    newer[at(version) + version.len() - 1] = b'9';
    desk.file("newer.safetensors", &newer);
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    desk.file("flipped.safetensors", &flipped);
    desk.file("cut.safetensors", &whole[..whole.len() / 2]);
    desk.file("empty.safetensors", b"");
    for (name, part) in [
        ("newer", "format version 9"),
        ("flipped", "content hash"),
        ("cut", "not a codec file"),
        ("empty", "not a codec file"),
    ] {
        for verb in ["encode", "eval", "show"] {
            let args = match verb {
                "encode" => format!("encode {name}.safetensors items.npy -o codes.npy"),
                "eval" => format!("eval {name}.safetensors items.npy"),
                _ => format!("show {name}.safetensors"),
            };
            desk.refuses(&args, 3, &["codec", name, part]);
        }
    }
}

#[test]
fn a_missing_gpu_is_a_device_error() {
    let desk = Desk::fitted();
    for args in
        ["train items.npy -o new.safetensors --codebook-size 8", "encode codec.safetensors items.npy -o codes.npy"]
    {
        let before = desk.content();
        let hide = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"].map(|name| (name, "/nonexistent"));
        let run: Run = desk.command(&format!("{args} --device gpu")).envs(hide).output().expect("run").into();
        if cfg!(all(feature = "gpu", not(target_os = "linux"))) && run.code == Some(0) {
            // Other systems have no switch that hides their adapters.
            continue;
        }
        run.fails(4, &["device: "]);
        assert!(run.stderr.contains("hint: `sememe doctor`"), "{}", run.stderr);
        assert!(desk.content() == before);
        // `auto` serves in any case.
        Run::from(desk.command(args).envs(hide).output().expect("run")).ok();
    }
    desk.run("encode codec.safetensors items.npy -o codes.npy --device cpu").ok();
}

#[test]
fn the_seed_decides_and_the_threads_do_not() {
    let desk = Desk::new();
    desk.items("items.npy", 2000);
    let train = |out: &str, rest: &str| {
        desk.run(&format!("train items.npy -o {out}.safetensors --codebook-size 32 --refine 2 --quiet {rest}")).ok();
        fs::read(desk.path(&format!("{out}.safetensors"))).expect("codec")
    };
    let one = train("one", "--threads 1");
    assert!(train("two", "--threads 2") == one, "one thread or two, the same bytes");
    assert!(train("again", "") == one, "the same seed, the same bytes");
    assert!(train("other", "--seed 1") != one, "another seed, other bytes");
}

#[test]
fn an_output_is_replaced_only_by_a_whole_one() {
    let desk = Desk::fitted();
    desk.file("codes.csv", b"old");
    let mut values = noise(384 * 3);
    values[400] = f32::NAN;
    desk.rows("bad.npy", 384, &values);
    desk.refuses("encode codec.safetensors bad.npy -o codes.csv", 3, &["1 of 3 rows"]);
    desk.run("encode codec.safetensors items.npy -o codes.csv").ok();
    assert!(fs::read(desk.path("codes.csv")).expect("codes").starts_with(b"row,code_0"));
}

#[cfg(unix)]
mod unix {
    use super::{Desk, Run, noise};
    use std::fs::{self, File};
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    /// A training that would take hours, once it is under way.
    fn endless(desk: &Desk) -> Child {
        desk.rows("noise.npy", 8, &noise(8 * 20_000));
        let args = "train noise.npy -o codec.safetensors --codebook-size 256 --iterations 100000000 --tolerance 0 -vv";
        let mut child = desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.contains("iteration=3") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).expect("read"), 0, "the training ended early");
        }
        // Read on, so that the program never waits for us.
        drop(std::thread::spawn(move || std::io::read_to_string(stderr)));
        child
    }

    #[cfg(target_os = "linux")]
    fn signal(child: &Child, signal: libc::c_int) {
        // SAFETY: a system call with the number of a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
    }

    fn names(desk: &Desk) -> Vec<String> {
        desk.content().into_iter().map(|(name, _)| name).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ctrl_c_and_sigterm_stop_a_training() {
        for number in [libc::SIGINT, libc::SIGTERM] {
            let desk = Desk::new();
            let mut child = endless(&desk);
            signal(&child, number);
            assert_eq!(child.wait().expect("wait").code(), Some(130));
            assert_eq!(names(&desk), ["noise.npy"]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ctrl_c_stops_an_encoding_and_removes_what_it_wrote() {
        let desk = Desk::fitted();
        // 3 GB of zeros that take no room.
        let header = super::npy_v1("{'descr': '<f4', 'fortran_order': False, 'shape': (2000000, 384), }");
        desk.file("large.npy", &header);
        let large = File::options().write(true).open(desk.path("large.npy")).expect("open");
        large.set_len(header.len() as u64 + 4 * 384 * 2_000_000).expect("grow");
        let mut command = desk.command("encode codec.safetensors large.npy -o codes.csv");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawn");
        let begun = Instant::now();
        let here = |desk: &Desk| fs::read_dir(desk.path(".")).expect("list").count();
        while here(&desk) == 3 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never began to write");
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(&child, libc::SIGINT);
        assert_eq!(child.wait().expect("wait").code(), Some(130));
        fs::remove_file(desk.path("large.npy")).expect("remove");
        assert_eq!(names(&desk), ["codec.safetensors", "items.npy"]);
    }

    #[test]
    fn kill_leaves_no_output_and_a_rerun_works() {
        let desk = Desk::new();
        let mut child = endless(&desk);
        child.kill().expect("kill");
        assert_eq!(child.wait().expect("wait").signal(), Some(9));
        assert_eq!(names(&desk), ["noise.npy"]);
        desk.run("train noise.npy -o codec.safetensors --codebook-size 8 --iterations 2").ok();
        assert_eq!(names(&desk), ["codec.safetensors", "noise.npy"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_nothing() {
        let desk = Desk::fitted();
        desk.refuses("encode codec.safetensors items.npy -o /dev/full", 2, &["/dev/full"]);
        let before = desk.content();
        // A limit on the size of files, with its signal ignored, fails a write as a full disk does.
        let limit = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
        for args in [
            "train items.npy -o new.safetensors --codebook-size 8",
            "decode codec.safetensors codes.csv -o rows.npy",
            "eval codec.safetensors items.npy --queries 5 --report page.html",
        ] {
            if args.starts_with("decode") {
                desk.run("encode codec.safetensors items.npy -o codes.csv").ok();
            }
            let program = desk.command(args);
            let mut sh = std::process::Command::new("sh");
            sh.args(["-c", limit, "sh"]).arg(program.get_program()).args(program.get_args());
            let run: Run = sh.current_dir(desk.path(".")).output().expect("run").into();
            run.fails(3, &["cannot write", "after"]);
            let _ = fs::remove_file(desk.path("codes.csv"));
            assert!(desk.content() == before, "{args}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_stdout_is() {
        let desk = Desk::fitted();
        for args in ["completions bash", "show codec.safetensors", "eval codec.safetensors items.npy --json", "--help"]
        {
            let mut child = desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
            drop(child.stdout.take());
            let run: Run = child.wait_with_output().expect("wait").into();
            assert_eq!(run.code, Some(0), "{args}: {}", run.stderr);
            assert!(!run.stderr.contains("panic") && !run.stderr.contains("error"), "{args}: {}", run.stderr);
        }
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let run: Run = desk.command("show codec.safetensors").stdout(full).output().expect("run").into();
        assert_eq!(run.code, Some(3));
        assert!(run.stderr.starts_with("error: cannot write to stdout: "), "{}", run.stderr);
    }
}

#[test]
fn mini_batches_are_stopped_resumed_and_refuse_what_is_not_theirs() {
    let desk = Desk::new();
    desk.items("items.npy", 900);
    let train = "train items.npy --method minibatch --codebook-size 8 --levels 2 --epochs 6 --batch-rows 100 -o";
    let whole = desk.run(&format!("{train} whole.safetensors --json")).json();
    assert_eq!(whole["training"]["levels"].as_array().expect("levels").len(), 2);
    assert!(whole["ids"]["r2"].as_f64().expect("r2") > 0.1, "{whole}");
    // The state of a finished training is whole, and going on from it changes nothing.
    desk.run(&format!("{train} whole.safetensors --checkpoint state.json")).ok();
    let state = fs::read(desk.path("state.json")).expect("state");
    let trainer = sememe::fit::MiniBatchTrainer::from_bytes(&state).expect("a state");
    assert_eq!((trainer.epochs(), trainer.steps()), (6, 54));
    desk.run(&format!("{train} again.safetensors --checkpoint state.json")).fails(2, &["state.json", "--resume"]);
    let resumed = desk.run(&format!("{train} again.safetensors --checkpoint state.json --resume")).ok();
    assert!(resumed.stderr.contains("54 batches"), "{}", resumed.stderr);
    assert_eq!(
        fs::read(desk.path("again.safetensors")).expect("a"),
        fs::read(desk.path("whole.safetensors")).expect("b")
    );
    let other = train.replace("--epochs 6", "--epochs 7");
    desk.run(&format!("{other} x.safetensors --checkpoint state.json --resume")).fails(2, &["other settings"]);
    desk.run(&format!("{train} x.safetensors --iterations 5")).fails(2, &["--iterations", "minibatch"]);
    desk.run(&format!("{train} x.safetensors --pca")).fails(2, &["--pca"]);
    desk.run("train items.npy -o x.safetensors --epochs 5").fails(2, &["--epochs", "--method minibatch"]);
    desk.run(&format!("{train} x.safetensors --checkpoint state.txt")).fails(2, &["state.txt", ".json"]);
    desk.file("bad.json", b"{\"config\": 7}");
    desk.run(&format!("{train} x.safetensors --checkpoint bad.json --resume")).fails(3, &["training state"]);
    assert!(!desk.path("x.safetensors").exists());
    let plan = desk.run(&format!("{train} x.safetensors --dry-run")).ok();
    assert!(plan.stdout.contains("6 epochs of 100 rows"), "{}", plan.stdout);
}
