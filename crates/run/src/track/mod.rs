//! What a training leaves behind besides its codec: curves for TensorBoard, metrics as JSON lines, the use of codes.
//!
//! Unlike what [`sememe::io`] writes, the first two grow while the training runs, so a killed process may leave half a record
//! at their end. Resuming is therefore a rewrite, whole or not at all: what the checkpoint covers stays byte for byte, what
//! came after it goes, and a run that was killed and resumed leaves the file of one that was not.
//!
//! A checkpoint must never be ahead of these files: call `sync` on both writers before the checkpoint is put in place.

mod append;
mod crc;
mod event;
mod events;
mod metrics;
mod record;
mod usage;

pub use events::EventWriter;
pub use metrics::MetricsWriter;
pub use usage::write_code_usage;
