//! The one error type. Texts are lower case, without a full stop, and carry the offending numbers.

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
    #[error(
        "{count} of {rows} rows hold NaN, infinity, a missing value or a number too large for float32, the first is row {first} in `{place}`; drop them with `--on-bad drop` or repair them"
    )]
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
    #[error("device lost: {0}; run again, or with `--device cpu`")]
    DeviceLost(String),
    /// The device or the machine has too little memory.
    #[error("out of device memory: {needed_bytes} bytes for {what}; use fewer rows at a time or `--device cpu`")]
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
}

/// `Result` with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

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

    /// The program's exit code for this error: 2 usage, 3 bad data, 4 device, 5 store, 6 endpoint, 130 interrupted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config { .. } => 2,
            Error::Device(_) | Error::DeviceLost(_) | Error::OutOfMemory { .. } => 4,
            Error::Store(_) => 5,
            Error::Endpoint(_) => 6,
            Error::Interrupted(_) => 130,
            _ => 3,
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
