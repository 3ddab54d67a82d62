//! Reconstruction error by depth, gathered in one pass over the rows.

use rayon::prelude::*;
use serde::Serialize;

use crate::data::{Matrix, MatrixView};
use crate::error::{Error, Result, check_shape};

/// How well the first levels of an ID bring their rows back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DepthError {
    /// 1 − Σ‖x − x̂‖² / Σ‖x − mean‖². Where all rows are the same: 1 if they come back exactly, else 0.
    pub r2: f64,
    /// Mean squared error a **value**: Σ‖x − x̂‖² / (N·d).
    pub mse: f64,
    /// Mean squared L2 a **row**: Σ‖x − x̂‖² / N.
    pub squared_l2: f64,
    /// Mean over the rows with ‖x‖ > 0 of x·x̂ / (‖x‖‖x̂‖); a row that comes back as zero counts as 0. Where
    /// every row is zero: 0.
    pub cosine: f64,
}

/// Reconstruction error over all rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconstructionMeasures {
    /// Rows seen, N.
    pub rows: usize,
    /// Rows of length 0, which the cosine leaves out.
    pub zero_rows: usize,
    /// Σ‖x − mean‖² / (N·d): the mean squared error of answering with the mean, depth 0 so to speak.
    pub variance: f64,
    /// Mean of ‖x‖.
    pub norm_mean: f64,
    /// Standard deviation of ‖x‖ over its mean; 0 where all rows are as long, or zero.
    pub norm_spread: f64,
    /// One entry a depth, 1 to the full length.
    pub depths: Vec<DepthError>,
}

/// Gathers [`ReconstructionMeasures`] piece by piece.
///
/// Means and squared deviations are formed in `f64` within blocks of 256 rows and merged block by block (Chan,
/// Golub and LeVeque, 1979), so nothing cancels and the bits do not depend on the number of threads. Pieces whose
/// lengths are multiples of 256 give the same bits however many there are.
///
/// ```
/// use sememe::{Matrix, eval::Reconstruction};
/// let rows = Matrix::from_vec(2, 1, vec![1.0, 3.0])?;
/// let back = Matrix::from_vec(2, 1, vec![1.5, 3.0])?;
/// let mut gathered = Reconstruction::new(1, 1);
/// gathered.add(rows.view(), &[back])?;
/// assert_eq!(gathered.finish()?.depths[0].r2, 1.0 - 0.25 / 2.0);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reconstruction {
    dims: usize,
    sums: BlockSums,
}

/// Rows a block.
const BLOCK: usize = 256;

#[derive(Clone, Debug)]
struct BlockSums {
    rows: usize,
    zero_rows: usize,
    /// `[d]` mean of the rows.
    mean: Vec<f64>,
    /// Σ‖x − mean‖².
    deviation: f64,
    norm_mean: f64,
    norm_deviation: f64,
    /// `[depths]` Σ‖x − x̂‖².
    error: Vec<f64>,
    /// `[depths]` sum of cosines.
    cosine: Vec<f64>,
}

impl Reconstruction {
    /// Nothing gathered yet, for `[·, dims]` rows and `depths` reconstructions of each.
    #[must_use]
    pub fn new(dims: usize, depths: usize) -> Self {
        Self { dims, sums: BlockSums::empty(dims, depths) }
    }

    /// Adds `[n, d]` rows with their `[n, d]` reconstruction at each depth, shortest prefix first.
    ///
    /// O(n·d·depths), in parallel.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of reconstructions or a shape disagrees; [`Error::Data`] if a reconstruction
    /// holds NaN or infinity.
    pub fn add(&mut self, rows: MatrixView<'_>, reconstructions: &[Matrix]) -> Result<()> {
        check_shape("d", self.dims, rows.dims(), "rows to compare")?;
        check_shape("depths", self.sums.error.len(), reconstructions.len(), "reconstructions")?;
        for (depth, back) in reconstructions.iter().enumerate() {
            check_shape("rows", rows.rows(), back.rows(), format!("reconstructions.{depth}"))?;
            check_shape("d", self.dims, back.dims(), format!("reconstructions.{depth}"))?;
            if let Some((first, count)) = crate::data::first_non_finite(back.as_slice(), self.dims) {
                return Err(Error::Data(format!(
                    "{count} of {} rows come back with NaN or infinity at depth {}, the first of them row {}; \
                     the codec is damaged or was fitted on other data",
                    rows.rows(),
                    depth + 1,
                    self.sums.rows + first
                )));
            }
        }
        let blocks: Vec<BlockSums> = (0..rows.rows().div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| {
                let end = ((block + 1) * BLOCK).min(rows.rows());
                BlockSums::of(rows.slice(block * BLOCK, end), block * BLOCK, reconstructions)
            })
            .collect();
        blocks.iter().for_each(|block| self.sums.merge(block));
        Ok(())
    }

    /// The measures of everything added.
    ///
    /// # Errors
    /// [`Error::Data`] if nothing was added.
    pub fn finish(&self) -> Result<ReconstructionMeasures> {
        let sums = &self.sums;
        if sums.rows == 0 {
            return Err(Error::Data("no row to compare with its reconstruction; give at least 1".into()));
        }
        let (n, values) = (sums.rows as f64, (sums.rows * self.dims).max(1) as f64);
        let counted = (sums.rows - sums.zero_rows).max(1) as f64;
        let r2 = |error: f64| match (error == 0.0, sums.deviation == 0.0) {
            (true, true) => 1.0,
            (false, true) => 0.0,
            _ => 1.0 - error / sums.deviation,
        };
        let depths = sums.error.iter().zip(&sums.cosine).map(|(&error, &cosine)| DepthError {
            r2: r2(error),
            mse: error / values,
            squared_l2: error / n,
            cosine: cosine / counted,
        });
        let spread = (sums.norm_deviation / n).sqrt();
        Ok(ReconstructionMeasures {
            rows: sums.rows,
            zero_rows: sums.zero_rows,
            variance: sums.deviation / values,
            norm_mean: sums.norm_mean,
            norm_spread: if sums.norm_mean > 0.0 { spread / sums.norm_mean } else { 0.0 },
            depths: depths.collect(),
        })
    }
}

impl BlockSums {
    fn empty(dims: usize, depths: usize) -> Self {
        Self {
            rows: 0,
            zero_rows: 0,
            mean: vec![0.0; dims],
            deviation: 0.0,
            norm_mean: 0.0,
            norm_deviation: 0.0,
            error: vec![0.0; depths],
            cosine: vec![0.0; depths],
        }
    }

    /// Sums over one block, whose first row is row `at` of the reconstructions.
    fn of(block: MatrixView<'_>, at: usize, reconstructions: &[Matrix]) -> Self {
        let (n, dims) = (block.rows(), block.dims());
        let mut sums = Self::empty(dims, reconstructions.len());
        sums.rows = n;
        for i in 0..n {
            sums.mean.iter_mut().zip(block.row(i)).for_each(|(m, &x)| *m += f64::from(x));
        }
        sums.mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut norms = Vec::with_capacity(n);
        for i in 0..n {
            let row = block.row(i);
            sums.deviation += deviation(row, &sums.mean);
            let norm = pair_sums(row, row).dot.sqrt();
            norms.push(norm);
            sums.zero_rows += usize::from(norm == 0.0);
            for (depth, back) in reconstructions.iter().enumerate() {
                let both = pair_sums(row, back.row(at + i));
                sums.error[depth] += both.squared_l2;
                let lengths = norm * both.squared_norm.sqrt();
                if lengths > 0.0 {
                    // Rounding may carry a perfect match past 1.
                    sums.cosine[depth] += (both.dot / lengths).clamp(-1.0, 1.0);
                }
            }
        }
        sums.norm_mean = norms.iter().sum::<f64>() / n as f64;
        sums.norm_deviation = norms.iter().map(|x| (x - sums.norm_mean).powi(2)).sum();
        sums
    }

    fn merge(&mut self, other: &Self) {
        let (a, b) = (self.rows as f64, other.rows as f64);
        let (share, cross) = (b / (a + b), a * b / (a + b));
        let mut between = 0.0;
        for (mean, m) in self.mean.iter_mut().zip(&other.mean) {
            let delta = m - *mean;
            between += delta * delta;
            *mean += delta * share;
        }
        self.deviation += other.deviation + between * cross;
        let delta = other.norm_mean - self.norm_mean;
        self.norm_mean += delta * share;
        self.norm_deviation += other.norm_deviation + delta * delta * cross;
        self.rows += other.rows;
        self.zero_rows += other.zero_rows;
        self.error.iter_mut().zip(&other.error).for_each(|(x, y)| *x += y);
        self.cosine.iter_mut().zip(&other.cosine).for_each(|(x, y)| *x += y);
    }
}

/// Sums over the values of a row and of what came back for it.
struct PairSums {
    /// Σ (a − b)².
    squared_l2: f64,
    /// Σ a·b.
    dot: f64,
    /// Σ b².
    squared_norm: f64,
}

/// Partial sums, added up in a fixed order at the end: one running sum would wait for every addition before the next.
const LANES: usize = 8;

fn pair_sums(a: &[f32], b: &[f32]) -> PairSums {
    let (mut error, mut dot, mut norm) = ([0.0f64; LANES], [0.0f64; LANES], [0.0f64; LANES]);
    let mut add = |lane: usize, x: f32, y: f32| {
        let (x, y) = (f64::from(x), f64::from(y));
        error[lane] += (x - y) * (x - y);
        dot[lane] += x * y;
        norm[lane] += y * y;
    };
    let ((xs, x_rest), (ys, y_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        (0..LANES).for_each(|lane| add(lane, x[lane], y[lane]));
    }
    x_rest.iter().zip(y_rest).enumerate().for_each(|(lane, (&x, &y))| add(lane, x, y));
    PairSums { squared_l2: error.iter().sum(), dot: dot.iter().sum(), squared_norm: norm.iter().sum() }
}

/// Σ (x − mean)².
fn deviation(row: &[f32], mean: &[f64]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for (xs, means) in row.chunks(LANES).zip(mean.chunks(LANES)) {
        for (lane, (&x, m)) in lanes.iter_mut().zip(xs.iter().zip(means)) {
            let delta = f64::from(x) - m;
            *lane += delta * delta;
        }
    }
    lanes.iter().sum()
}
