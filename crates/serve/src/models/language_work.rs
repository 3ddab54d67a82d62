//! The thread of a language model: texts are written side by side, a token each in turn, and questions answered in between.

use crate::error::ApiError;
use sememe::Error;
use sememe_recommend::{GeneratedText, LanguageSession, SpokenItem, SpokenOptions, TextOptions};
use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// Questions that are answered together.
const TOGETHER: usize = 32;
/// Texts that are written side by side; the queue holds what comes on top.
const TEXTS: usize = 32;

/// What becomes of a text, piece by piece.
#[derive(Debug)]
pub enum TextEvent {
    /// It has begun, so its question can be read.
    Begun,
    /// What is new: whole characters.
    Piece(String),
    /// Its end.
    Finished(GeneratedText),
    /// It cannot be written, or not any further.
    Failed(ApiError),
}

/// What the model is to do.
#[derive(Debug)]
pub(super) enum LanguageJob {
    /// Name items.
    Name { question: Vec<u32>, options: SpokenOptions, reply: oneshot::Sender<Result<Vec<SpokenItem>, ApiError>> },
    /// Write a text.
    Write { question: Vec<u32>, options: TextOptions, events: UnboundedSender<TextEvent> },
}

/// A question, how it is asked, and who waits for the answer.
type Naming = (Vec<u32>, SpokenOptions, oneshot::Sender<Result<Vec<SpokenItem>, ApiError>>);

/// Works until no job can come any more and all texts are finished. Items that `served` refuses do not come out.
pub(super) fn work(
    waiting: &Receiver<LanguageJob>,
    session: &mut LanguageSession<'_>,
    served: Option<&(dyn Fn(u32) -> bool + Sync)>,
) {
    let mut texts: HashMap<u64, UnboundedSender<TextEvent>> = HashMap::new();
    loop {
        let mut jobs = Vec::new();
        if texts.is_empty() {
            match waiting.recv() {
                Ok(job) => jobs.push(job),
                Err(_) => return,
            }
        }
        while jobs.len() < TOGETHER && texts.len() + jobs.len() < TEXTS {
            let Ok(job) = waiting.try_recv() else { break };
            jobs.push(job);
        }
        let mut namings = Vec::new();
        for job in jobs {
            match job {
                LanguageJob::Name { question, options, reply } if !reply.is_closed() => {
                    namings.push((question, options, reply));
                }
                LanguageJob::Name { .. } => {}
                LanguageJob::Write { question, options, events } => match session.begin_text(&question, &options) {
                    Ok(number) => {
                        let _ = events.send(TextEvent::Begun);
                        texts.insert(number, events);
                    }
                    Err(error) => _ = events.send(TextEvent::Failed(error.into())),
                },
            }
        }
        name(namings, session, served);
        advance(&mut texts, session);
    }
}

/// Answers questions, those together that follow as many prefixes.
fn name(mut namings: Vec<Naming>, session: &mut LanguageSession<'_>, served: Option<&(dyn Fn(u32) -> bool + Sync)>) {
    while let Some((_, first, _)) = namings.first() {
        let beams = first.beams;
        let (together, others): (Vec<Naming>, Vec<Naming>) =
            namings.into_iter().partition(|(_, options, _)| options.beams == beams);
        name_together(together, session, served);
        namings = others;
    }
}

fn name_together(
    together: Vec<Naming>,
    session: &mut LanguageSession<'_>,
    served: Option<&(dyn Fn(u32) -> bool + Sync)>,
) {
    let questions: Vec<(&[u32], &[u32])> = together.iter().map(|(tokens, ..)| (tokens.as_slice(), &[][..])).collect();
    let Some(widest) = together.iter().map(|(_, options, _)| *options).max_by_key(|options| options.count) else {
        return;
    };
    match session.recommend(&questions, &widest, served) {
        Ok(lists) => {
            for ((_, options, reply), mut list) in together.into_iter().zip(lists) {
                list.truncate(options.count);
                // Whoever hung up needs no answer.
                let _ = reply.send(Ok(list));
            }
        }
        Err(error) if together.len() == 1 => {
            let failed = ApiError::from(error);
            together.into_iter().for_each(|(.., reply)| _ = reply.send(Err(failed.clone())));
        }
        // One question is not another's fault.
        Err(_) => together.into_iter().for_each(|naming| name_together(vec![naming], session, served)),
    }
}

/// Takes all texts a token further.
fn advance(texts: &mut HashMap<u64, UnboundedSender<TextEvent>>, session: &mut LanguageSession<'_>) {
    // Nobody listens any more.
    texts.retain(|number, events| {
        let heard = !events.is_closed();
        if !heard {
            session.stop_text(*number);
        }
        heard
    });
    if texts.is_empty() {
        return;
    }
    match session.advance_texts() {
        Ok(steps) => {
            for step in steps {
                let Some(events) = texts.get(&step.text) else { continue };
                if !step.piece.is_empty() {
                    let _ = events.send(TextEvent::Piece(step.piece));
                }
                if let Some(text) = step.finished {
                    let _ = events.send(TextEvent::Finished(text));
                    texts.remove(&step.text);
                }
            }
        }
        Err(error) => fail(texts, error),
    }
}

/// All texts end.
fn fail(texts: &mut HashMap<u64, UnboundedSender<TextEvent>>, error: Error) {
    let failed = ApiError::from(error);
    for (_, events) in texts.drain() {
        let _ = events.send(TextEvent::Failed(failed.clone()));
    }
}
