//! Settings in the library's errors, as the flags that set them.

use sememe::Error;

/// Puts flags in the place of settings: a pair is what the library says, and what was typed.
pub fn spell(error: Error, pairs: &[(&str, &str)]) -> Error {
    let said = |text: String| pairs.iter().fold(text, |text, (setting, flag)| text.replace(setting, flag));
    match error {
        Error::Config { field, problem } => Error::Config { field, problem: said(problem) },
        Error::Format { path, problem } => Error::Format { path, problem: said(problem) },
        Error::Data(text) => Error::Data(said(text)),
        Error::Store(text) => Error::Store(said(text)),
        Error::Endpoint(text) => Error::Endpoint(said(text)),
        Error::Interrupted(text) => Error::Interrupted(said(text)),
        other => other,
    }
}
