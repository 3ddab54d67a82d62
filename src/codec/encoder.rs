//! Encoding on a device: the fast path, its proof, and the reference for what the proof does not cover.

use super::measure::{MeasuredError, shapes};
use super::parts::CodecParts;
use crate::compute::bound::Arithmetic;
use crate::compute::cpu::Cpu;
use crate::compute::mlp::ResidentMlp;
use crate::compute::reference::{ResidualQuantizer, Scratch};
use crate::compute::tensor::TensorBackend;
use crate::compute::{Device, DeviceKind, LevelCodes, PreprocessSteps};
use crate::data::{Codes, Matrix, MatrixView, RowSource, first_non_finite};
use crate::error::{Error, Result};
use crate::progress::{Event, Observer, check};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Prefixes a row that are kept: 1 is greedy, more lowers the error and costs time. `None` is the codec's own setting.
    pub beam: Option<usize>,
    /// Rows handed to the device at a time; `None` lets the encoder choose.
    pub batch_rows: Option<usize>,
}

/// Codes with what it took to find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// `[n, levels]` codes.
    pub codes: Codes,
    /// Rows that the f64 reference decided because the fast path's margin was within its error bound.
    pub rechecked: u64,
}

/// A codec on a device. `Send + Sync`; calls may come from many threads at once.
pub struct Encoder {
    parts: Arc<CodecParts>,
    engine: Box<dyn EncoderEngine>,
    /// Takes over, with the same codes, once the device is lost or out of memory.
    fallback: Option<Box<dyn EncoderEngine>>,
    failed: AtomicBool,
    beam: usize,
    batch_rows: usize,
}

/// One device's side of encoding.
trait EncoderEngine: Send + Sync {
    /// Writes codes of rows and returns how many rows the reference decided.
    fn encode(&self, parts: &CodecParts, rows: MatrixView<'_>, beam: usize, out: &mut [u32]) -> Result<u64>;
    /// e of the network, if there is one.
    fn network_error(&self) -> Option<f64>;
}

struct ResidentEncoder<B: TensorBackend> {
    backend: Arc<B>,
    codebooks: Vec<B::Codebook>,
    gram: Vec<Vec<f32>>,
    arithmetic: Arithmetic,
    /// The encoder's network with how far it is off here.
    network: Option<(ResidentMlp<B>, MeasuredError)>,
    cpu: bool,
}

fn steps(quantizer: &ResidualQuantizer) -> PreprocessSteps<'_> {
    PreprocessSteps {
        mean: &quantizer.mean,
        components: &quantizer.components,
        scales: &quantizer.scales,
        normalize_rows: quantizer.normalize_rows,
        normalize_residuals: quantizer.normalize_residuals,
        product: quantizer.product,
    }
}

impl<B: TensorBackend> ResidentEncoder<B> {
    fn new(backend: Arc<B>, parts: &CodecParts, beam: usize) -> Result<Self> {
        let quantizer = &parts.quantizer;
        let codebooks = quantizer
            .codebooks
            .iter()
            .enumerate()
            .map(|(level, b)| {
                let mut book = backend.codebook(b.rows(), b.dims(), b.as_slice(), quantizer.metric)?;
                if !quantizer.prices(level).is_empty() {
                    backend.set_prices(&mut book, quantizer.prices(level))?;
                }
                Ok(book)
            })
            .collect::<Result<Vec<_>>>()?;
        let gram = if beam > 1 {
            parts.gram().iter().map(|t| t.iter().map(|v| *v as f32).collect()).collect()
        } else {
            Vec::new()
        };
        let arithmetic = Arithmetic {
            // Of the widest level; a dot product of fewer terms is no further off.
            dot: backend.dot_error(quantizer.codebooks.iter().map(Matrix::dims).max().unwrap_or(0)),
            projection: backend.projection_error(quantizer.dims),
            unit: backend.unit_roundoff(),
            dims: quantizer.dims.max(quantizer.inner_dims()).max(quantizer.code_dims()),
        };
        let cpu = backend.info().kind == DeviceKind::Cpu;
        let mut made = Self { backend, codebooks, gram, arithmetic, network: None, cpu };
        if let Some(encoder) = &quantizer.encoder {
            let network = ResidentMlp::new(&*made.backend, encoder)?;
            let measured = made.measure(parts, &network)?;
            made.network = Some((network, measured));
        }
        Ok(made)
    }

    /// Takes the probes through the fast path, in every shape of batch.
    fn measure(&self, parts: &CodecParts, network: &ResidentMlp<B>) -> Result<MeasuredError> {
        let (mut measured, e) = (MeasuredError::new(parts), parts.quantizer.code_dims());
        for (size, count) in shapes(parts.probes.rows(), self.cpu) {
            for start in (0..count).step_by(size) {
                let end = (start + size).min(count);
                let (prepared, norms) =
                    self.backend.prepare(parts.probes.view().slice(start, end), &steps(&parts.quantizer))?;
                let mut z = vec![0.0f32; (end - start) * e];
                self.backend.read_rows(&network.forward(&*self.backend, &prepared)?, 0, &mut z)?;
                for (at, z) in z.chunks_exact(e).enumerate() {
                    measured.add(parts, &self.arithmetic, start + at, z, norms.get(at).copied());
                }
            }
        }
        tracing::debug!(
            "the encoder is off by {:e} of its results' norm on {} probes",
            measured.error(),
            parts.probes.rows()
        );
        Ok(measured)
    }

    /// Rows as they enter the first level, and their norms before `normalize_rows`.
    fn enter(&self, parts: &CodecParts, rows: MatrixView<'_>) -> Result<(B::Rows, Vec<f32>)> {
        let (prepared, norms) = self.backend.prepare(rows, &steps(&parts.quantizer))?;
        match &self.network {
            Some((network, _)) => Ok((network.forward(&*self.backend, &prepared)?, norms)),
            None => Ok((prepared, norms)),
        }
    }

    fn greedy(&self, parts: &CodecParts, rows: MatrixView<'_>) -> Result<LevelCodes> {
        let quantizer = &parts.quantizer;
        if self.network.is_none() {
            return self.backend.encode_rows(rows, &steps(quantizer), &self.codebooks);
        }
        let (mut entered, entry_norm) = self.enter(parts, rows)?;
        let found = if self.cpu {
            // The CPU's fused levels start from host rows, block by block in cache; here the copy is cheap.
            let (n, e) = (rows.rows(), quantizer.code_dims());
            let mut z = vec![0.0f32; n * e];
            self.backend.read_rows(&entered, 0, &mut z)?;
            let bare =
                PreprocessSteps { mean: &[], components: &[], scales: &[], normalize_rows: false, ..steps(quantizer) };
            self.backend.encode_rows(MatrixView::new(n, e, &z)?, &bare, &self.codebooks)?
        } else {
            self.backend.assign_levels(&mut entered, &self.codebooks, quantizer.normalize_residuals)?
        };
        Ok(LevelCodes { entry_norm, ..found })
    }

    /// δ of row `i` at the first level: proven without a network, measured with one (`z_norm` is the norm of its z̃ then).
    fn delta(&self, parts: &CodecParts, x: &[f32], prepared_norm: Option<f32>, z_norm: f32) -> f64 {
        let (quantizer, limits, a) = (&parts.quantizer, &parts.limits, &self.arithmetic);
        match &self.network {
            Some((_, measured)) => measured.delta(limits, quantizer, a, x, prepared_norm, z_norm),
            None => limits.entry(quantizer, a, x, prepared_norm),
        }
    }
}

impl<B: TensorBackend> EncoderEngine for ResidentEncoder<B> {
    fn encode(&self, parts: &CodecParts, rows: MatrixView<'_>, beam: usize, out: &mut [u32]) -> Result<u64> {
        let (quantizer, a, limits) = (&parts.quantizer, &self.arithmetic, &parts.limits);
        let levels = parts.levels();
        let greedy: LevelCodes;
        let (margins, entry_norm, z_norms);
        let proven: Box<dyn Fn(usize) -> bool + Sync + '_> = if beam > 1 {
            let (entered, norms) = self.enter(parts, rows)?;
            z_norms = if self.network.is_some() { self.backend.row_norms(&entered)? } else { Vec::new() };
            let found = self.backend.beam(&entered, &self.codebooks, &self.gram, beam)?;
            out.copy_from_slice(&found.codes);
            (margins, entry_norm) = (found.margin, norms);
            Box::new(|i| {
                let x = rows.row(i);
                let z_norm = z_norms.get(i).map(|square| square.sqrt());
                let delta = self.delta(parts, x, entry_norm.get(i).copied(), z_norm.unwrap_or(0.0));
                let norm = z_norm.map_or_else(|| limits.prepared_norm(quantizer, x), f64::from);
                limits.beam(a, norm, delta, margins[i])
            })
        } else {
            greedy = self.greedy(parts, rows)?;
            out.copy_from_slice(&greedy.codes);
            Box::new(|i| {
                let delta = self.delta(parts, rows.row(i), greedy.entry_norm.get(i).copied(), greedy.norm[i * levels]);
                limits.greedy(quantizer, a, rows.row(i), delta, &greedy, i)
            })
        };
        let decide = |first: usize, block: &mut [u32]| {
            let mut scratch = Scratch::default();
            let mut rechecked = 0;
            for (at, codes) in block.chunks_exact_mut(levels).enumerate() {
                let i = first + at;
                if proven(i) {
                    continue;
                }
                rechecked += 1;
                if beam > 1 {
                    parts.reference.encode_beam(quantizer, parts.gram(), beam, rows.row(i), &mut scratch, codes);
                } else {
                    parts.reference.encode(quantizer, rows.row(i), &mut scratch, codes);
                }
            }
            rechecked
        };
        if rows.rows() <= 64 {
            return Ok(decide(0, out));
        }
        Ok(out.par_chunks_mut(64 * levels).enumerate().map(|(b, block)| decide(b * 64, block)).sum())
    }

    fn network_error(&self) -> Option<f64> {
        self.network.as_ref().map(|(_, measured)| measured.error())
    }
}

impl Encoder {
    pub(super) fn new(parts: &Arc<CodecParts>, device: &Device, options: &EncodeOptions) -> Result<Self> {
        let beam = options.beam.unwrap_or(parts.manifest.beam);
        parts.check_beam(beam)?;
        if options.batch_rows == Some(0) {
            return Err(Error::config("batch_rows", "expected at least 1, got 0"));
        }
        let engine: Box<dyn EncoderEngine> = match device {
            Device::Cpu(cpu) => Box::new(ResidentEncoder::new(Arc::new(cpu.clone()), parts, beam)?),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Box::new(ResidentEncoder::new(gpu.clone(), parts, beam)?),
        };
        let cpu = matches!(device, Device::Cpu(_));
        let fallback: Option<Box<dyn EncoderEngine>> =
            if cpu { None } else { Some(Box::new(ResidentEncoder::new(Arc::new(Cpu::new()), parts, beam)?)) };
        // About 32 MiB of rows at a time, 128 MiB for a GPU, which wants more to do per submit.
        let target = if cpu { 32 << 20 } else { 128 << 20 };
        let widest = parts.quantizer.dims.max(parts.quantizer.inner_dims()).max(parts.quantizer.code_dims());
        let batch_rows = options.batch_rows.unwrap_or_else(|| (target / (4 * widest)).clamp(1, 1 << 20));
        Ok(Self { parts: parts.clone(), engine, fallback, failed: AtomicBool::new(false), beam, batch_rows })
    }

    /// How far this device's network is from the reference, relative to the norm of its results: the largest error of the codec's
    /// probes. `None` for a codec without an encoder network. Codes are exact either way.
    #[must_use]
    pub fn network_error(&self) -> Option<f64> {
        self.engine.network_error()
    }

    /// Prefixes a row that this encoder keeps.
    #[must_use]
    pub fn beam(&self) -> usize {
        self.beam
    }

    /// Whether the device failed and the CPU took over.
    #[must_use]
    pub fn fell_back(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Codes of rows `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], device errors.
    pub fn encode<'a>(&self, rows: impl Into<MatrixView<'a>>) -> Result<Encoded> {
        let rows = rows.into();
        let mut codes = Codes::zeros(rows.rows(), self.parts.levels());
        let rechecked = self.encode_into(rows, codes.as_mut_slice())?;
        Ok(Encoded { codes, rechecked })
    }

    /// Writes codes of rows into `out` `[n, levels]`; returns how many rows the reference decided.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_into(&self, rows: MatrixView<'_>, out: &mut [u32]) -> Result<u64> {
        let levels = self.parts.levels();
        crate::error::check_shape("codes", rows.rows() * levels, out.len(), "output of encode")?;
        self.parts.check_rows(rows)?;
        let mut rechecked = 0;
        for start in (0..rows.rows()).step_by(self.batch_rows) {
            let end = (start + self.batch_rows).min(rows.rows());
            rechecked += self.batch(rows.slice(start, end), &mut out[start * levels..end * levels])?;
        }
        Ok(rechecked)
    }

    fn batch(&self, rows: MatrixView<'_>, out: &mut [u32]) -> Result<u64> {
        match &self.fallback {
            Some(cpu) if self.fell_back() => cpu.encode(&self.parts, rows, self.beam, out),
            Some(cpu) => match self.engine.encode(&self.parts, rows, self.beam, out) {
                Err(error @ (Error::DeviceLost(_) | Error::OutOfMemory { .. })) => {
                    tracing::warn!("{error}; the CPU takes over with the same codes");
                    self.failed.store(true, Ordering::Relaxed);
                    cpu.encode(&self.parts, rows, self.beam, out)
                }
                other => other,
            },
            None => self.engine.encode(&self.parts, rows, self.beam, out),
        }
    }

    /// Encodes a whole source piece by piece, reading the next piece while one is encoded: `sink(first row, codes)` is called
    /// in order. Memory stays at two pieces. Returns how many rows the reference decided.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), with row numbers of the source; NaN or infinity anywhere is found before returning, and
    /// counted over the whole source; whatever the source or the sink returns; [`Error::Interrupted`].
    pub fn encode_source(
        &self,
        source: &dyn RowSource,
        observer: &dyn Observer,
        sink: &mut (dyn FnMut(usize, &[u32]) -> Result<()> + Send),
    ) -> Result<u64> {
        let (n, d, levels) = (source.rows(), source.dims(), self.parts.levels());
        crate::error::check_shape("d", self.parts.quantizer.dims, d, source.name())?;
        observer.event(Event::Phase { name: "encode", total: Some(n as u64), unit: "rows" });
        let step = self.batch_rows.min(n.max(1));
        let mut current = vec![0.0f32; step * d];
        let mut next = vec![0.0f32; step * d];
        let mut codes = vec![0u32; step * levels];
        let mut bad: Option<(u64, u64)> = None;
        let mut rechecked = 0;
        let count_at = |start: usize| step.min(n - start);
        if n > 0 {
            source.read_rows(0, &mut current[..count_at(0) * d])?;
        }
        for start in (0..n).step_by(step) {
            check(observer)?;
            let count = count_at(start);
            let rows = MatrixView::new(count, d, &current[..count * d])?;
            if let Some((first, more)) = first_non_finite(rows.as_slice(), d) {
                bad = Some(bad.map_or(((start + first) as u64, more as u64), |(f, c)| (f, c + more as u64)));
            }
            let after = start + count;
            let (encoded, read) = rayon::join(
                || {
                    // Once a bad row is known the rest is only counted.
                    if bad.is_some() { Ok(0) } else { self.batch(rows, &mut codes[..count * levels]) }
                },
                || if after < n { source.read_rows(after, &mut next[..count_at(after) * d]) } else { Ok(()) },
            );
            rechecked += encoded?;
            read?;
            if bad.is_none() {
                sink(start, &codes[..count * levels])?;
            }
            std::mem::swap(&mut current, &mut next);
            observer.event(Event::Advance { done: after as u64 });
        }
        match bad {
            Some((first, count)) => Err(Error::NonFinite { first, count, rows: n as u64, place: source.name() }),
            None => Ok(rechecked),
        }
    }
}
