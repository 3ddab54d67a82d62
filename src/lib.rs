//! Sememe turns embeddings into **semantic IDs**: short tuples of codes, coarse to fine.

pub mod codec;
pub mod compute;
pub mod data;
mod error;
pub mod eval;
pub mod fit;
pub mod io;
pub mod progress;
pub mod rng;

pub use codec::{Codec, EncodeOptions, Encoded, Encoder, Manifest};
pub use compute::{Device, DeviceInfo, DeviceKind, Metric};
pub use data::{BadRows, Codes, Matrix, MatrixView, RowSource, Screened};
pub use error::{Error, Result};
pub use fit::{EmptyPolicy, Init, Pca, Preprocess, Refine, RqKMeans, TrainingSummary};
pub use progress::{Event, LevelSummary, Observer};
