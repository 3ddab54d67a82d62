//! The sizes that pages of a parquet file claim, checked before the parquet crate takes memory for them.
//!
//! The crate believes a page header's uncompressed size and takes that much at once, so that a file of 1 KB can claim 2 GiB. Here every
//! page header of every column is read first. The parse is as strict as the format is: a field of a type that the format does not
//! give it is refused, since the crate would read it as the type it expects and both would then disagree about all that follows.
//!
//! Source: `parquet.thrift` of the Apache Parquet format; the Thrift compact protocol.

use super::window::Window;
use crate::error::{Error, Result};

/// A page as large as this is believed whatever its compressed size.
const SMALL: u64 = 16 << 20;
/// The most that deflate can shrink bytes; other codecs shrink more only where all bytes are alike.
const RATIO: u64 = 1032;
/// The longest header; statistics may hold a smallest and a largest text.
const HEADER: usize = 16 << 20;
/// Thrift's types as the compact protocol numbers them.
const BYTE: u8 = 3;
const I32: u8 = 5;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// What is wrong with a header.
enum Fault {
    /// More bytes are needed.
    Short,
    /// Not a page header.
    Malformed,
}

type Parsed<T> = std::result::Result<T, Fault>;

/// The structs of a page header whose fields have types that are known.
#[derive(Clone, Copy)]
enum Place {
    Page,
    DataPage,
    DictionaryPage,
    DataPageV2,
    /// Any other struct: whatever its fields are, they are passed over by the types that they state.
    Other,
}

/// The type that the format gives field `id` of a struct, and the struct that is in it. Booleans are 1 or 2, as their value is.
fn known(place: Place, id: i16) -> Option<(u8, Place)> {
    match (place, id) {
        (Place::Page, 5) => Some((STRUCT, Place::DataPage)),
        (Place::Page, 6) | (Place::DataPage, 5) | (Place::DataPageV2, 8) => Some((STRUCT, Place::Other)),
        (Place::Page, 7) => Some((STRUCT, Place::DictionaryPage)),
        (Place::Page, 8) => Some((STRUCT, Place::DataPageV2)),
        (Place::Page | Place::DataPage, 1..=4) | (Place::DictionaryPage, 1..=2) | (Place::DataPageV2, 1..=6) => {
            Some((I32, Place::Other))
        }
        (Place::DictionaryPage, 3) | (Place::DataPageV2, 7) => Some((1, Place::Other)),
        _ => None,
    }
}

/// The parts of a page header that say how long it and its page are.
#[derive(Default)]
struct PageHeader {
    bytes: usize,
    uncompressed: Option<i32>,
    compressed: Option<i32>,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Parsed<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, count: u64) -> Parsed<()> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count)).ok_or(Fault::Malformed)?;
        if end > self.bytes.len() {
            return Err(if end > HEADER { Fault::Malformed } else { Fault::Short });
        }
        self.at = end;
        Ok(())
    }

    /// A number of at most 64 bits, 7 a byte. Longer ones are refused: readers differ in which bits they keep.
    fn number(&mut self) -> Parsed<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Fault::Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }

    fn signed(&mut self) -> Parsed<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn i32(&mut self) -> Parsed<i32> {
        i32::try_from(self.signed()?).map_err(|_| Fault::Malformed)
    }

    /// Passes over a value. A boolean has its value in its type where it is a field, and a byte of its own in a list.
    fn value(&mut self, kind: u8, in_list: bool, depth: u8) -> Parsed<()> {
        if depth == 0 {
            return Err(Fault::Malformed);
        }
        match kind {
            1 | 2 if in_list => self.pass(1),
            1 | 2 => Ok(()),
            BYTE => self.pass(1),
            4..=6 => self.number().map(|_| ()),
            DOUBLE => self.pass(8),
            BINARY => {
                let count = self.number()?;
                self.pass(count)
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
                self.values(count, &[head & 15], depth)
            }
            MAP => match self.number()? {
                0 => Ok(()),
                count => {
                    let kinds = self.byte()?;
                    self.values(count, &[kinds >> 4, kinds & 15], depth)
                }
            },
            STRUCT => self.fields(Place::Other, depth, &mut PageHeader::default()),
            _ => Err(Fault::Malformed),
        }
    }

    fn values(&mut self, count: u64, kinds: &[u8], depth: u8) -> Parsed<()> {
        // A struct without fields takes a byte, a boolean too: no value of a list takes none.
        if count > HEADER as u64 {
            return Err(Fault::Malformed);
        }
        for _ in 0..count {
            for kind in kinds {
                self.value(*kind, true, depth - 1)?;
            }
        }
        Ok(())
    }

    fn fields(&mut self, place: Place, depth: u8, header: &mut PageHeader) -> Parsed<()> {
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let kind = head & 15;
            if kind == 0 {
                return Ok(());
            }
            id = match i16::from(head >> 4) {
                0 => i16::try_from(self.signed()?).map_err(|_| Fault::Malformed)?,
                step => id.checked_add(step).ok_or(Fault::Malformed)?,
            };
            match known(place, id) {
                Some((1, _)) if kind <= 2 => {}
                Some((I32, _)) if kind == I32 => {
                    let number = self.i32()?;
                    match (place, id) {
                        (Place::Page, 2) => header.uncompressed = Some(number),
                        (Place::Page, 3) => header.compressed = Some(number),
                        _ => {}
                    }
                }
                Some((STRUCT, inner)) if kind == STRUCT => {
                    if depth == 0 {
                        return Err(Fault::Malformed);
                    }
                    self.fields(inner, depth - 1, header)?;
                }
                Some(_) => return Err(Fault::Malformed),
                None => self.value(kind, false, depth)?,
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed<PageHeader> {
    let (mut cursor, mut header) = (Cursor { bytes, at: 0 }, PageHeader::default());
    cursor.fields(Place::Page, 32, &mut header)?;
    header.bytes = cursor.at;
    Ok(header)
}

/// The page header at byte `at`, of which `rest` bytes of its column follow.
fn header_at(w: &Window, at: u64, rest: u64) -> Result<PageHeader> {
    let mut take = 512;
    loop {
        take = take.min(HEADER);
        let whole = rest.min(take as u64) as usize;
        match parse(&w.bytes(at, whole)?) {
            Ok(header) => return Ok(header),
            Err(Fault::Short) if whole as u64 == rest => {
                return Err(
                    w.bad(format_args!("the page at byte {at} begins with a header that does not end in its column"))
                );
            }
            Err(Fault::Short) if take < HEADER => take *= 16,
            Err(_) => return Err(w.bad(format_args!("the page at byte {at} does not begin with a header of parquet"))),
        }
    }
}

/// Refuses columns, given as their first byte and their length, with a page that claims far more bytes than what it holds can become.
/// O(pages).
///
/// # Errors
/// If a page header is malformed, a page reaches past its column, or claims too much; if columns overlap so much that the same pages
/// would be read again and again.
pub(crate) fn check_pages(w: &Window, columns: impl Iterator<Item = (u64, u64)>) -> Result<()> {
    // The shortest header of a page has 7 bytes: two i32 and a type of 2 bytes each, and the end.
    let mut budget = w.len() / 7 + 1;
    for (start, length) in columns {
        let end = start.checked_add(length).filter(|end| *end <= w.len());
        let end = end.ok_or_else(|| {
            w.bad(format_args!("a column of {length} bytes from byte {start} on is past the end of {} bytes", w.len()))
        })?;
        let mut at = start;
        while at < end {
            budget = budget.checked_sub(1).ok_or_else(|| w.bad("its columns lie in the same place"))?;
            let header = header_at(w, at, end - at)?;
            let body = at + header.bytes as u64;
            let (Some(uncompressed), Some(compressed)) = (header.uncompressed, header.compressed) else {
                return Err(w.bad(format_args!("the page at byte {at} does not say how long it is")));
            };
            let sizes = u64::try_from(uncompressed).ok().zip(u64::try_from(compressed).ok());
            let fits = sizes.filter(|(_, compressed)| *compressed <= end - body);
            let Some((uncompressed, compressed)) = fits else {
                return Err(w.bad(format_args!(
                    "the page at byte {at} claims {compressed} bytes that become {uncompressed}, its column has {} more",
                    end - body
                )));
            };
            if uncompressed > SMALL && uncompressed / RATIO > compressed {
                return Err(too_much(w, at, compressed, uncompressed));
            }
            at = body + compressed;
        }
    }
    Ok(())
}

fn too_much(w: &Window, at: u64, compressed: u64, uncompressed: u64) -> Error {
    w.bad(format_args!(
        "the page at byte {at} claims that its {compressed} bytes become {uncompressed}; if they do, write the file with smaller pages"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A header with both sizes, as the format writes it, and a data page header of four numbers.
    fn header(uncompressed: &[u8], compressed: &[u8]) -> Vec<u8> {
        let mut out = vec![0x15, 0x00, 0x15];
        out.extend(uncompressed);
        out.push(0x15);
        out.extend(compressed);
        out.extend([0x2c, 0x15, 0x02, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00]);
        out
    }

    fn check(bytes: Vec<u8>) -> Result<()> {
        let length = bytes.len() as u64;
        check_pages(&Window::memory(Path::new("t.parquet"), bytes), std::iter::once((0, length)))
    }

    fn refused(bytes: Vec<u8>) -> String {
        check(bytes).expect_err("refused").to_string()
    }

    /// Seven bits a byte, the sign in the lowest.
    fn number(value: i64) -> Vec<u8> {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        let mut out = Vec::new();
        loop {
            let byte = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                out.push(byte);
                return out;
            }
            out.push(byte | 0x80);
        }
    }

    fn page(uncompressed: i64, compressed: i64, holds: usize) -> Vec<u8> {
        let mut out = header(&number(uncompressed), &number(compressed));
        out.extend(std::iter::repeat_n(0, holds));
        out
    }

    #[test]
    fn pages_that_hold_what_they_claim_pass() {
        check([page(10, 10, 10), page(1000, 3, 3), page(0, 0, 0)].concat()).expect("three pages");
        check(page(16 << 20, 1, 1)).expect("small enough to be believed");
        check(page(100_000 * 1032, 100_000, 100_000)).expect("as much as deflate gives");
    }

    #[test]
    fn claims_past_what_bytes_can_become_are_refused() {
        let message = refused(page(1 << 30, 9, 9));
        assert!(message.contains("its 9 bytes become 1073741824"), "{message}");
        let message = refused(page(100, 9, 8));
        assert!(message.contains("claims 9 bytes that become 100, its column has 8 more"), "{message}");
        assert!(refused(page(-1, 9, 9)).contains("become -1"));
        assert!(refused(page(1 << 31, 9, 9)).contains("does not begin with a header"));
    }

    #[test]
    fn numbers_of_more_bits_than_their_type_are_refused() {
        let long = [vec![0xa9; 10], vec![0x01]].concat();
        assert!(refused([header(&long, &[0x02]), vec![0]].concat()).contains("does not begin with a header"));
        let bits = [vec![0x80; 9], vec![0x02]].concat();
        assert!(refused([header(&bits, &[0x02]), vec![0]].concat()).contains("does not begin with a header"));
    }

    #[test]
    fn fields_of_other_types_are_refused() {
        for at in [0, 2, 4, 6, 7] {
            let mut bytes = page(1, 1, 1);
            bytes[at] = bytes[at] & 0xf0 | 0x08;
            assert!(refused(bytes).contains("header"), "field at byte {at}");
        }
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        let mut bytes = page(3, 3, 0);
        bytes.pop();
        // Field 9: a list of two structs with a text, a boolean and a double; field 10: a map; field 11: a boolean.
        bytes.extend([0x49, 0x2c, 0x18, 0x02, b'a', b'b', 0x11, 0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0x00, 0x00]);
        bytes.extend([0x1b, 0x01, 0x58, 0x02, 0x01, b'c', 0x11, 0x00]);
        bytes.extend([7, 7, 7]);
        check(bytes).expect("a header of a later release");
    }

    #[test]
    fn headers_past_the_first_read_are_read_whole() {
        let mut bytes = page(3, 3, 0);
        bytes.pop();
        bytes.extend([0x48, 0x80 | 0x10, 0x4e]);
        bytes.extend(std::iter::repeat_n(b'x', 0x10 + 0x4e * 128));
        bytes.extend([0x00, 7, 7, 7]);
        check(bytes.clone()).expect("a header of 10 KB");
        bytes.truncate(5000);
        assert!(refused(bytes).contains("does not end in its column"));
    }

    #[test]
    fn columns_in_the_same_place_are_refused() {
        let bytes = page(1, 1, 1);
        let length = bytes.len() as u64;
        let w = Window::memory(Path::new("t.parquet"), bytes);
        let message = check_pages(&w, (0..100).map(|_| (0, length))).expect_err("refused").to_string();
        assert!(message.contains("in the same place"), "{message}");
        let message = check_pages(&w, std::iter::once((1, length))).expect_err("refused").to_string();
        assert!(message.contains("past the end"), "{message}");
    }

    #[test]
    fn no_bytes_make_it_panic_or_loop() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let _ = check(bytes);
        }
    }
}
