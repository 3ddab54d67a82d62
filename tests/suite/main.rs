//! The one integration binary.

mod eval;
mod hostile;
mod io;
