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

/// A place without the password that a URL may hold, to be shown.
///
/// ```
/// use sememe::ids::store::without_password;
/// assert_eq!(without_password("redis://me:secret@host:6379/0?namespace=books"), "redis://me:***@host:6379/0?namespace=books");
/// assert_eq!(without_password("unix:///run/redis.sock?pass=secret&db=1"), "unix:///run/redis.sock?pass=***&db=1");
/// assert_eq!(without_password("ids.sqlite"), "ids.sqlite");
/// ```
#[must_use]
pub fn without_password(place: impl AsRef<Path>) -> String {
    let shown = place.as_ref().display().to_string();
    let Some((scheme, rest)) = shown.split_once("://") else { return shown };
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let mut out = format!("{scheme}://");
    // The last @ before the path: one in a password should have been escaped, but is not shown either.
    match before.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            let secret = if user.contains(':') { ":***" } else { "" };
            out.push_str(&format!("{name}{secret}@{host}"));
        }
        None => out.push_str(before),
    }
    if let Some(query) = query {
        let part = |part: &str| match part.split_once('=') {
            Some((name @ ("pass" | "password"), _)) => format!("{name}=***"),
            _ => part.to_owned(),
        };
        out.push('?');
        out.push_str(&query.split('&').map(part).collect::<Vec<_>>().join("&"));
    }
    out
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
        Kind::Redis(url) => ("redis", without_password(url)),
        Kind::File(path) => ("sqlite", without_password(path)),
    };
    Err(Error::config("store", format!("`{shown}` needs the feature `{what}`, which this build has not")))
}
