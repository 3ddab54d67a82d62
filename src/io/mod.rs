//! Readers, writers and atomic files.
//!
//! Every reader treats its file as hostile: what a header claims is checked against what the file holds before
//! anything is allocated for it, nothing in a file is ever run, and no content makes a reader panic. Every writer
//! writes its file whole or not at all.

mod arrays;
mod atomic;
mod bytes;
mod codes_reader;
mod codes_writer;
mod dense;
mod events;
mod ids_reader;
mod ids_writer;
mod lines;
#[cfg(feature = "parquet")]
mod lists;
mod npy;
mod npy_dict;
mod npz;
mod numbers;
mod open;
#[cfg(feature = "parquet")]
mod parquet_codes;
#[cfg(feature = "parquet")]
mod parquet_rows;
#[cfg(feature = "parquet")]
mod parquet_text;
mod pick;
mod rows_writer;
mod tensors;
mod titles;
pub mod track;
mod window;

pub(crate) use arrays::{Array, Values, write_arrays};
pub use atomic::{AtomicFile, read_bytes_capped, write_bytes_atomic};
pub(crate) use bytes::Bytes;
pub use codes_reader::{CodesFile, read_codes, read_codes_file};
pub use codes_writer::CodesWriter;
pub use events::{EventItem, EventsFile, read_events};
pub use ids_reader::{IdLine, read_ids};
pub use ids_writer::IdsWriter;
pub use open::{OpenOptions, open};
pub use rows_writer::RowsWriter;
pub use titles::{read_keys, read_labels, read_titles};
