//! Codes to rows.

use super::literal;
use crate::cached;
use crate::embeddings::codes;
use crate::failure::library;
use datafusion::arrow::array::{Float32Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// See [`semantic_decode`](super::semantic_decode).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SemanticDecode(Signature);

impl Default for SemanticDecode {
    fn default() -> Self {
        Self(Signature::variadic_any(Volatility::Immutable))
    }
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Float32, false))
}

impl ScalarUDFImpl for SemanticDecode {
    fn name(&self) -> &'static str {
        "semantic_decode"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        literal::count(arguments.len(), 3..=3, "semantic_decode(codes, codec, hash)")?;
        Ok(DataType::List(item()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let loaded = cached::codec(
            &literal::of_value(&args.args[1], self.name(), "the codec's place")?,
            &literal::of_value(&args.args[2], self.name(), "the codec's hash")?,
        )?;
        let column = args.args[0].to_array(args.number_rows)?;
        let rows = if column.is_empty() {
            Vec::new()
        } else {
            let rows = loaded.codec.decode(&codes(&column)?).map_err(|e| library(&e))?;
            rows.as_slice().to_vec()
        };
        let offsets = OffsetBuffer::from_repeated_length(loaded.codec.dims(), column.len());
        let values = Arc::new(Float32Array::from(rows));
        Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(item(), offsets, values, None)?)))
    }
}
