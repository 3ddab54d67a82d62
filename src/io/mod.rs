//! Readers, writers and atomic files.
