//! Product quantisation (Jégou, Douze and Schmid, 2011): every level has columns of its own, and k-means on them.

use super::balance::Balance;
use super::init::Init;
use super::kmeans::EmptyPolicy;
use super::preprocess::{self, FittedSteps, Preprocess, RawRows};
use super::range;
use super::residual::{Fitted, RqKMeans, TrainingSummary};
use super::rotation::{self, Rotation};
use super::training_rows::TrainingRows;
use crate::compute::moments::Moments;
use crate::compute::reference::ResidualQuantizer;
use crate::compute::{Backend, Device, Metric, on_device};
use crate::data::{Codes, Matrix, RowSource};
use crate::error::{Error, Result, check_shape};
use crate::progress::{Event, Observer};
use serde::{Deserialize, Serialize};

/// Settings of product quantisation: rows are cut into as many blocks of columns as there are levels, and each level is k-means on one
/// block. With a [`rotation`](Self::rotation) it is optimised product quantisation (OPQ), which learns which directions go together.
///
/// Blocks differ in width by one column at most, the wider ones first. The levels do not depend on each other, so codes have no order
/// and prefixes mean nothing; many short levels describe a row closely. Rows are compared by squared L2; for cosine, give
/// `preprocess.normalize`. Rows that are not normalised are centred: squared L2 is the same from any origin, and decoding fewer codes than
/// levels then leaves the other columns at their mean.
///
/// ```
/// use sememe::fit::ProductQuantization;
/// use sememe::{Codec, Device, Matrix};
/// let rows = Matrix::from_vec(4, 2, vec![0., 5., 0., 9., 3., 5., 3., 9.])?;
/// let config = ProductQuantization { codebook_sizes: vec![2, 2], ..ProductQuantization::default() };
/// let codec = Codec::train_product(&rows, &config, &Device::cpu(), &())?;
/// let codes = codec.encode(&rows)?;
/// assert_eq!((codes.row(0)[0], codes.row(0)[1]), (codes.row(1)[0], codes.row(2)[1]));
/// assert_eq!(codec.decode(&codes)?.as_slice(), rows.as_slice());
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProductQuantization {
    /// Codewords of each level; its length is the number of levels, at most as many as the rows have dimensions.
    pub codebook_sizes: Vec<usize>,
    /// Turn the rows first, as the levels like it best (OPQ).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Lloyd iterations a level, at most.
    pub iterations: usize,
    /// Stop a level once an iteration lowers the objective by no more than this share of it; 0 never stops early.
    pub tolerance: f64,
    /// Starts a level, the best of which counts.
    pub starts: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// How the first codewords are chosen.
    pub init: Init,
    /// What happens to codewords that run empty.
    pub empty: EmptyPolicy,
    /// Between iterations, move codewords that hardly matter to where the error is.
    pub exchange: bool,
    /// Even out the loads of codewords, at all or some levels; the codec keeps the prices that do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// What happens to rows before they are cut.
    pub preprocess: Preprocess,
    /// Train on a random sample of at most this many rows. The sample's size is reported; nothing is left out unasked.
    pub max_training_rows: Option<usize>,
}

impl Default for ProductQuantization {
    fn default() -> Self {
        let RqKMeans { iterations, tolerance, starts, seed, init, empty, exchange, preprocess, .. } =
            RqKMeans::default();
        Self {
            codebook_sizes: vec![256; 8],
            rotation: None,
            iterations,
            tolerance,
            starts,
            seed,
            init,
            empty,
            exchange,
            balance: None,
            preprocess,
            max_training_rows: None,
        }
    }
}

impl ProductQuantization {
    /// The settings of its levels, each of which is k-means.
    #[must_use]
    pub fn levels(&self) -> RqKMeans {
        RqKMeans {
            codebook_sizes: self.codebook_sizes.clone(),
            iterations: self.iterations,
            tolerance: self.tolerance,
            starts: self.starts,
            seed: self.seed,
            metric: Metric::SquaredL2,
            init: self.init,
            empty: self.empty,
            exchange: self.exchange,
            balance: self.balance.clone(),
            preprocess: self.preprocess,
            normalize_residuals: false,
            refine: None,
            max_training_rows: self.max_training_rows,
        }
    }

    /// Refuses settings that cannot be used, before any data is read.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name and the way out.
    pub fn validate(&self) -> Result<()> {
        self.levels().validate()?;
        let Some(rotation) = self.rotation else { return Ok(()) };
        rotation.validate()?;
        if self.preprocess.whiten {
            let problem = "whitening scales every component by itself, and a rotation after it mixes them; leave `whiten` or \
                           `rotation` out";
            return Err(Error::config("preprocess.whiten", problem));
        }
        Ok(())
    }

    /// Refuses more levels than rows of `dims` dimensions have left after preprocessing.
    ///
    /// # Errors
    /// [`Error::Config`] with both numbers.
    pub fn check_dims(&self, dims: usize) -> Result<()> {
        let levels = self.codebook_sizes.len();
        let dims = self.preprocess.pca.map_or(dims, |pca| dims.min(pca.max_dims));
        if levels <= dims {
            return Ok(());
        }
        let problem =
            format!("{levels} levels need a dimension each, and there are {dims}; use {dims} levels or fewer");
        Err(Error::config("codebook_sizes", problem))
    }

    /// Fits the model to a source's rows on a device.
    ///
    /// Time O(iterations·n·k·d), and with a rotation O(rounds·n·(d² + iterations·k·d)) besides; memory: the training rows once, with a
    /// rotation twice, and one level's columns. Deterministic in the seed on one device, at any number of threads.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Data`] for too few (distinct) rows; [`Error::NonFinite`]; device errors; [`Error::Interrupted`].
    pub fn fit(&self, source: &dyn RowSource, device: &Device, observer: &dyn Observer) -> Result<Fitted> {
        self.validate()?;
        Ok(self.fit_rows(source, None, false, device, observer)?.0)
    }

    /// As [`fit`](Self::fit), with the codes `[n, levels]` that training gave its rows: under a [capacity](Balance::capacity), those that
    /// keep the bounds exactly. Without a sample, they are in the order of the source.
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

    /// Fits the model on from another one, for a catalogue that has grown: rows go through the preprocessing and the rotation of `start`,
    /// and every level's k-means begins with its codewords, so that most rows keep their codes. `init`, `preprocess` and `rotation` are not
    /// looked at; `mean_norm` is that of the codec. Without `exchange`, codewords stay near where they were.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Codec`] for a start of another kind; [`Error::Config`] for more than one start, and for codebook
    /// sizes that are not those of `start`; [`Error::Shape`] for rows of other dimensions.
    pub fn fit_from(
        &self,
        start: &ResidualQuantizer,
        mean_norm: f32,
        source: &dyn RowSource,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Fitted> {
        self.validate()?;
        if !start.product {
            return Err(Error::Codec("a start for product quantisation is a codec of product quantisation".into()));
        }
        check_shape("d", start.dims, source.dims(), source.name())?;
        if self.codebook_sizes != start.codebook_sizes() {
            let (want, got) = (start.codebook_sizes(), &self.codebook_sizes);
            let problem = format!("expected {want:?} as in the codec to start from, got {got:?}");
            return Err(Error::config("codebook_sizes", problem));
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
        self.check_dims(source.dims())?;
        let levels = self.levels();
        let rows = levels.choose_rows(source, start.is_none(), observer)?;
        on_device!(device, backend => fit_on(backend, self, &rows, start, keep, observer))
    }
}

/// Columns of each of `levels` blocks of `p`: as even as can be, the wider ones first.
fn widths(p: usize, levels: usize) -> Vec<usize> {
    (0..levels).map(|level| p / levels + usize::from(level < p % levels)).collect()
}

fn fit_on<B: Backend>(
    backend: &B,
    product: &ProductQuantization,
    input: &TrainingRows<'_>,
    start: Option<(&ResidualQuantizer, f32)>,
    keep: bool,
    observer: &dyn Observer,
) -> Result<(Fitted, Codes)> {
    let config = product.levels();
    let (rows, largest) = input.upload(backend, observer)?;
    let place = input.source().name();
    let normalize = start.map_or(config.preprocess.normalize, |(quantizer, _)| quantizer.normalize_rows);
    let (mut rows, mut learned) = match start {
        None => {
            let steps = Preprocess { center: config.preprocess.center || !normalize, ..config.preprocess };
            let raw = RawRows { rows, largest, place: &place, free_origin: false };
            preprocess::learn(backend, raw, &steps, observer)?
        }
        Some((quantizer, mean_norm)) => {
            range::check_quantizer_fits(largest, quantizer, &place)?;
            let learned = FittedSteps::of(quantizer, mean_norm);
            (preprocess::apply(backend, rows, &learned, normalize)?, learned)
        }
    };
    let (n, p) = backend.shape(&rows);
    product.check_dims(p)?;
    let levels = config.codebook_sizes.len();
    let widths = match start {
        Some((quantizer, _)) => quantizer.codebooks.iter().map(Matrix::dims).collect(),
        None => widths(p, levels),
    };
    let mut summary = TrainingSummary {
        rows: n as u64,
        source_rows: input.source().rows() as u64,
        total_variance: Moments::of(backend, &rows)?.deviation,
        kept_variance: learned.kept_variance,
        ..TrainingSummary::default()
    };
    let mut begin: Vec<Option<Vec<f32>>> = match start {
        Some((quantizer, _)) => quantizer.codebooks.iter().map(|book| Some(book.as_slice().to_vec())).collect(),
        None => vec![None; levels],
    };
    // One level has all columns, and k-means does not care how they lie.
    if let (Some(settings), None, 2..) = (product.rotation, start, levels) {
        let found = rotation::learn(backend, &rows, &widths, &config, settings, observer)?;
        rows = backend.project(&rows, &[], &found.rows(), &[])?;
        learned.components = found.after(&learned.components);
        // The rotation suits the codewords that it was fitted to more than any others.
        (summary.rotated_r2, begin) = (found.r2, found.books);
    }
    let mut books: Vec<Matrix> = Vec::with_capacity(levels);
    let mut prices: Vec<Vec<f32>> = Vec::with_capacity(levels);
    let mut codes = Codes::zeros(if keep { n } else { 0 }, levels);
    // What no level has looked at yet is all error.
    let (mut inertia, mut first) = (backend.sum_squares(&rows)?, 0);
    for (level, width) in widths.into_iter().enumerate() {
        let mut own = backend.columns(&rows, first, width)?;
        first += width;
        let before = backend.sum_squares(&own)?;
        let fitted = config.fit_level(backend, &own, level, begin[level].take(), observer)?;
        let outcome = &fitted.outcome;
        if keep {
            let labels = backend.read_partition(&outcome.partition)?.labels;
            labels.iter().enumerate().for_each(|(i, label)| codes.as_mut_slice()[i * levels + level] = *label);
        }
        books.push(Matrix::from_vec(config.codebook_sizes[level], width, backend.read_codebook(&outcome.codebook)?)?);
        backend.residual(&mut own, &outcome.codebook, &outcome.partition)?;
        inertia = (inertia - before + backend.sum_squares(&own)?).max(0.0);
        let level_summary = fitted.summary(level, inertia, summary.total_variance);
        observer.event(Event::Level(&level_summary));
        summary.levels.push(level_summary);
        prices.push(fitted.prices);
    }
    let FittedSteps { mean, components, scales, mean_norm, .. } = learned;
    let quantizer = ResidualQuantizer {
        dims: input.source().dims(),
        mean,
        components,
        scales,
        normalize_rows: normalize,
        codebooks: books,
        prices: if prices.iter().any(|p| !p.is_empty()) { prices } else { Vec::new() },
        product: true,
        ..ResidualQuantizer::default()
    };
    let (residual_norms, beam, shared_codebook, probes) = (Vec::new(), 1, false, Matrix::default());
    Ok((Fitted { quantizer, mean_norm, residual_norms, beam, shared_codebook, probes, summary }, codes))
}
