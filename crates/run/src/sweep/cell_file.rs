//! The file that caches a finished cell's measures.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use sememe::data::{RowSource, first_non_finite};
use sememe::digest::{hex, sha256};
use sememe::eval::Evaluation;
use sememe::fit::RqKMeans;
use sememe::io::{read_if_there, write_bytes_atomic};
use sememe::{Error, Result};

/// The measures of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellMeasures {
    /// 1 − U/N.
    pub collision_rate: f64,
    /// Share of rows whose ID another row has too.
    pub colliding_item_rate: f64,
    /// Distinct IDs.
    pub unique_ids: usize,
    /// Rows on the most crowded ID.
    pub max_bucket: usize,
    /// H(IDs) / ln ∏K.
    pub entropy_ratio: f64,
    /// R² of the full IDs, in the rows' own space.
    pub r2: f64,
    /// Mean cosine of a row and its reconstruction.
    pub cosine: f64,
    /// `[levels]` perplexity.
    pub perplexity: Vec<f64>,
    /// `[levels]` share of the codewords in use.
    pub utilisation: Vec<f64>,
    /// Expected recall of the 10 nearest rows by ID, where it was asked for.
    pub recall_at_10: Option<f64>,
    /// Seconds of training.
    pub train_seconds: f64,
    /// Seconds of encoding all rows.
    pub encode_seconds: f64,
}

impl CellMeasures {
    pub(super) fn of(e: &Evaluation, train_seconds: f64, encode_seconds: f64) -> Self {
        let full = e.reconstruction;
        Self {
            collision_rate: e.collision_rate,
            colliding_item_rate: e.colliding_item_rate,
            unique_ids: e.unique_ids,
            max_bucket: e.max_bucket,
            entropy_ratio: e.entropy_ratio,
            r2: full.map_or(0.0, |full| full.r2),
            cosine: full.map_or(0.0, |full| full.cosine),
            perplexity: e.levels.iter().map(|level| level.codes.perplexity).collect(),
            utilisation: e.levels.iter().map(|level| level.codes.utilisation).collect(),
            recall_at_10: e.neighbours.recall,
            train_seconds,
            encode_seconds,
        }
    }
}

/// Everything that a cell's figures depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CellSettings {
    /// Of this file.
    format: u32,
    /// Of the program, as another release may train otherwise.
    version: String,
    /// SHA-256 of the rows.
    data: String,
    /// `cpu` or the kind of GPU: two devices may differ in the last bits.
    device: String,
    config: RqKMeans,
    /// Rows drawn for recall.
    queries: usize,
}

#[derive(Serialize, Deserialize)]
struct CellRecord {
    settings: CellSettings,
    figures: CellMeasures,
}

const FORMAT: u32 = 1;

/// A record is a few kilobytes; whatever is larger is none.
const MAX_BYTES: u64 = 1 << 20;

impl CellSettings {
    pub(super) fn new(data: &str, device: &str, config: &RqKMeans, queries: usize) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            data: data.into(),
            device: device.into(),
            config: config.clone(),
            queries,
        }
    }

    /// A name that other settings do not have: 16 hex digits of SHA-256.
    pub(super) fn key(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|e| Error::Data(format!("settings cannot be written: {e}")))?;
        Ok(sha256(&text)[..16].to_owned())
    }

    /// The figures that an earlier run kept for exactly these settings. A file that is torn, foreign or of other
    /// settings counts as not there: the cell is trained again and the file replaced.
    pub(super) fn load(&self, folder: &Path) -> Result<Option<CellMeasures>> {
        let path = self.path(folder)?;
        let Some(bytes) = read_if_there(&path, MAX_BYTES)? else { return Ok(None) };
        let record: Option<CellRecord> = serde_json::from_slice(&bytes).ok();
        Ok(record.filter(|record| record.settings == *self).map(|record| record.figures))
    }

    /// Keeps figures, whole or not at all.
    pub(super) fn save(&self, folder: &Path, figures: &CellMeasures) -> Result<()> {
        let record = CellRecord { settings: self.clone(), figures: figures.clone() };
        let text = serde_json::to_vec_pretty(&record).map_err(|e| Error::Data(format!("figures: {e}")))?;
        write_bytes_atomic(self.path(folder)?, &text)
    }

    fn path(&self, folder: &Path) -> Result<PathBuf> {
        Ok(folder.join(format!("cell-{}.json", self.key()?)))
    }
}

/// SHA-256 over shape and values as little-endian `f32`, so that a file in another format with the same rows is the same data.
///
/// # Errors
/// [`Error::NonFinite`] for such rows, [`Error::Data`] for no rows or no values, and what the source returns.
pub fn data_hash(source: &dyn RowSource) -> Result<String> {
    let (rows, dims) = (source.rows(), source.dims());
    if rows == 0 || dims == 0 {
        return Err(Error::Data(format!("{rows} rows of {dims} values in `{}` cannot be trained on", source.name())));
    }
    let mut hash = Sha256::new();
    hash.update((rows as u64).to_le_bytes());
    hash.update((dims as u64).to_le_bytes());
    let step = ((1 << 20) / dims).clamp(1, rows);
    let (mut values, mut bytes) = (vec![0.0f32; step * dims], Vec::with_capacity(step * dims * 4));
    for start in (0..rows).step_by(step) {
        let piece = &mut values[..step.min(rows - start) * dims];
        source.read_rows(start, piece)?;
        if let Some((first, count)) = first_non_finite(piece, dims) {
            let (first, count, rows) = ((start + first) as u64, count as u64, (piece.len() / dims) as u64);
            return Err(Error::NonFinite { first, count, rows, place: source.name() });
        }
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()))
}
