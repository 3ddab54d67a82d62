//! Codes to bytes that sort as they do.

use super::literal;
use crate::embeddings::codes;
use datafusion::arrow::array::BinaryArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// See [`semantic_key`](super::semantic_key). Engines sort, join and group lists less widely than bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SemanticKey(Signature);

impl Default for SemanticKey {
    fn default() -> Self {
        Self(Signature::variadic_any(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for SemanticKey {
    fn name(&self) -> &'static str {
        "semantic_key"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        literal::count(arguments.len(), 1..=1, "semantic_key(codes)")?;
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let codes = codes(&args.args[0].to_array(args.number_rows)?)?;
        let keys = codes.iter().map(|codes| codes.iter().flat_map(|code| code.to_be_bytes()).collect::<Vec<u8>>());
        Ok(ColumnarValue::Array(Arc::new(BinaryArray::from_iter_values(keys))))
    }
}
