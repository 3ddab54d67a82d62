//! Checks the quoting of a CSV file before it reaches the parser, which accepts anything: an unclosed quote would turn
//! all following rows into one field.

use std::io::{self, Read};

/// Longer records are refused: a quote that is not closed would hold the rest of the file in memory.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// A quoting error, with its line.
#[derive(Debug)]
pub(super) struct QuoteFault(String);

impl std::fmt::Display for QuoteFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QuoteFault {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte of a record.
    Record,
    /// Before the first byte of another field.
    Field,
    /// Within a field that no quote opened: quotes are letters.
    Plain,
    Quoted,
    /// Behind a quote within a quoted field: it closes the field, or is the first of two.
    Closed,
}

/// Passes bytes on, and fails at a quote that cannot be meant so:
///
/// - a quoted field must end in a quote before a delimiter or the line's end; a quote within it is doubled;
/// - in a file of one column a blank line cannot be told from an empty field, so it may only stand at the end.
///
/// A quote within a field that does not begin with one is a letter (`5" disk`).
pub(super) struct QuoteChecker<R> {
    inner: R,
    delimiter: u8,
    /// Whether quotes are more than letters.
    quoting: bool,
    state: State,
    line: u64,
    /// The line in which the quoted field began.
    opened: u64,
    record_bytes: u64,
    /// Fields of the first record, once it has ended.
    columns: Option<u64>,
    fields: u64,
    /// Whether anything stands in this line so far.
    written: bool,
    /// The first of the blank lines just passed.
    blank: Option<u64>,
}

impl<R: Read> QuoteChecker<R> {
    pub(super) fn new(inner: R, delimiter: u8, quoting: bool) -> Self {
        Self {
            inner,
            delimiter,
            quoting,
            state: State::Record,
            line: 1,
            opened: 0,
            record_bytes: 0,
            columns: None,
            fields: 1,
            written: false,
            blank: None,
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), String> {
        if let (State::Record, Some(blank), false) = (self.state, self.blank, matches!(byte, b'\n' | b'\r')) {
            let way_out = "in a file of one column an empty field is written `\"\"`";
            return Err(format!("line {blank} is blank, with more after it; {way_out}"));
        }
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::Closed,
            (State::Quoted, _) => State::Quoted,
            (State::Closed, b'"') => State::Quoted,
            (State::Record, b'\n') if !self.written && self.columns == Some(1) => {
                self.blank.get_or_insert(self.line);
                State::Record
            }
            (State::Record, b'\n' | b'\r') => State::Record,
            (_, b'\n' | b'\r') => {
                self.columns.get_or_insert(self.fields);
                (self.fields, self.record_bytes) = (1, 0);
                State::Record
            }
            (_, byte) if byte == self.delimiter => {
                self.fields += 1;
                State::Field
            }
            (State::Record | State::Field, b'"') if self.quoting => {
                self.opened = self.line;
                State::Quoted
            }
            (State::Closed, _) => return Err(self.badly_closed(byte)),
            _ => State::Plain,
        };
        self.record_bytes += 1;
        if self.record_bytes > MAX_RECORD_BYTES {
            let (begun, quoted) = (self.opened, matches!(self.state, State::Quoted | State::Closed));
            return Err(match quoted {
                true => format!("line {begun}: a quote is not closed within {MAX_RECORD_BYTES} bytes"),
                false => format!("line {} has more than {MAX_RECORD_BYTES} bytes", self.line),
            });
        }
        self.written |= !matches!(byte, b'\n' | b'\r');
        if byte == b'\n' {
            (self.line, self.written) = (self.line + 1, false);
        }
        Ok(())
    }

    /// The error for a quote in a quoted field that neither ends it nor is doubled.
    fn badly_closed(&self, next: u8) -> String {
        let (opened, line) = (self.opened, self.line);
        let next = if next.is_ascii_graphic() { format!("`{}`", char::from(next)) } else { "more text".into() };
        if opened == line {
            format!("line {line}: a quote within a quoted field is followed by {next}; one that is meant is doubled")
        } else {
            format!(
                "line {opened}: a quote is not closed; the next one that could close it, in line {line}, is followed by {next}"
            )
        }
    }
}

impl<R: Read> Read for QuoteChecker<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let fault = |problem| io::Error::new(io::ErrorKind::InvalidData, QuoteFault(problem));
        let count = self.inner.read(out)?;
        if count == 0 && !out.is_empty() && self.state == State::Quoted {
            return Err(fault(format!("line {}: a quote is not closed", self.opened)));
        }
        for byte in &out[..count] {
            self.step(*byte).map_err(fault)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file is refused for, read a few bytes at a time.
    fn fault(text: &str) -> Option<String> {
        (1..=5)
            .map(|size| {
                let mut reader = QuoteChecker::new(text.as_bytes(), b',', true);
                let mut room = vec![0; size];
                loop {
                    match reader.read(&mut room) {
                        Ok(0) => return None,
                        Ok(_) => {}
                        Err(e) => return Some(e.to_string()),
                    }
                }
            })
            .reduce(|a, b| {
                assert_eq!(a, b, "{text:?}");
                a
            })
            .flatten()
    }

    #[test]
    fn quotes_that_can_be_meant_pass() {
        for text in [
            "id,title\n1,\"a \"\"b\"\", c\"\n2,5\" disk\n",
            "id,title\r\n1,\"two\r\nlines\"\r\n\r\n2,\"\"\r\n",
            "id,title\n1,\"\"\"\"\n\n2, \"x\" y",
            "title\n\"\"\na\n\n\r\n",
            "title\r\na\r\nb\r\n",
            "title\ra\rb\r",
            "a,\"b\"",
            "",
        ] {
            assert_eq!(fault(text), None, "{text:?}");
        }
    }

    #[test]
    fn others_are_refused_with_the_line_that_they_open_in() {
        for (text, want) in [
            ("id,title\n1,\"never\n2,Two\n", "line 2: a quote is not closed"),
            ("id,title\n1,x\n2,\"", "line 3: a quote is not closed"),
            (
                "id,title\n1,\"never\n2,\"Two\"\n",
                "line 2: a quote is not closed; the next one that could close it, in line 3, is followed by `T`",
            ),
            ("id,title\n1,\"a \"\"\n2,b\n", "line 2: a quote is not closed"),
            (
                "id,title\n1,\"Rocky\" Road\n",
                "line 2: a quote within a quoted field is followed by more text; one that is meant is doubled",
            ),
            ("\"id,title\n1,x\n", "line 1: a quote is not closed"),
            (
                "title\na\n\nb\n",
                "line 3 is blank, with more after it; in a file of one column an empty field is written `\"\"`",
            ),
            (
                "title\r\n\r\nb\r\n",
                "line 2 is blank, with more after it; in a file of one column an empty field is written `\"\"`",
            ),
        ] {
            assert_eq!(fault(text).as_deref(), Some(want), "{text:?}");
        }
    }

    #[test]
    fn a_record_without_end_is_refused_before_it_fills_the_memory() {
        let endless = io::Cursor::new(b"id\n\"").chain(io::repeat(b'x'));
        let mut reader = QuoteChecker::new(endless, b',', true);
        let problem = io::copy(&mut reader, &mut io::sink()).expect_err("refused").to_string();
        assert_eq!(problem, "line 2: a quote is not closed within 67108864 bytes");
    }
}
