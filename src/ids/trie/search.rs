//! Greedy and beam search that only ever stand on prefixes of real IDs, and end on real IDs.

use super::{Node, Trie};
use crate::error::{Error, Result};

/// One prefix that a search wants scored: what may follow it, and room for what each is worth.
#[derive(Debug)]
pub struct Frontier<'a> {
    /// The tokens so far.
    pub prefix: &'a [u32],
    /// The tokens that may follow, as [`Trie::allowed`] lists them. Never empty.
    pub allowed: &'a [u32],
    /// The score of each, to be written: log-probabilities, or anything where more is better. They add up along an ID. −∞ is the
    /// worst; NaN, +∞ and a score that is not written are errors.
    pub scores: &'a mut [f32],
}

/// An ID that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its tokens, without the end token.
    pub id: Vec<u32>,
    /// The items that it names, ascending; at least one.
    pub items: Vec<u32>,
    /// The sum of its tokens' scores, the end token's included.
    pub score: f64,
}

/// A prefix with its score, and how it goes on.
struct Beam {
    prefix: Vec<u32>,
    node: Node,
    score: f64,
    done: bool,
}

/// A way on from a beam: with a token, or as it is, since it has ended.
struct SearchStep {
    score: f64,
    beam: usize,
    token: Option<u32>,
}

impl Trie {
    /// The ID reached by the best-scored allowed token at every step; the lowest wins a tie. At most `depth + 1` calls of `score`,
    /// each with one prefix.
    ///
    /// # Errors
    /// What `score` fails with; [`Error::Data`] for a score that is NaN, +∞ or not written, and for a damaged trie.
    pub fn greedy(&self, score: impl FnMut(&mut [Frontier<'_>]) -> Result<()>) -> Result<Hit> {
        let mut hits = self.beam(1, score)?;
        hits.pop().ok_or_else(damaged)
    }

    /// The best IDs that a beam of `width` prefixes finds, best first; at least one, at most `width`. Each step calls `score` once
    /// with all prefixes that have not ended, in the order of their scores. Of equal scores the ID with the lower tokens counts as the
    /// better. With a width of at least the number of IDs, every ID comes out. O(depth · width · children · log(width)).
    ///
    /// # Errors
    /// As for [`greedy`](Self::greedy); [`Error::Config`] for a width of 0.
    pub fn beam(&self, width: usize, mut score: impl FnMut(&mut [Frontier<'_>]) -> Result<()>) -> Result<Vec<Hit>> {
        if width == 0 {
            return Err(Error::config("width", "expected at least 1 prefix, got 0"));
        }
        let mut beams = vec![Beam { prefix: Vec::new(), node: Self::ROOT, score: 0.0, done: false }];
        // One step a token, one for the end token: a damaged file makes no more of them.
        for _ in 0..=self.depth() {
            if beams.iter().all(|b| b.done) {
                break;
            }
            let steps = self.steps(&beams, &mut score)?;
            beams = self.keep(width, &beams, steps);
        }
        let hit = |beam: Beam| {
            let items = self.items_at(beam.node);
            if !beam.done || items.is_empty() {
                Err(damaged())
            } else {
                Ok(Hit { id: beam.prefix, items, score: beam.score })
            }
        };
        beams.into_iter().map(hit).collect()
    }

    /// Every way on from every beam.
    fn steps(
        &self,
        beams: &[Beam],
        score: &mut impl FnMut(&mut [Frontier<'_>]) -> Result<()>,
    ) -> Result<Vec<SearchStep>> {
        let open = || beams.iter().enumerate().filter(|(_, b)| !b.done);
        let mut allowed: Vec<Vec<u32>> = Vec::new();
        for (_, beam) in open() {
            let mut tokens = Vec::new();
            self.next_into(beam.node, &mut tokens);
            allowed.push(tokens);
        }
        let mut scores: Vec<Vec<f32>> = allowed.iter().map(|tokens| vec![f32::NAN; tokens.len()]).collect();
        let mut frontier: Vec<Frontier<'_>> = open()
            .zip(allowed.iter().zip(&mut scores))
            .map(|((_, beam), (allowed, scores))| Frontier { prefix: &beam.prefix, allowed, scores })
            .collect();
        score(&mut frontier)?;
        let ended = beams.iter().enumerate().filter(|(_, b)| b.done);
        let mut steps: Vec<SearchStep> =
            ended.map(|(i, b)| SearchStep { score: b.score, beam: i, token: None }).collect();
        for ((i, beam), (allowed, scores)) in open().zip(allowed.iter().zip(&scores)) {
            for (token, score) in allowed.iter().zip(scores) {
                if score.is_nan() || *score == f32::INFINITY {
                    let prefix = &beam.prefix;
                    return Err(Error::Data(format!(
                        "token {token} after {prefix:?} was scored {score}, expected a number or negative infinity"
                    )));
                }
                steps.push(SearchStep { score: beam.score + f64::from(*score), beam: i, token: Some(*token) });
            }
        }
        Ok(steps)
    }

    /// The best steps, taken.
    fn keep(&self, width: usize, beams: &[Beam], mut steps: Vec<SearchStep>) -> Vec<Beam> {
        let text = |step: &SearchStep| (&beams[step.beam].prefix, step.token.filter(|t| *t != self.end()));
        let order = |a: &SearchStep, b: &SearchStep| {
            b.score.total_cmp(&a.score).then_with(|| {
                let ((a, a_next), (b, b_next)) = (text(a), text(b));
                a.iter().chain(&a_next).cmp(b.iter().chain(&b_next))
            })
        };
        if width < steps.len() {
            // The order is total on IDs and prefixes, so which steps stay does not depend on how they are selected.
            steps.select_nth_unstable_by(width, order);
            steps.truncate(width);
        }
        steps.sort_unstable_by(order);
        let take = |step: SearchStep| {
            let from = &beams[step.beam];
            let mut prefix = from.prefix.clone();
            let next = step.token.filter(|t| *t != self.end());
            prefix.extend(next);
            let node = next.map_or(Some(from.node), |token| self.child(from.node, token))?;
            Some(Beam { prefix, node, score: step.score, done: next.is_none() })
        };
        // A listed token always leads on, but in a damaged file, where tokens may be out of order.
        steps.into_iter().filter_map(take).collect()
    }
}

fn damaged() -> Error {
    Error::Data("the search ended on no ID: the trie's file is damaged; build it again".into())
}
