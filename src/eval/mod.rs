//! Quality measures and the report.
