//! One round of a distributed training, as an aggregate.

use super::literal;
use crate::cached;
use crate::embeddings::{RowNames, rows};
use crate::failure::{library, refuse};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use sememe::MatrixView;
use sememe::distributed::Partial;
use std::sync::Arc;

/// See [`semantic_round`](super::semantic_round).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SemanticRound(Signature);

impl Default for SemanticRound {
    fn default() -> Self {
        Self(Signature::variadic_any(Volatility::Immutable))
    }
}

impl AggregateUDFImpl for SemanticRound {
    fn name(&self) -> &'static str {
        "semantic_round"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        literal::count(arguments.len(), 3..=4, "semantic_round(embedding, round, hash [, name])")?;
        Ok(DataType::Binary)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let place = literal::of_expression(&args.exprs[1], self.name(), "the round's place")?;
        let hash = literal::of_expression(&args.exprs[2], self.name(), "the round's hash")?;
        Ok(Box::new(Rounds { place, hash, answer: None, bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[partial]", args.name), DataType::Binary, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The answer of some rows to a round; none of no rows.
struct Rounds {
    place: String,
    hash: String,
    answer: Option<Partial>,
    /// Its size when it was last seen as bytes.
    bytes: usize,
}

impl std::fmt::Debug for Rounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rounds").field("place", &self.place).field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Rounds {
    fn bytes(&self) -> Result<ScalarValue> {
        let bytes = self.answer.as_ref().map(Partial::to_bytes).transpose().map_err(|e| library(&e))?;
        Ok(ScalarValue::Binary(bytes))
    }
}

impl Accumulator for Rounds {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if values[0].is_empty() {
            return Ok(());
        }
        let loaded = cached::round(&self.place, &self.hash)?;
        let answer = self.answer.get_or_insert_with(|| loaded.worker.partial());
        let (n, dims) = (values[0].len(), loaded.round.dims());
        let names = RowNames { names: values.get(3), before: Some(answer.rows()), rows: n };
        let rows = rows(&values[0], dims, &names)?;
        MatrixView::new(n, dims, &rows).and_then(|rows| loaded.worker.add(rows, answer)).map_err(|e| names.explain(&e))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = states[0].as_binary_opt::<i32>().ok_or_else(|| refuse("a partial result is no bytes"))?;
        for bytes in states.iter().flatten() {
            self.bytes = self.bytes.max(bytes.len());
            let other = Partial::from_bytes(bytes).map_err(|e| library(&e))?;
            match &mut self.answer {
                Some(answer) => answer.merge(&other).map_err(|e| library(&e))?,
                none => *none = Some(other),
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.bytes()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.bytes()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}
