//! Values of templates as Python's `json.dumps` writes them, spaces and numbers included.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use std::fmt::Write as _;

/// Values nested deeper are refused: a template can make one that holds itself.
const MOST_DEPTH: usize = 128;

/// The filter `tojson` as transformers defines it, which escapes nothing for HTML.
pub(super) fn tojson(state: &State, value: &Value, ensure_ascii: Option<Value>, args: Kwargs) -> Result<String, Error> {
    let named = |name: &str| args.get::<Option<Value>>(name).map(|v| v.filter(|v| !v.is_none()));
    let ascii = named("ensure_ascii")?.or(ensure_ascii).is_some_and(|v| v.is_true());
    let indent = named("indent")?.map(|indent| indent_text(&indent)).transpose()?;
    let separators = named("separators")?.map(|pair| separators(&pair)).transpose()?;
    let sort_keys = named("sort_keys")?.is_some_and(|v| v.is_true());
    args.assert_all_used()?;
    let usual = (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    let mut writer =
        PythonJson { state, out: String::new(), ascii, indent, separators: separators.unwrap_or(usual), sort_keys };
    writer.value(value, 0)?;
    Ok(writer.out)
}

fn bad(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

fn indent_text(indent: &Value) -> Result<String, Error> {
    match (indent.as_str(), indent.as_i64()) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(n)) if n <= 1024 => Ok(" ".repeat(n.max(0) as usize)),
        _ => Err(bad(format!("tojson: expected an indent of at most 1024 blanks or a text, got {indent}"))),
    }
}

fn separators(pair: &Value) -> Result<(String, String), Error> {
    let texts: Vec<Value> = pair.try_iter()?.take(3).collect();
    match texts.iter().map(Value::as_str).collect::<Option<Vec<_>>>().as_deref() {
        Some([item, key]) => Ok(((*item).to_owned(), (*key).to_owned())),
        _ => Err(bad(format!("tojson: expected two texts as separators, got {pair}"))),
    }
}

struct PythonJson<'a, 'e> {
    state: &'a State<'a, 'e>,
    out: String,
    ascii: bool,
    /// Of one level; without it everything is one line.
    indent: Option<String>,
    /// Between items, and behind a key.
    separators: (String, String),
    sort_keys: bool,
}

impl PythonJson<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MOST_DEPTH {
            return Err(bad(format!("tojson: a value is nested deeper than {MOST_DEPTH} levels")));
        }
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)?),
            ValueKind::String => self.text(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => return Err(bad(format!("tojson: a value of kind {kind} has no JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut any = false;
        for item in list.try_iter()? {
            self.lead(any, depth + 1)?;
            any = true;
            self.value(&item, depth + 1)?;
        }
        self.close(any, depth, ']')
    }

    fn map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<(String, Value)> = Vec::new();
        for key in map.try_iter()? {
            self.state.consume_fuel(1)?;
            let text = match key.kind() {
                ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                ValueKind::None => "null".to_owned(),
                ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
                ValueKind::Number => number(&key)?,
                kind => return Err(bad(format!("tojson: a key of kind {kind} has no JSON"))),
            };
            keys.push((text, key));
        }
        if self.sort_keys {
            keys.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        for (at, (text, key)) in keys.iter().enumerate() {
            self.lead(at > 0, depth + 1)?;
            self.text(text)?;
            self.out.push_str(&self.separators.1);
            self.value(&map.get_item(key)?, depth + 1)?;
        }
        self.close(!keys.is_empty(), depth, '}')
    }

    /// What stands before an item.
    fn lead(&mut self, another: bool, depth: usize) -> Result<(), Error> {
        if another {
            self.out.push_str(&self.separators.0);
        }
        self.line(depth)
    }

    fn close(&mut self, any: bool, depth: usize, bracket: char) -> Result<(), Error> {
        if any {
            self.line(depth)?;
        }
        self.out.push(bracket);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = &self.indent else { return Ok(()) };
        self.state.consume_fuel((indent.len() * depth / 64) as u64)?;
        self.out.push('\n');
        for _ in 0..depth {
            self.out.push_str(indent);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel((text.len() / 64) as u64)?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// A number as Python writes it: floats with the fewest digits that give them back, with an exponent where Python has one.
fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value.clone())?;
    Ok(match number {
        n if n.is_nan() => "NaN".into(),
        n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        n => python_float(n),
    })
}

fn python_float(number: f64) -> String {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_are_written_as_python_does() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e300, "-2.5e+300"),
        ];
        for (number, want) in cases {
            assert_eq!(python_float(number), want);
        }
    }
}
