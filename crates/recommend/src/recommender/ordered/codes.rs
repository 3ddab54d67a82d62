//! The codes of all items as tokens.

use sememe::ids::Trie;
use sememe::{Codes, Error, Result};

/// The most tokens: rows of a table are counted in 32 bits.
const TOKENS: usize = 1 << 31;

/// The codes of all items as tokens: rows of one table, in which the codes of a level follow those of the level before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemTokens {
    pub levels: usize,
    /// The first token of each level, and past the last one.
    pub first: Vec<usize>,
    /// `[items, levels]`.
    tokens: Vec<u32>,
}

impl ItemTokens {
    /// Each level has as many tokens as its largest code asks for.
    ///
    /// # Errors
    /// [`Error::Config`] for codes that ask for too many.
    pub fn new(codes: &Codes) -> Result<Self> {
        let levels = codes.levels();
        let mut first = vec![0; levels + 1];
        for level in 0..levels {
            let most = codes.iter().map(|c| c[level]).max().unwrap_or(0);
            first[level + 1] = first[level] + most as usize + 1;
        }
        if first[levels] > TOKENS {
            let problem =
                format!("the largest codes of all levels ask for {} vectors, at most {TOKENS} are held", first[levels]);
            return Err(Error::config("codes", problem));
        }
        let token = |(level, code): (usize, &u32)| first[level] as u32 + code;
        let tokens = codes.iter().flat_map(|c| c.iter().enumerate().map(token)).collect();
        Ok(Self { levels, first, tokens })
    }

    pub fn items(&self) -> usize {
        self.tokens.len() / self.levels
    }

    /// How many tokens there are.
    pub fn count(&self) -> usize {
        self.first[self.levels]
    }

    /// How many codes a level has.
    pub fn codebook(&self, level: usize) -> usize {
        self.first[level + 1] - self.first[level]
    }

    /// The tokens of an item.
    pub fn of(&self, item: u32) -> &[u32] {
        &self.tokens[item as usize * self.levels..][..self.levels]
    }

    /// All IDs; the end token is the one past the last.
    pub fn trie(&self) -> Result<Trie> {
        Trie::build(self.tokens.chunks_exact(self.levels), self.count() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_level_follow_those_of_the_level_before() {
        let tokens = ItemTokens::new(&Codes::from_vec(3, 2, vec![1, 0, 0, 4, 1, 0]).expect("codes"));
        let tokens = tokens.expect("tokens");
        assert_eq!((tokens.count(), tokens.codebook(0), tokens.codebook(1)), (7, 2, 5));
        assert_eq!((tokens.of(0), tokens.of(1)), (&[1, 2][..], &[0, 6][..]));
        let trie = tokens.trie().expect("a trie");
        assert_eq!((trie.items(&[1, 2]), trie.end()), (vec![0, 2], 7));
        let wide = Codes::from_vec(1, 2, vec![u32::MAX, 1]).expect("codes");
        assert!(ItemTokens::new(&wide).expect_err("refused").to_string().contains("ask for 4294967298 vectors"));
    }
}
