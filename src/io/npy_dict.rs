//! The header of a `.npy` file: a Python literal, read by a parser that knows no more than such headers hold.

/// A Python literal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Int(i128),
    Bool(bool),
    None,
    /// A tuple or a list.
    Many(Vec<Literal>),
}

/// Nested tuples and lists beyond this depth are refused: structured dtypes need three.
const MAX_DEPTH: usize = 16;

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

/// Parses `{'key': literal, …}` followed by nothing but white space.
///
/// # Errors
/// The problem and the byte where it was found, as text; also for a key that stands twice.
pub(crate) fn parse_dict(text: &[u8]) -> Result<Vec<(String, Literal)>, String> {
    let mut p = Parser { text, at: 0 };
    let mut entries: Vec<(String, Literal)> = Vec::new();
    p.expect(b'{')?;
    while !p.take(b'}') {
        let Literal::Text(key) = p.literal(0)? else { return Err(p.wrong("a quoted key")) };
        p.expect(b':')?;
        let value = p.literal(0)?;
        if entries.iter().any(|(k, _)| *k == key) {
            return Err(format!("the key '{key}' stands twice in the header"));
        }
        entries.push((key, value));
        if !p.take(b',') {
            p.expect(b'}')?;
            break;
        }
    }
    p.space();
    if p.at < text.len() { Err(p.wrong("the end of the header")) } else { Ok(entries) }
}

impl Parser<'_> {
    fn wrong(&self, expected: &str) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = String::from_utf8_lossy(&rest[..rest.len().min(12)]).escape_debug().to_string();
        format!("expected {expected} at byte {} of the header, found `{found}`", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) { Ok(()) } else { Err(self.wrong(&format!("`{}`", byte as char))) }
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the header nests deeper than {MAX_DEPTH}"));
        }
        self.space();
        match self.peek() {
            Some(quote @ (b'\'' | b'"')) => self.quoted(quote),
            Some(b'(') => self.many(b')', depth),
            Some(b'[') => self.many(b']', depth),
            Some(b'-' | b'0'..=b'9') => self.int(),
            Some(b'T' | b'F' | b'N') => self.word(),
            _ => Err(self.wrong("a string, a number, True, False or a tuple")),
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<Literal, String> {
        self.at += 1;
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|b| *b == quote).ok_or_else(|| self.wrong("a closing quote"))?;
        let inside = &rest[..end];
        if let Some(i) = inside.iter().position(|b| *b == b'\\' || *b == b'\n') {
            self.at += i;
            return Err(self.wrong("a string without escapes"));
        }
        let text = std::str::from_utf8(inside).map_err(|_| self.wrong("a string in UTF-8"))?.to_owned();
        self.at += end + 1;
        Ok(Literal::Text(text))
    }

    fn int(&mut self) -> Result<Literal, String> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        let Ok(value) = digits.parse() else {
            self.at = start;
            return Err(self.wrong("an integer below 2^127"));
        };
        // Python 2 wrote long integers as `3L`.
        self.at += usize::from(self.peek() == Some(b'L'));
        Ok(Literal::Int(value))
    }

    fn word(&mut self) -> Result<Literal, String> {
        let words = [("True", Literal::Bool(true)), ("False", Literal::Bool(false)), ("None", Literal::None)];
        for (word, value) in words {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("True, False or None"))
    }

    fn many(&mut self, close: u8, depth: usize) -> Result<Literal, String> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.literal(depth + 1)?);
            if !self.take(b',') {
                self.expect(close)?;
                break;
            }
        }
        Ok(Literal::Many(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_nothing_beyond_it() {
        let text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n";
        let got = parse_dict(text).expect("a header as numpy writes it");
        let shape = Literal::Many(vec![Literal::Int(3), Literal::Int(4)]);
        assert_eq!(got[0], ("descr".into(), Literal::Text("<f4".into())));
        assert_eq!(got[1], ("fortran_order".into(), Literal::Bool(false)));
        assert_eq!(got[2], ("shape".into(), shape));
        assert_eq!(parse_dict(b"{'shape': (3L,)}").expect("python 2")[0].1, Literal::Many(vec![Literal::Int(3)]));
        for bad in [
            &b"{'a': __import__('os')}"[..],
            b"{'a': 1} x",
            b"{'a': 1, 'a': 2}",
            b"{'a': 'x\\n'}",
            b"{'a': 'x",
            b"{'a': (1 2)}",
            b"{'a' 1}",
            b"{a: 1}",
            b"{'a': 1e3}",
            b"{'a': -}",
            b"{",
            b"",
        ] {
            assert!(parse_dict(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let deep = format!("{{'a': {}", "(".repeat(100_000));
        assert!(parse_dict(deep.as_bytes()).expect_err("too deep").contains("deeper than 16"));
    }
}
