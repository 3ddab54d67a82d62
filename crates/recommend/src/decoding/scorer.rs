//! Who scores the tokens of a search.

use sememe::Result;
use sememe::compute::tensor::{TensorBackend, whole};

/// A beam that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BeamStep {
    /// The beam, by its place among those of the last call.
    pub from: usize,
    /// The token that it goes on with, never the end token.
    pub token: u32,
}

/// A model that reads prompts and scores what may come next: a decoder with its cache, say.
///
/// Tokens are those of the trie that is searched, the end token among them. Calls order work on a device; only
/// [`logits`](Self::logits) waits for it, once.
pub(crate) trait BeamScorer {
    /// Forgets what came before and reads one prompt a query; beam i is query i.
    ///
    /// # Errors
    /// Prompts that it cannot read; device errors.
    fn start(&mut self, prompts: &[&[u32]]) -> Result<()>;

    /// Beams of the last call go on and become beams 0, 1, …; all others are forgotten.
    ///
    /// # Errors
    /// Tokens that it cannot read; device errors.
    fn step(&mut self, steps: &[BeamStep]) -> Result<()>;

    /// Logits of the tokens that are asked of each beam, up to one constant a beam, one list behind another.
    ///
    /// # Errors
    /// Tokens that it cannot score; device errors.
    fn logits(&mut self, asked: &[Vec<u32>]) -> Result<Vec<f32>>;
}

/// Reads some logits of many back from a device, in one go.
pub(crate) struct AskedLogits<B: TensorBackend> {
    places: B::Index,
    values: B::Tensor,
    room: usize,
}

impl<B: TensorBackend> AskedLogits<B> {
    /// Room that grows as it is needed.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B) -> Result<Self> {
        let (places, values) = (backend.index("logits that are asked", 1)?, backend.zeros("logits that are asked", 1)?);
        Ok(Self { places, values, room: 1 })
    }

    /// The values of `logits [beams, width]` in the columns that are asked of each beam. What is asked is gathered on the device if it
    /// is less than half of all: of a language model's vocabulary it is next to nothing. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn read(&mut self, backend: &B, logits: &B::Tensor, width: usize, asked: &[Vec<u32>]) -> Result<Vec<f32>> {
        let count: usize = asked.iter().map(Vec::len).sum();
        if count == 0 {
            return Ok(Vec::new());
        }
        let places =
            asked.iter().enumerate().flat_map(|(beam, own)| own.iter().map(move |c| beam * width + *c as usize));
        let all = asked.len() * width;
        if count * 2 >= all || u32::try_from(all).is_err() {
            let mut held = vec![0.0; all];
            backend.read_tensor(logits, 0, &mut held)?;
            return Ok(places.map(|place| held[place]).collect());
        }
        if count > self.room {
            self.room = count.next_power_of_two();
            self.places = backend.index("logits that are asked", self.room)?;
            self.values = backend.zeros("logits that are asked", self.room)?;
        }
        let places: Vec<u32> = places.map(|place| place as u32).collect();
        backend.write_index(&mut self.places, 0, &places)?;
        backend.gather((count, 1, all), whole(logits), whole(&self.places), false, &mut self.values, 0)?;
        let mut out = vec![0.0; count];
        backend.read_tensor(&self.values, 0, &mut out)?;
        Ok(out)
    }
}
