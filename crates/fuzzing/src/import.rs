//! Readers of other systems' files.

use std::fs;

use sememe_import::{Content, ImportOptions, import};

use crate::Scratch;
use crate::library::use_codec;

/// Memory that a checkpoint may take whatever its length: a pickle may refer to what it holds again, which its reader copies, up to a million
/// objects with keys of 256 bytes. Dictionaries of one entry took most, 250 MB.
pub const TORCH_FLOOR_BYTES: usize = 640 << 20;

/// Levels and codewords that a body itself goes on with.
const SAMPLE: usize = 1 << 12;

fn read(path: &std::path::Path) {
    if let Ok(found) = import(path, &ImportOptions::default())
        && let Content::Codec(codec) = found.content
        && codec.codebook_sizes().iter().sum::<usize>() <= SAMPLE
    {
        let saved = codec.to_bytes().expect("a codec that was imported is saved");
        let again = sememe::Codec::from_bytes(&saved).expect("a codec that was saved loads");
        assert_eq!(again.content_hash(), codec.content_hash());
        use_codec(&codec);
    }
}

pub fn torch(bytes: &[u8], scratch: &Scratch) {
    read(&scratch.file("m.pt", bytes));
}

/// Recognised by its first bytes alone.
pub fn arrays(bytes: &[u8], scratch: &Scratch) {
    read(&scratch.file("arrays.dat", bytes));
}

/// An engine's counters, beside an encoder that is right.
pub fn counters(bytes: &[u8], scratch: &Scratch) {
    let folder = scratch.path().join("engine");
    fs::create_dir_all(folder.join("encoder")).expect("a folder");
    fs::create_dir_all(folder.join("resolver")).expect("a folder");
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/fixtures/semantic-id/engine");
    for name in ["engine_meta.json", "encoder/metadata.json", "encoder/codebooks.npz"] {
        fs::copy(here.join(name), folder.join(name)).expect(name);
    }
    fs::write(folder.join("resolver/collisions.db"), bytes).expect("the file under test");
    if let Ok(found) = import(&folder, &ImportOptions::default()) {
        let counters = found.counters.expect("an engine with a store");
        assert!(counters.rows().all(|(codes, count)| codes.len() == 3 && count > 0));
    }
}

/// Settings beside an encoder that is right.
pub fn settings(bytes: &[u8], scratch: &Scratch) {
    let folder = scratch.path().join("model");
    fs::create_dir_all(&folder).expect("a folder");
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/fixtures/semantic-id/kmeans");
    fs::copy(here.join("codebooks.npz"), folder.join("codebooks.npz")).expect("codebooks");
    fs::write(folder.join("metadata.json"), bytes).expect("the file under test");
    let _ = import(&folder, &ImportOptions::default());
}

pub fn ids(bytes: &[u8], scratch: &Scratch) {
    for name in ["index.json", "semantic_ids.jsonl"] {
        if let Ok(found) = import(scratch.file(name, bytes), &ImportOptions::default())
            && let Content::Ids(table) = found.content
        {
            assert_eq!(table.codes.rows(), table.keys.len());
            assert!(
                table.codes.iter().all(|row| row.iter().zip(&table.codebook_sizes).all(|(c, k)| (*c as usize) < *k))
            );
        }
    }
}
