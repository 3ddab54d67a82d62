//! A store in a Redis server: many machines at once, every batch one script.
//!
//! A namespace is five keys under one hash tag, so that they lie on one node of a cluster:
//!
//! | key | type | what is in it |
//! |---|---|---|
//! | `{namespace}:codec` | hash | `layout`, `hash`, `levels` |
//! | `{namespace}:items` | hash | item key → ID |
//! | `{namespace}:ids` | sorted set, all of one score | ID and item key in one member, which sort by bytes: a prefix is a range |
//! | `{namespace}:next` | hash | codes → the next counter |
//! | `{namespace}:free` | sorted set, all of one score | deleted IDs |
//!
//! and for each process that writes `{namespace}:last:N`, which tells it what came of its last batch, should the answer be lost; it goes
//! after an hour. IDs and codes are big-endian numbers, as in SQLite files.

mod server;

use std::time::{Duration, SystemTime};

use redis::{Cmd, cmd};

use self::server::Server;
use super::password::without_password;
use super::{AssignedId, Reuse, Store, StoredId, check_batch, check_codec, check_levels, from_bytes, to_bytes};
use crate::error::{Error, Result, check_shape};

/// The layout above; another one is refused.
const LAYOUT: &str = "1";

const OPEN: &str = include_str!("open.lua");
const ASSIGN: &str = include_str!("assign.lua");
const DELETE: &str = include_str!("delete.lua");

/// How long a server that went away is waited for, unless told.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most items of a batch: a command has at most 2²⁰ arguments, and everybody else waits while a script runs.
const MAX_BATCH: usize = 250_000;

/// Keys of one question, so that nobody else waits for long.
const PAGE: usize = 10_000;

/// IDs in a Redis server (5 or newer) or Valkey.
///
/// Every batch is one script, so it takes effect whole or not at all, and any number of processes may assign at once. A server that goes
/// away is waited for with growing pauses, a minute in all unless [`set_patience`](Store::set_patience) says otherwise, and the batch
/// is sent again; if it had been applied, the answer is the same.
///
/// **What is acknowledged is as safe as the server is.** With its usual `appendfsync everysec` a server that loses power may forget the last
/// second, and without `appendonly` everything since its last snapshot: IDs that were told could then be given to other items. For IDs
/// that are published set `appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction`; [`risks`](Store::risks) says what
/// is missing.
///
/// A URL is `redis://user:password@host:6379/0` or `unix:///run/redis.sock?db=0`, and `?namespace=NAME` (`sememe` without it) tells several
/// stores of one server apart.
pub struct RedisStore {
    server: Server,
    namespace: String,
    codec_hash: String,
    levels: usize,
    /// Tells this writer's batches from all others'.
    writer: Option<String>,
    batches: u64,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, codec_hash, levels) = (&self.server.shown, &self.codec_hash, self.levels);
        write!(f, "RedisStore {{ place: {place:?}, codec_hash: {codec_hash:?}, levels: {levels} }}")
    }
}

/// A URL without its namespace, and that.
fn split(url: &str) -> Result<(String, String)> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (own, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("namespace="));
    let namespace = match own[..] {
        [] => "sememe",
        [one] => &one["namespace=".len()..],
        _ => return Err(Error::config("store", "the URL has more than one `namespace=`")),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if namespace.is_empty() || !namespace.chars().all(plain) {
        let problem = format!("expected a namespace of letters, digits and -_.: only, got `{namespace}`");
        return Err(Error::config("store", problem));
    }
    let mark = if rest.is_empty() { "" } else { "?" };
    Ok((format!("{base}{mark}{}", rest.join("&")), namespace.to_owned()))
}

impl RedisStore {
    /// Opens a namespace of a server, or makes it for a codec's IDs.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL that is none; [`Error::Store`] for a namespace of another codec (with both hashes), of another layout or
    /// of another program, and if the server is not there.
    pub fn open(url: &str, codec_hash: &str, levels: usize) -> Result<Self> {
        check_levels(levels)?;
        if codec_hash.is_empty() {
            return Err(Error::config("codec_hash", "expected a hash, got nothing"));
        }
        let store = Self::connect(url, codec_hash, levels)?;
        check_codec(&store.server.shown, (&store.codec_hash, store.levels), (codec_hash, levels))?;
        Ok(store)
    }

    /// Opens a namespace that is there, of whatever codec, to look up and delete in.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and [`Error::Store`] for a namespace that nothing was ever assigned in.
    pub fn open_existing(url: &str) -> Result<Self> {
        Self::connect(url, "", 0)
    }

    fn connect(url: &str, codec_hash: &str, levels: usize) -> Result<Self> {
        let (base, namespace) = split(url)?;
        let server = Server::open(&base, without_password(url), PATIENCE)?;
        let mut store = Self { server, namespace, codec_hash: String::new(), levels, writer: None, batches: 0 };
        let mut script = cmd("EVAL");
        script.arg(OPEN).arg(5);
        for part in ["codec", "items", "ids", "next", "free"] {
            script.arg(store.key(part));
        }
        script.arg(LAYOUT).arg(codec_hash).arg(levels);
        let held: (Option<String>, Option<String>, Option<String>) = store.server.call(&script)?;
        let shown = &store.server.shown;
        let (Some(layout), hash, levels) = held else {
            let text = format!("`{shown}` has no namespace `{}`, so nothing was assigned there yet", store.namespace);
            return Err(Error::Store(text));
        };
        if layout != LAYOUT {
            let text = format!("`{shown}` has layout {layout}, this release reads {LAYOUT}; use a newer release");
            return Err(Error::Store(text));
        }
        let levels = levels.and_then(|levels| levels.parse().ok()).filter(|levels| *levels > 0);
        let (Some(hash), Some(levels)) = (hash, levels) else {
            return Err(Error::Store(format!("`{shown}`: `{}` is damaged", store.key("codec"))));
        };
        (store.codec_hash, store.levels) = (hash, levels);
        Ok(store)
    }

    fn key(&self, part: &str) -> String {
        format!("{{{}}}:{part}", self.namespace)
    }

    /// The beginning of a script that writes: its keys, and the codec and batch that it is for.
    fn script(&mut self, text: &str) -> Result<Cmd> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let number: u64 = self.server.call(cmd("INCR").arg(self.key("writers")))?;
                // A server that lost data may count again from an older number.
                let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
                format!("last:{number}-{nanos:x}")
            }
        };
        let mut script = cmd("EVAL");
        script.arg(text).arg(6);
        for part in ["codec", "items", "ids", "next", "free", &writer] {
            script.arg(self.key(part));
        }
        self.writer = Some(writer);
        self.batches += 1;
        script.arg(&self.codec_hash).arg(self.levels).arg(self.batches);
        Ok(script)
    }

    fn damaged(&self) -> Error {
        Error::Store(format!("`{}`: an ID has not the length of {} levels", self.server.shown, self.levels))
    }

    fn id(&self, bytes: &[u8]) -> Result<StoredId> {
        if bytes.len() == 4 * (self.levels + 1) { Ok(from_bytes(bytes)) } else { Err(self.damaged()) }
    }
}

impl Store for RedisStore {
    fn codec_hash(&self) -> &str {
        &self.codec_hash
    }

    fn levels(&self) -> usize {
        self.levels
    }

    fn assign_with(&mut self, items: &[(&str, &[u32])], reuse: Reuse) -> Result<Vec<AssignedId>> {
        let order = check_batch(items, self.levels)?;
        if items.len() > MAX_BATCH {
            let problem =
                format!("a batch of {} items is too much for Redis; give at most {MAX_BATCH} at once", items.len());
            return Err(Error::Data(problem));
        }
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let mut script = self.script(ASSIGN)?;
        script.arg(u8::from(reuse == Reuse::Deleted));
        for at in &order {
            let (key, codes) = items[*at];
            script.arg(key).arg(to_bytes(codes));
        }
        let (flags, ids): (Vec<u8>, Vec<u8>) = self.server.call(&script)?;
        let width = 4 * (self.levels + 1);
        if flags.len() != items.len() || ids.len() != items.len() * width {
            return Err(self.damaged());
        }
        let mut out = vec![None; items.len()];
        for ((at, flag), id) in order.into_iter().zip(flags).zip(ids.chunks_exact(width)) {
            let id = from_bytes(id);
            let drifted = id.codes != items[at].1;
            out[at] = Some(AssignedId { id, new: flag == b'1', drifted });
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>> {
        let mut out = Vec::with_capacity(keys.len());
        for part in keys.chunks(PAGE) {
            let found: Vec<Option<Vec<u8>>> = self.server.call(cmd("HMGET").arg(self.key("items")).arg(part))?;
            for id in found {
                out.push(id.map(|id| self.id(&id)).transpose()?);
            }
        }
        Ok(out)
    }

    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>> {
        if prefix.len() > self.levels {
            check_shape("levels", self.levels, prefix.len(), "prefix to look up")?;
        }
        let bytes = to_bytes(prefix);
        let mut from = [b"[", &bytes[..]].concat();
        // Before the first bytes that are larger than all with this prefix; numbers that are all 2^32 − 1 have none.
        let end = bytes.iter().rposition(|b| *b < u8::MAX).map(|last| {
            let mut end = [b"(", &bytes[..=last]].concat();
            end[last + 1] += 1;
            end
        });
        let end = end.unwrap_or_else(|| b"+".to_vec());
        if prefix.is_empty() {
            from = b"-".to_vec();
        }
        let width = 4 * (self.levels + 1);
        let mut out = Vec::new();
        while out.len() < most {
            let page = PAGE.min(most - out.len());
            let mut range = cmd("ZRANGEBYLEX");
            range.arg(self.key("ids")).arg(&from).arg(&end).arg("LIMIT").arg(0).arg(page);
            let members: Vec<Vec<u8>> = self.server.call(&range)?;
            for member in &members {
                let (id, key) = member.split_at_checked(width).ok_or_else(|| self.damaged())?;
                let key = String::from_utf8(key.to_vec()).map_err(|_| self.damaged())?;
                out.push((from_bytes(id), key));
            }
            match members.last() {
                Some(last) if members.len() == page => from = [b"(", &last[..]].concat(),
                _ => break,
            }
        }
        Ok(out)
    }

    fn delete(&mut self, keys: &[&str]) -> Result<usize> {
        if keys.len() > MAX_BATCH {
            let problem = format!("{} items are too many for Redis; delete at most {MAX_BATCH} at once", keys.len());
            return Err(Error::Data(problem));
        }
        let mut script = self.script(DELETE)?;
        script.arg(keys);
        self.server.call(&script)
    }

    fn count(&mut self) -> Result<u64> {
        let key = self.key("items");
        self.server.call(cmd("HLEN").arg(key))
    }

    fn set_patience(&mut self, patience: Duration) -> Result<()> {
        self.server.patience = patience;
        Ok(())
    }

    /// Nothing, too, where the server does not let its settings be read.
    fn risks(&mut self) -> Vec<String> {
        let mut setting = |name: &str| -> String {
            let pair: Result<Vec<String>> = self.server.call(cmd("CONFIG").arg("GET").arg(name));
            pair.ok().and_then(|pair| pair.into_iter().nth(1)).unwrap_or_default()
        };
        let mut risks = Vec::new();
        if setting("appendonly") == "no" {
            risks.push(
                "with `appendonly no` a crash loses the IDs given out since the last snapshot; set it to yes"
                    .to_owned(),
            );
        } else if ["everysec", "no"].contains(&setting("appendfsync").as_str()) {
            let which = setting("appendfsync");
            let span = if which == "no" { "what the system has not written yet" } else { "the last second of IDs" };
            risks.push(format!("with `appendfsync {which}` a loss of power loses {span}; set it to always"));
        }
        let policy = setting("maxmemory-policy");
        if policy.starts_with("allkeys") && setting("maxmemory") != "0" {
            risks.push(format!("with `maxmemory-policy {policy}` a full server drops IDs; set it to noeviction"));
        }
        risks
    }
}
