//! faiss: codebooks that three lines of Python take out of an index; its binary index is not read.

use crate::arrays::Arrays;
use crate::imported::ImportOptions;
use crate::levels;
use crate::note::Note;
use crate::parts::Parts;
use sememe::{Error, Result};

/// The array that is wanted, or that of the usual name, or a `.npy`'s only one.
fn name<'a>(arrays: &'a Arrays, wanted: Option<&'a str>, usual: &'a str) -> &'a str {
    match (wanted, &arrays.infos[..]) {
        (Some(wanted), _) => wanted,
        (None, [only]) => &only.name,
        _ => usual,
    }
}

/// A residual quantiser: `[levels, k, d]`, or `rq_codebooks.{l}` where levels differ in size.
pub fn residual(arrays: &Arrays, options: &ImportOptions) -> Result<Parts> {
    let split = levels::groups(arrays, "rq_codebooks.", "");
    let books = match split.len() {
        0 => levels::stacked(arrays, name(arrays, options.tensor.as_deref(), "rq_codebooks"))?,
        _ => {
            let found = levels::only(arrays, "rq_codebooks.", "", options.tensor.as_deref())?;
            levels::codebooks(arrays, &found.names)?
        }
    };
    let mut parts = Parts::residual(books);
    if options.beam.is_none() {
        parts.notes.push(Note::assumed(
            "greedy encoding; faiss keeps `max_beam_size` prefixes a row, 5 unless it was set, so give that as the beam for its codes",
        ));
    }
    Ok(parts)
}

/// A product quantiser: `[levels, k, width]`, and a rotation in front of it if there is one.
pub fn product(arrays: &Arrays, _: &ImportOptions) -> Result<Parts> {
    let mut parts = Parts::product(levels::stacked(arrays, name(arrays, None, "pq_centroids"))?);
    if arrays.has("opq_rotation") {
        let rotation = arrays.matrix("opq_rotation")?;
        if rotation.rows() != parts.quantizer.dims {
            return Err(Error::format(
                &arrays.path,
                format!(
                    "`opq_rotation` gives {} values, but the centroids have {} columns in all",
                    rotation.rows(),
                    parts.quantizer.dims
                ),
            ));
        }
        parts.quantizer.dims = rotation.dims();
        parts.quantizer.components = rotation.into_vec();
    }
    Ok(parts)
}
