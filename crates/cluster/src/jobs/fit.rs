//! Items to a codec: rounds of a distributed training.

use crate::failure::from_engine;
use crate::functions::{semantic_round, unique};
use crate::input::{Items, OpenItems};
use crate::session::Session;
use crate::storage::{Place, storage};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::logical_expr::{AggregateUDF, lit};
use sememe::distributed::{DistributedRqKMeans, DistributedTrainer, Partial, Round};
use sememe::{Codec, Device, Error, Event, Observer, Result};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest checkpoint that is read.
const LARGEST_CHECKPOINT: u64 = 16 << 30;

/// How long a cluster has for a round at least before it is asked again.
const SHORTEST_LIMIT: Duration = Duration::from_secs(60);

/// What to train.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The items.
    pub items: Items,
    /// Settings of the training.
    pub settings: DistributedRqKMeans,
    /// The codec's place.
    pub output: String,
    /// Where the state of the training is kept after every round.
    pub checkpoint: Option<String>,
    /// Go on from the checkpoint, if it is there.
    pub resume: bool,
    /// A folder for what executors are asked; `None` is beside the codec. They must see it.
    pub work: Option<String>,
}

/// What was trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FitReport {
    /// The codec's content hash.
    pub codec: String,
    /// Items.
    pub rows: u64,
    /// Passes over the items in this run.
    pub rounds: u64,
    /// Bytes of all answers that came back, after executors had merged theirs.
    pub answer_bytes: u64,
}

/// A folder for rounds, gone at the end.
pub(crate) struct WorkPlace(Place);

impl WorkPlace {
    pub(crate) async fn begin(asked: Option<&str>, beside: &str) -> Result<Self> {
        let name = format!(".rounds-{}", unique());
        let folder = match (asked, beside.rsplit_once('/')) {
            (Some(folder), _) => folder.to_owned(),
            (None, Some(("", _))) => "/".to_owned(),
            (None, Some((folder, _))) => folder.to_owned(),
            (None, None) => ".".to_owned(),
        };
        Ok(Self(storage().place(&folder)?.join(&name)))
    }

    pub(crate) async fn remove(self) {
        // Of no use to anyone; a store that does not answer has been told of already.
        for name in self.0.list().await.unwrap_or_default() {
            let _ = self.0.join(&name).remove().await;
        }
        if let Some(path) = &self.0.local {
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// Asks all rows.
pub(crate) async fn answer(
    session: &Session,
    items: &OpenItems,
    round: &Round,
    work: &WorkPlace,
    function: &Arc<AggregateUDF>,
    limit: Option<Duration>,
    observer: &dyn Observer,
) -> Result<Partial> {
    let place = work.0.join(&format!("{}.round", round.hash()));
    place.write(round.to_bytes()).await?;
    let arguments = [items.embedding(), lit(place.url.as_str()), lit(round.hash())];
    let asked = function.call(arguments.into_iter().chain(items.key_text()).collect()).alias("answer");
    let query = items.frame.clone().aggregate(vec![], vec![asked]).map_err(|e| from_engine(&e))?;
    let batches = session.run_within(query, limit, observer).await?;
    place.remove().await?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0 && batch.column(0).is_valid(0));
    let batch = batch.ok_or_else(|| Error::Data("there are no rows".into()))?;
    Partial::from_bytes(batch.column(0).as_binary::<i32>().value(0))
}

/// Trains a codec on items. One seed gives the same bytes whatever the number of partitions and executors, and whichever of them are lost: an
/// answer is sums of integers.
///
/// # Errors
/// [`Error::Config`] for settings that cannot be distributed and for a checkpoint of another training; as [`encode`](super::encode());
/// [`Error::Interrupted`], which the checkpoint survives.
pub async fn fit(session: &Session, job: &Fit, observer: &dyn Observer) -> Result<FitReport> {
    let items = job.items.open(session).await?;
    let dims = items.dims(session, observer).await?;
    let checkpoint = job.checkpoint.as_deref().map(|name| storage().place(name)).transpose()?;
    let mut trainer = DistributedTrainer::new(job.settings.clone(), dims)?;
    if let (Some(place), true) = (&checkpoint, job.resume)
        && let Some(bytes) = place.read_if_there(LARGEST_CHECKPOINT).await?
    {
        let kept = DistributedTrainer::from_bytes(&bytes)?;
        if kept.config() != trainer.config() || kept.dims() != dims {
            let problem = format!("`{}` is of a training with other settings or of other embeddings", place.name);
            return Err(Error::config("resume", problem));
        }
        trainer = kept;
    }
    let output = storage().place(&job.output)?;
    let work = WorkPlace::begin(job.work.as_deref(), &job.output).await?;
    let done = rounds(session, &items, &mut trainer, checkpoint.as_ref(), &work, observer).await;
    work.remove().await;
    let (rounds, rows, answer_bytes) = done?;
    let codec: Codec = trainer.codec()?;
    output.write(codec.to_bytes()?).await?;
    Ok(FitReport { codec: codec.content_hash().to_owned(), rows, rounds, answer_bytes })
}

async fn rounds(
    session: &Session,
    items: &OpenItems,
    trainer: &mut DistributedTrainer,
    checkpoint: Option<&Place>,
    work: &WorkPlace,
    observer: &dyn Observer,
) -> Result<(u64, u64, u64)> {
    let (mut rounds, mut rows, mut bytes) = (0, 0, 0);
    // Rounds of one training differ, those of a level by its depth, but not by so much.
    let mut slowest: Option<Duration> = None;
    while let Some(round) = trainer.round()? {
        let limit = slowest.map(|slowest| (20 * slowest).max(SHORTEST_LIMIT));
        let begun = Instant::now();
        observer.event(Event::Phase { name: "round", total: None, unit: "rows" });
        let partial = answer(session, items, &round, work, &semantic_round(), limit, observer).await?;
        slowest = slowest.max(Some(begun.elapsed()));
        (rounds, rows) = (rounds + 1, partial.rows());
        bytes += partial.to_bytes()?.len() as u64;
        trainer.take(&partial, &Device::cpu(), observer)?;
        if let Some(place) = checkpoint {
            place.write(trainer.to_bytes()?).await?;
        }
    }
    Ok((rounds, rows, bytes))
}
