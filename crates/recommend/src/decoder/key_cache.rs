//! Keys and values of tokens in slots, for decoding with a cache.

use super::shape::DecoderShape;
use sememe::compute::tensor::{TensorBackend, whole};
use sememe::{Error, Result};

/// Keys and values of all blocks, in slots that are counted by their users.
pub(crate) struct KeyCache<B: TensorBackend> {
    /// `[slots, cached]` of each block.
    pub(super) layers: Vec<B::Tensor>,
    /// Values of a slot.
    cached: usize,
    /// Slots that nobody uses; the next one is the last.
    free: Vec<u32>,
    /// Users of each slot.
    users: Vec<u32>,
}

impl<B: TensorBackend> KeyCache<B> {
    /// Room for the keys of `slots` tokens, which grows as it is needed. `2·slots·layers·kv_heads·head_dims` values.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, shape: &DecoderShape, slots: usize) -> Result<Self> {
        let cached = 2 * shape.kv_heads * shape.head_dims;
        let room = |_| backend.zeros("keys and values", slots * cached);
        let layers = (0..shape.layers).map(room).collect::<Result<_>>()?;
        Ok(Self { layers, cached, free: (0..slots as u32).rev().collect(), users: vec![0; slots] })
    }

    /// Makes room for at least `more` slots, twice as many as there are if that is more.
    fn grow(&mut self, backend: &B, more: usize) -> Result<()> {
        let before = self.users.len();
        let slots = before + more.max(before);
        if u32::try_from(slots).is_err() {
            return Err(Error::Data(format!("the keys of {slots} tokens are more than can be counted")));
        }
        for layer in &mut self.layers {
            let mut room = backend.zeros("keys and values", slots * self.cached)?;
            backend.combine(before * self.cached, 1.0, whole(layer), 0.0, &mut room, 0)?;
            *layer = room;
        }
        self.users.resize(slots, 0);
        self.free.splice(0..0, (before as u32..slots as u32).rev());
        Ok(())
    }

    /// Slots that nobody uses.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes `count` slots, each with one user.
    ///
    /// # Errors
    /// Device errors.
    pub fn take(&mut self, backend: &B, count: usize) -> Result<Vec<u32>> {
        if count > self.free.len() {
            self.grow(backend, count - self.free.len())?;
        }
        let mut taken = self.free.split_off(self.free.len() - count);
        taken.reverse();
        self.share(&taken);
        Ok(taken)
    }

    /// Counts one more user of each slot.
    pub fn share(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.users[*slot as usize] += 1);
    }

    /// Counts one user less; slots without any are free again.
    pub fn release(&mut self, slots: &[u32]) {
        for slot in slots {
            let users = &mut self.users[*slot as usize];
            *users -= 1;
            if *users == 0 {
                self.free.push(*slot);
            }
        }
    }
}
