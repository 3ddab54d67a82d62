//! Fine-tunings: that they learn, and that a stop at any place changes nothing.

use super::chat_batches::ChatTokens;
use super::shape::{LanguageLayout, LanguageShape};
use super::tuning::{LanguageTuning, TuningInput, TuningLook, TuningRecorder, TuningUpdate};
use super::tuning_settings::{Learn, TuningSettings};
use crate::decoder::DecoderShape;
use sememe::progress::Observer;
use sememe::rng::stream;
use sememe::{Device, Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

const FIRST_NEW: usize = 12;

fn shape() -> LanguageShape {
    LanguageShape { decoder: DecoderShape::small(16, 1, 2, 32), vocabulary: 20, tied: true }
}

fn params() -> Vec<f32> {
    let layout = LanguageLayout::new(&shape());
    let mut random = stream(3, "language.test", 0);
    let mut params: Vec<f32> = (0..layout.end).map(|_| (0.3 * random.normal()) as f32).collect();
    layout.decoder.initialise(&shape().decoder, &mut random, &mut params);
    params
}

/// Words `w w+1` are answered by the new token `12 + w`.
fn chats(count: u32) -> Vec<ChatTokens> {
    let chat = |i: u32| {
        let w = i % 6;
        ChatTokens { tokens: vec![10, w, w + 1, 11, FIRST_NEW as u32 + w, 10], learned: vec![4, 5] }
    };
    (0..count).map(chat).collect()
}

fn settings(learn: Learn) -> TuningSettings {
    TuningSettings {
        learn,
        rank: 4,
        alpha: 8.0,
        context: 8,
        batch_tokens: 32,
        accumulate: 2,
        epochs: 3,
        looks: 2,
        rate: Some(if learn == Learn::Full { 1e-2 } else { 5e-2 }),
        ..TuningSettings::default()
    }
}

#[derive(Default)]
struct Kept {
    looks: Vec<TuningLook>,
    updates: Vec<TuningUpdate>,
    /// Bytes of the last checkpoint.
    bytes: Vec<u8>,
    every: bool,
}

impl TuningRecorder for Kept {
    fn update(&mut self, update: &TuningUpdate) -> Result<()> {
        self.updates.push(*update);
        Ok(())
    }

    fn look(&mut self, look: &TuningLook) -> Result<()> {
        self.looks.push(*look);
        Ok(())
    }

    fn due(&mut self) -> bool {
        self.every
    }

    fn checkpoint(&mut self, tuning: &LanguageTuning) -> Result<()> {
        self.bytes = tuning.to_bytes()?;
        Ok(())
    }
}

/// Asks to stop when it has been asked so often.
struct StopAfter(AtomicUsize);

impl Observer for StopAfter {
    fn stop(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) <= 1
    }
}

fn run(tuning: &mut LanguageTuning, observer: &dyn Observer, kept: &mut Kept) -> Result<Vec<f32>> {
    let (shape, params, training, validation) = (shape(), params(), chats(60), chats(6));
    let input = TuningInput {
        shape: &shape,
        params: &params,
        first_new: FIRST_NEW,
        training: &training,
        validation: &validation,
    };
    tuning.learn(&input, &Device::cpu(), observer, kept)
}

#[test]
fn every_way_learns_the_new_tokens() {
    for learn in [Learn::Full, Learn::LowRank, Learn::NewTokens] {
        let mut kept = Kept::default();
        let mut tuning = LanguageTuning::new(settings(learn)).expect("settings");
        let after = run(&mut tuning, &(), &mut kept).expect("tuned");
        let (first, last) = (kept.looks[0], kept.looks[kept.looks.len() - 1]);
        let reached = last.validation_loss.expect("validation");
        assert!(reached < 0.5 * kept.updates[0].loss, "{learn:?}: {reached} after {}", kept.updates[0].loss);
        assert!(first.validation_loss > last.validation_loss, "{learn:?}");
        assert!(tuning.is_finished() && kept.looks.len() == 6, "{}", kept.looks.len());
        assert_ne!(after, params());
        if learn == Learn::NewTokens {
            let old = LanguageLayout::new(&shape()).embedding + FIRST_NEW * 16;
            assert_eq!(after[..old], params()[..old]);
        }
    }
}

#[test]
fn a_stop_at_any_place_changes_nothing() {
    for learn in [Learn::Full, Learn::LowRank] {
        let mut kept = Kept::default();
        let whole = run(&mut LanguageTuning::new(settings(learn)).expect("settings"), &(), &mut kept).expect("tuned");
        for stop in 1..20 {
            let mut tuning = LanguageTuning::new(settings(learn)).expect("settings");
            let mut part = Kept { every: stop % 2 == 0, ..Kept::default() };
            let stopped = run(&mut tuning, &StopAfter(AtomicUsize::new(stop)), &mut part);
            assert!(matches!(stopped, Err(Error::Interrupted(_))), "stop {stop}");
            let mut again = LanguageTuning::from_bytes(&part.bytes).expect("state");
            let mut rest = Kept::default();
            let resumed = run(&mut again, &(), &mut rest).expect("tuned");
            assert!(resumed == whole, "stop {stop}: other bits");
            assert!(rest.bytes == kept.bytes, "stop {stop}: another state");
        }
    }
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_the_numbers() {
    let (shape, params) = (shape(), params());
    let refused = |change: &dyn Fn(&mut ChatTokens), settings: TuningSettings, first_new: usize| {
        let mut chats = chats(3);
        change(&mut chats[1]);
        let input = TuningInput { shape: &shape, params: &params, first_new, training: &chats, validation: &[] };
        let mut tuning = LanguageTuning::new(settings).expect("settings");
        tuning.learn(&input, &Device::cpu(), &(), &mut ()).expect_err("refused").to_string()
    };
    let small = settings(Learn::Full);
    assert!(
        refused(&|c| c.tokens[0] = 20, small.clone(), 12).contains("training chat 1: token 20 is past the model's 20")
    );
    assert!(refused(&|c| c.tokens = vec![0; 9], small.clone(), 12).contains("9 tokens, `context` is 8"));
    assert!(refused(&|c| c.learned = vec![], small.clone(), 12).contains("after the first"));
    assert!(refused(&|c| c.learned = vec![0], small.clone(), 12).contains("after the first"));
    assert!(refused(&|c| c.learned = vec![6], small.clone(), 12).contains("after the first"));
    let wide = TuningSettings { context: 33, batch_tokens: 64, ..small };
    assert!(refused(&|_| (), wide, 12).contains("reads 32 tokens at most, got 33"));
    assert!(refused(&|_| (), settings(Learn::NewTokens), 20).contains("no new tokens"));
}

#[test]
fn a_loss_that_is_no_number_ends_it_before_the_state_is_kept() {
    let (shape, mut params) = (shape(), params());
    params.iter_mut().for_each(|v| *v *= 1e30);
    let chats = chats(9);
    let input = TuningInput { shape: &shape, params: &params, first_new: FIRST_NEW, training: &chats, validation: &[] };
    let mut kept = Kept { every: true, ..Kept::default() };
    let mut tuning = LanguageTuning::new(settings(Learn::Full)).expect("settings");
    let message = tuning.learn(&input, &Device::cpu(), &(), &mut kept).expect_err("diverged").to_string();
    assert!(message.contains("diverged") && message.contains("update 1"), "{message}");
    assert!(kept.bytes.is_empty());
}

#[test]
fn other_chats_and_damaged_states_are_refused() {
    let mut tuning = LanguageTuning::new(settings(Learn::LowRank)).expect("settings");
    let mut kept = Kept { every: true, ..Kept::default() };
    let _ = run(&mut tuning, &StopAfter(AtomicUsize::new(4)), &mut kept);
    let (shape, params, other) = (shape(), params(), chats(61));
    let input = TuningInput { shape: &shape, params: &params, first_new: 12, training: &other, validation: &[] };
    let mut again = LanguageTuning::from_bytes(&kept.bytes).expect("state");
    let message = again.learn(&input, &Device::cpu(), &(), &mut ()).expect_err("refused").to_string();
    assert!(message.contains("other chats"), "{message}");
    for cut in [0, 9, kept.bytes.len() / 2, kept.bytes.len() - 1] {
        assert!(LanguageTuning::from_bytes(&kept.bytes[..cut]).is_err());
    }
    let mut turned = kept.bytes.clone();
    let last = turned.len() - 1;
    turned[last] ^= 1;
    assert!(LanguageTuning::from_bytes(&turned).expect_err("refused").to_string().contains("damaged"));
}
