//! Rows to clusters at the least total score, with so many rows a cluster at least and at most: exact, by shortest augmenting paths.
//!
//! A minimum-cost flow in which only clusters are nodes. Moving a row from cluster u to v costs `s_iv − s_iu`, so an arc u → v
//! stands for the cheapest row of u; one more node, the sink, takes each cluster's rows between its bounds. With prices λ under
//! which every row is where `s_j + λ_j` is smallest, all reduced costs are at least 0, and what is wrong is only how many rows a
//! cluster has. Each step takes one surplus row along a shortest path to a cluster that lacks one and corrects the prices by the path's lengths
//! (successive shortest paths; Ahuja, Magnanti and Orlin 1993, section 9.7), so prices near the optimum leave little to do. The
//! result is optimal over the candidates, and its prices prove it.

/// Rows with their candidate clusters.
pub(super) struct Transport {
    /// Clusters.
    pub k: usize,
    /// Candidates a row.
    pub width: usize,
    /// `[m, width]` candidate clusters, distinct within a row.
    pub clusters: Vec<u32>,
    /// `[m, width]` their scores.
    pub scores: Vec<f64>,
    /// `[k]` rows that a cluster takes of these, at least and at most.
    pub bounds: Vec<(u32, u32)>,
}

/// No way from a cluster with too many rows to one with too few: the candidates are too few.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Infeasible;

/// The cheapest row that moves along an arc: its cost and place in the list of rows.
type Arc = (f64, u32);
const NONE: Arc = (f64::INFINITY, u32::MAX);

struct SolverState<'a> {
    problem: &'a Transport,
    labels: &'a mut [u32],
    /// `[k + 1]`, the sink last.
    prices: Vec<f64>,
    members: Vec<Vec<u32>>,
    /// Rows that a cluster hands to the sink.
    taken: Vec<u32>,
    /// `[k]` lists of `[k]` arcs, made when first needed.
    arcs: Vec<Option<Vec<Arc>>>,
}

impl Transport {
    /// Rows.
    fn rows(&self) -> usize {
        self.clusters.len() / self.width.max(1)
    }

    fn candidates(&self, row: u32) -> impl Iterator<Item = (usize, f64)> + '_ {
        let at = row as usize * self.width..(row as usize + 1) * self.width;
        self.clusters[at.clone()].iter().map(|c| *c as usize).zip(self.scores[at].iter().copied())
    }

    /// A row's score with a cluster, infinite for none of its candidates.
    pub fn score(&self, row: u32, cluster: usize) -> f64 {
        self.candidates(row).find(|(c, _)| *c == cluster).map_or(f64::INFINITY, |(_, s)| s)
    }

    /// What it costs to move the cheapest of `members` from cluster `from` to every other.
    fn arcs(&self, from: usize, members: &[u32]) -> Vec<Arc> {
        let mut arcs = vec![NONE; self.k];
        for row in members {
            let own = self.score(*row, from);
            for (cluster, score) in self.candidates(*row) {
                if score - own < arcs[cluster].0 {
                    arcs[cluster] = (score - own, *row);
                }
            }
        }
        arcs[from] = NONE;
        arcs
    }

    /// Writes the optimal clusters into `labels` `[m]`, starting from `prices` `[k]`, which become those that prove it.
    /// O((m + surplus·(k + m/k))·k) at most, far less from good prices.
    ///
    /// The bounds must hold m rows between them.
    pub fn solve(&self, prices: &mut [f64], labels: &mut [u32]) -> Result<(), Infeasible> {
        // What rounding left of a price of 0 must not claim that its cluster is full.
        let largest = prices.iter().fold(0.0f64, |m, p| m.max(p.abs()));
        prices.iter_mut().filter(|p| p.abs() <= 1e-9 * largest).for_each(|p| *p = 0.0);
        let mut members = vec![Vec::new(); self.k];
        for row in 0..self.rows() as u32 {
            let mut best = (f64::INFINITY, 0);
            for (cluster, score) in self.candidates(row) {
                let priced = score + prices[cluster];
                if priced < best.0 || (priced == best.0 && cluster < best.1) {
                    best = (priced, cluster);
                }
            }
            labels[row as usize] = best.1 as u32;
            members[best.1].push(row);
        }
        // A price above the sink's is right only where the cluster is full, one below only where it is at its least.
        let taken = members
            .iter()
            .zip(&self.bounds)
            .zip(&*prices)
            .map(|((rows, (least, most)), price)| match *price {
                p if p < 0.0 => *least,
                p if p > 0.0 => *most,
                _ => (rows.len() as u32).clamp(*least, *most),
            })
            .collect();
        let mut all = prices.to_vec();
        all.push(0.0);
        let mut state = SolverState { problem: self, labels, prices: all, members, taken, arcs: vec![None; self.k] };
        let solved = state.run();
        let sink = state.prices[self.k];
        prices.iter_mut().zip(&state.prices).for_each(|(p, new)| *p = new - sink);
        solved
    }

    /// Moves prices to the middle of what the labels allow, so that as few rows as possible are nearly elsewhere. They must
    /// allow the labels to begin with. O(sweeps·k²).
    pub fn centre(&self, labels: &[u32], prices: &mut [f64], sweeps: usize) {
        let mut members = vec![Vec::new(); self.k];
        labels.iter().enumerate().for_each(|(row, label)| members[*label as usize].push(row as u32));
        let arcs: Vec<Vec<Arc>> = (0..self.k).map(|j| self.arcs(j, &members[j])).collect();
        for _ in 0..sweeps {
            for j in 0..self.k {
                // Rows of j must stay: λ_j ≤ λ_v + cost(j → v). Rows of others must not come: λ_j ≥ λ_v − cost(v → j).
                let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
                for v in 0..self.k {
                    high = high.min(prices[v] + arcs[j][v].0);
                    low = low.max(prices[v] - arcs[v][j].0);
                }
                if low.is_finite() && high.is_finite() && low <= high {
                    prices[j] = 0.5 * (low + high);
                }
            }
        }
    }
}

impl SolverState<'_> {
    /// Rows too many (or, below 0, too few) at a node.
    fn surplus(&self, node: usize) -> i64 {
        if node < self.problem.k {
            self.members[node].len() as i64 - i64::from(self.taken[node])
        } else {
            self.taken.iter().map(|t| i64::from(*t)).sum::<i64>() - self.problem.rows() as i64
        }
    }

    fn run(&mut self) -> Result<(), Infeasible> {
        let nodes = self.problem.k + 1;
        let mut surplus: Vec<i64> = (0..nodes).map(|node| self.surplus(node)).collect();
        for source in 0..nodes {
            while surplus[source] > 0 {
                let target = self.augment(source, &surplus)?;
                surplus[source] -= 1;
                surplus[target] += 1;
            }
        }
        Ok(())
    }

    /// One unit from `source` along a shortest path to the nearest node that lacks one.
    fn augment(&mut self, source: usize, surplus: &[i64]) -> Result<usize, Infeasible> {
        let (k, sink) = (self.problem.k, self.problem.k);
        let mut lengths = vec![f64::INFINITY; k + 1];
        let mut from = vec![usize::MAX; k + 1];
        let mut done = vec![false; k + 1];
        let mut settled = Vec::new();
        lengths[source] = 0.0;
        let target = loop {
            let mut next = usize::MAX;
            for node in 0..=k {
                if !done[node] && lengths[node] < next_length(&lengths, next) {
                    next = node;
                }
            }
            if next == usize::MAX {
                return Err(Infeasible);
            }
            done[next] = true;
            settled.push(next);
            if surplus[next] < 0 {
                break next;
            }
            let here = lengths[next] - self.prices[next];
            let mut relax = |node: usize, cost: f64, prices: &[f64]| {
                // Rounding may make a reduced cost of 0 slightly negative.
                let length = (here + cost + prices[node]).max(lengths[next]);
                if !done[node] && length < lengths[node] {
                    lengths[node] = length;
                    from[node] = next;
                }
            };
            if next == sink {
                for node in 0..k {
                    if self.taken[node] > self.problem.bounds[node].0 {
                        relax(node, 0.0, &self.prices);
                    }
                }
            } else {
                let members = &self.members[next];
                let arcs = self.arcs[next].get_or_insert_with(|| self.problem.arcs(next, members));
                for (node, (cost, _)) in arcs.iter().enumerate() {
                    if cost.is_finite() {
                        relax(node, *cost, &self.prices);
                    }
                }
                if self.taken[next] < self.problem.bounds[next].1 {
                    relax(sink, 0.0, &self.prices);
                }
            }
        };
        for node in settled {
            self.prices[node] += lengths[target] - lengths[node];
        }
        self.shift(source, target, &from);
        Ok(target)
    }

    /// Moves one unit along the path that `from` describes backwards.
    fn shift(&mut self, source: usize, target: usize, from: &[usize]) {
        let sink = self.problem.k;
        let mut touched = Vec::new();
        let mut node = target;
        while node != source {
            let before = from[node];
            if node == sink {
                self.taken[before] += 1;
            } else if before == sink {
                self.taken[node] -= 1;
            } else {
                let row = self.arcs[before].as_ref().map_or(u32::MAX, |arcs| arcs[node].1);
                self.members[before].retain(|r| *r != row);
                self.members[node].push(row);
                self.labels[row as usize] = node as u32;
                touched.extend([before, node]);
            }
            node = before;
        }
        touched.into_iter().for_each(|j| self.arcs[j] = None);
    }
}

fn next_length(lengths: &[f64], node: usize) -> f64 {
    lengths.get(node).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least total by trying every assignment.
    fn tried(problem: &Transport) -> f64 {
        let (m, k) = (problem.rows(), problem.k);
        let mut best = f64::INFINITY;
        for code in 0..k.pow(m as u32) {
            let mut counts = vec![0u32; k];
            let mut total = 0.0;
            for row in 0..m {
                let j = code / k.pow(row as u32) % k;
                counts[j] += 1;
                total += problem.score(row as u32, j);
            }
            if counts.iter().zip(&problem.bounds).all(|(c, (least, most))| (least..=most).contains(&c)) {
                best = best.min(total);
            }
        }
        best
    }

    #[test]
    fn solutions_are_optimal_and_prices_prove_them() {
        let mut random = crate::rng::stream(3, "transport", 0);
        for case in 0..300 {
            let (m, k) = (1 + random.below(7) as usize, 1 + random.below(3) as usize);
            let least = random.below(1 + (m / k) as u64) as u32;
            let most = m.div_ceil(k) as u32 + random.below(3) as u32;
            let scores: Vec<f64> = (0..m * k).map(|_| random.below(6) as f64).collect();
            let clusters = (0..m).flat_map(|_| 0..k as u32).collect();
            let problem = Transport { k, width: k, clusters, scores, bounds: vec![(least, most); k] };
            // Prices from elsewhere: whatever they are, the result is the same.
            let mut prices: Vec<f64> = (0..k).map(|_| random.below(5) as f64 - 2.0).collect();
            let mut labels = vec![0; m];
            problem.solve(&mut prices, &mut labels).expect("bounds hold all rows");
            let mut counts = vec![0u32; k];
            labels.iter().for_each(|l| counts[*l as usize] += 1);
            assert!(counts.iter().all(|c| (least..=most).contains(c)), "case {case}: {counts:?}");
            let total: f64 = labels.iter().enumerate().map(|(i, l)| problem.score(i as u32, *l as usize)).sum();
            assert_eq!(total, tried(&problem), "case {case}");
            let priced = |i: usize, j: usize| problem.score(i as u32, j) + prices[j];
            for (i, label) in labels.iter().enumerate() {
                let lowest = (0..k).map(|j| priced(i, j)).fold(f64::INFINITY, f64::min);
                assert!(priced(i, *label as usize) <= lowest + 1e-9, "case {case}: row {i} would rather be elsewhere");
            }
            for (j, price) in prices.iter().enumerate() {
                assert!(*price <= 1e-9 || counts[j] == most, "case {case}: a price above 0 with room left");
                assert!(*price >= -1e-9 || counts[j] == least, "case {case}: a price below 0 with rows to spare");
            }
            problem.centre(&labels, &mut prices, 20);
            let priced = |i: usize, j: usize| problem.score(i as u32, j) + prices[j];
            for (i, label) in labels.iter().enumerate() {
                let lowest = (0..k).map(|j| priced(i, j)).fold(f64::INFINITY, f64::min);
                assert!(priced(i, *label as usize) <= lowest + 1e-9, "case {case}: centring moved row {i}");
            }
        }
    }

    #[test]
    fn too_few_candidates_are_noticed() {
        let problem =
            Transport { k: 2, width: 1, clusters: vec![0; 3], scores: vec![0.0; 3], bounds: vec![(1, 2), (1, 2)] };
        assert_eq!(problem.solve(&mut [0.0, 0.0], &mut [0; 3]), Err(Infeasible));
    }
}
