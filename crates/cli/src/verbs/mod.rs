//! The verbs, one room each: its flags, its plan, its work. None uses another.

pub mod align;
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub mod assign;
pub mod churn;
pub mod cluster;
pub mod completions;
pub mod config;
pub mod decode;
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub mod delete;
#[cfg(feature = "demo")]
pub mod demo;
pub mod dialogues;
pub mod doctor;
#[cfg(any(feature = "embed", feature = "embed-http"))]
pub mod embed;
pub mod encode;
pub mod eval;
pub mod export;
pub mod format;
#[cfg(feature = "import")]
pub mod import;
pub mod init;
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub mod lookup;
pub mod parse;
pub mod prep;
pub mod recommend;
pub mod resolve;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod show;
pub mod sweep;
pub mod train;
pub mod trie;
