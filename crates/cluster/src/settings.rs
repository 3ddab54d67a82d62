//! Settings of a process.

use sememe::{Error, Result};

/// A number of bytes, as in `4GiB`, `512 MB` or `1000000`.
///
/// ```
/// assert_eq!(sememe_cluster::parse_bytes("4GiB")?, 4 << 30);
/// assert_eq!(sememe_cluster::parse_bytes("1.5 MB")?, 1_500_000);
/// assert!(sememe_cluster::parse_bytes("4 cats").is_err());
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for anything else, and for 0.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let wrong = || Error::config("memory", format!("expected bytes as in 4GiB, got `{text}`"));
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number * unit as f64;
    if (1.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// How many threads work on vectors in this process, in all tasks together; once, before the first query.
///
/// # Errors
/// [`Error::Config`] once they are at work.
pub fn use_threads(threads: usize) -> Result<()> {
    let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    built.map_err(|e| Error::config("threads", e.to_string()))
}
