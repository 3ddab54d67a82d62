//! Which prefixes lead to an item that may come out.

use sememe::ids::Trie;
use sememe::ids::trie::Node;
use sememe::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Where nodes and items are in a trie, and how many items are below each node. Made once for a trie.
#[derive(Debug)]
pub(crate) struct TriePlaces {
    /// The node above each node.
    parents: Vec<u32>,
    /// The node of each item's ID.
    leaves: Vec<u32>,
    /// Items at and below each node.
    items: Vec<u32>,
}

impl TriePlaces {
    /// Walks once through the trie. O(nodes + items).
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged trie.
    pub fn new(trie: &Trie) -> Result<Self> {
        let (nodes, count) = (trie.nodes(), trie.item_count());
        let (mut parents, mut leaves) = (vec![0u32; nodes], vec![0u32; count]);
        // Level by level, every node once: its children are the next ones.
        let mut below = vec![Trie::ROOT];
        let (mut next, mut found) = (1, 0);
        while !below.is_empty() {
            let mut children = Vec::new();
            for node in below {
                for item in trie.items_at(node) {
                    let leaf = leaves.get_mut(item as usize).ok_or_else(damaged)?;
                    *leaf = node.number() as u32;
                    found += 1;
                }
                for (_, child) in trie.ways(node) {
                    if child.number() != next {
                        return Err(damaged());
                    }
                    parents[next] = node.number() as u32;
                    next += 1;
                    children.push(child);
                }
            }
            below = children;
        }
        if found != count {
            return Err(damaged());
        }
        let mut places = Self { parents, leaves, items: Vec::new() };
        places.items = places.count(|_| true);
        Ok(places)
    }

    /// How many of the items are at and below each node.
    fn count(&self, which: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut below = vec![0u32; self.parents.len()];
        for (item, leaf) in self.leaves.iter().enumerate() {
            below[*leaf as usize] += u32::from(which(item));
        }
        // A parent's number is below its children's.
        for node in (1..below.len()).rev() {
            below[self.parents[node] as usize] += below[node];
        }
        below
    }
}

/// The items that a predicate lets through, counted below every prefix. Made once for many queries.
pub(crate) struct TrieFilter<'a> {
    trie: &'a Trie,
    places: &'a TriePlaces,
    /// Items at and below each node that are let through.
    open: Cow<'a, [u32]>,
    /// Items that are let through; all of them if it is `None`.
    allowed: Option<Vec<bool>>,
}

impl<'a> TrieFilter<'a> {
    /// O(nodes + items), O(1) without a predicate. `places` are those of the trie.
    pub fn new(trie: &'a Trie, places: &'a TriePlaces, allowed: Option<&(dyn Fn(u32) -> bool + Sync)>) -> Self {
        let allowed: Option<Vec<bool>> = allowed.map(|allowed| (0..places.leaves.len() as u32).map(allowed).collect());
        let open = match &allowed {
            Some(allowed) => Cow::Owned(places.count(|item| allowed[item])),
            None => Cow::Borrowed(places.items.as_slice()),
        };
        Self { trie, places, open, allowed }
    }

    pub fn trie(&self) -> &'a Trie {
        self.trie
    }

    /// The same, for a query from which some items are left out. O(items left out · depth).
    pub fn without(&self, left_out: &[u32]) -> QueryFilter<'_> {
        let mut items: Vec<u32> = left_out.iter().copied().filter(|item| self.lets(*item)).collect();
        items.sort_unstable();
        items.dedup();
        let mut fewer: HashMap<usize, u32> = HashMap::new();
        for item in &items {
            let mut node = self.places.leaves[*item as usize] as usize;
            loop {
                *fewer.entry(node).or_default() += 1;
                if node == 0 {
                    break;
                }
                node = self.places.parents[node] as usize;
            }
        }
        QueryFilter { all: self, items, fewer }
    }

    fn lets(&self, item: u32) -> bool {
        match &self.allowed {
            Some(allowed) => allowed.get(item as usize).copied().unwrap_or(false),
            None => (item as usize) < self.places.leaves.len(),
        }
    }
}

/// What may come out for one query.
pub(crate) struct QueryFilter<'a> {
    all: &'a TrieFilter<'a>,
    /// Items that are left out though the predicate lets them through, ascending.
    items: Vec<u32>,
    /// How many of them are at and below a node.
    fewer: HashMap<usize, u32>,
}

impl QueryFilter<'_> {
    /// Whether an item at or below this node may come out.
    pub fn leads_on(&self, node: Node) -> bool {
        let open = self.all.open[node.number()];
        open > 0 && (self.fewer.is_empty() || open > self.fewer.get(&node.number()).copied().unwrap_or(0))
    }

    /// The items of the ID that ends here which may come out, and how many items share it.
    pub fn items(&self, node: Node) -> (Vec<u32>, usize) {
        let mut items = self.all.trie.items_at(node);
        let sharing = items.len();
        items.retain(|item| self.all.lets(*item) && self.items.binary_search(item).is_err());
        (items, sharing)
    }
}

fn damaged() -> Error {
    Error::Data("the trie is damaged; build it again".into())
}
