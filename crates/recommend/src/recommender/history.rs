//! Histories as training sequences and as questions: leave-last-out, and batches of packed tokens.

use crate::decoder::packed;
use sememe::rng::stream;
use sememe::{Error, Result, Sequences};

/// How many of a user's last items are kept from training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldOut {
    /// The last tests and the one before validates: the protocol of published tables.
    Test,
    /// The last validates: for a model that goes into use.
    Validation,
}

impl HoldOut {
    /// Items a user that training does not see.
    #[must_use]
    pub fn items(self) -> usize {
        match self {
            Self::Test => 2,
            Self::Validation => 1,
        }
    }
}

/// A question to a recommender: what came before, and what came then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextItem<'a> {
    /// Items, oldest first; at least one.
    pub history: &'a [u32],
    /// The item that followed.
    pub target: u32,
}

/// The item `from_end` places before a user's end (0 is the last), with what came before it; users with nothing before it are left out.
pub fn questions(sequences: &Sequences, from_end: usize) -> impl Iterator<Item = NextItem<'_>> + Clone {
    sequences.iter().filter_map(move |items| {
        let (target, history) = items[..items.len().saturating_sub(from_end)].split_last()?;
        (!history.is_empty()).then_some(NextItem { history, target: *target })
    })
}

/// Pieces of histories to train on: at most `positions` steps each, cut from the end, so that the latest items have the most before them.
/// Every piece holds one item more than it has steps.
pub(crate) fn pieces(sequences: &Sequences, hold_out: usize, positions: usize) -> Vec<&[u32]> {
    let mut out = Vec::new();
    for items in sequences.iter() {
        let mut rest = &items[..items.len().saturating_sub(hold_out)];
        while rest.len() > 1 {
            let start = rest.len().saturating_sub(positions + 1);
            out.push(&rest[start..]);
            // The first item of this piece is the last target of the one before.
            rest = &rest[..start + usize::from(start > 0)];
        }
    }
    out
}

/// Steps of a piece whose items are `an_item` tokens each: every token but the last asks for the one after it.
pub(crate) fn steps_of(piece: &[u32], an_item: usize) -> usize {
    (piece.len() * an_item).saturating_sub(1)
}

/// Pieces in the order of an epoch, in batches of at most `tokens` steps, an item being `an_item` of them: places in `pieces`.
pub(crate) fn batches(pieces: &[&[u32]], an_item: usize, tokens: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    stream(seed, "recommend.order", epoch).shuffle(&mut order);
    packed(order, tokens, |piece| steps_of(pieces[piece], an_item))
}

/// Refuses histories that cannot be trained on.
///
/// # Errors
/// [`Error::Data`] for items that are no rows, or if no user has two items to learn from.
pub(crate) fn check(sequences: &Sequences, items: usize, hold_out: HoldOut) -> Result<()> {
    sequences.check(items)?;
    let least = hold_out.items() + 2;
    if !sequences.iter().any(|s| s.len() >= least) {
        return Err(Error::Data(format!(
            "none of {} users has {least} items or more: two to learn from and {} kept out; give more histories",
            sequences.users(),
            hold_out.items()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences() -> Sequences {
        Sequences::from_lists([vec![0, 1, 2, 3, 4, 5, 6], vec![7], vec![8, 9], vec![]]).expect("sequences")
    }

    #[test]
    fn questions_leave_out_users_with_nothing_before() {
        let all = sequences();
        let last: Vec<_> = questions(&all, 0).map(|q| (q.history.len(), q.target)).collect();
        assert_eq!(last, [(6, 6), (1, 9)]);
        assert_eq!(questions(&all, 1).map(|q| q.target).collect::<Vec<_>>(), [5]);
        assert_eq!(questions(&all, 9).count(), 0);
    }

    #[test]
    fn pieces_overlap_by_one_item_so_that_every_step_is_there_once() {
        let all = sequences();
        assert_eq!(pieces(&all, 2, 50), [&[0, 1, 2, 3, 4][..]]);
        assert_eq!(pieces(&all, 0, 2), [&[4, 5, 6][..], &[2, 3, 4], &[0, 1, 2], &[8, 9]]);
        assert_eq!(pieces(&all, 1, 4), [&[1, 2, 3, 4, 5][..], &[0, 1]]);
    }

    #[test]
    fn batches_hold_every_piece_once_within_the_tokens() {
        let lists: Vec<Vec<u32>> = (0..100).map(|i| (0..2 + i % 9).collect()).collect();
        let pieces: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
        let made = batches(&pieces, 1, 20, 1, 3);
        assert!(made.iter().all(|b| b.iter().map(|p| pieces[*p].len() - 1).sum::<usize>() <= 20));
        let mut seen: Vec<usize> = made.concat();
        assert_ne!(seen[..10], (0..10).collect::<Vec<_>>()[..]);
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(batches(&pieces, 1, 20, 1, 3), batches(&pieces, 1, 20, 1, 3));
        assert_ne!(batches(&pieces, 1, 20, 1, 3), batches(&pieces, 1, 20, 1, 4));
    }

    #[test]
    fn histories_too_short_are_refused_with_the_numbers() {
        let short = Sequences::from_lists([vec![0, 1, 0], vec![1]]).expect("sequences");
        let message = check(&short, 2, HoldOut::Test).expect_err("refused").to_string();
        assert!(message.contains("none of 2 users has 4 items"), "{message}");
        check(&short, 2, HoldOut::Validation).expect("enough");
        assert!(check(&short, 1, HoldOut::Validation).is_err());
    }
}
