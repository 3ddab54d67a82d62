//! The program as a user meets it: verbs, exit codes, what it says, and that a failure leaves nothing behind.

mod environment;
mod refusals;
#[cfg(unix)]
mod unix;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use sememe::RowSource as _;
use sememe::io::{OpenOptions, RowsWriter, open, read_codes_file};
use serde_json::Value;
use tempfile::TempDir;

use sememe_testkit::files::npy_v1;

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

    pub(crate) fn rows(&self, name: &str, dims: usize, values: &[f32]) -> &Self {
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data").join(name)
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
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/codec-v2.safetensors");
    let show = desk.run(&format!("show {golden}")).ok().stdout;
    for part in ["6-5-6, gelu, layer norm, skip connection; 81 parameters", "shared by all levels", "kept epoch 3"] {
        assert!(show.contains(part), "{part}: {show}");
    }
    let show = desk.run(&format!("show {golden} --json")).json();
    assert_eq!((&show["encoder"]["layers"][0]["activation"], &show["encoder"]["skip"]), (&"gelu".into(), &true.into()));
    let doctor = desk.run("doctor").ok().stdout;
    for part in ["features", "threads", "GPU", "--device auto"] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
    assert_eq!(doctor.contains("parquet"), cfg!(feature = "parquet"), "{doctor}");
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
    desk.run(&format!("{train} x.safetensors --iterations 5")).fails(2, &["--iterations", "needs `--method kmeans`"]);
    desk.run(&format!("{train} x.safetensors --pca")).fails(2, &["--pca"]);
    desk.run("train items.npy -o x.safetensors --epochs 5").fails(2, &["--epochs", "--method minibatch"]);
    desk.run(&format!("{train} x.safetensors --checkpoint state.txt")).fails(2, &["state.txt", ".json"]);
    desk.file("bad.json", b"{\"config\": 7}");
    desk.run(&format!("{train} x.safetensors --checkpoint bad.json --resume")).fails(3, &["training state"]);
    assert!(!desk.path("x.safetensors").exists());
    let plan = desk.run(&format!("{train} x.safetensors --dry-run")).ok();
    assert!(plan.stdout.contains("6 epochs of 100 rows"), "{}", plan.stdout);
}
