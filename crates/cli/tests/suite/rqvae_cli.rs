//! `sememe train --method rqvae` as a user meets it: artifacts, stopping, killing, going on, refusals.

use crate::cli::Desk;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// A training of a second or two on the first packages of the demo's catalogue.
const TRAIN: &str = "train items.npy -o codec.safetensors --method rqvae --codebook-size 16,8 --epochs 12 --batch-rows 32 \
                     --set hidden=[48,24] --set code_dims=8 --set log_every=5 --set checkpoint_steps=7 --device cpu";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.items("items.npy", 600);
    desk
}

fn artifacts(desk: &Desk) -> Vec<(String, Vec<u8>)> {
    ["codec.safetensors", "codec.run/last.safetensors", "codec.run/best.safetensors", "codec.run/metrics.jsonl"]
        .into_iter()
        .chain(["codec.run/code_usage.csv", "codec.run/config.json"])
        .map(|name| (name.to_owned(), fs::read(desk.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))))
        .collect()
}

#[test]
fn a_training_leaves_a_codec_and_its_artifacts() {
    let desk = desk();
    let run = desk.run(TRAIN).ok();
    assert_eq!(run.stderr.lines().filter(|l| l.starts_with("epoch ")).count(), 12, "{}", run.stderr);
    assert!(run.stdout.contains("wrote codec.safetensors: 16 × 8 codewords"), "{}", run.stdout);
    let files = artifacts(&desk);
    let lines = String::from_utf8(files[3].1.clone()).unwrap();
    let kinds = |kind: &str| lines.lines().filter(|l| l.contains(&format!("\"kind\":\"{kind}\""))).count();
    assert_eq!((kinds("epoch"), kinds("step")), (12, 12 * 19 / 5));
    let usage = String::from_utf8(files[4].1.clone()).unwrap();
    assert_eq!((usage.lines().next(), usage.lines().count()), (Some("level,code,count,share"), 1 + 24));
    let events = fs::read_dir(desk.path("codec.run")).unwrap().filter_map(Result::ok);
    assert_eq!(events.filter(|e| e.file_name().to_string_lossy().contains("tfevents")).count(), 1);
    // A codec like any other.
    desk.run("encode codec.safetensors items.npy -o codes.npy").ok();
    desk.run("decode codec.safetensors codes.npy -o back.npy --depth 1").ok();
    let measured = desk.run("eval codec.safetensors items.npy --json --queries 0").json();
    assert!(measured["r2"].as_f64().unwrap() > 0.2, "{measured}");
    let shown = desk.run("show codec.safetensors").ok().stdout;
    assert!(shown.contains("384-48-24-8, silu") && shown.contains("rq-vae"), "{shown}");
    desk.run(TRAIN).fails(2, &["codec.run/last.safetensors", "--resume"]);
    // A finished training gives its codec again.
    fs::remove_file(desk.path("codec.safetensors")).unwrap();
    desk.run(&format!("{TRAIN} --resume best")).ok();
    desk.run(&format!("{TRAIN} --resume")).ok();
    assert_eq!(artifacts(&desk)[0], files[0]);
}

#[test]
fn killed_at_any_moment_it_goes_on_to_the_same_files() {
    let train = TRAIN.replace("--epochs 12", "--epochs 200");
    let whole = desk();
    whole.run(&train).ok();
    let want = artifacts(&whole);
    let desk = desk();
    let mut random = sememe::rng::stream(3, "kills", 0);
    let mut kills = 0;
    loop {
        let mut child = desk
            .command(&format!("{train} --resume"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        std::thread::sleep(Duration::from_millis(20 + random.below(250)));
        if kills < 50 && child.try_wait().expect("wait").is_none() {
            child.kill().expect("kill");
            kills += 1;
            child.wait().expect("wait");
            // What is there is whole: the old or the new one.
            for name in ["last", "best"] {
                if let Ok(bytes) = fs::read(desk.path(&format!("codec.run/{name}.safetensors"))) {
                    sememe::fit::rqvae::RqVaeTrainer::from_bytes(&bytes).expect("a whole checkpoint");
                }
            }
        } else if child.wait().expect("wait").success() {
            break;
        }
    }
    assert!(kills > 9, "only {kills} kills met a running training");
    for ((name, got), (_, want)) in artifacts(&desk).iter().zip(&want) {
        assert!(got == want, "{name} differs after {kills} kills");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_and_sigterm_keep_a_checkpoint() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let desk = desk();
        let long = TRAIN.replace("--epochs 12", "--epochs 100000");
        let child = desk.command(&long).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawn");
        while !desk.path("codec.run/last.safetensors").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: a system call with the number of a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
        let output = child.wait_with_output().expect("wait");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(130), "{told}");
        let last = told.lines().last().unwrap_or_default();
        assert!(last.contains("last.safetensors` has them; go on with `--resume"), "{told}");
        assert!(!desk.path("codec.safetensors").exists());
        let state = fs::read(desk.path("codec.run/last.safetensors")).unwrap();
        let steps = sememe::fit::rqvae::RqVaeTrainer::from_bytes(&state).unwrap().steps();
        assert!(last.contains(&format!("after {steps} step")), "{last}: {steps}");
    }
}

#[test]
fn a_dry_run_writes_apart_and_checks_everything() {
    let desk = desk();
    let run = desk.run(&format!("{TRAIN} --dry-run")).ok();
    assert!(run.stdout.contains("`codec.safetensors` was not written"), "{}", run.stdout);
    assert!(!desk.path("codec.safetensors").exists() && !desk.path("codec.run/last.safetensors").exists());
    assert!(desk.path("codec.run/dry-run/last.safetensors").exists());
    let told = desk.run(&format!("{TRAIN} --dry-run --json")).json();
    assert_eq!((told["epochs"].as_u64(), told["artifacts"].as_array().map(Vec::len)), (Some(3), Some(7)), "{told}");
}

#[test]
fn settings_come_from_preset_file_and_flags_and_bad_ones_are_refused() {
    let desk = desk();
    for preset in sememe::fit::rqvae::PRESETS {
        let text = desk.run(&format!("config print {preset}")).ok().stdout;
        desk.file("settings.toml", text.as_bytes());
        let told = desk.run(&format!("config print {preset} --json")).json();
        let dry = desk.run(
            "train items.npy -o c.safetensors --method rqvae --config settings.toml --codebook-size 8 --dry-run --json \
                            --set hidden=[16] --set max_training_rows=64 --set autoencoder_epochs=0 --epochs 1",
        );
        if told["code_dims"].as_u64().unwrap() < 500 {
            let seen = dry.json()["config"].clone();
            assert_eq!((&seen["optimizer"], &seen["estimator"]), (&told["optimizer"], &told["estimator"]), "{preset}");
        }
    }
    let base = "train items.npy -o c.safetensors --method rqvae";
    let refusals = [
        (format!("{base} --set bogus=1"), "unknown field `bogus`"),
        (format!("{base} --set code_dims=0"), "`code_dims`: expected 1 to 65536 values, got 0"),
        (format!("{base} --set epochs"), "expected KEY=VALUE"),
        (format!("{base} --network nobody"), "`lc-rec`"),
        (format!("{base} --preset basil"), "--preset"),
        (format!("{base} --align items.npy"), "alignment"),
        (format!("{base} --resume best"), "does not exist"),
        ("train items.npy -o c.safetensors --set epochs=2".to_owned(), "`--set` needs `--method rqvae`"),
        ("train items.npy -o c.safetensors --resume".to_owned(), "`--resume` needs `--method minibatch`"),
    ];
    fs::remove_dir_all(desk.path("c.run")).unwrap();
    for (args, part) in refusals {
        desk.refuses(&args, 2, &[part]);
    }
    desk.file("bad.toml", b"epochs = 3\nhidden = [4,\n");
    desk.refuses(&format!("{base} --config bad.toml"), 2, &["bad.toml", "line"]);
}

#[test]
fn networks_start_from_a_codec_of_k_means() {
    let desk = desk();
    desk.run("train items.npy -o start.safetensors --codebook-size 16,8").ok();
    let plus = "train items.npy -o plus.safetensors --method rqvae --from start.safetensors --epochs 2 --set hidden=[32] \
                --set repulsion=none --set optimizer.rate=1e-4";
    desk.run(plus).ok();
    let shown = desk.run("show plus.safetensors --json").json();
    assert_eq!(shown["method"], "rq-kmeans-plus", "{shown}");
    assert_eq!(shown["codebook_sizes"], serde_json::json!([16, 8]));
    desk.refuses(&plus.replace("start.safe", "plus.safe").replace("-o plus", "-o more"), 3, &["RQ-KMeans"]);
}
