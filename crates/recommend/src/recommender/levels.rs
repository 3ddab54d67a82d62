//! All codes of the next item at once, one head a level (as RPG does it; Hou et al. 2025).
//!
//! A head turns what the decoder gives: `z = h + W·h`, with W of its own that starts at 0. Logits are the products of z with the level's
//! code vectors, which are those that items are read by. The loss is the mean of the levels' cross-entropies, so a step costs Σk scores a
//! token, not one for every item. An item's score is the sum of its codes' log-probabilities; as each level's softmax takes the same off
//! all items, the logits themselves are added up, and all items are ranked exactly, by look-ups.

use super::items::{ItemLayout, ItemSources};
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::{Codes, Error, Result};

/// The most levels of an ID: what a trie holds.
const LEVELS: usize = 255;

/// The codes that are predicted.
///
/// # Errors
/// [`Error::Config`] without codes, or for more levels than there can be heads.
pub(crate) fn codes(sources: &ItemSources) -> Result<&Codes> {
    let Some(codes) = &sources.codes else {
        return Err(Error::config("codes", "one head a level predicts the codes of an ID, and there are none"));
    };
    if codes.levels() > LEVELS {
        let problem = format!("there are heads for at most {LEVELS} levels, got {}", codes.levels());
        return Err(Error::config("codes", problem));
    }
    Ok(codes)
}

/// Places of what the heads read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadLayout {
    dims: usize,
    /// `[levels, dims, dims]`: W of each level.
    pub maps: usize,
    /// `[k, dims]` of each level's code vectors, one after the other, and k.
    tables: Vec<(usize, usize)>,
    pub end: usize,
}

impl HeadLayout {
    /// Behind the parameters of items with IDs of `levels` codes.
    pub fn new(items: &ItemLayout, levels: usize) -> Self {
        let (dims, maps) = (items.dims, items.end);
        Self { dims, maps, tables: items.lookups[..levels].to_vec(), end: maps + levels * dims * dims }
    }

    /// How many parameters the heads have.
    pub fn len(&self) -> usize {
        self.levels() * self.dims * self.dims
    }

    /// How many levels there are.
    pub fn levels(&self) -> usize {
        self.tables.len()
    }

    /// Codes of the largest level.
    pub fn widest(&self) -> usize {
        self.tables.iter().map(|(_, k)| *k).max().unwrap_or(1)
    }

    /// Where all code vectors are, and how many values they have.
    fn vectors(&self) -> (usize, usize) {
        (self.tables.first().map_or(0, |(at, _)| *at), self.tables.iter().map(|(_, k)| k * self.dims).sum())
    }
}

/// What a step's heads work with.
pub(crate) struct HeadStep<'a, B: TensorBackend> {
    pub backend: &'a B,
    pub precision: Precision,
    pub smoothing: f32,
    pub params: &'a B::Tensor,
    /// `[n, dims]`, and n.
    pub hidden: (&'a B::Tensor, usize),
    /// Items that follow.
    pub targets: &'a [u32],
    /// Tokens of the whole update, over which losses are a mean.
    pub tokens: usize,
}

/// Where a step's gradients and losses go.
pub(crate) struct HeadGradients<'a, B: TensorBackend> {
    /// Room for logits, and how much.
    pub logits: (&'a mut B::Tensor, usize),
    /// `[n, dims]`.
    pub hidden: &'a mut B::Tensor,
    pub params: &'a mut B::Tensor,
    /// `[n]`.
    pub loss: &'a mut B::Tensor,
    /// The sum of mean losses.
    pub sum: &'a mut B::Tensor,
}

/// The heads on a device.
pub(crate) struct LevelHeads<B: TensorBackend> {
    layout: HeadLayout,
    items: usize,
    /// `[items, levels]`.
    host_codes: Vec<u32>,
    codes: B::Index,
    /// `[levels]`: where each level's logits begin in a row.
    first: B::Index,
    /// z of some rows, and its gradient.
    turned: B::Tensor,
    grad: B::Tensor,
    /// `[levels, n]`.
    targets: B::Index,
    /// The gradient of all code vectors as heads use them.
    vectors_grad: B::Tensor,
    /// `[levels, widest, dims]`: code vectors, with zeros behind those of a smaller level.
    padded: B::Tensor,
    /// `[levels, rows, widest]` and `[rows, levels, widest]`.
    by_level: B::Tensor,
    by_row: B::Tensor,
    order: B::Index,
}

impl<B: TensorBackend> LevelHeads<B> {
    /// For steps of up to `most` tokens (0 without training) and scores of up to `rows` histories at a time.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, codes: &Codes, layout: HeadLayout, most: usize, rows: usize) -> Result<Self> {
        let (levels, d, widest) = (layout.levels(), layout.dims, layout.widest());
        let mut held = backend.index("codes of items", codes.as_slice().len())?;
        backend.write_index(&mut held, 0, codes.as_slice())?;
        let mut first = backend.index("first codes of levels", levels)?;
        backend.write_index(&mut first, 0, &(0..levels).map(|l| (l * widest) as u32).collect::<Vec<u32>>())?;
        let logits = rows * levels * widest;
        Ok(Self {
            items: codes.rows(),
            host_codes: codes.as_slice().to_vec(),
            codes: held,
            first,
            turned: backend.zeros("values of a head", most.max(rows) * d)?,
            grad: backend.zeros("gradient of a head", most * d)?,
            targets: backend.index("targets", most * levels)?,
            vectors_grad: backend.zeros("gradient of codes", if most > 0 { layout.vectors().1 } else { 0 })?,
            padded: backend.zeros("codes", levels * widest * d)?,
            by_level: backend.zeros("logits by level", logits)?,
            by_row: backend.zeros("logits by history", logits)?,
            order: backend.index("logits by history", rows * levels)?,
            layout,
        })
    }

    /// `z = h + W·h` of `rows` rows.
    fn turn(
        &mut self,
        backend: &B,
        precision: Precision,
        params: &B::Tensor,
        level: usize,
        (hidden, at, rows): (&B::Tensor, usize, usize),
    ) -> Result<()> {
        let d = self.layout.dims;
        backend.combine(rows * d, 1.0, from(hidden, at * d), 0.0, &mut self.turned, 0)?;
        let product = Product { layout: Layout::Nt, m: rows, n: d, k: d, alpha: 1.0, accumulate: true };
        let map = from(params, self.layout.maps + level * d * d);
        backend.matmul(&product, precision, from(hidden, at * d), map, &mut self.turned, 0)
    }

    /// Cross-entropy of every level, some rows at a time: gradients of the hidden values and of the maps go to their places, that of the
    /// code vectors is kept for [`add_vectors`](Self::add_vectors). O(n·(Σk + levels·dims)·dims).
    ///
    /// # Errors
    /// Device errors.
    pub fn gradients(&mut self, step: &HeadStep<'_, B>, into: &mut HeadGradients<'_, B>) -> Result<()> {
        let HeadStep { backend, precision, smoothing, params, hidden: (hidden, n), targets, tokens } = *step;
        let (levels, d, start) = (self.layout.levels(), self.layout.dims, self.layout.vectors().0);
        let codes: Vec<u32> = (0..levels)
            .flat_map(|level| targets.iter().map(move |item| (level, *item as usize)))
            .map(|(level, item)| self.host_codes[item * levels + level])
            .collect();
        backend.write_index(&mut self.targets, 0, &codes)?;
        let share = 1.0 / (tokens * levels) as f32;
        let product = |layout, m, n, k, accumulate| Product { layout, m, n, k, alpha: 1.0, accumulate };
        for (level, (at, k)) in self.layout.tables.clone().into_iter().enumerate() {
            let (table, map) = (from(params, at), self.layout.maps + level * d * d);
            let step = (into.logits.1 / k).clamp(1, n);
            for first in (0..n).step_by(step) {
                let rows = step.min(n - first);
                self.turn(backend, precision, params, level, (hidden, first, rows))?;
                let logits = &mut *into.logits.0;
                let forward = product(Layout::Nt, rows, k, d, false);
                backend.matmul(&forward, precision, whole(&self.turned), table, logits, 0)?;
                let targets = from(&self.targets, level * n + first);
                backend.cross_entropy((rows, k), share, smoothing, targets, logits, into.loss, first)?;
                let to_turned = product(Layout::Nn, rows, d, k, false);
                backend.matmul(&to_turned, precision, whole(logits), table, &mut self.grad, 0)?;
                let to_table = product(Layout::Tn, k, d, rows, first > 0);
                let (values, grads) = (whole(&self.turned), &mut self.vectors_grad);
                backend.matmul(&to_table, precision, whole(logits), values, grads, at - start)?;
                let beta = if level == 0 { 0.0 } else { 1.0 };
                backend.combine(rows * d, 1.0, whole(&self.grad), beta, into.hidden, first * d)?;
                let to_hidden = product(Layout::Nn, rows, d, d, true);
                backend.matmul(&to_hidden, precision, whole(&self.grad), from(params, map), into.hidden, first * d)?;
                let to_map = product(Layout::Tn, d, d, rows, first > 0);
                backend.matmul(&to_map, precision, whole(&self.grad), from(hidden, first * d), into.params, map)?;
            }
            backend.total(n, false, share, true, whole(into.loss), into.sum, 0)?;
        }
        Ok(())
    }

    /// Adds the gradient of the code vectors as heads use them to that of what they are read by.
    ///
    /// # Errors
    /// Device errors.
    pub fn add_vectors(&self, backend: &B, grads: &mut B::Tensor) -> Result<()> {
        let (at, len) = self.layout.vectors();
        backend.combine(len, 1.0, whole(&self.vectors_grad), 1.0, grads, at)
    }

    /// Takes in the code vectors as they are now, before scores.
    ///
    /// # Errors
    /// Device errors.
    pub fn prepare(&mut self, backend: &B, params: &B::Tensor) -> Result<()> {
        let (d, widest) = (self.layout.dims, self.layout.widest());
        for (level, (at, k)) in self.layout.tables.iter().enumerate() {
            backend.combine(k * d, 1.0, from(params, *at), 0.0, &mut self.padded, level * widest * d)?;
        }
        Ok(())
    }

    /// `out [rows, items]`: the sum of its codes' logits, of every item, from `hidden [rows, dims]`. O(rows·(levels·(widest + dims)·dims +
    /// items·levels)).
    ///
    /// # Errors
    /// Device errors.
    pub fn score(
        &mut self,
        backend: &B,
        params: &B::Tensor,
        hidden: &B::Tensor,
        rows: usize,
        out: &mut B::Tensor,
    ) -> Result<()> {
        let (levels, d, widest) = (self.layout.levels(), self.layout.dims, self.layout.widest());
        for level in 0..levels {
            self.turn(backend, Precision::F32, params, level, (hidden, 0, rows))?;
            let product = Product { layout: Layout::Nt, m: rows, n: widest, k: d, alpha: 1.0, accumulate: false };
            let (values, table) = (whole(&self.turned), from(&self.padded, level * widest * d));
            // As exact as it gets: nothing is gained by rounding what is ranked.
            backend.matmul(&product, Precision::F32, values, table, &mut self.by_level, level * rows * widest)?;
        }
        let order: Vec<u32> = (0..rows).flat_map(|i| (0..levels).map(move |level| (level * rows + i) as u32)).collect();
        backend.write_index(&mut self.order, 0, &order)?;
        let all = rows * levels;
        let (logits, places) = (whole(&self.by_level), whole(&self.order));
        backend.gather((all, widest, all), logits, places, false, &mut self.by_row, 0)?;
        let shape = (rows, self.items, levels);
        backend.table_scores(shape, levels * widest, &self.first, &self.codes, &self.by_row, out)
    }
}
