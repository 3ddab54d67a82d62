//! The codec: a fitted model that encodes, decodes, is saved and loaded.

mod certify;
mod decode;
mod encoder;
mod file;
mod manifest;

pub use encoder::{EncodeOptions, Encoded, Encoder};
pub use manifest::{FORMAT_VERSION, Manifest};

use crate::compute::Metric;
use crate::compute::reference::{Chain, Reference, Scratch};
use crate::data::{Codes, Matrix, MatrixView, RowSource};
use crate::error::{Result, check_shape};
use crate::fit::{Fitted, RqKMeans};
use crate::progress::Observer;
use crate::{Device, Error};
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

pub(crate) struct Inner {
    chain: Chain,
    manifest: Manifest,
    residual_norms: Vec<f32>,
    reference: Reference,
    limits: certify::Limits,
    gram: OnceLock<Vec<Vec<f64>>>,
    serial: OnceLock<Encoder>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("manifest", &self.0.manifest).finish_non_exhaustive()
    }
}

impl Codec {
    /// Fits RQ-KMeans to a source's rows; see [`RqKMeans::fit`] for time, memory and errors.
    ///
    /// # Errors
    /// As [`RqKMeans::fit`].
    pub fn train(
        source: &(impl RowSource + Sized),
        config: &RqKMeans,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let fitted = config.fit(source, device, observer)?;
        let settings =
            serde_json::to_value(config).map_err(|e| Error::Codec(format!("cannot record settings: {e}")))?;
        Self::from_fitted(fitted, "rq-kmeans", config.seed, settings)
    }

    /// Wraps a fitted model; `settings` go into the manifest as they are.
    ///
    /// # Errors
    /// [`Error::Codec`] if its parts do not fit together or hold NaN or infinity.
    pub fn from_fitted(fitted: Fitted, method: &str, seed: u64, settings: serde_json::Value) -> Result<Self> {
        let manifest = Manifest::describe(&fitted, method, seed, settings);
        Self::assemble(fitted.chain, manifest, fitted.residual_norms)
    }

    fn assemble(chain: Chain, manifest: Manifest, residual_norms: Vec<f32>) -> Result<Self> {
        file::validate(&chain, &manifest, &residual_norms)?;
        let reference = Reference::new(&chain);
        let limits = certify::Limits::new(&chain);
        let (gram, serial) = (OnceLock::new(), OnceLock::new());
        let mut inner = Inner { chain, manifest, residual_norms, reference, limits, gram, serial };
        if inner.manifest.content_hash.is_empty() {
            inner.manifest.content_hash = file::content_hash(&inner)?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// What the codec is and how it was made.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Dimensions of a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.0.chain.dims
    }

    /// Codes a row.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.0.chain.codebooks.len()
    }

    /// Codewords of each level.
    #[must_use]
    pub fn codebook_sizes(&self) -> Vec<usize> {
        self.0.chain.codebook_sizes()
    }

    /// How rows are compared with codewords.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.0.chain.metric
    }

    /// One level's codewords, `[k, p]`, in the space after preprocessing.
    #[must_use]
    pub fn codebook(&self, level: usize) -> &Matrix {
        &self.0.chain.codebooks[level]
    }

    /// SHA-256 of everything that the file holds, in hexadecimal: the codec's name for stores and caches.
    #[must_use]
    pub fn content_hash(&self) -> &str {
        &self.0.manifest.content_hash
    }

    /// The encoder on the CPU with the codec's own settings, made once.
    fn cpu(&self) -> Result<&Encoder> {
        if let Some(encoder) = self.0.serial.get() {
            return Ok(encoder);
        }
        // Holding the parts rather than the codec, the encoder does not keep its own container alive.
        let encoder = self.detached().encoder(&Device::cpu(), &EncodeOptions::default())?;
        Ok(self.0.serial.get_or_init(|| encoder))
    }

    fn detached(&self) -> Self {
        let i = &*self.0;
        Self(Arc::new(Inner {
            chain: i.chain.clone(),
            manifest: i.manifest.clone(),
            residual_norms: i.residual_norms.clone(),
            reference: i.reference.clone(),
            limits: i.limits.clone(),
            gram: i.gram.clone(),
            serial: OnceLock::new(),
        }))
    }

    /// Codes of rows `[n, d]`, on the CPU. O(n·(p·d + Σk·p)).
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
        self.check_rows(rows)?;
        self.check_beam(beam)?;
        let (inner, levels) = (&*self.0, self.levels());
        let mut codes = Codes::zeros(rows.rows(), levels);
        codes.as_mut_slice().par_chunks_mut(levels).enumerate().for_each_init(Scratch::default, |scratch, (i, out)| {
            if beam > 1 {
                inner.reference.encode_beam(&inner.chain, self.gram(), beam, rows.row(i), scratch, out);
            } else {
                inner.reference.encode(&inner.chain, rows.row(i), scratch, out);
            }
        });
        Ok(codes)
    }

    /// Preprocessing and codebooks as the reference sees them.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.0.chain
    }

    /// Refuses a beam width that this codec cannot serve.
    fn check_beam(&self, beam: usize) -> Result<()> {
        if beam == 0 || beam > 64 {
            return Err(Error::config("beam", format!("expected 1 to 64 prefixes, got {beam}")));
        }
        if beam > 1 && (self.0.chain.metric == Metric::Cosine || self.0.chain.normalize_residuals) {
            let problem =
                format!("a beam of {beam} needs squared L2 without residual normalisation; use 1 for this codec");
            return Err(Error::config("beam", problem));
        }
        Ok(())
    }

    /// An encoder on a device, for many rows or with other settings than the codec's own.
    ///
    /// # Errors
    /// Device errors; [`Error::Config`] for a beam that this codec cannot serve.
    pub fn encoder(&self, device: &Device, options: &EncodeOptions) -> Result<Encoder> {
        Encoder::new(self.clone(), device, options)
    }

    /// Rows `[n, d]` from codes; with fewer columns than levels, the approximation at that depth. O(n·(levels·p + p·d)).
    ///
    /// # Errors
    /// [`Error::Shape`] for more columns than levels, [`Error::Data`] for a code past its codebook.
    pub fn decode(&self, codes: &Codes) -> Result<Matrix> {
        decode::decode(&self.0, codes)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    fn check_rows(&self, rows: MatrixView<'_>) -> Result<()> {
        check_shape("d", self.dims(), rows.dims(), "rows to encode")?;
        if let Some((first, count)) = crate::data::first_non_finite(rows.as_slice(), rows.dims()) {
            let (first, count, rows) = (first as u64, count as u64, rows.rows() as u64);
            return Err(Error::NonFinite { first, count, rows, place: "rows to encode".into() });
        }
        Ok(())
    }
}
