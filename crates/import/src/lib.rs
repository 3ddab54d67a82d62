//! Reads what other systems wrote: their codebooks, preprocessing and networks as a [`Codec`](sememe::Codec), their tables of IDs as codes; and
//! writes a codec so that others load it.
//!
//! What a file is is seen from its content ([`recognise`]); [`import`] reads it, and says what it had to assume and what nobody can know.
//! Nothing in a file is ever run, and sizes are bounded before memory is taken.
//!
//! ```
//! use sememe::io::{ArrayValues, NamedArray, write_arrays};
//! use sememe_import::{Content, ImportOptions, Origin, import};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("books.npz");
//! let level = [0.0, 5.0];
//! write_arrays(&path, &[NamedArray::new("codebook_0", &[2, 1], ArrayValues::F32(&level))])?;
//! let imported = import(&path, &ImportOptions::default())?;
//! assert_eq!(imported.origin, Origin::SemanticId);
//! let Content::Codec(codec) = imported.content else { panic!("not a codec") };
//! assert_eq!(codec.encode_row(&[4.0])?, [1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | system | what is read |
//! |---|---|
//! | BASIL | `basil.npz`, with mean, components and scales |
//! | semantic-id | RQ-KMeans, RQ-VAE and RQ-KMeans+ folders, its engine with the counters (feature `sqlite`) |
//! | LC-Rec, MiniOneRec | checkpoints with their networks |
//! | GRID, OpenOneRec, vector-quantize-pytorch | checkpoints and state dicts |
//! | faiss | codebooks as `.npy` or `.npz`: residual, product, and with a rotation |
//! | AniMind | its folders: the RQ-VAE, and the IDs |
//! | anything else | arrays `[levels, k, d]`, or one a level, in `.npy`, `.npz`, `.safetensors` and checkpoints |
//!
//! Checkpoints need the feature `torch`.

mod arrays;
mod counters;
mod export;
mod imported;
mod levels;
mod networks;
mod note;
mod origin;
mod parts;
mod pickle_names;
mod recognised;
mod systems;
#[cfg(feature = "torch")]
mod torch;

pub use counters::Counters;
pub use export::{ExportFormat, export};
pub use imported::{Content, IdTable, ImportOptions, Imported};
pub use note::{Note, NoteKind};
pub use origin::Origin;

use recognised::Recognised;
use sememe::Result;
use std::path::Path;

/// What a file or folder is, by its content.
///
/// # Errors
/// If it cannot be read, or is nothing that is known: a pickle of scikit-learn, for one, is refused by name with the way out.
pub fn recognise(path: impl AsRef<Path>) -> Result<Origin> {
    Ok(Recognised::of(path.as_ref(), None)?.origin)
}

/// Reads a file or folder of another system.
///
/// # Errors
/// As [`recognise`]; if it is damaged, claims more than it holds, or holds what a codec cannot express; and [`Error::Config`](sememe::Error::Config)
/// for an option that means nothing for what it is.
pub fn import(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Imported> {
    let Recognised { origin, arrays } = Recognised::of(path.as_ref(), options.from)?;
    systems::import(path.as_ref(), origin, arrays, options)
}
