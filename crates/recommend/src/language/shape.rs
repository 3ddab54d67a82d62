//! What a language model looks like, and where its parameters lie in one flat tensor.

use crate::decoder::{DecoderLayout, DecoderShape};
use sememe::{Error, Result};
use serde::{Deserialize, Serialize};

/// Sizes of a language model: a decoder, and as many tokens as it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageShape {
    /// The decoder.
    pub decoder: DecoderShape,
    /// Tokens.
    pub vocabulary: usize,
    /// Whether the vectors that tokens are read as are those that the output is compared with.
    pub tied: bool,
}

impl LanguageShape {
    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that does not fit, with the numbers.
    pub fn validate(&self) -> Result<()> {
        self.decoder.validate()?;
        let most = 1 << 24;
        if self.vocabulary == 0 || self.vocabulary > most {
            let problem = format!("expected 1 to {most} tokens, got {}", self.vocabulary);
            return Err(Error::config("vocabulary", problem));
        }
        Ok(())
    }

    /// Numbers that the model has learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        LanguageLayout::new(self).end
    }
}

/// Places of a language model's parameters: the decoder's, the tokens' vectors, and, if they are others, the output's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LanguageLayout {
    pub decoder: DecoderLayout,
    /// `[vocabulary, dims]`.
    pub embedding: usize,
    /// `[vocabulary, dims]`; the embedding's place if they are tied.
    pub output: usize,
    /// Past the last parameter.
    pub end: usize,
}

impl LanguageLayout {
    pub fn new(shape: &LanguageShape) -> Self {
        let decoder = DecoderLayout::new(&shape.decoder, 0);
        let (embedding, table) = (decoder.end, shape.vocabulary * shape.decoder.dims);
        let output = if shape.tied { embedding } else { embedding + table };
        Self { decoder, embedding, output, end: output + table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tied_tables_lie_in_one_place() {
        let shape = LanguageShape { decoder: DecoderShape::small(8, 1, 2, 16), vocabulary: 10, tied: true };
        let tied = LanguageLayout::new(&shape);
        let apart = LanguageLayout::new(&LanguageShape { tied: false, ..shape.clone() });
        assert_eq!(tied.output, tied.embedding);
        assert_eq!((apart.output, apart.end), (apart.embedding + 80, tied.end + 80));
        assert_eq!(shape.parameters(), tied.end);
        let none = LanguageShape { vocabulary: 0, ..shape };
        assert!(none.validate().expect_err("refused").to_string().contains("got 0"));
    }
}
