//! `sememe init`.

use crate::failure::usage;
use crate::output::{print, print_json};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::io::write_bytes_atomic;
use sememe_run::config::TEMPLATE;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Flags {
    /// File to write
    #[arg(value_name = "FILE", default_value = "sememe.toml", value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
}

/// Writes the commented file.
pub fn run(flags: &Flags, json: bool) -> Result<()> {
    let shown = flags.path.display();
    if flags.path.exists() && !flags.force {
        return Err(usage(format!("`{shown}` is there already; `--force` replaces it")));
    }
    write_bytes_atomic(&flags.path, TEMPLATE.as_bytes())?;
    if json {
        return print_json(&json!({ "output": shown.to_string() }));
    }
    print(&format!(
        "wrote {shown}: set `prep.source` and one of the three ways of `[embed]`, then `sememe config check`\n"
    ))
}
