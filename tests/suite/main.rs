//! The one integration binary; each module is a kind of promise.

mod balance;
#[cfg(unix)]
mod browser;
#[cfg(unix)]
mod chromium;
#[cfg(feature = "cli")]
mod cli;
mod codec;
#[cfg(feature = "gpu")]
mod contract;
mod dialogues;
#[cfg(feature = "cli")]
mod dialogues_python;
#[cfg(all(feature = "cli", feature = "embed-http"))]
mod embed;
#[cfg(all(feature = "cli", feature = "embed"))]
mod embed_local;
#[cfg(all(feature = "cli", feature = "embed"))]
mod embed_oracle;
#[cfg(all(feature = "cli", feature = "embed-http"))]
mod embed_server;
mod eval;
#[cfg(feature = "gpu")]
mod gradients;
#[cfg(feature = "gpu")]
mod gradients_update;
mod hostile;
#[cfg(feature = "cli")]
mod ids_cli;
mod ids_export;
mod ids_format;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod ids_kill;
mod ids_layout;
#[cfg(feature = "cli")]
mod ids_python;
#[cfg(all(feature = "redis", unix))]
mod ids_redis;
mod ids_resolve;
mod ids_store;
#[cfg(all(feature = "cli", feature = "sqlite"))]
mod ids_store_cli;
mod ids_tokenizer;
mod ids_trie;
mod io;
mod judge;
#[cfg(feature = "cli")]
mod judge_cli;
mod network_codec;
mod network_file;
mod page;
#[cfg(feature = "gpu")]
mod parity;
#[cfg(feature = "pipeline")]
mod pipeline_config;
#[cfg(all(feature = "cli", feature = "pipeline"))]
mod pipeline_run;
mod prep;
#[cfg(feature = "gpu")]
mod quantisers;
mod real;
mod recall;
#[cfg(all(feature = "redis", unix))]
mod redis_server;
mod regression;
mod retrain;
mod rqvae;
#[cfg(feature = "cli")]
mod rqvae_cli;
#[cfg(feature = "gpu")]
mod support;
#[cfg(feature = "gpu")]
mod tensors;
mod track;
mod track_lines;
mod tracking;
