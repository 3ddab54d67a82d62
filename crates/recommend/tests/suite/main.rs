//! Recommenders as a user meets them.

mod files;
mod language;
mod levels;
mod ordered;
mod session;
mod training;

use sememe::{Codes, Sequences};
use sememe_recommend::{ItemSources, RecommenderSettings};

/// Items on a ring of `n`, each a pair of codes.
pub fn ring(n: u32) -> ItemSources {
    let codes = Codes::from_vec(n as usize, 2, (0..n).flat_map(|i| [i / 4, i % 4]).collect()).expect("codes");
    ItemSources { items: n as usize, codes: Some(codes), ..ItemSources::default() }
}

/// Users who walk on a ring, one step at a time.
pub fn walks(users: u32, n: u32, length: u32) -> Sequences {
    let walk = |user: u32| (0..length).map(|t| (user * 5 + t) % n).collect::<Vec<u32>>();
    Sequences::from_lists((0..users).map(walk)).expect("sequences")
}

/// Settings that learn a ring in a second.
pub fn small() -> RecommenderSettings {
    RecommenderSettings {
        dims: 16,
        layers: 1,
        heads: 2,
        positions: 8,
        batch_tokens: 64,
        epochs: 12,
        dropout: 0.1,
        rate: 1e-2,
        ..RecommenderSettings::default()
    }
}
