//! What is asked of an import, and what comes of it.

use crate::counters::Counters;
use crate::note::Note;
use crate::origin::Origin;
use sememe::{Codec, Codes, Matrix};

/// How a file is read. The default takes everything from the file.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// What it is, where its content does not say or says it wrong.
    pub from: Option<Origin>,
    /// Which arrays hold the codebooks: the name of one of `[levels, k, d]` or `[k, d]`, names with `*` for the level's number, or what stands
    /// before a system's own names.
    pub tensor: Option<String>,
    /// Whether each level's input is divided by its norm. For GRID, whose checkpoint may say it itself, and for plain arrays.
    pub normalize_residuals: Option<bool>,
    /// Prefixes a row that encoding keeps, 1 to 64. For residual codebooks under squared L2.
    pub beam: Option<usize>,
    /// Rows like those that will be encoded, `[n, d]`; none if empty. Only for codecs with networks: how far a device's arithmetic may be off
    /// is measured on up to 64 of them.
    pub rows: Matrix,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Where it came from.
    pub origin: Origin,
    /// The codec or the table.
    pub content: Content,
    /// How many IDs an engine gave out, by codes.
    pub counters: Option<Counters>,
    /// What was assumed, left out, or cannot be known.
    pub notes: Vec<Note>,
}

/// A codec, or IDs that a codec gave.
#[derive(Clone, Debug)]
pub enum Content {
    /// A codec.
    Codec(Codec),
    /// Codes of items.
    Ids(IdTable),
}

/// Codes of items, with their keys.
#[derive(Clone, Debug)]
pub struct IdTable {
    /// `[n, levels]`.
    pub codes: Codes,
    /// The key of each row.
    pub keys: Vec<String>,
    /// Codewords of each level: as the file says, else one more than the largest code.
    pub codebook_sizes: Vec<usize>,
}
