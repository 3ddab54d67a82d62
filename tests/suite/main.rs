//! The one integration binary; each module is a kind of promise.

mod contract;
mod parity;
mod support;
