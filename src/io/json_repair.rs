//! Repairs what Python writes and JSON does not allow: `NaN`, lone surrogates, and `str()` of a dict in place of `json.dumps`.

/// The outcome of repairing a text that is not valid JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing: it is as it was.
    None,
    /// It is a Python literal: `{'title': None}`.
    Python,
    /// JSON, with null where `NaN`, `Infinity` and `-Infinity` stood, and U+FFFD for every half of a surrogate pair.
    Text(String),
}

/// Goes over a text once.
pub(super) fn repair(text: &str) -> Repair {
    let bytes = text.as_bytes();
    let mut out = String::new();
    // What lies before this is in `out`.
    let mut copied = 0;
    let mut replace = |from: usize, to: usize, with: &str| {
        out.push_str(&text[copied..from]);
        out.push_str(with);
        copied = to;
    };
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        let rest = &bytes[at..];
        at += match rest[0] {
            b'"' => {
                quoted = !quoted;
                1
            }
            b'\\' if quoted => match code_unit(rest) {
                None => 2,
                Some(0xD800..=0xDBFF) if matches!(code_unit(&rest[6..]), Some(0xDC00..=0xDFFF)) => 12,
                Some(0xD800..=0xDFFF) => {
                    replace(at, at + 6, "\\ufffd");
                    6
                }
                Some(_) => 6,
            },
            b'\'' if !quoted => return Repair::Python,
            _ if quoted || (at > 0 && bytes[at - 1].is_ascii_alphanumeric()) => 1,
            _ if ["None", "True", "False"].iter().any(|word| rest.starts_with(word.as_bytes())) => {
                return Repair::Python;
            }
            _ => match ["NaN", "Infinity", "-Infinity"].iter().find(|word| rest.starts_with(word.as_bytes())) {
                Some(word) => {
                    replace(at, at + word.len(), "null");
                    word.len()
                }
                None => 1,
            },
        };
    }
    if copied == 0 {
        return Repair::None;
    }
    out.push_str(&text[copied..]);
    Repair::Text(out)
}

/// The code unit of `\u1234` at the beginning of these bytes.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok().filter(|d| !d.starts_with('+'))?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_becomes_json() {
        let text = |text: &str| Repair::Text(text.to_owned());
        assert_eq!(repair(r#"{"a":NaN,"b":[Infinity, -Infinity]}"#), text(r#"{"a":null,"b":[null, null]}"#));
        assert_eq!(repair(r#"{"a":"NaN \" NaN","b":NaN}"#), text(r#"{"a":"NaN \" NaN","b":null}"#));
        assert_eq!(
            repair(r#"["\ud83d", "\ud83d\ude00", "\ude00 \ud83dx"]"#),
            text(r#"["\ufffd", "\ud83d\ude00", "\ufffd \ufffdx"]"#)
        );
        assert_eq!(repair(r#""\ud83d\ud83d\ude00""#), text(r#""\ufffd\ud83d\ude00""#));
        for python in ["{'a': 1}", r#"{"it's": 'x'}"#, r#"{"a": None}"#, r#"{"a": [True]}"#, "[False]"] {
            assert_eq!(repair(python), Repair::Python, "{python}");
        }
        for same in
            ["", "{", r#"{"a":"it's None, NaN"}"#, r#"{"a":xNaN}"#, r#""\"#, r#""\u12"#, r#""\\ud83d""#, r#""\u+123""#]
        {
            assert_eq!(repair(same), Repair::None, "{same}");
        }
    }
}
