//! Sequences of different lengths, one behind another without padding, and where each token stands.

use sememe::Result;
use sememe::compute::tensor::TensorBackend;

/// Where packed tokens stand, on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedPlaces {
    /// First token of each token's sequence.
    pub starts: Vec<u32>,
    /// Place in its sequence.
    pub positions: Vec<u32>,
}

impl PackedPlaces {
    /// Places of sequences of these lengths.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut places = Self::default();
        for length in lengths {
            let start = places.starts.len() as u32;
            places.starts.extend(std::iter::repeat_n(start, length));
            places.positions.extend(0..length as u32);
        }
        places
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.starts.len()
    }
}

/// Sequences in batches of at most `most` tokens, in their order; one that is longer has a batch of its own.
pub(crate) fn packed(order: Vec<usize>, most: usize, length: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let (mut out, mut held): (Vec<Vec<usize>>, usize) = (Vec::new(), usize::MAX);
    for sequence in order {
        let tokens = length(sequence);
        if held.saturating_add(tokens) > most {
            out.push(Vec::new());
            held = 0;
        }
        held += tokens;
        if let Some(batch) = out.last_mut() {
            batch.push(sequence);
        }
    }
    out
}

/// Where packed tokens stand, on a device, for up to some number of tokens.
pub(crate) struct PackedTokens<B: TensorBackend> {
    pub count: usize,
    pub starts: B::Index,
    pub positions: B::Index,
}

impl<B: TensorBackend> PackedTokens<B> {
    /// Room for `most` tokens.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, most: usize) -> Result<Self> {
        let (starts, positions) = (backend.index("starts of sequences", most)?, backend.index("positions", most)?);
        Ok(Self { count: 0, starts, positions })
    }

    /// Takes these tokens' places.
    ///
    /// # Errors
    /// More tokens than there is room for; device errors.
    pub fn place(&mut self, backend: &B, places: &PackedPlaces) -> Result<()> {
        backend.write_index(&mut self.starts, 0, &places.starts)?;
        backend.write_index(&mut self.positions, 0, &places.positions)?;
        self.count = places.tokens();
        Ok(())
    }
}
