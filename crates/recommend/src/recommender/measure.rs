//! Where the right items of many histories stand among all items.

use super::history::questions;
use super::scorer::{ItemScorer, ScoreQuery};
use sememe::eval::{RankingMeasures, RankingTally};
use sememe::progress::{Observer, check as check_interrupt};
use sememe::{Result, Sequences};

/// Which items of which users a recommender is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RankingRequest<'a> {
    pub histories: &'a Sequences,
    /// Places before a user's end: 0 is the last item.
    pub from_end: usize,
    /// Whether items of the history are left out of the lists.
    pub hide_seen: bool,
}

/// How often training saw each item, if it kept the last `hold_out` of each user.
pub(crate) fn training_events(histories: &Sequences, items: usize, hold_out: usize) -> Vec<u32> {
    let mut events = vec![0u32; items];
    for items in histories.iter() {
        for item in &items[..items.len().saturating_sub(hold_out)] {
            events[*item as usize] += 1;
        }
    }
    events
}

/// Ranks all items after every history; training kept the last `hold_out` items of each user.
pub(crate) fn measure(
    scorer: &mut dyn ItemScorer,
    items: usize,
    hold_out: usize,
    asked: &RankingRequest<'_>,
    observer: &dyn Observer,
) -> Result<RankingMeasures> {
    let all: Vec<_> = questions(asked.histories, asked.from_end).collect();
    let queries: Vec<_> = all.iter().map(|q| ScoreQuery { history: q.history, wish: None }).collect();
    let targets: Vec<u32> = all.iter().map(|q| q.target).collect();
    let mut tally = RankingTally::new(training_events(asked.histories, items, hold_out));
    scorer.score(&queries, &mut |first, scores| {
        check_interrupt(observer)?;
        let end = first + scores.len() / items;
        let left_out: Vec<&[u32]> =
            all[first..end].iter().map(|q| if asked.hide_seen { q.history } else { &[][..] }).collect();
        tally.add(scores, &targets[first..end], &left_out)
    })?;
    Ok(tally.measures())
}
