//! What a verb writes: results to stdout, and files that are checked before work begins.

use crate::failure::{Usage, usage};
use anyhow::{Context as _, Result};
use sememe::io::AtomicFile;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

/// Writes text as it is.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}

/// Writes one JSON object and a newline.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// Refuses a `.parquet` of codes in a build that cannot write one.
pub fn writes_parquet(path: &Path) -> Result<()> {
    if extension(path) == "parquet" && !cfg!(feature = "parquet") {
        return Err(usage(format!(
            "`{}`: this build does not write parquet; build with `--features parquet`, or write .npy, .jsonl or .csv",
            path.display()
        )));
    }
    Ok(())
}

pub fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Refuses an output that could not be written after the work is done; `probe` also tries to create a file there.
pub fn output(path: &Path, extensions: &[&str], what: &str, inputs: &[&Path], probe: bool) -> Result<()> {
    let shown = path.display();
    if !extensions.contains(&extension(path).as_str()) {
        let list: Vec<String> = extensions.iter().map(|e| format!(".{e}")).collect();
        let list = match list.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
            _ => list.concat(),
        };
        return Err(usage(format!("`{shown}`: {what} {list}; give a name that ends so")));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let problem = if folder.exists() { "is not a folder" } else { "does not exist; make it first" };
        return Err(usage(format!("`{shown}` cannot be written: the folder `{}` {problem}", folder.display())));
    }
    if let Ok(target) = path.canonicalize() {
        for input in inputs {
            if input.canonicalize().is_ok_and(|input| input == target) {
                return Err(usage(format!("`{shown}` is an input too; give the output another name")));
            }
        }
    }
    if probe {
        // Made beside the output and gone again: this finds folders that cannot be written to, whatever the reason.
        AtomicFile::create(path).map_err(|e| Usage(e.to_string()))?;
    } else if path.exists() && !path.is_file() {
        return Err(usage(format!("`{shown}` is a folder, a pipe or a device, which a file cannot replace")));
    }
    Ok(())
}
