//! The few fields of TensorBoard's `Event` message that curves need, in the wire format of protocol buffers.
//!
//! Fields go out in the order of their numbers and zeros of plain fields are left out, as other writers of protocol buffers
//! do, so the bytes are the same as theirs.

/// What the first event of every file says; TensorBoard reads version 2 without guessing at restarts.
const VERSION: &str = "brain.Event:2";

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(field: u64, kind: u64, out: &mut Vec<u8>) {
    varint(field << 3 | kind, out);
}

fn bytes(field: u64, content: &[u8], out: &mut Vec<u8>) {
    key(field, BYTES, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn wall_time(seconds: f64, out: &mut Vec<u8>) {
    if seconds.to_bits() != 0 {
        key(1, FIXED_64, out);
        out.extend_from_slice(&seconds.to_le_bytes());
    }
}

/// The event that opens a file.
pub(super) fn version(seconds: f64) -> Vec<u8> {
    let mut out = Vec::new();
    wall_time(seconds, &mut out);
    bytes(3, VERSION.as_bytes(), &mut out);
    out
}

/// An event with one value a tag.
pub(super) fn scalars(step: i64, seconds: f64, values: &[(&str, f32)]) -> Vec<u8> {
    let (mut out, mut summary, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for (tag, simple_value) in values {
        value.clear();
        if !tag.is_empty() {
            bytes(1, tag.as_bytes(), &mut value);
        }
        // A member of a `oneof`: its presence counts, so a zero is written.
        key(2, FIXED_32, &mut value);
        value.extend_from_slice(&simple_value.to_le_bytes());
        bytes(1, &value, &mut summary);
    }
    wall_time(seconds, &mut out);
    if step != 0 {
        key(2, VARINT, &mut out);
        varint(step as u64, &mut out);
    }
    bytes(5, &summary, &mut out);
    out
}

/// What resuming needs to know of an event.
#[derive(Debug, PartialEq)]
pub(super) struct Outline {
    pub(super) step: i64,
    /// Opens a file, and belongs to no step.
    pub(super) opens: bool,
}

/// Reads an event's outline, skipping fields that this module does not write; `None` if it is not in wire format.
pub(super) fn outline(mut event: &[u8]) -> Option<Outline> {
    let mut found = Outline { step: 0, opens: false };
    while !event.is_empty() {
        let key = take_varint(&mut event)?;
        let skipped = match key & 7 {
            VARINT => {
                let value = take_varint(&mut event)?;
                if key >> 3 == 2 {
                    found.step = value as i64;
                }
                0
            }
            FIXED_64 => 8,
            BYTES => {
                found.opens |= key >> 3 == 3;
                usize::try_from(take_varint(&mut event)?).ok()?
            }
            FIXED_32 => 4,
            _ => return None,
        };
        event = event.get(skipped..)?;
    }
    Some(found)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_of_what_was_encoded() {
        assert_eq!(outline(&version(7.0)), Some(Outline { step: 0, opens: true }));
        for step in [0, 1, 127, 128, 300, 1 << 40, i64::MAX, -1] {
            let event = scalars(step, 1.5, &[("loss", 0.25), ("", -0.0)]);
            assert_eq!(outline(&event), Some(Outline { step, opens: false }));
        }
    }

    #[test]
    fn broken_events_have_no_outline() {
        let event = scalars(300, 1.5, &[("loss", 0.25)]);
        for end in 1..event.len() {
            // Cut between two fields it is an event again: after the wall time (9 bytes) and the step (3 more).
            assert_eq!(outline(&event[..end]).is_some(), end == 9 || end == 12, "cut at {end}");
        }
        assert_eq!(outline(&[0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), None);
        assert_eq!(outline(&[0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]), None);
        assert_eq!(outline(&[0x0B]), None);
    }
}
