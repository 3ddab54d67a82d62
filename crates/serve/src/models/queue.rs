//! Queues with a bound, in front of threads.

use crate::error::ApiError;
use sememe::{Error, Result};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Jobs for one thread, which ends when this is dropped and all jobs are done.
#[derive(Debug)]
pub(super) struct WorkQueue<J> {
    jobs: SyncSender<J>,
    what: &'static str,
}

impl<J: Send + 'static> WorkQueue<J> {
    /// Starts the thread; `what` is what a refusal calls it.
    ///
    /// # Errors
    /// [`Error::Data`] if the system gives no thread.
    pub fn start(
        what: &'static str,
        name: &str,
        length: usize,
        work: impl FnOnce(Receiver<J>) + Send + 'static,
    ) -> Result<Self> {
        let (jobs, waiting) = sync_channel(length.max(1));
        let started = std::thread::Builder::new().name(name.into()).spawn(move || work(waiting));
        started.map_err(|e| Error::Data(format!("no thread for {what}: {e}")))?;
        Ok(Self { jobs, what })
    }

    /// Puts a job behind those that wait.
    ///
    /// # Errors
    /// `busy` if as many wait as may.
    pub fn put(&self, job: J) -> Result<(), ApiError> {
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => ApiError::busy(self.what),
            TrySendError::Disconnected(_) => ApiError::internal(format!("the thread of {} is gone", self.what)),
        })
    }
}

/// What is to be done next: waits for one job, and takes those that wait behind it until they weigh `most`. None once no job can come.
pub(super) fn take<J>(waiting: &Receiver<J>, most: usize, weight: impl Fn(&J) -> usize) -> Option<Vec<J>> {
    let first = waiting.recv().ok()?;
    let (mut weighs, mut jobs) = (weight(&first), vec![first]);
    while weighs < most {
        let Ok(job) = waiting.try_recv() else { break };
        weighs += weight(&job);
        jobs.push(job);
    }
    Some(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn what_finds_the_queue_full_is_refused_and_the_rest_is_done() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (done, seen) = std::sync::mpsc::channel();
        let queue = WorkQueue::start("the test", "test", 2, move |waiting: Receiver<u32>| {
            while let Some(jobs) = take(&waiting, 10, |_| 1) {
                let _ = done.send(jobs);
                let _ = held.recv();
            }
        })
        .expect("a queue");
        queue.put(1).expect("room");
        assert_eq!(seen.recv().expect("begun"), [1]);
        queue.put(2).expect("room");
        queue.put(3).expect("room");
        let refused = queue.put(4).expect_err("full");
        assert!(refused.code == ErrorCode::Busy && refused.message.contains("the test"), "{refused:?}");
        hold.send(()).expect("a thread");
        assert_eq!(seen.recv().expect("together"), [2, 3]);
        // What waits when the queue is dropped is done, and the thread ends.
        queue.put(5).expect("room");
        drop(queue);
        drop(hold);
        assert_eq!(seen.recv().expect("finished"), [5]);
        assert!(seen.recv().is_err());
    }
}
