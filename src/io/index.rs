//! `index.json`: each item's ID as a list of tokens, as LC-Rec and its followers keep it.

use std::collections::HashSet;
use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::lines::json_bad_in;
use super::window::Window;
use crate::error::{Error, Result};

/// Calls `each` with the key and the tokens of every item, in the order of the file: `{"key": ["<a_12>", "<b_5>"], …}`. In memory for one
/// item, and all keys.
///
/// # Errors
/// If the file cannot be read, is something else, or has a key twice; an error of `each` becomes an [`Error::Format`] with the file and the
/// key, [`Error::Interrupted`] stays what it is.
pub fn read_index(path: impl AsRef<Path>, each: &mut dyn FnMut(&str, &[String]) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let w = Window::open(path)?;
    let mut failure = None;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, w.reader()));
    let visitor = Items { each, failure: &mut failure, seen: HashSet::new() };
    let read = visitor.deserialize(&mut json).and_then(|()| json.end());
    match failure {
        Some(e @ Error::Interrupted(_)) => Err(e),
        Some(e) => Err(w.bad(e)),
        None => read.map_err(|e| json_bad_in(path, &e)),
    }
}

struct Items<'a> {
    each: &'a mut dyn FnMut(&str, &[String]) -> Result<()>,
    /// What serde's own errors cannot carry.
    failure: &'a mut Option<Error>,
    seen: HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists of tokens, one an item")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        while let Some(key) = map.next_key::<String>()? {
            let tokens: Vec<String> = map.next_value()?;
            let done = match (self.each)(&key, &tokens) {
                Ok(()) if self.seen.insert(key.clone()) => Ok(()),
                Ok(()) => Err(Error::Data(format!("the key `{key}` stands twice; every item has one ID"))),
                Err(Error::Interrupted(why)) => Err(Error::Interrupted(why)),
                Err(e) => Err(Error::Data(format!("item `{key}`: {e}"))),
            };
            if let Err(e) = done {
                *self.failure = Some(e);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
