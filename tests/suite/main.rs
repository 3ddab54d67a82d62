//! The one integration binary; each module is a kind of promise.

mod balance;
mod baselines;
mod circles;
mod codec;
#[cfg(feature = "gpu")]
mod contract;
mod distributed;
mod eval;
mod hostile;
mod ids_export;
mod ids_format;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod ids_kill;
mod ids_layout;
#[cfg(all(feature = "redis", unix))]
mod ids_redis;
mod ids_resolve;
mod ids_resolve_kinds;
mod ids_store;
mod ids_tokenizer;
mod ids_trie;
mod io;
mod io_codes;
mod io_folder;
mod io_rows;
mod judge;
mod network_codec;
mod network_file;
mod parity;
mod product;
mod quantisers;
mod real;
mod regression;
mod retrain;
mod rqvae;
mod support;
mod tensors;
mod text_files;
