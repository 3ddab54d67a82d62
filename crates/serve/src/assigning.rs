//! A store of IDs on a thread of its own, where batches of several requests share a transaction.

use crate::catalogue::NewItem;
use crate::error::ApiError;
use sememe::ids::store::{AssignedId, Store};
use sememe::{Error, Result};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests that may wait; more are refused.
const WAITING: usize = 256;

/// Items of one transaction that several requests share, at most.
const ITEMS: usize = 10_000;

/// A batch of items: keys, and their codes one after the other.
#[derive(Clone, Debug, Default)]
pub struct AssignBatch {
    /// Different from each other, none empty.
    pub keys: Vec<String>,
    /// `[items, levels]`.
    pub codes: Vec<u32>,
}

struct Job {
    batch: AssignBatch,
    reply: oneshot::Sender<Result<Vec<AssignedId>, ApiError>>,
}

/// The door to a store.
#[derive(Debug)]
pub struct Assigning {
    jobs: SyncSender<Job>,
}

/// A store that was opened, and what is in it.
#[derive(Debug)]
pub struct OpenedStore {
    /// Gives out IDs.
    pub assigning: Assigning,
    /// All items that have one.
    pub items: Vec<NewItem>,
    /// What may lose IDs that were given out, a sentence each.
    pub risks: Vec<String>,
}

/// Where a store is, and whose IDs it holds.
#[derive(Clone, Debug)]
pub struct StorePlace {
    /// A path or a URL.
    pub place: PathBuf,
    /// How long other processes are waited for.
    pub patience: Duration,
    /// The codec's content hash.
    pub codec_hash: String,
    /// Codes an ID.
    pub levels: usize,
}

impl Assigning {
    /// Opens a store on its thread, which ends when this is dropped, and reads all items in it.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be opened or read, or holds another codec's IDs.
    pub fn open(place: StorePlace) -> Result<OpenedStore> {
        let (jobs, waiting) = sync_channel(WAITING);
        let (opened, result) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("sememe-store".into())
            .spawn(move || match open(&place) {
                Ok((store, items, risks)) => {
                    let heard = opened.send(Ok((items, risks)));
                    if heard.is_ok() {
                        work(&waiting, store, place.levels);
                    }
                }
                Err(error) => _ = opened.send(Err(error)),
            })
            .map_err(|e| Error::Store(format!("no thread for it: {e}")))?;
        let (items, risks) =
            result.recv().map_err(|_| Error::Store("its thread ended while it was opened".into()))??;
        Ok(OpenedStore { assigning: Self { jobs }, items, risks })
    }

    /// IDs of a batch's items, all kept once this returns, or none.
    ///
    /// # Errors
    /// `busy` if too many requests wait, `store` if nothing could be kept.
    pub async fn assign(&self, batch: AssignBatch) -> Result<Vec<AssignedId>, ApiError> {
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job { batch, reply }) {
            Ok(()) => answer.await.map_err(ApiError::internal)?,
            Err(TrySendError::Full(_)) => Err(ApiError::busy("the store of IDs")),
            Err(TrySendError::Disconnected(_)) => Err(ApiError::internal("the store's thread is gone")),
        }
    }
}

type Opened = (Box<dyn Store>, Vec<NewItem>, Vec<String>);

fn open(place: &StorePlace) -> Result<Opened> {
    let mut store = sememe::ids::store::open(&place.place, &place.codec_hash, place.levels)?;
    store.set_patience(place.patience)?;
    let risks = store.risks();
    let known = store.with_prefix(&[], usize::MAX)?;
    let items =
        known.into_iter().map(|(id, key)| NewItem { key, codes: id.codes, counter: id.counter, ..NewItem::default() });
    let items = items.collect();
    Ok((store, items, risks))
}

fn work(waiting: &Receiver<Job>, mut store: Box<dyn Store>, levels: usize) {
    // What could not join the batch before it.
    let mut left: Option<Job> = None;
    while let Some(first) = left.take().or_else(|| waiting.recv().ok()) {
        let mut keys: HashSet<String> = first.batch.keys.iter().cloned().collect();
        let mut jobs = vec![first];
        // While one batch is written, others come in: they share the next transaction. Nobody is waited for.
        while keys.len() < ITEMS {
            let Ok(job) = waiting.try_recv() else { break };
            if job.batch.keys.iter().any(|key| keys.contains(key)) {
                // A batch holds a key once.
                left = Some(job);
                break;
            }
            keys.extend(job.batch.keys.iter().cloned());
            jobs.push(job);
        }
        answer(jobs, &mut *store, levels);
    }
}

fn answer(jobs: Vec<Job>, store: &mut dyn Store, levels: usize) {
    let pairs = |job: &'_ Job| -> Vec<(String, Vec<u32>)> {
        job.batch.keys.iter().cloned().zip(job.batch.codes.chunks_exact(levels).map(<[u32]>::to_vec)).collect()
    };
    let all: Vec<(String, Vec<u32>)> = jobs.iter().flat_map(pairs).collect();
    let items: Vec<(&str, &[u32])> = all.iter().map(|(key, codes)| (key.as_str(), codes.as_slice())).collect();
    let given = store.assign(&items).map_err(ApiError::from);
    let mut from = 0;
    for job in jobs {
        let to = from + job.batch.keys.len();
        let answer = given.as_ref().map(|given| given[from..to].to_vec()).map_err(Clone::clone);
        // Whoever hung up finds the same IDs when it asks again.
        let _ = job.reply.send(answer);
        from = to;
    }
}
