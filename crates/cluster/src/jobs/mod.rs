//! Whole works over parquet files: what the verbs of the program do.

mod assign;
mod encode;
mod evaluate;
mod fit;

pub use crate::functions::PartFile;
pub use crate::input::Items;
pub use assign::{Assign, AssignReport, assign};
pub use encode::{Encode, EncodeReport, encode};
pub use evaluate::{ClusterEvaluation, Evaluate, evaluate};
pub use fit::{Fit, FitReport, fit};

use crate::failure::from_engine;
use crate::functions::{semantic_id, write_parts};
use crate::session::Session;
use crate::storage::{Place, storage};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::dataframe::DataFrame;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use sememe::{Codec, Error, Observer, Result};
use std::sync::Arc;

/// A codec that executors will read from the same place.
pub(crate) struct PlacedCodec {
    pub codec: Codec,
    /// The absolute place.
    pub place: Place,
}

impl PlacedCodec {
    pub(crate) async fn load(name: &str) -> Result<Self> {
        let place = storage().place(name)?;
        let codec = Codec::from_bytes(&place.read(16 << 30).await?)
            .map_err(|e| Error::Data(format!("`{name}`: {}", e.facts())))?;
        Ok(Self { codec, place })
    }

    fn at(&self) -> [Expr; 2] {
        [lit(self.place.url.as_str()), lit(self.codec.content_hash())]
    }

    /// Codes of a column, as lists.
    pub(crate) fn codes(&self, embedding: Expr, name: Option<Expr>) -> Expr {
        let [place, hash] = self.at();
        semantic_id().call([embedding, place, hash].into_iter().chain(name).collect())
    }

    /// Lists of codes as lists of one length, which is how the program writes them.
    pub(crate) fn fixed(&self, codes: Expr) -> Expr {
        let item = Arc::new(Field::new_list_field(DataType::UInt32, false));
        cast(codes, DataType::FixedSizeList(item, i32::try_from(self.codec.levels()).unwrap_or(i32::MAX)))
    }
}

/// Writes the columns of a frame into files whose places begin with `begins`, one a partition, and returns those that count.
pub(crate) async fn write(
    session: &Session,
    frame: DataFrame,
    columns: &[String],
    begins: &str,
    observer: &dyn Observer,
) -> Result<Vec<PartFile>> {
    let row = named_struct(columns.iter().flat_map(|name| [lit(name.as_str()), ident(name)]).collect());
    let files = write_parts().call(vec![row, lit(begins)]).alias("files");
    let batches = session.run(frame.aggregate(vec![], vec![files]).map_err(|e| from_engine(&e))?, observer).await?;
    match batches.iter().find(|batch| batch.num_rows() > 0) {
        Some(batch) => crate::functions::read_parts(batch.column(0).as_string::<i32>().value(0)),
        None => Ok(Vec::new()),
    }
}

/// One column of whole numbers of the first row.
pub(crate) fn number(batches: &[RecordBatch], column: usize) -> Result<u64> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    let value = batch.map(|batch| datafusion::arrow::compute::cast(batch.column(column), &DataType::UInt64));
    match value.transpose().map_err(|e| Error::Data(e.to_string()))? {
        Some(value) if value.is_valid(0) => {
            Ok(value.as_primitive::<datafusion::arrow::datatypes::UInt64Type>().value(0))
        }
        _ => Ok(0),
    }
}
