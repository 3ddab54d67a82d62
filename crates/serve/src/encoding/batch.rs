//! Rows of several requests in one pass.

use crate::error::ApiError;
use sememe::{Codec, Encoder, Error, MatrixView, Result};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests that may wait; more are refused.
const WAITING: usize = 1024;

/// Rows of one pass, at most: beyond, a larger one is no faster.
const ROWS: usize = 512;

struct Job {
    rows: Vec<f32>,
    reply: oneshot::Sender<Result<Vec<u32>, ApiError>>,
}

/// A thread that encodes what waits.
#[derive(Debug)]
pub struct Batcher {
    jobs: SyncSender<Job>,
}

impl Batcher {
    /// Starts the thread; it ends when the batcher is dropped.
    pub fn start(encoder: Arc<Encoder>, codec: &Codec, gather: Duration) -> Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING);
        let (dims, levels) = (codec.dims(), codec.levels());
        std::thread::Builder::new()
            .name("sememe-encode".into())
            .spawn(move || work(&waiting, &encoder, dims, levels, gather))
            .map_err(|e| Error::Data(format!("no thread to encode on: {e}")))?;
        Ok(Self { jobs })
    }

    /// Codes of finite rows, once they come in a pass.
    pub async fn encode(&self, rows: Vec<f32>) -> Result<Vec<u32>, ApiError> {
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job { rows, reply }) {
            Ok(()) => answer.await.map_err(ApiError::internal)?,
            Err(TrySendError::Full(_)) => Err(ApiError::busy("the encoder")),
            Err(TrySendError::Disconnected(_)) => Err(ApiError::internal("the encoder's thread is gone")),
        }
    }
}

fn work(waiting: &Receiver<Job>, encoder: &Encoder, dims: usize, levels: usize, gather: Duration) {
    let mut crowded = false;
    while let Ok(first) = waiting.recv() {
        let until = Instant::now() + gather;
        let (mut jobs, mut values) = (vec![first], 0);
        loop {
            values += jobs.last().map_or(0, |job| job.rows.len());
            if values >= ROWS * dims {
                break;
            }
            // A client that is alone is not kept waiting; where the last pass had company, this one likely will.
            let next = match crowded {
                true => waiting.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
                false => waiting.try_recv().ok(),
            };
            match next {
                Some(job) => jobs.push(job),
                None => break,
            }
        }
        crowded = jobs.len() > 1;
        answer(jobs, encoder, dims, levels);
    }
}

fn answer(jobs: Vec<Job>, encoder: &Encoder, dims: usize, levels: usize) {
    let rows: Vec<f32> = jobs.iter().flat_map(|job| &job.rows).copied().collect();
    let count = rows.len() / dims;
    let mut codes = vec![0; count * levels];
    let done = MatrixView::new(count, dims, &rows).and_then(|rows| encoder.encode_into(rows, &mut codes));
    let failed = done.err().map(ApiError::from);
    let mut from = 0;
    for job in jobs {
        let to = from + job.rows.len() / dims * levels;
        let answer = failed.clone().map_or_else(|| Ok(codes[from..to].to_vec()), Err);
        // Whoever hung up needs no answer.
        let _ = job.reply.send(answer);
        from = to;
    }
}
