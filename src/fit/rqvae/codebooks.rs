//! Codebooks: how they start, how they are fitted again, and how dead codewords come back.

use super::config::{CodebookStart, CodebookUpdate};
use super::health::Corpus;
use super::session::Session;
use crate::compute::Metric;
use crate::compute::moments::Moments;
use crate::compute::tensor::{Exponent, Layout, Product, TensorBackend, whole};
use crate::error::Result;
use crate::fit::Init;
use crate::fit::kmeans::{self, EmptyPolicy, LevelSettings};
use crate::progress::{Event, Observer};
use crate::rng::{Stream, stream};

/// Rows times codewords of the largest level that balanced iterations look at: Sinkhorn keeps a value for each.
const BALANCE_VALUES: usize = 1 << 21;
/// Sinkhorn iterations of theirs.
const BALANCE_ITERATIONS: usize = 8;

/// Forwards notes and the wish to stop, not the iterations: these are no phase of their own.
struct QuietObserver<'a>(&'a dyn Observer);

impl Observer for QuietObserver<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Note(_) = event {
            self.0.event(event);
        }
    }
    fn stop(&self) -> bool {
        self.0.stop()
    }
}

/// What a start or a fit found: codewords and loads of each distinct codebook.
struct CodebookFit {
    values: Vec<Vec<f32>>,
    counts: Vec<Vec<u64>>,
    rows: usize,
}

impl<B: TensorBackend> Session<'_, B> {
    fn upload_vectors(&self, vectors: &[f32]) -> Result<B::Rows> {
        let e = self.layout.code_dims;
        self.at.backend.upload_rows(vectors.len() / e, e, &mut |start, out| {
            out.copy_from_slice(&vectors[start * e..start * e + out.len()]);
            Ok(())
        })
    }

    /// Starts all codebooks from the code vectors of training rows.
    pub fn start_codebooks(
        &mut self,
        corpus: &Corpus<'_>,
        training: &[u32],
        x: &mut B::Tensor,
        seed: u64,
        observer: &dyn Observer,
    ) -> Result<()> {
        let (config, e) = (self.at.config, self.layout.code_dims);
        let mut random = stream(seed, "rqvae.codebooks", 0);
        let fit = match config.start {
            CodebookStart::Uniform => {
                let values: Vec<Vec<f32>> =
                    self.layout.books().into_iter().map(|(_, k)| uniform(k, e, &mut random)).collect();
                let counts = values.iter().map(|v| vec![1; v.len() / e]).collect();
                CodebookFit { values, counts, rows: training.len() }
            }
            CodebookStart::Rows => {
                let most = self.layout.sizes.iter().copied().max().unwrap_or(0);
                let picks = sample(training, most.max(self.rows), &mut random);
                let vectors = self.code_vectors(corpus, &picks, x, observer)?;
                self.residual_start(&vectors, 0, Init::Random, observer)?
            }
            CodebookStart::KMeans { iterations, rows } => {
                let picks = sample(training, rows, &mut random);
                let vectors = self.code_vectors(corpus, &picks, x, observer)?;
                self.residual_start(&vectors, iterations, Init::KMeansPlusPlus, observer)?
            }
        };
        self.adopt(&fit)
    }

    /// Residual k-means over code vectors, level by level. A shared codebook is put together from one part a level.
    fn residual_start(
        &self,
        vectors: &[f32],
        iterations: usize,
        init: Init,
        observer: &dyn Observer,
    ) -> Result<CodebookFit> {
        let (backend, layout, config) = (self.at.backend, self.layout, self.at.config);
        let levels = layout.sizes.len();
        let shared = layout.books().len() == 1 && levels > 1;
        let mut rows = self.upload_vectors(vectors)?;
        let n = backend.shape(&rows).0;
        let mut fit = CodebookFit { values: Vec::new(), counts: Vec::new(), rows: n };
        for level in 0..levels {
            let whole = layout.sizes[level];
            let k = if shared { whole * (level + 1) / levels - whole * level / levels } else { whole };
            if k == 0 {
                continue;
            }
            let settings = LevelSettings {
                k,
                iterations,
                tolerance: 1e-4,
                starts: 1,
                seed: config.seed,
                level,
                metric: Metric::SquaredL2,
                init,
                first: None,
                empty: EmptyPolicy::Farthest,
                exchange: iterations > 0,
            };
            let outcome = kmeans::fit::<B>(backend, &rows, &settings, &QuietObserver(observer))?;
            backend.residual(&mut rows, &outcome.codebook, &outcome.partition)?;
            let values = backend.read_codebook(&outcome.codebook)?;
            let counts: Vec<u64> = outcome.counts.iter().map(|c| u64::from(*c)).collect();
            if shared && level > 0 {
                fit.values[0].extend(values);
                fit.counts[0].extend(counts);
            } else {
                fit.values.push(values);
                fit.counts.push(counts);
            }
        }
        Ok(fit)
    }

    /// Fits the codebooks to the code vectors of training rows from where they are, a shared one to the rows of all levels.
    /// Balanced iterations take at most so many rows, evenly spaced, that rows times codewords stay within [`BALANCE_VALUES`].
    /// Returns how many codewords without rows were moved.
    #[allow(clippy::too_many_arguments)]
    pub fn refit(
        &mut self,
        corpus: &Corpus<'_>,
        training: &[u32],
        x: &mut B::Tensor,
        iterations: usize,
        balance: Option<f64>,
        observer: &dyn Observer,
    ) -> Result<u64> {
        let most = self.layout.sizes.iter().copied().max().unwrap_or(0);
        let step =
            if balance.is_some() { training.len().saturating_mul(most).div_ceil(BALANCE_VALUES).max(1) } else { 1 };
        let picks: Vec<u32> = training.iter().copied().step_by(step).collect();
        let vectors = self.code_vectors(corpus, &picks, x, observer)?;
        let shared = self.layout.books().len() == 1 && self.layout.sizes.len() > 1;
        let (fit, moved) = if shared {
            (self.shared_lloyd(&vectors, iterations)?, 0)
        } else {
            self.residual_lloyd(&vectors, iterations, balance)?
        };
        self.adopt(&fit)?;
        Ok(moved)
    }

    fn codebook_values(&self, book: usize) -> Result<Vec<f32>> {
        let (place, k) = self.layout.books()[book];
        let mut values = vec![0.0f32; k * self.layout.code_dims];
        self.at.backend.read_tensor(&self.params, place, &mut values)?;
        Ok(values)
    }

    fn residual_lloyd(&self, vectors: &[f32], iterations: usize, balance: Option<f64>) -> Result<(CodebookFit, u64)> {
        let (backend, layout, e) = (self.at.backend, self.layout, self.layout.code_dims);
        let mut rows = self.upload_vectors(vectors)?;
        let n = backend.shape(&rows).0;
        let mut fit = CodebookFit { values: Vec::new(), counts: Vec::new(), rows: n };
        let mut moved = 0;
        for (level, k) in layout.sizes.iter().copied().enumerate() {
            let mut values = self.codebook_values(level)?;
            if let Some(epsilon) = balance {
                values = self.balanced_lloyd(&rows, values, iterations, epsilon)?;
            }
            let mut book = backend.codebook(k, e, &values, Metric::SquaredL2)?;
            let mut partition = backend.partition(n)?;
            let ones = vec![1.0f32; k];
            for _ in 0..if balance.is_some() { 0 } else { iterations } {
                backend.assign(&rows, &book, &mut partition)?;
                let counts = backend.tally(&mut partition, k)?;
                let changes = kmeans::reseed(backend, &rows, &partition, &counts)?;
                backend.update(&rows, &mut partition, &mut book, &ones)?;
                if !changes.is_empty() {
                    backend.set_codewords(&mut book, &changes)?;
                    moved += changes.len() as u64;
                }
            }
            backend.assign(&rows, &book, &mut partition)?;
            let counts = backend.tally(&mut partition, k)?;
            backend.residual(&mut rows, &book, &partition)?;
            fit.values.push(backend.read_codebook(&book)?);
            fit.counts.push(counts.into_iter().map(u64::from).collect());
        }
        Ok((fit, moved))
    }

    /// Lloyd's iterations whose labels a Sinkhorn balances.
    fn balanced_lloyd(&self, rows: &B::Rows, values: Vec<f32>, iterations: usize, epsilon: f64) -> Result<Vec<f32>> {
        let (backend, precision, e) = (self.at.backend, self.at.precision, self.layout.code_dims);
        let (n, k) = (backend.shape(rows).0, values.len() / e);
        let mut z = backend.zeros("rows", n * e)?;
        backend.rows_to_tensor(rows, 0, n, &mut z)?;
        let (mut dots, mut labels) = (backend.zeros("dot products", n * k)?, backend.index("labels", n)?);
        let (mut half, mut v) = (backend.zeros("half norms", k)?, backend.zeros("potentials", k)?);
        let (mut next, mut sum) = (backend.zeros("residuals", n * e)?, backend.zeros("sums", n * e)?);
        let (mut counts, mut sums) = (backend.zeros("counts", k)?, backend.zeros("sums", k * e)?);
        let (mut averages, mut means) = (backend.zeros("counts", k + 1)?, backend.zeros("means", k * e)?);
        let (mut book, mut error) = (backend.zeros("codebook", k * e)?, backend.zeros("error", 1)?);
        backend.write_tensor(&mut book, 0, &values)?;
        for _ in 0..iterations {
            let product = Product { layout: Layout::Nt, m: n, n: k, k: e, alpha: 1.0, accumulate: false };
            backend.half_norms((k, e), whole(&book), &mut half)?;
            backend.matmul(&product, precision, whole(&z), whole(&book), &mut dots, 0)?;
            backend.nearest((n, k), &dots, &half, &mut labels)?;
            backend.quantize((n, e, k), true, &z, whole(&book), &labels, &mut next, &mut sum)?;
            backend.total(n * e, true, 1.0 / n as f32, false, whole(&next), &mut error, 0)?;
            let mut mean = [0.0f32];
            backend.read_tensor(&error, 0, &mut mean)?;
            let exponent = Exponent::Fixed { scale: (epsilon * f64::from(mean[0])).max(1e-20) as f32 };
            backend.sinkhorn((n, e, k), exponent, BALANCE_ITERATIONS, &z, &half, &mut dots, &mut v, &mut labels)?;
            backend.segment_count((n, k), false, &labels, &mut counts)?;
            backend.segment_sum((n, e, k), 1.0, false, &z, &labels, &mut sums, 0)?;
            // An average that forgets everything is the mean of this pass.
            backend.ema((k, e), 0.0, 1e-12, &counts, &sums, &mut averages, &mut means, &mut book, 0)?;
        }
        let mut out = values;
        backend.read_tensor(&book, 0, &mut out)?;
        Ok(out)
    }

    /// Lloyd's iterations of one codebook over the inputs of all levels.
    fn shared_lloyd(&self, vectors: &[f32], iterations: usize) -> Result<CodebookFit> {
        let (backend, layout, e) = (self.at.backend, self.layout, self.layout.code_dims);
        let k = layout.sizes[0];
        let mut values = self.codebook_values(0)?;
        let mut counts = vec![0u64; k];
        let mut n = 0;
        for round in 0..=iterations {
            let mut rows = self.upload_vectors(vectors)?;
            n = backend.shape(&rows).0;
            let book = backend.codebook(k, e, &values, Metric::SquaredL2)?;
            let mut sums = vec![0.0f64; k * e];
            counts.fill(0);
            for _ in &layout.sizes {
                let mut partition = backend.partition(n)?;
                backend.assign(&rows, &book, &mut partition)?;
                let loads = backend.tally(&mut partition, k)?;
                counts.iter_mut().zip(&loads).for_each(|(c, l)| *c += u64::from(*l));
                if round < iterations {
                    let more = backend.centroid_sums(&rows, &mut partition, k)?;
                    sums.iter_mut().zip(more).for_each(|(s, m)| *s += m);
                }
                backend.residual(&mut rows, &book, &partition)?;
            }
            if round < iterations {
                for ((codeword, sum), count) in values.chunks_exact_mut(e).zip(sums.chunks_exact(e)).zip(&counts) {
                    if *count > 0 {
                        codeword.iter_mut().zip(sum).for_each(|(c, s)| *c = (s / *count as f64) as f32);
                    }
                }
            }
        }
        Ok(CodebookFit { values: vec![values], counts: vec![counts], rows: n })
    }

    /// Takes codebooks over, and lets averages and moments begin from them.
    fn adopt(&mut self, fit: &CodebookFit) -> Result<()> {
        let backend = self.at.backend;
        self.codebooks_moved = true;
        for (book, (place, k)) in self.layout.books().into_iter().enumerate() {
            backend.write_tensor(&mut self.params, place, &fit.values[book])?;
            backend.clear(&mut self.first, place, k * self.layout.code_dims)?;
            backend.clear(&mut self.second, place, k * self.layout.code_dims)?;
            // What a steady average of batches would hold.
            let share = self.at.config.batch_rows as f64 / fit.rows.max(1) as f64;
            let loads: Vec<f32> = fit.counts[book].iter().map(|c| (*c as f64 * share) as f32).collect();
            self.set_averages(book, &fit.values[book], &loads)?;
        }
        Ok(())
    }

    /// Starts the averages of a codebook from codewords and the rows that each stands for.
    fn set_averages(&mut self, book: usize, values: &[f32], loads: &[f32]) -> Result<()> {
        let CodebookUpdate::Ema { epsilon, .. } = self.at.config.codebook else { return Ok(()) };
        let (backend, e, k) = (self.at.backend, self.layout.code_dims, loads.len());
        let total: f64 = loads.iter().map(|n| f64::from(*n)).sum();
        let smooth = total / (total + k as f64 * epsilon);
        let mut means = values.to_vec();
        for (mean, n) in means.chunks_exact_mut(e).zip(loads) {
            let size = ((f64::from(*n) + epsilon) * smooth) as f32;
            mean.iter_mut().for_each(|m| *m *= size);
        }
        let (counts, sums) = &mut self.ema[book];
        backend.write_tensor(counts, 0, loads)?;
        backend.write_tensor(counts, k, &[total as f32])?;
        backend.write_tensor(sums, 0, &means)
    }

    /// Moves codewords that fewer rows chose than `threshold` of an equal share onto inputs of the last batch, drawn with
    /// probability proportional to their squared L2 to their codeword; counts begin anew. Returns how many moved.
    pub fn restart_dead(&mut self, n: usize, threshold: f64, random: &mut Stream) -> Result<u64> {
        let (backend, e) = (self.at.backend, self.layout.code_dims);
        let mut moved = 0;
        for (book, (place, k)) in self.layout.books().into_iter().enumerate() {
            let mut usage = vec![0.0f32; k];
            backend.read_tensor(&self.usage[book], 0, &mut usage)?;
            let total: f64 = usage.iter().map(|u| f64::from(*u)).sum();
            let least = threshold * total / k as f64;
            let dead: Vec<usize> = (0..k).filter(|j| f64::from(usage[*j]) < least).collect();
            backend.clear(&mut self.usage[book], 0, k)?;
            if dead.is_empty() {
                continue;
            }
            let (mut inputs, mut left) = (Vec::new(), Vec::new());
            for level in (0..self.layout.sizes.len()).filter(|l| self.layout.book_of(*l) == book) {
                let input = if level == 0 { self.encoder.output() } else { &self.residuals[level - 1] };
                for (tensor, out) in [(input, &mut inputs), (&self.residuals[level], &mut left)] {
                    let start = out.len();
                    out.resize(start + n * e, 0.0f32);
                    backend.read_tensor(tensor, 0, &mut out[start..])?;
                }
            }
            let errors = backend.row_norms(&self.upload_vectors(&left)?)?.into_iter().map(f64::from).collect();
            let Some(mut draw) = WeightedDraw::new(errors) else { continue };
            let mut values = self.codebook_values(book)?;
            let mut loads = vec![0.0f32; k + 1];
            let ema = matches!(self.at.config.codebook, CodebookUpdate::Ema { .. });
            if ema {
                backend.read_tensor(&self.ema[book].0, 0, &mut loads)?;
            }
            let equal = loads[k] / k as f32;
            for j in dead {
                let Some(row) = draw.next(random) else { break };
                values[j * e..(j + 1) * e].copy_from_slice(&inputs[row * e..(row + 1) * e]);
                loads[j] = equal;
                let zeros = vec![0.0f32; e];
                backend.write_tensor(&mut self.first, place + j * e, &zeros)?;
                backend.write_tensor(&mut self.second, place + j * e, &zeros)?;
                moved += 1;
            }
            backend.write_tensor(&mut self.params, place, &values)?;
            self.codebooks_moved = true;
            if ema {
                loads.truncate(k);
                self.set_averages(book, &values, &loads)?;
            }
        }
        Ok(moved)
    }

    /// Mean squared L2 of each level's codewords from their mean.
    pub fn spread(&self) -> Result<Vec<f64>> {
        let books = (0..self.layout.books().len()).map(|book| {
            let codewords = Moments::of(self.at.backend, &self.upload_vectors(&self.codebook_values(book)?)?)?;
            Ok(codewords.deviation / codewords.rows.max(1) as f64)
        });
        let books: Vec<f64> = books.collect::<Result<_>>()?;
        Ok((0..self.layout.sizes.len()).map(|level| books[self.layout.book_of(level)]).collect())
    }

    /// For the diversity loss: the cluster of every codeword of each level, by k-means over codewords.
    pub fn clusters(&self, clusters: usize, observer: &dyn Observer) -> Result<Vec<Vec<u32>>> {
        let (backend, layout) = (self.at.backend, self.layout);
        (0..layout.sizes.len())
            .map(|level| {
                let rows = self.upload_vectors(&self.codebook_values(layout.book_of(level))?)?;
                let settings = LevelSettings {
                    k: clusters.min(layout.sizes[level]),
                    iterations: 10,
                    tolerance: 1e-3,
                    starts: 1,
                    seed: self.at.config.seed,
                    level,
                    metric: Metric::SquaredL2,
                    init: Init::KMeansPlusPlus,
                    first: None,
                    empty: EmptyPolicy::Keep,
                    exchange: false,
                };
                let outcome = kmeans::fit::<B>(backend, &rows, &settings, &QuietObserver(observer))?;
                Ok(backend.read_partition(&outcome.partition)?.labels)
            })
            .collect()
    }

    /// Draws for every codeword of every level another of its cluster; for one that is alone, any other.
    pub fn draw_targets(&mut self, clusters: &[Vec<u32>], epoch: u64, window: u64) -> Result<()> {
        for (level, labels) in clusters.iter().enumerate() {
            let mut random = stream(self.at.config.seed, "rqvae.diversity", epoch << 32 | window << 8 | level as u64);
            let others = |j: usize, alike: bool| -> Vec<u32> {
                let fits = |m: &usize| *m != j && (!alike || labels[*m] == labels[j]);
                (0..labels.len()).filter(fits).map(|m| m as u32).collect()
            };
            let targets: Vec<u32> = (0..labels.len())
                .map(|j| {
                    let mates = others(j, true);
                    let mates = if mates.is_empty() { others(j, false) } else { mates };
                    if mates.is_empty() { 0 } else { mates[random.below(mates.len() as u64) as usize] }
                })
                .collect();
            self.at.backend.write_index(&mut self.scratch.targets[level], 0, &targets)?;
        }
        Ok(())
    }
}

fn uniform(k: usize, e: usize, random: &mut Stream) -> Vec<f32> {
    (0..k * e).map(|_| ((2.0 * random.uniform() - 1.0) / k as f64) as f32).collect()
}

/// At most `count` of the rows, in their order.
fn sample(rows: &[u32], count: usize, random: &mut Stream) -> Vec<u32> {
    if rows.len() <= count {
        return rows.to_vec();
    }
    random.sample(rows.len() as u64, count).into_iter().map(|i| rows[i as usize]).collect()
}

/// Draws without replacement, with probability proportional to weights.
struct WeightedDraw {
    weights: Vec<f64>,
    total: f64,
}

impl WeightedDraw {
    /// `None` if no weight is above 0 or one is not finite.
    fn new(weights: Vec<f64>) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        (total > 0.0 && total.is_finite()).then_some(Self { weights, total })
    }

    fn next(&mut self, random: &mut Stream) -> Option<usize> {
        let mut left = random.uniform() * self.total;
        let mut last = None;
        for (i, weight) in self.weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = Some(i);
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        let drawn = last?;
        self.total = (self.total - self.weights[drawn]).max(0.0);
        self.weights[drawn] = 0.0;
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_distinct_and_follow_the_weights() {
        let mut random = stream(1, "draw", 0);
        let mut draw = WeightedDraw::new(vec![0.0, 1.0, 0.0, 3.0]).unwrap();
        let mut drawn = vec![draw.next(&mut random), draw.next(&mut random), draw.next(&mut random)];
        drawn.sort();
        assert_eq!(drawn, [None, Some(1), Some(3)]);
        let first = |seed| WeightedDraw::new(vec![0.0, 1.0, 0.0, 3.0]).unwrap().next(&mut stream(seed, "draw", 0));
        let heavy = (0..1000).filter(|s| first(*s) == Some(3)).count();
        assert!((700..800).contains(&heavy), "{heavy}");
        assert!(WeightedDraw::new(vec![0.0; 3]).is_none() && WeightedDraw::new(vec![f64::NAN]).is_none());
    }
}
