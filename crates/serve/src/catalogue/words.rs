//! Which items hold which words.

use std::collections::BTreeMap;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Words, folded, with the items that hold them.
#[derive(Debug, Default)]
pub struct WordIndex {
    items: BTreeMap<Box<str>, Vec<Held>>,
    /// Words of each item, to prefer items that say little else.
    lengths: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    item: u32,
    /// Whether it stands in the key.
    in_key: bool,
}

/// The most words of a query that count.
const MOST_WORDS: usize = 16;

/// The most beginnings that one word of a query stands for.
const MOST_BEGINNINGS: usize = 4096;

/// Words of a text, without case and accents: what `café-au-lait` and `Cafe au Lait` share.
pub fn folded(text: &str) -> Vec<String> {
    let plain: String = text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect();
    plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl WordIndex {
    /// Adds an item; its number is one more than that of the item before it.
    pub fn add(&mut self, item: u32, key: &str, title: Option<&str>) {
        let in_key = folded(key);
        let in_title = title.map(folded).unwrap_or_default();
        self.lengths.push(u16::try_from(in_key.len() + in_title.len()).unwrap_or(u16::MAX));
        let marked = in_key.into_iter().map(|word| (word, true)).chain(in_title.into_iter().map(|word| (word, false)));
        for (word, in_key) in marked {
            let held = self.items.entry(word.into_boxed_str()).or_default();
            // A word counts once an item, in its key if it is there.
            if held.last().is_none_or(|last| last.item != item) {
                held.push(Held { item, in_key });
            }
        }
    }

    /// Adds the words of a title to an item that is there already.
    pub fn add_title(&mut self, item: u32, title: &str) {
        let words = folded(title);
        if let Some(length) = self.lengths.get_mut(item as usize) {
            *length = length.saturating_add(u16::try_from(words.len()).unwrap_or(u16::MAX));
        }
        for word in words {
            let held = self.items.entry(word.into_boxed_str()).or_default();
            if held.iter().all(|held| held.item != item) {
                held.push(Held { item, in_key: false });
            }
        }
    }

    /// Items that hold these words, best first: those that hold more of them, then those whose words are rarer, stand in the key, and are
    /// whole. O(items + what the words stand for).
    pub fn search(&self, query: &str, items: usize, count: usize) -> Vec<u32> {
        let mut words = folded(query);
        words.truncate(MOST_WORDS);
        // A space after it says that the last word is whole.
        let open = query.chars().next_back().is_some_and(char::is_alphanumeric);
        let last = words.len();
        let mut scores = vec![0f32; items];
        let mut matched = vec![0u8; items];
        let mut best = vec![0f32; items];
        let mut touched = Vec::new();
        for (at, word) in words.iter().enumerate() {
            touched.clear();
            let mut take = |held: &[Held], whole: f32| {
                let rarity = (1.0 + items as f32 / held.len() as f32).ln();
                for h in held {
                    let score = rarity * whole * if h.in_key { 1.5 } else { 1.0 };
                    let place = h.item as usize;
                    if best[place] == 0.0 {
                        touched.push(h.item);
                    }
                    best[place] = best[place].max(score);
                }
            };
            if let Some(held) = self.items.get(word.as_str()) {
                take(held, 1.0);
            }
            if open && at + 1 == last {
                let from: Box<str> = word.as_str().into();
                let beginnings = self.items.range(from..).take_while(|(other, _)| other.starts_with(word.as_str()));
                for (other, held) in beginnings.take(MOST_BEGINNINGS) {
                    // The more of the word is there, the likelier it is meant.
                    take(held, 0.9 * word.len() as f32 / other.len().max(1) as f32);
                }
            }
            for item in &touched {
                let place = *item as usize;
                scores[place] += best[place];
                best[place] = 0.0;
                matched[place] += 1;
            }
        }
        let mut found: Vec<u32> = (0..items as u32).filter(|item| matched[*item as usize] > 0).collect();
        let rank = |a: &u32, b: &u32| {
            let (a, b) = (*a as usize, *b as usize);
            let score = |i: usize| scores[i] / (1.0 + 0.02 * f32::from(self.lengths.get(i).copied().unwrap_or(0)));
            matched[b].cmp(&matched[a]).then(score(b).total_cmp(&score(a))).then(a.cmp(&b))
        };
        if found.len() > count {
            found.select_nth_unstable_by(count, rank);
            found.truncate(count);
        }
        found.sort_unstable_by(rank);
        found
    }
}
