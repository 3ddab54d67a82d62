//! Turns the trainer into bytes and back, and into a fitted model.

use super::config::RqVae;
use super::origin::TrainingOrigin;
use super::trainer::{Progress, RqVaeTrainer, Snapshot};
use crate::compute::Metric;
use crate::compute::reference::ResidualQuantizer;
use crate::data::Matrix;
use crate::digest::PartDigest;
use crate::error::{Error, Result, check_shape};
use crate::fit::preprocess::FittedSteps;
use crate::fit::residual::{Fitted, NetworkSummary, TrainingSummary};
use crate::progress::LevelSummary;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

const KEY: &str = "sememe.training";
/// Version of the checkpoint that this release writes and reads.
const VERSION: u32 = 1;

/// Everything of a checkpoint that is no tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointHeader {
    version: u32,
    config: RqVae,
    progress: Progress,
    origin: Option<TrainingOriginHeader>,
    /// SHA-256 of the tensors.
    hash: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingOriginHeader {
    dims: usize,
    source_rows: u64,
    rows: u64,
    /// As text: JSON numbers lose bits past 2⁵³ in some readers.
    fingerprint: String,
    mean_norm: f32,
    kept_variance: f64,
    variance: f64,
    aligned: Option<usize>,
    warm: Option<Vec<usize>>,
    probes: usize,
}

fn damaged(problem: impl std::fmt::Display) -> Error {
    Error::Data(format!("checkpoint: {problem}"))
}

fn digest(tensors: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = PartDigest::new();
    for (name, bytes) in tensors {
        hash.part(name.as_bytes());
        hash.part(bytes);
    }
    hash.finish()
}

impl RqVaeTrainer {
    /// The whole state; the same state always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Data`] for a training that was made from a codec and has not begun.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if self.start.is_some() {
            return Err(damaged("a training has a state to keep once it has begun"));
        }
        let mut tensors = BTreeMap::new();
        let mut put = |name: String, values: &[f32]| {
            if !values.is_empty() {
                tensors.insert(name, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
            }
        };
        put("parameters".into(), &self.state.params);
        put("first".into(), &self.state.first);
        put("second".into(), &self.state.second);
        put("losses".into(), &self.state.losses);
        put("best".into(), &self.best);
        for (book, (counts, means)) in self.state.ema.iter().enumerate() {
            put(format!("ema.{book}.counts"), counts);
            put(format!("ema.{book}.means"), means);
        }
        for (book, usage) in self.state.usage.iter().enumerate() {
            put(format!("usage.{book}"), usage);
        }
        if let Some(origin) = &self.origin {
            put("preprocess.mean".into(), &origin.learned.mean);
            put("preprocess.components".into(), &origin.learned.components);
            put("preprocess.scales".into(), &origin.learned.scales);
            put("probes".into(), origin.probes.as_slice());
            for (level, book) in origin.warm.iter().flatten().enumerate() {
                put(format!("warm.{level}"), book.as_slice());
            }
        }
        let header = CheckpointHeader {
            version: VERSION,
            config: self.config.clone(),
            progress: self.progress.clone(),
            origin: self.origin.as_ref().map(|o| TrainingOriginHeader {
                dims: o.dims,
                source_rows: o.source_rows,
                rows: o.rows,
                fingerprint: format!("{:016x}", o.fingerprint),
                mean_norm: o.learned.mean_norm,
                kept_variance: o.learned.kept_variance,
                variance: o.variance,
                aligned: o.aligned,
                warm: o.warm.as_ref().map(|books| books.iter().map(Matrix::rows).collect()),
                probes: o.probes.rows(),
            }),
            hash: digest(&tensors),
        };
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, bytes)| {
                let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).map_err(damaged)?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<_>>()?;
        let text = serde_json::to_string(&header).map_err(damaged)?;
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), text)]))).map_err(damaged)
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are not a whole, undamaged checkpoint of this release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(format!("not a checkpoint: {e}")))?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let text = text.ok_or_else(|| damaged(format!("a safetensors file without the key `{KEY}`")))?;
        let header: CheckpointHeader = serde_json::from_str(text).map_err(|e| damaged(format!("bad header: {e}")))?;
        if header.version != VERSION {
            return Err(damaged(format!("version {} is not one this release reads ({VERSION})", header.version)));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(format!("damaged: {e}")))?;
        let mut tensors: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
                return Err(damaged(format!(
                    "expected a run of f32, got {:?} of {:?} in `{name}`",
                    view.dtype(),
                    view.shape()
                )));
            }
            tensors.insert(name, view.data().to_vec());
        }
        let hash = digest(&tensors);
        if hash != header.hash {
            return Err(damaged(format!("damaged: content hash {hash} does not match the recorded {}", header.hash)));
        }
        let mut take = |name: String| -> Vec<f32> {
            let bytes = tensors.remove(&name).unwrap_or_default();
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let origin = header.origin.map(|o| read_origin(o, &mut take)).transpose()?;
        let mut trainer = Self {
            config: header.config,
            start: None,
            origin,
            progress: header.progress,
            state: Snapshot::default(),
            best: take("best".into()),
        };
        trainer.config.validate()?;
        if trainer.origin.is_some() {
            let books = trainer.layout()?.books().len();
            trainer.state = Snapshot {
                params: take("parameters".into()),
                first: take("first".into()),
                second: take("second".into()),
                ema: (0..books).map(|b| (take(format!("ema.{b}.counts")), take(format!("ema.{b}.means")))).collect(),
                usage: (0..books).map(|b| take(format!("usage.{b}"))).collect(),
                losses: take("losses".into()),
            };
            trainer.check_sizes()?;
        }
        Ok(trainer)
    }

    /// Refuses tensors that do not fit the settings.
    fn check_sizes(&self) -> Result<()> {
        let layout = self.layout()?;
        let state = &self.state;
        let terms = layout.sizes.len() + super::session::EXTRA_LOSSES;
        for (name, values) in [("parameters", &state.params), ("first", &state.first), ("second", &state.second)] {
            check_shape("values", layout.len, values.len(), name)?;
        }
        // Only a training that has ended is sure to have a best epoch.
        if self.progress.finished || !self.best.is_empty() {
            check_shape("values", layout.len, self.best.len(), "best")?;
        }
        check_shape("values", terms, state.losses.len(), "losses")?;
        check_shape("values", terms, self.progress.epoch_losses.len(), "epoch_losses")?;
        for (book, (_, k)) in layout.books().into_iter().enumerate() {
            check_shape("values", k + 1, state.ema[book].0.len(), format!("ema.{book}.counts"))?;
            check_shape("values", k * layout.code_dims, state.ema[book].1.len(), format!("ema.{book}.means"))?;
            check_shape("values", k, state.usage[book].len(), format!("usage.{book}"))?;
        }
        Ok(())
    }

    /// The fitted model after the best epoch.
    ///
    /// # Errors
    /// [`Error::Data`] for a training that has not ended.
    pub fn finish(&self) -> Result<Fitted> {
        let (Some(origin), Some(health), true) = (&self.origin, &self.progress.health, self.progress.finished) else {
            return Err(Error::Data(format!(
                "the training stands at epoch {} of {} and has no model yet; go on, or lower `epochs`",
                self.progress.epoch, self.config.epochs
            )));
        };
        let layout = self.layout()?;
        let params = &self.best;
        let e = layout.code_dims;
        let codebooks = layout
            .codebooks
            .iter()
            .zip(&layout.sizes)
            .map(|(at, k)| Matrix::from_vec(*k, e, params[*at..at + k * e].to_vec()))
            .collect::<Result<_>>()?;
        let FittedSteps { mean, components, scales, mean_norm, kept_variance } = origin.learned.clone();
        let quantizer = ResidualQuantizer {
            dims: origin.dims,
            mean,
            components,
            scales,
            normalize_rows: self.config.preprocess.normalize,
            encoder: Some(layout.mlp(&self.config, &layout.encoder, params)?),
            codebooks,
            prices: Vec::new(),
            metric: Metric::SquaredL2,
            normalize_residuals: false,
            product: false,
            decoder: Some(layout.mlp(&self.config, &layout.decoder, params)?),
        };
        let levels = health.levels.iter().map(|l| LevelSummary {
            level: l.level,
            codebook_size: l.codebook_size,
            iterations: 0,
            converged: false,
            inertia: l.squared_l2 * health.rows as f64,
            r2: l.r2.unwrap_or(health.r2),
            utilisation: l.utilisation,
            perplexity: l.perplexity,
            reseeded: 0,
            balance: None,
            seconds: 0.0,
        });
        let summary = TrainingSummary {
            rows: origin.rows,
            source_rows: origin.source_rows,
            total_variance: origin.variance,
            kept_variance,
            levels: levels.collect(),
            network: Some(NetworkSummary {
                epochs: self.progress.epoch,
                steps: self.progress.steps,
                best_epoch: self.best_epoch().unwrap_or(0),
                parameters: layout.len as u64,
            }),
            ..TrainingSummary::default()
        };
        Ok(Fitted {
            quantizer,
            mean_norm,
            residual_norms: Vec::new(),
            beam: 1,
            shared_codebook: self.config.shared_codebook && layout.sizes.len() > 1,
            probes: origin.probes.clone(),
            summary,
        })
    }
}

fn read_origin(o: TrainingOriginHeader, take: &mut impl FnMut(String) -> Vec<f32>) -> Result<TrainingOrigin> {
    let fingerprint = u64::from_str_radix(&o.fingerprint, 16).map_err(|e| damaged(format!("fingerprint: {e}")))?;
    if o.dims == 0 {
        return Err(damaged("rows of 0 values"));
    }
    let learned = FittedSteps {
        mean: take("preprocess.mean".into()),
        components: take("preprocess.components".into()),
        scales: take("preprocess.scales".into()),
        mean_norm: o.mean_norm,
        kept_variance: o.kept_variance,
    };
    if !learned.mean.is_empty() {
        check_shape("d", o.dims, learned.mean.len(), "preprocess.mean")?;
    }
    let inner = learned.components.len() / o.dims;
    check_shape("values", inner * o.dims, learned.components.len(), "preprocess.components")?;
    let inner = if inner == 0 { o.dims } else { inner };
    let book = |(level, k): (usize, &usize), take: &mut dyn FnMut(String) -> Vec<f32>| {
        Matrix::from_vec(*k, inner, take(format!("warm.{level}")))
    };
    let warm = o
        .warm
        .as_ref()
        .map(|sizes| sizes.iter().enumerate().map(|s| book(s, take)).collect::<Result<Vec<_>>>())
        .transpose()?;
    Ok(TrainingOrigin {
        dims: o.dims,
        source_rows: o.source_rows,
        rows: o.rows,
        fingerprint,
        learned,
        warm,
        variance: o.variance,
        aligned: o.aligned,
        probes: Matrix::from_vec(o.probes, o.dims, take("probes".into()))?,
    })
}
