//! One training of a comparison, and what is kept of it.

use crate::progress::Progress;
use crate::verbs::recommend::compare::plan::Plan;
use crate::verbs::recommend::compare::tables::Entry;
use anyhow::Result;
use sememe::digest::PartDigest;
use sememe::io::{read_if_there, remove, write_bytes_atomic};
use sememe::{Device, Sequences};
use sememe_recommend::{
    ComparedRun, Prediction, RecommenderEpoch, RecommenderSettings, RecommenderTraining, TrainingRecorder,
    training_digest,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The largest state that is read back, and the largest result.
const MOST_STATE_BYTES: u64 = 64 << 30;
const MOST_RESULT_BYTES: u64 = 1 << 20;

/// A training that is done, as its file keeps it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRun {
    /// Of all that it depends on.
    digest: String,
    settings: RecommenderSettings,
    run: ComparedRun,
}

/// One training of the comparison.
pub struct Cell<'a> {
    entry: &'a Entry,
    settings: RecommenderSettings,
    digest: String,
    result: PathBuf,
    state: PathBuf,
}

impl<'a> Cell<'a> {
    pub fn new(plan: &Plan, entry: &'a Entry, histories: &Sequences, device: &Device, seed: u64) -> Result<Self> {
        // Items without IDs are ranked, whatever is predicted of the others.
        let prediction = if entry.sources.codes.is_some() { plan.settings.prediction } else { Prediction::Items };
        let settings = RecommenderSettings { seed, prediction, ..plan.settings.clone() };
        let mut digest = PartDigest::new();
        digest.part(env!("CARGO_PKG_VERSION").as_bytes());
        digest.part(training_digest(&entry.sources, histories).as_bytes());
        digest.part(serde_json::to_string(&settings)?.as_bytes());
        // Devices round differently.
        digest.part(format!("{:?}", device.info().kind).as_bytes());
        let digest = digest.finish();
        let name = format!("{}-{}-seed-{seed}", entry.stem, digest.get(..12).unwrap_or(&digest));
        let (result, state) = (format!("{name}.json"), format!("{name}.safetensors"));
        Ok(Self { entry, settings, digest, result: plan.folder.join(result), state: plan.folder.join(state) })
    }

    /// What was measured before, if that training is done. A file that is not what it should be is made anew.
    pub fn kept(&self) -> Result<Option<ComparedRun>> {
        let Some(bytes) = read_if_there(&self.result, MOST_RESULT_BYTES)? else { return Ok(None) };
        let kept: Option<KeptRun> = serde_json::from_slice(&bytes).ok();
        Ok(kept.filter(|kept| kept.digest == self.digest && kept.settings == self.settings).map(|kept| kept.run))
    }

    pub fn train(&self, histories: &Sequences, device: &Device, progress: &Progress) -> Result<ComparedRun> {
        let kept = read_if_there(&self.state, MOST_STATE_BYTES)?
            .and_then(|bytes| RecommenderTraining::from_bytes(&bytes).ok())
            .filter(|training| *training.settings() == self.settings);
        let mut training = match kept {
            Some(training) => training,
            None => RecommenderTraining::new(self.settings.clone())?,
        };
        let mut recorder = StateKeeper { state: &self.state, progress, epochs: self.settings.epochs };
        let recommender = training.run(&self.entry.sources, histories, device, progress, &mut recorder)?;
        let measures = recommender.evaluate(histories, 0, false, device, progress)?;
        let best = training.epochs().iter().rfind(|epoch| epoch.best);
        let run = ComparedRun {
            seed: self.settings.seed,
            epochs: training.epochs().len(),
            best: best.and_then(|epoch| Some((epoch.epoch, epoch.validation_ndcg_at_10?))),
            measures,
        };
        let kept = KeptRun { digest: self.digest.clone(), settings: self.settings.clone(), run };
        write_bytes_atomic(&self.result, format!("{:#}\n", serde_json::to_value(&kept)?).as_bytes())?;
        remove(&self.state)?;
        Ok(kept.run)
    }
}

/// Keeps the state after every epoch.
struct StateKeeper<'a> {
    state: &'a Path,
    progress: &'a Progress,
    epochs: usize,
}

impl TrainingRecorder for StateKeeper<'_> {
    fn epoch(&mut self, epoch: &RecommenderEpoch) -> sememe::Result<()> {
        let looked = epoch.validation_ndcg_at_10.map_or_else(String::new, |v| format!(", validation NDCG@10 {v:.4}"));
        self.progress.say(&format!("epoch {} of {}: loss {:.3}{looked}", epoch.epoch, self.epochs, epoch.loss));
        Ok(())
    }

    fn checkpoint(&mut self, training: &RecommenderTraining) -> sememe::Result<()> {
        write_bytes_atomic(self.state, &training.to_bytes()?)
    }
}
