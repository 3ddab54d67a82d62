//! The trait of models that turn texts into vectors.

use std::sync::atomic::{AtomicBool, Ordering};

use sememe::Error;
use sememe::data::Matrix;

/// What an [`Embedder`] should know of a call beside its texts.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbedCall<'a> {
    stop: Option<&'a AtomicBool>,
    part: bool,
}

impl<'a> EmbedCall<'a> {
    /// A call that should end, with any error, as soon as `stop` is set.
    #[must_use]
    pub fn until(stop: &'a AtomicBool) -> Self {
        Self { stop: Some(stop), part: false }
    }

    /// The same for a part of texts that failed together.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub(super) fn of_part(self) -> Self {
        Self { part: true, ..self }
    }

    /// Whether the run ends: what waits should return at once.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Whether these are several of the texts that failed together: a failure that comes from texts need not be tried again, as they will be
    /// in smaller parts.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.part
    }
}

/// Why embedding failed.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// One of these texts cannot be embedded, or not so many at once; others can.
    #[error(transparent)]
    Texts(Error),
    /// No text can be embedded.
    #[error(transparent)]
    All(Error),
}

impl From<Error> for EmbedError {
    /// [`Error::Data`] is about texts, everything else about all.
    fn from(e: Error) -> Self {
        if matches!(e.root(), Error::Data(_)) { EmbedError::Texts(e) } else { EmbedError::All(e) }
    }
}

impl From<EmbedError> for Error {
    fn from(e: EmbedError) -> Self {
        let (EmbedError::Texts(e) | EmbedError::All(e)) = e;
        e
    }
}

/// Turns texts into vectors. Called from several threads at once.
///
/// ```
/// use sememe::Matrix;
/// use sememe_text::embed::{EmbedCall, EmbedError, Embedder};
///
/// /// How many vowels and how many other characters.
/// struct Vowels;
///
/// impl Embedder for Vowels {
///     fn model(&self) -> &str {
///         "vowels"
///     }
///     fn embed(&self, texts: &[&str], _: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
///         let count = |text: &str| {
///             let vowels = text.chars().filter(|c| "aeiou".contains(*c)).count();
///             [vowels as f32, (text.chars().count() - vowels) as f32]
///         };
///         Ok(Matrix::from_vec(texts.len(), 2, texts.iter().flat_map(|text| count(text)).collect())?)
///     }
/// }
/// assert_eq!(Vowels.embed(&["editor"], &EmbedCall::default())?.row(0), [3.0, 3.0]);
/// # Ok::<(), sememe::Error>(())
/// ```
pub trait Embedder: Sync {
    /// Name of the model, kept with every vector.
    fn model(&self) -> &str;

    /// What else vectors depend on, in any spelling that is the same for the same settings. Vectors of other settings count as
    /// out of date.
    fn settings(&self) -> String {
        String::new()
    }

    /// One vector a text, `[texts, dims]` in their order. Texts are never empty, nor are there none.
    ///
    /// # Errors
    /// [`EmbedError::Texts`] for what is wrong with these texts, which are then tried in smaller parts; [`EmbedError::All`] for what is
    /// wrong whatever is asked: the run ends with it, and keeps what was done before.
    fn embed(&self, texts: &[&str], call: &EmbedCall<'_>) -> Result<Matrix, EmbedError>;

    /// The error for vectors that cannot be used: too few, not finite, of another dimension than before.
    fn fault(&self, problem: String) -> Error {
        Error::Data(problem)
    }

    /// What should be known of the calls so far, in a line.
    fn note(&self) -> Option<String> {
        None
    }
}
