//! The words that are typical of a prefix's items.

use std::collections::HashMap;

/// The words of every item, as numbers.
pub(super) struct Words {
    words: Vec<String>,
    /// Items that hold the word.
    spread: Vec<u32>,
    /// `[rows]` distinct words of each item.
    of_item: Vec<Vec<u32>>,
}

impl Words {
    /// Splits names and details (either may be shorter than `rows`) at everything that is not a letter or a digit;
    /// words of fewer than three characters and numbers do not count.
    pub(super) fn new(rows: usize, names: &[String], details: &[String]) -> Self {
        let mut index: HashMap<String, u32> = HashMap::new();
        let (mut words, mut spread, mut of_item) = (Vec::new(), Vec::new(), Vec::with_capacity(rows));
        for row in 0..rows {
            let mut found: Vec<u32> = Vec::new();
            for text in [names.get(row), details.get(row)].into_iter().flatten() {
                for word in text.split(|c: char| !c.is_alphanumeric()) {
                    if word.chars().take(3).count() < 3 || word.len() > 40 || word.chars().all(char::is_numeric) {
                        continue;
                    }
                    let word = word.to_lowercase();
                    found.push(*index.entry(word).or_insert_with_key(|word| {
                        words.push(word.clone());
                        spread.push(0);
                        words.len() as u32 - 1
                    }));
                }
            }
            found.sort_unstable();
            found.dedup();
            found.iter().for_each(|&word| spread[word as usize] += 1);
            of_item.push(found);
        }
        Self { words, spread, of_item }
    }

    /// Up to `limit` words that many of these items hold and few others do: largest count · ln(share here / share
    /// overall), for words that at least two and one in ten of the items hold, twice as often as all items do. In a catalogue of 50 items or
    /// more, what over one in eight of all items hold (`for`, `and`) is left out.
    pub(super) fn typical(&self, rows: &[usize], limit: usize) -> Vec<&str> {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for &row in rows {
            self.of_item[row].iter().for_each(|&word| *counts.entry(word).or_default() += 1);
        }
        let (here, all) = (rows.len() as f64, self.of_item.len() as f64);
        let least = (rows.len() as u32).div_ceil(10).max(2);
        let most = if self.of_item.len() < 50 { all } else { all / 8.0 };
        let mut scored: Vec<(f64, &str)> = counts
            .into_iter()
            .filter(|&(_, count)| count >= least)
            .filter_map(|(word, count)| {
                let lift = (f64::from(count) / here) / (f64::from(self.spread[word as usize]) / all);
                (lift >= 2.0 && f64::from(self.spread[word as usize]) <= most)
                    .then(|| (f64::from(count) * libm::log(lift), self.words[word as usize].as_str()))
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let mut chosen: Vec<&str> = Vec::new();
        for (_, word) in scored {
            // `font` next to `fonts` says nothing new.
            if chosen.iter().all(|c| !c.starts_with(word) && !word.starts_with(c)) {
                chosen.push(word);
            }
            if chosen.len() == limit {
                break;
            }
        }
        chosen
    }
}
