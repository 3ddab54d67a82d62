//! Decoding with a cache: the keys and values of tokens are kept in slots, so that a new token costs one token's work, and beams of a
//! query share the slots of what they have in common.

use super::key_cache::KeyCache;
use super::passes::{Attention, AttentionValues, BlockInput, BlockValues, DecoderPass};
use super::shape::DecoderShape;
use super::tokens::PackedPlaces;
use sememe::compute::tensor::{AttentionShape, TensorBackend, whole};
use sememe::{Error, Result};

/// Attention within packed prompts, whose keys are kept.
struct KeptAttention<'a, B: TensorBackend> {
    starts: &'a B::Index,
    slots: &'a B::Index,
    cache: &'a mut [B::Tensor],
}

impl<B: TensorBackend> Attention<B> for KeptAttention<'_, B> {
    fn attend(
        &mut self,
        backend: &B,
        layer: usize,
        shape: &AttentionShape,
        values: AttentionValues<'_, B>,
    ) -> Result<()> {
        backend.store_keys(shape, whole(self.slots), values.qkv, &mut self.cache[layer])?;
        backend.attention(shape, self.starts, values.qkv, values.out, values.log_sums)
    }
}

/// Attention of new tokens over what is kept.
struct CachedAttention<'a, B: TensorBackend> {
    slots: &'a B::Index,
    seen: &'a B::Index,
    bounds: &'a B::Index,
    cache: &'a mut [B::Tensor],
}

impl<B: TensorBackend> Attention<B> for CachedAttention<'_, B> {
    fn attend(
        &mut self,
        backend: &B,
        layer: usize,
        shape: &AttentionShape,
        values: AttentionValues<'_, B>,
    ) -> Result<()> {
        let cache = &mut self.cache[layer];
        backend.store_keys(shape, whole(self.slots), values.qkv, cache)?;
        backend.attention_cached(shape, self.seen, self.bounds, values.qkv, cache, values.out)
    }
}

/// A beam: the query that it goes on from, and the slots of its tokens since then.
#[derive(Clone)]
struct Trail {
    query: usize,
    slots: Vec<u32>,
}

/// The slots of prompts and of beams that go on from them.
#[derive(Default)]
pub(crate) struct Trails {
    /// Slots of each query's prompt; none where no beam goes on from it.
    prompts: Vec<Vec<u32>>,
    beams: Vec<Trail>,
}

impl Trails {
    /// Adds a prompt and its beam, in the place of a prompt that is over.
    fn begin(&mut self, slots: &[u32]) {
        let query = self.prompts.iter().position(Vec::is_empty).unwrap_or(self.prompts.len());
        if query == self.prompts.len() {
            self.prompts.push(Vec::new());
        }
        self.prompts[query] = slots.to_vec();
        self.beams.push(Trail { query, slots: Vec::new() });
    }
}

/// A decoder that reads prompts once and then goes on from them, beam by beam.
///
/// Values of one block serve all blocks in turn, and there is nothing for gradients.
pub(crate) struct CachedDecoder<B: TensorBackend> {
    /// What goes in, `[tokens, dims]`: the caller's.
    pub input: B::Tensor,
    /// What comes out of each beam's last token, `[beams, dims]`.
    pub hidden: B::Tensor,
    block: BlockValues<B>,
    branch: B::Tensor,
    /// The most tokens of a call.
    most: usize,
    starts: B::Index,
    positions: B::Index,
    slots: B::Index,
    bounds: B::Index,
    /// Slots that the tokens of a call see, and room for how many.
    seen: (B::Index, usize),
    pub cache: KeyCache<B>,
    trails: Trails,
}

impl<B: TensorBackend> CachedDecoder<B> {
    /// Room for `most` tokens in a call, and for the keys of `slots` tokens, which grows as it is needed.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, shape: &DecoderShape, most: usize, slots: usize) -> Result<Self> {
        let index = |what, len| backend.index(what, len);
        Ok(Self {
            input: backend.zeros("values of a decoder", most * shape.dims)?,
            hidden: backend.zeros("values of a decoder", most * shape.dims)?,
            block: BlockValues::new(backend, shape, most)?,
            branch: backend.zeros("values of a decoder", most * shape.dims)?,
            most,
            starts: index("starts of sequences", most)?,
            positions: index("positions", most)?,
            slots: index("slots of new tokens", most)?,
            bounds: index("bounds of slots", most + 1)?,
            seen: (index("slots that are seen", slots)?, slots),
            cache: KeyCache::new(backend, shape, slots)?,
            trails: Trails::default(),
        })
    }

    /// Reads one prompt a query, `lengths` tokens each, whose values lie packed in `input`; what was kept before is forgotten. Beam i is
    /// query i then. O(Σ length²·width + tokens·parameters); nothing waits for the device.
    ///
    /// # Errors
    /// [`Error::Data`] for a prompt without tokens, more tokens than there is room for, or a position past the decoder's; device errors.
    pub fn start(&mut self, pass: &DecoderPass<'_, B>, params: &B::Tensor, lengths: &[usize]) -> Result<()> {
        self.forget();
        self.join(pass, params, lengths)
    }

    /// As [`start`](Self::start), but beams of the last call stay, and those of the new prompts come behind them. `hidden` holds the new
    /// ones alone.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn join(&mut self, pass: &DecoderPass<'_, B>, params: &B::Tensor, lengths: &[usize]) -> Result<()> {
        let (backend, places) = (pass.backend, PackedPlaces::of(lengths.iter().copied()));
        if let Some(query) = lengths.iter().position(|length| *length == 0) {
            return Err(Error::Data(format!("the prompt of query {query} has no tokens")));
        }
        self.check(pass, &places.positions)?;
        let all = self.cache.take(backend, places.tokens())?;
        let mut rest = &all[..];
        for length in lengths {
            let (own, after) = rest.split_at(*length);
            self.trails.begin(own);
            rest = after;
        }
        backend.write_index(&mut self.starts, 0, &places.starts)?;
        backend.write_index(&mut self.positions, 0, &places.positions)?;
        backend.write_index(&mut self.slots, 0, &all)?;
        let Self { input, hidden, block, branch, starts, positions, slots, cache, bounds, .. } = self;
        let n = places.tokens();
        let mut attention = KeptAttention { starts, slots, cache: &mut cache.layers };
        blocks(pass, params, (n, positions), &mut attention, (input, hidden, block, branch))?;
        // Of each prompt the last token is asked.
        let last: Vec<u32> = lengths.iter().scan(0, |end, length| Some(after(end, *length) - 1)).collect();
        backend.write_index(bounds, 0, &last)?;
        let shape = (last.len(), pass.shape.dims, n);
        backend.gather(shape, whole(hidden), whole(bounds), false, &mut block.output, 0)?;
        std::mem::swap(hidden, &mut block.output);
        Ok(())
    }

    /// Goes on from beams of the last call, each named by its place there, with one token each, whose values lie in `input`: they become
    /// beams 0, 1, …; the others' slots are free again. O(Σ slots seen·width + beams·parameters); nothing waits for the device.
    ///
    /// # Errors
    /// [`Error::Data`] for a beam that is not there, more beams than there is room for, or a position past the decoder's; device errors.
    pub fn step(&mut self, pass: &DecoderPass<'_, B>, params: &B::Tensor, from: &[usize]) -> Result<()> {
        if let Some(beam) = from.iter().find(|beam| **beam >= self.trails.beams.len()) {
            return Err(Error::Data(format!("beam {beam} is past the {} beams", self.trails.beams.len())));
        }
        let length = |trail: &Trail| (self.trails.prompts[trail.query].len() + trail.slots.len()) as u32;
        let positions: Vec<u32> = from.iter().map(|beam| length(&self.trails.beams[*beam])).collect();
        self.check(pass, &positions)?;
        let backend = pass.backend;
        let new = self.go_on(backend, from)?;
        let (mut seen, mut bounds) = (Vec::new(), vec![0u32]);
        for trail in &self.trails.beams {
            seen.extend_from_slice(&self.trails.prompts[trail.query]);
            seen.extend_from_slice(&trail.slots);
            bounds.push(seen.len() as u32);
        }
        if seen.len() > self.seen.1 {
            let room = seen.len().next_power_of_two();
            self.seen = (backend.index("slots that are seen", room)?, room);
        }
        backend.write_index(&mut self.seen.0, 0, &seen)?;
        backend.write_index(&mut self.bounds, 0, &bounds)?;
        backend.write_index(&mut self.slots, 0, &new)?;
        backend.write_index(&mut self.positions, 0, &positions)?;
        let Self { input, hidden, block, branch, positions, slots, cache, bounds, seen: (seen, _), .. } = self;
        let mut attention = CachedAttention { slots, seen, bounds, cache: &mut cache.layers };
        blocks(pass, params, (new.len(), positions), &mut attention, (input, hidden, block, branch))
    }

    /// Beams go on with a slot more each; returns those. What no beam stands on any more is free.
    fn go_on(&mut self, backend: &B, from: &[usize]) -> Result<Vec<u32>> {
        let new = self.cache.take(backend, from.len())?;
        let mut next = Vec::with_capacity(from.len());
        for (beam, slot) in from.iter().zip(&new) {
            let mut trail = self.trails.beams[*beam].clone();
            self.cache.share(&trail.slots);
            trail.slots.push(*slot);
            next.push(trail);
        }
        let before = std::mem::replace(&mut self.trails.beams, next);
        before.iter().for_each(|trail| self.cache.release(&trail.slots));
        let mut lives = vec![false; self.trails.prompts.len()];
        self.trails.beams.iter().for_each(|trail| lives[trail.query] = true);
        for (prompt, _) in self.trails.prompts.iter_mut().zip(lives).filter(|(_, lives)| !lives) {
            self.cache.release(prompt);
            prompt.clear();
        }
        Ok(new)
    }

    /// Hands the prompts and beams over, so that others can be read; those come back by [`take_up`](Self::take_up).
    #[cfg(feature = "language")]
    pub fn set_aside(&mut self) -> Trails {
        std::mem::take(&mut self.trails)
    }

    /// Forgets what there is for what was set aside.
    #[cfg(feature = "language")]
    pub fn take_up(&mut self, trails: Trails) {
        self.forget();
        self.trails = trails;
    }

    /// Frees all slots.
    fn forget(&mut self) {
        let Trails { beams, prompts } = std::mem::take(&mut self.trails);
        beams.iter().map(|trail| &trail.slots).chain(&prompts).for_each(|slots| self.cache.release(slots));
    }

    fn check(&self, pass: &DecoderPass<'_, B>, positions: &[u32]) -> Result<()> {
        if positions.len() > self.most {
            return Err(Error::Data(format!("{} tokens are more than the {} of a call", positions.len(), self.most)));
        }
        match positions.iter().find(|position| **position as usize >= pass.angles.1) {
            Some(position) => {
                Err(Error::Data(format!("position {position} is past the {} that the decoder reads", pass.angles.1)))
            }
            None => Ok(()),
        }
    }
}

/// Adds a length to what ends before, and returns the new end.
fn after(end: &mut u32, length: usize) -> u32 {
    *end += length as u32;
    *end
}

/// What goes in, what comes out, and what is used on the way.
type Values<'a, B> = (
    &'a mut <B as sememe::compute::tensor::Tensors>::Tensor,
    &'a mut <B as sememe::compute::tensor::Tensors>::Tensor,
    &'a mut BlockValues<B>,
    &'a mut <B as sememe::compute::tensor::Tensors>::Tensor,
);

/// Runs `n` tokens through all blocks.
fn blocks<B: TensorBackend>(
    pass: &DecoderPass<'_, B>,
    params: &B::Tensor,
    (n, positions): (usize, &B::Index),
    attention: &mut impl Attention<B>,
    (input, hidden, block, branch): Values<'_, B>,
) -> Result<()> {
    for layer in 0..pass.shape.layers {
        let given = BlockInput { n, positions, dropout: None, x: &*input };
        pass.block_forward(params, layer, &given, attention, block, branch)?;
        std::mem::swap(input, &mut block.output);
    }
    pass.last_norm(params, n, input, hidden)
}
