//! Sememe turns embeddings into **semantic IDs**: short tuples of codes, coarse to fine.

pub mod compute;
pub mod data;
mod error;
pub mod eval;
pub mod io;
pub mod rng;

pub use compute::{Device, DeviceInfo, DeviceKind, Metric};
pub use data::{BadRows, Codes, Matrix, MatrixView, RowSource, Screened};
pub use error::{Error, Result};
