//! Runs by the program: what it says, and that kills change nothing.

use crate::cli::Desk;
use sememe::rng;
use sememe_testkit::catalogue::{CONFIG, Catalogue, content};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

fn desk(items: usize, config: &str) -> Desk {
    let desk = Desk::new();
    Catalogue::new(items).write(&desk.path(""));
    desk.file("sememe.toml", config.as_bytes());
    let keys = Catalogue::new(items).keys;
    let walk =
        |user: usize| (0..6).map(|t| format!("{user},{},{t}\n", keys[(user * 7 + t) % items])).collect::<String>();
    desk.file("walks.csv", format!("user,item,time\n{}", (0..80).map(walk).collect::<String>()).as_bytes());
    desk
}

#[test]
fn the_program_runs_checks_and_writes_configurations() {
    let desk = desk(150, CONFIG);
    let run = desk.run("run").ok();
    assert!(run.stdout.contains("6 phases run, 0 up to date"), "{}", run.stdout);
    assert!(run.stderr.contains("train     runs: it has not run yet"), "{}", run.stderr);
    let value = desk.run("run --json").json();
    assert_eq!(value["phases"].as_array().map(Vec::len), Some(6));
    assert!(value["phases"].as_array().expect("a list").iter().all(|phase| phase["ran"] == false));
    let value = desk.run("run --json --phase tokenize,report --rebuild report").json();
    assert_eq!(value["phases"].as_array().map(Vec::len), Some(2));
    desk.run("run --config none.toml").fails(2, &["none.toml", "sememe init"]);
    desk.run("run --set train.levls=3").fails(2, &["did you mean `levels`?"]);
    desk.refuses("init", 2, &["sememe.toml", "--force"]);
    desk.run("init other.toml").ok();
    let check = desk.run("config check other.toml").ok();
    assert!(check.stdout.contains("[train.rq_kmeans]"), "{}", check.stdout);
    let value = desk.run("config check --json --set train.levels=5").json();
    assert_eq!(value["train"]["levels"], 5);
    assert_eq!(value["train"]["rq_kmeans"]["codebook_sizes"].as_array().map(Vec::len), Some(5), "what trains is shown");
    // What is printed in full is a configuration itself.
    let full = desk.run("config check").ok().stdout;
    desk.file("full.toml", full.as_bytes());
    let value = desk.run("run --json --config full.toml").json();
    assert!(value["phases"].as_array().expect("a list").iter().all(|phase| phase["ran"] == false), "{value:#}");
    desk.file("broken.toml", b"[train]\nlevls = 3\n");
    desk.run("config check broken.toml").fails(3, &["broken.toml", "line 2, column 1", "did you mean `levels`?"]);
}

#[test]
fn a_dry_run_is_small_and_apart() {
    let network = format!("{CONFIG}[dry_run]\nitems = 60\nepochs = 1\n")
        .replace("[train]\n", "[train]\nmethod = \"rqvae\"\n")
        + "[train.rqvae]\nhidden = [8]\ncode_dims = 4\nbatch_rows = 16\nautoencoder_epochs = 0\nepochs = 50\n";
    let desk = desk(150, &network);
    let value = desk.run("run --dry-run --json").json();
    let checked: Vec<&str> = value["checked"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(checked.contains(&"prep/items.jsonl: 60 lines"), "{checked:#?}");
    assert!(checked.iter().any(|line| line.starts_with("train/rqvae/last.safetensors")), "{checked:#?}");
    assert!(desk.path("out/dry-run/report/report.html").exists());
    assert!(!desk.path("out/prep").exists() && !desk.path("out/state.json").exists());
}

/// Kills the program at moments spread over a run, runs it to its end, and wants the artifacts of a run that nothing stopped.
fn killed(config: &str, items: usize, default_kills: usize) {
    let kills = std::env::var("SEMEME_KILLS").map_or(default_kills, |text| text.parse().expect("a number"));
    let whole = desk(items, config);
    let begun = Instant::now();
    whole.run("run --quiet").ok();
    let length = begun.elapsed();
    let expected = content(&whole.path("out"));
    let mut random = rng::stream(5, "kills", 0);
    let broken = desk(items, config);
    let (mut stopped, mut rounds) = (0, 0);
    while stopped < kills && rounds < 20 * kills {
        rounds += 1;
        let mut child = broken.command("run --quiet").spawn().expect("started");
        // What is left of a run is shorter than all of it.
        std::thread::sleep(length.mul_f64(0.7 * random.uniform()).max(Duration::from_millis(1)));
        let at_work = child.try_wait().expect("asked").is_none();
        child.kill().expect("killed");
        child.wait().expect("gone");
        stopped += usize::from(at_work);
        if !at_work {
            fs::remove_dir_all(broken.path("out")).expect("removed");
        }
    }
    broken.run("run --quiet").ok();
    let got = content(&broken.path("out"));
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(got[name] == *bytes, "{name} differs after {stopped} kills");
    }
    assert!(stopped * 2 >= kills, "only {stopped} of {rounds} runs were stopped before their end");
    println!("{stopped} kills at work in {rounds} rounds");
}

#[test]
fn a_killed_run_goes_on_to_the_same_artifacts() {
    killed(CONFIG, 400, 8);
}

#[test]
fn a_killed_run_with_a_network_goes_on_to_the_same_artifacts() {
    let config = CONFIG.replace("[train]\n", "[train]\nmethod = \"rqvae\"\n")
        + "[train.rqvae]\nhidden = [16]\ncode_dims = 4\nbatch_rows = 32\nautoencoder_epochs = 1\nepochs = 12\ncheckpoint_steps = 5\n";
    killed(&config, 300, 6);
}

#[test]
fn a_killed_run_with_a_recommender_goes_on_to_the_same_artifacts() {
    let section = "[recommend]\ninteractions = \"walks.csv\"\nvectors = true\ndims = 16\nlayers = 1\npositions = 8\n\
                   batch_tokens = 64\nepochs = 12\npatience = 0\n";
    killed(&format!("{CONFIG}{section}"), 300, 6);
}

#[test]
fn what_mends_a_recommender_is_said_in_keys() {
    let desk = desk(60, &format!("{CONFIG}[recommend]\ninteractions = \"walks.csv\"\ndims = 16\nepochs = 1\n"));
    desk.file("walks.csv", b"user,item,time\n1,item-0000,1\n1,item-none,2\n");
    desk.run("run").fails(3, &["1 of 2 events", "leave them out with `unknown = \"drop\"` in `[recommend]`"]);
    desk.run("run --set recommend.heads=3").fails(2, &["`recommend.heads`", "got 3"]);
    desk.run("run --set recommend.rates=3").fails(2, &["did you mean `rate`?"]);
    desk.run("run --phase recommend --set recommend.unknown=drop").fails(3, &["none of 1 users has 4 items"]);
    let plain = desk.file("plain.toml", CONFIG.as_bytes()).run("run --config plain.toml --phase recommend");
    plain.fails(2, &["no section `[recommend]`"]);
}
