//! Every reader of Sememe on hostile bytes.
//!
//! A [`Target`] is a name and a body that takes bytes. libFuzzer drives it (`fuzz/run`, `fuzz/readers.rs`), and `tests/replay.rs` runs it over the kept
//! inputs with a stable compiler. Three things are held to, by both: no panic, no abort, and memory within
//! [`FLOOR_BYTES`]` + factor · input length`; a target may have a floor of its own.

mod import;
mod language;
mod library;
pub mod memory;
mod scratch;
mod sealed;
mod state;
mod text;

pub use scratch::Scratch;
pub use state::{training_histories, training_rows};

/// Memory that a reader may take whatever the length of its input: buffers, tables of a decoder, threads.
pub const FLOOR_BYTES: usize = 24 << 20;

/// A reader, or a few that read the same files.
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Bytes of memory for each byte of input, above the floor.
    pub factor: usize,
    /// Bytes that it may take whatever the length of its input.
    pub floor: usize,
    /// Reads the bytes. Whether it fails does not matter.
    pub body: fn(&[u8], &Scratch),
}

const fn target(name: &'static str, factor: usize, body: fn(&[u8], &Scratch)) -> Target {
    Target { name, factor, floor: FLOOR_BYTES, body }
}

/// A text takes a small multiple of its length in memory: its lines as owned strings, and a map over them.
const TEXT: usize = 64;
/// Deflate makes at most 1,032 bytes of one; those are then held as text.
const INFLATED: usize = 1032 * 4;

/// A chat template may repeat what it has, up to its bound on steps.
const TEMPLATE: usize = 4096;

/// All of them.
pub const TARGETS: &[Target] = &[
    target("npy", 32, library::npy),
    target("npz", INFLATED, library::npz),
    target("safetensors", 64, library::safetensors),
    target("parquet_rows", INFLATED, library::parquet_rows),
    target("codes_npy", 64, library::codes_npy),
    target("codes_parquet", INFLATED, library::codes_parquet),
    target("codes_text", TEXT, library::codes_text),
    target("codec", 256, library::codec),
    target("trie", 32, library::trie),
    target("tokenizer", 256, library::tokenizer),
    target("id_text", TEXT, library::id_text),
    target("ids", TEXT, library::ids),
    target("labels_parquet", INFLATED, library::labels_parquet),
    target("catalogue", TEXT, library::catalogue),
    target("catalogue_gz", INFLATED, library::catalogue_gz),
    target("events", 128, library::events),
    target("store", 64, library::store),
    target("store_place", TEXT, library::store_place),
    target("checkpoint_rqvae", 256, state::rqvae),
    target("checkpoint_minibatch", 256, state::minibatch),
    target("recommender", 256, state::recommender),
    target("recommender_training", 256, state::recommender_training),
    target("language_config", 256, language::config),
    target("language_settings", 256, language::settings),
    target("language_weights", 64, language::weights),
    target("language_index", 256, language::index),
    target("chat_template", TEMPLATE, language::chat_template),
    target("event_log", 64, state::event_log),
    target("metrics", TEXT, state::metrics),
    target("epochs", TEXT, state::epochs),
    target("run_state", TEXT, state::run_state),
    target("prep", 128, text::prep),
    target("prep_sqlite", 128, text::prep_sqlite),
    target("prep_template", TEXT, text::prep_template),
    target("embed_texts", 128, text::embed_texts),
    target("config", 256, text::config),
    Target { floor: import::TORCH_FLOOR_BYTES, ..target("import_torch", 256, import::torch) },
    target("import_arrays", INFLATED, import::arrays),
    target("import_counters", 64, import::counters),
    target("import_settings", 256, import::settings),
    target("import_ids", 128, import::ids),
    target("dialogue_templates", 256, text::dialogue_templates),
];

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Memory that an input may take.
    #[must_use]
    pub fn bound_bytes(&self, input: usize) -> usize {
        self.floor + self.factor * input
    }

    /// Runs the body and says how many bytes were held at most, above those held before.
    ///
    /// # Panics
    /// If the body does, or takes more than [`bound_bytes`](Self::bound_bytes).
    pub fn run(&self, bytes: &[u8], scratch: &Scratch) -> usize {
        scratch.clear();
        let ((), peak) = memory::peak_of(|| (self.body)(bytes, scratch));
        let most = self.bound_bytes(bytes.len());
        assert!(
            peak <= most,
            "{}: {} bytes of input took {peak} bytes of memory, at most {most}",
            self.name,
            bytes.len()
        );
        peak
    }
}
