//! Measures over all items.

use crate::support::{Kept, block, every_kind, keys, rows, saved, session, text, write_items};
use sememe::{Device, EncodeOptions};
use sememe_cluster::jobs::{Evaluate, Items, evaluate};

#[test]
fn measures_of_every_kind_equal_those_of_one_machine() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(900, 1);
    write_items(&folder.path().join("items"), &rows, &keys(900), 3, Kept::Fixed32);
    for (name, codec) in every_kind(&rows) {
        let items = Items { places: vec![text(&folder.path().join("items"))], column: None, key: None };
        let job = Evaluate { items, codec: saved(&codec, folder.path(), "codec"), work: None };
        let found = block(async { evaluate(&session(3).await, &job, &()).await });
        let found = found.unwrap_or_else(|e| panic!("{name}: {e}"));
        let encoder = codec.encoder(&Device::cpu(), &EncodeOptions::default()).expect("encoder");
        let codes = encoder.encode(&rows).expect("encoded").codes;
        let want = sememe::eval::measure_codes(&codes, &codec.codebook_sizes()).expect("measured");
        assert_eq!(found.unique_ids, want.unique_ids as u64, "{name}");
        assert_eq!(found.max_bucket, want.max_bucket as u64, "{name}");
        assert!((found.collision_rate - want.collision_rate).abs() < 1e-12, "{name}");
        assert!((found.colliding_item_rate - want.colliding_item_rate).abs() < 1e-12, "{name}");
        assert_eq!(found.measures.rows, 900);
        for (level, (found, want)) in found.measures.levels.iter().zip(&want.levels).enumerate() {
            assert!((found.perplexity - want.perplexity).abs() < 1e-6 * want.perplexity, "{name}, level {level}");
            assert!((found.utilisation - want.utilisation).abs() < 1e-12, "{name}, level {level}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 2, "{name}: rounds are left");
    }
}
