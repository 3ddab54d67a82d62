//! The whole corpus through the model: codes, loads, errors.

use super::session::Session;
use crate::compute::tensor::{Precision, TensorBackend, Tensors, whole};
use crate::error::Result;
use crate::fit::residual::perplexity;
use crate::progress::{Health, LevelHealth, Observer, SharedHealth, check};

/// Preprocessed rows on the host, `[n, dims]`.
pub(super) struct Corpus<'a> {
    pub values: &'a [f32],
    pub dims: usize,
    /// Total squared L2 of all rows to their mean, and of the rows that are kept out to theirs.
    pub variance: (f64, f64),
}

/// Codes, loads and errors of the whole corpus under the current parameters.
pub(super) struct CorpusMeasures {
    pub health: Health,
    /// Loads of every level's codebook.
    pub loads: Vec<Vec<u64>>,
}

/// Sees the session with the encoder's output, the rows, the first row's place and their number.
type Each<'a, S, B> = dyn FnMut(&mut S, &<B as Tensors>::Tensor, usize, usize) -> Result<()> + 'a;

impl<B: TensorBackend> Session<'_, B> {
    /// Encodes rows of the host, `rows` at a time: `each(first row, count, session)` sees the encoder's output.
    fn encode_pieces(
        &mut self,
        corpus: &Corpus<'_>,
        picks: &[u32],
        x: &mut B::Tensor,
        observer: &dyn Observer,
        each: &mut Each<'_, Self, B>,
    ) -> Result<()> {
        let (d, size) = (corpus.dims, self.rows);
        let mut values = vec![0.0f32; size * d];
        for (piece, part) in picks.chunks(size).enumerate() {
            check(observer)?;
            for (row, index) in values.chunks_exact_mut(d).zip(part) {
                row.copy_from_slice(&corpus.values[*index as usize * d..][..d]);
            }
            let n = part.len();
            self.at.backend.write_tensor(x, 0, &values[..n * d])?;
            let layout = self.layout;
            self.at.forward(&layout.encoder, &self.params, whole(x), n, None, &mut self.encoder)?;
            each(self, x, piece * size, n)?;
        }
        Ok(())
    }

    /// `[picks, code dims]` code vectors, on the host.
    pub fn code_vectors(
        &mut self,
        corpus: &Corpus<'_>,
        picks: &[u32],
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<Vec<f32>> {
        let e = self.layout.code_dims;
        let mut out = vec![0.0f32; picks.len() * e];
        self.encode_pieces(corpus, picks, x, observer, &mut |session, _, first, n| {
            let part = &mut out[first * e..(first + n) * e];
            session.at.backend.read_tensor(session.encoder.output(), 0, part)
        })?;
        Ok(out)
    }

    /// Squared errors of the prefixes of each depth (of full IDs only, unless `depths`), the levels' errors in code space, and the
    /// codes.
    fn pass(
        &mut self,
        corpus: &Corpus<'_>,
        picks: &[u32],
        depths: bool,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<(Vec<f64>, Vec<u32>)> {
        let levels = self.layout.sizes.len();
        let (p, e) = (self.layout.dims, self.layout.code_dims);
        let mut errors = vec![0.0f64; 2 * levels];
        let mut codes = vec![0u32; picks.len() * levels];
        let mut sums = self.at.backend.zeros("errors", 2 * levels)?;
        let mut labels = vec![0u32; self.rows];
        let mut read = vec![0.0f32; 2 * levels];
        let first_depth = if depths { 1 } else { levels };
        self.encode_pieces(corpus, picks, x, observer, &mut |session, x, first, n| {
            let backend = session.at.backend;
            for depth in first_depth..=levels {
                session.quantize_from(n, if depth == first_depth { 0 } else { depth - 1 }, depth, None)?;
                let layout = session.layout;
                let quantized = whole(&session.quantized);
                session.at.forward(&layout.decoder, &session.params, quantized, n, None, &mut session.decoder)?;
                let output = whole(session.decoder.output());
                backend.subtract(n * p, 1.0, output, whole(x), &mut session.room.grad)?;
                backend.total(n * p, true, 1.0, false, whole(&session.room.grad), &mut sums, depth - 1)?;
            }
            for level in 0..levels {
                let left = whole(&session.residuals[level]);
                backend.total(n * e, true, 1.0, false, left, &mut sums, levels + level)?;
                backend.read_index(&session.labels[level], 0, &mut labels[..n])?;
                for (i, label) in labels[..n].iter().enumerate() {
                    codes[(first + i) * levels + level] = *label;
                }
            }
            backend.read_tensor(&sums, 0, &mut read)?;
            errors.iter_mut().zip(&read).for_each(|(e, v)| *e += f64::from(*v));
            Ok(())
        })?;
        Ok((errors, codes))
    }

    /// Looks at training and validation rows; with `depths`, also at the error of shorter prefixes. In f32, whatever the training
    /// multiplies with, as the codec will encode in f32.
    pub fn look(
        &mut self,
        corpus: &Corpus<'_>,
        training: &[u32],
        validation: &[u32],
        depths: bool,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<CorpusMeasures> {
        let precision = std::mem::replace(&mut self.at.precision, Precision::F32);
        let look = self.look_in_f32(corpus, training, validation, depths, x, observer);
        self.at.precision = precision;
        look
    }

    fn look_in_f32(
        &mut self,
        corpus: &Corpus<'_>,
        training: &[u32],
        validation: &[u32],
        depths: bool,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<CorpusMeasures> {
        let (mut errors, mut codes) = self.pass(corpus, training, depths, x, observer)?;
        let full = self.layout.sizes.len() - 1;
        let mut validation_r2 = None;
        if !validation.is_empty() {
            let (more, kept_out) = self.pass(corpus, validation, depths, x, observer)?;
            validation_r2 = Some(r2(more[full], corpus.variance.1));
            errors.iter_mut().zip(more).for_each(|(e, v)| *e += v);
            codes.extend(kept_out);
        }
        let rows = training.len() + validation.len();
        let levels = self.layout.sizes.len();
        let mut loads: Vec<Vec<u64>> = self.layout.sizes.iter().map(|k| vec![0; *k]).collect();
        for id in codes.chunks_exact(levels) {
            for (load, code) in loads.iter_mut().zip(id) {
                load[*code as usize] += 1;
            }
        }
        let mut ids: Vec<&[u32]> = codes.chunks_exact(levels).collect();
        ids.sort_unstable();
        let health: Vec<LevelHealth> = (0..levels)
            .map(|level| {
                let counts: Vec<u32> = loads[level].iter().map(|c| *c as u32).collect();
                let used = counts.iter().filter(|c| **c > 0).count();
                let ends = ids.windows(2).filter(|w| w[0][..=level] != w[1][..=level]).count();
                LevelHealth {
                    level,
                    codebook_size: counts.len(),
                    utilisation: used as f64 / counts.len() as f64,
                    perplexity: perplexity(&counts),
                    distinct: (ends + 1) as f64 / rows.max(1) as f64,
                    squared_l2: errors[levels + level] / rows.max(1) as f64,
                    r2: (depths || level == full).then(|| r2(errors[level], corpus.variance.0)),
                }
            })
            .collect();
        let collision_rate = 1.0 - health.last().map_or(1.0, |l| l.distinct);
        let r2 = r2(errors[full], corpus.variance.0);
        let shared = (self.layout.books().len() == 1 && levels > 1).then(|| {
            let mut together = vec![0u32; loads[0].len()];
            loads.iter().for_each(|l| together.iter_mut().zip(l).for_each(|(t, l)| *t += *l as u32));
            let used = together.iter().filter(|c| **c > 0).count();
            SharedHealth { utilisation: used as f64 / together.len() as f64, perplexity: perplexity(&together) }
        });
        Ok(CorpusMeasures { health: Health { rows, r2, validation_r2, collision_rate, levels: health, shared }, loads })
    }
}

fn r2(error: f64, variance: f64) -> f64 {
    if variance > 0.0 { 1.0 - error / variance } else { 0.0 }
}
