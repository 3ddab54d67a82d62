//! The one error type. Texts are lower case, without a full stop, and carry the offending numbers.

use crate::remedy::Remedy;
use std::path::PathBuf;

/// Everything that can go wrong, by cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field holds something that cannot be used.
    #[error("`{field}`: {problem}")]
    Config {
        /// The field's name as written in code, with dots for nesting.
        field: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// Two shapes that must agree do not.
    #[error("expected {what} = {expected}, got {got} in `{place}`")]
    Shape {
        /// The dimension that disagrees: `d`, `levels`, `rows`.
        what: &'static str,
        /// What was needed.
        expected: usize,
        /// What was found.
        got: usize,
        /// Where it was found: a tensor, an argument, a file.
        place: String,
    },
    /// NaN or infinity in the input.
    #[error("{count} of {rows} rows hold NaN, infinity, a missing value or a number too large for float32, the first is row {first} in `{place}`; {}", ways(&drop_rows()))]
    NonFinite {
        /// Index of the first such row.
        first: u64,
        /// How many rows hold one.
        count: u64,
        /// Rows looked at.
        rows: u64,
        /// Where they came from.
        place: String,
    },
    /// The data cannot serve what was asked of it (too few rows, zero rows under cosine, …).
    #[error("{0}")]
    Data(String),
    /// A text is no ID in the format that it should have.
    #[error("`{text}`, character {column}: {problem}")]
    Text {
        /// The text, cut after 200 characters.
        text: String,
        /// Where it parts from every ID, counted in characters from 1 on.
        column: usize,
        /// What would be right there.
        problem: String,
    },
    /// A file's content is not what its format promises.
    #[error("`{}`: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the numbers.
        problem: String,
    },
    /// The operating system refused to read or write.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read`, `write`, `create`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own reason.
        #[source]
        source: std::io::Error,
    },
    /// A codec that cannot be loaded or used.
    #[error("codec: {0}")]
    Codec(String),
    /// No usable device, or one that cannot do what is needed.
    #[error("device: {0}")]
    Device(String),
    /// The device went away in mid-run.
    #[error("device lost: {}; {}", .0, ways(&after_loss()))]
    DeviceLost(String),
    /// The device or the machine has too little memory.
    #[error("out of device memory: {needed_bytes} bytes for {what}; {}", ways(&less_memory()))]
    OutOfMemory {
        /// What was asked for.
        what: String,
        /// How large it was.
        needed_bytes: u64,
    },
    /// A store of IDs that cannot be used, or holds another codec's.
    #[error("store: {0}")]
    Store(String),
    /// A server that makes vectors, or what it returned, cannot be used.
    #[error("endpoint: {0}")]
    Endpoint(String),
    /// Stopped on request.
    #[error("interrupted{0}")]
    Interrupted(String),
    /// One of the others, with settings that would mend it. [`Error::root`] is the error itself.
    #[error("{error}; {}", ways(remedies))]
    Mendable {
        /// The error itself.
        error: Box<Error>,
        /// What would mend it, the likeliest first.
        remedies: Vec<Remedy>,
    },
}

/// `Result` with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn drop_rows() -> Vec<Remedy> {
    vec![Remedy::set("on_bad", "drop").to("repair them, or drop them")]
}

fn after_loss() -> Vec<Remedy> {
    vec![Remedy::set("device", "cpu").to("run again, or on the CPU")]
}

fn less_memory() -> Vec<Remedy> {
    vec![Remedy::set("device", "cpu").to("use fewer rows at a time, or the CPU")]
}

fn ways(remedies: &[Remedy]) -> String {
    Remedy::join(&remedies.iter().map(Remedy::to_string).collect::<Vec<_>>())
}

impl Error {
    /// A configuration error for `field`.
    pub fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Config { field: field.into(), problem: problem.into() }
    }

    /// A format error for `path`.
    pub fn format(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Error::Format { path: path.into(), problem: problem.into() }
    }

    /// Wraps an I/O error with the action and the file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { action, path: path.into(), source }
    }

    /// The same error with settings that would mend it, added to those it has.
    #[must_use]
    pub fn mend(self, more: impl IntoIterator<Item = Remedy>) -> Self {
        let more: Vec<Remedy> = more.into_iter().collect();
        match self {
            Error::Mendable { error, mut remedies } => {
                remedies.extend(more);
                Error::Mendable { error, remedies }
            }
            error if more.is_empty() => error,
            error => Error::Mendable { error: Box::new(error), remedies: more },
        }
    }

    /// The error itself, less its remedies: what to match on.
    #[must_use]
    pub fn root(&self) -> &Error {
        match self {
            Error::Mendable { error, .. } => error.root(),
            error => error,
        }
    }

    /// Changes the error itself and leaves its remedies as they are.
    #[must_use]
    pub fn map_root(self, change: impl FnOnce(Error) -> Error) -> Self {
        match self {
            Error::Mendable { error, remedies } => error.map_root(change).mend(remedies),
            error => change(error),
        }
    }

    /// Settings that would mend it; a program renders them as its own options.
    #[must_use]
    pub fn remedies(&self) -> Vec<Remedy> {
        match self {
            Error::NonFinite { .. } => drop_rows(),
            Error::DeviceLost(_) => after_loss(),
            Error::OutOfMemory { .. } => less_memory(),
            Error::Mendable { error, remedies } => {
                let mut all = error.remedies();
                all.extend(remedies.iter().cloned());
                all
            }
            _ => Vec::new(),
        }
    }

    /// What is wrong, without the remedies: `Display` is this, then `; ` and the remedies.
    #[must_use]
    pub fn facts(&self) -> String {
        match self {
            Error::Mendable { error, .. } => error.facts(),
            error => {
                let (text, remedies) = (error.to_string(), error.remedies());
                match text.strip_suffix(&format!("; {}", ways(&remedies))) {
                    Some(facts) if !remedies.is_empty() => facts.to_owned(),
                    _ => text,
                }
            }
        }
    }

    /// Puts the section that a setting stands in before the names of the remedies' fields: `batch_items` of `embed` becomes
    /// `embed.batch_items`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        match self {
            Error::Mendable { error, mut remedies } => {
                for remedy in &mut remedies {
                    if !matches!(remedy.change, crate::remedy::Change::Build) {
                        remedy.field = format!("{section}.{}", remedy.field).into();
                    }
                }
                Error::Mendable { error: Box::new(error.within(section)), remedies }
            }
            error => error,
        }
    }
}

/// Holds two sizes to each other.
///
/// # Errors
/// [`Error::Shape`] unless `expected == got`.
pub fn check_shape(what: &'static str, expected: usize, got: usize, place: impl Into<String>) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::Shape { what, expected, got, place: place.into() }) }
}
