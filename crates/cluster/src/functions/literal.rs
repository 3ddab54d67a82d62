//! Arguments that are texts in the query itself.

use crate::failure::refuse;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

fn text(value: Option<&ScalarValue>, function: &str, what: &str) -> Result<String> {
    match value.and_then(ScalarValue::try_as_str) {
        Some(Some(text)) => Ok(text.to_owned()),
        _ => Err(refuse(format!("{function}: {what} is a text in the query itself, not a column"))),
    }
}

/// Of a scalar function.
pub fn of_value(value: &ColumnarValue, function: &str, what: &str) -> Result<String> {
    let value = if let ColumnarValue::Scalar(value) = value { Some(value) } else { None };
    text(value, function, what)
}

/// Of an aggregate.
pub fn of_expression(expression: &Arc<dyn PhysicalExpr>, function: &str, what: &str) -> Result<String> {
    let literal = (expression.as_ref() as &dyn std::any::Any).downcast_ref::<Literal>();
    text(literal.map(Literal::value), function, what)
}

/// Refuses another number of arguments.
pub fn count(got: usize, expected: std::ops::RangeInclusive<usize>, usage: &str) -> Result<()> {
    if expected.contains(&got) { Ok(()) } else { Err(refuse(format!("expected {usage}, got {got} arguments"))) }
}
