//! Algorithms, each written once over [`Backend`](crate::compute::Backend).

mod balance;
mod capacity;
mod distributed;
mod exchange;
mod init;
mod kmeans;
mod level;
mod minibatch;
pub(crate) mod preprocess;
mod product;
pub(crate) mod range;
mod refine;
pub(crate) mod residual;
mod rotation;
pub mod rqvae;
pub(crate) mod start;
#[cfg(test)]
mod tests;
mod training_rows;
mod transport;

pub use balance::{Balance, LoadTarget};
pub use distributed::DistributedRqKMeans;
pub use init::Init;
pub use kmeans::EmptyPolicy;
pub use minibatch::{MiniBatchRqKMeans, MiniBatchTrainer};
pub use preprocess::{Pca, Preprocess};
pub use product::ProductQuantization;
pub use refine::Refine;
pub use residual::{Fitted, NetworkSummary, RqKMeans, TrainingSummary, perplexity};
pub use rotation::Rotation;
