//! Phase embed: vectors of all items, in their order.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, Phase, PhaseOutput, items};
use sememe::data::{RowSource, first_non_finite};
use sememe::io::{OpenOptions, RowsWriter, open, read_keys, remove_if_there};
use sememe::progress::{Event, check};
use sememe::{Error, Result};
use sememe_text::prep::{OnDuplicate, source_keys};

/// `[items, dims]`, in the order of prep's items.
pub(super) const ROWS: &str = "embed/rows.npy";

/// Rows that are read at a time where they lie in order.
const PIECE_VALUES: usize = 1 << 20;

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let embed = &context.written.embed;
    // A model is known by what is in its folder, not by where that is.
    #[cfg(feature = "embed")]
    if context.config.embed.model_folder.is_some() {
        use sememe_text::embed::Embedder as _;
        let model: Value = serde_json::from_str(&local(context)?.settings()).unwrap_or_default();
        return Ok(
            json!({ "name": embed.model, "model": model, "prefix": embed.prefix, "normalize": embed.normalize }),
        );
    }
    // Without what only decides how fast it goes.
    Ok(json!({
        "vectors": embed.vectors,
        "array": embed.array,
        "keys": embed.keys,
        "key": embed.key,
        "url": embed.url,
        "model": embed.model,
        "dimensions": embed.dimensions,
        "model_folder": embed.model_folder,
        "prefix": embed.prefix,
        "normalize": embed.normalize,
    }))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    let embed = &context.config.embed;
    let mut out = vec![("the items", context.at(super::prep::ITEMS))];
    if let Some(vectors) = &embed.vectors {
        out.push(("the vectors", vectors.clone()));
        out.push(("the keys of the vectors", embed.keys.clone().unwrap_or_else(|| context.config.prep.source.clone())));
    }
    out
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    match &context.config.embed.vectors {
        Some(vectors) => gather(context, vectors),
        None => ask(context),
    }
}

/// Vectors that are there, put in the order of the items.
fn gather(context: &Context<'_>, vectors: &PathBuf) -> Result<PhaseOutput> {
    let embed = &context.config.embed;
    let options = OpenOptions { array: embed.array.clone(), ..OpenOptions::default() };
    let source = open(vectors, &options)?;
    let (keys, place) = match &embed.keys {
        Some(path) => (read_keys(path, &embed.key)?, path.clone()),
        None => (source_keys(&context.config.prep)?, context.config.prep.source.clone()),
    };
    if keys.len() != source.rows() {
        return Err(Error::Data(format!(
            "`{}` has {} rows, but `{}` {} items; `embed.keys` names the file whose items are the rows, in their order",
            vectors.display(),
            source.rows(),
            place.display(),
            keys.len()
        )));
    }
    let on_duplicate = context.config.prep.on_duplicate;
    let mut row_of: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
    for (row, key) in keys.iter().enumerate() {
        let before = match (on_duplicate, row_of.get(key.as_str())) {
            (OnDuplicate::First, Some(_)) => continue,
            (OnDuplicate::Last, Some(_)) => None,
            (_, before) => before.copied(),
        };
        row_of.insert(key, row);
        if let Some(before) = before {
            return Err(Error::Data(format!(
                "rows {before} and {row} of `{}` have the same key `{key}`",
                place.display()
            )));
        }
    }
    let items = items::read(context)?;
    let missing: Vec<&String> = items.keys.iter().filter(|key| !row_of.contains_key(key.as_str())).collect();
    if let Some(first) = missing.first() {
        return Err(Error::Data(format!(
            "{} of {} items have no row in `{}`, the first is `{first}`; embed them, or leave them out of the source",
            missing.len(),
            items.keys.len(),
            vectors.display()
        )));
    }
    let order: Vec<usize> = items.keys.iter().filter_map(|key| row_of.get(key.as_str()).copied()).collect();
    context.phase_folder(Phase::Embed)?;
    let dims = source.dims();
    let zero = copy(context, source.as_ref(), &order)?;
    forget_failed(context)?;
    let unused = keys.len() - order.len();
    let mut summary = format!("{} vectors of {dims} values", order.len());
    if unused > 0 {
        summary.push_str(&format!(", {unused} rows of other items left out"));
    }
    if zero > 0 {
        summary.push_str(&format!(", {zero} of them all zero"));
    }
    let facts = json!({ "items": order.len(), "dims": dims, "asked": 0, "unused": unused, "zero_vectors": zero });
    Ok(PhaseOutput { outputs: vec![ROWS.into()], facts, summary })
}

/// Writes rows of a source in another order, normalised if that is asked for; returns how many of them are all zero.
fn copy(context: &Context<'_>, source: &dyn RowSource, order: &[usize]) -> Result<usize> {
    let dims = source.dims();
    let normalize = context.config.embed.normalize;
    context.observer.event(Event::Phase { name: "embed", total: Some(order.len() as u64), unit: "vectors" });
    let mut writer = RowsWriter::create(context.at(ROWS), order.len(), dims)?;
    let mut zero = 0;
    let piece = (PIECE_VALUES / dims.max(1)).max(1);
    let mut values = vec![0.0f32; piece.min(order.len().max(1)) * dims];
    for (part, rows) in order.chunks(piece).enumerate() {
        check(context.observer)?;
        let values = &mut values[..rows.len() * dims];
        // Runs of rows that follow each other are one read.
        let mut at = 0;
        while at < rows.len() {
            let run = rows[at..].windows(2).take_while(|pair| pair[1] == pair[0] + 1).count() + 1;
            source.read_rows(rows[at], &mut values[at * dims..(at + run) * dims])?;
            at += run;
        }
        if let Some((first, count)) = first_non_finite(values, dims) {
            return Err(Error::NonFinite {
                first: rows[first] as u64,
                count: count as u64,
                rows: rows.len() as u64,
                place: source.name(),
            });
        }
        if normalize {
            let mut norms = vec![0.0; rows.len()];
            sememe::unit_rows(values, dims, &mut norms);
            if let Some(zero) = norms.iter().position(|norm| *norm <= 0.0) {
                let row = rows[zero];
                return Err(Error::Data(format!(
                    "row {row} of `{}` is all zero, which has no direction",
                    source.name()
                )));
            }
        }
        zero += values.chunks(dims.max(1)).filter(|row| row.iter().all(|value| *value == 0.0)).count();
        writer.write(values)?;
        context.observer.event(Event::Advance { done: ((part * piece) + rows.len()) as u64 });
    }
    writer.finish()?;
    Ok(zero)
}

/// Every item has a vector now.
fn forget_failed(context: &Context<'_>) -> Result<()> {
    remove_if_there(context.at(items::FAILED))
}

/// The model of a folder, as the configuration has it; opened once a run, as that hashes all its weights.
#[cfg(feature = "embed")]
fn local<'a>(context: &'a Context<'_>) -> Result<&'a sememe_text::embed::LocalEmbedder> {
    if let Some(open) = context.local.get() {
        return Ok(open);
    }
    let embed = &context.config.embed;
    let model = sememe_text::embed::LocalModel {
        folder: embed.model_folder.clone().unwrap_or_default(),
        name: embed.model.clone(),
        pooling: embed.pooling,
        max_tokens: embed.max_tokens,
        dimensions: embed.dimensions,
        prompt: embed.prompt.clone(),
    };
    let open = model.open().map_err(in_section)?;
    Ok(context.local.get_or_init(|| open))
}

/// A setting's error by its name in the file.
#[cfg(feature = "embed")]
fn in_section(e: Error) -> Error {
    e.map_root(|root| match root {
        Error::Config { field, problem } => {
            let name = match field.as_str() {
                "folder" => "model_folder",
                "name" => "model",
                other => other,
            };
            Error::config(format!("embed.{name}"), problem)
        }
        other => other,
    })
}

/// An endpoint, with the key that the environment has.
#[cfg(feature = "embed-http")]
fn endpoint(context: &Context<'_>, url: &str, model: &str) -> Result<sememe_text::embed::EndpointEmbedder> {
    use sememe_text::embed::{ApiKey, Endpoint};

    let settings = &context.config.embed;
    let mut endpoint = Endpoint::new(url, model);
    if let Some(name) = &settings.api_key_env {
        let problem = || {
            let problem = format!("neither the environment nor `env_file` has `{name}`; set it to the endpoint's key");
            Error::config("embed.api_key_env", problem)
        };
        let key =
            context.variables.get(name).map(|key| key.trim()).filter(|key| !key.is_empty()).ok_or_else(problem)?;
        endpoint.api_key = Some(ApiKey::new(key)?);
    }
    endpoint.dimensions = settings.dimensions;
    endpoint.timeout = std::time::Duration::from_secs_f64(settings.timeout_seconds);
    endpoint.retries = settings.retries;
    endpoint.connect()
}

/// Vectors from a model: asked for where a text is new or changed, and kept by content.
#[cfg(any(feature = "embed", feature = "embed-http"))]
fn ask(context: &Context<'_>) -> Result<PhaseOutput> {
    use sememe_text::embed::{EmbedOptions, Embedder, Texts, VectorTable, embed, export};

    let settings = &context.config.embed;
    #[cfg(feature = "embed-http")]
    let at_endpoint;
    let embedder: &dyn Embedder = match (&settings.model_folder, &settings.url, &settings.model) {
        #[cfg(feature = "embed")]
        (Some(_), _, _) => local(context)?,
        #[cfg(feature = "embed-http")]
        (None, Some(url), Some(model)) => {
            at_endpoint = endpoint(context, url, model)?;
            &at_endpoint
        }
        _ => return Err(no_model()),
    };
    let items = items::read(context)?;
    let texts = Texts::new(items.keys, items.texts)?;
    context.phase_folder(Phase::Embed)?;
    let table = VectorTable::new(context.at("embed/vectors.sqlite"));
    let options = EmbedOptions {
        batch_items: settings.batch_items,
        concurrency: settings.concurrency,
        normalize: settings.normalize,
        prefix: settings.prefix.clone(),
        skip_failed: settings.skip_failed,
        ..EmbedOptions::default()
    };
    let report = embed(&texts, embedder, &table, &options, context.observer)?;
    let failed: Vec<&str> = report.failed.iter().map(|failed| failed.key.as_str()).collect();
    let texts = texts.without(&failed);
    let exported = export(&texts, &table, &context.at(ROWS), None)?;
    let mut outputs = vec![PathBuf::from(ROWS)];
    let mut without = String::new();
    if let Some(first) = report.failed.first() {
        without = format!("; {} items have no vector, the first is `{}`: {}", failed.len(), first.key, first.problem);
        let line = |failed| serde_json::to_string(failed).map(|line| format!("{line}\n"));
        let lines: String =
            report.failed.iter().map(line).collect::<Result<_, _>>().map_err(|e| Error::Data(e.to_string()))?;
        sememe::io::write_bytes_atomic(context.at(items::FAILED), lines.as_bytes())?;
        outputs.push(items::FAILED.into());
    } else {
        forget_failed(context)?;
    }
    let made = report.items - failed.len();
    let zero = match exported.zero_vectors {
        0 => String::new(),
        zero => format!("; {zero} of {made} vectors are all zero"),
    };
    let note = embedder.note().map(|note| format!("; {note}")).unwrap_or_default();
    let summary = format!(
        "{made} vectors of {} values: {} texts asked for in {} calls, {} up to date{note}{zero}{without}",
        report.dims, report.asked, report.calls, report.kept
    );
    let facts = serde_json::to_value(&report).map_err(|e| Error::Data(e.to_string()))?;
    Ok(PhaseOutput { outputs, facts, summary })
}

#[cfg(not(any(feature = "embed", feature = "embed-http")))]
fn ask(_: &Context<'_>) -> Result<PhaseOutput> {
    Err(no_model())
}

/// A way that this build does not have.
fn no_model() -> Error {
    Error::config("embed.url", "this build asks no such model; vectors that are there need none")
        .mend([sememe::Remedy::build("embed-http"), sememe::Remedy::build("embed")])
}
