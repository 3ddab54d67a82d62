//! Beam search and sampling over a trie, for a batch of queries at a time.
//!
//! Probabilities are those over the catalogue: after each prefix, the logits of the tokens that lead on to some ID are normalised among
//! each other, and no other token counts. So the probabilities of all IDs add up to 1, and a beam that is as wide as the catalogue finds
//! them all. Items that a query leaves out do not change the others' probabilities: prefixes that lead to such items alone are not
//! entered, but counted.

use super::filter::{QueryFilter, TrieFilter};
use super::sampling::Sampling;
use super::scorer::{BeamScorer, BeamStep};
use sememe::ids::Trie;
use sememe::ids::trie::Node;
use sememe::rng::{Stream, stream};
use sememe::{Error, Result, check_shape};

/// One query of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SearchQuery<'a> {
    /// What the scorer reads.
    pub prompt: &'a [u32],
    /// Items that do not come out.
    pub left_out: &'a [u32],
    /// Number that its draws are named by.
    pub number: u64,
}

/// An ID that a search found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundId {
    /// Its tokens, without the end token.
    pub id: Vec<u32>,
    /// The items on it that may come out, ascending; at least one.
    pub items: Vec<u32>,
    /// How many items are on it, those that are left out among them.
    pub sharing: usize,
    /// Natural logarithm of its probability among all IDs.
    pub log_probability: f64,
    /// How often it was drawn; the width of a search that draws nothing.
    pub draws: u32,
}

/// A prefix of an ID.
struct Beam {
    prefix: Vec<u32>,
    node: Node,
    log_probability: f64,
    draws: u32,
    /// Its place among the scorer's beams.
    place: usize,
    /// Whether it is a whole ID, which is not scored any more.
    done: bool,
}

/// A way on from a beam: with a token, to the end of an ID, or, for a beam that is done, as it is.
struct Way {
    beam: usize,
    token: Option<u32>,
    node: Node,
    log_probability: f64,
    draws: u32,
}

/// The best IDs for every query that a beam of `width` prefixes finds, best first: at most `width` each, all of them if it is at least
/// the number of IDs. With `sampling`, `width` IDs are drawn instead, and those that came out are listed once each, with how often. Of
/// equal probabilities the ID with the lower tokens comes first. A query all of whose items are left out gets an empty list.
///
/// The scorer has to have room for all prompts, and for `width` beams a query. It is asked, and waited for, at most once a token of the
/// longest ID; a prefix that only one ID begins with is not scored any further, as nothing else can follow.
///
/// # Errors
/// [`Error::Config`] for a width of 0 or a sampling that cannot be; [`Error::Data`] for logits that are NaN or +∞; what the scorer
/// fails with.
pub(crate) fn search(
    scorer: &mut impl BeamScorer,
    filter: &TrieFilter<'_>,
    queries: &[SearchQuery<'_>],
    width: usize,
    sampling: Option<&Sampling>,
) -> Result<Vec<Vec<FoundId>>> {
    if width == 0 || u32::try_from(width).is_err() {
        return Err(Error::config("beams", format!("expected 1 to {}, got {width}", u32::MAX)));
    }
    sampling.map_or(Ok(()), Sampling::validate)?;
    let filters: Vec<QueryFilter<'_>> = queries.iter().map(|query| filter.without(query.left_out)).collect();
    let seed = sampling.map_or(0, |sampling| sampling.seed);
    let random = queries.iter().map(|query| stream(seed, "recommend.sample", query.number)).collect();
    let (trie, scored) = (filter.trie(), queries.len());
    let mut run = Search { scorer, trie, width, sampling, filters, random, beams: Vec::new(), scored };
    run.begin(queries)?;
    // One step a token, one for the end token.
    for _ in 0..=trie.depth() {
        if run.is_over() {
            break;
        }
        run.advance()?;
    }
    Ok(run.found())
}

struct Search<'a, S> {
    scorer: &'a mut S,
    trie: &'a Trie,
    width: usize,
    sampling: Option<&'a Sampling>,
    filters: Vec<QueryFilter<'a>>,
    /// What each query's draws come from.
    random: Vec<Stream>,
    /// Of each query, best first.
    beams: Vec<Vec<Beam>>,
    /// How many beams the scorer holds.
    scored: usize,
}

impl<S: BeamScorer> Search<'_, S> {
    fn begin(&mut self, queries: &[SearchQuery<'_>]) -> Result<()> {
        let draws = self.width as u32;
        for place in 0..queries.len() {
            let root = Beam { prefix: Vec::new(), node: Trie::ROOT, log_probability: 0.0, draws, place, done: false };
            let leads_on = self.filters[place].leads_on(Trie::ROOT);
            let beams = if leads_on { vec![self.settled(root)] } else { Vec::new() };
            self.beams.push(beams);
        }
        if self.is_over() {
            return Ok(());
        }
        let prompts: Vec<&[u32]> = queries.iter().map(|query| query.prompt).collect();
        self.scorer.start(&prompts)
    }

    fn is_over(&self) -> bool {
        self.beams.iter().flatten().all(|beam| beam.done)
    }

    /// Takes every query a token further.
    fn advance(&mut self) -> Result<()> {
        let logits = self.logits()?;
        let mut steps = Vec::new();
        for query in 0..self.beams.len() {
            let beams = std::mem::take(&mut self.beams[query]);
            let mut ways = Vec::new();
            for (number, beam) in beams.iter().enumerate() {
                let first = ways.len();
                self.ways(query, number, beam, &logits, &mut ways)?;
                self.draw(query, beam, &mut ways[first..]);
            }
            self.beams[query] = self.keep(&beams, ways, &mut steps);
        }
        self.scored = steps.len();
        if steps.is_empty() { Ok(()) } else { self.scorer.step(&steps) }
    }

    /// The logits of what may follow each of the scorer's beams, in the order of [`Trie::next_into`]; none for what is certain.
    fn logits(&mut self) -> Result<Vec<Vec<f32>>> {
        let mut asked: Vec<Vec<u32>> = vec![Vec::new(); self.scored];
        for beam in self.beams.iter().flatten().filter(|beam| !beam.done) {
            let tokens = &mut asked[beam.place];
            self.trie.next_into(beam.node, tokens);
            if tokens.len() == 1 {
                tokens.clear();
            }
        }
        let count: usize = asked.iter().map(Vec::len).sum();
        let logits = if count == 0 { Vec::new() } else { self.scorer.logits(&asked)? };
        check_shape("logits", count, logits.len(), "scores of tokens")?;
        let mut rest = &logits[..];
        let mut own = |tokens: Vec<u32>| {
            let (own, after) = rest.split_at(tokens.len());
            rest = after;
            own.to_vec()
        };
        Ok(asked.into_iter().map(&mut own).collect())
    }

    /// Adds the ways on from a beam that lead to an item which may come out.
    fn ways(&self, query: usize, number: usize, beam: &Beam, logits: &[Vec<f32>], ways: &mut Vec<Way>) -> Result<()> {
        let Beam { node, log_probability, draws, .. } = *beam;
        let filter = &self.filters[query];
        let mut add = |token, node, log: f64| {
            ways.push(Way { beam: number, token, node, log_probability: log_probability + log, draws });
        };
        if beam.done {
            add(None, node, 0.0);
            return Ok(());
        }
        let logits = &logits[beam.place];
        // A lone way on is certain.
        let sum = if logits.is_empty() { 0.0 } else { log_sum(logits) };
        if !sum.is_finite() {
            return Err(Error::Data(format!(
                "the logits of what may follow {:?} are NaN or infinite: the model is damaged",
                beam.prefix
            )));
        }
        let log = |i: usize| logits.get(i).map_or(0.0, |v| f64::from(*v) - sum);
        let children = self.trie.ways(node);
        let count = children.len();
        for (i, (token, child)) in children.enumerate() {
            if filter.leads_on(child) {
                add(Some(token), child, log(i));
            }
        }
        // The end token comes last.
        if (logits.len() > count || count == 0) && !filter.items(node).0.is_empty() {
            add(None, node, log(count));
        }
        Ok(())
    }

    /// Shares a beam's draws out among its ways on.
    fn draw(&mut self, query: usize, beam: &Beam, ways: &mut [Way]) {
        if let Some(sampling) = self.sampling.filter(|_| !beam.done) {
            let logs: Vec<f64> = ways.iter().map(|way| way.log_probability).collect();
            let counts = sampling.draw(&logs, beam.draws, &mut self.random[query]);
            ways.iter_mut().zip(counts).for_each(|(way, count)| way.draws = count);
        }
    }

    /// The best ways of a query, taken; those that are scored again are added to `steps`.
    fn keep(&self, beams: &[Beam], mut ways: Vec<Way>, steps: &mut Vec<BeamStep>) -> Vec<Beam> {
        ways.retain(|way| way.draws > 0);
        let text = |way: &Way| (&beams[way.beam].prefix, way.token);
        let order = |a: &Way, b: &Way| {
            b.log_probability.total_cmp(&a.log_probability).then_with(|| {
                let ((a, a_next), (b, b_next)) = (text(a), text(b));
                a.iter().chain(&a_next).cmp(b.iter().chain(&b_next))
            })
        };
        if self.width < ways.len() {
            // The order is total, so which ways stay does not depend on how they are selected.
            ways.select_nth_unstable_by(self.width, order);
            ways.truncate(self.width);
        }
        ways.sort_unstable_by(order);
        let take = |way: Way| {
            let from = &beams[way.beam];
            let prefix: Vec<u32> = from.prefix.iter().copied().chain(way.token).collect();
            let Way { node, log_probability, draws, token, .. } = way;
            let made = Beam { prefix, node, log_probability, draws, place: steps.len(), done: token.is_none() };
            let made = self.settled(made);
            if let (false, Some(token)) = (made.done, token) {
                steps.push(BeamStep { from: from.place, token });
            }
            made
        };
        ways.into_iter().map(take).collect()
    }

    /// Goes on to the end of an ID if no other begins with the same prefix: whatever is certain is not scored.
    fn settled(&self, mut beam: Beam) -> Beam {
        if beam.done {
            return beam;
        }
        let (mut node, mut tail) = (beam.node, Vec::new());
        loop {
            let mut ways = self.trie.ways(node);
            match (ways.next(), ways.next()) {
                (None, _) => {
                    beam.prefix.extend(tail);
                    return Beam { node, done: true, ..beam };
                }
                (Some((token, child)), None) if self.trie.items_at(node).is_empty() => {
                    tail.push(token);
                    node = child;
                }
                _ => return beam,
            }
        }
    }

    fn found(self) -> Vec<Vec<FoundId>> {
        let found = |filter: &QueryFilter<'_>, beam: Beam| {
            let (items, sharing) = filter.items(beam.node);
            let Beam { prefix: id, log_probability, draws, .. } = beam;
            FoundId { id, items, sharing, log_probability, draws }
        };
        let lists = self.beams.into_iter().zip(&self.filters);
        lists.map(|(beams, filter)| beams.into_iter().filter(|b| b.done).map(|b| found(filter, b)).collect()).collect()
    }
}

/// log Σ exp of logits, in f64; NaN if one is NaN or +∞, or all are −∞.
pub(crate) fn log_sum(row: &[f32]) -> f64 {
    let most = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    if !most.is_finite() {
        return f64::NAN;
    }
    let most = f64::from(most);
    most + libm::log(row.iter().map(|v| libm::exp(f64::from(*v) - most)).sum())
}
