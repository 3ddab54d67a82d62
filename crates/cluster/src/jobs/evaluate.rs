//! How good a codec is for items, over all of them.

use super::{PlacedCodec, number};
use crate::failure::from_engine;
use crate::functions::{semantic_key, semantic_round};
use crate::input::Items;
use crate::jobs::fit::{WorkPlace, answer};
use crate::session::Session;
use datafusion::arrow::datatypes::DataType;
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::logical_expr::{cast, col, lit, when};
use sememe::distributed::{Round, RoundMeasures};
use sememe::{Event, Observer, Result};
use serde::Serialize;

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Evaluate {
    /// The items.
    pub items: Items,
    /// The codec's place.
    pub codec: String,
    /// A folder for what executors are asked; `None` is beside the codec. They must see it.
    pub work: Option<String>,
}

/// Measures of a codec on items, by the names that `sememe eval` gives them.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterEvaluation {
    /// Different IDs.
    pub unique_ids: u64,
    /// 1 − `unique_ids` / rows: the share of items that would need a suffix to become unique.
    pub collision_rate: f64,
    /// Share of items whose ID another item has too.
    pub colliding_item_rate: f64,
    /// Items on the most crowded ID.
    pub max_bucket: u64,
    /// R² and use of each level; R² of rows that are decoded from the levels up to it.
    #[serde(flatten)]
    pub measures: RoundMeasures,
    /// The codec's content hash.
    pub codec: String,
}

/// Measures a codec on items: R² by level, use of the codebooks, collisions.
///
/// # Errors
/// As [`encode`](super::encode()).
pub async fn evaluate(session: &Session, job: &Evaluate, observer: &dyn Observer) -> Result<ClusterEvaluation> {
    let codec = PlacedCodec::load(&job.codec).await?;
    let items = job.items.open(session).await?;
    observer.event(Event::Phase { name: "codes", total: None, unit: "rows" });
    let codes = items.frame.clone().select(vec![codec.codes(items.embedding(), items.key_text()).alias("codes")]);
    let keys = codes.and_then(|codes| codes.select(vec![semantic_key().call(vec![col("codes")]).alias("code")]));
    let buckets = keys.and_then(|keys| keys.aggregate(vec![col("code")], vec![count(lit(1i64)).alias("items")]));
    let several = when(col("items").gt(lit(1i64)), col("items")).otherwise(lit(0i64)).map_err(|e| from_engine(&e))?;
    let totals = vec![count(lit(1i64)), sum(col("items")), max(col("items")), sum(cast(several, DataType::Int64))];
    let totals = buckets.and_then(|buckets| buckets.aggregate(vec![], totals)).map_err(|e| from_engine(&e))?;
    let found = session.run(totals, observer).await?;
    let [unique_ids, rows, max_bucket, colliding] = [0, 1, 2, 3].map(|column| number(&found, column));
    let (unique_ids, rows, max_bucket, colliding) = (unique_ids?, rows?, max_bucket?, colliding?);
    if rows == 0 {
        return Err(sememe::Error::Data("there are no rows".into()));
    }
    observer.event(Event::Phase { name: "measure", total: None, unit: "rows" });
    let work = WorkPlace::begin(job.work.as_deref(), &job.codec).await?;
    let answered =
        answer(session, &items, &Round::measure(&codec.codec)?, &work, &semantic_round(), None, observer).await;
    work.remove().await;
    Ok(ClusterEvaluation {
        unique_ids,
        collision_rate: 1.0 - unique_ids as f64 / rows as f64,
        colliding_item_rate: colliding as f64 / rows as f64,
        max_bucket,
        measures: answered?.measures()?,
        codec: codec.codec.content_hash().to_owned(),
    })
}
