//! Every verb with every kind of codec on every device: right, or refused with the reason. A verb or a kind that is new fails here until
//! it has its entry.
//!
//! One file past the usual length: what each verb does with each kind is one table, and is read as one.

use crate::cli::{Desk, Run};
use sememe::io::{OpenOptions, open, read_codes_file};
use sememe::rng::stream;
use sememe::{Codes, RowSource as _};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;

const ROWS: usize = 600;
const DIMS: usize = 16;
const LEVELS: usize = 3;
const SIZE: usize = 16;

/// A kind of codec: how it is trained, and what a sweep and a run say of it.
struct Kind {
    name: &'static str,
    /// Flags of `train`, beside levels and codebook size.
    train: &'static str,
    /// Whether it encodes with a beam, or why not.
    beam: Result<(), &'static str>,
    /// What relocating an item costs, or why there is none.
    relocate: Result<Cost, &'static str>,
    /// Flags of `sweep` for the same training, or why there is none: what clap calls unknown.
    sweep: Result<&'static str, &'static str>,
    /// `[train]` of a run's file, or why there is none.
    run: Result<&'static str, &'static str>,
}

/// What the squared L2 of relocating is measured between.
#[derive(Clone, Copy, PartialEq)]
enum Cost {
    /// Rows and what they come back as, but for what a projection leaves out.
    Rows,
    /// What enters the levels, and their codewords.
    Inner,
}

const NO_COST: &str = "squared L2 and without normalised residuals";
const APART: &str = "do not depend on each other";
const GREEDY: &str = "needs squared L2 without residual normalisation";

const NETWORK: &str = "--method rqvae --epochs 2 --batch-rows 128 --set hidden=[16] --set code_dims=8";

/// All kinds. A kind is new where a codec is trained, encoded or decoded by other rules than those of the others.
const KINDS: [Kind; 15] = [
    Kind { name: "k-means", beam: Ok(()), relocate: Ok(Cost::Rows), train: "", sweep: Ok(""), run: Ok("") },
    Kind {
        name: "sinkhorn",
        beam: Ok(()),
        relocate: Ok(Cost::Rows),
        train: "--balance sinkhorn --iterations 10",
        sweep: Ok("--balance sinkhorn"),
        run: Ok("[train.rq_kmeans.balance]\nloads = \"even\"\n"),
    },
    Kind {
        name: "capacity",
        beam: Ok(()),
        relocate: Ok(Cost::Rows),
        train: "--balance capacity --iterations 10",
        sweep: Ok("--balance capacity"),
        run: Ok("[train.rq_kmeans.balance]\nloads = { capacity = {} }\n"),
    },
    Kind {
        name: "refined",
        beam: Ok(()),
        relocate: Ok(Cost::Rows),
        train: "--refine 2 --beam 4",
        sweep: Ok("--refine 2 --beam 4"),
        run: Ok("[train.rq_kmeans.refine]\nrounds = 2\nbeam = 4\n"),
    },
    Kind {
        name: "cosine",
        beam: Err(GREEDY),
        relocate: Err(NO_COST),
        train: "--metric cosine",
        sweep: Err("--metric"),
        run: Ok("[train.rq_kmeans]\nmetric = \"cosine\"\n"),
    },
    Kind {
        name: "residual-normalised",
        beam: Err(GREEDY),
        relocate: Err(NO_COST),
        train: "--normalize-residuals",
        sweep: Ok("--normalize-residuals"),
        run: Ok("[train.rq_kmeans]\nnormalize_residuals = true\n"),
    },
    Kind {
        name: "PCA",
        beam: Ok(()),
        relocate: Ok(Cost::Rows),
        train: "--pca-dims 8",
        sweep: Ok("--pca-dims 8"),
        run: Ok("[train.rq_kmeans.preprocess.pca]\nkeep_variance = 1.0\nmax_dims = 8\n"),
    },
    Kind {
        name: "whitened",
        beam: Ok(()),
        relocate: Ok(Cost::Inner),
        train: "--pca-dims 8 --whiten",
        sweep: Ok("--pca-dims 8 --whiten"),
        run: Ok("[train.rq_kmeans.preprocess]\nwhiten = true\npca = { keep_variance = 1.0, max_dims = 8 }\n"),
    },
    Kind {
        name: "minibatch",
        beam: Ok(()),
        relocate: Ok(Cost::Rows),
        train: "--method minibatch --epochs 3 --batch-rows 128",
        sweep: Err("--method"),
        run: Err("`minibatch`"),
    },
    Kind {
        name: "RQ-VAE",
        beam: Ok(()),
        relocate: Ok(Cost::Inner),
        train: NETWORK,
        sweep: Err("--method"),
        run: Ok("@network"),
    },
    Kind {
        name: "RQ-KMeans+",
        beam: Ok(()),
        relocate: Ok(Cost::Inner),
        train: "--method rqvae --epochs 2 --batch-rows 128 --from start.safetensors",
        sweep: Err("--method"),
        run: Err("`from`"),
    },
    Kind {
        name: "shared codebook",
        beam: Ok(()),
        relocate: Ok(Cost::Inner),
        train: "--method rqvae --epochs 2 --batch-rows 128 --set hidden=[16] --set code_dims=8 --set shared_codebook=true",
        sweep: Err("--method"),
        run: Ok("@shared"),
    },
    Kind {
        name: "PQ",
        beam: Err(APART),
        relocate: Ok(Cost::Rows),
        train: "--method pq",
        sweep: Err("--method"),
        run: Ok("method = \"pq\"\n"),
    },
    Kind {
        name: "balanced PQ of rows of one length",
        beam: Err(APART),
        relocate: Ok(Cost::Inner),
        train: "--method pq --metric cosine --balance sinkhorn --iterations 10 --pca-dims 8",
        sweep: Err("--method"),
        run: Ok(
            "method = \"pq\"\n[train.product]\npreprocess = { normalize = true }\nbalance = { loads = \"even\" }\n",
        ),
    },
    Kind {
        name: "OPQ",
        beam: Err(APART),
        relocate: Ok(Cost::Rows),
        train: "--method opq --rotations 4",
        sweep: Err("--method"),
        run: Ok("method = \"opq\"\n[train.product]\nrotation = { rounds = 4, iterations = 2 }\n"),
    },
];

/// Verbs that meet no codec, or none of the user's.
const WITHOUT: [&str; 8] = ["demo", "init", "prep", "embed", "config", "cluster", "doctor", "completions"];

/// A verb, and what is tried with it.
type Step = (&'static str, fn(&Bench));

/// What is done with a codec of every kind, by verb, in the order in which one builds on another.
const STEPS: [Step; 22] = [
    ("train", train),
    ("show", show),
    ("encode", encode),
    ("decode", decode),
    ("import", other_systems),
    ("eval", eval),
    ("align", align),
    ("churn", churn),
    ("format", format_and_parse),
    ("parse", format_and_parse),
    ("resolve", resolve),
    ("assign", store),
    ("lookup", store),
    ("delete", store),
    ("export", export_and_trie),
    ("trie", export_and_trie),
    ("dialogues", dialogues),
    ("recommend", recommend),
    ("sweep", sweep),
    ("run", run),
    ("resume", resume),
    ("serve", serve),
];

/// A kind's desk: its codec is `codec.safetensors`, its rows `rows.npy`, its codes `codes.jsonl`.
struct Bench {
    desk: Desk,
    kind: &'static Kind,
    devices: &'static [&'static str],
}

impl Bench {
    fn ok(&self, args: &str) -> Run {
        let run = self.desk.run(args);
        assert_eq!(run.code, Some(0), "{}: `{args}`: {}", self.kind.name, run.stderr);
        run
    }

    fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{args} --json")).stdout).expect("JSON")
    }

    fn refused(&self, args: &str, parts: &[&str]) {
        let run = self.desk.run(args);
        assert!(matches!(run.code, Some(2 | 3)), "{}: `{args}` was not refused", self.kind.name);
        for part in parts {
            assert!(run.stderr.contains(part), "{}: `{args}`: {part:?} is not in {}", self.kind.name, run.stderr);
        }
    }

    fn codes(&self, name: &str) -> Codes {
        read_codes_file(self.desk.path(name)).expect(name).codes
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let source = open(self.desk.path(name), &OpenOptions::default()).expect(name);
        let mut values = vec![0.0; source.rows() * source.dims()];
        source.read_rows(0, &mut values).expect(name);
        values
    }

    /// Mean squared L2 of a file of rows to the rows.
    fn error(&self, name: &str) -> f64 {
        let (rows, other) = (self.values("rows.npy"), self.values(name));
        assert_eq!(rows.len(), other.len(), "{name}");
        rows.iter().zip(&other).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / ROWS as f64
    }

    fn network(&self) -> bool {
        self.kind.train.contains("rqvae")
    }
}

/// Rows in clumps, off the origin, some of them twice: so that codes differ, collide and are not all alike.
fn rows() -> Vec<f32> {
    let mut rng = stream(7, "test.every-kind", 0);
    let mut normal = || rng.normal();
    let centres: Vec<f64> = (0..40 * DIMS).map(|_| 3.0 * normal()).collect();
    let mut out: Vec<f32> = Vec::with_capacity(ROWS * DIMS);
    for i in 0..ROWS {
        if i % 50 == 49 {
            out.extend_from_within((i - 1) * DIMS..);
            continue;
        }
        let centre = &centres[(i % 40) * DIMS..][..DIMS];
        out.extend(centre.iter().map(|c| (1.0 + c + 0.6 * normal()) as f32));
    }
    out
}

fn bench(name: &str) -> Bench {
    let kind = KINDS.iter().find(|kind| kind.name == name).expect("a kind");
    let desk = Desk::new();
    desk.rows("rows.npy", DIMS, &rows());
    let items: String =
        (0..ROWS).map(|i| format!("{{\"id\":\"k{i:03}\",\"title\":\"item {i}\",\"text\":\"about {i}\"}}\n")).collect();
    desk.file("items.jsonl", items.as_bytes());
    let doctor = desk.run("doctor --json").json();
    let devices: &[&str] = if doctor["gpu"].is_null() { &["cpu"] } else { &["cpu", "gpu"] };
    Bench { desk, kind, devices }
}

fn walk(name: &str) {
    let bench = bench(name);
    let mut done: Vec<fn(&Bench)> = Vec::new();
    for (_, step) in STEPS {
        if !done.iter().any(|known| std::ptr::fn_addr_eq(*known, step)) {
            step(&bench);
            done.push(step);
        }
    }
}

fn training(b: &Bench) -> String {
    format!("train rows.npy --levels {LEVELS} --codebook-size {SIZE} {}", b.kind.train)
}

/// On every device: a codec that encodes its own rows better than their mean does.
fn train(b: &Bench) {
    if b.kind.train.contains("--from") {
        b.ok(&format!("train rows.npy --levels {LEVELS} --codebook-size {SIZE} -o start.safetensors --device cpu"));
    }
    let begin = training(b);
    let dry = b.json(&format!("{begin} -o none.safetensors --dry-run --device cpu"));
    assert_eq!(dry["dry_run"], true);
    assert!(!b.desk.path("none.safetensors").exists());
    for device in b.devices {
        let name = if *device == "cpu" { "codec" } else { "codec-gpu" };
        let told = b.json(&format!("{begin} -o {name}.safetensors --device {device}"));
        let r2 = told["ids"]["r2"].as_f64().expect("R²");
        assert!(r2 > 0.05 && r2 <= 1.0, "{} on {device}: R² {r2}", b.kind.name);
        let again = b.json(&format!(
            "{begin} -o again.safetensors --device {device}{}",
            if b.network() { format!(" --run again-{device}") } else { String::new() }
        ));
        assert_eq!(again["content_hash"], told["content_hash"], "{} on {device}: two trainings differ", b.kind.name);
    }
}

fn show(b: &Bench) {
    let value = b.json("show codec.safetensors");
    assert_eq!(value["codebook_sizes"].as_array().map(Vec::len), Some(LEVELS));
    assert_eq!(value["shared_codebook"] == true, b.kind.name == "shared codebook");
    assert_eq!(!value["encoder"].is_null(), b.network());
    b.ok("show codec.safetensors");
}

/// The service gives every row the code that `encode` gives it.
#[cfg(all(unix, feature = "serve", feature = "sqlite"))]
fn serve(b: &Bench) {
    let served =
        crate::serve::Served::start(&b.desk, "--codec codec.safetensors --items items.jsonl --vectors rows.npy");
    let (rows, codes) = (b.values("rows.npy"), b.codes("codes.jsonl"));
    let lists: Vec<&[f32]> = rows.chunks(DIMS).collect();
    for some in [&lists[..1], &lists[1..4], &lists[..]] {
        let first = if some.len() == 3 { 1 } else { 0 };
        let (status, answer) = served.post("/v1/encode", &serde_json::json!({ "rows": some }));
        assert_eq!(status, 200, "{}: {answer}", b.kind.name);
        for (i, told) in answer["codes"].as_array().expect("codes").iter().enumerate() {
            assert_eq!(*told, serde_json::json!(codes.row(first + i)), "{}: row {}", b.kind.name, first + i);
        }
    }
}

#[cfg(not(all(unix, feature = "serve", feature = "sqlite")))]
fn serve(_: &Bench) {}

/// One codec gives one ID on every device, greedily and with a beam, whatever device trained it.
fn encode(b: &Bench) {
    b.ok("encode codec.safetensors rows.npy -o codes.jsonl --device cpu");
    for codec in ["codec", "codec-gpu"].iter().take(b.devices.len()) {
        let wide = "encode codec.safetensors rows.npy -o c.npy --beam 5";
        let beams: &[&str] = match b.kind.beam {
            Ok(()) => &["", " --beam 1", " --beam 5"],
            Err(why) => {
                b.refused(wide, &["`--beam`", why]);
                &["", " --beam 1"]
            }
        };
        for beam in beams {
            let codes: Vec<Codes> = b
                .devices
                .iter()
                .map(|device| {
                    b.ok(&format!(
                        "encode {codec}.safetensors rows.npy -o c.npy --device {device}{beam} --batch-rows 97"
                    ));
                    b.codes("c.npy")
                })
                .collect();
            assert!(codes.iter().all(|other| *other == codes[0]), "{}{beam}: devices differ", b.kind.name);
            assert_eq!((codes[0].rows(), codes[0].levels()), (ROWS, LEVELS));
        }
    }
    // The same rows have the same code.
    let codes = b.codes("codes.jsonl");
    assert_eq!(codes.row(48), codes.row(49));
}

/// Rows that come back are as near as `eval` says, at every depth.
fn decode(b: &Bench) {
    let figures = b.json("eval codec.safetensors rows.npy --queries 0 --device cpu");
    for depth in 1..=LEVELS {
        b.ok(&format!("decode codec.safetensors codes.jsonl -o back.npy --depth {depth}"));
        let (found, told) = (b.error("back.npy"), figures["levels"][depth - 1]["squared_l2"].as_f64());
        let told = told.expect("an error by depth");
        assert!((found - told).abs() <= 1e-4 * (1.0 + told), "{}: depth {depth}: {found}, eval {told}", b.kind.name);
    }
    b.ok("decode codec.safetensors codes.jsonl -o back.npy");
    b.refused("decode codec.safetensors codes.jsonl -o back.npy --depth 4", &["--depth", "1 to 3"]);
}

/// The same figures on every device, and of a table as of the codec that made it.
fn eval(b: &Bench) {
    let mut seen: Vec<Value> = b
        .devices
        .iter()
        .map(|device| b.json(&format!("eval codec.safetensors rows.npy --queries 50 --device {device}")))
        .collect();
    seen.push(b.json("eval codec.safetensors rows.npy --codes codes.jsonl --queries 50"));
    for other in &seen {
        for figure in ["unique_ids", "collision_rate", "r2", "cosine", "levels", "recall"] {
            assert_eq!(other[figure], seen[0][figure], "{}: {figure}", b.kind.name);
        }
    }
    b.ok("eval codec.safetensors rows.npy --queries 0 --report page.html --names items.jsonl");
}

/// A codec whose codewords another training numbers differently gets the old numbers back as far as they match.
fn align(b: &Bench) {
    let run = if b.network() { " --run other" } else { "" };
    b.ok(&format!("{} --seed 3 -o other.safetensors --device cpu{run}", training(b)));
    for device in b.devices {
        let told = b.json(&format!(
            "align other.safetensors codec.safetensors rows.npy -o aligned.safetensors --device {device}"
        ));
        let changed = |name: &str| told[name]["changed_ids"].as_u64().expect("a count");
        assert!(changed("churn_after") <= changed("churn_before"), "{}", b.kind.name);
        b.ok("encode aligned.safetensors rows.npy -o renamed.npy --device cpu");
        // Renamed, and otherwise the same: what shares an ID still does, and comes back alike.
        b.ok("decode aligned.safetensors renamed.npy -o renamed-back.npy");
        b.ok("encode other.safetensors rows.npy -o other.npy --device cpu");
        b.ok("decode other.safetensors other.npy -o other-back.npy");
        assert_eq!(b.values("renamed-back.npy"), b.values("other-back.npy"), "{}", b.kind.name);
    }
    let blind = "align other.safetensors codec.safetensors -o blind.safetensors";
    if b.network() {
        b.refused(blind, &["networks", "by rows only"]);
    } else {
        b.ok(blind);
    }
}

fn churn(b: &Bench) {
    for device in b.devices {
        let same = b.json(&format!("churn codec.safetensors codec.safetensors rows.npy --device {device}"));
        assert_eq!((same["changed_ids"].as_u64(), same["rows"].as_u64()), (Some(0), Some(ROWS as u64)));
        let other = b.json(&format!("churn codec.safetensors other.safetensors rows.npy --device {device}"));
        b.ok("encode other.safetensors rows.npy -o other.npy --device cpu");
        let (old, new) = (b.codes("codes.jsonl"), b.codes("other.npy"));
        let changed = old.iter().zip(new.iter()).filter(|(a, b)| a != b).count();
        assert_eq!(other["changed_ids"].as_u64(), Some(changed as u64), "{}", b.kind.name);
    }
}

fn format_and_parse(b: &Bench) {
    for style in ["plain", "lc-rec", "openonerec", "sem", "animind"] {
        b.ok(&format!("format codes.jsonl -o ids.jsonl --codec codec.safetensors --style {style}"));
        b.ok(&format!("parse ids.jsonl -o parsed.npy --codec codec.safetensors --style {style}"));
        assert_eq!(b.codes("parsed.npy"), b.codes("codes.jsonl"), "{}: {style}", b.kind.name);
    }
}

fn distinct(codes: &Codes) -> usize {
    codes.iter().collect::<HashSet<_>>().len()
}

/// One ID an item by every policy; what relocating is said to cost is what it costs.
fn resolve(b: &Bench) {
    let shared = distinct(&b.codes("codes.jsonl")) < ROWS;
    assert!(shared, "{}: the rows that are there twice share an ID", b.kind.name);
    for policy in ["suffix", "extra-level"] {
        b.ok(&format!("resolve codes.jsonl -o resolved.npy --items items.jsonl --policy {policy}"));
        let resolved = b.codes("resolved.npy");
        assert_eq!((distinct(&resolved), resolved.levels()), (ROWS, LEVELS + 1), "{}: {policy}", b.kind.name);
    }
    b.refused("resolve codes.jsonl -o resolved.npy --items items.jsonl --policy error", &["share"]);
    let relocate = "resolve codes.jsonl -o moved.npy --items items.jsonl --policy relocate --codec codec.safetensors --rows rows.npy";
    let space = match b.kind.relocate {
        Ok(space) => space,
        Err(why) => return b.refused(relocate, &["`--codec`", why]),
    };
    let told = b.json(relocate);
    let (before, after) = (b.codes("codes.jsonl"), b.codes("moved.npy"));
    assert_eq!((distinct(&after), after.levels()), (ROWS, LEVELS), "{}: relocate", b.kind.name);
    let moved = before.iter().zip(after.iter()).filter(|(a, b)| a != b).count();
    assert_eq!(told["cost"]["moved"].as_u64(), Some(moved as u64));
    let [was, is] = ["squared_l2_before", "squared_l2_after"].map(|name| told["cost"][name].as_f64().expect("a cost"));
    b.ok("decode codec.safetensors codes.jsonl -o was.npy");
    b.ok("decode codec.safetensors moved.npy -o is.npy");
    let (added, found) = (is - was, b.error("is.npy") - b.error("was.npy"));
    if space == Cost::Rows {
        let off = (added - found).abs();
        assert!(off <= 1e-4 * (1.0 + found.abs()), "{}: relocating adds {found}, it says {added}", b.kind.name);
    }
    assert!(was > 0.0 && is.is_finite() && found > -0.1 * b.error("was.npy"), "{}: {was} {is} {found}", b.kind.name);
}

/// Every item has an ID of its own on its codes, is found by it, and is gone when it is deleted.
fn store(b: &Bench) {
    for device in b.devices {
        let told = b.json(&format!(
            "assign codec.safetensors rows.npy --keys items.jsonl --store {device}.sqlite -o ids.npy --device {device}"
        ));
        assert_eq!((told["new"].as_u64(), told["in_store"].as_u64()), (Some(ROWS as u64), Some(ROWS as u64)));
        let (ids, codes) = (b.codes("ids.npy"), b.codes("codes.jsonl"));
        assert_eq!((distinct(&ids), ids.levels()), (ROWS, LEVELS + 1));
        assert!(ids.iter().zip(codes.iter()).all(|(id, codes)| &id[..LEVELS] == codes), "{}", b.kind.name);
        let found = b.json(&format!("lookup {device}.sqlite k017"));
        let stored: Vec<u32> = serde_json::from_value(found["found"][0]["codes"].clone()).expect("codes");
        assert_eq!(stored, codes.row(17), "{}", b.kind.name);
        let back = b.json(&format!("lookup {device}.sqlite --id {}", found["found"][0]["id"].as_str().expect("an ID")));
        assert!(back["found"].as_array().expect("items").iter().any(|item| item["key"] == "k017"));
        assert_eq!(b.json(&format!("delete {device}.sqlite k017"))["deleted"], 1);
        assert!(b.json(&format!("lookup {device}.sqlite k017"))["found"][0]["id"].is_null());
    }
}

/// The trie allows what the codes begin with, and its leaves are the items.
fn export_and_trie(b: &Bench) {
    let told = b.json(
        "export codes.jsonl -o bundle --codec codec.safetensors --items items.jsonl --style lc-rec --end-token-id 9999 --static npz",
    );
    assert_eq!(told["rows"].as_u64(), Some(ROWS as u64));
    let codes = b.codes("codes.jsonl");
    let firsts: HashSet<u32> = codes.iter().map(|id| id[0]).collect();
    let trie = b.json("trie bundle/ids.trie");
    assert_eq!(trie["allowed"].as_array().map(Vec::len), Some(firsts.len()), "{}", b.kind.name);
    assert_eq!(trie["items"].as_u64(), Some(ROWS as u64));
    let id = codes.row(17);
    let tokens: Vec<String> =
        id.iter().zip(0..).map(|(code, level)| (code + level * SIZE as u32).to_string()).collect();
    let rows = b.json(&format!("trie bundle/ids.trie {} --verify", tokens.join(" ")))["rows"].clone();
    let there: Vec<usize> = serde_json::from_value(rows).expect("rows");
    let wanted: Vec<usize> = (0..ROWS).filter(|i| codes.row(*i) == id).collect();
    assert_eq!(there, wanted, "{}", b.kind.name);
}

/// Whether a kind goes to faiss and to PyTorch, or why not.
#[cfg(feature = "import")]
fn goes_to_others(kind: &str) -> [Result<(), &'static str>; 2] {
    match kind {
        "k-means" | "refined" | "minibatch" => [Ok(()), Ok(())],
        "sinkhorn" | "capacity" => [Err("prices"); 2],
        "cosine" => [Err("cosine"); 2],
        "residual-normalised" => [Err("normalised residuals"); 2],
        "PCA" => [Err("PCA"); 2],
        "whitened" => [Err("scales"); 2],
        "RQ-VAE" | "shared codebook" => [Err("networks"), Err("other activations than ReLU")],
        "RQ-KMeans+" => [Err("networks"), Err("skip connection")],
        // Three levels of 16 dimensions.
        "PQ" | "OPQ" => [Err("different sizes or widths"), Err("side by side")],
        "balanced PQ of rows of one length" => [Err("norm 1"), Err("side by side")],
        other => panic!("whether `{other}` goes to other systems is not said"),
    }
}

/// Out and in again: the same codes by numpy, which holds every kind; by the others too, or refused with the reason.
#[cfg(feature = "import")]
fn other_systems(b: &Bench) {
    let differing = |file: &str, flags: &str| {
        b.ok(&format!("import {file} -o back.safetensors{flags}"));
        b.ok("encode back.safetensors rows.npy -o c.npy --device cpu");
        let (codes, back) = (b.codes("codes.jsonl"), b.codes("c.npy"));
        codes.iter().zip(back.iter()).filter(|(a, b)| a != b).count()
    };
    b.ok("export codec.safetensors -o whole.npz --format numpy");
    assert_eq!(differing("whole.npz", ""), 0, "{}: numpy", b.kind.name);
    let beam = b.json("show codec.safetensors")["beam"].as_u64().expect("a beam");
    let formats = [
        "export codec.safetensors -o f.npz --format faiss",
        "export codec.safetensors -o t.safetensors --format torch-safetensors",
    ];
    for ((export, file), fate) in formats.iter().zip(["f.npz", "t.safetensors"]).zip(goes_to_others(b.kind.name)) {
        match fate {
            Ok(()) => {
                b.ok(export);
                let flags = if beam > 1 { format!(" --beam {beam}") } else { String::new() };
                assert_eq!(differing(file, &flags), 0, "{}: `{export}`", b.kind.name);
            }
            Err(why) => b.refused(export, &[why, "cannot express"]),
        }
    }
}

#[cfg(not(feature = "import"))]
fn other_systems(_: &Bench) {}

fn dialogues(b: &Bench) {
    let told = b.json("dialogues bundle/items.jsonl --source items.jsonl -o chats");
    assert_eq!(told["report"]["items"].as_u64(), Some(ROWS as u64), "{}", b.kind.name);
    let lines = fs::read_to_string(b.desk.path("chats/train.jsonl")).expect("chats");
    assert!(lines.lines().count() > ROWS && lines.contains("item 17"));
}

/// IDs of any kind name items to a recommender, on every device alike.
fn recommend(b: &Bench) {
    let walk = |user: usize| (0..6).map(|t| ((user * 7 + t * 11) % ROWS).to_string()).collect::<Vec<_>>().join(",");
    let walks: String = (0..40).map(|user| format!("{{\"items\":[{}]}}\n", walk(user))).collect();
    b.desk.file("walks.jsonl", walks.as_bytes());
    for predict in ["items", "ordered", "levels"] {
        let losses: Vec<f64> = b
            .devices
            .iter()
            .map(|device| {
                let told = b.json(&format!(
                    "recommend train --interactions walks.jsonl --ids codes.jsonl --vectors rows.npy --predict {predict} --dims 8 \
                     --layers 1 --positions 8 --batch-tokens 64 --epochs 2 --dropout 0.1 --device {device} -o recommender.safetensors"
                ));
                assert_eq!(told["items"].as_u64(), Some(ROWS as u64), "{}", b.kind.name);
                told["epochs"][1]["loss"].as_f64().expect("a loss")
            })
            .collect();
        for loss in &losses {
            assert!((loss - losses[0]).abs() < 1e-3 * losses[0], "{}, {predict}: {losses:?}", b.kind.name);
        }
        for device in b.devices {
            let measured =
                b.json(&format!("recommend eval recommender.safetensors --interactions walks.jsonl --device {device}"));
            assert_eq!(measured["measures"]["questions"].as_u64(), Some(40), "{}", b.kind.name);
            let asked =
                b.json(&format!("recommend query recommender.safetensors --history 7,18,29 -k 3 --device {device}"));
            assert_eq!(asked["answers"][0]["items"].as_array().map(Vec::len), Some(3), "{}", b.kind.name);
        }
    }
}

/// A sweep's cell is the training that `train` does with the same settings.
fn sweep(b: &Bench) {
    let begin = format!("sweep rows.npy -o cells --levels {LEVELS} --codebook-size {SIZE} --keep-codecs --device cpu");
    match b.kind.sweep {
        Ok(flags) => {
            let report = b.json(&format!("{begin} {flags}"));
            assert_eq!(report["failed"], 0, "{}: {report}", b.kind.name);
            let cell = &report["cells"][0];
            b.ok(&format!(
                "train rows.npy --levels {LEVELS} --codebook-size {SIZE} {flags} -o swept.safetensors --device cpu"
            ));
            let figures = b.json("eval swept.safetensors rows.npy --queries 0 --device cpu");
            let (told, found) = (cell.to_string(), &figures["collision_rate"]);
            assert!(told.contains(&format!("\"collision_rate\":{found}")), "{}: {told}, eval {found}", b.kind.name);
        }
        Err(flag) => b.refused(&format!("{begin} {}", b.kind.train), &["unexpected argument", flag]),
    }
}

/// A whole run trains that kind, and its IDs are that codec's.
fn run(b: &Bench) {
    let network = "method = \"rqvae\"\nepochs = 2\nrqvae = { hidden = [16], code_dims = 8, batch_rows = 128";
    let (train, refused) = match b.kind.run {
        Ok("@network") => (format!("{network} }}\n"), None),
        Ok("@shared") => (format!("{network}, shared_codebook = true }}\n"), None),
        Ok(text) => (text.to_owned(), None),
        Err("`from`") => ("method = \"rqvae\"\nfrom = \"start.safetensors\"\n".to_owned(), Some("`from`")),
        Err(part) => ("method = \"minibatch\"\n".to_owned(), Some(part)),
    };
    let file = format!(
        "output = \"out\"\ndevice = \"cpu\"\n[prep]\nsource = \"items.jsonl\"\ntemplate = \"{{title}}\"\n[embed]\nvectors = \
         \"rows.npy\"\n[train]\nlevels = {LEVELS}\ncodebook_size = {SIZE}\n{train}"
    );
    b.desk.file("run.toml", file.as_bytes());
    if let Some(part) = refused {
        return b.refused("run --config run.toml", &[part]);
    }
    b.ok("run --config run.toml");
    let codec = fs::read_dir(b.desk.path("out/train")).expect("phase train").map(|e| e.expect("entry").path());
    let codec = codec.into_iter().find(|path| path.extension().is_some_and(|e| e == "safetensors")).expect("a codec");
    fs::copy(codec, b.desk.path("of-run.safetensors")).expect("copied");
    let shown = b.json("show of-run.safetensors");
    assert_eq!(shown["method"], b.json("show codec.safetensors")["method"], "{}", b.kind.name);
    b.ok("assign of-run.safetensors rows.npy --keys items.jsonl --store of-run.sqlite --device cpu");
    let item = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let ids = fs::read_to_string(b.desk.path("out/assign/ids.jsonl")).expect("IDs of the run");
    let ids: Vec<Value> = ids.lines().map(item).collect();
    assert_eq!(ids.len(), ROWS);
    let found = b.json("lookup of-run.sqlite k017 k123");
    for stored in found["found"].as_array().expect("items") {
        let told = ids.iter().find(|id| id["id"] == stored["key"]).expect("an ID");
        assert_eq!(told["codes"], stored["codes"], "{}", b.kind.name);
    }
}

/// Where there is a checkpoint to go on from, going on gives what was there; elsewhere the flag is refused.
fn resume(b: &Bench) {
    match b.kind.name {
        "minibatch" => {
            let begin = format!("{} --checkpoint state.json --device cpu", training(b));
            let first = b.json(&format!("{begin} -o first.safetensors"));
            let again = b.json(&format!("{begin} --resume -o resumed.safetensors"));
            assert_eq!(first["content_hash"], again["content_hash"]);
        }
        _ if b.network() => {
            let begin = format!("{} --run kept --device cpu", training(b));
            let first = b.json(&format!("{begin} -o first.safetensors"));
            let begin = begin.replace("--from start.safetensors", "");
            let again = b.json(&format!("{begin} --resume -o resumed.safetensors"));
            assert_eq!(first["content_hash"], again["content_hash"], "{}", b.kind.name);
        }
        _ => b.refused(&format!("{} --resume -o x.safetensors", training(b)), &["`--resume` needs `--method"]),
    }
}

macro_rules! kinds {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            walk($name);
        })*

        #[test]
        fn every_verb_and_kind_has_its_entry() {
            let walked: HashSet<&str> = [$($name),*].into();
            let kinds: HashSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
            assert_eq!(walked, kinds);
            let desk = Desk::new();
            let help = desk.run("--help").ok().stdout;
            let verbs = help.lines().skip_while(|line| *line != "Verbs:").skip(1).take_while(|line| !line.is_empty());
            let verbs: HashSet<&str> = verbs.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next()).collect();
            let known: HashSet<&str> = STEPS.iter().map(|(verb, _)| *verb).chain(WITHOUT).filter(|v| *v != "resume").collect();
            assert!(verbs.len() > 20 && verbs == known, "{:?}", verbs.symmetric_difference(&known));
            // What a training may be: each value of these flags is some kind's.
            for (flag, standard) in [("--method", "kmeans"), ("--balance", "none"), ("--metric", "squared-l2")] {
                let told = desk.run(&format!("train a.npy -o b.safetensors {flag} ?")).stderr;
                let values = told.split_once("possible values: ").and_then(|(_, rest)| rest.split_once(']')).expect("values").0;
                for value in values.split(", ").filter(|value| *value != standard) {
                    let wanted = format!("{flag} {value}");
                    assert!(KINDS.iter().any(|kind| kind.train.contains(&wanted)), "no kind is trained by `{wanted}`");
                }
            }
        }
    };
}

kinds! {
    k_means: "k-means",
    sinkhorn: "sinkhorn",
    capacity: "capacity",
    refined: "refined",
    cosine: "cosine",
    residual_normalised: "residual-normalised",
    pca: "PCA",
    whitened: "whitened",
    minibatch: "minibatch",
    rqvae: "RQ-VAE",
    rq_kmeans_plus: "RQ-KMeans+",
    shared_codebook: "shared codebook",
    pq: "PQ",
    balanced_pq: "balanced PQ of rows of one length",
    opq: "OPQ",
}
