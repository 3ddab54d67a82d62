//! Rows assigned to codewords under exact bounds on the loads, at the least total score, and the prices that say so.
//!
//! Under the best prices nearly every row is simply where score plus price is smallest; only rows between two codewords are in
//! question. So a device assigns all rows under good prices, rows with a small margin become a [`Transport`] problem over their
//! nearest codewords, and its prices go back to the device: a row that would now rather be elsewhere joins the problem. Once
//! none would, the assignment is the optimum over all rows and codewords, up to the device's rounding; N×K is never written.

use super::transport::Transport;
use crate::compute::reference::{Reference, ResidualQuantizer};
use crate::compute::{Backend, HostPartition, Metric};
use crate::data::Matrix;
use crate::error::{Error, Result};
use crate::progress::{Observer, check};
use rayon::prelude::*;

/// Candidates a row at first.
const WIDTH: usize = 16;
/// Rounds of assigning under new prices at most; what is found is within the bounds after any.
const ROUNDS: usize = 8;
/// Rounds and sweeps of moving prices to the middle of what the assignment allows.
const CENTRINGS: usize = 4;
const SWEEPS: usize = 64;
/// Values of a block of dot products on the host.
const BLOCK_VALUES: usize = 1 << 22;

/// An assignment within its bounds.
pub(super) struct ExactAssignment {
    /// `[n]`.
    pub labels: Vec<u32>,
    /// `[k]` prices under which nearly every row's smallest score plus price is that of its label.
    pub prices: Vec<f32>,
    /// Total score of the labels, without prices.
    pub score_sum: f64,
}

/// One level's rows with the bounds on its loads.
pub(super) struct BoundedLevel<'a, B: Backend> {
    pub backend: &'a B,
    pub rows: &'a B::Rows,
    pub metric: Metric,
    /// Fewest and most rows of every codeword.
    pub bounds: (u32, u32),
}

/// The codebook on the host.
struct HostCodebook {
    quantizer: ResidualQuantizer,
    reference: Reference,
}

/// Rows in question with their candidates; `rows[i]` belongs to line i.
#[derive(Default)]
struct OpenRows {
    rows: Vec<u32>,
    clusters: Vec<u32>,
    scores: Vec<f64>,
}

pub(super) fn narrow(prices: &[f64]) -> Vec<f32> {
    prices.iter().map(|p| *p as f32).collect()
}

impl<B: Backend> BoundedLevel<'_, B> {
    /// The assignment for the codewords in `codebook`, starting from `prices`, whose zero is that of a codeword between its
    /// bounds. Leaves the new prices in `codebook`; `centred` moves them to the middle of what the assignment allows.
    pub fn assign(
        &self,
        codebook: &mut B::Codebook,
        partition: &mut B::Partition,
        mut prices: Vec<f64>,
        centred: bool,
        observer: &dyn Observer,
    ) -> Result<ExactAssignment> {
        let k = prices.len();
        let values = self.backend.read_codebook(codebook)?;
        let book = Matrix::from_vec(k, self.backend.shape(self.rows).1, values)?;
        let quantizer =
            ResidualQuantizer { codebooks: vec![book], metric: self.metric, ..ResidualQuantizer::default() };
        let host = HostCodebook { reference: Reference::new(&quantizer), quantizer };
        let mut found = self.priced(codebook, partition, &narrow(&prices))?;
        let mut labels = found.labels.clone();
        let mut width = WIDTH.min(k);
        let mut open = OpenRows { rows: self.choose(&found, k), ..OpenRows::default() };
        let mut is_open = vec![false; labels.len()];
        open.rows.iter().for_each(|i| is_open[*i as usize] = true);
        let mut known = 0;
        for _ in 0..ROUNDS {
            check(observer)?;
            let problem = loop {
                self.candidates(&host, &mut open, known, width, &prices)?;
                let problem = self.problem(&open, &labels, &is_open, width, k);
                let mut settled = vec![0; open.rows.len()];
                let mut moved = prices.clone();
                if problem.solve(&mut moved, &mut settled).is_ok() {
                    prices = moved;
                    open.rows.iter().zip(&settled).for_each(|(i, label)| labels[*i as usize] = *label);
                    break problem;
                }
                if width == k {
                    return Err(Error::Data(format!(
                        "no assignment of {} rows within {:?}",
                        labels.len(),
                        self.bounds
                    )));
                }
                (width, known) = ((4 * width).min(k), 0);
            };
            found = self.priced(codebook, partition, &narrow(&prices))?;
            let places: Vec<u32> = Self::wrong(&labels, &found).collect();
            let mut line_of = vec![u32::MAX; labels.len()];
            open.rows.iter().enumerate().for_each(|(line, i)| line_of[*i as usize] = line as u32);
            // An open row that prefers one of its candidates is a tie, which the problem settled; others were not looked at.
            let unseen = |i: &u32| {
                let line = line_of[*i as usize];
                line == u32::MAX || problem.score(line, found.labels[*i as usize] as usize).is_infinite()
            };
            let fresh: Vec<u32> = places.into_iter().filter(unseen).collect();
            (open.clusters, open.scores) = (problem.clusters, problem.scores);
            if fresh.is_empty() || !centred {
                break;
            }
            // Rows whose candidates are stale lose their line and come back at the end.
            open.remove(&fresh, width);
            known = open.rows.len();
            fresh.iter().for_each(|i| is_open[*i as usize] = true);
            open.rows.extend(&fresh);
        }
        let mut best = narrow(&prices);
        if centred && k > 1 {
            best = self.centre(&host, codebook, partition, open, &labels, width, prices, found)?;
        }
        self.backend.set_prices(codebook, &best)?;
        let score_sum = self.total(&host, &labels)?;
        Ok(ExactAssignment { labels, prices: best, score_sum })
    }

    /// Assigns all rows under prices.
    pub fn priced(
        &self,
        codebook: &mut B::Codebook,
        partition: &mut B::Partition,
        prices: &[f32],
    ) -> Result<HostPartition> {
        self.backend.set_prices(codebook, prices)?;
        self.backend.assign(self.rows, codebook, partition)?;
        self.backend.read_partition(partition)
    }

    /// Rows that prices alone put elsewhere.
    pub fn wrong<'a>(labels: &'a [u32], found: &'a HostPartition) -> impl Iterator<Item = u32> + 'a {
        (0..labels.len()).filter(|i| labels[*i] != found.labels[*i]).map(|i| i as u32)
    }

    /// The rows of the smallest margins: several times what must move, and enough that the others can stay.
    fn choose(&self, found: &HostPartition, k: usize) -> Vec<u32> {
        let n = found.labels.len();
        let (least, most) = (u64::from(self.bounds.0), u64::from(self.bounds.1));
        let mut fixed = vec![0u64; k];
        found.labels.iter().for_each(|l| fixed[*l as usize] += 1);
        let off: u64 = fixed.iter().map(|c| c.saturating_sub(most) + least.saturating_sub(*c)).sum();
        let wanted = (4 * off as usize + 4 * k + n / 32).min(n);
        let mut order: Vec<u32> = (0..n as u32).collect();
        let margin = |i: u32| found.second[i as usize] - found.best[i as usize];
        order.sort_unstable_by(|a, b| margin(*a).total_cmp(&margin(*b)).then(a.cmp(b)));
        let mut short: u64 = k as u64 * least;
        let mut chosen = Vec::with_capacity(wanted);
        short -= fixed.iter().map(|c| (*c).min(least)).sum::<u64>();
        for (place, i) in order.into_iter().enumerate() {
            let label = found.labels[i as usize] as usize;
            let spare = fixed[label] > least;
            if place < wanted || fixed[label] > most || (spare && short > chosen.len() as u64) {
                fixed[label] -= 1;
                short += u64::from(!spare);
                chosen.push(i);
            }
        }
        chosen
    }

    /// Fills in the candidates of open rows from line `known` on: the `width` of the lowest priced scores.
    fn candidates(
        &self,
        host: &HostCodebook,
        open: &mut OpenRows,
        known: usize,
        width: usize,
        prices: &[f64],
    ) -> Result<()> {
        let (k, d) = (prices.len(), self.backend.shape(self.rows).1);
        open.clusters.truncate(known * width);
        open.scores.truncate(known * width);
        let weights: Vec<f32> = host.reference.weights(0).iter().map(|w| *w as f32).collect();
        let scales = if self.metric == Metric::Cosine { weights } else { Vec::new() };
        for part in open.rows[known..].chunks((BLOCK_VALUES / k.max(d)).max(1)) {
            let gathered = self.backend.gather_rows(self.rows, part)?;
            let products = self.backend.project(&gathered, &[], host.quantizer.codebooks[0].as_slice(), &scales)?;
            let (mut dots, mut rows) = (vec![0.0f32; part.len() * k], vec![0.0f32; part.len() * d]);
            self.backend.read_rows(&products, 0, &mut dots)?;
            self.backend.read_rows(&gathered, 0, &mut rows)?;
            let biases = host.reference.biases(0);
            let lines = dots.par_chunks_exact(k).zip(rows.par_chunks_exact(d)).map(|(dots, row)| {
                let priced = |j: u32| biases[j as usize] - f64::from(dots[j as usize]) + prices[j as usize];
                let mut order: Vec<(f64, u32)> = (0..k as u32).map(|j| (priced(j), j)).collect();
                let by = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
                if width < k {
                    order.select_nth_unstable_by(width - 1, by);
                    order.truncate(width);
                }
                let clusters: Vec<u32> = order.into_iter().map(|(_, j)| j).collect();
                let wide: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                let mut scores = vec![0.0; width];
                host.reference.scores(&host.quantizer, 0, &wide, &clusters, &mut scores);
                (clusters, scores)
            });
            for (clusters, scores) in lines.collect::<Vec<_>>() {
                open.clusters.extend(clusters);
                open.scores.extend(scores);
            }
        }
        Ok(())
    }

    /// The transport problem of the open rows, given that all other rows keep their labels.
    fn problem(&self, open: &OpenRows, labels: &[u32], is_open: &[bool], width: usize, k: usize) -> Transport {
        let mut fixed = vec![0u32; k];
        let stay = labels.iter().zip(is_open).filter(|(_, open)| !**open);
        stay.for_each(|(label, _)| fixed[*label as usize] += 1);
        let (least, most) = self.bounds;
        let bounds = fixed.iter().map(|f| (least.saturating_sub(*f), most.saturating_sub(*f))).collect();
        Transport { k, width, clusters: open.clusters.clone(), scores: open.scores.clone(), bounds }
    }

    /// Of several centred prices, those under which the fewest rows are elsewhere.
    #[allow(clippy::too_many_arguments)]
    fn centre(
        &self,
        host: &HostCodebook,
        codebook: &mut B::Codebook,
        partition: &mut B::Partition,
        mut open: OpenRows,
        labels: &[u32],
        width: usize,
        prices: Vec<f64>,
        found: HostPartition,
    ) -> Result<Vec<f32>> {
        let mut fewest = (Self::wrong(labels, &found).count(), narrow(&prices));
        for _ in 0..CENTRINGS {
            let own: Vec<u32> = open.rows.iter().map(|i| labels[*i as usize]).collect();
            let problem = Transport {
                k: prices.len(),
                width,
                clusters: open.clusters.clone(),
                scores: open.scores.clone(),
                bounds: Vec::new(),
            };
            let mut moved = prices.clone();
            problem.centre(&own, &mut moved, SWEEPS);
            // Small prices lose the least to rounding; a common shift changes no code.
            let (low, high) = moved.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
            moved.iter_mut().for_each(|p| *p -= 0.5 * (low + high));
            let candidate = narrow(&moved);
            let found = self.priced(codebook, partition, &candidate)?;
            let wrong: Vec<u32> = Self::wrong(labels, &found).collect();
            if wrong.len() < fewest.0 {
                fewest = (wrong.len(), candidate);
            }
            let have: std::collections::HashSet<u32> = open.rows.iter().copied().collect();
            let fresh: Vec<u32> = wrong.into_iter().filter(|i| !have.contains(i)).collect();
            if fewest.0 == 0 || fresh.is_empty() {
                break;
            }
            let known = open.rows.len();
            open.rows.extend(&fresh);
            self.candidates(host, &mut open, known, width, &prices)?;
            open.keep_own(labels, known, width);
        }
        Ok(fewest.1)
    }

    /// Total score of labels: from the sums of the rows of each label, `Σ b_j·n_j − w_j·c_j·(sum of rows)`.
    fn total(&self, host: &HostCodebook, labels: &[u32]) -> Result<f64> {
        let book = &host.quantizer.codebooks[0];
        let (k, d) = (book.rows(), book.dims());
        let mut partition = self.backend.partition_from(labels)?;
        let counts = self.backend.tally(&mut partition, k)?;
        let sums = self.backend.centroid_sums(self.rows, &mut partition, k)?;
        let mut total = 0.0;
        for (j, sum) in sums.chunks_exact(d).enumerate() {
            let mut score = [0.0];
            host.reference.scores(&host.quantizer, 0, sum, &[j as u32], &mut score);
            // The bias came in once, for one row.
            total += score[0] + host.reference.biases(0)[j] * (f64::from(counts[j]) - 1.0);
        }
        Ok(total)
    }
}

impl OpenRows {
    /// Takes rows out, with their candidates.
    fn remove(&mut self, rows: &[u32], width: usize) {
        let gone: std::collections::HashSet<u32> = rows.iter().copied().collect();
        let keep: Vec<usize> = (0..self.rows.len()).filter(|line| !gone.contains(&self.rows[*line])).collect();
        let pick = |line: &usize| *line * width..(*line + 1) * width;
        self.clusters = keep.iter().flat_map(|l| self.clusters[pick(l)].iter().copied()).collect();
        self.scores = keep.iter().flat_map(|l| self.scores[pick(l)].iter().copied()).collect();
        self.rows = keep.iter().map(|l| self.rows[*l]).collect();
    }

    /// Drops lines from `known` on whose candidates do not hold the row's own label.
    fn keep_own(&mut self, labels: &[u32], known: usize, width: usize) {
        let lacking: Vec<u32> = (known..self.rows.len())
            .filter(|line| {
                !self.clusters[line * width..(line + 1) * width].contains(&labels[self.rows[*line] as usize])
            })
            .map(|line| self.rows[line])
            .collect();
        self.remove(&lacking, width);
    }
}
