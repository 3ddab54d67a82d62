//! Items to codes.

use super::{PlacedCodec, write};
use crate::failure::from_engine;
use crate::input::Items;
use crate::output::Output;
use crate::session::Session;
use datafusion::logical_expr::{Expr, ident};
use sememe::{Error, Event, Observer, Result};
use serde::Serialize;

/// The column of codes.
pub(crate) const CODES: &str = "codes";

/// What to encode.
#[derive(Clone, Debug)]
pub struct Encode {
    /// The items. Their key alone is kept beside the codes; without one all columns but the embedding are.
    pub items: Items,
    /// The codec's place.
    pub codec: String,
    /// The folder of parquet files to write.
    pub output: String,
}

/// What was encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EncodeReport {
    /// Items.
    pub rows: u64,
    /// Files.
    pub files: usize,
    /// Columns of the files, codes last.
    pub columns: Vec<String>,
    /// The codec's content hash.
    pub codec: String,
    /// Codes an item.
    pub levels: usize,
}

/// Encodes items into a folder of parquet files: the items' other columns, and `codes`, a list of one length.
///
/// # Errors
/// [`Error::Config`] for columns and places that do not do, [`Error::Data`] for embeddings that are null, not finite or of another length,
/// with the row; [`Error::Interrupted`]. Nothing is left then.
pub async fn encode(session: &Session, job: &Encode, observer: &dyn Observer) -> Result<EncodeReport> {
    let codec = PlacedCodec::load(&job.codec).await?;
    let items = job.items.open(session).await?;
    let mut columns = match &items.key {
        Some(key) => vec![key.clone()],
        None => items.others(),
    };
    if columns.is_empty() {
        let problem =
            format!("the items have no column but `{}`: nothing would say whose codes are whose", items.column);
        return Err(Error::config("key", problem));
    }
    if columns.iter().any(|name| name == CODES) {
        let problem = format!("the items have a column `{CODES}` already; name a key, which is kept alone");
        return Err(Error::config("key", problem));
    }
    let codes = codec.fixed(codec.codes(items.embedding(), items.key_text())).alias(CODES);
    let kept: Vec<Expr> = columns.iter().map(ident).chain([codes]).collect();
    columns.push(CODES.to_owned());
    let frame = items.frame.select(kept).map_err(|e| from_engine(&e))?;
    observer.event(Event::Phase { name: "encode", total: None, unit: "rows" });
    let output = Output::begin(&job.output).await?;
    let written = write(session, frame, &columns, &output.working(), observer).await;
    let parts = match written {
        Ok(parts) if parts.is_empty() => Err(Error::Data("there are no rows".into())),
        written => written,
    };
    match parts {
        Ok(parts) => {
            output.commit(&parts).await?;
            Ok(EncodeReport {
                rows: parts.iter().map(|part| part.rows).sum(),
                files: parts.len(),
                columns,
                codec: codec.codec.content_hash().to_owned(),
                levels: codec.codec.levels(),
            })
        }
        Err(error) => {
            output.abandon().await;
            Err(error)
        }
    }
}
