//! The codec: a fitted model that encodes, decodes, is saved and loaded.

mod certify;
mod decode;
mod encoder;
mod file;
mod manifest;
mod measure;
mod network_tensors;
mod parts;
mod permute;
mod settings;
mod tensors;

pub use encoder::{EncodeOptions, Encoded, Encoder};
pub use manifest::{FORMAT_VERSION, Manifest};
pub use network_tensors::{LayerShape, NetworkShape};
pub use settings::TrainedBy;
// What a codec of another system is put together from, see `Codec::from_fitted`.
pub use crate::compute::mlp::{Layer, Mlp};
pub use crate::compute::reference::ResidualQuantizer;
pub use crate::compute::tensor::Activation;

use crate::compute::Metric;
use crate::compute::reference::Scratch;
use crate::data::{Codes, Matrix, MatrixView, RowSource};
use crate::error::Result;
use crate::fit::{Fitted, ProductQuantization, RqKMeans};
use crate::progress::Observer;
use crate::{Device, Error};
use parts::CodecParts;
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// A fitted model: rows to codes and back.
///
/// Cheap to clone, `Send + Sync`: load it once and encode from many threads. The code of a row depends on the codec and the
/// row alone, never on the device, the batch or the number of threads.
///
/// ```
/// use sememe::{Codec, Device, Matrix, RqKMeans};
/// let rows = Matrix::from_vec(4, 1, vec![0.0, 0.1, 5.0, 5.1])?;
/// let config = RqKMeans { codebook_sizes: vec![2, 2], ..RqKMeans::default() };
/// let codec = Codec::train(&rows, &config, &Device::cpu(), &())?;
/// let codes = codec.encode(&rows)?;
/// assert_eq!(codes.row(0)[0], codes.row(1)[0]);
/// assert_ne!(codes.row(0)[0], codes.row(2)[0]);
/// assert_eq!(codec.encode_row(&[5.1])?, codes.row(3));
/// let back = codec.decode(&codes)?;
/// assert!((back.row(3)[0] - 5.1).abs() < 0.06);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone)]
pub struct Codec(Arc<Inner>);

struct Inner {
    parts: Arc<CodecParts>,
    serial: OnceLock<Encoder>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("manifest", &self.parts().manifest).finish_non_exhaustive()
    }
}

/// Refuses to assign rows that do not train.
fn refuse_sample(most: Option<usize>, source: &dyn RowSource) -> Result<()> {
    let Some(most) = most.filter(|most| *most < source.rows()) else { return Ok(()) };
    let problem =
        format!("{most} of {} rows train, the others are not assigned; encode the rows instead", source.rows());
    Err(Error::config("max_training_rows", problem))
}

impl Codec {
    /// Fits RQ-KMeans to a source's rows; see [`RqKMeans::fit`] for time, memory and errors.
    ///
    /// # Errors
    /// As [`RqKMeans::fit`].
    pub fn train(source: &dyn RowSource, config: &RqKMeans, device: &Device, observer: &dyn Observer) -> Result<Self> {
        Self::from_fitted(config.fit(source, device, observer)?, TrainedBy::RqKMeans(config))
    }

    /// Trains RQ-KMeans on from another codec, for a catalogue that has grown: most rows keep their codes, where a training from
    /// scratch gives all of them new ones. Preprocessing is that of `start`; see [`RqKMeans::fit_from`], and
    /// [`ids::align`](crate::ids::align()) for a codec that was trained from scratch.
    ///
    /// # Errors
    /// As [`RqKMeans::fit_from`].
    pub fn train_from(
        start: &Self,
        source: &dyn RowSource,
        config: &RqKMeans,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let fitted = config.fit_from(start.quantizer(), start.manifest().mean_norm, source, device, observer)?;
        let by = TrainedBy::RqKMeans(config);
        let mut settings = by.settings()?;
        // The steps that were taken, not those that `config` would have.
        if let Some(steps) = start.manifest().config.get("preprocess") {
            settings["preprocess"] = steps.clone();
        }
        Self::described(fitted, by, settings)
    }

    /// As [`train`](Self::train), with the codes `[n, levels]` that training gave the source's rows. Under a
    /// [capacity](crate::Balance::capacity) these keep the bounds exactly; [`encode`](Self::encode) gives the same codes but for the few rows
    /// that [`LevelBalance::moved_rows`](crate::progress::LevelBalance::moved_rows) counts.
    ///
    /// # Errors
    /// As [`RqKMeans::fit`]; [`Error::Config`] for refinement, which changes codes after they were assigned, and for a sample of the rows.
    pub fn train_assigned(
        source: &dyn RowSource,
        config: &RqKMeans,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<(Self, Codes)> {
        if config.refine.is_some() {
            let problem = "refinement changes codes after they were assigned; encode the rows instead";
            return Err(Error::config("refine", problem));
        }
        refuse_sample(config.max_training_rows, source)?;
        let (fitted, codes) = config.fit_assigned(source, device, observer)?;
        Ok((Self::from_fitted(fitted, TrainedBy::RqKMeans(config))?, codes))
    }

    /// Fits product quantisation to a source's rows; see [`ProductQuantization::fit`] for time, memory and errors.
    ///
    /// # Errors
    /// As [`ProductQuantization::fit`].
    pub fn train_product(
        source: &dyn RowSource,
        config: &ProductQuantization,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Self> {
        Self::from_fitted(config.fit(source, device, observer)?, TrainedBy::Product(config))
    }

    /// Trains product quantisation on from another codec of it, as [`train_from`](Self::train_from) does RQ-KMeans: preprocessing and
    /// rotation are those of `start`; see [`ProductQuantization::fit_from`].
    ///
    /// # Errors
    /// As [`ProductQuantization::fit_from`].
    pub fn train_product_from(
        start: &Self,
        source: &dyn RowSource,
        config: &ProductQuantization,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let fitted = config.fit_from(start.quantizer(), start.manifest().mean_norm, source, device, observer)?;
        // Steps and rotation as they were taken, not those that `config` would have.
        let taken = |key: &str| start.manifest().config.get(key).filter(|value| !value.is_null());
        let rotation = taken("rotation").and_then(|value| serde_json::from_value(value.clone()).ok());
        let config = ProductQuantization { rotation, ..config.clone() };
        let by = TrainedBy::Product(&config);
        let mut settings = by.settings()?;
        if let Some(steps) = taken("preprocess") {
            settings["preprocess"] = steps.clone();
        }
        Self::described(fitted, by, settings)
    }

    /// As [`train_product`](Self::train_product), with the codes `[n, levels]` that training gave the source's rows, as
    /// [`train_assigned`](Self::train_assigned) returns them.
    ///
    /// # Errors
    /// As [`ProductQuantization::fit`]; [`Error::Config`] for a sample of the rows.
    pub fn train_product_assigned(
        source: &dyn RowSource,
        config: &ProductQuantization,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<(Self, Codes)> {
        refuse_sample(config.max_training_rows, source)?;
        let (fitted, codes) = config.fit_assigned(source, device, observer)?;
        Ok((Self::from_fitted(fitted, TrainedBy::Product(config))?, codes))
    }

    /// Trains an RQ-VAE on a source's rows; see [`RqVaeTrainer`](crate::fit::rqvae::RqVaeTrainer) for checkpoints, going on and what
    /// is told.
    ///
    /// # Errors
    /// As [`RqVaeTrainer::run`](crate::fit::rqvae::RqVaeTrainer::run).
    pub fn train_rqvae(
        source: &dyn RowSource,
        config: &crate::fit::rqvae::RqVae,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut trainer = crate::fit::rqvae::RqVaeTrainer::new(config.clone())?;
        trainer.run(source, None, device, observer, &mut ())?;
        Self::from_trainer(&trainer)
    }

    /// The codec of a training of an RQ-VAE that has ended.
    ///
    /// # Errors
    /// [`Error::Data`] for a training that has not.
    pub fn from_trainer(trainer: &crate::fit::rqvae::RqVaeTrainer) -> Result<Self> {
        let plus = trainer.began_from_codec();
        let by = if plus { TrainedBy::RqKMeansPlus } else { TrainedBy::RqVae };
        Self::from_fitted(trainer.finish()?, by(trainer.config()))
    }

    /// Wraps a fitted model; the method and its settings go into the manifest. A model that another system fitted is put together here, too:
    ///
    /// ```
    /// use sememe::codec::ResidualQuantizer;
    /// use sememe::fit::Fitted;
    /// use sememe::{Codec, Matrix, TrainedBy};
    /// let codebooks = vec![Matrix::from_vec(2, 1, vec![0.0, 5.0])?, Matrix::from_vec(2, 1, vec![-0.5, 0.5])?];
    /// let quantizer = ResidualQuantizer { dims: 1, codebooks, ..ResidualQuantizer::default() };
    /// let fitted = Fitted { quantizer, mean_norm: 1.0, beam: 1, ..Fitted::default() };
    /// let codec = Codec::from_fitted(fitted, TrainedBy::Elsewhere(&serde_json::json!({ "from": "by hand" })))?;
    /// assert_eq!(codec.encode_row(&[5.6])?, [1, 1]);
    /// # Ok::<(), sememe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Codec`] if its parts do not fit together or hold NaN or infinity.
    pub fn from_fitted(fitted: Fitted, by: TrainedBy<'_>) -> Result<Self> {
        Self::described(fitted, by, by.settings()?)
    }

    fn described(fitted: Fitted, by: TrainedBy<'_>, settings: serde_json::Value) -> Result<Self> {
        let manifest = Manifest::describe(&fitted, by.method(), by.seed(), settings);
        Self::assemble(fitted.quantizer, manifest, String::new(), fitted.residual_norms, fitted.probes)
    }

    /// Holds parts together. `text` is the manifest as a file has it, empty for a codec that is made now and gets its content hash here.
    fn assemble(
        quantizer: ResidualQuantizer,
        manifest: Manifest,
        text: String,
        residual_norms: Vec<f32>,
        probes: Matrix,
    ) -> Result<Self> {
        file::validate(&quantizer, &manifest, &residual_norms, &probes)?;
        let mut parts = CodecParts::new(quantizer, manifest, text, residual_norms, probes);
        if parts.text.is_empty() {
            file::seal(&mut parts)?;
        }
        Ok(Self(Arc::new(Inner { parts: Arc::new(parts), serial: OnceLock::new() })))
    }

    fn parts(&self) -> &CodecParts {
        &self.0.parts
    }

    /// What the codec is and how it was made.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.parts().manifest
    }

    /// Dimensions of a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.parts().quantizer.dims
    }

    /// Codes a row.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.parts().quantizer.codebooks.len()
    }

    /// Codewords of each level.
    #[must_use]
    pub fn codebook_sizes(&self) -> Vec<usize> {
        self.parts().quantizer.codebook_sizes()
    }

    /// How rows are compared with codewords.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.parts().quantizer.metric
    }

    /// One level's codewords, `[k, e]`, in the space after preprocessing and encoder; under product quantisation `[k, w]`, of the level's
    /// own columns.
    #[must_use]
    pub fn codebook(&self, level: usize) -> &Matrix {
        &self.parts().quantizer.codebooks[level]
    }

    /// Mean norm of every level's input under `normalize_residuals`, which decoding multiplies by; empty without it.
    #[must_use]
    pub fn residual_norms(&self) -> &[f32] {
        &self.parts().residual_norms
    }

    /// The rows `[m, d]` that devices measure the encoder's arithmetic on; none without an encoder.
    #[must_use]
    pub fn probes(&self) -> &Matrix {
        &self.parts().probes
    }

    /// SHA-256 of everything that the file holds, in hexadecimal: the codec's name for stores and caches.
    #[must_use]
    pub fn content_hash(&self) -> &str {
        &self.parts().manifest.content_hash
    }

    /// The encoder on the CPU with the codec's own settings, made once.
    fn cpu(&self) -> Result<&Encoder> {
        if let Some(encoder) = self.0.serial.get() {
            return Ok(encoder);
        }
        let encoder = self.encoder(&Device::cpu(), &EncodeOptions::default())?;
        Ok(self.0.serial.get_or_init(|| encoder))
    }

    /// Codes of rows `[n, d]`, on the CPU. O(n·(p·d + Σk·e)), and the encoder's parameters for every row.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of dimensions, [`Error::NonFinite`].
    pub fn encode<'a>(&self, rows: impl Into<MatrixView<'a>>) -> Result<Codes> {
        Ok(self.cpu()?.encode(rows)?.codes)
    }

    /// Codes of one row `[d]`, in microseconds: no thread is woken.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_row(&self, row: &[f32]) -> Result<Vec<u32>> {
        let mut codes = vec![0; self.levels()];
        self.cpu()?.encode_into(MatrixView::new(1, row.len(), row)?, &mut codes)?;
        Ok(codes)
    }

    /// Codes `[n, levels]` by the f64 reference alone: what every fast path must equal. Slow; for tests and for settling doubts.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::Config`] for a beam that this codec cannot serve.
    pub fn encode_reference<'a>(&self, rows: impl Into<MatrixView<'a>>, beam: usize) -> Result<Codes> {
        let rows = rows.into();
        self.parts().check_rows(rows)?;
        self.parts().check_beam(beam)?;
        let (inner, levels) = (self.parts(), self.levels());
        let mut codes = Codes::zeros(rows.rows(), levels);
        codes.as_mut_slice().par_chunks_mut(levels).enumerate().for_each_init(Scratch::default, |scratch, (i, out)| {
            if beam > 1 {
                inner.reference.encode_beam(&inner.quantizer, inner.gram(), beam, rows.row(i), scratch, out);
            } else {
                inner.reference.encode(&inner.quantizer, rows.row(i), scratch, out);
            }
        });
        Ok(codes)
    }

    /// Preprocessing, networks and codebooks as the reference sees them.
    #[must_use]
    pub fn quantizer(&self) -> &ResidualQuantizer {
        &self.parts().quantizer
    }

    /// An encoder on a device, for many rows or with other settings than the codec's own.
    ///
    /// # Errors
    /// Device errors; [`Error::Config`] for a beam that this codec cannot serve.
    pub fn encoder(&self, device: &Device, options: &EncodeOptions) -> Result<Encoder> {
        Encoder::new(&self.0.parts, device, options)
    }

    /// Rows `[n, d]` from codes; with fewer columns than levels, the approximation at that depth. O(n·(levels·e + p·d)), and the
    /// decoder's parameters for every row.
    ///
    /// # Errors
    /// [`Error::Shape`] for more columns than levels, [`Error::Data`] for a code past its codebook.
    pub fn decode(&self, codes: &Codes) -> Result<Matrix> {
        decode::decode(self.parts(), codes)
    }
}
