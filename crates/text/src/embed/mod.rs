//! Texts to vectors, kept by content: a second run asks only for what changed.
//!
//! [`TextSource`] reads items, an [`Embedder`] turns texts into vectors (`Endpoint` asks a server for them, `LocalModel` runs a model
//! that lies in a folder), and [`embed`] puts both together over a [`VectorTable`], an SQLite table of vectors in AniMind's layout.
//! Whatever stops a run, a kill included, the batches that were answered are kept, and the next run asks for the rest.

#[cfg(feature = "embed-http")]
mod answer;
#[cfg(feature = "sqlite")]
mod content;
#[cfg(feature = "embed-http")]
mod endpoint;
#[cfg(feature = "sqlite")]
mod export;
#[cfg(feature = "sqlite")]
mod input;
#[cfg(feature = "embed")]
mod local;
#[cfg(feature = "embed-http")]
mod retry;
#[cfg(feature = "sqlite")]
mod run;
#[cfg(feature = "sqlite")]
mod schema;
#[cfg(feature = "sqlite")]
mod survey;
#[cfg(feature = "sqlite")]
mod table;

#[cfg(feature = "embed-http")]
pub use endpoint::{ApiKey, Endpoint, EndpointEmbedder};
#[cfg(feature = "sqlite")]
pub use export::export;
#[cfg(feature = "sqlite")]
pub use input::{TextSource, Texts};
#[cfg(feature = "embed")]
pub use local::{LocalEmbedder, LocalModel};
#[cfg(feature = "sqlite")]
pub use run::{EmbedOptions, EmbedReport, embed};
#[cfg(feature = "sqlite")]
pub use table::VectorTable;

use serde::{Deserialize, Serialize};

use sememe::data::Matrix;
use sememe::{Error, Result};

/// How the vectors of a text's tokens become one, in a model that lies in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token, BERT's `[CLS]`.
    Cls,
    /// That of the last token, the only one that saw the whole text in a decoder.
    Last,
}

/// Turns texts into vectors. Called from several threads at once.
///
/// ```
/// use sememe_text::embed::Embedder;
/// use sememe::{Matrix, Result};
///
/// /// How many vowels and how many other characters.
/// struct Vowels;
///
/// impl Embedder for Vowels {
///     fn model(&self) -> &str {
///         "vowels"
///     }
///     fn embed(&self, texts: &[&str]) -> Result<Matrix> {
///         let count = |text: &str| {
///             let vowels = text.chars().filter(|c| "aeiou".contains(*c)).count();
///             [vowels as f32, (text.chars().count() - vowels) as f32]
///         };
///         Matrix::from_vec(texts.len(), 2, texts.iter().flat_map(|text| count(text)).collect())
///     }
/// }
/// assert_eq!(Vowels.embed(&["editor"])?.row(0), [3.0, 3.0]);
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
    /// Whatever keeps it from that; the run ends with it and keeps what was done before.
    fn embed(&self, texts: &[&str]) -> Result<Matrix>;

    /// The error for vectors that cannot be used: too few, not finite, of another dimension than before.
    fn fault(&self, problem: String) -> Error {
        Error::Data(problem)
    }

    /// What should be known of the calls so far, in a line.
    fn note(&self) -> Option<String> {
        None
    }

    /// The run ends: calls that are waiting should return at once, with any error.
    fn give_up(&self) {}
}
