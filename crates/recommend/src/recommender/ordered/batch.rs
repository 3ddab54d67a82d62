//! Histories as tokens, on the host.

use super::codes::ItemTokens;
use crate::decoder::PackedPlaces;

/// Tokens that are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenBatch {
    /// Row of each token in the table of codes.
    pub tokens: Vec<u32>,
    /// Place of each token in its ID.
    pub levels: Vec<u32>,
    /// Number of the item that a token completes, counted from 0; `u32::MAX` for all others.
    pub completes: Vec<u32>,
    /// The items that are completed.
    pub items: Vec<u32>,
    /// The token that completes each.
    pub ends: Vec<u32>,
}

impl TokenBatch {
    /// Adds a token, the code of `item` at `level`.
    pub fn push(&mut self, codes: &ItemTokens, item: u32, level: usize) {
        let complete = level + 1 == codes.levels;
        self.completes.push(if complete { self.items.len() as u32 } else { u32::MAX });
        if complete {
            self.items.push(item);
            self.ends.push(self.tokens.len() as u32);
        }
        self.tokens.push(codes.of(item)[level]);
        self.levels.push(level as u32);
    }

    /// Adds a token of an ID that goes on after it.
    pub fn push_open(&mut self, token: u32, level: usize) {
        self.completes.push(u32::MAX);
        self.tokens.push(token);
        self.levels.push(level as u32);
    }
}

/// Histories of one step, packed: each code but the last asks for the one after it.
#[derive(Clone, Debug)]
pub(crate) struct OrderedBatch {
    pub places: PackedPlaces,
    pub inputs: TokenBatch,
    /// Tokens by the level that they ask for, then in their order.
    pub order: Vec<u32>,
    /// Where each token is in `order`.
    pub back: Vec<u32>,
    /// Where each level begins in `order`, and the end.
    pub bounds: Vec<usize>,
    /// The code that each of `order` asks for.
    pub targets: Vec<u32>,
}

impl OrderedBatch {
    /// Packs pieces.
    pub fn of(codes: &ItemTokens, pieces: &[&[u32]]) -> Self {
        let levels = codes.levels;
        let (mut inputs, mut asked) = (TokenBatch::default(), Vec::new());
        for piece in pieces {
            let count = piece.len() * levels;
            for at in 0..count.saturating_sub(1) {
                inputs.push(codes, piece[at / levels], at % levels);
                let (item, level) = (piece[(at + 1) / levels], (at + 1) % levels);
                asked.push((level, codes.of(item)[level] - codes.first[level] as u32));
            }
        }
        let mut order: Vec<u32> = (0..asked.len() as u32).collect();
        order.sort_by_key(|token| asked[*token as usize].0);
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, token)| back[*token as usize] = place as u32);
        let bounds = (0..=levels).map(|l| order.partition_point(|token| asked[*token as usize].0 < l)).collect();
        let targets = order.iter().map(|token| asked[*token as usize].1).collect();
        let places = PackedPlaces::of(pieces.iter().map(|p| (p.len() * levels).saturating_sub(1)));
        Self { places, inputs, order, back, bounds, targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sememe::Codes;

    #[test]
    fn every_code_asks_for_the_next_and_vectors_enter_with_the_last() {
        let codes = ItemTokens::new(&Codes::from_vec(3, 2, vec![1, 0, 0, 4, 1, 3]).expect("codes"));
        let codes = codes.expect("tokens");
        let batch = OrderedBatch::of(&codes, &[&[1, 2], &[0, 1, 2]]);
        assert_eq!(batch.inputs.tokens, [0, 6, 1, 1, 2, 0, 6, 1]);
        assert_eq!(batch.inputs.levels, [0, 1, 0, 0, 1, 0, 1, 0]);
        assert_eq!(batch.inputs.items, [1, 0, 1]);
        assert_eq!(batch.inputs.ends, [1, 4, 6]);
        let none = u32::MAX;
        assert_eq!(batch.inputs.completes, [none, 0, none, none, 1, none, 2, none]);
        assert_eq!(batch.places.starts, [0, 0, 0, 3, 3, 3, 3, 3]);
        // Tokens 1, 4 and 6 ask for a first code, the others for a second.
        assert_eq!((&batch.order[..], &batch.bounds[..]), (&[1, 4, 6, 0, 2, 3, 5, 7][..], &[0, 3, 8][..]));
        assert_eq!(batch.targets, [1, 0, 1, 4, 3, 0, 4, 3]);
        assert!(batch.order.iter().enumerate().all(|(place, t)| batch.back[*t as usize] as usize == place));
    }
}
