//! What went wrong, in one line, and the exit code for it.

use crate::dashes;
use crate::hints::Words;
use sememe::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;

/// Something that the command line asks for and cannot have; exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Another program that ended with this exit code, and has said why.
#[derive(Debug)]
pub struct Ended(pub u8);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program ended with exit code {}", self.0)
    }
}

impl std::error::Error for Ended {}

/// An error that `plan` found; a shorthand.
pub fn usage(problem: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(problem.into()))
}

/// The library's error in the chain, if there is one.
fn library(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|cause| cause.downcast_ref::<Error>())
}

/// The exit code: 2 usage, 3 bad data, 4 device, 5 store, 6 endpoint, 130 interrupted.
fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    match library(error).map(Error::root) {
        Some(Error::Config { .. }) => 2,
        Some(Error::Device(_) | Error::DeviceLost(_) | Error::OutOfMemory { .. }) => 4,
        Some(Error::Store(_)) => 5,
        Some(Error::Endpoint(_)) => 6,
        Some(Error::Interrupted(_)) => 130,
        _ => 3,
    }
}

/// The causes from the outermost in, joined, in the words of the verb; a cause that its wrapper already quotes is not repeated.
fn line(error: &anyhow::Error, words: Option<&Words>) -> String {
    let mut out = String::new();
    for cause in error.chain() {
        let text = match (cause.downcast_ref::<Error>(), words) {
            (Some(error), Some(words)) => words.error(error),
            _ => cause.to_string(),
        };
        if out.is_empty() {
            out = text;
        } else if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
    }
    out.replace(['\n', '\r'], " ")
}

/// What clap says of arguments that it does not take, and of `--help`.
pub fn misread(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let texts = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    match dashes::explain(error, texts) {
        Some(problem) => _ = writeln!(std::io::stderr().lock(), "error: {problem}"),
        None => _ = error.print(),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// Prints the error to stderr and gives its exit code. A closed stderr is no reason to panic.
pub fn report(error: &anyhow::Error, words: Option<&Words>) -> u8 {
    if let Some(Ended(code)) = error.downcast_ref() {
        return *code;
    }
    let (code, line) = (code(error), line(error, words));
    let mut stderr = std::io::stderr().lock();
    let _ = match library(error).map(Error::root) {
        // Whoever kept something says so.
        Some(Error::Interrupted(kept)) if kept.is_empty() => writeln!(stderr, "{line}; nothing was written"),
        Some(Error::Interrupted(_)) => writeln!(stderr, "{line}"),
        _ => writeln!(stderr, "error: {line}"),
    };
    if let Some(Error::Device(_)) = library(error).map(Error::root) {
        let _ = writeln!(stderr, "hint: `sememe doctor` says which devices there are");
    }
    code
}
