//! The trie of all IDs over token ids: what may come next, so that a language model only ever writes IDs that exist.
//!
//! A trie is its own file image: built in memory, written as it is, and read, or mapped into memory without being copied. Its nodes
//! lie level by level, each level in the order of the IDs, so a node's children are neighbours:
//!
//! | bytes | what |
//! |---|---|
//! | 64 | header: magic `SEMTRIE1`, end token, depth, nodes, items, length of the file, 24 bytes of SHA-256 over all of it |
//! | 4 × nodes | token that leads to each node (the root's is 0) |
//! | 8 × (nodes + 1) | a pair a node: its first child, and where its items begin in the list of items; the next node's pair ends both |
//! | 4 × items | items, by node, ascending within one |
//!
//! All numbers are little-endian and unsigned. That is 12 bytes a node and 4 an item.

mod build;
mod file;
mod layout;
mod search;

pub use layout::StaticLayout;
pub use search::{Frontier, Hit};

use std::ops::Range;

use crate::io::Bytes;

/// Tokens that are compared without halving any further.
const SCANNED: usize = 256;

/// A set of IDs, each a sequence of tokens that names one item or several.
///
/// ```
/// use sememe::ids::Trie;
/// let ids = [[7u32, 20, 30], [7, 20, 31], [8, 20, 30], [7, 20, 31]];
/// let trie = Trie::build(ids.iter().map(|id| &id[..]), 2)?; // 2 is the model's end token
/// assert_eq!(trie.allowed(&[]), [7, 8]);
/// assert_eq!(trie.allowed(&[7, 20]), [30, 31]);
/// assert_eq!(trie.allowed(&[7, 20, 31]), [2]);
/// assert_eq!(trie.items(&[7, 20, 31]), [1, 3]);
///
/// // The best ID by a score of each next token, here simply the larger token.
/// let best = trie.beam(4, |frontier| {
///     for beam in frontier {
///         for (score, token) in beam.scores.iter_mut().zip(beam.allowed) {
///             *score = *token as f32;
///         }
///     }
///     Ok(())
/// })?;
/// assert_eq!((best[0].id.as_slice(), best[0].items.as_slice()), (&[7, 20, 31][..], &[1, 3][..]));
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone)]
pub struct Trie {
    bytes: Bytes,
    end: u32,
    depth: usize,
    nodes: usize,
    items: usize,
    /// The first node of the greatest depth: from here on, nodes end an ID and lead nowhere, which is known without reading them.
    last: usize,
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { end, depth, nodes, items, .. } = self;
        write!(f, "Trie {{ end: {end}, depth: {depth}, nodes: {nodes}, items: {items} }}")
    }
}

/// A place in a [`Trie`]: the node that a prefix leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(u32);

impl Node {
    /// Its number below [`Trie::nodes`]: nodes are counted level by level, the root first, and the children of a node in a row.
    #[must_use]
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

impl Trie {
    /// The node of the empty prefix.
    pub const ROOT: Node = Node(0);

    /// The token that ends an ID.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Tokens of the longest ID.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Prefixes, the empty one included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many items the IDs name.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.items
    }

    /// Bytes of the file, and of memory when built.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The tokens that may follow `prefix`, ascending but for the end token, which comes last: after an ID it is allowed, and it is
    /// all that is allowed after a whole ID, after an ended one, and after a prefix of no ID. So the list is never empty, and a
    /// search that took only allowed tokens is always on an ID. O(length · children).
    #[must_use]
    pub fn allowed(&self, prefix: &[u32]) -> Vec<u32> {
        let mut out = Vec::new();
        self.allowed_into(prefix, &mut out);
        out
    }

    /// As [`allowed`](Self::allowed), in place of what `out` holds.
    pub fn allowed_into(&self, prefix: &[u32], out: &mut Vec<u32>) {
        out.clear();
        match self.node(prefix) {
            Some(node) => self.next_into(node, out),
            None => out.push(self.end),
        }
    }

    /// The node of a prefix, if an ID starts with it.
    #[must_use]
    pub fn node(&self, prefix: &[u32]) -> Option<Node> {
        prefix.iter().try_fold(Self::ROOT, |node, token| self.child(node, *token))
    }

    /// One step on from a node, if an ID goes there. O(children), in few cache misses: up to a few hundred neighbours are read at once.
    #[must_use]
    pub fn child(&self, node: Node, token: u32) -> Option<Node> {
        let Range { mut start, mut end } = self.children(node);
        // Halving waits for memory at every step; reading a few cache lines in a row waits once.
        while end - start > SCANNED {
            let middle = start + (end - start) / 2;
            match self.token(middle).cmp(&token) {
                std::cmp::Ordering::Less => start = middle + 1,
                std::cmp::Ordering::Greater => end = middle,
                std::cmp::Ordering::Equal => return u32::try_from(middle).ok().map(Node),
            }
        }
        let tokens = self.tokens(start..end);
        let below = tokens.iter().map(|b| u32::from(u32::from_le_bytes(*b) < token)).sum::<u32>();
        let found = tokens.get(below as usize).is_some_and(|b| u32::from_le_bytes(*b) == token);
        // Tokens are fewer than nodes, of which there are less than 2^32.
        found.then(|| Node(start as u32 + below))
    }

    /// Replaces `out` with the tokens that may follow a node, as [`allowed`](Self::allowed) does for a prefix.
    pub fn next_into(&self, node: Node, out: &mut Vec<u32>) {
        out.clear();
        out.extend(self.tokens(self.children(node)).iter().map(|b| u32::from_le_bytes(*b)));
        // A node that leads nowhere and names nothing can only be in a damaged file; it ends too.
        if out.is_empty() || !self.entries_of(node).is_empty() {
            out.push(self.end);
        }
    }

    /// The tokens that lead on from a node, ascending, and where each leads. The end token is none of them.
    ///
    /// ```
    /// use sememe::ids::Trie;
    /// let trie = Trie::build([&[7u32, 20][..], &[8, 20]].into_iter(), 2)?;
    /// let tokens: Vec<u32> = trie.ways(Trie::ROOT).map(|(token, _)| token).collect();
    /// assert_eq!(tokens, [7, 8]);
    /// # Ok::<(), sememe::Error>(())
    /// ```
    pub fn ways(&self, node: Node) -> impl ExactSizeIterator<Item = (u32, Node)> + '_ {
        let children = self.children(node);
        let first = children.start;
        let way = move |(i, token): (usize, &[u8; 4])| (u32::from_le_bytes(*token), Node((first + i) as u32));
        self.tokens(children).iter().enumerate().map(way)
    }

    /// The items on an ID, ascending; none for anything but a whole ID.
    #[must_use]
    pub fn items(&self, id: &[u32]) -> Vec<u32> {
        self.node(id).map_or_else(Vec::new, |node| self.items_at(node))
    }

    /// The items of a node, ascending; none where no ID ends.
    #[must_use]
    pub fn items_at(&self, node: Node) -> Vec<u32> {
        self.entries_of(node).map(|at| self.word(self.items_from() + 4 * at)).collect()
    }

    /// Calls `each` with every ID and its items, in the order of the tokens, a prefix before what it begins. O(nodes); of a damaged
    /// file, which [`verify`](Self::verify) tells, it may take very long.
    ///
    /// # Errors
    /// What `each` fails with.
    pub fn for_each<E>(&self, mut each: impl FnMut(&[u32], &[u32]) -> Result<(), E>) -> Result<(), E> {
        // The children left to visit at every depth; the depth bounds it, whatever a damaged file says.
        let mut open = vec![self.children(Self::ROOT)];
        let mut id: Vec<u32> = Vec::new();
        while let Some(children) = open.last_mut() {
            let Some(at) = children.next() else {
                open.pop();
                id.pop();
                continue;
            };
            let node = Node(at as u32);
            id.push(self.token(at));
            let items = self.items_at(node);
            if !items.is_empty() {
                each(&id, &items)?;
            }
            if id.len() < self.depth {
                open.push(self.children(node));
            } else {
                id.pop();
            }
        }
        Ok(())
    }

    fn tokens_at(&self) -> usize {
        file::HEADER_BYTES
    }

    fn pairs_at(&self) -> usize {
        self.tokens_at() + 4 * self.nodes
    }

    fn items_from(&self) -> usize {
        self.pairs_at() + 8 * (self.nodes + 1)
    }

    /// The tokens that lead to a range of nodes.
    fn tokens(&self, nodes: Range<usize>) -> &[[u8; 4]] {
        let at = self.tokens_at();
        self.bytes.get(at + 4 * nodes.start..at + 4 * nodes.end).unwrap_or_default().as_chunks().0
    }

    /// The number at a byte; 0 past the end, which only a damaged file asks for.
    fn word(&self, at: usize) -> u32 {
        match self.bytes.get(at..at + 4).map(<[u8; 4]>::try_from) {
            Some(Ok(bytes)) => u32::from_le_bytes(bytes),
            _ => 0,
        }
    }

    fn token(&self, node: usize) -> u32 {
        self.word(self.tokens_at() + 4 * node)
    }

    /// Children of a node, a range of nodes: cut to those after it, so that a damaged file leads neither out nor in a circle.
    fn children(&self, Node(node): Node) -> Range<usize> {
        if node as usize >= self.last {
            return self.nodes..self.nodes;
        }
        let at = self.pairs_at() + 8 * node as usize;
        let end = (self.word(at + 8) as usize).min(self.nodes);
        (self.word(at) as usize).max(node as usize + 1).min(end)..end
    }

    fn entries_of(&self, Node(node): Node) -> Range<usize> {
        let at = self.pairs_at() + 8 * node as usize + 4;
        let end = (self.word(at + 8) as usize).min(self.items);
        (self.word(at) as usize).min(end)..end
    }
}
