//! A drawn example, before its words are put in.

/// An example, as numbers.
#[derive(Clone, Copy)]
pub(super) struct Example {
    /// An item, or in [`Task::NextItem`](super::Task::NextItem) a user.
    pub(super) subject: u32,
    /// Where the next item stands in the user's sequence.
    pub(super) position: u32,
    pub(super) template: u32,
}

/// The items before a position, the last so many.
pub(super) fn history(sequence: &[u32], position: usize, most: usize) -> &[u32] {
    &sequence[position.saturating_sub(most)..position]
}
