//! A sample of rows that does not depend on how they are divided: the distinct rows with the smallest hashes.

use crate::data::MatrixView;
use rayon::prelude::*;

/// The rows with the smallest hashes among those that were offered, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct HashSample {
    /// How many are kept.
    pub most: usize,
    /// By hash, then bits. More than `most` while rows are offered.
    pub rows: Vec<(u64, Box<[f32]>)>,
}

/// A hash of a row's bits, the same on every machine.
fn hash(seed: u64, row: &[f32]) -> u64 {
    // SplitMix64's steps, a word at a time.
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let start = mix(seed ^ 0x5345_4d45_4d45_2121);
    row.iter().fold(start, |state, value| {
        mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ u64::from(value.to_bits()).wrapping_mul(0xd6e8_feb8_6659_fd93))
    })
}

type Entry = (u64, Box<[f32]>);

fn order(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    a.0.cmp(&b.0).then_with(|| a.1.iter().map(|v| v.to_bits()).cmp(b.1.iter().map(|v| v.to_bits())))
}

impl HashSample {
    pub fn of(most: usize) -> Self {
        Self { most, rows: Vec::new() }
    }

    /// Offers rows; those whose hash is above `threshold` are not looked at.
    pub fn offer(&mut self, rows: MatrixView<'_>, seed: u64, threshold: u64) {
        let hashes: Vec<u64> =
            (0..rows.rows()).into_par_iter().with_min_len(256).map(|i| hash(seed, rows.row(i))).collect();
        for (i, hash) in hashes.into_iter().enumerate().filter(|(_, hash)| *hash <= threshold) {
            self.rows.push((hash, rows.row(i).into()));
            if self.rows.len() >= 2 * self.most.max(512) {
                self.settle();
            }
        }
    }

    /// Sorts, drops what is there twice, and keeps the smallest.
    pub fn settle(&mut self) {
        self.rows.sort_unstable_by(order);
        self.rows.dedup_by(|a, b| order(a, b).is_eq());
        self.rows.truncate(self.most);
    }

    pub fn merge(&mut self, other: &Self) {
        self.rows.extend(other.rows.iter().cloned());
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;

    #[test]
    fn a_sample_is_the_same_however_rows_are_divided() {
        let mut random = crate::rng::stream(3, "test", 0);
        let mut values: Vec<f32> = (0..4000).map(|_| random.normal() as f32).collect();
        // The first hundred rows stand there twice.
        values.extend_from_within(..400);
        let rows = Matrix::from_vec(1100, 4, values).unwrap();
        let mut whole = HashSample::of(64);
        whole.offer(rows.view(), 9, u64::MAX);
        whole.settle();
        let mut parts: Vec<HashSample> = Vec::new();
        for start in (0..1100).step_by(110) {
            let mut part = HashSample::of(64);
            part.offer(rows.view().slice(start, start + 110), 9, u64::MAX / 2);
            part.settle();
            parts.push(part);
        }
        let mut merged = parts.pop().unwrap();
        parts.iter().rev().for_each(|part| merged.merge(part));
        assert_eq!(merged, whole);
        assert_eq!(whole.rows.len(), 64);
        // Spread over all rows, not taken from their beginning: of 1,000 distinct rows about every sixteenth.
        let late = whole.rows.iter().filter(|(_, row)| (500..1000).any(|i| rows.row(i) == &**row)).count();
        assert!((16..48).contains(&late), "{late}");
        let mut other = HashSample::of(64);
        other.offer(rows.view(), 10, u64::MAX);
        other.settle();
        assert_ne!(other, whole);
    }
}
