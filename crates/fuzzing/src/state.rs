//! What a stopped training or run left behind, and goes on from.

use std::sync::atomic::{AtomicU32, Ordering};

use sememe::fit::MiniBatchTrainer;
use sememe::fit::rqvae::RqVaeTrainer;
use sememe::{Codec, Device, Matrix, Observer, Sequences};
use sememe_recommend::{ItemSources, Recommender, RecommenderTraining};
use sememe_run::track::{EventWriter, MetricsWriter};

use crate::Scratch;
use crate::library::use_codec;
use crate::sealed::{framed, records, resealed};

/// Asks for a stop after a few looks, so that a state of a million epochs ends.
#[derive(Default)]
struct Impatient(AtomicU32);

impl Observer for Impatient {
    fn stop(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= 3
    }
}

/// The rows that the seeds of checkpoints are trained on.
#[must_use]
pub fn training_rows() -> Matrix {
    let value = |at: usize| ((at * 37) % 64) as f32 / 32.0 - 1.0;
    Matrix::from_vec(64, 4, (0..256).map(value).collect()).expect("64 rows of 4 values")
}

pub fn rqvae(bytes: &[u8], _: &Scratch) {
    let framed = framed(bytes);
    let load = |bytes: &[u8]| RqVaeTrainer::from_bytes(bytes);
    let loaded = resealed(bytes, load).or_else(|| resealed(framed.as_deref()?, load));
    let Some(mut trainer) = loaded else { return };
    let saved = trainer.to_bytes().expect("a state that loaded is saved");
    RqVaeTrainer::from_bytes(&saved).expect("a state that was saved loads");
    if let Ok(codec) = Codec::from_trainer(&trainer) {
        use_codec(&codec);
    }
    let config = trainer.config();
    let width = config.hidden.iter().chain(&config.codebook_sizes).copied().max().unwrap_or(0);
    if width <= 256 && config.code_dims <= 256 {
        let _ = trainer.run(&training_rows(), None, &Device::cpu(), &Impatient::default(), &mut ());
    }
}

pub fn minibatch(bytes: &[u8], _: &Scratch) {
    let Ok(mut trainer) = MiniBatchTrainer::from_bytes(bytes) else { return };
    let saved = trainer.to_bytes().expect("a state that loaded is saved");
    MiniBatchTrainer::from_bytes(&saved).expect("a state that was saved loads");
    let finish = |trainer: &MiniBatchTrainer| {
        let Ok(fitted) = trainer.finish() else { return };
        if let Ok(codec) = Codec::from_fitted(fitted, sememe::TrainedBy::MiniBatch(trainer.config())) {
            use_codec(&codec);
        }
    };
    finish(&trainer);
    let config = trainer.config();
    let most = config.codebook_sizes.iter().copied().chain([config.batch_rows, config.init_rows]).max().unwrap_or(0);
    if trainer.dims() == 4 && most <= 4096 {
        let rows = training_rows();
        if trainer.partial_fit(&rows, &Device::cpu()).is_ok() {
            finish(&trainer);
        }
        let _ = trainer.fit_source(&rows, &Device::cpu(), &Impatient::default());
    }
}

/// Histories that the seeds of recommenders are trained on: users who walk on a ring of eight items.
#[must_use]
pub fn training_histories() -> Sequences {
    let walk = |user: u32| (0..6).map(move |t| (user + t) % 8).collect::<Vec<u32>>();
    Sequences::from_lists((0..8).map(walk)).expect("walks")
}

pub fn recommender(bytes: &[u8], _: &Scratch) {
    let framed = framed(bytes);
    let load = |bytes: &[u8]| Recommender::from_bytes(bytes);
    let Some(loaded) = resealed(bytes, load).or_else(|| resealed(framed.as_deref()?, load)) else { return };
    let saved = loaded.to_bytes().expect("a recommender that loaded is saved");
    Recommender::from_bytes(&saved).expect("a recommender that was saved loads");
    if loaded.items() <= 4096 && loaded.settings().dims <= 256 {
        let history = [0, loaded.items() as u32 - 1];
        if let Ok(lists) = loaded.recommend(&[&history], 5, true, None, &Device::cpu()) {
            assert!(lists[0].iter().all(|r| !history.contains(&r.item)), "an item that was seen");
        }
    }
}

pub fn recommender_training(bytes: &[u8], _: &Scratch) {
    let framed = framed(bytes);
    let load = |bytes: &[u8]| RecommenderTraining::from_bytes(bytes);
    let Some(mut loaded) = resealed(bytes, load).or_else(|| resealed(framed.as_deref()?, load)) else { return };
    let saved = loaded.to_bytes().expect("a state that loaded is saved");
    RecommenderTraining::from_bytes(&saved).expect("a state that was saved loads");
    let settings = loaded.settings();
    if settings.dims <= 64 && settings.layers <= 4 && settings.positions <= 256 && settings.batch_tokens <= 4096 {
        let sources = ItemSources { items: 8, identities: true, ..ItemSources::default() };
        let _ = loaded.run(&sources, &training_histories(), &Device::cpu(), &Impatient::default(), &mut ());
    }
}

pub fn event_log(bytes: &[u8], scratch: &Scratch) {
    for content in [bytes.to_vec(), records(bytes)] {
        for from in [0, 2, u64::MAX] {
            let _ = scratch.file("events.out.tfevents.1700000000.sememe.000", &content);
            if let Ok(mut log) = EventWriter::resume(scratch.path(), from) {
                let _ = log.scalar(from.min(1 << 40), 1.0, &[("loss", 0.5)]).and_then(|()| log.sync());
                drop(log);
                // What went on can go on again.
                EventWriter::resume(scratch.path(), u64::MAX).expect("a file that was gone on with");
            }
            scratch.clear();
        }
    }
}

pub fn metrics(bytes: &[u8], scratch: &Scratch) {
    let path = scratch.file("metrics.jsonl", bytes);
    let keep = |line: &serde_json::Value| line.get("step").and_then(serde_json::Value::as_u64) < Some(2);
    let Ok(mut metrics) = MetricsWriter::resume(&path, keep) else { return };
    metrics.line(&serde_json::json!({"step": 2})).expect("a line more");
    drop(metrics);
    MetricsWriter::resume(&path, keep).expect("a file that was gone on with");
}

pub fn epochs(bytes: &[u8], scratch: &Scratch) {
    let _ = sememe_run::page::read_epochs(scratch.file("metrics.jsonl", bytes));
}

pub fn run_state(bytes: &[u8], scratch: &Scratch) {
    let _ = scratch.file("state.json", bytes);
    let _ = scratch.file("prep.json", b"{}");
    let _ = sememe_run::run::verify(scratch.path());
}
