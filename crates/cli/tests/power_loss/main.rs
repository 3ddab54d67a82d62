//! The power goes at any moment: afterwards a reader sees what was there before or what was to be there, never a part of it.
//!
//! The program runs once under strace. What it wrote is played to a model of a disk that forgets or tears whatever was not synced
//! (`disk.rs`), and every state that the model may leave is put into a folder and read. Where strace cannot trace, the tests skip, and say
//! so; with `SEMEME_STRACE=require` they fail.

#![cfg(target_os = "linux")]

mod disk;
mod trace;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use disk::{Disk, Fate, Tree, every_loss, place};
use sememe::fit::MiniBatchTrainer;
use sememe::fit::rqvae::RqVaeTrainer;
use sememe::ids::store::open_existing;
use sememe::io::{RowsWriter, read_keys};
use sememe::rng;
use sememe_recommend::{Recommender, RecommenderTraining};
use sememe_run::track::{EventWriter, MetricsWriter};
use tempfile::TempDir;
use trace::Call;

const DIMS: usize = 6;

/// Whether to go on: says why not, or fails where the test must run.
fn can_trace() -> bool {
    let can = trace::available();
    let required = std::env::var("SEMEME_STRACE").is_ok_and(|value| value == "require");
    assert!(can || !required, "strace is not installed, or may not trace here");
    if !can {
        println!("skipped: strace is not installed, or may not trace here");
    }
    can
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sememe"))
}

/// Rows in eight groups, with their keys.
fn items(folder: &Path, rows: usize) {
    let mut random = rng::stream(5, "power loss", 0);
    let mut out = RowsWriter::create(folder.join("rows.npy"), rows, DIMS).expect("rows");
    let mut lines = String::new();
    for i in 0..rows {
        let row: Vec<f32> = (0..DIMS).map(|c| ((i % 8) * (c + 1) % 5) as f32 + 0.3 * random.normal() as f32).collect();
        out.write(&row).expect("written");
        lines += &format!("{{\"id\":\"item-{i:03}\",\"title\":\"Thing {i} of group {}\"}}\n", i % 8);
    }
    out.finish().expect("finished");
    fs::write(folder.join("items.jsonl"), lines).expect("written");
}

fn run_in(folder: &Path, args: &str) {
    let output = Command::new(program()).args(args.split_whitespace()).current_dir(folder).output().expect("runs");
    assert!(output.status.success(), "sememe {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder, what a command did in it, and the disk before and after.
struct Recorded {
    calls: Vec<Call>,
    before: Disk,
    new: Tree,
    /// The folder as the command left it.
    folder: TempDir,
}

/// Prepares a folder by commands, and records the last one.
fn record(rows: usize, commands: &[&str]) -> Recorded {
    let folder = tempfile::tempdir().expect("a folder");
    items(folder.path(), rows);
    let (last, first) = commands.split_last().expect("a command");
    first.iter().for_each(|args| run_in(folder.path(), args));
    record_in(folder, last)
}

fn record_in(folder: TempDir, args: &str) -> Recorded {
    let before = Disk::new(folder.path());
    let logs = tempfile::tempdir().expect("a folder");
    let args: Vec<&str> = args.split_whitespace().collect();
    let (output, calls) = trace::record(program(), &args, folder.path(), &logs.path().join("trace"));
    assert!(output.status.success(), "sememe {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let new = Disk::new(folder.path()).after(Fate::All);
    let mut disk = before.clone();
    calls.iter().for_each(|call| disk.run(call));
    let modelled = disk.after(Fate::All);
    let differs = |path: &&PathBuf| modelled.get(*path) != new.get(*path);
    // Shared memory of SQLite is written through a mapping, and means nothing to the next who opens it.
    let wrong =
        modelled.keys().chain(new.keys()).find(|path| differs(path) && !path.to_string_lossy().ends_with("-shm"));
    assert_eq!(wrong, None, "the trace explains the folder");
    Recorded { calls, before, new, folder }
}

impl Recorded {
    /// Puts every state that a loss of power may leave into a folder and checks it. `after` checks what is left when the power goes as the
    /// program has ended: what it said it did is there. Returns how many states there were.
    #[track_caller]
    fn check(&self, each: &dyn Fn(&Path) -> Result<(), String>, after: &dyn Fn(&Path) -> Result<(), String>) -> usize {
        let mut faults: Vec<String> = Vec::new();
        let mut try_one = |done: usize, fate: Fate, tree: &Tree, check: &dyn Fn(&Path) -> Result<(), String>| {
            let folder = tempfile::tempdir().expect("a folder");
            place(tree, folder.path());
            if let Err(problem) = check(folder.path()) {
                let call = done.checked_sub(1).map_or("the first call".into(), |at| brief(&self.calls[at]));
                faults.push(format!("power lost after {call} ({done} of {}), {fate:?}: {problem}", self.calls.len()));
            }
        };
        let states = every_loss(&self.before, &self.calls, &mut |done, fate, tree| try_one(done, fate, tree, each));
        let mut disk = self.before.clone();
        self.calls.iter().for_each(|call| disk.run(call));
        for fate in [Fate::Nothing, Fate::Names, Fate::Contents, Fate::Random(7)] {
            try_one(self.calls.len(), fate, &disk.after(fate), after);
        }
        println!("{} calls, {states} states, {} faults", self.calls.len(), faults.len());
        let shown = faults.iter().take(8).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(faults.is_empty(), "{} of {states} states are faulty:\n{shown}", faults.len());
        states
    }

    fn old(&self) -> Tree {
        self.before.after(Fate::All)
    }
}

fn brief(call: &Call) -> String {
    let text = match call {
        Call::Write { file, at, bytes } => format!("Write {{ file: {file}, at: {at}, {} bytes }}", bytes.len()),
        other => format!("{other:?}"),
    };
    text.chars().take(120).collect()
}

/// Files that are not on their way to a name.
fn visible(tree: &Tree) -> Tree {
    let hidden = |path: &Path| path.iter().any(|part| part.to_string_lossy().starts_with('.'));
    tree.iter().filter(|(path, _)| !hidden(path)).map(|(path, content)| (path.clone(), content.clone())).collect()
}

fn tree_of(folder: &Path) -> Tree {
    visible(&Disk::new(folder).after(Fate::All))
}

fn expect(truth: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if truth { Ok(()) } else { Err(problem()) }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn names(tree: &Tree) -> BTreeSet<String> {
    tree.keys().map(|path| path.display().to_string()).collect()
}

/// The model does lose and tear: a file that is renamed before it is synced may be there and empty, or not be there.
#[test]
fn what_is_not_synced_is_lost() {
    if !can_trace() {
        return;
    }
    let (folder, logs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    fs::write(folder.path().join("x"), "old").expect("written");
    let before = Disk::new(folder.path());
    let script = "mkdir d; echo new > x.tmp; mv x.tmp x; echo y > d/y";
    let (output, calls) =
        trace::record(Path::new("/bin/sh"), &["-c", script], folder.path(), &logs.path().join("trace"));
    assert!(output.status.success());
    let mut seen = BTreeSet::new();
    every_loss(&before, &calls, &mut |_, _, tree| {
        let content = |name: &str| tree.get(Path::new(name)).map(|content| content.clone().unwrap_or_default());
        seen.insert((content("x"), content("d").is_some(), content("d/y")));
    });
    let some = |text: &str| Some(text.as_bytes().to_vec());
    for state in [
        (some("old"), false, None),
        (some(""), true, None),
        (some("\0\0\0\0"), true, some("")),
        (some("n"), true, None),
        (some("new\n"), true, some("y\n")),
    ] {
        assert!(seen.contains(&state), "{state:?} is not among {seen:?}");
    }
}

/// Of each command: its whole folder is as before or as after, and as after once it has ended.
#[test]
fn what_a_command_writes_is_there_whole_or_not_at_all() {
    if !can_trace() {
        return;
    }
    let train = "train rows.npy -o codec.safetensors --levels 2 --codebook-size 8 --device cpu";
    let again = "train rows.npy -o codec.safetensors --levels 2 --codebook-size 8 --device cpu --seed 7";
    let encode = "encode codec.safetensors rows.npy --device cpu -o";
    let cases: [&[&str]; 8] = [
        &[train],
        &[train, again],
        &[train, &format!("{encode} codes.npy")],
        &[train, &format!("{encode} codes.csv"), again, &format!("{encode} codes.csv")],
        &[train, &format!("{encode} codes.jsonl"), again, &format!("{encode} codes.jsonl")],
        &[train, &format!("{encode} codes.npy"), "decode codec.safetensors codes.npy -o back.npy"],
        &[train, &format!("{encode} codes.npy"), "resolve codes.npy -o unique.npy --items items.jsonl"],
        &[train, "eval codec.safetensors rows.npy --queries 0 --report page.html"],
    ];
    for commands in cases {
        println!("{}", commands[commands.len() - 1]);
        let recorded = record(64, commands);
        let (old, new) = (visible(&recorded.old()), visible(&recorded.new));
        recorded.check(
            &|folder| {
                let now = tree_of(folder);
                expect(now == old || now == new, || format!("neither old nor new: {:?}", names(&now)))
            },
            &|folder| expect(tree_of(folder) == new, || format!("not what was written: {:?}", names(&tree_of(folder)))),
        );
    }
}

/// A folder of files is one thing: readers of a vocabulary and a trie that do not belong together would make nonsense of both.
#[test]
fn an_exported_folder_is_old_or_new() {
    if !can_trace() {
        return;
    }
    let train = "train rows.npy -o codec.safetensors --levels 2 --codebook-size 8 --device cpu";
    let again = "train rows.npy -o codec.safetensors --levels 2 --codebook-size 4 --device cpu --seed 7";
    let encode = "encode codec.safetensors rows.npy --device cpu -o codes.npy";
    let export = "export unique.npy -o out --codec codec.safetensors --style lc-rec --counter --items items.jsonl --title title --end-token-id 9999";
    let resolve = "resolve codes.npy -o unique.npy --items items.jsonl";
    for commands in
        [&[train, encode, resolve, export][..], &[train, encode, resolve, export, again, encode, resolve, export]]
    {
        let recorded = record(64, commands);
        let part = |tree: &Tree| -> Tree {
            tree.iter().filter(|(path, _)| path.starts_with("out")).map(|(p, c)| (p.clone(), c.clone())).collect()
        };
        let (old, new) = (part(&visible(&recorded.old())), part(&visible(&recorded.new)));
        recorded.check(
            &|folder| {
                let now = part(&tree_of(folder));
                expect(now == old || now == new, || format!("neither old nor new: {:?}", names(&now)))
            },
            &|folder| expect(part(&tree_of(folder)) == new, || "not what was written".into()),
        );
    }
}

/// A recommender's state is written after every epoch: whenever the power goes, there is a whole one, or none yet.
#[test]
fn a_recommenders_state_is_whole_at_any_time() {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    items(folder.path(), 24);
    let walk = |user: u32| format!("{{\"items\":{:?}}}\n", (0..6).map(|t| (user + t) % 24).collect::<Vec<u32>>());
    fs::write(folder.path().join("walks.jsonl"), (0..24).map(walk).collect::<String>()).expect("written");
    let recorded = record_in(
        folder,
        "recommend train --interactions walks.jsonl --vectors rows.npy --dims 8 --layers 1 --positions 8 --batch-tokens 64 \
         --epochs 3 --device cpu --checkpoint state.safetensors -o r.safetensors",
    );
    let whole = |folder: &Path| {
        if let Ok(bytes) = fs::read(folder.join("state.safetensors")) {
            RecommenderTraining::from_bytes(&bytes).map_err(text)?;
        }
        let output = folder.join("r.safetensors");
        if output.exists() { Recommender::load(output).map(drop).map_err(text) } else { Ok(()) }
    };
    let new = visible(&recorded.new);
    let states = recorded.check(&whole, &|folder| expect(tree_of(folder) == new, || "not what was written".into()));
    assert!(states > 20, "{states}");
}

const RQVAE: &str = "train rows.npy -o codec.safetensors --method rqvae --codebook-size 4,4 --epochs 2 --batch-rows 32 \
                     --set hidden=[8] --set code_dims=4 --set log_every=1 --set checkpoint_steps=2 --device cpu";

/// Steps whose lines a `metrics.jsonl` holds.
fn steps(path: &Path, most: u64) -> Result<Vec<u64>, String> {
    let content = fs::read_to_string(path).map_err(text)?;
    let lines = content.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).map_err(text));
    let lines: Vec<_> = lines.collect::<Result<_, _>>()?;
    let step = |line: &serde_json::Value| line["step"].as_u64().filter(|_| line["kind"] == "step");
    Ok(lines.iter().filter_map(step).filter(|step| *step <= most).collect())
}

#[test]
fn a_training_goes_on_from_a_whole_checkpoint_with_all_its_curves() {
    if !can_trace() {
        return;
    }
    let recorded = record(64, &[RQVAE]);
    let run = recorded.folder.path().join("codec.run");
    let whole =
        RqVaeTrainer::from_bytes(&fs::read(run.join("last.safetensors")).expect("a checkpoint")).expect("whole");
    let all = steps(&run.join("metrics.jsonl"), whole.steps()).expect("lines");
    assert_eq!(all, (1..=whole.steps()).collect::<Vec<_>>(), "a line a step");
    let check = |folder: &Path, ended: bool| {
        let run = folder.join("codec.run");
        for name in ["last.safetensors", "best.safetensors"] {
            if !run.join(name).exists() {
                expect(!ended, || format!("{name} is lost"))?;
                continue;
            }
            let state = RqVaeTrainer::from_bytes(&fs::read(run.join(name)).map_err(text)?);
            let state = state.map_err(|e| format!("{name}: {e}"))?;
            if name == "last.safetensors" {
                expect(!ended || state.steps() == whole.steps(), || "an old checkpoint".into())?;
                let kept = |line: &serde_json::Value| line["step"].as_u64() <= Some(state.steps());
                MetricsWriter::resume(run.join("metrics.jsonl"), kept).map_err(|e| format!("metrics: {e}"))?;
                let there = steps(&run.join("metrics.jsonl"), state.steps())?;
                expect(there == all[..state.steps() as usize], || {
                    format!("metrics of steps {there:?}, the checkpoint is of step {}", state.steps())
                })?;
                EventWriter::resume(&run, state.steps() + 1).map_err(|e| format!("events: {e}"))?;
            }
        }
        let codec = fs::read(folder.join("codec.safetensors")).ok();
        let want = recorded.new[Path::new("codec.safetensors")].as_ref();
        expect(codec.is_none() && !ended || codec.as_ref() == want, || "the codec is torn or lost".into())
    };
    recorded.check(&|folder| check(folder, false), &|folder| check(folder, true));
    // And on to the same codec.
    let mut count = 0;
    every_loss(&recorded.before, &recorded.calls, &mut |done, fate, tree| {
        count += 1;
        if count % 97 != 5 {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        place(tree, folder.path());
        run_in(folder.path(), &format!("{RQVAE} --resume"));
        let codec = fs::read(folder.path().join("codec.safetensors")).ok();
        assert_eq!(codec, recorded.new[Path::new("codec.safetensors")], "after call {done}, {fate:?}");
    });
}

#[test]
fn a_state_of_mini_batches_is_old_or_new() {
    if !can_trace() {
        return;
    }
    let train = "train rows.npy -o codec.safetensors --method minibatch --levels 2 --codebook-size 4 --epochs 3 --batch-rows 32 \
                 --checkpoint state.json --device cpu";
    let recorded = record(64, &[train]);
    let check = |folder: &Path, ended: bool| {
        let Ok(bytes) = fs::read(folder.join("state.json")) else {
            return expect(!ended, || "the state is lost".into());
        };
        let state = MiniBatchTrainer::from_bytes(&bytes).map_err(text)?;
        expect(!ended || state.epochs() == 3, || format!("a state of epoch {}", state.epochs()))
    };
    recorded.check(&|folder| check(folder, false), &|folder| check(folder, true));
}

#[test]
fn cells_of_a_sweep_are_there_or_not() {
    if !can_trace() {
        return;
    }
    let sweep =
        "sweep rows.npy -o cells --levels 1,2 --codebook-size 4 --iterations 3 --keep-codecs --queries 0 --device cpu";
    let recorded = record(64, &[sweep]);
    let check = |folder: &Path, ended: bool| {
        let now = tree_of(folder);
        for (path, content) in &recorded.new {
            let Some(there) = now.get(path) else {
                expect(!ended, || format!("{} is lost", path.display()))?;
                continue;
            };
            expect(there == content, || format!("{} is torn", path.display()))?;
        }
        // CellMeasures are kept after the codec that they are of.
        for path in now.keys().filter(|path| path.extension().is_some_and(|e| e == "json")) {
            let codec = path.to_string_lossy().replace("cell-", "codec-").replace(".json", ".safetensors");
            let of_a_cell = path.to_string_lossy().contains("cell-");
            expect(!of_a_cell || now.contains_key(Path::new(&codec)), || format!("{codec} is not there"))?;
        }
        Ok(())
    };
    recorded.check(&|folder| check(folder, false), &|folder| check(folder, true));
}

/// Codes and counter of each item that has an ID.
type Held = Vec<Option<(Vec<u32>, u32)>>;

#[test]
fn ids_that_were_given_out_stay() {
    if !can_trace() {
        return;
    }
    let train = "train rows.npy -o codec.safetensors --levels 2 --codebook-size 4 --device cpu";
    let assign =
        "assign codec.safetensors rows.npy --keys items.jsonl --store ids.sqlite --batch-items 20 --device cpu";
    let store = |folder: &Path| -> Result<Held, String> {
        let keys = read_keys(folder.join("items.jsonl"), "id").map_err(text)?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut store = open_existing(folder.join("ids.sqlite")).map_err(text)?;
        let held = store.get(&keys).map_err(text)?;
        Ok(held.into_iter().map(|id| id.map(|id| (id.codes, id.counter))).collect())
    };
    // The first time, when the file is made; and again with more items.
    for more in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        items(folder.path(), 40);
        run_in(folder.path(), train);
        let mut old = vec![None; 40];
        if more {
            run_in(folder.path(), assign);
            old = store(folder.path()).expect("a store");
            items(folder.path(), 100);
            old.resize(100, None);
        }
        let recorded = record_in(folder, assign);
        let new = store(recorded.folder.path()).expect("a store");
        assert!(new.iter().all(Option::is_some));
        let check = |folder: &Path, ended: bool| {
            let held = match store(folder) {
                Ok(held) => held,
                // Before the first transaction there is no store, or an empty one.
                Err(problem) if old.iter().all(Option::is_none) && !ended => {
                    let empty = ["unable to open", "is empty", "does not exist", "no store"];
                    return expect(empty.iter().any(|part| problem.contains(part)), || problem);
                }
                Err(problem) => return Err(problem),
            };
            for (batch, (held, (old, new))) in held.chunks(20).zip(old.chunks(20).zip(new.chunks(20))).enumerate() {
                let whole = held == new || (held == old && !ended);
                expect(whole, || format!("batch {batch} is neither old nor new"))?;
            }
            Ok(())
        };
        recorded.check(&|folder| check(folder, false), &|folder| check(folder, true));
    }
}

/// A whole run: whatever the power left, the same command goes on to the same artifacts.
#[test]
fn a_run_goes_on_to_the_same_artifacts() {
    if !can_trace() {
        return;
    }
    let config = "name = \"things\"\noutput = \"out\"\ndevice = \"cpu\"\n[prep]\nsource = \"items.jsonl\"\ntitle = \"title\"\n\
                  template = \"{title}\"\n[embed]\nvectors = \"rows.npy\"\n[train]\nlevels = 2\ncodebook_size = 4\n\
                  [train.rq_kmeans]\niterations = 3\n[assign]\nbatch_items = 50\n[report]\nqueries = 0\n";
    let folder = tempfile::tempdir().expect("a folder");
    items(folder.path(), 64);
    fs::write(folder.path().join("sememe.toml"), config).expect("written");
    let run = "run --config sememe.toml";
    let recorded = record_in(folder, run);
    // What says when something was done differs from run to run.
    let lasting = |tree: &Tree| -> Tree {
        let timed = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let kinds = [".lock", "-wal", "-shm", ".sqlite"];
            path.starts_with("out/tracking")
                || name == "state.json"
                || name.contains("summary")
                || name.contains("tfevents")
                || name.ends_with(".html")
                || kinds.iter().any(|kind| name.ends_with(kind))
        };
        visible(tree).into_iter().filter(|(path, _)| !timed(path)).collect()
    };
    let want = lasting(&recorded.new);
    let goes_on = |folder: &Path| {
        let output = Command::new(program()).args(run.split(' ')).current_dir(folder).output().map_err(text)?;
        expect(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
        let now = lasting(&tree_of(folder));
        let other = want.iter().find(|(path, content)| now.get(*path) != Some(content)).map(|(path, _)| path);
        expect(other.is_none(), || format!("{other:?} is another"))?;
        expect(now.len() == want.len(), || format!("{:?} beside {:?}", names(&now), names(&want)))
    };
    // A run takes a good part of a second: some of the states, spread over all moments and fates.
    let most: usize = std::env::var("SEMEME_POWER_LOSSES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let total = every_loss(&recorded.before, &recorded.calls, &mut |_, _, _| {});
    let step = (total / most).max(1);
    let (mut at, mut faults) = (0, Vec::new());
    every_loss(&recorded.before, &recorded.calls, &mut |done, fate, tree| {
        at += 1;
        if at % step != 0 {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        place(tree, folder.path());
        if let Err(problem) = goes_on(folder.path()) {
            let call = done.checked_sub(1).map_or("the first call".into(), |at| brief(&recorded.calls[at]));
            faults.push(format!("power lost after {call} ({done}), {fate:?}: {problem}"));
        }
    });
    println!("{} calls, {total} states", recorded.calls.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // What was said to be done is there.
    let mut disk = recorded.before.clone();
    recorded.calls.iter().for_each(|call| disk.run(call));
    let left = lasting(&disk.after(Fate::Nothing));
    let lost: Vec<_> = want.iter().filter(|(path, content)| left.get(*path) != Some(content)).map(|(p, _)| p).collect();
    assert!(lost.is_empty(), "lost after the run had ended: {lost:?}");
}
