//! The data types of the crate: rows, codes, sequences, and sources of rows.

mod codes;
mod matrix;
mod rows;
mod sequences;

pub use codes::Codes;
pub use matrix::{Matrix, MatrixView};
pub use rows::{BadRows, RowSource, Screened, first_non_finite};
pub(crate) use rows::{check_range, largest_magnitude};
pub use sequences::Sequences;
