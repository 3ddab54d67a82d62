//! The one integration binary; each module is a kind of promise.

mod dialogues;
#[cfg(feature = "embed")]
mod embed_local;
mod prep;
