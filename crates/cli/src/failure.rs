//! What went wrong, in one line, and the exit code for it.

use sememe::Error;
use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// Something that the command line asks for and cannot have; exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error that `plan` found; a shorthand.
pub fn usage(problem: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(problem.into()))
}

/// The exit code: clap's own, 2 for usage, else the library's.
fn code(error: &anyhow::Error) -> u8 {
    if let Some(clap) = error.downcast_ref::<clap::Error>() {
        return u8::try_from(clap.exit_code()).unwrap_or(2);
    }
    if error.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(3, Error::exit_code)
}

/// The causes from the outermost in, joined; a cause that its wrapper already quotes is not told twice.
fn line(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if out.is_empty() {
            out = text;
        } else if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
    }
    out.replace(['\n', '\r'], " ")
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match error.chain().find_map(|cause| cause.downcast_ref::<Error>())? {
        Error::Device(_) => Some("`sememe doctor` says which devices there are"),
        // The library names the field of its options.
        Error::Format { problem, .. } if problem.contains("name one (`array`)") => Some("`--array NAME` names it"),
        _ => None,
    }
}

/// The error for a value that begins with a dash, such as the key `-8x`: clap takes it for flags of one letter, and speaks of the first.
fn whole_value(error: &clap::Error, typed: &[String]) -> Option<String> {
    let Some(clap::error::ContextValue::String(taken)) = error.get(clap::error::ContextKind::InvalidArg) else {
        return None;
    };
    let short = error.kind() == clap::error::ErrorKind::UnknownArgument && taken.chars().count() == 2;
    let whole = typed.iter().skip(1).find(|arg| short && arg.len() > taken.len() && arg.starts_with(taken.as_str()))?;
    Some(error.render().to_string().replace(&format!("{taken}'"), &format!("{whole}'")))
}

/// Prints the error to stderr and gives its exit code. A closed stderr is no reason to panic.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let code = code(error);
    if let Some(clap) = error.downcast_ref::<clap::Error>() {
        match whole_value(clap, &std::env::args().collect::<Vec<_>>()) {
            Some(text) => _ = write!(std::io::stderr().lock(), "{text}"),
            None => _ = clap.print(),
        }
        return ExitCode::from(code);
    }
    let mut stderr = std::io::stderr().lock();
    if code == 130 {
        let line = line(error);
        let rest = if line.contains("go on with") { "" } else { "; nothing was written" };
        let _ = writeln!(stderr, "{line}{rest}");
    } else {
        let _ = writeln!(stderr, "error: {}", line(error));
    }
    if let Some(hint) = hint(error) {
        let _ = writeln!(stderr, "hint: {hint}");
    }
    ExitCode::from(code)
}
