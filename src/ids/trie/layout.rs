//! The trie as STATIC has it: arrays that an accelerator walks without branches.

use std::ops::Range;
use std::path::Path;

use super::{Node, Trie};
use crate::error::{Error, Result};
use crate::io::{ArrayValues as Values, NamedArray, write_arrays};

/// A trie in the layout of STATIC: dense tables for the first tokens, a sparse matrix for the rest.
///
/// Tokens are local: token `t` of the model is `t - offset`, so that a decoder takes the slice `offset..offset + vocab_size` of the
/// logits, and tables do not grow with the model's own vocabulary. A prefix is a *state*: 0 is none (and where an ID ends), `t + 1` the
/// prefix of the one local token t, from `vocab_size + 1` on longer prefixes, by length and then in order. `levels` is L, `V` is
/// `vocab_size`, D is `dense_levels`.
///
/// Arrays, shapes and order are those of `build_static_index` in youtube/static-constraint-decoding (arXiv 2602.22647),
/// whose decoders for PyTorch and JAX take them as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticLayout {
    /// The model's number of local token 0.
    pub offset: u32,
    /// Local tokens, V.
    pub vocab_size: usize,
    /// Tokens an ID, L.
    pub levels: usize,
    /// First tokens that tables hold, D.
    pub dense_levels: usize,
    /// `[transitions + V, 2]` local token and state after it, by state, ascending; then V rows `(V, 0)` that nothing points to, so that
    /// reading past the last state's stays inside.
    pub packed_csr: Vec<[i32; 2]>,
    /// `[states + 2]` where the transitions of each state begin in `packed_csr`.
    pub indptr: Vec<i32>,
    /// `[L]` the most tokens that may follow a prefix of each length, the empty one first.
    pub layer_max_branches: Vec<i64>,
    /// `[V]` whether an ID begins with a token.
    pub start_mask: Vec<bool>,
    /// `[V; D]` whether an ID begins with these D tokens.
    pub dense_mask: Vec<bool>,
    /// `[V; D]` the state of these D tokens, 0 where no ID begins so.
    pub dense_states: Vec<i32>,
}

/// Bytes of both dense tables, at most.
const MAX_DENSE_BYTES: u64 = 4 << 30;

impl Trie {
    /// The trie in the layout of STATIC, its tokens being `tokens` of the model: a [`Vocabulary`](crate::ids::Vocabulary)'s from
    /// `first_id` to `embedding_rows`. `dense_levels` is 1 or 2, and less than an ID has tokens. The end token is not in it: IDs end by
    /// their length. O(nodes + V^dense_levels).
    ///
    /// # Errors
    /// [`Error::Data`] for IDs of different lengths or of one token, and for a token outside of `tokens`; [`Error::Config`] for another
    /// `dense_levels`, and where tables or the matrix would be too large.
    pub fn static_layout(&self, tokens: Range<u32>, dense_levels: usize) -> Result<StaticLayout> {
        let (levels, vocab_size) = (self.depth, tokens.len());
        let depths = self.depths()?;
        if levels < 2 {
            return Err(Error::Data("IDs have 1 token, the STATIC layout holds IDs of 2 and more".into()));
        }
        if !(1..=2).contains(&dense_levels) || dense_levels >= levels {
            let problem = format!("expected 1 or 2, and less than the {levels} tokens of an ID, got {dense_levels}");
            return Err(Error::config("dense_levels", problem));
        }
        let table = (vocab_size as u64).saturating_pow(dense_levels as u32);
        if table.saturating_mul(5) > MAX_DENSE_BYTES {
            let problem = format!(
                "{dense_levels} dense levels of {vocab_size} tokens need {} bytes, at most {MAX_DENSE_BYTES} are written; use 1",
                table.saturating_mul(5)
            );
            return Err(Error::config("dense_levels", problem));
        }
        let most = i32::MAX as usize - vocab_size - 2;
        if self.nodes > most {
            let problem =
                format!("{} prefixes and {vocab_size} tokens are more than 32-bit states can name", self.nodes);
            return Err(Error::config("dense_levels", problem));
        }
        let local = |node: usize| -> Result<i32> {
            let token = self.token(node);
            let inside = token.checked_sub(tokens.start).filter(|_| tokens.contains(&token));
            let outside = || Error::Data(format!("token {token} is not one of {}..{}", tokens.start, tokens.end));
            inside.map(|t| t as i32).ok_or_else(outside)
        };
        // The state of a node: by its token at depth 1, numbered on from there, and 0 at the end.
        let state = |node: usize| -> Result<i32> {
            Ok(match node {
                n if n >= self.last => 0,
                n if n < depths[1].end => local(n)? + 1,
                n => (vocab_size + 1 + n - depths[1].end) as i32,
            })
        };
        let transitions = self.nodes - depths[1].end;
        let mut packed_csr = Vec::with_capacity(transitions + vocab_size);
        for node in depths[1].end..self.nodes {
            packed_csr.push([local(node)?, state(node)?]);
        }
        packed_csr.resize(transitions + vocab_size, [vocab_size as i32, 0]);

        // Counts by state, then their running sum.
        let states = vocab_size + 1 + (self.last - depths[1].end);
        let mut indptr = vec![0i32; states + 1];
        for node in depths[1].start..self.last {
            indptr[state(node)? as usize + 1] = self.children(Node(node as u32)).len() as i32;
        }
        for at in 1..indptr.len() {
            indptr[at] += indptr[at - 1];
        }
        indptr.push(transitions as i32 + vocab_size as i32);

        let branches = |depth: &Range<usize>| {
            depth.clone().map(|node| self.children(Node(node as u32)).len() as i64).max().unwrap_or(0)
        };
        let layer_max_branches = depths[..levels].iter().map(branches).collect();
        let mut start_mask = vec![false; vocab_size];
        for node in depths[1].clone() {
            start_mask[local(node)? as usize] = true;
        }
        let (mut dense_mask, mut dense_states) = (vec![false; table as usize], vec![0; table as usize]);
        for first in depths[1].clone() {
            if dense_levels == 1 {
                let at = local(first)? as usize;
                (dense_mask[at], dense_states[at]) = (true, state(first)?);
                continue;
            }
            for second in self.children(Node(first as u32)) {
                let at = local(first)? as usize * vocab_size + local(second)? as usize;
                (dense_mask[at], dense_states[at]) = (true, state(second)?);
            }
        }
        let offset = tokens.start;
        Ok(StaticLayout {
            offset,
            vocab_size,
            levels,
            dense_levels,
            packed_csr,
            indptr,
            layer_max_branches,
            start_mask,
            dense_mask,
            dense_states,
        })
    }

    /// The nodes of every depth; refuses IDs of several lengths.
    fn depths(&self) -> Result<Vec<Range<usize>>> {
        let mut depths: Vec<Range<usize>> = std::iter::once(0..1).collect();
        while depths.len() <= self.depth {
            let here = depths[depths.len() - 1].clone();
            let mut next = here.end;
            for node in here {
                let node = Node(node as u32);
                let children = self.children(node);
                if children.is_empty() || !self.entries_of(node).is_empty() {
                    return Err(Error::Data(format!(
                        "an ID ends after {} of {} tokens, and the STATIC layout holds IDs of one length",
                        depths.len() - 1,
                        self.depth
                    ))
                    .mend([crate::Remedy::set("policy", "extra-level").to("make such IDs")]));
                }
                if children.start != next {
                    return Err(Error::Data("the trie's file is damaged; build it again".into()));
                }
                next = children.end;
            }
            depths.push(depths[depths.len() - 1].end..next);
        }
        match depths[self.depth].end == self.nodes && depths[self.depth].start == self.last {
            true => Ok(depths),
            false => Err(Error::Data("the trie's file is damaged; build it again".into())),
        }
    }
}

impl StaticLayout {
    /// Writes the arrays under their names to a `.npz` or `.safetensors` file, whole or not at all, with the numbers `offset`,
    /// `vocab_size`, `levels` and `dense_levels` beside them: masks as booleans, `layer_max_branches` and the numbers as 64-bit
    /// integers, the rest as 32-bit ones.
    ///
    /// # Errors
    /// If the name has another extension or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let dense = || vec![self.vocab_size as u64; self.dense_levels];
        let one = |name: &'static str, values| NamedArray {
            name: name.into(),
            shape: Vec::new(),
            values: Values::I64(values),
        };
        let [offset, vocab_size] = [[i64::from(self.offset)], [self.vocab_size as i64]];
        let [levels, dense_levels] = [[self.levels as i64], [self.dense_levels as i64]];
        let transitions = self.packed_csr.len() as u64;
        let arrays = [
            NamedArray {
                name: "packed_csr".into(),
                shape: vec![transitions, 2],
                values: Values::I32(self.packed_csr.as_flattened()),
            },
            NamedArray {
                name: "indptr".into(),
                shape: vec![self.indptr.len() as u64],
                values: Values::I32(&self.indptr),
            },
            NamedArray {
                name: "layer_max_branches".into(),
                shape: vec![self.levels as u64],
                values: Values::I64(&self.layer_max_branches),
            },
            NamedArray {
                name: "start_mask".into(),
                shape: vec![self.vocab_size as u64],
                values: Values::Bool(&self.start_mask),
            },
            NamedArray { name: "dense_mask".into(), shape: dense(), values: Values::Bool(&self.dense_mask) },
            NamedArray { name: "dense_states".into(), shape: dense(), values: Values::I32(&self.dense_states) },
            one("offset", &offset),
            one("vocab_size", &vocab_size),
            one("levels", &levels),
            one("dense_levels", &dense_levels),
        ];
        write_arrays(path.as_ref(), &arrays)
    }
}
