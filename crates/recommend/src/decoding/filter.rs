//! Which prefixes lead to an item that may come out.

use sememe::ids::Trie;
use sememe::ids::trie::Node;
use sememe::{Error, Result};
use std::collections::HashMap;

/// The items that a predicate lets through, counted below every prefix. Made once for many queries.
pub(crate) struct TrieFilter<'a> {
    trie: &'a Trie,
    /// The node above each node.
    parents: Vec<u32>,
    /// The node of each item's ID.
    leaves: Vec<u32>,
    /// Items at and below each node that are let through.
    open: Vec<u32>,
    /// Items that are let through.
    allowed: Vec<bool>,
}

impl<'a> TrieFilter<'a> {
    /// Counts once through the trie. O(nodes + items).
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged trie.
    pub fn new(trie: &'a Trie, allowed: Option<&(dyn Fn(u32) -> bool + Sync)>) -> Result<Self> {
        let (nodes, items) = (trie.nodes(), trie.item_count());
        let allowed: Vec<bool> = (0..items as u32).map(|item| allowed.is_none_or(|allowed| allowed(item))).collect();
        let (mut parents, mut leaves, mut open) = (vec![0u32; nodes], vec![0u32; items], vec![0u32; nodes]);
        // Level by level, every node once: its children are the next ones.
        let mut below = vec![Trie::ROOT];
        let mut next = 1;
        while !below.is_empty() {
            let mut children = Vec::new();
            for node in below {
                for item in trie.items_at(node) {
                    let leaf = leaves.get_mut(item as usize).ok_or_else(damaged)?;
                    *leaf = node.number() as u32;
                    open[node.number()] += u32::from(allowed[item as usize]);
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
        // A parent's number is below its children's.
        for node in (1..nodes).rev() {
            open[parents[node] as usize] += open[node];
        }
        Ok(Self { trie, parents, leaves, open, allowed })
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
            let mut node = self.leaves[*item as usize] as usize;
            loop {
                *fewer.entry(node).or_default() += 1;
                if node == 0 {
                    break;
                }
                node = self.parents[node] as usize;
            }
        }
        QueryFilter { all: self, items, fewer }
    }

    fn lets(&self, item: u32) -> bool {
        self.allowed.get(item as usize).copied().unwrap_or(false)
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
