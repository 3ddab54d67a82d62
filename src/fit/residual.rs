//! RQ-KMeans: k-means on the rows, then on what is left of them, level by level.

use super::balance::Balance;
use super::init::{Init, sample_size};
use super::kmeans::EmptyPolicy;
use super::preprocess::{self, FittedSteps, Preprocess, RawRows};
use super::range;
use super::refine::{self, Refine};
use super::training_rows::{TrainingRows, refuse_zero_rows};
use crate::compute::moments::Moments;
use crate::compute::reference::ResidualQuantizer;
use crate::compute::{Backend, Device, Metric, on_device};
use crate::data::{Codes, Matrix, RowSource};
use crate::error::{Error, Result, check_shape};
use crate::progress::{Event, LevelSummary, Observer};
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};

/// Settings of RQ-KMeans.
///
/// ```
/// use sememe::{Codec, Device, Matrix, RqKMeans};
/// let rows = Matrix::from_vec(6, 2, vec![0., 0., 0., 1., 5., 5., 5., 6., 9., 0., 9., 1.])?;
/// let config = RqKMeans { codebook_sizes: vec![3, 2], ..RqKMeans::default() };
/// let codec = Codec::train(&rows, &config, &Device::cpu(), &())?;
/// assert_eq!(codec.encode(&rows)?.levels(), 2);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RqKMeans {
    /// Codewords of each level, coarse to fine; its length is the number of levels.
    pub codebook_sizes: Vec<usize>,
    /// Lloyd iterations a level, at most.
    pub iterations: usize,
    /// Stop a level once an iteration lowers the objective by no more than this share of it; 0 never stops early.
    pub tolerance: f64,
    /// Starts a level, the best of which counts.
    pub starts: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// How rows are compared with codewords.
    pub metric: Metric,
    /// How the first codewords are chosen.
    pub init: Init,
    /// What happens to codewords that run empty.
    pub empty: EmptyPolicy,
    /// Between iterations, move codewords that hardly matter to where the error is.
    pub exchange: bool,
    /// Even out the loads of codewords, at all or some levels; the codec keeps the prices that do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// What happens to rows before the first level.
    pub preprocess: Preprocess,
    /// Divide every level's input by its L2 norm (GRID). Decoding multiplies by the training rows' mean norm of that level.
    pub normalize_residuals: bool,
    /// Joint refinement of all codebooks after the levels are trained.
    pub refine: Option<Refine>,
    /// Train on a random sample of at most this many rows. The sample's size is reported; nothing is left out unasked.
    pub max_training_rows: Option<usize>,
}

impl Default for RqKMeans {
    fn default() -> Self {
        Self {
            codebook_sizes: vec![256; 3],
            iterations: 25,
            tolerance: 1e-5,
            starts: 1,
            seed: 0,
            metric: Metric::SquaredL2,
            init: Init::KMeansPlusPlus,
            empty: EmptyPolicy::Farthest,
            exchange: true,
            balance: None,
            preprocess: Preprocess::default(),
            normalize_residuals: false,
            refine: None,
            max_training_rows: None,
        }
    }
}

/// What training did, kept in the codec's manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingSummary {
    /// Rows trained on.
    pub rows: u64,
    /// Rows of the source; more than `rows` if a sample was asked for.
    pub source_rows: u64,
    /// Total squared L2 of the preprocessed training rows to their mean.
    pub total_variance: f64,
    /// Share of the variance that PCA kept; 1 without PCA.
    pub kept_variance: f64,
    /// One entry a level, as trained greedily.
    pub levels: Vec<LevelSummary>,
    /// R² on the training rows after each refinement round; the first entry is before any.
    pub refined_r2: Vec<f64>,
    /// Of optimised product quantisation: R² on the training rows by round, before the rotation is fitted again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rotated_r2: Vec<f64>,
    /// Of networks: how long they trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSummary>,
}

/// How long the networks of a codec trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSummary {
    /// Epochs that were run.
    pub epochs: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Epoch whose parameters were kept, counted from 1.
    pub best_epoch: u64,
    /// Trained numbers: weights, biases, gains and codewords, a shared codebook once.
    pub parameters: u64,
}

/// A fitted model, not yet a codec. The default is none: it has no levels.
#[derive(Clone, Debug, Default)]
pub struct Fitted {
    /// Preprocessing and codebooks.
    pub quantizer: ResidualQuantizer,
    /// Mean L2 norm of the preprocessed rows before `normalize`; decoding multiplies by it.
    pub mean_norm: f32,
    /// Mean L2 norm of every level's input under `normalize_residuals`, else empty.
    pub residual_norms: Vec<f32>,
    /// Prefixes a row that encoding keeps; 1 is greedy.
    pub beam: usize,
    /// Whether every level's codebook is the same one; a file keeps it once.
    pub shared_codebook: bool,
    /// With an encoder, 1 to 64 typical input rows `[m, d]`: how far a device's encoder is from the reference is measured on them,
    /// on every device anew. Empty without an encoder.
    pub probes: Matrix,
    /// What training did.
    pub summary: TrainingSummary,
}

impl RqKMeans {
    /// Refuses settings that cannot be used, before any data is read.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name and the way out.
    pub fn validate(&self) -> Result<()> {
        if self.codebook_sizes.is_empty() || self.codebook_sizes.len() > 64 {
            let problem = format!("expected 1 to 64 levels, got {}", self.codebook_sizes.len());
            return Err(Error::config("codebook_sizes", problem));
        }
        for (level, size) in self.codebook_sizes.iter().enumerate() {
            if *size == 0 || *size > 1 << 24 {
                let problem = format!("expected 1 to 16777216 codewords, got {size}");
                return Err(Error::config(format!("codebook_sizes.{level}"), problem));
            }
        }
        if !(self.tolerance >= 0.0 && self.tolerance < 1.0) {
            return Err(Error::config("tolerance", format!("expected a share in [0, 1), got {}", self.tolerance)));
        }
        if self.starts == 0 {
            return Err(Error::config("starts", "expected at least 1, got 0"));
        }
        if self.max_training_rows == Some(0) {
            return Err(Error::config("max_training_rows", "expected at least 1, got 0"));
        }
        self.preprocess.validate()?;
        if let Some(balance) = &self.balance {
            balance.validate(&self.codebook_sizes)?;
            if self.refine.is_some() {
                let problem = "refinement moves codewords and codes of all levels together and would undo the balance; leave one of \
                               them out";
                return Err(Error::config("balance", problem));
            }
        }
        if let Some(refine) = &self.refine {
            refine.validate(&self.codebook_sizes)?;
            if self.metric == Metric::Cosine || self.normalize_residuals {
                let problem = "refinement minimises squared L2 over all levels at once, and these settings ask for another measure";
                let aim = if self.metric == Metric::Cosine { "metric" } else { "normalize_residuals" };
                return Err(Error::config("refine", problem).mend([Remedy::omit("refine"), Remedy::omit(aim)]));
            }
        }
        Ok(())
    }

    /// Fits the model to a source's rows on a device.
    ///
    /// Time O(levels · iterations · n·k·d); memory: the training rows once, and a second time while PCA runs.
    /// Deterministic in the seed on one device, at any number of threads.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Data`] for too few (distinct) rows or zero rows under cosine; [`Error::NonFinite`];
    /// device errors; [`Error::Interrupted`].
    pub fn fit(&self, source: &dyn RowSource, device: &Device, observer: &dyn Observer) -> Result<Fitted> {
        self.validate()?;
        Ok(self.fit_rows(source, None, false, device, observer)?.0)
    }

    /// As [`fit`](Self::fit), with the codes `[n, levels]` that training gave its rows: under a [capacity](Balance::capacity), those
    /// that keep the bounds exactly. Without refinement and without a sample, they are in the order of the source.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_assigned(
        &self,
        source: &dyn RowSource,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<(Fitted, Codes)> {
        self.validate()?;
        self.fit_rows(source, None, true, device, observer)
    }

    /// Fits the model on from another one, for a catalogue that has grown: rows go through the preprocessing of `start`, and every
    /// level's k-means begins with its codewords, so that most rows keep their codes. `init` and `preprocess` are not looked at;
    /// `mean_norm` is that of the codec. Without `exchange`, codewords stay near where they were.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Codec`] for a start with networks; [`Error::Config`] for more than one start, and where
    /// codebook sizes, metric or `normalize_residuals` are not those of `start`; [`Error::Shape`] for rows of other dimensions.
    pub fn fit_from(
        &self,
        start: &ResidualQuantizer,
        mean_norm: f32,
        source: &dyn RowSource,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Fitted> {
        self.validate()?;
        if start.encoder.is_some() || start.decoder.is_some() {
            return Err(Error::Codec("a start for RQ-KMeans is a codec without networks".into()));
        }
        if start.product {
            let problem = "a start for RQ-KMeans is a codec of RQ-KMeans, this one is of product quantisation";
            return Err(Error::Codec(problem.into()));
        }
        check_shape("d", start.dims, source.dims(), source.name())?;
        let differs = |field: &str, want: String, got: String| {
            Err(Error::config(field, format!("expected {want} as in the codec to start from, got {got}")))
        };
        if self.codebook_sizes != start.codebook_sizes() {
            let (want, got) = (start.codebook_sizes(), &self.codebook_sizes);
            return differs("codebook_sizes", format!("{want:?}"), format!("{got:?}"));
        }
        if self.metric != start.metric {
            return differs("metric", format!("{:?}", start.metric), format!("{:?}", self.metric));
        }
        if self.normalize_residuals != start.normalize_residuals {
            let [want, got] = [start.normalize_residuals, self.normalize_residuals].map(|v| v.to_string());
            return differs("normalize_residuals", want, got);
        }
        if self.starts != 1 {
            return Err(Error::config("starts", format!("expected 1, as all would begin alike, got {}", self.starts)));
        }
        Ok(self.fit_rows(source, Some((start, mean_norm)), false, device, observer)?.0)
    }

    fn fit_rows(
        &self,
        source: &dyn RowSource,
        start: Option<(&ResidualQuantizer, f32)>,
        keep: bool,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<(Fitted, Codes)> {
        let rows = self.choose_rows(source, start.is_none(), observer)?;
        on_device!(device, backend => fit_on(backend, self, &rows, start, keep, observer))
    }
}

impl RqKMeans {
    /// The rows to train on; `chosen` says whether k-means chooses its first codewords among them.
    pub(super) fn choose_rows<'a>(
        &self,
        source: &'a dyn RowSource,
        chosen: bool,
        observer: &dyn Observer,
    ) -> Result<TrainingRows<'a>> {
        let most = self.codebook_sizes.iter().copied().max().unwrap_or(0);
        let rows = TrainingRows::choose(source, most, self.max_training_rows, self.seed, observer)?;
        let used = rows.len();
        if let Some(balance) = &self.balance {
            // Before any row is read.
            let mut levels = self.codebook_sizes.iter().enumerate().filter(|(level, _)| balance.applies(*level));
            levels.try_for_each(|(_, k)| balance.bounds(used, *k).map(|_| ()))?;
        }
        if chosen && self.init == Init::KMeansPlusPlus && sample_size(used, most) < used {
            observer.event(Event::Note(&format!(
                "k-means++ chooses the first codewords from {} of the {used} training rows; all rows train",
                sample_size(used, most)
            )));
        }
        Ok(rows)
    }
}

fn fit_on<B: Backend>(
    backend: &B,
    config: &RqKMeans,
    input: &TrainingRows<'_>,
    start: Option<(&ResidualQuantizer, f32)>,
    keep: bool,
    observer: &dyn Observer,
) -> Result<(Fitted, Codes)> {
    let (rows, largest) = input.upload(backend, observer)?;
    let normalize = start.map_or(config.preprocess.normalize, |(quantizer, _)| quantizer.normalize_rows);
    let place = input.source().name();
    let (mut rows, learned) = match start {
        None => {
            // Directions depend on the origin, squared L2 does not.
            let free_origin = config.metric == Metric::SquaredL2 && !config.normalize_residuals && !normalize;
            let raw = RawRows { rows, largest, place: &place, free_origin };
            preprocess::learn(backend, raw, &config.preprocess, observer)?
        }
        Some((quantizer, mean_norm)) => {
            range::check_quantizer_fits(largest, quantizer, &place)?;
            let learned = FittedSteps::of(quantizer, mean_norm);
            (preprocess::apply(backend, rows, &learned, normalize)?, learned)
        }
    };
    if config.metric == Metric::Cosine {
        refuse_zero_rows(backend, &rows, "the training rows")?;
    }
    let (n, p) = backend.shape(&rows);
    let total = Moments::of(backend, &rows)?.deviation;
    let mut summary = TrainingSummary {
        rows: n as u64,
        source_rows: input.source().rows() as u64,
        total_variance: total,
        kept_variance: learned.kept_variance,
        ..TrainingSummary::default()
    };
    let levels = config.codebook_sizes.len();
    let mut books: Vec<Matrix> = Vec::with_capacity(levels);
    let mut prices: Vec<Vec<f32>> = Vec::with_capacity(levels);
    let mut codes = Codes::zeros(if keep { n } else { 0 }, levels);
    let mut residual_norms = Vec::new();
    // Under residual normalisation: what each row's residual was divided by so far, to report errors in the rows' own unit.
    let mut scale: Vec<f64> = Vec::new();
    for (level, k) in config.codebook_sizes.iter().copied().enumerate() {
        if config.normalize_residuals {
            let norms = backend.normalize(&mut rows)?;
            residual_norms.push((norms.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64) as f32);
            scale.resize(n, 1.0);
            scale.iter_mut().zip(&norms).for_each(|(s, v)| *s *= f64::from(*v));
        }
        let first = start.map(|(quantizer, _)| quantizer.codebooks[level].as_slice().to_vec());
        let fitted = config.fit_level(backend, &rows, level, first, observer)?;
        let outcome = &fitted.outcome;
        if keep {
            let labels = backend.read_partition(&outcome.partition)?.labels;
            labels.iter().enumerate().for_each(|(i, label)| codes.as_mut_slice()[i * levels + level] = *label);
        }
        backend.residual(&mut rows, &outcome.codebook, &outcome.partition)?;
        let inertia = squared_error(backend, &rows, &scale)?;
        let level_summary = fitted.summary(level, inertia, total);
        observer.event(Event::Level(&level_summary));
        summary.levels.push(level_summary);
        books.push(Matrix::from_vec(k, p, backend.read_codebook(&outcome.codebook)?)?);
        prices.push(fitted.prices);
    }
    let FittedSteps { mean, components, scales, mean_norm, .. } = learned.clone();
    let mut quantizer = ResidualQuantizer {
        dims: input.source().dims(),
        mean,
        components,
        scales,
        normalize_rows: normalize,
        codebooks: books,
        prices: if prices.iter().any(|p| !p.is_empty()) { prices } else { Vec::new() },
        metric: config.metric,
        normalize_residuals: config.normalize_residuals,
        ..ResidualQuantizer::default()
    };
    let mut beam = 1;
    if let Some(settings) = &config.refine {
        // The residuals took the rows' place; the rows are read and preprocessed once more.
        drop(rows);
        let rows = preprocess::apply(backend, input.upload(backend, observer)?.0, &learned, quantizer.normalize_rows)?;
        summary.refined_r2 = refine::refine(backend, &rows, settings, &mut quantizer, total, observer)?;
        beam = settings.beam;
    }
    let (shared_codebook, probes) = (false, Matrix::default());
    Ok((Fitted { quantizer, mean_norm, residual_norms, beam, shared_codebook, probes, summary }, codes))
}

/// Sum of the residuals' squared norms, each times the square of what its row was divided by (`scale` empty: nothing).
pub(super) fn squared_error<B: Backend>(backend: &B, residuals: &B::Rows, scale: &[f64]) -> Result<f64> {
    if scale.is_empty() {
        return backend.sum_squares(residuals);
    }
    Ok(backend.row_norms(residuals)?.iter().zip(scale).map(|(v, s)| f64::from(*v) * s * s).sum())
}

/// exp of the entropy of the loads, natural logarithms.
#[must_use]
pub fn perplexity(counts: &[u32]) -> f64 {
    perplexity_of(counts.iter().map(|count| f64::from(*count)))
}

/// [`perplexity`] of loads of any size.
pub(crate) fn perplexity_of(loads: impl Iterator<Item = f64> + Clone) -> f64 {
    let n: f64 = loads.clone().sum();
    let entropy: f64 = loads.filter(|load| *load > 0.0).map(|load| load / n).map(|p| -p * libm::log(p)).sum();
    libm::exp(entropy)
}
