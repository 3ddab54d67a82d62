//! Which store a path or a URL names.

use std::path::Path;

use super::Store;
use crate::error::{Error, Result};

/// What a place is, by its beginning.
enum Kind<'a> {
    Redis(&'a str),
    File(&'a Path),
}

fn kind(place: &Path) -> Result<Kind<'_>> {
    let Some((scheme, _)) = place.to_str().and_then(|text| text.split_once("://")) else {
        return Ok(Kind::File(place));
    };
    let url = place.to_str().unwrap_or_default();
    match scheme {
        "redis" | "redis+unix" | "unix" | "valkey" | "valkey+unix" => Ok(Kind::Redis(url)),
        "rediss" | "valkeys" => Err(Error::config(
            "store",
            format!(
                "`{scheme}://` needs TLS, which is not built in; put a tunnel in front of the server and give redis://"
            ),
        )),
        _ => Err(Error::config("store", format!("`{scheme}://` is no store; give a path, or redis://host:6379/0"))),
    }
}

/// Opens the store at a place, or makes one for a codec's IDs: a path is an SQLite file, `redis://host:6379/0` and
/// `unix:///run/redis.sock` are Redis servers.
///
/// # Errors
/// As for [`SqliteStore::open`](super::SqliteStore::open) and `RedisStore::open`; [`Error::Config`] for another kind of URL, or a kind that
/// this build has not.
pub fn open(place: impl AsRef<Path>, codec_hash: &str, levels: usize) -> Result<Box<dyn Store>> {
    match kind(place.as_ref())? {
        #[cfg(feature = "redis")]
        Kind::Redis(url) => Ok(Box::new(super::RedisStore::open(url, codec_hash, levels)?)),
        #[cfg(feature = "sqlite")]
        Kind::File(path) => Ok(Box::new(super::SqliteStore::open(path, codec_hash, levels)?)),
        #[cfg(not(all(feature = "redis", feature = "sqlite")))]
        other => absent(&other, codec_hash, levels),
    }
}

/// Opens a store that is there, of whatever codec, to look up and delete in.
///
/// # Errors
/// As for [`open`]; [`Error::Store`] if there is none.
pub fn open_existing(place: impl AsRef<Path>) -> Result<Box<dyn Store>> {
    match kind(place.as_ref())? {
        #[cfg(feature = "redis")]
        Kind::Redis(url) => Ok(Box::new(super::RedisStore::open_existing(url)?)),
        #[cfg(feature = "sqlite")]
        Kind::File(path) => Ok(Box::new(super::SqliteStore::open_existing(path)?)),
        #[cfg(not(all(feature = "redis", feature = "sqlite")))]
        other => absent(&other, "", 0),
    }
}

/// A kind of store that was left out of this build.
#[cfg(not(all(feature = "redis", feature = "sqlite")))]
fn absent(kind: &Kind<'_>, _: &str, _: usize) -> Result<Box<dyn Store>> {
    let (what, shown) = match kind {
        Kind::Redis(url) => ("redis", super::without_password(url)),
        Kind::File(path) => ("sqlite", super::without_password(path)),
    };
    Err(Error::config("store", format!("`{shown}` needs the feature `{what}`, which this build has not")))
}
