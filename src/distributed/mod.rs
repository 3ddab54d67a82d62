//! Training and measuring over rows that lie on many machines.
//!
//! A training is a chain of [`Round`]s. The [`DistributedTrainer`], in one place, says what is asked of all rows next; wherever rows are, a [`RoundWorker`]
//! makes a [`Partial`] of them; partials are [merged](Partial::merge), and the trainer takes what is left and asks for the next. Workers keep nothing between
//! rounds, so what a lost one had is simply done again, and residuals are computed anew and never stored.
//!
//! Codes are exact and all sums are integers. So the codec's bytes depend on the rows and the settings alone: not on how the rows are divided, in
//! which order partials are merged, nor on the devices of the workers. (Levels start from a sample on the trainer's device: another kind of device there may round a start differently.)
//!
//! ```
//! use sememe::distributed::{DistributedRqKMeans, DistributedTrainer, Partial, Round};
//! use sememe::{Device, Matrix, RqKMeans};
//!
//! let rows = Matrix::from_vec(60, 2, (0..120).map(|i| (i % 10) as f32 + (i / 7 % 3) as f32 * 0.1).collect())?;
//! let parts = [rows.view().slice(0, 25), rows.view().slice(25, 60)];
//!
//! let kmeans = RqKMeans { codebook_sizes: vec![4, 2], ..RqKMeans::default() };
//! let mut trainer = DistributedTrainer::new(DistributedRqKMeans { kmeans, sample_rows: None }, 2)?;
//! while let Some(round) = trainer.round()? {
//!     // What goes over the network, both ways.
//!     let asked = round.to_bytes();
//!     let mut answers = Vec::new();
//!     for part in parts {
//!         let worker = Round::from_bytes(&asked)?.worker(&Device::cpu())?;
//!         let mut partial = worker.partial();
//!         worker.add(part, &mut partial)?;
//!         answers.push(partial.to_bytes()?);
//!     }
//!     let mut whole = Partial::from_bytes(&answers[0])?;
//!     whole.merge(&Partial::from_bytes(&answers[1])?)?;
//!     trainer.take(&whole, &Device::cpu(), &())?;
//! }
//! assert_eq!(trainer.codec()?.levels(), 2);
//! # Ok::<(), sememe::Error>(())
//! ```

mod level;
mod partial;
mod round;
mod sample;
mod state;
mod trainer;
mod wire;
mod worker;

pub use crate::fit::DistributedRqKMeans;
pub use partial::{LevelMeasures, Partial, RoundMeasures};
pub use round::Round;
pub use trainer::DistributedTrainer;
pub use worker::RoundWorker;
