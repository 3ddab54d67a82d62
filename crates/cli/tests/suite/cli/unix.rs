//! Signals, full disks and closed pipes.

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
    for args in ["completions bash", "show codec.safetensors", "eval codec.safetensors items.npy --json", "--help"] {
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
