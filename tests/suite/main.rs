//! The one integration binary: everything here goes through the public API.

mod eval;
