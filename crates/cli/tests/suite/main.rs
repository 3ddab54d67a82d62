//! The one integration binary: the program as its users meet it.

mod cli;
mod cluster;
mod dialogues;
mod dialogues_python;
#[cfg(feature = "embed-http")]
mod docs;
#[cfg(feature = "embed-http")]
mod embed;
#[cfg(feature = "embed")]
mod embed_local;
#[cfg(feature = "embed-http")]
mod embed_parts;
mod every_kind;
mod files;
mod ids_cli;
mod ids_python;
#[cfg(feature = "sqlite")]
mod ids_store_cli;
#[cfg(feature = "import")]
mod import;
mod judge_cli;
mod library_words;
#[cfg(all(feature = "serve", feature = "sqlite"))]
mod packaging;
mod pipeline_run;
mod prep;
mod recommend_cli;
mod recommend_compare;
#[cfg(unix)]
mod recommend_kill;
#[cfg(feature = "language")]
mod recommend_language;
mod recommend_wishes;
mod retrain;
mod rooms;
mod rqvae_cli;
#[cfg(all(unix, feature = "serve", feature = "sqlite"))]
mod serve;
#[cfg(all(target_os = "linux", feature = "serve", feature = "sqlite"))]
mod serve_malformed;
