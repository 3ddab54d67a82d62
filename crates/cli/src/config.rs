//! `sememe config`.

use crate::args::{Config, ConfigAction};
use crate::output::{print, print_json};
use anyhow::Result;
use sememe::fit::rqvae::RqVae;
use serde_json::Value;

/// Prints settings in full.
pub fn run(flags: &Config, json: bool) -> Result<()> {
    let preset = match &flags.action {
        ConfigAction::Print { preset } => preset,
        ConfigAction::Check(flags) => return crate::pipeline::check(flags, json),
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
