//! One ID for each item, for good: a join with a table of IDs.

use super::encode::CODES;
use super::{PlacedCodec, write};
use crate::failure::from_engine;
use crate::functions::{semantic_key, unique};
use crate::input::Items;
use crate::output::remove_strays;
use crate::session::Session;
use crate::table::Table;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt as _, JoinType, cast, col, ident, lit, when};
use datafusion::prelude::ParquetReadOptions;
use sememe::{Error, Event, Observer, Result};
use serde::Serialize;

/// What to give IDs.
#[derive(Clone, Debug)]
pub struct Assign {
    /// The items, with a key.
    pub items: Items,
    /// The codec's place.
    pub codec: String,
    /// The folder of the table; made if it is not there.
    pub ids: String,
}

/// What was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssignReport {
    /// Items that have an ID now and had none.
    pub new: u64,
    /// Items that had one before.
    pub before: u64,
    /// Files added.
    pub files: usize,
    /// The codec's content hash.
    pub codec: String,
}

fn engine<T>(result: datafusion::error::Result<T>) -> Result<T> {
    result.map_err(|e| from_engine(&e))
}

/// Gives every new item its codes and a number: items on the same codes are numbered from 0 on in the order of their keys' bytes, above those
/// that the table has. Items of the table keep what they have, so running again with the same items changes nothing. A first run gives what
/// [`ids::resolve::number`](sememe::ids::resolve::number) gives. The table is parquet files of `key` (a text), `codes` and `number`
/// (uint32), grown whole or not at all.
///
/// # Errors
/// [`Error::Config`] without a key, [`Error::Data`] for keys that are null or not unique and for what [`encode`](super::encode()) refuses,
/// [`Error::Store`] for a table of another codec or one that another grows at the same time; [`Error::Interrupted`].
pub async fn assign(session: &Session, job: &Assign, observer: &dyn Observer) -> Result<AssignReport> {
    let codec = PlacedCodec::load(&job.codec).await?;
    let table = Table::open(&job.ids).await?;
    table.check(codec.codec.content_hash())?;
    let items = job.items.open(session).await?;
    let Some(key) = items.key_text() else {
        return Err(Error::config("key", "IDs that stay need a column that names items"));
    };
    let asked = engine(items.frame.clone().select(vec![key.alias("key"), items.embedding().alias("embedding")]))?;
    observer.event(Event::Phase { name: "keys", total: None, unit: "rows" });
    check_keys(session, &asked, &job.items, observer).await?;
    let options = ParquetReadOptions::default();
    let known = if table.list.files.is_empty() {
        None
    } else {
        Some(engine(session.context().read_parquet(table.files(), options).await)?)
    };
    let new = match &known {
        Some(known) => {
            let keys = engine(known.clone().select(vec![col("key").alias("known")]))?;
            engine(asked.join(keys, JoinType::LeftAnti, &["key"], &["known"], None))?
        }
        None => asked,
    };
    let coded = engine(new.select(vec![col("key"), codec.codes(col("embedding"), Some(col("key"))).alias(CODES)]))?;
    let coded = engine(coded.with_column("code", semantic_key().call(vec![col(CODES)])))?;
    let numbered = engine(numbered(coded, known))?;
    let columns = ["key", CODES, "number"].map(str::to_owned);
    let frame = engine(numbered.select(vec![col("key"), codec.fixed(col(CODES)).alias(CODES), col("number")]))?;
    observer.event(Event::Phase { name: "assign", total: None, unit: "rows" });
    let run = format!("part-{}", unique());
    let begins = table.place.join(&run).url.to_string();
    let mut report =
        AssignReport { new: 0, before: table.rows(), files: 0, codec: codec.codec.content_hash().to_owned() };
    let written = write(session, frame, &columns, &begins, observer).await;
    let grown = match written {
        Ok(parts) if parts.is_empty() => Ok(parts),
        Ok(parts) => table.grow(&report.codec, codec.codec.levels(), parts.clone()).await.map(|()| parts),
        Err(error) => Err(error),
    };
    let mine = grown.as_deref().unwrap_or_default();
    let counts = |name: &str| table.list.files.iter().chain(mine).any(|file| file.name == name);
    remove_strays(&table.place, &run, counts).await;
    let parts = grown?;
    (report.new, report.files) = (parts.iter().map(|part| part.rows).sum(), parts.len());
    Ok(report)
}

/// Numbers items on the same codes by their keys, above those of the table.
fn numbered(coded: DataFrame, known: Option<DataFrame>) -> datafusion::error::Result<DataFrame> {
    let place = row_number().partition_by(vec![col("code")]).order_by(vec![col("key").sort(true, false)]).build()?;
    let coded = coded.window(vec![place.alias("place")])?;
    let from_zero = cast(col("place"), DataType::Int64) - lit(1i64);
    let Some(known) = known else {
        return coded.with_column("number", cast(from_zero, DataType::UInt32));
    };
    let known = known.select(vec![semantic_key().call(vec![col(CODES)]).alias("taken_code"), col("number")])?;
    let taken = known.aggregate(vec![col("taken_code")], vec![max(col("number")).alias("last")])?;
    let joined = coded.join(taken, JoinType::Left, &["code"], &["taken_code"], None)?;
    let first: Expr =
        when(col("last").is_null(), lit(0i64)).otherwise(cast(col("last"), DataType::Int64) + lit(1i64))?;
    joined.with_column("number", cast(from_zero + first, DataType::UInt32))
}

/// Refuses keys that are null, empty or not unique, with the first of them.
async fn check_keys(session: &Session, asked: &DataFrame, items: &Items, observer: &dyn Observer) -> Result<()> {
    let name = items.key.as_deref().unwrap_or("key");
    let counts = asked.clone().aggregate(vec![col("key")], vec![count(lit(1i64)).alias("items")]);
    let wrong = col("items").gt(lit(1i64)).or(col("key").is_null()).or(ident("key").eq(lit("")));
    let wrong = counts.and_then(|counts| counts.filter(wrong));
    let wrong = wrong.and_then(|wrong| wrong.sort(vec![col("key").sort(true, true)]));
    let found = session.run(engine(wrong.and_then(|wrong| wrong.limit(0, Some(1))))?, observer).await?;
    let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(()) };
    let count = super::number(&found, 1)?;
    let keys = batch.column(0).as_string::<i32>();
    Err(Error::Data(match keys.is_valid(0).then(|| keys.value(0)) {
        None => format!("{count} items have no `{name}`: it is null"),
        Some("") => format!("{count} items have no `{name}`: it is empty"),
        Some(key) => format!("{count} items have the {name} `{key}`; keys are unique"),
    }))
}
