//! Fine-tunings as files.

use std::path::Path;

use super::tuning::{LanguageTuning, TuningProgress};
use super::tuning_settings::TuningSettings;
use crate::container::{FileKind, MOST_BYTES, StoredTensor, Taken, read, write};
use crate::decoder::Moments;
use sememe::io::{read_bytes_capped, write_bytes_atomic};
use sememe::{Error, Result, check_shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TuningHeader {
    settings: TuningSettings,
    progress: TuningProgress,
    fingerprint: Option<String>,
}

impl LanguageTuning {
    /// The state after the last update; the same state always gives the same bytes.
    ///
    /// # Errors
    /// None that a fine-tuning of this crate gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let runs = [
            ("learned", &self.trained),
            ("first", &self.moments.first),
            ("second", &self.moments.second),
            ("best", &self.best),
        ];
        let tensors = runs
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| (name.to_owned(), StoredTensor::f32s(vec![values.len()], values)))
            .collect();
        let content = TuningHeader {
            settings: self.settings.clone(),
            progress: self.progress.clone(),
            fingerprint: self.fingerprint.clone(),
        };
        write(FileKind::Tuning, &content, &tensors)
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are not a whole, undamaged state of this release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (header, tensors) = read::<TuningHeader>(FileKind::Tuning, bytes)?;
        let mut taken = Taken(tensors);
        let trained = taken.run("learned")?;
        let moments = Moments { first: taken.run("first")?, second: taken.run("second")? };
        let best = taken.run("best")?;
        taken.end()?;
        header.settings.validate()?;
        for (name, values) in [("first", &moments.first), ("second", &moments.second)] {
            check_shape("values", trained.len(), values.len(), name)?;
        }
        if !best.is_empty() {
            check_shape("values", trained.len(), best.len(), "best")?;
        }
        let TuningHeader { settings, progress, fingerprint } = header;
        Ok(Self { settings, progress, fingerprint, trained, moments, best })
    }

    /// Writes the state to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_bytes_atomic(path, &self.to_bytes()?)
    }

    /// Reads a state from a file.
    ///
    /// # Errors
    /// If the file cannot be read; as [`from_bytes`](Self::from_bytes), with the file's name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = read_bytes_capped(&path, MOST_BYTES)?;
        Self::from_bytes(&bytes).map_err(|e| Error::format(path.as_ref(), e.to_string()))
    }
}
