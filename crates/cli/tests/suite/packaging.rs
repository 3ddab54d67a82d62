//! The unit of systemd and the container file start the program as it is: with flags, features and signals that it knows.

use crate::cli::{Desk, Run};
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The values of a setting, in their order.
fn values<'a>(text: &'a str, setting: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(setting)).map(str::trim).collect()
}

/// Whether the program takes these arguments: all that is wrong then is that there is no such folder.
fn is_taken(arguments: &[&str]) {
    let desk = Desk::new();
    desk.file("tokens", b"a-good-token\n");
    let mut command = desk.command("");
    let run: Run = command.args(arguments).output().expect("run").into();
    run.fails(3, &["state.json"]);
}

#[test]
fn the_unit_starts_the_program_that_there_is() {
    let unit = read("packaging/sememe.service");
    let [start] = values(&unit, "ExecStart=")[..] else { panic!("{unit}") };
    let mut words = start.split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/sememe"));
    let arguments: Vec<String> = words.map(|word| word.replace("${CREDENTIALS_DIRECTORY}/", "")).collect();
    assert!(arguments.contains(&"--tokens".to_owned()) && !start.contains("--address"), "{start}");
    is_taken(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // What the arguments name is brought, and may be written to.
    assert!(values(&unit, "LoadCredential=")[0].starts_with("tokens:"), "{unit}");
    assert_eq!(values(&unit, "ReadWritePaths="), [arguments[1].as_str()]);
    assert_eq!(values(&unit, "ExecReload="), ["/bin/kill -HUP $MAINPID"]);
    // It is given longer to stop than it takes by itself, and as many files as connections.
    let help = Desk::new().run("serve --help").ok();
    let default = |flag: &str| -> u64 {
        let (_, rest) = help.stdout.split_once(flag).unwrap_or_else(|| panic!("`{flag}` in {}", help.stdout));
        let (_, value) = rest.split_once("[default: ").expect("a default");
        value.split([']', '.']).next().and_then(|value| value.parse().ok()).expect("a number")
    };
    let number = |setting: &str| values(&unit, setting)[0].parse::<u64>().expect("a number");
    assert!(number("TimeoutStopSec=") > default("--stop-seconds"), "{unit}");
    assert!(number("LimitNOFILE=") > 2 * default("--connections"), "{unit}");
}

#[test]
fn the_container_builds_and_starts_the_program_that_there_is() {
    let file = read("packaging/Containerfile");
    let list = |text: &str| -> Vec<String> { serde_json::from_str(text).expect("a list of JSON") };
    let entry = list(values(&file, "ENTRYPOINT")[0]);
    let arguments = list(values(&file, "CMD")[0]);
    assert_eq!(entry[0], "sememe");
    let all: Vec<&str> = entry[1..].iter().chain(&arguments).map(String::as_str).collect();
    is_taken(&all);
    // The folder that is mounted, and the port that is told.
    assert_eq!(values(&file, "VOLUME"), [arguments[0].as_str()]);
    let address = &arguments[arguments.iter().position(|word| word == "--address").expect("an address") + 1];
    assert_eq!(values(&file, "EXPOSE"), [address.rsplit(':').next().expect("a port")]);
    let features = values(&file, "ARG FEATURES=")[0];
    let manifest = read("crates/cli/Cargo.toml");
    for feature in features.split(',') {
        assert!(manifest.contains(&format!("\n{feature} = [")), "`{feature}` is no feature of the program");
    }
    assert!(features.split(',').any(|feature| feature == "serve") && file.contains("--path crates/cli"), "{file}");
    // What is built here is not sent along.
    assert!(read(".dockerignore").lines().any(|line| line == "target"));
}
