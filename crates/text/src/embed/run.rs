//! One embedding run: requests missing vectors in batches and stores every answer at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use super::batches::{BatchEmbedder, BatchResult, BatchText};
use super::content::{ContentHash, ContentHasher};
use super::embedder::Embedder;
use super::input::Texts;
use super::options::EmbedOptions;
use super::survey::{Survey, contents, survey};
use super::table::{NewVector, ReadTable, VectorCopy, VectorTable, WriteTable};
use sememe::progress::{Event, Observer};
use sememe::{Error, Remedy, Result};

/// What a run did, or with `dry_run` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EmbedReport {
    /// Items with a text.
    pub items: usize,
    /// Texts that the model was asked for; items with the same text are one.
    pub asked: usize,
    /// Calls of the model; with `dry_run` those that it takes if none fails.
    pub calls: usize,
    /// Items whose vector was up to date.
    pub kept: usize,
    /// Of those, the ones that another program made, going by model and time of preparation.
    pub adopted: usize,
    /// Items that got the vector of another item with the same text.
    pub copied: usize,
    /// Rows of the table whose item is not there any more; not counted where only a part of the items was read.
    pub gone: usize,
    /// How many of those were taken out.
    pub removed: usize,
    /// Values a vector; 0 if that is not known yet.
    pub dims: usize,
    /// Items that got a vector whose values are all zero, which says nothing of them.
    pub zero_vectors: usize,
    /// Items whose text cannot be embedded, in their order: they have no vector of this text.
    pub failed: Vec<FailedText>,
}

/// An item whose text cannot be embedded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedText {
    /// Its key.
    pub key: String,
    /// What the model said.
    pub problem: String,
}

/// Embeds what has changed, and keeps it in `target`.
///
/// A vector is up to date if model, settings, prefix, normalisation and text are those that it was made from. One that has no such note
/// (another program made it, AniMind say) counts if its model is this one and its `source_prepared_at` the item's. Every answered batch
/// is one transaction; after a stop of any kind the next run asks for the rest. What the table then holds does not depend on the
/// number of calls at once, nor on how often a run was stopped. Memory: texts and hashes, and the vectors of `concurrency` batches.
///
/// A batch that fails for what is in it, or for its size, is asked for in halves, until a text that cannot be embedded is alone; all
/// others are kept. Under [`EmbedOptions::skip_failed`] such texts are told in the report, else they are an error at the end. They are tried
/// again in the next run.
///
/// # Errors
/// What the embedder returns, with what is kept and how to go on; its [`Embedder::fault`] for another number of vectors than of
/// texts, NaN, infinity, vectors of zeros that are to be normalised, and another dimension than before; [`Error::Store`] or [`Error::Format`] for a
/// table that cannot be used, [`Error::Interrupted`] when the observer asks; [`Error::Config`] as [`EmbedOptions::validate`], and for
/// pruning by a part of the items.
pub fn embed(
    texts: &Texts,
    embedder: &dyn Embedder,
    target: &VectorTable,
    options: &EmbedOptions,
    observer: &dyn Observer,
) -> Result<EmbedReport> {
    options.validate()?;
    if options.prune && texts.limited {
        return Err(Error::config(
            "prune",
            "would take out the vectors of all items beyond `limit`; leave one of them out",
        ));
    }
    let contents = contents(texts, &ContentHasher::new(embedder, options));
    let known =
        ReadTable::existing(target, &texts.keys)?.as_ref().map(ReadTable::kept).transpose()?.unwrap_or_default();
    let mut plan = survey(texts, &contents, &known, embedder.model(), options.rebuild);
    if texts.limited {
        plan.gone.clear();
    }
    let batches: Vec<&[Vec<usize>]> = plan.missing.chunks(options.batch_items).collect();
    let mut report = EmbedReport {
        items: texts.keys.len(),
        asked: plan.missing.len(),
        calls: batches.len(),
        kept: plan.kept.len() + plan.adopted.len(),
        adopted: plan.adopted.len(),
        copied: plan.copied.len(),
        gone: plan.gone.len(),
        removed: if options.prune { plan.gone.len() } else { 0 },
        dims: plan.dims.unwrap_or(0),
        zero_vectors: 0,
        failed: Vec::new(),
    };
    let idle = report.asked + report.adopted + report.copied + report.removed + plan.touched.len() == 0;
    if options.dry_run || idle {
        return Ok(report);
    }
    let mut table = WriteTable::writable(target, &texts.keys, texts.numbers)?;
    if options.rebuild && !known.is_empty() {
        table.mark_all_stale()?;
    }
    settle(&mut table, texts, &contents, &plan)?;
    let job = Job { texts, contents: &contents, embedder, options, batches: &batches };
    job.run(&mut table, target, observer, &mut report)?;
    if options.prune {
        table.remove(&plan.gone.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(report)
}

/// Applies all changes that need no model.
fn settle(table: &mut WriteTable, texts: &Texts, contents: &[ContentHash], plan: &Survey) -> Result<()> {
    let prepared_at = |i: usize| texts.prepared_at[i].as_deref();
    if !plan.copied.is_empty() {
        let copy = |(i, from): &(usize, String)| (*i, from.clone());
        let copies: Vec<(usize, String)> = plan.copied.iter().map(copy).collect();
        let copies: Vec<VectorCopy<'_>> = copies
            .iter()
            .map(|(i, from)| VectorCopy {
                key: texts.key(*i),
                from,
                content: &contents[*i],
                prepared_at: prepared_at(*i),
            })
            .collect();
        table.copy(&copies)?;
    }
    if !plan.adopted.is_empty() {
        table.adopt(&plan.adopted.iter().map(|i| (texts.key(*i), &contents[*i])).collect::<Vec<_>>())?;
    }
    if !plan.touched.is_empty() {
        table.touch(&plan.touched.iter().map(|i| (texts.key(*i), prepared_at(*i))).collect::<Vec<_>>())?;
    }
    Ok(())
}

struct Job<'a> {
    texts: &'a Texts,
    contents: &'a [ContentHash],
    embedder: &'a dyn Embedder,
    options: &'a EmbedOptions,
    /// Groups of items with the same text.
    batches: &'a [&'a [Vec<usize>]],
}

/// The answers of a run so far.
#[derive(Default)]
struct Progress {
    done: usize,
    zero_vectors: usize,
    /// Items whose text was refused.
    failed: Vec<(usize, String)>,
    /// How many texts those are, and the error of the first.
    refused: usize,
    first_refused: Option<(usize, Error)>,
    /// What ends the run.
    failure: Option<Error>,
}

impl Job<'_> {
    /// Asks for all batches, and adds to the report what came of it.
    fn run(
        &self,
        table: &mut WriteTable,
        target: &VectorTable,
        observer: &dyn Observer,
        report: &mut EmbedReport,
    ) -> Result<()> {
        let total: usize = self.batches.iter().map(|batch| batch.len()).sum();
        observer.event(Event::Phase { name: "embed", total: Some(total as u64), unit: "texts" });
        let mut progress = Progress::default();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let asker = BatchEmbedder::new(self.embedder, self.options, report.dims, &stop);
        let mut interrupted = false;
        std::thread::scope(|scope| {
            let (send, answers) = mpsc::sync_channel(self.options.concurrency);
            for _ in 0..self.options.concurrency.min(self.batches.len()) {
                let (send, next, stop, asker) = (send.clone(), &next, &stop, &asker);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(batch) = self.batches.get(at) else { break };
                        let answer = asker.ask(&self.texts_of(batch));
                        if answer.is_err() {
                            stop.store(true, Ordering::Relaxed);
                        }
                        if send.send((at, answer)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            loop {
                if !interrupted && observer.stop() {
                    interrupted = true;
                    stop.store(true, Ordering::Relaxed);
                }
                let mut ready = match answers.recv_timeout(Duration::from_millis(50)) {
                    Ok(answer) => vec![answer],
                    Err(mpsc::RecvTimeoutError::Timeout) => continue,
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                };
                // One transaction for all that wait.
                ready.extend(answers.try_iter());
                let kept = self.keep(table, ready, &asker, &mut progress);
                if let Err(e) = kept {
                    // The table itself fails: nothing more can be kept, and answers to come find nobody.
                    progress.failure = Some(e);
                    stop.store(true, Ordering::Relaxed);
                    break;
                }
                if progress.failure.is_some() {
                    stop.store(true, Ordering::Relaxed);
                }
                observer.event(Event::Advance { done: (progress.done + progress.refused) as u64 });
            }
        });
        report.calls = asker.calls();
        report.dims = asker.dims();
        report.zero_vectors = progress.zero_vectors;
        let refused = progress.refused;
        progress.failed.sort_unstable_by_key(|(item, _)| *item);
        let told = |(item, problem): (usize, String)| FailedText { key: self.texts.key(item).to_owned(), problem };
        report.failed = progress.failed.into_iter().map(told).collect();
        let place = target.path.display();
        let way_on = format!("{} of {total} missing texts are kept in `{place}`", progress.done);
        let asked = if self.options.rebuild { "" } else { " and are not asked for again" };
        let way_on = format!("{way_on}{asked}");
        let mut on: Vec<Remedy> = Vec::new();
        if self.options.rebuild {
            on.push(Remedy::omit("rebuild").to("go on from there"));
        }
        let with = |e: Error, rest: String, on: Vec<Remedy>| {
            let told = matches!(e.root(), Error::Endpoint(_) | Error::Data(_) | Error::Store(_));
            let e = e.map_root(|root| match root {
                Error::Endpoint(text) => Error::Endpoint(format!("{text}; {rest}")),
                Error::Data(text) => Error::Data(format!("{text}; {rest}")),
                Error::Store(text) => Error::Store(format!("{text}; {rest}")),
                other => other,
            });
            e.mend(on.into_iter().filter(|_| told))
        };
        match (progress.failure, progress.first_refused) {
            _ if interrupted => Err(Error::Interrupted(format!(": {way_on}")).mend(on)),
            (Some(e), _) => Err(with(e, way_on, on)),
            (None, Some((_, e))) if !self.options.skip_failed || report.failed.len() == report.items => {
                let which = if refused == 1 { "one text cannot".into() } else { format!("{refused} texts cannot") };
                on.push(Remedy::set("skip_failed", "true").to("go on without such texts"));
                Err(with(e, format!("{which} be embedded, {way_on}"), on))
            }
            _ => Ok(()),
        }
    }

    fn texts_of(&self, batch: &[Vec<usize>]) -> Vec<BatchText<'_>> {
        let text = |group: &Vec<usize>| BatchText { key: self.texts.key(group[0]), text: &self.texts.texts[group[0]] };
        batch.iter().map(text).collect()
    }

    /// Keeps what came, in one transaction; what is wrong with it is noted.
    fn keep(
        &self,
        table: &mut WriteTable,
        ready: Vec<(usize, Result<BatchResult>)>,
        asker: &BatchEmbedder<'_>,
        progress: &mut Progress,
    ) -> Result<()> {
        let mut good = Vec::with_capacity(ready.len());
        for (at, answer) in ready {
            let batch = self.batches[at];
            let answer = match answer {
                Ok(answer) => answer,
                Err(e) => {
                    self.fail(e, progress);
                    continue;
                }
            };
            for (row, e) in answer.refused {
                progress.refused += 1;
                let problem = e.to_string();
                progress.failed.extend(batch[row].iter().map(|item| (*item, problem.clone())));
                let first = batch[row][0];
                if progress.first_refused.as_ref().is_none_or(|(was, _)| first < *was) {
                    progress.first_refused = Some((first, e));
                }
            }
            for (piece, vectors) in answer.good {
                // Batches that were asked for together, before any length was known, may differ.
                match asker.of_known_length(vectors.dims()) {
                    Ok(()) => good.push((&batch[piece], vectors)),
                    Err(e) => self.fail(e, progress),
                }
            }
        }
        let mut fresh = Vec::new();
        for (groups, vectors) in &good {
            for (row, group) in groups.iter().enumerate() {
                let vector = vectors.row(row);
                if vector.iter().all(|value| *value == 0.0) {
                    progress.zero_vectors += group.len();
                }
                fresh.extend(group.iter().map(|i| NewVector {
                    key: self.texts.key(*i),
                    content: &self.contents[*i],
                    prepared_at: self.texts.prepared_at[*i].as_deref(),
                    vector,
                }));
            }
        }
        table.put(self.embedder.model(), &fresh)?;
        progress.done += good.iter().map(|(groups, _)| groups.len()).sum::<usize>();
        Ok(())
    }

    /// Notes what ends the run. What follows on it is the giving up of others.
    fn fail(&self, e: Error, progress: &mut Progress) {
        if progress.failure.as_ref().is_none_or(|was| gave_up(was) && !gave_up(&e)) {
            progress.failure = Some(e);
        }
    }
}

fn gave_up(e: &Error) -> bool {
    matches!(e, Error::Interrupted(_))
}
