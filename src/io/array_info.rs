//! What a header says of an array.

/// An array of an [`ArrayFile`](super::ArrayFile), as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Its name; empty for the one of a `.npy`.
    pub name: String,
    /// Its axes, none for a single number.
    pub shape: Vec<usize>,
    /// How its values are stored, as the file says it: `float32`, `F32`, or why it cannot be read.
    pub kind: String,
    /// Whether its values are floats of 16, 32 or 64 bits, which [`ArrayFile::read`](super::ArrayFile::read) gives.
    pub floats: bool,
}
