//! Codecs and rounds, read once a process.

use crate::failure::{library, refuse};
use crate::storage::{wait, waiting_storage};
use datafusion::error::Result;
use sememe::distributed::{Round, RoundWorker};
use sememe::{Codec, Device, EncodeOptions, Encoder};
use std::sync::{Arc, Mutex, PoisonError};

/// Far more than any codec has; what is read is bounded.
const LARGEST_BYTES: u64 = 16 << 30;

/// A codec, ready to encode.
pub struct LoadedCodec {
    pub codec: Codec,
    pub encoder: Encoder,
}

/// The last few of a kind, by hash.
struct Kept<T>(Mutex<Vec<(String, Arc<T>)>>);

impl<T> Kept<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// What is kept under a hash, or made now. Others wait meanwhile: they would read the same.
    fn get(&self, hash: &str, most: usize, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = kept.iter().find(|(name, _)| name == hash) {
            return Ok(found.clone());
        }
        let made = Arc::new(make()?);
        if kept.len() >= most {
            kept.remove(0);
        }
        kept.push((hash.to_owned(), made.clone()));
        Ok(made)
    }
}

fn read(place: &str) -> Result<Vec<u8>> {
    let place = waiting_storage().place(place).map_err(|e| library(&e))?;
    wait(async move { place.read(LARGEST_BYTES).await }).map_err(|e| library(&e))
}

/// The codec at a place, whose content hash must be `hash`.
pub fn codec(place: &str, hash: &str) -> Result<Arc<LoadedCodec>> {
    static CODECS: Kept<LoadedCodec> = Kept::new();
    CODECS.get(hash, 4, || {
        let codec = Codec::from_bytes(&read(place)?).map_err(|e| refuse(format!("`{place}`: {}", e.facts())))?;
        if codec.content_hash() != hash {
            return Err(refuse(format!(
                "the codec `{place}` has the hash {}, expected {hash}: executors and whoever asks must see the same file",
                codec.content_hash()
            )));
        }
        let encoder = codec.encoder(&Device::cpu(), &EncodeOptions::default()).map_err(|e| library(&e))?;
        Ok(LoadedCodec { codec, encoder })
    })
}

/// A round, ready to be answered.
pub struct LoadedRound {
    pub round: Round,
    pub worker: RoundWorker,
}

/// The round at a place, whose bytes must have the hash `hash`.
pub fn round(place: &str, hash: &str) -> Result<Arc<LoadedRound>> {
    static ROUNDS: Kept<LoadedRound> = Kept::new();
    // One is asked after the other; a second may be another training's.
    ROUNDS.get(hash, 2, || {
        let round = Round::from_bytes(&read(place)?).map_err(|e| refuse(format!("`{place}`: {}", e.facts())))?;
        if round.hash() != hash {
            return Err(refuse(format!("the round `{place}` has the hash {}, expected {hash}", round.hash())));
        }
        let worker = round.worker(&Device::cpu()).map_err(|e| library(&e))?;
        Ok(LoadedRound { round, worker })
    })
}
