//! The one way to read rows in `.jsonl`.

use std::io::BufRead;
use std::path::Path;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json_repair::{Repair, repair};
use super::lines::{Lines, json_bad};
use super::text_file::{open_text, text_extension};
use crate::error::{Error, Result};

/// Calls `each` with every line of a `.jsonl` or `.jsonl.gz`; `what` opens the message for any other file.
///
/// # Errors
/// If the file cannot be read, has another extension, holds a line that is not UTF-8, or `each` fails.
pub fn each_json_line(path: &Path, what: &str, each: &mut dyn FnMut(u64, &str) -> Result<()>) -> Result<()> {
    // What is missing is said to be missing, whatever its name.
    let reader = open_text(path)?;
    match text_extension(path).as_str() {
        "jsonl" | "ndjson" => each_line(reader, path, each),
        other => Err(Error::format(path, format!("{what}, got `.{other}`"))),
    }
}

fn each_line(reader: impl BufRead, path: &Path, each: &mut dyn FnMut(u64, &str) -> Result<()>) -> Result<()> {
    let mut lines = Lines::new(reader, path);
    while let Some((number, text)) = lines.next()? {
        each(number, text)?;
    }
    Ok(())
}

/// Calls `each` with the number and the object of every line of a `.jsonl` or `.jsonl.gz`, in the file's order, in memory for one line.
///
/// Read as people's programs write it: `NaN` and `Infinity` are null, half of a surrogate pair is U+FFFD, and a whole number keeps all
/// of its digits.
///
/// # Errors
/// [`Error::Format`] with the line for what is no JSON or no object, and with what helps for Python's literals; what `each` returns; and
/// what the system does.
pub fn each_json_object(
    path: impl AsRef<Path>,
    each: &mut dyn FnMut(u64, &JsonObject<'_>) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    each_json_line(path, "rows are read from .jsonl or .jsonl.gz", &mut |number, text| {
        with_object(path, number, text, &mut |object| each(number, object))
    })
}

/// One line as an object.
fn with_object(
    path: &Path,
    number: u64,
    text: &str,
    each: &mut dyn FnMut(&JsonObject<'_>) -> Result<()>,
) -> Result<()> {
    let repaired;
    let object = match serde_json::from_str::<JsonObject<'_>>(text) {
        Ok(object) => object,
        Err(e) => {
            repaired = repaired_line(path, number, text, &e)?;
            serde_json::from_str(&repaired).map_err(|e| line_bad(path, number, &repaired, &e))?
        }
    };
    each(&object)
}

/// One line as a record of known fields, read as [`each_json_object`] reads.
///
/// # Errors
/// [`Error::Format`] with the line.
pub fn json_row<T: DeserializeOwned>(path: &Path, number: u64, text: &str) -> Result<T> {
    serde_json::from_str(text).or_else(|e| {
        let text = repaired_line(path, number, text, &e)?;
        serde_json::from_str(&text).map_err(|e| line_bad(path, number, &text, &e))
    })
}

/// Repairs a line that is not valid JSON, where its meaning is clear.
pub(super) fn repaired_line(path: &Path, number: u64, text: &str, e: &serde_json::Error) -> Result<String> {
    match repair(text) {
        Repair::Text(text) => Ok(text),
        Repair::Python if !e.is_data() => Err(Error::format(
            path,
            format!(
                "line {number}: a Python literal, not JSON; in Python, write every line with \
                 json.dumps(ast.literal_eval(line))"
            ),
        )),
        _ => Err(line_bad(path, number, text, e)),
    }
}

fn line_bad(path: &Path, number: u64, text: &str, e: &serde_json::Error) -> Error {
    match text.as_bytes().first() {
        Some(b'[') if e.is_data() || e.is_eof() => Error::format(
            path,
            format!("line {number}: expected an object, got a list; in .jsonl every line is one object"),
        ),
        Some(b'{') => json_bad(path, number, e),
        _ if e.is_data() => Error::format(path, format!("line {number}: expected an object")),
        _ => json_bad(path, number, e),
    }
}

/// The fields of an object, in its order; values are read when they are asked for.
#[derive(Clone, Debug)]
pub struct JsonObject<'a> {
    fields: Vec<(String, &'a RawValue)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        Ok(Self { fields: deserializer.deserialize_map(Fields)? })
    }
}

/// A value of a [`JsonObject`].
#[derive(Clone, Debug)]
pub enum JsonValue<'a> {
    /// `null`, and what stands for no number.
    Null,
    /// `true` or `false`.
    Truth(bool),
    /// A whole number as it is written, however long.
    Integer(&'a str),
    /// Any other number, in its shortest form.
    Number(String),
    /// Text.
    Text(String),
    /// A list, its items not yet read.
    List(Vec<JsonItem<'a>>),
    /// An object.
    Object(JsonObject<'a>),
}

/// An item of a list, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct JsonItem<'a>(&'a RawValue);

impl<'a> JsonItem<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, for a message: a number that is too large, say.
    pub fn value(&self) -> Result<JsonValue<'a>, String> {
        JsonValue::read(self.0)
    }
}

impl<'a> JsonValue<'a> {
    fn read(raw: &'a RawValue) -> Result<Self, String> {
        let text = raw.get();
        let bad = |e: serde_json::Error| format!("not readable ({e})");
        Ok(match text.as_bytes().first() {
            Some(b'n') => JsonValue::Null,
            Some(b't' | b'f') => JsonValue::Truth(text == "true"),
            Some(b'"') => JsonValue::Text(match serde_json::from_str(text) {
                Ok(text) => text,
                Err(e) => match repair(text) {
                    Repair::Text(text) => serde_json::from_str(&text).map_err(bad)?,
                    _ => return Err(bad(e)),
                },
            }),
            Some(b'[') => JsonValue::List(
                serde_json::from_str::<Vec<&RawValue>>(text).map_err(bad)?.into_iter().map(JsonItem).collect(),
            ),
            Some(b'{') => JsonValue::Object(serde_json::from_str(text).map_err(bad)?),
            _ if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') => JsonValue::Integer(text),
            _ => JsonValue::Number(serde_json::from_str::<serde_json::Number>(text).map_err(bad)?.to_string()),
        })
    }

    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            JsonValue::Null => "null",
            JsonValue::Truth(_) => "a truth value",
            JsonValue::Integer(_) | JsonValue::Number(_) => "a number",
            JsonValue::Text(_) => "text",
            JsonValue::List(_) => "a list",
            JsonValue::Object(_) => "an object",
        }
    }

    /// A name: text, or a whole number as its digits.
    #[must_use]
    pub fn as_key(&self) -> Option<&str> {
        match self {
            JsonValue::Text(text) => Some(text),
            JsonValue::Integer(digits) => Some(digits),
            _ => None,
        }
    }
}

impl<'a> JsonObject<'a> {
    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Some of the names, for messages.
    #[must_use]
    pub fn listed(&self) -> String {
        let names: Vec<&str> = self.names().take(20).collect();
        let more = self.fields.len().saturating_sub(20);
        format!("`{}`{}", names.join("`, `"), if more > 0 { format!(" and {more} more") } else { String::new() })
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        // As other readers have it, the last of one name counts.
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, raw)| *raw)
    }

    /// The field of exactly this name.
    ///
    /// # Errors
    /// What is wrong with its value, for a message.
    pub fn get(&self, name: &str) -> Result<Option<JsonValue<'a>>, String> {
        self.raw(name).map(JsonValue::read).transpose()
    }

    /// The field of this name, or within objects: `details.brand` is the field `brand` of the object in `details`, unless there is a
    /// field `details.brand`. Of a list of objects it is the list of their fields.
    ///
    /// # Errors
    /// What is wrong with its value, for a message.
    pub fn reach(&self, path: &str) -> Result<Option<JsonValue<'a>>, String> {
        if let Some(raw) = self.raw(path) {
            return JsonValue::read(raw).map(Some);
        }
        for (dot, _) in path.match_indices('.') {
            let rest = &path[dot + 1..];
            let found = match self.get(&path[..dot])? {
                Some(JsonValue::Object(object)) => object.reach(rest)?,
                Some(JsonValue::List(items)) => within_items(&items, rest)?,
                _ => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The fields of objects in a list.
fn within_items<'a>(items: &[JsonItem<'a>], path: &str) -> Result<Option<JsonValue<'a>>, String> {
    let mut found = Vec::new();
    for item in items {
        if let JsonValue::Object(object) = item.value()? {
            found.extend(object.reach_raw(path));
        }
    }
    Ok(if found.is_empty() { None } else { Some(JsonValue::List(found)) })
}

impl<'a> JsonObject<'a> {
    /// A field within objects only, as it is written.
    fn reach_raw(&self, path: &str) -> Option<JsonItem<'a>> {
        if let Some(raw) = self.raw(path) {
            return Some(JsonItem(raw));
        }
        path.match_indices('.').find_map(|(dot, _)| match self.get(&path[..dot]) {
            Ok(Some(JsonValue::Object(object))) => object.reach_raw(&path[dot + 1..]),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, path: &str) -> String {
        let object: JsonObject<'_> = serde_json::from_str(text).expect(text);
        fn show(value: &JsonValue<'_>) -> String {
            match value {
                JsonValue::List(items) => {
                    let items: Vec<String> = items.iter().map(|item| show(&item.value().expect("value"))).collect();
                    format!("[{}]", items.join(","))
                }
                JsonValue::Number(text) => text.clone(),
                other => other.as_key().map_or(other.kind().to_owned(), str::to_owned),
            }
        }
        object.reach(path).expect("readable").map_or("nothing".into(), |value| show(&value))
    }

    #[test]
    fn dots_reach_into_objects_and_lists_of_them() {
        let text =
            r#"{"a.b":1,"a":{"b":2,"c":{"d":3},"c.d":4,"":5},"l":[{"n":"x","m":{"k":6}},7,{"n":"y"},{}],"z":[1]}"#;
        for (path, want) in [
            ("a.b", "1"),
            ("a.c.d", "4"),
            ("a.c", "an object"),
            ("a.", "5"),
            ("a.x", "nothing"),
            ("l.n", "[x,y]"),
            ("l.m.k", "[6]"),
            ("z.n", "nothing"),
            (".", "nothing"),
            ("x", "nothing"),
        ] {
            assert_eq!(shown(text, path), want, "{path}");
        }
    }

    #[test]
    fn whole_numbers_keep_their_digits() {
        let text = r#"{"a":18446744073709551616,"b":-1,"c":1.50,"d":1e3,"e":-0,"f":"\ud83d!"}"#;
        let values = ["a", "b", "c", "d", "e", "f"].map(|name| shown(text, name));
        assert_eq!(values, ["18446744073709551616", "-1", "1.5", "1000.0", "-0", "\u{FFFD}!"]);
    }

    #[test]
    fn nesting_has_no_cost_and_no_end() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        match serde_json::from_str::<JsonObject<'_>>(&deep) {
            Ok(object) => assert_eq!(object.get("a").expect("a list").expect("a field").kind(), "a list"),
            Err(e) => assert!(e.to_string().contains("recursion limit"), "{e}"),
        }
    }
}
