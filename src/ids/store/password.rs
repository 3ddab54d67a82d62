//! Places of stores as they may be shown.

use std::path::Path;

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
