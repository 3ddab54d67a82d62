//! Vectors of a few texts that are kept nowhere: those of queries.

use sememe::data::{Matrix, first_non_finite};
use sememe::{Error, Result, unit_rows};

use super::{EmbedCall, Embedder};

/// One vector a text, `[texts, dims]`, as [`embed`](super::embed) makes them: `prefix` goes before every text, and with `normalize` every
/// vector is divided by its L2 norm.
///
/// ```
/// use sememe::Matrix;
/// use sememe_text::embed::{EmbedCall, EmbedError, Embedder, embed_texts};
/// struct Lengths;
/// impl Embedder for Lengths {
///     fn model(&self) -> &str {
///         "lengths"
///     }
///     fn embed(&self, texts: &[&str], _: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
///         Ok(Matrix::from_vec(texts.len(), 1, texts.iter().map(|text| text.len() as f32).collect())?)
///     }
/// }
/// assert_eq!(embed_texts(&Lengths, &["a game"], "query: ", false)?.as_slice(), [13.0]);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Data`] for an empty text, and for vectors that cannot be used: too few, not finite, of length 0 if they are to be normalised; what
/// the model returns.
pub fn embed_texts(embedder: &dyn Embedder, texts: &[&str], prefix: &str, normalize: bool) -> Result<Matrix> {
    if let Some(empty) = texts.iter().position(|text| text.trim().is_empty()) {
        return Err(Error::Data(format!("text {empty} is empty")));
    }
    if texts.is_empty() {
        return Err(Error::Data("expected at least 1 text, got none".into()));
    }
    let whole: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    let mut matrix = embedder.embed(&whole, &EmbedCall::default()).map_err(Error::from)?;
    let (rows, dims, model) = (matrix.rows(), matrix.dims(), embedder.model());
    if rows != texts.len() || dims == 0 {
        let problem = format!("expected {} vectors of `{model}`, got {rows} of {dims} values", texts.len());
        return Err(embedder.fault(problem));
    }
    if let Some((first, _)) = first_non_finite(matrix.as_slice(), dims) {
        return Err(embedder.fault(format!("the vector of text {first} by `{model}` holds NaN or infinity")));
    }
    if normalize {
        let mut norms = vec![0.0; rows];
        unit_rows(matrix.as_mut_slice(), dims, &mut norms);
        if let Some(bad) = norms.iter().position(|norm| *norm <= 0.0 || !norm.is_finite()) {
            let norm = norms[bad];
            let problem =
                format!("the vector of text {bad} by `{model}` has an L2 norm of {norm}, which cannot be normalised");
            return Err(embedder.fault(problem));
        }
    }
    Ok(matrix)
}
