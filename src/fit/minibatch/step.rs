//! One mini-batch: validation, then the update of the codewords.

use super::trainer::{MiniBatchTrainer, RangeFrame};
use crate::compute::moments::Moments;
use crate::compute::{Backend, Metric};
use crate::data::{MatrixView, RowSource as _, first_non_finite, largest_magnitude};
use crate::error::{Error, Result, check_shape};
use crate::fit::init::Init;
use crate::fit::kmeans::{self, EmptyPolicy, LevelSettings};
use crate::fit::range;
use crate::fit::residual::squared_error;
use crate::fit::training_rows::refuse_zero_rows;
use crate::progress::{Event, Observer};

/// Every so many batches, codewords with less than [`IDLE`] of the mean count move to the batch's farthest rows.
const RESEED_EVERY: u64 = 20;
const IDLE: f64 = 0.02;
/// Lloyd iterations on the rows that start a level.
const START_ITERATIONS: usize = 10;
/// Name of a batch in messages.
const BATCH: &str = "batch";

/// Forwards how far the choice of first codewords is. Not the iterations, which are no phase of their own, and not the wish to stop,
/// which waits for the end of the batch.
struct StartObserver<'a>(&'a dyn Observer);

impl Observer for StartObserver<'_> {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Phase { name: "seed", .. } | Event::Advance { .. }) {
            self.0.event(event);
        }
    }
}

/// A batch that may be trained on.
pub(super) struct CheckedBatch<R> {
    /// On the device, in the frame; none for a batch of no rows.
    rows: Option<R>,
    /// The frame, where this batch decides it.
    frame: Option<RangeFrame>,
    moments: Moments,
    /// What the user should know.
    pub note: Option<String>,
}

impl MiniBatchTrainer {
    /// Uploads a batch and refuses what cannot be trained on. Changes nothing.
    pub(super) fn check_batch<B: Backend>(&self, backend: &B, rows: MatrixView<'_>) -> Result<CheckedBatch<B::Rows>> {
        check_shape("d", self.dims, rows.dims(), BATCH)?;
        let (n, d) = (rows.rows(), rows.dims());
        let mut admitted = CheckedBatch { rows: None, frame: None, moments: Moments::default(), note: None };
        if n == 0 {
            return Ok(admitted);
        }
        if let Some((first, count)) = first_non_finite(rows.as_slice(), d) {
            let (first, count, rows) = (first as u64, count as u64, n as u64);
            return Err(Error::NonFinite { first, count, rows, place: BATCH.into() });
        }
        let largest = largest_magnitude(rows.as_slice());
        let mut resident = backend.upload_rows(n, d, &mut |start, out| rows.read_rows(start, out))?;
        // Rows of zeros are zeros in any unit and leave the choice to those that follow.
        if self.frame.is_none() && largest > 0.0 {
            let unit = range::unit(largest, BATCH)?;
            let mut frame = RangeFrame::default();
            if unit != 1.0 {
                resident = backend.project(&resident, &[], &[], &vec![unit; d])?;
            }
            let moments = Moments::of(backend, &resident)?;
            // Directions depend on the origin, squared L2 does not.
            let free = self.config.metric == Metric::SquaredL2 && !self.config.normalize_residuals;
            if free && range::is_far(&moments) {
                frame.mean = moments.mean.iter().map(|m| *m as f32).collect();
                admitted.note = Some(range::far_note(&moments, unit));
                resident = backend.project(&resident, &frame.mean, &[], &[])?;
            }
            range::undo(unit, d, &mut frame.mean, &mut frame.scales)?;
            admitted.frame = Some(frame);
        } else if let Some(frame) = &self.frame {
            range::check_fits(largest, &frame.mean, &frame.scales, BATCH)?;
            if !(frame.mean.is_empty() && frame.scales.is_empty()) {
                resident = backend.project(&resident, &frame.mean, &[], &frame.scales)?;
            }
        }
        if self.config.metric == Metric::Cosine {
            refuse_zero_rows(backend, &resident, "the batch's rows")?;
        }
        admitted.moments = Moments::of(backend, &resident)?;
        admitted.rows = Some(resident);
        Ok(admitted)
    }

    /// Trains on a batch.
    pub(super) fn take<B: Backend>(
        &mut self,
        backend: &B,
        books: &mut Vec<B::Codebook>,
        batch: CheckedBatch<B::Rows>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let Some(mut resident) = batch.rows else { return Ok(()) };
        let n = backend.shape(&resident).0;
        if let Some(frame) = batch.frame {
            self.frame = Some(frame);
        }
        self.moments.merge(&batch.moments);
        // Under residual normalisation: what each row was divided by so far, to report errors in the rows' own unit.
        let mut scale: Vec<f64> = Vec::new();
        for level in 0..self.levels.len() {
            if self.config.normalize_residuals {
                let norms = backend.normalize(&mut resident)?;
                scale.resize(n, 1.0);
                scale.iter_mut().zip(&norms).for_each(|(s, v)| *s *= f64::from(*v));
                let sum = norms.iter().map(|v| f64::from(*v)).sum::<f64>();
                let state = &mut self.levels[level];
                state.norms = (state.norms.0 + sum, state.norms.1 + n as u64);
            }
            if level == books.len() {
                // This level is still being collected for, and those after it wait.
                if !self.collect(backend, books, &resident, level, observer)? {
                    break;
                }
            }
            let train = !self.config.layer_wise || level == self.current;
            let mut partition = backend.partition(n)?;
            backend.assign(&resident, &books[level], &mut partition)?;
            if train {
                self.step(backend, &mut books[level], &resident, &mut partition, level)?;
            }
            backend.residual(&mut resident, &books[level], &partition)?;
            let left = squared_error(backend, &resident, &scale)?;
            let state = &mut self.levels[level];
            state.residual = (state.residual.0 + left, state.residual.1 + n as u64);
            if self.config.layer_wise && level == self.current {
                break;
            }
        }
        self.steps += 1;
        self.rows += n as u64;
        Ok(())
    }

    /// Adds a batch's rows to the buffer; starts the level once there are enough. Says whether it is started.
    fn collect<B: Backend>(
        &mut self,
        backend: &B,
        books: &mut Vec<B::Codebook>,
        rows: &B::Rows,
        level: usize,
        observer: &dyn Observer,
    ) -> Result<bool> {
        let (n, d) = backend.shape(rows);
        let room = (self.init_rows - (self.buffer.len() / d).min(self.init_rows)).min(n);
        let mut part = vec![0.0f32; room * d];
        backend.read_rows(rows, 0, &mut part)?;
        self.buffer.extend_from_slice(&part);
        if self.buffer.len() / d < self.init_rows {
            return Ok(false);
        }
        self.start(backend, books, level, observer)?;
        Ok(true)
    }

    fn start<B: Backend>(
        &mut self,
        backend: &B,
        books: &mut Vec<B::Codebook>,
        level: usize,
        observer: &dyn Observer,
    ) -> Result<()> {
        let (d, k) = (self.dims, self.config.codebook_sizes[level]);
        let held = MatrixView::new(self.buffer.len() / d, d, &self.buffer)?;
        let sample = backend.upload_rows(held.rows(), d, &mut |start, out| held.read_rows(start, out))?;
        // A few full iterations on the buffer: data rows alone make poor codewords of residuals, and one near the origin would
        // take most rows from them for good.
        let settings = LevelSettings {
            k,
            iterations: START_ITERATIONS,
            tolerance: 0.0,
            starts: 1,
            seed: self.config.seed,
            level,
            metric: self.config.metric,
            init: Init::KMeansPlusPlus,
            first: None,
            empty: EmptyPolicy::Farthest,
            exchange: true,
        };
        let start = kmeans::fit(backend, &sample, &settings, &StartObserver(observer))?;
        let first = backend.read_codebook(&start.codebook)?;
        books.push(start.codebook);
        self.levels[level].codebook = first;
        self.levels[level].seen = vec![0; k];
        self.buffer = Vec::new();
        Ok(())
    }

    /// One update of one level.
    fn step<B: Backend>(
        &mut self,
        backend: &B,
        book: &mut B::Codebook,
        rows: &B::Rows,
        partition: &mut B::Partition,
        level: usize,
    ) -> Result<()> {
        let state = &mut self.levels[level];
        let counts = backend.tally(partition, state.seen.len())?;
        let mut weights = vec![0.0f32; counts.len()];
        for ((weight, seen), count) in weights.iter_mut().zip(&mut state.seen).zip(&counts) {
            *seen += u64::from(*count);
            if *count > 0 {
                *weight = (f64::from(*count) / *seen as f64).max(self.config.least_rate) as f32;
            }
        }
        backend.update(rows, partition, book, &weights)?;
        state.steps += 1;
        if state.steps.is_multiple_of(RESEED_EVERY) {
            let mean = state.seen.iter().sum::<u64>() as f64 / state.seen.len() as f64;
            let idle: Vec<usize> = (0..state.seen.len()).filter(|j| (state.seen[*j] as f64) < IDLE * mean).collect();
            let far = backend.farthest(rows, partition, idle.len().min(backend.shape(rows).0))?;
            let mut changes = Vec::new();
            for (j, row) in idle.into_iter().zip(far) {
                let mut value = vec![0.0; self.dims];
                backend.read_rows(rows, row as usize, &mut value)?;
                changes.push((j as u32, value));
                // As if it had never been: its next batch places it.
                state.seen[j] = 0;
                state.reseeded += 1;
            }
            if !changes.is_empty() {
                backend.set_codewords(book, &changes)?;
            }
        }
        Ok(())
    }
}
