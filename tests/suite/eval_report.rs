//! The report: well formed, escaped, offline, bounded.
