//! `sememe config`.

use crate::output::{print, print_json};
use anyhow::Result;
use clap::{Args, Subcommand, ValueHint};
use sememe::fit::rqvae::RqVae;
use sememe_run::config::{Overrides, TrainMethod, load};
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Flags {
    #[command(subcommand)]
    pub action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Check a configuration of `run` without running it, and show what it would do
    Check(CheckConfig),
    /// Print all settings of an RQ-VAE, as TOML for `train --config`
    Print {
        /// sememe, tiger, lc-rec, animind or residual-vq
        #[arg(value_name = "PRESET", default_value = "sememe")]
        preset: String,
    },
}

#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration
    #[arg(value_name = "FILE", default_value = "sememe.toml", value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// Change one setting, as for `run`
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// Prints settings in full.
pub fn run(flags: &Flags, json: bool) -> Result<()> {
    let preset = match &flags.action {
        ConfigAction::Print { preset } => preset,
        ConfigAction::Check(flags) => return check(flags, json),
    };
    let settings = RqVae::preset(preset)?;
    if json {
        return print_json(&serde_json::to_value(&settings)?);
    }
    print(&text(preset, &settings)?)
}

/// Settings as TOML; what is not set stands in a comment, since TOML has no word for it.
fn text(preset: &str, settings: &RqVae) -> Result<String> {
    let (text, unset) = toml(serde_json::to_value(settings)?)?;
    Ok(format!("# RQ-VAE settings `{preset}`\n# not set: {}\n\n{text}", unset.join(", ")))
}

/// A tree of settings as TOML, and the names of those that are not set.
pub fn toml(mut value: Value) -> Result<(String, Vec<String>)> {
    let mut unset = Vec::new();
    prune("", &mut value, &mut unset);
    Ok((toml::to_string(&value)?, unset))
}

/// Takes nulls out and names them.
fn prune(path: &str, value: &mut Value, unset: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    map.retain(|key, value| {
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if value.is_null() {
            unset.push(name);
            return false;
        }
        prune(&name, value, unset);
        true
    });
}

/// Checks a configuration and prints what it comes to.
pub fn check(flags: &CheckConfig, json: bool) -> Result<()> {
    let loaded = load(&flags.path, &Overrides::from_process(flags.set.clone()))?;
    let mut written = loaded.written;
    // `levels` and `codebook_size` go over the method's own.
    match written.train.method {
        TrainMethod::RqKmeans => written.train.rq_kmeans = written.train.rq_kmeans(written.seed)?,
        TrainMethod::Pq | TrainMethod::Opq => written.train.product = written.train.product(written.seed)?,
        TrainMethod::Rqvae => {}
    }
    let value = serde_json::to_value(&written)?;
    if json {
        return print_json(&value);
    }
    let (text, unset) = toml(value)?;
    print(&format!("# {} is right; in full:\n# not set: {}\n\n{text}", flags.path.display(), unset.join(", ")))
}
