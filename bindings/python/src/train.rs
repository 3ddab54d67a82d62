//! Training: one request in JSON, whose settings are those of the method that it names.

use std::path::PathBuf;

use numpy::PyArray2;
use pyo3::prelude::*;
use sememe::fit::rqvae::{RqVae, RqVaeTrainer};
use sememe::fit::{MiniBatchRqKMeans, MiniBatchTrainer, ProductQuantization};
use sememe::{BadRows, Codec as Inner, Codes, Device, Error, Metric, Remedy, RowSource, RqKMeans, Screened, TrainedBy};
use sememe_run::train::{Resume, RqVaeRun};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::codec::Codec;
use crate::errors::OrRaise as _;
use crate::rows::{Rows, Shared};
use crate::work::{Watch, run};
use crate::{device, values};

/// A training state is codebooks and a buffer of rows as text; this is far more than either.
const MAX_STATE_BYTES: u64 = 8 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    Kmeans,
    Minibatch,
    Rqvae,
    Product,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: Method,
    /// What is given of the method's settings, by the library's names.
    settings: Value,
    /// The published system whose settings an RQ-VAE starts from.
    network: Option<String>,
    device: String,
    drop_bad: bool,
    assigned: bool,
    /// Folder of an RQ-VAE's checkpoints and curves.
    folder: Option<PathBuf>,
    /// File of a mini-batch training's state.
    checkpoint: Option<PathBuf>,
    /// `last`, `best` or a file.
    resume: Option<String>,
}

/// What comes of a training.
struct Trained {
    codec: Inner,
    codes: Option<Codes>,
    dropped: Vec<u64>,
}

/// Puts what is given over the defaults: objects are merged, everything else replaces.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

fn settings<T: DeserializeOwned + serde::Serialize + Default>(given: &Value) -> sememe::Result<T> {
    let wrong = |e: serde_json::Error| Error::config("settings", e.to_string());
    let mut all = serde_json::to_value(T::default()).map_err(wrong)?;
    merge(&mut all, given);
    serde_json::from_value(all).map_err(wrong)
}

/// A method's settings from what is given of them as JSON.
pub fn parsed<T: DeserializeOwned + serde::Serialize + Default>(text: &str) -> sememe::Result<T> {
    settings(&serde_json::from_str(text).map_err(|e| Error::config("settings", e.to_string()))?)
}

fn given(settings: &Value, key: &str) -> bool {
    settings.get(key).is_some()
}

/// The settings that a method has if none are given.
#[pyfunction]
pub fn default_settings<'py>(py: Python<'py>, method: &str, network: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    match method {
        "kmeans" => values::described(py, &RqKMeans::default()),
        "minibatch" => values::described(py, &MiniBatchRqKMeans::default()),
        "product" => values::described(py, &ProductQuantization::default()),
        _ => values::described(py, &RqVae::preset(network.unwrap_or("sememe")).or_raise(py)?),
    }
}

/// A codec, the codes of its rows, and rows that were left out.
type Answer<'py> = (Codec, Option<Bound<'py, PyArray2<u32>>>, Vec<u64>);

/// Trains a codec. Returns it with the codes of the rows, if they were asked for, and the rows that were left out.
#[pyfunction]
#[pyo3(signature = (request, rows, aligned, start, progress))]
pub fn train<'py>(
    py: Python<'py>,
    request: &str,
    rows: &Rows,
    aligned: Option<&Rows>,
    start: Option<&Codec>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Answer<'py>> {
    let wrong = |e: serde_json::Error| Error::config("settings", e.to_string());
    let request: Request = serde_json::from_str(request).map_err(wrong).or_raise(py)?;
    let (rows, aligned) = (rows.0.clone(), aligned.map(|rows| rows.0.clone()));
    let start = start.map(|codec| codec.inner.clone());
    let trained = run(py, progress, move |watch| work(&request, rows, aligned, start.as_ref(), watch))?;
    let Trained { codec, codes, dropped } = trained;
    let codes = codes.map(|codes| values::codes_array(py, codes.rows(), codes.levels(), codes.as_slice().to_vec()));
    Ok((codec.into(), codes.transpose()?, dropped))
}

fn work(
    request: &Request,
    rows: Shared,
    aligned: Option<Shared>,
    start: Option<&Inner>,
    watch: &Watch,
) -> sememe::Result<Trained> {
    let bad = if request.drop_bad { BadRows::Drop } else { BadRows::Refuse };
    let cosine = match start {
        Some(start) if request.method == Method::Kmeans => start.metric() == Metric::Cosine,
        _ => request.settings.get("metric").and_then(Value::as_str) == Some("cosine"),
    };
    if !cosine && !request.drop_bad {
        let (codec, codes) = fit(request, &rows, aligned, start, watch)?;
        return Ok(Trained { codec, codes, dropped: Vec::new() });
    }
    let screened = if cosine { Screened::directions(rows, bad) } else { Screened::new(rows, bad) }?;
    let (codec, codes) = fit(request, &screened, aligned, start, watch)?;
    Ok(Trained { codec, codes, dropped: screened.dropped().to_vec() })
}

fn fit(
    request: &Request,
    rows: &dyn RowSource,
    aligned: Option<Shared>,
    start: Option<&Inner>,
    watch: &Watch,
) -> sememe::Result<(Inner, Option<Codes>)> {
    let used = |most: Option<usize>| rows.rows().min(most.unwrap_or(usize::MAX));
    let open = |most: Option<usize>| device::open(&request.device, used(most));
    match request.method {
        Method::Kmeans => {
            let mut config: RqKMeans = settings(&request.settings)?;
            if let (Some(balance), false) = (&config.balance, given(&request.settings, "iterations")) {
                config.iterations = config.iterations.max(balance.settling_iterations());
            }
            if let Some(start) = start {
                from_codec(request, start, &mut config.codebook_sizes, false)?;
                (config.metric, config.normalize_residuals) = (start.metric(), start.manifest().normalize_residuals);
                // Moving codewords to where the error is would take the codes of many rows along.
                config.exchange = false;
            }
            config.validate()?;
            let device = open(config.max_training_rows)?;
            match (start, request.assigned) {
                (Some(start), _) => Ok((Inner::train_from(start, rows, &config, &device, watch)?, None)),
                (None, false) => Ok((Inner::train(rows, &config, &device, watch)?, None)),
                (None, true) => {
                    Inner::train_assigned(rows, &config, &device, watch).map(|(codec, codes)| (codec, Some(codes)))
                }
            }
        }
        Method::Product => {
            let mut config: ProductQuantization = settings(&request.settings)?;
            if let (Some(balance), false) = (&config.balance, given(&request.settings, "iterations")) {
                config.iterations = config.iterations.max(balance.settling_iterations());
            }
            if let Some(start) = start {
                from_codec(request, start, &mut config.codebook_sizes, true)?;
                config.exchange = false;
            }
            config.validate()?;
            let device = open(config.max_training_rows)?;
            match (start, request.assigned) {
                (Some(start), _) => Ok((Inner::train_product_from(start, rows, &config, &device, watch)?, None)),
                (None, false) => Ok((Inner::train_product(rows, &config, &device, watch)?, None)),
                (None, true) => Inner::train_product_assigned(rows, &config, &device, watch)
                    .map(|(codec, codes)| (codec, Some(codes))),
            }
        }
        Method::Minibatch => Ok((minibatch(request, rows, &open(None)?, watch)?, None)),
        Method::Rqvae => {
            let config =
                RqVae::preset_with(request.network.as_deref().unwrap_or("sememe"), [request.settings.clone()])?;
            config.validate()?;
            let device = open(config.max_training_rows)?;
            let aligned = aligned.as_ref().map(|rows| rows as &dyn RowSource);
            Ok((network(request, config, rows, aligned, start, &device, watch)?, None))
        }
    }
}

/// Refuses a codec to start from that is of another kind, and takes its codebook sizes where none are given.
fn from_codec(request: &Request, start: &Inner, sizes: &mut Vec<usize>, product: bool) -> sememe::Result<()> {
    let manifest = start.manifest();
    if manifest.encoder.is_some() || manifest.decoder.is_some() {
        return Err(Error::config("from", "the codec has networks; k-means starts from a codec of RQ-KMeans"));
    }
    if manifest.product != product {
        let wanted = if product { "`pq` or `opq`" } else { "RQ-KMeans" };
        let problem = format!("the codec is of `{}`, this method starts from a codec of {wanted}", manifest.method);
        return Err(Error::config("from", problem));
    }
    if !given(&request.settings, "codebook_sizes") {
        *sizes = start.codebook_sizes();
    }
    if *sizes != start.codebook_sizes() {
        let problem = format!("the codec to start from has {:?}, got {sizes:?}; leave it out", start.codebook_sizes());
        return Err(Error::config("codebook_sizes", problem));
    }
    Ok(())
}

fn minibatch(request: &Request, rows: &dyn RowSource, device: &Device, watch: &Watch) -> sememe::Result<Inner> {
    let mut config: MiniBatchRqKMeans = settings(&request.settings)?;
    let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
    if !given(&request.settings, "init_rows") {
        // Enough rows a codeword for a start that means something.
        config.init_rows = config.init_rows.max(most.saturating_mul(16));
    }
    config.validate()?;
    let resume = request.resume.is_some();
    let mut trainer = match &request.checkpoint {
        Some(path) if sememe::io::is_there(path)? => {
            if !resume {
                let problem = format!("`{}` exists", path.display());
                let go_on = Remedy::set("resume", "true").to("go on from it");
                return Err(Error::config("checkpoint", problem).mend([go_on]));
            }
            let trainer = MiniBatchTrainer::from_bytes(&sememe::io::read_bytes_capped(path, MAX_STATE_BYTES)?)?;
            if trainer.config() != &config || trainer.dims() != rows.dims() {
                let kept = serde_json::to_string(trainer.config()).unwrap_or_default();
                let problem = format!(
                    "`{}` is of a training with other settings, {kept} on {} dimensions",
                    path.display(),
                    trainer.dims()
                );
                return Err(Error::config("checkpoint", problem));
            }
            trainer
        }
        _ => MiniBatchTrainer::new(config.clone(), rows.dims())?,
    };
    let save = |trainer: &MiniBatchTrainer| match &request.checkpoint {
        Some(path) => sememe::io::write_bytes_atomic(path, &trainer.to_bytes()?),
        None => Ok(()),
    };
    match trainer.fit_source_saving(rows, device, watch, &mut |trainer| save(trainer)) {
        Err(Error::Interrupted(_)) => {
            save(&trainer)?;
            let batches = trainer.steps();
            let stopped = match &request.checkpoint {
                Some(path) => Error::Interrupted(format!(" after {batches} batches; `{}` has them", path.display()))
                    .mend([Remedy::set("resume", "true").to("go on")]),
                None => Error::Interrupted(format!(" after {batches} batches"))
                    .mend([Remedy::give("checkpoint").to("keep them next time")]),
            };
            Err(stopped)
        }
        Err(other) => Err(other),
        Ok(()) => Inner::from_fitted(trainer.finish()?, TrainedBy::MiniBatch(&config)),
    }
}

fn network(
    request: &Request,
    config: RqVae,
    rows: &dyn RowSource,
    aligned: Option<&dyn RowSource>,
    start: Option<&Inner>,
    device: &Device,
    watch: &Watch,
) -> sememe::Result<Inner> {
    if config.alignment.is_some() != aligned.is_some() {
        return Err(Error::config(
            "align",
            match aligned {
                Some(_) => "needs the loss: settings={\"alignment\": {\"weight\": 0.1, \"temperature\": 1.0}}",
                None => "the loss `alignment` needs it: the collaborative embeddings of the same rows",
            },
        ));
    }
    if let Some(folder) = &request.folder {
        let resume = request.resume.as_deref().map(|which| match which {
            "last" => Resume::Last,
            "best" => Resume::Best,
            path => Resume::File(path.into()),
        });
        let last = folder.join(sememe_run::train::LAST);
        if resume.is_none() && sememe::io::is_there(&last)? {
            let problem = format!("`{}` is of an earlier run", last.display());
            let go_on = Remedy::set("resume", "last").to("go on");
            return Err(Error::config("run", problem).mend([go_on, Remedy::give("run").to("train apart from it")]));
        }
        let whole = RqVaeRun { config, folder: folder.clone(), resume, start: start.cloned() };
        return whole.train(rows, aligned, device, watch);
    }
    let mut trainer = match start {
        Some(codec) => RqVaeTrainer::from_quantizer(config, codec.quantizer(), codec.manifest().mean_norm)?,
        None => RqVaeTrainer::new(config)?,
    };
    match trainer.run(rows, aligned, device, watch, &mut ()) {
        Err(Error::Interrupted(_)) => Err(Error::Interrupted(format!(" after {} steps", trainer.steps()))
            .mend([Remedy::give("run").to("keep checkpoints next time")])),
        Err(other) => Err(other),
        Ok(()) => Inner::from_trainer(&trainer),
    }
}
