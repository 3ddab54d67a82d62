//! What codes become: one ID an item, text, tokens, an older codec's names.

use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use sememe::ids::resolve::{CodecAlternatives, Resolved, number, refuse, relocate};
use sememe::ids::{IdTemplate, Style, TextFormat, Vocabulary, align as align_codes, align_without_rows};
use sememe::{Codes, Error, Observer, RowSource as _};

use crate::codec::{Codec, encode};
use crate::errors::OrRaise as _;
use crate::rows::Rows;
use crate::values;
use crate::work::{at_once, run};

type Array<'py> = Bound<'py, PyArray2<u32>>;

fn array<'py>(py: Python<'py>, codes: &Codes) -> PyResult<Array<'py>> {
    values::codes_array(py, codes.rows(), codes.levels(), codes.as_slice().to_vec())
}

fn resolved<'py>(py: Python<'py>, made: &Resolved) -> PyResult<(Array<'py>, Bound<'py, PyAny>)> {
    Ok((array(py, &made.codes)?, values::described(py, &made.cost)?))
}

/// IDs with a counter `[n, levels + 1]`, or the refusal of items that share their codes; and what it took.
#[pyfunction]
pub fn count_up<'py>(
    py: Python<'py>,
    keys: Vec<String>,
    codes: PyReadonlyArray2<'py, u32>,
    refuses: bool,
) -> PyResult<(Array<'py>, Bound<'py, PyAny>)> {
    let codes = values::read_codes(&codes)?.or_raise(py)?;
    let made = at_once(py, || if refuses { refuse(&keys, &codes) } else { number(&keys, &codes) })?;
    resolved(py, &made)
}

/// Codes `[n, levels]` after items moved to others, at the least added squared L2; and what it took.
#[pyfunction]
#[pyo3(signature = (keys, codes, capacity, codec, rows, progress))]
pub fn move_apart<'py>(
    py: Python<'py>,
    keys: Vec<String>,
    codes: PyReadonlyArray2<'py, u32>,
    capacity: usize,
    codec: &Codec,
    rows: &Rows,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Array<'py>, Bound<'py, PyAny>)> {
    let codes = values::read_codes(&codes)?.or_raise(py)?;
    let (codec, rows) = (codec.inner.clone(), rows.0.clone());
    let made = run(py, progress, move |watch| {
        let rows = Stoppable(&rows, watch);
        relocate(&keys, &codes, capacity, &CodecAlternatives::new(&codec, &rows, None)?)
    })?;
    resolved(py, &made)
}

/// A source that gives up once a stop is asked for, so that work without an observer stops too.
pub struct Stoppable<'a>(pub &'a crate::rows::Shared, pub &'a dyn Observer);

impl sememe::RowSource for Stoppable<'_> {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn dims(&self) -> usize {
        self.0.dims()
    }
    fn name(&self) -> String {
        self.0.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> sememe::Result<()> {
        sememe::progress::check(self.1)?;
        self.0.read_rows(start, out)
    }
}

/// IDs as text.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Format(TextFormat);

#[pymethods]
impl Format {
    /// A style by its name, with parts of it replaced.
    #[new]
    #[pyo3(signature = (style, parts, codebook_sizes, counter))]
    fn new(py: Python<'_>, style: &str, parts: &str, codebook_sizes: Vec<usize>, counter: bool) -> PyResult<Self> {
        let made = || {
            let known = Style::ALL.into_iter().find(|known| known.name() == style).ok_or_else(|| {
                let names: Vec<&str> = Style::ALL.iter().map(|known| known.name()).collect();
                Error::config("style", format!("expected one of {}, got `{style}`", names.join(", ")))
            })?;
            let wrong = |e: serde_json::Error| Error::config("style", e.to_string());
            let mut all = serde_json::to_value(known.template()).map_err(wrong)?;
            let over: serde_json::Map<String, serde_json::Value> = serde_json::from_str(parts).map_err(wrong)?;
            for (key, value) in over {
                all[key] = value;
            }
            let template: IdTemplate = serde_json::from_value(all).map_err(wrong)?;
            let format = TextFormat::new(template, &codebook_sizes)?;
            if counter { format.with_counter() } else { Ok(format) }
        };
        Ok(Self(made().or_raise(py)?))
    }

    /// Numbers of an ID: its codes, and a counter if there is one.
    #[getter]
    fn width(&self) -> usize {
        self.0.width()
    }

    /// The texts of IDs `[n, width]`.
    fn write(&self, py: Python<'_>, codes: PyReadonlyArray2<'_, u32>) -> PyResult<Vec<String>> {
        let codes = values::read_codes(&codes)?.or_raise(py)?;
        at_once(py, || codes.iter().map(|id| self.0.write(id)).collect())
    }

    /// The IDs `[n, width]` of texts.
    fn parse<'py>(&self, py: Python<'py>, texts: Vec<String>) -> PyResult<Array<'py>> {
        let width = self.0.width();
        let codes = at_once(py, || {
            let mut all = Vec::with_capacity(texts.len() * width);
            for text in &texts {
                all.extend(self.0.parse(text)?);
            }
            Ok(all)
        })?;
        values::codes_array(py, texts.len(), width, codes)
    }

    /// The tokens of IDs `[n, width]`.
    fn tokens(&self, py: Python<'_>, codes: PyReadonlyArray2<'_, u32>) -> PyResult<Vec<Vec<String>>> {
        let codes = values::read_codes(&codes)?.or_raise(py)?;
        at_once(py, || codes.iter().map(|id| self.0.tokens(id)).collect())
    }
}

/// Tokens of IDs by their numbers in a language model.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Tokens(Vocabulary, usize);

#[pymethods]
impl Tokens {
    #[new]
    fn new(
        py: Python<'_>,
        format: &Format,
        most_counter: u32,
        first_id: u32,
        special_tokens: Vec<String>,
    ) -> PyResult<Self> {
        let own: Vec<&str> = special_tokens.iter().map(String::as_str).collect();
        let vocabulary = Vocabulary::new(&format.0, most_counter, first_id, &own).or_raise(py)?;
        Ok(Self(vocabulary, format.0.width()))
    }

    /// All tokens, in the order of their numbers.
    #[getter]
    fn tokens(&self) -> Vec<String> {
        self.0.tokens().to_vec()
    }

    /// Those that are no codes; they come first.
    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.0.special_tokens().to_vec()
    }

    /// The number of the token after an ID, if the format has one.
    #[getter]
    fn end(&self) -> Option<u32> {
        self.0.end()
    }

    /// One past the last number.
    #[getter]
    fn embedding_rows(&self) -> usize {
        self.0.embedding_rows()
    }

    /// The tokens' numbers of IDs `[n, width]`.
    fn encode(&self, py: Python<'_>, codes: PyReadonlyArray2<'_, u32>) -> PyResult<Vec<Vec<u32>>> {
        let codes = values::read_codes(&codes)?.or_raise(py)?;
        at_once(py, || codes.iter().map(|id| self.0.encode(id)).collect())
    }

    /// The IDs `[n, width]` of tokens' numbers.
    fn decode<'py>(&self, py: Python<'py>, tokens: Vec<Vec<u32>>) -> PyResult<Array<'py>> {
        let mut codes = Vec::with_capacity(tokens.len() * self.1);
        for id in &tokens {
            codes.extend(self.0.decode(id).or_raise(py)?);
        }
        values::codes_array(py, tokens.len(), self.1, codes)
    }
}

/// A codec under an older one's names, and what each codeword is called now.
#[pyfunction]
#[pyo3(signature = (new, old, rows, device, progress))]
pub fn align(
    py: Python<'_>,
    new: &Codec,
    old: &Codec,
    rows: Option<&Rows>,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Codec, Vec<Vec<u32>>)> {
    let (new_codec, old_codec, rows) = (new.inner.clone(), old.inner.clone(), rows.map(|rows| rows.0.clone()));
    let (encoders, n) = match &rows {
        Some(rows) => {
            let n = rows.rows();
            let open = |codec: &Codec| codec.encoder(device, None, n);
            (Some(at_once(py, || Ok((open(new)?, open(old)?)))?), n)
        }
        None => (None, 0),
    };
    let aligned = run(py, progress, move |watch| match (rows, encoders) {
        (Some(rows), Some((new_encoder, old_encoder))) => {
            sememe::check_shape("d", old_codec.dims(), rows.dims(), rows.name())?;
            sememe::check_shape("d", new_codec.dims(), rows.dims(), rows.name())?;
            let new_codes = encode(&new_encoder, new_codec.levels(), &rows.0, watch)?;
            let old_codes = encode(&old_encoder, old_codec.levels(), &rows.0, watch)?;
            let new_codes = Codes::from_vec(n, new_codec.levels(), new_codes)?;
            let old_codes = Codes::from_vec(n, old_codec.levels(), old_codes)?;
            align_codes(&new_codec, &old_codec, &new_codes, &old_codes)
        }
        _ => align_without_rows(&new_codec, &old_codec),
    })?;
    Ok((aligned.codec.into(), aligned.permutations))
}

/// How many items' codes differ.
#[pyfunction]
pub fn measure_churn<'py>(
    py: Python<'py>,
    old: PyReadonlyArray2<'py, u32>,
    new: PyReadonlyArray2<'py, u32>,
) -> PyResult<Bound<'py, PyAny>> {
    let (old, new) = (values::read_codes(&old)?.or_raise(py)?, values::read_codes(&new)?.or_raise(py)?);
    let churn = at_once(py, || sememe::eval::measure_churn(&old, &new))?;
    let described = values::described(py, &churn)?;
    described.set_item("changed", churn.changed())?;
    Ok(described)
}
