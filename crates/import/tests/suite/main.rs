//! The one integration binary: files that other systems made, hostile files, and the way back.

mod exact;
mod export;
mod hostile;
mod options;
mod python;
mod support;
