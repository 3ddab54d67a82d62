//! Texts to vectors, kept by content: a second run asks only for what changed.
//!
//! [`TextSource`] reads items, an [`Embedder`] turns texts into vectors (`Endpoint` asks a server for them, `LocalModel` runs a model
//! that lies in a folder), and [`embed`] puts both together over a [`VectorTable`], an SQLite table of vectors in AniMind's layout.
//! Whatever stops a run, a kill included, the batches that were answered are kept, and the next run asks for the rest.

#[cfg(feature = "sqlite")]
mod batches;
#[cfg(feature = "sqlite")]
mod content;
mod embedder;
#[cfg(feature = "embed-http")]
mod endpoint;
#[cfg(feature = "sqlite")]
mod export;
#[cfg(feature = "sqlite")]
mod input;
#[cfg(feature = "embed")]
mod local;
#[cfg(feature = "sqlite")]
mod options;
#[cfg(feature = "embed-http")]
mod response;
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
mod texts;

pub use embedder::{EmbedCall, EmbedError, Embedder};
#[cfg(feature = "embed-http")]
pub use endpoint::{ApiKey, Endpoint, EndpointEmbedder};
#[cfg(feature = "sqlite")]
pub use export::{Exported, export};
#[cfg(feature = "sqlite")]
pub use input::{TextSource, Texts};
#[cfg(feature = "embed")]
pub use local::{LocalEmbedder, LocalModel};
#[cfg(feature = "sqlite")]
pub use options::EmbedOptions;
#[cfg(feature = "sqlite")]
pub use run::{EmbedReport, FailedText, embed};
#[cfg(feature = "sqlite")]
pub use table::VectorTable;
pub use texts::embed_texts;

use serde::{Deserialize, Serialize};

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
