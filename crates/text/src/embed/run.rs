//! One run: what is missing is asked for in batches, and every answer kept at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use super::Embedder;
use super::content::{Content, Hasher};
use super::input::Texts;
use super::survey::{Survey, contents, survey};
use super::table::{Copied, Fresh, Open, VectorTable};
use sememe::data::{Matrix, first_non_finite};
use sememe::progress::{Event, Observer};
use sememe::unit_rows;
use sememe::{Error, Result};

/// How texts are embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedOptions {
    /// Texts a batch: one call of the model, and what is lost if it fails.
    pub batch_items: usize,
    /// Calls at once.
    pub concurrency: usize,
    /// Divide every vector by its L2 norm.
    pub normalize: bool,
    /// Put before every text, as in E5's `passage: `.
    pub prefix: String,
    /// Take nothing in the table for up to date.
    pub rebuild: bool,
    /// Take vectors out of the table whose items are not there any more; not with a part of the items.
    pub prune: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            batch_items: 32,
            concurrency: 4,
            normalize: false,
            prefix: String::new(),
            rebuild: false,
            prune: false,
            dry_run: false,
        }
    }
}

impl EmbedOptions {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for batches of none, or less than 1 or more than 256 calls at once.
    pub fn validate(&self) -> Result<()> {
        if self.batch_items == 0 {
            return Err(Error::config("batch_items", "expected at least 1, got 0"));
        }
        if !(1..=256).contains(&self.concurrency) {
            return Err(Error::config("concurrency", format!("expected 1 to 256, got {}", self.concurrency)));
        }
        Ok(())
    }
}

/// What a run did, or with `dry_run` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EmbedReport {
    /// Items with a text.
    pub items: usize,
    /// Texts that the model was asked for; items with the same text are one.
    pub asked: usize,
    /// Calls of the model.
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
}

/// Embeds what has changed, and keeps it in `target`.
///
/// A vector is up to date if model, settings, prefix, normalisation and text are those that it was made from. One that has no such note
/// (another program made it, AniMind say) counts if its model is this one and its `source_prepared_at` the item's. Every answered batch
/// is one transaction; after a stop of any kind the next run asks for the rest. What the table then holds does not depend on the
/// number of calls at once, nor on how often a run was stopped. Memory: texts and hashes, and the vectors of `concurrency` batches.
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
    let contents = contents(texts, &Hasher::new(embedder, options));
    let known = Open::existing(target, &texts.keys)?.as_ref().map(Open::kept).transpose()?.unwrap_or_default();
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
    };
    let idle = report.asked + report.adopted + report.copied + report.removed + plan.touched.len() == 0;
    if options.dry_run || idle {
        return Ok(report);
    }
    let mut table = Open::writable(target, &texts.keys, texts.numbers)?;
    if options.rebuild && !known.is_empty() {
        table.distrust()?;
    }
    settle(&mut table, texts, &contents, &plan)?;
    let job = Job { texts, contents: &contents, embedder, options, batches: &batches };
    report.dims = job.run(&mut table, plan.dims, target, observer)?;
    if options.prune {
        table.remove(&plan.gone.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(report)
}

/// What needs no model.
fn settle(table: &mut Open, texts: &Texts, contents: &[Content], plan: &Survey) -> Result<()> {
    let prepared_at = |i: usize| texts.prepared_at[i].as_deref();
    if !plan.copied.is_empty() {
        let copy = |(i, from): &(usize, String)| (*i, from.clone());
        let copies: Vec<(usize, String)> = plan.copied.iter().map(copy).collect();
        let copies: Vec<Copied<'_>> = copies
            .iter()
            .map(|(i, from)| Copied { key: texts.key(*i), from, content: &contents[*i], prepared_at: prepared_at(*i) })
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
    contents: &'a [Content],
    embedder: &'a dyn Embedder,
    options: &'a EmbedOptions,
    /// Groups of items with the same text.
    batches: &'a [&'a [Vec<usize>]],
}

/// The answers of a run so far.
struct Progress {
    dims: Option<usize>,
    done: usize,
    /// The error of the earliest batch that has one.
    failure: Option<(usize, Error)>,
}

impl Job<'_> {
    /// Asks for all batches; returns how many values vectors have.
    fn run(
        &self,
        table: &mut Open,
        dims: Option<usize>,
        target: &VectorTable,
        observer: &dyn Observer,
    ) -> Result<usize> {
        let total: usize = self.batches.iter().map(|batch| batch.len()).sum();
        observer.event(Event::Phase { name: "embed", total: Some(total as u64), unit: "texts" });
        let mut progress = Progress { dims, done: 0, failure: None };
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (mut interrupted, mut ended) = (false, false);
        std::thread::scope(|scope| {
            let (send, answers) = mpsc::sync_channel(self.options.concurrency);
            for _ in 0..self.options.concurrency.min(self.batches.len()) {
                let (send, next, stop) = (send.clone(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(batch) = self.batches.get(at) else { break };
                        let answer = self.ask(batch);
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
            let end = || {
                stop.store(true, Ordering::Relaxed);
                self.embedder.give_up();
            };
            loop {
                if !interrupted && observer.stop() {
                    interrupted = true;
                    end();
                }
                let mut ready = match answers.recv_timeout(Duration::from_millis(50)) {
                    Ok(answer) => vec![answer],
                    Err(mpsc::RecvTimeoutError::Timeout) => continue,
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                };
                // One transaction for all that wait.
                ready.extend(answers.try_iter());
                if let Err(e) = self.keep(table, ready, &mut progress) {
                    // The table itself fails: nothing more can be kept, and answers to come find nobody.
                    progress.failure = Some((0, e));
                    end();
                    break;
                }
                if progress.failure.is_some() && !ended {
                    ended = true;
                    end();
                }
                observer.event(Event::Advance { done: progress.done as u64 });
            }
        });
        let place = target.path.display();
        let way_on = format!("{} of {total} missing texts are kept in `{place}`", progress.done);
        let again = if self.options.rebuild { "the same command without `--rebuild`" } else { "the same command" };
        match progress.failure {
            _ if interrupted => Err(Error::Interrupted(format!(": {way_on}; go on with {again}"))),
            Some((_, Error::Endpoint(text))) => Err(Error::Endpoint(format!("{text}; {way_on}, {again} goes on"))),
            Some((_, Error::Data(text))) => Err(Error::Data(format!("{text}; {way_on}, {again} goes on"))),
            Some((_, Error::Store(text))) => Err(Error::Store(format!("{text}; {way_on}, {again} goes on"))),
            Some((_, other)) => Err(other),
            None => Ok(progress.dims.unwrap_or(0)),
        }
    }

    /// The vectors of a batch, checked.
    fn ask(&self, batch: &[Vec<usize>]) -> Result<Matrix> {
        let prefixed: Vec<String>;
        let mut texts: Vec<&str> = batch.iter().map(|group| self.texts.texts[group[0]].as_str()).collect();
        if !self.options.prefix.is_empty() {
            prefixed = texts.iter().map(|text| format!("{}{text}", self.options.prefix)).collect();
            texts = prefixed.iter().map(String::as_str).collect();
        }
        let key = |at: usize| self.texts.key(batch[at][0]);
        let model = self.embedder.model();
        let of = |text: String| format!("{text} (texts of `{}` to `{}`)", key(0), key(batch.len() - 1));
        let mut vectors = self.embedder.embed(&texts).map_err(|e| match e {
            Error::Endpoint(text) => Error::Endpoint(of(text)),
            Error::Data(text) => Error::Data(of(text)),
            other => other,
        })?;
        let (rows, dims) = (vectors.rows(), vectors.dims());
        if rows != batch.len() || dims == 0 {
            let expected = batch.len();
            return Err(self
                .embedder
                .fault(format!("expected {expected} vectors of `{model}`, got {rows} of {dims} values")));
        }
        if let Some((first, count)) = first_non_finite(vectors.as_slice(), dims) {
            return Err(self.embedder.fault(format!(
                "{count} of {rows} vectors of `{model}` hold NaN or infinity, the first is that of `{}`; \
                 a model that runs in half precision may need float32",
                key(first)
            )));
        }
        if self.options.normalize {
            let mut norms = vec![0.0; rows];
            unit_rows(vectors.as_mut_slice(), dims, &mut norms);
            if let Some(at) = norms.iter().position(|norm| *norm <= 0.0 || !norm.is_finite()) {
                return Err(self.embedder.fault(format!(
                    "the vector of `{}` by `{model}` has an L2 norm of {}, which cannot be normalised",
                    key(at),
                    norms[at]
                )));
            }
        }
        Ok(vectors)
    }

    /// Keeps what came, in one transaction; what is wrong with it is noted.
    fn keep(&self, table: &mut Open, ready: Vec<(usize, Result<Matrix>)>, progress: &mut Progress) -> Result<()> {
        let mut good = Vec::with_capacity(ready.len());
        for (at, answer) in ready {
            let answer = answer.and_then(|vectors| {
                let dims = *progress.dims.get_or_insert(vectors.dims());
                if dims == vectors.dims() {
                    return Ok(vectors);
                }
                Err(self.embedder.fault(format!(
                    "`{}` returned vectors of {} values, before it were {dims}; `--rebuild` asks for all again, `--into` keeps \
                     them in another table",
                    self.embedder.model(),
                    vectors.dims()
                )))
            });
            match answer {
                Ok(vectors) => good.push((at, vectors)),
                // What follows on a failure is the giving up of others.
                Err(e) if progress.failure.as_ref().is_none_or(|(_, was)| gave_up(was) && !gave_up(&e)) => {
                    progress.failure = Some((at, e));
                }
                Err(_) => {}
            }
        }
        let mut fresh = Vec::new();
        for (at, vectors) in &good {
            for (row, group) in self.batches[*at].iter().enumerate() {
                fresh.extend(group.iter().map(|i| Fresh {
                    key: self.texts.key(*i),
                    content: &self.contents[*i],
                    prepared_at: self.texts.prepared_at[*i].as_deref(),
                    vector: vectors.row(row),
                }));
            }
        }
        table.put(self.embedder.model(), &fresh)?;
        progress.done += good.iter().map(|(at, _)| self.batches[*at].len()).sum::<usize>();
        Ok(())
    }
}

fn gave_up(e: &Error) -> bool {
    matches!(e, Error::Interrupted(_))
}
