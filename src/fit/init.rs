//! Where k-means starts.

use crate::compute::Backend;
use crate::error::Result;
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

/// `[k, d]` first codewords.
///
/// Greedy k-means++ takes, of several rows drawn with probability proportional to their squared L2 to what is already
/// chosen, the one that lowers the total most. Here the draws for up to eight choices are made together, so that their
/// distances are one matrix product: after each choice the remaining candidates are judged again, only the
/// probabilities are up to seven choices old, never older than an eighth of all choices so far.
/// O(sample·k·d·4).
pub fn init<B: Backend>(backend: &B, rows: &B::Rows, k: usize, init: Init, random: &mut Stream) -> Result<Vec<f32>> {
    let (n, d) = backend.shape(rows);
    let mut out = vec![0.0f32; k * d];
    if init == Init::Random {
        for (slot, index) in out.chunks_exact_mut(d).zip(random.sample(n as u64, k)) {
            backend.read_rows(rows, index as usize, slot)?;
        }
        return Ok(out);
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
    let mut seeding = backend.seeding(sample)?;
    let mut chosen: Vec<u32> = Vec::with_capacity(k);
    while chosen.len() < k {
        let together = (chosen.len() / 8).clamp(1, 8).min(k - chosen.len());
        let uniforms: Vec<f64> = (0..together * CANDIDATES).map(|_| random.uniform()).collect();
        let mut drawn = backend.seeding_draw(&seeding, &uniforms)?;
        drawn.sort_unstable();
        drawn.dedup();
        let mut left = backend.seeding_try(sample, &mut seeding, &drawn)?;
        for _ in 0..together {
            let best = (0..drawn.len())
                .filter(|slot| !chosen.contains(&drawn[*slot]))
                .min_by(|a, b| left[*a].total_cmp(&left[*b]).then(a.cmp(b)));
            // All drawn rows are chosen already (duplicates abound): the next round draws again, or ends below.
            let Some(slot) = best else { break };
            chosen.push(drawn[slot]);
            left = backend.seeding_accept(&mut seeding, slot)?;
        }
        if left.iter().all(|v| *v <= 0.0) {
            // Every row of the sample coincides with a chosen one: whatever is missing is filled with rows not yet
            // chosen, and Lloyd's reseeding sorts them out.
            let missing = (0..size as u32).filter(|i| !chosen.contains(i)).take(k - chosen.len()).collect::<Vec<_>>();
            chosen.extend(missing);
            break;
        }
    }
    for (slot, index) in out.chunks_exact_mut(d).zip(&chosen) {
        backend.read_rows(sample, *index as usize, slot)?;
    }
    Ok(out)
}
