//! Encoding on a device: the fast path, its proof, and the reference for what the proof does not cover.

use super::Codec;
use crate::compute::bound::Arithmetic;
use crate::compute::cpu::Cpu;
use crate::compute::reference::Scratch;
use crate::compute::{Backend, Device, LevelCodes, Steps};
use crate::data::{Codes, MatrixView, RowSource, first_non_finite};
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
    codec: Codec,
    engine: Box<dyn Engine>,
    /// Takes over, with the same codes, once the device is lost or out of memory.
    fallback: Option<Box<dyn Engine>>,
    failed: AtomicBool,
    beam: usize,
    batch_rows: usize,
}

/// One device's side of encoding.
trait Engine: Send + Sync {
    /// Writes codes of rows and returns how many rows the reference decided.
    fn encode(&self, codec: &Codec, rows: MatrixView<'_>, beam: usize, out: &mut [u32]) -> Result<u64>;
}

struct Resident<B: Backend> {
    backend: Arc<B>,
    codebooks: Vec<B::Codebook>,
    gram: Vec<Vec<f32>>,
    arithmetic: Arithmetic,
}

impl<B: Backend> Resident<B> {
    fn new(backend: Arc<B>, codec: &Codec, beam: usize) -> Result<Self> {
        let chain = &codec.inner().chain;
        let codebooks = chain
            .codebooks
            .iter()
            .map(|b| backend.codebook(b.rows(), b.dims(), b.as_slice(), chain.metric))
            .collect::<Result<Vec<_>>>()?;
        let gram = if beam > 1 {
            codec.gram().iter().map(|t| t.iter().map(|v| *v as f32).collect()).collect()
        } else {
            Vec::new()
        };
        let arithmetic = Arithmetic {
            dot: backend.dot_error(chain.inner_dims()),
            projection: backend.projection_error(chain.dims),
            unit: backend.unit_roundoff(),
            dims: chain.dims.max(chain.inner_dims()),
        };
        Ok(Self { backend, codebooks, gram, arithmetic })
    }
}

impl<B: Backend> Engine for Resident<B> {
    fn encode(&self, codec: &Codec, rows: MatrixView<'_>, beam: usize, out: &mut [u32]) -> Result<u64> {
        let inner = codec.inner();
        let chain = &inner.chain;
        let (levels, a) = (chain.codebooks.len(), &self.arithmetic);
        let steps = Steps {
            mean: &chain.mean,
            components: &chain.components,
            scales: &chain.scales,
            normalize_rows: chain.normalize_rows,
            normalize_residuals: chain.normalize_residuals,
        };
        let greedy: LevelCodes;
        let (margins, entry_norm);
        let proven: Box<dyn Fn(usize) -> bool + Sync + '_> = if beam > 1 {
            let (resident, norms) = self.backend.prepare(rows, &steps)?;
            let found = self.backend.beam(&resident, &self.codebooks, &self.gram, beam)?;
            out.copy_from_slice(&found.codes);
            (margins, entry_norm) = (found.margin, norms);
            Box::new(|i| inner.limits.beam(chain, a, rows.row(i), entry_norm.get(i).copied(), margins[i]))
        } else {
            greedy = self.backend.encode_rows(rows, &steps, &self.codebooks)?;
            out.copy_from_slice(&greedy.codes);
            Box::new(|i| inner.limits.greedy(chain, a, rows.row(i), &greedy, i))
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
                    inner.reference.encode_beam(chain, codec.gram(), beam, rows.row(i), &mut scratch, codes);
                } else {
                    inner.reference.encode(chain, rows.row(i), &mut scratch, codes);
                }
            }
            rechecked
        };
        if rows.rows() <= 64 {
            return Ok(decide(0, out));
        }
        Ok(out.par_chunks_mut(64 * levels).enumerate().map(|(b, block)| decide(b * 64, block)).sum())
    }
}

impl Encoder {
    pub(super) fn new(codec: Codec, device: &Device, options: &EncodeOptions) -> Result<Self> {
        let beam = options.beam.unwrap_or(codec.manifest().beam);
        codec.check_beam(beam)?;
        if options.batch_rows == Some(0) {
            return Err(Error::config("batch_rows", "expected at least 1, got 0"));
        }
        let engine: Box<dyn Engine> = match device {
            Device::Cpu(cpu) => Box::new(Resident::new(Arc::new(cpu.clone()), &codec, beam)?),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Box::new(Resident::new(gpu.clone(), &codec, beam)?),
        };
        let cpu = matches!(device, Device::Cpu(_));
        let fallback: Option<Box<dyn Engine>> =
            if cpu { None } else { Some(Box::new(Resident::new(Arc::new(Cpu::new()), &codec, beam)?)) };
        // About 32 MiB of rows at a time, 128 MiB for a GPU, which wants more to do per submit.
        let target = if cpu { 32 << 20 } else { 128 << 20 };
        let batch_rows = options.batch_rows.unwrap_or_else(|| (target / (4 * codec.dims().max(1))).clamp(256, 1 << 20));
        Ok(Self { codec, engine, fallback, failed: AtomicBool::new(false), beam, batch_rows })
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
        let mut codes = Codes::zeros(rows.rows(), self.codec.levels());
        let rechecked = self.encode_into(rows, codes.as_mut_slice())?;
        Ok(Encoded { codes, rechecked })
    }

    /// Writes codes of rows into `out` `[n, levels]`; returns how many rows the reference decided.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_into(&self, rows: MatrixView<'_>, out: &mut [u32]) -> Result<u64> {
        let levels = self.codec.levels();
        crate::error::check_shape("codes", rows.rows() * levels, out.len(), "output of encode")?;
        self.codec.check_rows(rows)?;
        let mut rechecked = 0;
        for start in (0..rows.rows()).step_by(self.batch_rows) {
            let end = (start + self.batch_rows).min(rows.rows());
            rechecked += self.batch(rows.slice(start, end), &mut out[start * levels..end * levels])?;
        }
        Ok(rechecked)
    }

    fn batch(&self, rows: MatrixView<'_>, out: &mut [u32]) -> Result<u64> {
        match &self.fallback {
            Some(cpu) if self.fell_back() => cpu.encode(&self.codec, rows, self.beam, out),
            Some(cpu) => match self.engine.encode(&self.codec, rows, self.beam, out) {
                Err(error @ (Error::DeviceLost(_) | Error::OutOfMemory { .. })) => {
                    tracing::warn!("{error}; the CPU takes over with the same codes");
                    self.failed.store(true, Ordering::Relaxed);
                    cpu.encode(&self.codec, rows, self.beam, out)
                }
                other => other,
            },
            None => self.engine.encode(&self.codec, rows, self.beam, out),
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
        let (n, d, levels) = (source.rows(), source.dims(), self.codec.levels());
        crate::error::check_shape("d", self.codec.dims(), d, source.name())?;
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

impl Codec {
    /// Codeword products for beam encoding, computed once.
    pub(super) fn gram(&self) -> &[Vec<f64>] {
        let inner = self.inner();
        inner.gram.get_or_init(|| inner.reference.gram(&inner.chain))
    }
}
