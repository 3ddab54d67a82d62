//! Semantic IDs past one machine, on DataFusion and Ballista.
//!
//! [`register`] gives a session four SQL functions:
//!
//! | function | result |
//! |---|---|
//! | `semantic_id(embedding, codec, hash [, name])` | codes of a row, `List<UInt32>` of the codec's levels |
//! | `semantic_decode(codes, codec, hash)` | a row from codes, `List<Float32>` of the codec's dimensions |
//! | `semantic_key(codes)` | codes as bytes, which sort, group and join like the codes |
//! | `semantic_round(embedding, round, hash [, name])` | an aggregate: one round of a [distributed training](sememe::distributed) |
//!
//! `codec` is where the codec lies, a path or `s3://bucket/key`, and `hash` its [content hash](sememe::Codec::content_hash), as `sememe show`
//! prints it; both are literals. A process reads a codec once. A codec with another hash fails the query and the error has both hashes, so
//! that no executor encodes with an older file of the same name. `name` is a column that names a row in errors, such as its key.
//!
//! [`jobs`] are whole works: [encode](jobs::encode), [fit](jobs::fit), [assign](jobs::assign) and [evaluate](jobs::evaluate) parquet files,
//! on the cores of this machine or over a cluster whose scheduler and executors [`serve`] starts. Everything that they write is written
//! whole or not at all, and an executor that is killed changes no result.
//!
//! ```
//! use datafusion::prelude::SessionContext;
//! use sememe::{Codec, Device, Matrix, RqKMeans};
//!
//! # let folder = tempfile::tempdir()?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let rows = Matrix::from_vec(4, 2, vec![0.0, 0.0, 0.0, 1.0, 9.0, 9.0, 9.0, 8.0])?;
//! let config = RqKMeans { codebook_sizes: vec![2, 2], ..RqKMeans::default() };
//! let codec = Codec::train(&rows, &config, &Device::cpu(), &())?;
//! let path = folder.path().join("codec.safetensors");
//! codec.save(&path)?;
//!
//! let context = SessionContext::new();
//! sememe_cluster::register(&context);
//! let sql = format!("select semantic_id([9.0, 8.0], '{}', '{}')", path.display(), codec.content_hash());
//! let found = context.sql(&sql).await?.collect().await?;
//! assert_eq!(found[0].num_rows(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cached;
mod embeddings;
mod failure;
mod functions;
mod input;
pub mod jobs;
mod output;
pub mod serve;
mod session;
mod settings;
mod storage;
mod table;

pub use functions::register;
pub use session::{Session, SessionOptions};
pub use settings::{parse_bytes, use_threads};
pub use storage::configure_stores;
