//! Items in memory, and what finds them.

use crate::catalogue::words::WordIndex;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Items by number, in the order in which they came.
#[derive(Debug)]
pub struct Items {
    levels: usize,
    keys: Vec<Arc<str>>,
    titles: Vec<Option<Box<str>>>,
    texts: Vec<Option<Box<str>>>,
    /// `[items, levels]`.
    codes: Vec<u32>,
    counters: Vec<u32>,
    by_key: HashMap<Arc<str>, u32>,
    /// Numbers of items in the order of their IDs.
    by_id: Vec<u32>,
    words: WordIndex,
}

/// One item of [`Items`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its number.
    pub number: u32,
    /// What programs call it.
    pub key: &'a str,
    /// What people call it.
    pub title: Option<&'a str>,
    /// What was embedded.
    pub text: Option<&'a str>,
    /// Its codes, `[levels]`.
    pub codes: &'a [u32],
    /// Which of the items on these codes it is.
    pub counter: u32,
}

/// An item to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewItem {
    /// What programs call it.
    pub key: String,
    /// What people call it.
    pub title: Option<String>,
    /// What was embedded.
    pub text: Option<String>,
    /// Its codes, `[levels]`.
    pub codes: Vec<u32>,
    /// Which of the items on these codes it is.
    pub counter: u32,
}

impl Items {
    /// No items yet, with IDs of `levels` codes.
    #[must_use]
    pub fn new(levels: usize) -> Self {
        Self {
            levels,
            keys: Vec::new(),
            titles: Vec::new(),
            texts: Vec::new(),
            codes: Vec::new(),
            counters: Vec::new(),
            by_key: HashMap::new(),
            by_id: Vec::new(),
            words: WordIndex::default(),
        }
    }

    /// Adds the items whose keys are not there yet and whose codes are `[levels]`, and titles and texts of those that have none. Says
    /// which of `new` brought something. O(items + m log m) for m new ones.
    pub fn add(&mut self, new: &[NewItem]) -> Vec<usize> {
        let (first, mut taken) = (self.len(), Vec::new());
        for (place, item) in new.iter().enumerate() {
            if item.codes.len() != self.levels {
                continue;
            }
            if let Some(number) = self.find(&item.key) {
                if self.complete(number, item) {
                    taken.push(place);
                }
                continue;
            }
            let number = self.len() as u32;
            let key: Arc<str> = Arc::from(item.key.as_str());
            self.words.add(number, &item.key, item.title.as_deref());
            self.keys.push(Arc::clone(&key));
            self.titles.push(item.title.as_deref().map(Box::from));
            self.texts.push(item.text.as_deref().map(Box::from));
            self.codes.extend_from_slice(&item.codes);
            self.counters.push(item.counter);
            self.by_key.insert(key, number);
            taken.push(place);
        }
        let mut fresh: Vec<u32> = (first as u32..self.len() as u32).collect();
        fresh.sort_unstable_by(|a, b| self.compare(*a, *b));
        let old = std::mem::take(&mut self.by_id);
        self.by_id = self.merge(old, fresh);
        taken
    }

    /// Gives an item the title and the text that it has not; says whether there was something to give.
    fn complete(&mut self, number: u32, from: &NewItem) -> bool {
        let i = number as usize;
        let (title, text) =
            (self.titles[i].is_none() && from.title.is_some(), self.texts[i].is_none() && from.text.is_some());
        if title {
            self.titles[i] = from.title.as_deref().map(Box::from);
            self.words.add_title(number, from.title.as_deref().unwrap_or_default());
        }
        if text {
            self.texts[i] = from.text.as_deref().map(Box::from);
        }
        title || text
    }

    /// Two lists in the order of IDs as one.
    fn merge(&self, old: Vec<u32>, fresh: Vec<u32>) -> Vec<u32> {
        if old.is_empty() || fresh.is_empty() {
            return if old.is_empty() { fresh } else { old };
        }
        let mut out = Vec::with_capacity(old.len() + fresh.len());
        let mut from = 0;
        for number in fresh {
            // Where the new one goes, in the part that is left.
            let before = old[from..].partition_point(|other| self.compare(*other, number) == Ordering::Less);
            out.extend_from_slice(&old[from..from + before]);
            out.push(number);
            from += before;
        }
        out.extend_from_slice(&old[from..]);
        out
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        let id = |number: u32| (self.codes_of(number), self.counters[number as usize]);
        id(a).cmp(&id(b))
    }

    fn codes_of(&self, number: u32) -> &[u32] {
        &self.codes[number as usize * self.levels..][..self.levels]
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of the item with this key. O(1).
    #[must_use]
    pub fn find(&self, key: &str) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The item of this number, which must be below [`len`](Self::len).
    #[must_use]
    pub fn item(&self, number: u32) -> Item<'_> {
        let i = number as usize;
        Item {
            number,
            key: &self.keys[i],
            title: self.titles[i].as_deref(),
            text: self.texts[i].as_deref(),
            codes: self.codes_of(number),
            counter: self.counters[i],
        }
    }

    /// Numbers of the items whose codes start with `prefix`, in the order of their IDs: all for an empty one. O(log items).
    #[must_use]
    pub fn with_prefix(&self, prefix: &[u32]) -> &[u32] {
        &self.by_id[self.range(prefix, 0..self.by_id.len())]
    }

    /// Where in the order of IDs a prefix is, within a part that holds it.
    fn range(&self, prefix: &[u32], within: Range<usize>) -> Range<usize> {
        if prefix.len() > self.levels {
            return 0..0;
        }
        let part = &self.by_id[within.clone()];
        let head = |number: &u32| self.codes_of(*number)[..prefix.len()].cmp(prefix);
        let begin = part.partition_point(|number| head(number) == Ordering::Less);
        let length = part[begin..].partition_point(|number| head(number) == Ordering::Equal);
        within.start + begin..within.start + begin + length
    }

    /// What follows a prefix: each code with the items that go on with it, by code. Nothing follows a whole ID. O(children · log items).
    #[must_use]
    pub fn children(&self, prefix: &[u32]) -> Vec<(u32, &[u32])> {
        let mut out = Vec::new();
        if prefix.len() >= self.levels {
            return out;
        }
        let mut rest = self.with_prefix(prefix);
        while let Some(first) = rest.first() {
            let code = self.codes_of(*first)[prefix.len()];
            let count = rest.partition_point(|number| self.codes_of(*number)[prefix.len()] == code);
            let (child, left) = rest.split_at(count);
            out.push((code, child));
            rest = left;
        }
        out
    }

    /// The items that share the longest prefixes with these codes, with how many codes they share, at most `count` and at least one code;
    /// the nearest in the order of IDs first among equals. Items for which `skip` holds are left out. O(levels · log items + count).
    #[must_use]
    pub fn sharing(&self, codes: &[u32], count: usize, skip: &dyn Fn(u32) -> bool) -> Vec<(u32, usize)> {
        let mut out = Vec::new();
        let mut done = 0..0;
        for shared in (1..=self.levels.min(codes.len())).rev() {
            let range = self.range(&codes[..shared], 0..self.by_id.len());
            // What shares more was taken before.
            let (before, after) = match done.is_empty() {
                true => (0..0, range.clone()),
                false => (range.start..done.start, done.end..range.end),
            };
            for number in self.by_id[after].iter().chain(self.by_id[before].iter().rev()) {
                if out.len() == count {
                    return out;
                }
                if !skip(*number) {
                    out.push((*number, shared));
                }
            }
            if !range.is_empty() {
                done = range;
            }
        }
        out
    }

    /// The items that hold these words in key or title, best first, at most `count`; the last word may be a beginning. None for a text
    /// without words.
    #[must_use]
    pub fn search(&self, words: &str, count: usize) -> Vec<u32> {
        self.words.search(words, self.len(), count)
    }
}
