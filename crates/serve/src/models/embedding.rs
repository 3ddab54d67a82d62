//! Texts to vectors, those of several requests together.

use crate::error::ApiError;
use crate::models::WorkerLimits;
use crate::models::queue::{WorkQueue, take};
use sememe::{Matrix, Result};
use sememe_text::embed::{Embedder, embed_texts};
use tokio::sync::oneshot;

#[derive(Debug)]
struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Matrix, ApiError>>,
}

/// An embedder on a thread of its own.
#[derive(Debug)]
pub struct EmbedWorker {
    queue: WorkQueue<Job>,
}

impl EmbedWorker {
    /// Starts the thread. `prefix` comes before every text; with `normalize` vectors have length 1.
    ///
    /// # Errors
    /// [`sememe::Error::Data`] if the system gives no thread.
    pub fn start(
        embedder: Box<dyn Embedder + Send>,
        prefix: String,
        normalize: bool,
        limits: WorkerLimits,
    ) -> Result<Self> {
        let queue = WorkQueue::start("the model that embeds texts", "sememe-embed", limits.queue, move |waiting| {
            while let Some(mut jobs) = take(&waiting, limits.batch, |job: &Job| job.texts.len()) {
                jobs.retain(|job| !job.reply.is_closed());
                let embed = |texts: &[&str]| embed_texts(embedder.as_ref(), texts, &prefix, normalize);
                answer(jobs, &embed);
            }
        })?;
        Ok(Self { queue })
    }

    /// Vectors `[texts, d]` of texts, in their order.
    ///
    /// # Errors
    /// `bad_request` for no text, an empty one, or one that the model cannot read; `busy` if too many wait already.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Matrix, ApiError> {
        if texts.is_empty() {
            return Err(ApiError::bad_request("expected at least 1 text, got none"));
        }
        if let Some(at) = texts.iter().position(|text| text.trim().is_empty()) {
            return Err(ApiError::bad_request(format!("text {at} is empty")));
        }
        let (reply, answer) = oneshot::channel();
        self.queue.put(Job { texts, reply })?;
        answer.await.map_err(ApiError::internal)?
    }
}

fn answer(jobs: Vec<Job>, embed: &dyn Fn(&[&str]) -> Result<Matrix>) {
    let texts: Vec<&str> = jobs.iter().flat_map(|job| &job.texts).map(String::as_str).collect();
    if texts.is_empty() {
        return;
    }
    match embed(&texts) {
        Ok(vectors) => {
            let mut from = 0;
            for Job { texts, reply } in jobs {
                let (count, dims) = (texts.len(), vectors.dims());
                let rows =
                    Matrix::from_vec(count, dims, vectors.as_slice()[from * dims..(from + count) * dims].to_vec());
                from += count;
                // Whoever hung up needs no answer.
                let _ = reply.send(rows.map_err(ApiError::from));
            }
        }
        Err(error) if jobs.len() == 1 => {
            let failed = ApiError::from(error);
            jobs.into_iter().for_each(|job| _ = job.reply.send(Err(failed.clone())));
        }
        // One request's text is not another's fault.
        Err(_) => jobs.into_iter().for_each(|job| answer(vec![job], embed)),
    }
}
