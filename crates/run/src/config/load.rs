//! A configuration from its file, its environment and its command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

use super::Config;
use super::fault::TomlFault;
use sememe::io::read_bytes_capped;
use sememe::{Error, Result};
use sememe_text::dialogues::TemplateSource;

/// A configuration is written by hand.
const MAX_BYTES: u64 = 16 << 20;

/// Environment variables that start so are settings: `SEMEME__TRAIN__LEVELS=4`.
const PREFIX: &str = "SEMEME__";

/// What goes over a file's settings: first the environment, then these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `train.levels=4`, in order.
    pub set: Vec<String>,
    /// The environment; `std::env::vars_os()` as far as it is UTF-8. Names that begin with `SEMEME__` are settings, with `__` between
    /// the parts: `SEMEME__TRAIN__LEVELS`.
    pub environment: BTreeMap<String, String>,
}

impl Overrides {
    /// The process's environment, and settings of the command line.
    #[must_use]
    pub fn from_process(set: Vec<String>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { set, environment: std::env::vars_os().filter_map(text).collect() }
    }
}

/// A configuration with all overrides applied.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedConfig {
    /// All settings, with paths that work from where the program is.
    pub config: Config,
    /// The same with the paths as they were written: what is kept beside a run, so that a moved folder is no change.
    pub written: Config,
    /// The environment and the variables of `env_file`; for secrets, never printed.
    pub variables: BTreeMap<String, String>,
}

/// Reads a configuration.
///
/// # Errors
/// [`Error::Format`] for a file that is no TOML, with line and column, and for an unknown key or a value of the wrong kind, with the
/// nearest name that there is; [`Error::Config`] for a value out of range, for an override that cannot be, and as
/// [`Config::validate`]; if a file cannot be read.
pub fn load(path: impl AsRef<Path>, overrides: &Overrides) -> Result<LoadedConfig> {
    let path = path.as_ref();
    let bytes = read_bytes_capped(path, MAX_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Error::format(path, format!("line {line} is not UTF-8"))
    })?;
    // By itself first: only here do mistakes have a place.
    let file: Config = toml::from_str(&text).map_err(|e| TomlFault::new(&text, &e).refused(path))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut variables = overrides.environment.clone();
    if let Some(env_file) = &file.env_file {
        let env_file = folder.join(env_file);
        for (name, value) in read_env(&env_file)? {
            variables.entry(name).or_insert(value);
        }
    }
    let mut value: Value = toml::from_str(&text).map_err(|e| TomlFault::new(&text, &e).refused(path))?;
    for (name, text) in &variables {
        if let Some(key) = name.strip_prefix(PREFIX) {
            let key = key.to_lowercase().replace("__", ".");
            set(&mut value, &key, text, name)?;
            fits(&value, name)?;
        }
    }
    for given in &overrides.set {
        let (key, text) = given.split_once('=').ok_or_else(|| {
            Error::config("set", format!("`{given}` is no setting; expected NAME=VALUE, such as train.levels=4"))
        })?;
        set(&mut value, key.trim(), text.trim(), given)?;
        fits(&value, given)?;
    }
    let written: Config =
        value.try_into().map_err(|e: toml::de::Error| Error::format(path, TomlFault::new("", &e).problem()))?;
    let in_file = |root| match root {
        Error::Config { field, problem } => {
            let field = if field.is_empty() { "settings".into() } else { field };
            Error::Config { field, problem: format!("{problem} (in `{}`)", path.display()) }
        }
        other => other,
    };
    written.validate().map_err(|e| e.map_root(in_file))?;
    let mut config = written.clone();
    relative_to(&mut config, folder);
    Ok(LoadedConfig { config, written, variables })
}

/// Lays one value over the tree.
fn set(root: &mut Value, key: &str, text: &str, given: &str) -> Result<()> {
    let bad = |problem: String| Error::config("set", format!("`{given}`: {problem}"));
    let value = parse(text).map_err(|e| bad(e.message().to_owned()))?;
    let mut at = root;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() {
            return Err(bad(format!("`{key}` has an empty part")));
        }
        let Value::Table(table) = at else { return Err(bad(format!("what is before `{part}` has no settings in it"))) };
        if parts.peek().is_none() {
            match value {
                Some(value) => table.insert(part.to_owned(), value),
                None => table.remove(part),
            };
            return Ok(());
        }
        at = table.entry(part.to_owned()).or_insert_with(|| Value::Table(toml::Table::new()));
    }
    Err(bad("has no name".into()))
}

/// The tree was right before this override.
fn fits(root: &Value, given: &str) -> Result<()> {
    let config: std::result::Result<Config, toml::de::Error> = root.clone().try_into();
    config.map(|_| ()).map_err(|e| Error::config("set", format!("`{given}`: {}", TomlFault::new("", &e).problem())))
}

/// TOML's spelling of a value, a bare word as text, `none` as nothing.
fn parse(text: &str) -> std::result::Result<Option<Value>, toml::de::Error> {
    if text == "none" {
        return Ok(None);
    }
    let read = |document: String| {
        toml::from_str::<toml::Table>(&document).map(|mut table| table.remove("value").filter(|_| table.is_empty()))
    };
    match read(format!("value = {text}")) {
        Ok(Some(value)) => Ok(Some(value)),
        _ => Ok(Some(Value::String(text.to_owned()))),
    }
}

/// `NAME=VALUE` lines; `#` comments, `export` before a name and quotes around a value are taken as a shell would.
fn read_env(path: &Path) -> Result<Vec<(String, String)>> {
    let bytes = read_bytes_capped(path, MAX_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::format(path, "is not UTF-8"))?;
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line itself may hold a secret, so it is not shown.
        let Some((name, value)) = line.split_once('=') else {
            return Err(Error::format(path, format!("line {}: expected NAME=VALUE", number + 1)));
        };
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        out.push((name.trim().to_owned(), quoted.unwrap_or(value).to_owned()));
    }
    Ok(out)
}

/// Makes every path of a file one that works from here.
fn relative_to(config: &mut Config, folder: &Path) {
    let fix = |path: &mut PathBuf| {
        if !path.as_os_str().is_empty() {
            *path = folder.join(&*path);
        }
    };
    fix(&mut config.output);
    fix(&mut config.prep.source);
    let embed = &mut config.embed;
    let others = [&mut config.env_file, &mut embed.vectors, &mut embed.keys, &mut embed.model_folder];
    others.into_iter().chain([&mut config.tokenize.tokenizer]).flatten().for_each(fix);
    if let Some(recall) = &mut config.recall {
        fix(&mut recall.source);
    }
    if let Some(dialogues) = &mut config.dialogues {
        [&mut dialogues.source, &mut dialogues.events].into_iter().flatten().for_each(fix);
        if let TemplateSource::File(path) = &mut dialogues.templates {
            fix(path);
        }
    }
    if let Some(recommend) = &mut config.recommend {
        fix(&mut recommend.interactions);
    }
    if let super::ResumeFrom::File(path) = &mut config.train.resume {
        fix(path);
    }
    if let Some(store) = &mut config.assign.store
        && !store.contains("://")
    {
        *store = folder.join(&*store).to_string_lossy().into_owned();
    }
}
