//! Rows to codes.

use super::literal;
use crate::cached;
use crate::embeddings::{RowNames, rows};
use datafusion::arrow::array::{ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use sememe::MatrixView;
use std::sync::Arc;

const USAGE: &str = "semantic_id(embedding, codec, hash [, name])";

/// See [`semantic_id`](super::semantic_id).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SemanticId(Signature);

impl Default for SemanticId {
    fn default() -> Self {
        // The file under a place may change, and its hash says whether it did.
        Self(Signature::variadic_any(Volatility::Immutable))
    }
}

/// Lists of codes.
pub fn codes_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::UInt32, false)))
}

impl ScalarUDFImpl for SemanticId {
    fn name(&self) -> &'static str {
        "semantic_id"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        literal::count(arguments.len(), 3..=4, USAGE)?;
        Ok(codes_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let loaded = cached::codec(
            &literal::of_value(&args.args[1], self.name(), "the codec's place")?,
            &literal::of_value(&args.args[2], self.name(), "the codec's hash")?,
        )?;
        let column = args.args[0].to_array(args.number_rows)?;
        let names = args.args.get(3).map(|names| names.to_array(args.number_rows)).transpose()?;
        let names = RowNames { names: names.as_ref(), before: None, rows: column.len() };
        let (n, d, levels) = (column.len(), loaded.codec.dims(), loaded.codec.levels());
        let rows = rows(&column, d, &names)?;
        let mut codes = vec![0u32; n * levels];
        MatrixView::new(n, d, &rows)
            .and_then(|rows| loaded.encoder.encode_into(rows, &mut codes))
            .map_err(|e| names.explain(&e))?;
        let offsets = OffsetBuffer::from_repeated_length(levels, n);
        let item = Arc::new(Field::new_list_field(DataType::UInt32, false));
        Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(item, offsets, Arc::new(UInt32Array::from(codes)), None)?)))
    }
}
