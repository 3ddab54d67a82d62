//! Readers, writers and atomic files.
//!
//! Every reader treats its file as hostile: what a header claims is checked against what the file holds before
//! anything is allocated for it, nothing in a file is ever run, and no content makes a reader panic. Every writer
//! writes its file whole or not at all.

mod array_file;
mod array_info;
mod arrays;
mod atomic;
mod bytes;
mod codes_reader;
mod codes_table;
mod codes_writer;
mod csv_quotes;
mod csv_rows;
mod dense;
mod durable;
mod event_fields;
mod events;
mod folder;
mod ids_reader;
mod ids_writer;
mod index;
mod integers;
mod json_objects;
mod json_repair;
mod json_rows;
mod lines;
#[cfg(feature = "parquet")]
mod lists;
mod npy;
mod npy_dict;
mod npz;
mod numbers;
mod open;
mod options;
#[cfg(feature = "parquet")]
mod parquet_codes;
#[cfg(feature = "parquet")]
mod parquet_pages;
#[cfg(feature = "parquet")]
mod parquet_rows;
#[cfg(feature = "parquet")]
mod parquet_text;
mod pick;
mod rows_writer;
mod shards;
mod tensors;
mod text_file;
mod titles;
mod window;

pub use array_file::ArrayFile;
pub use array_info::ArrayInfo;
pub use arrays::{ArrayValues, NamedArray, write_arrays};
pub use atomic::{AtomicFile, is_there, read_bytes_capped, read_if_there, remove_leftovers, write_bytes_atomic};
pub(crate) use bytes::Bytes;
pub use codes_reader::{read_codes, read_codes_file};
pub use codes_table::CodesFile;
pub use codes_writer::CodesWriter;
pub use csv_rows::{CsvRow, CsvRows};
pub use durable::{create_folder, remove, remove_if_there};
pub use event_fields::EventFields;
pub use events::{EventItem, EventsFile, read_events};
pub use folder::AtomicFolder;
pub use ids_reader::{IdLine, read_ids};
pub use ids_writer::IdsWriter;
pub use index::read_index;
pub use json_objects::{JsonItem, JsonObject, JsonValue, each_json_line, each_json_object, json_row};
pub use lines::json_bad;
pub use open::{open, open_all};
pub use options::{OpenOptions, extension};
#[cfg(feature = "parquet")]
pub use parquet_text::ParquetTexts;
pub use rows_writer::RowsWriter;
pub use tensors::TensorFile;
pub use text_file::text_extension;
pub use titles::{read_keys, read_labels, read_titles};
pub use window::{Window, WindowReader};

/// Calls `row` with the number and the texts of every row of a parquet file, lists joined by `separator`; the first field is a key.
///
/// # Errors
/// If the file cannot be read as parquet, lacks a column, or `row` fails.
#[cfg(feature = "parquet")]
pub fn each_parquet_row(
    path: &std::path::Path,
    wanted: &[&str],
    separator: &str,
    row: &mut dyn FnMut(u64, &mut [String]) -> crate::Result<()>,
) -> crate::Result<()> {
    parquet_text::each(&Window::open(path)?, wanted, Some(separator), row)
}

/// The names of a parquet file's columns.
///
/// # Errors
/// If the file cannot be read as parquet.
#[cfg(feature = "parquet")]
pub fn parquet_columns(path: &std::path::Path) -> crate::Result<Vec<String>> {
    parquet_text::columns(&Window::open(path)?)
}
