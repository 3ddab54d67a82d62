//! Scores of all items after histories and wishes, by a network that stays on its device.

use super::network::Network;
use crate::decoder::PackedPlaces;
use sememe::Result;
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};

/// What is read before an answer: items that exist, and a wish as the network takes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScoreQuery<'a> {
    pub history: &'a [u32],
    /// Scaled as items' vectors are.
    pub wish: Option<Vec<f32>>,
}

impl ScoreQuery<'_> {
    /// Tokens that a decoder of so many positions reads of it.
    fn tokens(&self, positions: usize) -> usize {
        (self.history.len() + usize::from(self.wish.is_some())).min(positions)
    }

    /// The items among them: the latest, and none in the wish's place.
    fn items(&self, positions: usize) -> &[u32] {
        let most = positions - usize::from(self.wish.is_some());
        &self.history[self.history.len().saturating_sub(most)..]
    }
}

/// Takes scores as they come: the number of the first query, and `[queries, items]`.
pub(crate) type ScoreSink<'a> = &'a mut dyn FnMut(usize, &[f32]) -> Result<()>;

/// Whatever scores all items, on whichever device.
pub(crate) trait ItemScorer: Send {
    /// Scores of all items after each query, in batches. Queries are read from their ends, as far as the decoder reaches.
    ///
    /// # Errors
    /// Device errors; what `sink` returns.
    fn score(&mut self, queries: &[ScoreQuery<'_>], sink: ScoreSink<'_>) -> Result<()>;
}

impl<B: TensorBackend> ItemScorer for Network<B> {
    fn score(&mut self, queries: &[ScoreQuery<'_>], sink: ScoreSink<'_>) -> Result<()> {
        if let Some(heads) = &mut self.heads {
            heads.prepare(&*self.backend, &self.params)?;
        }
        let mut scores = Vec::new();
        let mut first = 0;
        while first < queries.len() {
            let (mut held, mut end) = (0, first);
            while end < queries.len() && end - first < self.logits_rows {
                held += queries[end].tokens(self.positions);
                if held > self.most {
                    break;
                }
                end += 1;
            }
            self.score_batch(&queries[first..end], &mut scores)?;
            sink(first, &scores)?;
            first = end;
        }
        Ok(())
    }
}

impl<B: TensorBackend> Network<B> {
    /// Scores `[queries, items]` of queries that fit into one batch.
    fn score_batch(&mut self, queries: &[ScoreQuery<'_>], scores: &mut Vec<f32>) -> Result<()> {
        let (positions, d, items) = (self.positions, self.shape.dims, self.layout.items.items);
        let places = PackedPlaces::of(queries.iter().map(|q| q.tokens(positions)));
        let (mut inputs, mut last, mut wishes) = (Vec::new(), Vec::new(), Vec::new());
        for query in queries {
            inputs.extend_from_slice(query.items(positions));
            if let Some(wish) = &query.wish {
                wishes.push((inputs.len(), wish.as_slice()));
                // Holds the place.
                inputs.push(0);
            }
            last.push(inputs.len() as u32 - 1);
        }
        self.read_items(&places, &inputs)?;
        self.read_wishes(&wishes)?;
        self.decode(None)?;
        let (backend, count, n) = (&*self.backend, last.len(), places.tokens());
        backend.write_index(&mut self.inputs, 0, &last)?;
        let (hidden, rows) = (whole(&self.buffers.hidden), whole(&self.inputs));
        backend.gather((count, d, n), hidden, rows, false, &mut self.buffers.grad, 0)?;
        if let Some(heads) = &mut self.heads {
            heads.score(backend, &self.params, &self.buffers.grad, count, &mut self.logits)?;
        } else {
            let product = Product { layout: Layout::Nt, m: count, n: items, k: d, alpha: 1.0, accumulate: false };
            // As exact as it gets: nothing is gained by rounding what is ranked.
            let (hidden, table) = (whole(&self.buffers.grad), whole(&self.table.table));
            backend.matmul(&product, Precision::F32, hidden, table, &mut self.logits, 0)?;
        }
        scores.resize(count * items, 0.0);
        backend.read_tensor(&self.logits, 0, scores)
    }

    /// Puts wishes into their places among the tokens, through the map of items' vectors.
    fn read_wishes(&mut self, wishes: &[(usize, &[f32])]) -> Result<()> {
        let Some((map, t)) = self.layout.items.map.filter(|_| !wishes.is_empty()) else { return Ok(()) };
        let (backend, d) = (&*self.backend, self.shape.dims);
        let mut held = backend.zeros("vectors of wishes", wishes.len() * t)?;
        let product = Product { layout: Layout::Nt, m: 1, n: d, k: t, alpha: 1.0, accumulate: false };
        for (number, (token, wish)) in wishes.iter().enumerate() {
            backend.write_tensor(&mut held, number * t, wish)?;
            let (wish, map) = (from(&held, number * t), from(&self.params, map));
            backend.matmul(&product, Precision::F32, wish, map, &mut self.buffers.input, token * d)?;
        }
        Ok(())
    }
}
