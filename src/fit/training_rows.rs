//! Which rows are trained on, and what is refused before any of them is.

use crate::compute::Backend;
use crate::data::{RowSource, first_non_finite, largest_magnitude};
use crate::error::{Error, Result};
use crate::progress::{Event, Observer, check};
use crate::rng::stream;
use std::collections::HashSet;

/// The rows that are trained on: all of the source's, or a stated sample.
pub(super) struct TrainingRows<'a> {
    source: &'a dyn RowSource,
    picks: Option<Vec<u64>>,
    most_codewords: usize,
}

impl<'a> TrainingRows<'a> {
    /// Chooses at most `cap` rows, with `seed` where that is not all of them, for codebooks of at most `most` codewords.
    pub fn choose(
        source: &'a dyn RowSource,
        most: usize,
        cap: Option<usize>,
        seed: u64,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let n = source.rows();
        if n == 0 || source.dims() == 0 {
            return Err(Error::Data(format!("`{}` is empty: {n} rows of {} values", source.name(), source.dims())));
        }
        let used = n.min(cap.unwrap_or(usize::MAX));
        if used < most {
            return Err(Error::Data(format!(
                "{used} training rows are fewer than the {most} codewords of a level; give more rows or a smaller codebook size"
            )));
        }
        if used > u32::MAX as usize {
            return Err(Error::Data(format!("{used} training rows exceed {}", u32::MAX))
                .mend([crate::Remedy::give("max_training_rows")]));
        }
        let picks = (used < n).then(|| stream(seed, "training.sample", 0).sample(n as u64, used));
        if picks.is_some() {
            observer.event(Event::Note(&format!(
                "training on {used} of {n} rows, drawn at random without replacement with seed {seed}"
            )));
        }
        Ok(Self { source, picks, most_codewords: most })
    }

    /// Where they come from.
    pub fn source(&self) -> &'a dyn RowSource {
        self.source
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.picks.as_ref().map_or(self.source.rows(), Vec::len)
    }

    /// Reads rows from `start` on.
    pub fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.read_of(self.source, start, out)
    }

    /// Reads the same rows of another source, which has as many.
    pub fn read_of(&self, source: &dyn RowSource, start: usize, out: &mut [f32]) -> Result<()> {
        let d = source.dims();
        let Some(picks) = &self.picks else { return source.read_rows(start, out) };
        for (row, index) in out.chunks_exact_mut(d).zip(&picks[start..]) {
            source.read_rows(*index as usize, row)?;
        }
        Ok(())
    }

    /// Uploads the rows and says how large their largest value is, either way; refuses NaN, infinity, and fewer distinct rows than
    /// codewords.
    pub fn upload<B: Backend>(&self, backend: &B, observer: &dyn Observer) -> Result<(B::Rows, f32)> {
        let (n, d) = (self.len(), self.source.dims());
        observer.event(Event::Phase { name: "read", total: Some(n as u64), unit: "rows" });
        let mut bad: Option<(u64, u64)> = None;
        let mut largest = 0.0f32;
        let mut distinct: HashSet<u64> = HashSet::new();
        let rows = backend.upload_rows(n, d, &mut |start, out| {
            check(observer)?;
            self.read(start, out)?;
            if let Some((first, count)) = first_non_finite(out, d) {
                let first = self.picks.as_ref().map_or((start + first) as u64, |p| p[start + first]);
                bad = Some(bad.map_or((first, count as u64), |(f, c)| (f, c + count as u64)));
            }
            largest = largest.max(largest_magnitude(out));
            for row in out.chunks_exact(d) {
                if distinct.len() >= self.most_codewords {
                    break;
                }
                distinct.insert(fingerprint(row));
            }
            observer.event(Event::Advance { done: (start + out.len() / d) as u64 });
            Ok(())
        })?;
        if let Some((first, count)) = bad {
            return Err(Error::NonFinite { first, count, rows: n as u64, place: self.source.name() });
        }
        if distinct.len() < self.most_codewords {
            return Err(Error::Data(format!(
                "{} distinct rows among {n} are fewer than the {} codewords of a level; give a smaller codebook size",
                distinct.len(),
                self.most_codewords
            )));
        }
        Ok((rows, largest))
    }
}

/// Refuses rows of norm 0, which have no direction for cosine.
pub(super) fn refuse_zero_rows<B: Backend>(backend: &B, rows: &B::Rows, what: &str) -> Result<()> {
    let norms = backend.row_norms(rows)?;
    let Some(first) = norms.iter().position(|v| *v == 0.0) else { return Ok(()) };
    let zero = norms.iter().filter(|v| **v == 0.0).count();
    Err(Error::Data(format!(
        "{zero} of {what}, {} in all, are zero (or nothing beside the others) and have no direction for cosine, the first is row {first}; \
         drop them or use squared L2",
        norms.len()
    )))
}

/// A hash of a row's values; −0 counts as 0.
pub(super) fn fingerprint(row: &[f32]) -> u64 {
    row.iter().fold(0xcbf2_9ce4_8422_2325, |h: u64, v| {
        let bits = if *v == 0.0 { 0 } else { v.to_bits() };
        (h ^ u64::from(bits)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}
