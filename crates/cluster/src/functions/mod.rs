//! The functions of a session.

mod literal;
mod round;
mod semantic_decode;
mod semantic_id;
mod semantic_key;
mod write;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use std::sync::Arc;

pub use write::{PartFile, read_parts, unique};

/// Gives a session the functions of this library.
pub fn register(context: &SessionContext) {
    scalars().into_iter().for_each(|function| context.register_udf(function.as_ref().clone()));
    aggregates().into_iter().for_each(|function| context.register_udaf(function.as_ref().clone()));
}

/// The functions of a row.
pub fn scalars() -> Vec<Arc<ScalarUDF>> {
    vec![semantic_id(), semantic_decode(), semantic_key()]
}

/// The functions of many rows.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![semantic_round(), write_parts()]
}

/// `semantic_id(embedding, codec, hash [, name])`.
pub fn semantic_id() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(semantic_id::SemanticId::default()))
}

/// `semantic_decode(codes, codec, hash)`.
pub fn semantic_decode() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(semantic_decode::SemanticDecode::default()))
}

/// `semantic_key(codes)`.
pub fn semantic_key() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(semantic_key::SemanticKey::default()))
}

/// `semantic_round(embedding, round, hash [, name])`.
pub fn semantic_round() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(round::SemanticRound::default()))
}

/// `semantic_write(row, place)`, for the works of this library: the rows of a partition become the file `PLACE-….parquet`.
pub fn write_parts() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(write::WriteParts::default()))
}
