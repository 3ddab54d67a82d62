//! vector-quantize-pytorch: `ResidualVQ` (`layers.{i}._codebook.embed`), and `VectorQuantize` (`_codebook.embed`), whose heads are levels
//! side by side.

use crate::arrays::Arrays;
use crate::imported::ImportOptions;
use crate::levels::{self, LevelNames};
use crate::networks;
use crate::note::Note;
use crate::parts::Parts;
use sememe::codec::{Activation, Layer, Mlp};
use sememe::{Matrix, Result};

const EMBED: &str = "_codebook.embed";
/// Parts that change what a codeword is.
const REFUSED: [(&str, &str); 5] = [
    ("mlps.", "implicit neural codebooks, which are another one for every prefix"),
    ("rvqs.", "groups of residual quantisers side by side"),
    ("_codebook.codebook_mean", "affine parameters of its codebooks"),
    ("_codebook.batch_mean", "affine parameters of its codebooks"),
    ("vq_bridge.", "a bridge before its codebooks"),
];

/// All quantisers in a state dict, by what stands before their names.
pub fn groups(arrays: &Arrays) -> Vec<LevelNames> {
    let mut all = levels::groups(arrays, "layers.", &format!(".{EMBED}"));
    for info in &arrays.infos {
        if let Some(prefix) = info.name.strip_suffix(EMBED)
            && (prefix.is_empty() || prefix.ends_with('.'))
            && !all.iter().any(|group| group.names.contains(&info.name))
        {
            all.push(LevelNames { prefix: prefix.to_owned(), names: vec![info.name.clone()] });
        }
    }
    all
}

/// One of the quantisers of a state dict.
pub fn read(arrays: &Arrays, options: &ImportOptions) -> Result<Parts> {
    let found = levels::pick(arrays, groups(arrays), options.tensor.as_deref(), |group| &group.prefix)?;
    levels::check_count(arrays, found.names.len())?;
    for (part, what) in REFUSED {
        let there = |name: &str| {
            name.strip_prefix(found.prefix.as_str())
                .is_some_and(|rest| rest.starts_with(part) || rest.contains(&format!(".{part}")))
        };
        if let Some(info) = arrays.infos.iter().find(|info| there(&info.name)) {
            return Err(arrays.bad(format_args!("has {what} (`{}`), which a codec cannot express", info.name)));
        }
    }
    let under = |rest: &str| format!("{}{rest}", found.prefix);
    let heads = arrays.info(&found.names[0]).map_or(0, |info| if info.shape.len() == 3 { info.shape[0] } else { 1 });
    let projected = arrays.has(&under("project_in.weight"));
    if heads > 1 {
        if found.names.len() > 1 || projected {
            return Err(arrays.bad(format_args!(
                "`{}` has {heads} heads {}, which a codec cannot express",
                found.names[0],
                if projected { "behind a projection" } else { "a level" }
            )));
        }
        return Ok(Parts::product(levels::stacked(arrays, &found.names[0])?));
    }
    let books = in_order(arrays, &found)?;
    let shared = books.len() > 1 && books.iter().all(|book| *book == books[0]);
    let mut parts = Parts::residual(books);
    parts.shared = shared;
    if projected {
        let layer = |name: &str| {
            let of = |part: &str| under(&format!("{name}.{part}"));
            let layer = networks::linear(arrays, &of, Activation::Relu)?;
            Ok(Mlp { layers: vec![Layer { activation: None, ..layer }], skip: false })
        };
        let (encoder, decoder) = (layer("project_in")?, layer("project_out")?);
        if encoder.outputs() != parts.quantizer.codebooks[0].dims() {
            return Err(arrays.bad(format_args!(
                "`{}` gives {} values, codewords have {}: heads that share their codebook cannot be expressed",
                under("project_in.weight"),
                encoder.outputs(),
                parts.quantizer.codebooks[0].dims()
            )));
        }
        parts = parts.with_networks(Some(encoder), Some(decoder));
    }
    let around = arrays.infos.iter().any(|info| !info.name.starts_with(&found.prefix));
    if around {
        parts.notes.push(Note::left_out("the model around the quantiser: rows must be what enters it"));
    }
    if parts.quantizer.codebooks.iter().all(of_unit_norm) {
        parts.notes.push(Note::assumed(
            "squared L2, which gives the codes of cosine too, as all codewords have norm 1; if it was cosine, decoded rows are as they are there",
        ));
    }
    Ok(parts)
}

/// Codebooks in the order of their numbers.
fn in_order(arrays: &Arrays, found: &LevelNames) -> Result<Vec<Matrix>> {
    if found.names.len() == 1 {
        return Ok(vec![arrays.matrix(&found.names[0])?]);
    }
    let names: Vec<String> = (0..found.names.len()).map(|i| format!("{}layers.{i}.{EMBED}", found.prefix)).collect();
    levels::codebooks(arrays, &names)
}

fn of_unit_norm(book: &Matrix) -> bool {
    (0..book.rows()).all(|j| {
        let square: f64 = book.row(j).iter().map(|v| f64::from(*v).powi(2)).sum();
        (square - 1.0).abs() < 1e-4
    })
}
