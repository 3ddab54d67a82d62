//! `sememe completions`.

use crate::args::Completions;
use crate::hints;
use crate::output::{print, print_json};
use anyhow::Result;

/// Prints the script for a shell.
pub fn run(flags: &Completions, json: bool) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut hints::program(), "sememe", &mut script);
    let script = String::from_utf8_lossy(&script);
    if json {
        return print_json(&serde_json::json!({ "shell": flags.shell.to_string(), "script": script }));
    }
    print(&script)
}
