//! Sememe turns embeddings into **semantic IDs**: short tuples of codes, coarse to fine.
//!
//! Items that mean similar things share a prefix of their IDs. A [`Codec`] is a fitted model: it encodes rows to codes and
//! decodes codes to rows. It comes from [`RqKMeans`] (residual k-means over rows in memory) or from
//! [`fit::MiniBatchTrainer`] (rows that stream), or from [`fit::ProductQuantization`], and is kept as one `.safetensors` file.
//!
//! ```
//! use sememe::{Codec, Device, Matrix, RqKMeans};
//!
//! // 64 rows of 4 values in eight groups.
//! let value = |i: usize, c: usize| (i % 8 * (c + 1) % 8) as f32 + i as f32 * 0.01;
//! let rows = Matrix::from_vec(64, 4, (0..256).map(|at| value(at / 4, at % 4)).collect())?;
//!
//! // Two levels: eight codewords, then four for what the first level leaves over.
//! let config = RqKMeans { codebook_sizes: vec![8, 4], seed: 0, ..RqKMeans::default() };
//! let codec = Codec::train(&rows, &config, &Device::cpu(), &())?;
//!
//! let codes = codec.encode(&rows)?;
//! assert_eq!((codes.rows(), codes.levels()), (64, 2));
//! assert_eq!(codec.encode_row(rows.row(5))?, codes.row(5));
//!
//! let back = codec.decode(&codes)?;
//! assert_eq!((back.rows(), back.dims()), (64, 4));
//!
//! // `save` and `load` do the same with a file.
//! let again = Codec::from_bytes(&codec.to_bytes()?)?;
//! assert_eq!(again.content_hash(), codec.content_hash());
//! assert_eq!(again.encode(&rows)?, codes);
//! # Ok::<(), sememe::Error>(())
//! ```
//!
//! # Exact codes
//!
//! The code of a row depends on the codec and the row alone, never on the device, the batch or the number of threads. A
//! device's fast arithmetic is followed by a bound on its error, and a row that the bound does not decide is decided in f64.
//!
//! # Where things are
//!
//! | module | what is in it |
//! |---|---|
//! | [`io`] | readers and writers of embeddings and codes; files are written whole or not at all |
//! | [`data`] | [`Matrix`], [`Codes`], and [`RowSource`] for rows that are read as they are needed |
//! | [`fit`] | algorithms: preprocessing, RQ-KMeans, refinement, mini-batches, product quantisation |
//! | [`codec`] | [`Codec`], and [`Encoder`] for a [`Device`] of choice and for whole files |
//! | [`distributed`] | trainings whose rows lie on many machines: rounds, partials, the trainer |
//! | [`digest`] | SHA-256 of content, and hexadecimal |
//! | [`ids`] | what codes become: one ID an item, stores that keep them, text, tokens, and the trie of all IDs |
//! | [`eval`] | measures of IDs, advice, the HTML report |
//! | [`device`] | [`Device`]: the CPU, or a GPU that is found or brought along |
//! | [`progress`] | [`Observer`]: progress events of long operations, and how they are stopped |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `gpu` | yes | the WGSL backend for Vulkan, Metal and DX12; without it the crate is CPU only |
//! | `sqlite` | no | stores of IDs in SQLite files |
//! | `redis` | no | stores of IDs in a Redis server |
//! | `parquet` | no | embeddings from and codes to parquet files |
//!
//! # Beside it
//!
//! `sememe-text` makes texts of a catalogue and vectors of texts, `sememe-recommend` trains recommenders on IDs, `sememe-run` does everything that one TOML file says, `sememe-cli` is the
//! program `sememe`.

// Tests of single steps of a training see what users do not. They are part of the crate while it is tested, and compare as the integration
// tests do.
#[cfg(test)]
extern crate self as sememe;
#[cfg(test)]
#[allow(dead_code, unused_macros, unused_imports, missing_docs)]
#[path = "../tests/suite/support/mod.rs"]
mod support;

pub mod codec;
// The kernels and the traits over them. Not part of the public surface, which has `device` in their place; the library's own tests and benches,
// and packages of this workspace, see them by the feature `internals`.
#[cfg(not(feature = "internals"))]
#[allow(dead_code, unused_imports, reason = "some of it serves tests and benches only")]
mod compute;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod compute;
pub mod data;
pub mod device;
pub mod digest;
pub mod distributed;
mod error;
pub mod eval;
pub mod fit;
pub mod ids;
pub mod io;
pub mod progress;
mod remedy;
pub mod rng;

pub use codec::{Codec, EncodeOptions, Encoded, Encoder, Manifest, TrainedBy};
pub use compute::Metric;
pub use compute::cpu::unit_rows;
pub use data::{BadRows, Codes, Matrix, MatrixView, RowSource, Screened, Sequences};
pub use device::{Device, DeviceInfo, DeviceKind};
pub use error::{Error, Result, check_shape};
pub use fit::{Balance, EmptyPolicy, Init, Pca, Preprocess, Refine, RqKMeans, TrainingSummary};
pub use progress::{Event, LevelSummary, Observer};
pub use remedy::{Change, Remedy};

/// The Rust in the pages that people read compiles.
#[cfg(all(doctest, feature = "gpu"))]
mod pages {
    #[doc = include_str!("../README.md")]
    pub struct Readme;
    #[doc = include_str!("../docs/rust.md")]
    pub struct Library;
    #[doc = include_str!("../docs/language-models.md")]
    pub struct LanguageModels;
}
