//! The one integration binary; each module is a kind of promise.

mod contract;
mod eval;
mod hostile;
mod io;
mod parity;
mod support;
