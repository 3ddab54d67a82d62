//! Measures of IDs, and the page of them.

use std::path::PathBuf;

use numpy::PyReadonlyArray2;
use pyo3::prelude::*;
use sememe::eval::{
    EvalOptions, Labels, ReportInput, Subject, advice, compare, judge, measure_churn, render_comparison, render_html,
    render_text,
};
use sememe::{Codes, Error, Observer, RowSource, Sequences};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::codec::Codec;
use crate::errors::OrRaise as _;
use crate::ids::Stoppable;
use crate::rows::{Rows, Shared};
use crate::values;
use crate::work::run;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    codebook_sizes: Vec<usize>,
    queries: usize,
    neighbours: usize,
    seed: u64,
    co_neighbours: usize,
    min_support: usize,
    decay: f64,
    users: Option<usize>,
    /// Columns of labels by name.
    labels: Vec<(String, Vec<String>)>,
    /// Items of each user, by row.
    histories: Option<Vec<Vec<u32>>>,
    report: Option<PathBuf>,
    title: String,
    names: Vec<String>,
}

/// Everything measured about one table of codes, or two.
#[pyfunction]
#[pyo3(signature = (request, codes, other, rows, codec, progress))]
pub fn evaluate<'py>(
    py: Python<'py>,
    request: &str,
    codes: PyReadonlyArray2<'py, u32>,
    other: Option<PyReadonlyArray2<'py, u32>>,
    rows: Option<&Rows>,
    codec: Option<&Codec>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let wrong = |e: serde_json::Error| Error::config("settings", e.to_string());
    let request: Request = serde_json::from_str(request).map_err(wrong).or_raise(py)?;
    let codes = values::read_codes(&codes)?.or_raise(py)?;
    let other = other.map(|other| values::read_codes(&other)).transpose()?.transpose().or_raise(py)?;
    let (rows, codec) = (rows.map(|rows| rows.0.clone()), codec.map(|codec| codec.inner.clone()));
    let made =
        run(py, progress, move |watch| work(&request, &codes, other.as_ref(), rows.as_ref(), codec.as_ref(), watch))?;
    values::to_python(py, &made)
}

fn work(
    request: &Request,
    codes: &Codes,
    other: Option<&Codes>,
    rows: Option<&Shared>,
    codec: Option<&sememe::Codec>,
    watch: &dyn Observer,
) -> sememe::Result<Value> {
    let labels: Vec<Labels> = request.labels.iter().map(|(name, texts)| Labels::new(name, texts)).collect();
    let sequences = request.histories.as_ref().map(Sequences::from_lists).transpose()?;
    let rows = rows.map(|rows| Stoppable(rows, watch));
    let decode = codec.map(|codec| {
        move |codes: &Codes| {
            sememe::progress::check(watch)?;
            codec.decode(codes)
        }
    });
    let mut options = EvalOptions {
        k: request.neighbours,
        queries: request.queries,
        seed: request.seed,
        shared_codebook: codec.is_some_and(|codec| codec.manifest().shared_codebook),
        ..EvalOptions::default()
    };
    options.co_interaction.k = request.co_neighbours;
    options.co_interaction.min_support = request.min_support;
    options.next_item.decay = request.decay;
    options.next_item.users = request.users;
    let measured = |codes: &Codes, decodes: bool| {
        let subject = Subject {
            rows: rows.as_ref().map(|rows| rows as &dyn RowSource),
            decode: decode.as_ref().filter(|_| decodes).map(|decode| decode as _),
            labels: &labels,
            sequences: sequences.as_ref(),
            ..Subject::new(codes, &request.codebook_sizes)
        };
        judge(&subject, &options)
    };
    let evaluation = measured(codes, true)?;
    let comparison = match other {
        Some(other) => {
            sememe::check_shape("rows", codes.rows(), other.rows(), "against")?;
            let churn = if codes.levels() == other.levels() { Some(measure_churn(codes, other)?) } else { None };
            Some(compare(("codes", &evaluation), ("against", &measured(other, false)?), churn))
        }
        None => None,
    };
    if let Some(path) = &request.report {
        let mut page = ReportInput::new(&request.title, codes, &request.codebook_sizes, &evaluation);
        (page.names, page.comparison) = (&request.names, comparison.as_ref());
        page.training = codec.map(|codec| &codec.manifest().training);
        sememe::io::write_bytes_atomic(path, render_html(&page)?.as_bytes())?;
    }
    let mut text = render_text(&evaluation);
    if let Some(comparison) = &comparison {
        text.push_str(&format!("\n{}", render_comparison(comparison)));
    }
    let noted: Vec<String> = advice(&evaluation).iter().map(ToString::to_string).collect();
    Ok(json!({"measures": evaluation, "text": text, "advice": noted, "comparison": comparison}))
}
