//! `sememe completions`.

use crate::hints;
use crate::output::{print, print_json};
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub struct Flags {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    pub shell: clap_complete::Shell,
}

/// Prints the script for a shell.
pub fn run(flags: &Flags, json: bool) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut hints::program(), "sememe", &mut script);
    let script = String::from_utf8_lossy(&script);
    if json {
        return print_json(&serde_json::json!({ "shell": flags.shell.to_string(), "script": script }));
    }
    print(&script)
}
