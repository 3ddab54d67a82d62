//! Initialisation of k-means: random rows or greedy k-means++.

use crate::compute::{Backend, Metric};
use crate::error::Result;
use crate::progress::{Event, Observer, check};
use crate::rng::Stream;
use serde::{Deserialize, Serialize};

/// How the first codewords are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Greedy k-means++ (Arthur and Vassilvitskii 2007, with several candidates a choice as scikit-learn has it) on a
    /// sample of `max(8,192, 16·codebook_size)` rows, or all rows if there are no more.
    #[default]
    KMeansPlusPlus,
    /// Distinct rows at random.
    Random,
}

/// Rows a k-means++ start looks at.
#[must_use]
pub fn sample_size(n: usize, k: usize) -> usize {
    n.min((16 * k).max(8_192))
}

/// Candidates a choice. scikit-learn takes 2 + ln k, 7 for 256; four and a smaller sample cost .001 to .003 of R² on two
/// catalogues and save a tenth of the training, and exchanges win back more than that.
const CANDIDATES: usize = 4;

/// Choices that are made one by one, with [`CANDIDATES`] each. A codebook as large as this has a codeword for every few rows of the
/// sample, so that what a single choice takes off the total hardly differs between candidates; the rest is drawn without.
const GREEDY: usize = 4096;
/// Codebooks of at least this size report the progress of their initialisation.
pub const TOLD: usize = 1024;

/// Rows that are chosen, in their order, each once.
struct Chosen {
    rows: Vec<u32>,
    taken: Vec<bool>,
}

impl Chosen {
    fn add(&mut self, row: u32) {
        self.taken[row as usize] = true;
        self.rows.push(row);
    }

    /// Fills up to `k` with the first rows that are not chosen yet.
    fn fill(&mut self, k: usize) {
        for row in 0..self.taken.len() {
            if self.rows.len() == k {
                break;
            }
            if !self.taken[row] {
                self.add(row as u32);
            }
        }
    }
}

/// `[k, d]` first codewords.
///
/// Greedy k-means++ takes, of several rows drawn with probability proportional to their squared L2 to what is already
/// chosen, the one that lowers the total most. Here the draws for up to eight choices are made together, so that their
/// distances are one matrix product: after each choice the remaining candidates are judged again, only the
/// probabilities are up to seven choices old, never older than an eighth of all choices so far.
/// O(sample·k·d·4), and O(sample·k·d) for what is past [`GREEDY`] choices.
pub fn init<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    k: usize,
    init: Init,
    random: &mut Stream,
    observer: &dyn Observer,
) -> Result<Vec<f32>> {
    let (n, d) = backend.shape(rows);
    let mut out = vec![0.0f32; k * d];
    if init == Init::Random {
        for (slot, index) in out.chunks_exact_mut(d).zip(random.sample(n as u64, k)) {
            backend.read_rows(rows, index as usize, slot)?;
        }
        return Ok(out);
    }
    if k >= TOLD {
        observer.event(Event::Phase { name: "seed", total: Some(k as u64), unit: "codewords" });
    }
    let size = sample_size(n, k);
    let gathered;
    let sample = if size < n {
        let picks: Vec<u32> = random.sample(n as u64, size).into_iter().map(|i| i as u32).collect();
        gathered = backend.gather_rows(rows, &picks)?;
        &gathered
    } else {
        rows
    };
    let mut chosen = Chosen { rows: Vec::with_capacity(k), taken: vec![false; size] };
    let whole = greedy(backend, sample, k.min(GREEDY), &mut chosen, random, observer, k)?;
    if whole && chosen.rows.len() < k {
        draw_rest(backend, sample, k, &mut chosen, random, observer)?;
    }
    // Every row of the sample coincides with a chosen one: whatever is missing is filled with rows not yet chosen, and Lloyd's
    // reseeding sorts them out.
    chosen.fill(k);
    for (slot, index) in out.chunks_exact_mut(d).zip(&chosen.rows) {
        backend.read_rows(sample, *index as usize, slot)?;
    }
    Ok(out)
}

/// Reports how many of the `k` first codewords are chosen, for codebooks large enough that this takes a while.
fn report_progress(observer: &dyn Observer, done: usize, k: usize) -> Result<()> {
    check(observer)?;
    if k >= TOLD {
        observer.event(Event::Advance { done: done as u64 });
    }
    Ok(())
}

/// Chooses up to `most` rows greedily; false once every row coincides with a chosen one.
fn greedy<B: Backend>(
    backend: &B,
    sample: &B::Rows,
    most: usize,
    chosen: &mut Chosen,
    random: &mut Stream,
    observer: &dyn Observer,
    k: usize,
) -> Result<bool> {
    let mut seeding = backend.seeding(sample)?;
    while chosen.rows.len() < most {
        let together = (chosen.rows.len() / 8).clamp(1, 8).min(most - chosen.rows.len());
        let uniforms: Vec<f64> = (0..together * CANDIDATES).map(|_| random.uniform()).collect();
        let mut drawn = backend.seeding_draw(&seeding, &uniforms)?;
        drawn.sort_unstable();
        drawn.dedup();
        let mut left = backend.seeding_try(sample, &mut seeding, &drawn)?;
        for _ in 0..together {
            let best = (0..drawn.len())
                .filter(|slot| !chosen.taken[drawn[*slot] as usize])
                .min_by(|a, b| left[*a].total_cmp(&left[*b]).then(a.cmp(b)));
            // All drawn rows are chosen already (duplicates abound): the next round draws again, or ends below.
            let Some(slot) = best else { break };
            chosen.add(drawn[slot]);
            left = backend.seeding_accept(&mut seeding, slot)?;
        }
        report_progress(observer, chosen.rows.len(), k)?;
        if left.iter().all(|v| *v <= 0.0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Draws the rest up to `k`, an eighth of what is chosen at a time, with probability proportional to the squared L2 to what was chosen
/// before. Each draw's distances are one pass of `assign`.
fn draw_rest<B: Backend>(
    backend: &B,
    sample: &B::Rows,
    k: usize,
    chosen: &mut Chosen,
    random: &mut Stream,
    observer: &dyn Observer,
) -> Result<()> {
    let (n, d) = backend.shape(sample);
    let norms = backend.row_norms(sample)?;
    let mut nearest = vec![f64::INFINITY; n];
    let mut partition = backend.partition(n)?;
    let mut fresh = 0;
    while chosen.rows.len() < k {
        let mut values = vec![0.0f32; (chosen.rows.len() - fresh) * d];
        for (slot, row) in values.chunks_exact_mut(d).zip(&chosen.rows[fresh..]) {
            backend.read_rows(sample, *row as usize, slot)?;
        }
        let book = backend.codebook(chosen.rows.len() - fresh, d, &values, Metric::SquaredL2)?;
        backend.assign(sample, &book, &mut partition)?;
        let found = backend.read_partition(&partition)?;
        for ((near, norm), best) in nearest.iter_mut().zip(&norms).zip(&found.best) {
            *near = near.min((f64::from(*norm) + 2.0 * f64::from(*best)).max(0.0));
        }
        // A chosen row is at 0 from itself, whatever rounding says.
        chosen.rows[fresh..].iter().for_each(|row| nearest[*row as usize] = 0.0);
        fresh = chosen.rows.len();
        let sums: Vec<f64> = nearest
            .iter()
            .scan(0.0, |sum, v| {
                *sum += v;
                Some(*sum)
            })
            .collect();
        let total = sums.last().copied().unwrap_or(0.0);
        if total.is_nan() || total <= 0.0 {
            return Ok(());
        }
        for _ in 0..(fresh / 8).max(1).min(k - fresh) {
            let target = random.uniform() * total;
            let row = sums.partition_point(|sum| *sum <= target).min(n - 1) as u32;
            if !chosen.taken[row as usize] {
                chosen.add(row);
            }
        }
        // Where all draws were chosen already, the next ones differ.
        report_progress(observer, chosen.rows.len(), k)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Storage as _;
    use crate::compute::cpu::Cpu;
    use crate::rng::stream;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Seen(Mutex<(Option<u64>, Vec<u64>)>);

    impl Observer for Seen {
        fn event(&self, event: Event<'_>) {
            let mut seen = self.0.lock().unwrap();
            match event {
                Event::Phase { name: "seed", total, .. } => seen.0 = total,
                Event::Advance { done } => seen.1.push(done),
                _ => {}
            }
        }
    }

    type Point = [f32; 3];

    /// Points of a grid, `side` a way.
    fn grid(side: usize, count: usize) -> Vec<Point> {
        (0..count)
            .map(|i| i % side.pow(3))
            .map(|i| [i % side, i / side % side, i / side / side].map(|v| v as f32))
            .collect()
    }

    /// The first codewords, sorted.
    fn first(points: &[Point], k: usize, observer: &dyn Observer) -> Vec<Point> {
        let (backend, values) = (Cpu::new(), points.as_flattened());
        let fill = |start: usize, out: &mut [f32]| {
            out.copy_from_slice(&values[3 * start..3 * start + out.len()]);
            Ok(())
        };
        let rows = backend.upload_rows(points.len(), 3, &mut { fill }).unwrap();
        let found = init(&backend, &rows, k, Init::KMeansPlusPlus, &mut stream(3, "test", 0), observer).unwrap();
        let mut found = found.as_chunks::<3>().0.to_vec();
        found.sort_by(|a, b| a.partial_cmp(b).unwrap());
        found
    }

    #[test]
    fn a_large_start_is_told_and_distinct() {
        let (points, seen) = (grid(20, 8000), Seen::default());
        let mut found = first(&points, 6000, &seen);
        found.dedup();
        assert_eq!(found.len(), 6000);
        // What is not chosen lies beside what is.
        let near = |p: &Point| found.iter().any(|c| c.iter().zip(p).map(|(a, b)| (a - b).powi(2)).sum::<f32>() <= 4.0);
        assert!(points.iter().all(near));
        let (total, done) = seen.0.into_inner().unwrap();
        assert_eq!((total, done.last().copied()), (Some(6000), Some(6000)));
        assert!(done.windows(2).all(|w| w[0] <= w[1]));
    }

    #[test]
    fn copies_of_few_rows_fill_a_large_start() {
        let mut found = first(&grid(17, 6000), 5500, &());
        assert_eq!(found.len(), 5500);
        found.dedup();
        assert_eq!(found.len(), 17 * 17 * 17);
        assert_eq!(first(&[[1.0; 3], [1.0; 3], [2.0; 3], [2.0; 3]], 3, &()).len(), 3);
    }
}
