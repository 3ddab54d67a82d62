//! `sememe cluster`: the program that it hands over to, played by a script.
#![cfg(unix)]

use crate::cli::Desk;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

/// A `sememe-cluster` that says what it was given, in a folder that the PATH leads to.
fn played(desk: &Desk, script: &str) -> String {
    let folder = desk.path("bin");
    std::fs::create_dir(&folder).expect("made");
    let path = folder.join("sememe-cluster");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    format!("{}:/usr/bin:/bin", folder.display())
}

#[test]
fn arguments_and_the_exit_code_are_passed_on() {
    let desk = Desk::new();
    let path = played(&desk, "printf '%s|' \"$@\"; echo told >&2; exit 5");
    let ask = |arguments: &str| {
        let output = desk.command(arguments).env("PATH", &path).output().expect("run");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8(output.stderr).expect("text"),
        )
    };
    let (code, said, told) = ask("cluster encode items --codec c -o out --key item --json");
    assert_eq!(
        (code, said.as_str(), told.as_str()),
        (Some(5), "encode|items|--codec|c|-o|out|--key|item|--json|", "told\n")
    );
    assert_eq!(ask("cluster --help").1, "--help|");
    // What is typed before the verb is meant for it, too.
    assert_eq!(ask("--json --quiet --threads 3 cluster fit items").1, "fit|items|--json|--quiet|--threads|3|");
    let (code, _, told) = ask("-v cluster fit items");
    assert!(code == Some(2) && told.contains("`--verbose` is not for `cluster`"), "{told}");
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_way_to_it() {
    let desk = Desk::new();
    // Not the folder of this build, in which somebody may have put it.
    let program = desk.path("sememe");
    std::fs::copy(desk.command("").get_program(), &program).expect("copied");
    let output = std::process::Command::new(&program).args(["cluster", "encode"]).env("PATH", "/nowhere").output();
    let output = output.expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`sememe-cluster`, which is neither beside this one nor on the PATH"), "{said}");
    assert!(said.contains("cargo install --locked --path crates/cluster"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_to_a_group_ends_both() {
    use std::os::unix::process::CommandExt as _;
    let desk = Desk::new();
    let path = played(&desk, "trap 'exit 130' INT; echo up; while :; do sleep 0.05; done");
    let mut command = desk.command("cluster fit items");
    let mut child = command.env("PATH", &path).stdout(Stdio::piped()).process_group(0).spawn().expect("spawn");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("stdout"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("read");
    assert_eq!(line, "up\n");
    // SAFETY: a system call with the number of a group whose leader has not been waited for.
    assert_eq!(unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGINT) }, 0);
    assert_eq!(child.wait().expect("wait").code(), Some(130));
}
