//! `recommend train --checkpoint`, killed at any moment: the same command goes on to the bytes of a training that nothing stopped.

use crate::cli::Desk;
use sememe::rng;
use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const TRAIN: &str = "recommend train --interactions walks.jsonl --identities --dims 64 --layers 1 --positions 8 --batch-tokens 256 \
                     --accumulate 2 --epochs 8 --patience 0 --dropout 0.2 --device cpu --checkpoint state.safetensors -o r.safetensors";
const KILLS: usize = 20;

/// Many items, so that a checkpoint takes a while to write.
fn desk() -> Desk {
    let (desk, mut lines) = (Desk::new(), String::new());
    let mut random = rng::stream(3, "walks", 0);
    for user in 0..80 {
        let start = random.below(3000);
        let walk: Vec<String> = (0..7).map(|t| ((start + t * 3) % 3000).to_string()).collect();
        let _ = writeln!(lines, "{{\"user\":{user},\"items\":[{}]}}", walk.join(","));
    }
    // The last item says how many there are.
    let _ = writeln!(lines, "{{\"user\":999,\"items\":[2999]}}");
    desk.file("walks.jsonl", lines.as_bytes());
    desk
}

fn spawn(desk: &Desk) -> Child {
    desk.command(TRAIN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawn")
}

/// Files on their way to a name.
fn unfinished(desk: &Desk) -> usize {
    let entries = fs::read_dir(desk.path("")).expect("list");
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with('.'))).count()
}

/// Waits so long, or until it ends by itself; says whether it has.
fn ends_within(child: &mut Child, wait: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < wait {
        if let Some(status) = child.try_wait().expect("wait") {
            assert!(status.success(), "{status}");
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    false
}

/// Waits until a file more is being written, or it ends by itself; says whether it has.
fn ends_before_a_write(desk: &Desk, child: &mut Child, before: usize) -> bool {
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            assert!(status.success(), "{status}");
            return true;
        }
        if unfinished(desk) > before {
            return false;
        }
    }
}

#[test]
fn killed_at_any_moment_and_resumed_the_weights_are_the_same() {
    let whole = desk();
    let begun = Instant::now();
    assert!(spawn(&whole).wait().expect("wait").success());
    let alone = begun.elapsed();
    let wanted = ["r.safetensors", "state.safetensors"].map(|name| fs::read(whole.path(name)).expect("read"));
    let mut random = rng::stream(7, "kills", 0);
    let (mut kills, mut torn, mut ends) = (0, 0, 0);
    while kills < KILLS {
        let desk = desk();
        // Begun, killed and gone on with until one ends; a kill that comes too late is none.
        loop {
            let (before, mut child) = (unfinished(&desk), spawn(&desk));
            let ended = if kills % 2 == 0 {
                ends_within(&mut child, alone.mul_f64(random.uniform()))
            } else {
                ends_before_a_write(&desk, &mut child, before)
                    || ends_within(&mut child, Duration::from_micros(random.below(4000)))
            };
            if ended || kills == KILLS {
                child.wait().expect("wait");
                break;
            }
            child.kill().expect("kill");
            child.wait().expect("wait");
            kills += 1;
            torn += usize::from(unfinished(&desk) > before);
        }
        ends += 1;
        let got = ["r.safetensors", "state.safetensors"].map(|name| fs::read(desk.path(name)).expect("read"));
        assert!(got == wanted, "after {kills} kills");
    }
    println!("{kills} kills, {torn} within a write, {ends} trainings ended");
    assert!(torn > 0, "none of {kills} kills came within a write");
}
