//! Puts right what a mutation breaks first: lengths, hashes and checksums. Without this, nothing behind them is ever reached.

/// A safetensors file out of its header, a line feed, and its data.
pub fn framed(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (header, data) = (&bytes[..end], &bytes[end + 1..]);
    Some([&(header.len() as u64).to_le_bytes()[..], header, data].concat())
}

/// Loads a file, and once more with the content hash that the first refusal named.
pub fn resealed<T>(bytes: &[u8], load: impl Fn(&[u8]) -> sememe::Result<T>) -> Option<T> {
    let problem = match load(bytes) {
        Ok(loaded) => return Some(loaded),
        Err(e) => e.to_string(),
    };
    let (_, rest) = problem.split_once("content hash ")?;
    let (right, rest) = rest.split_once(" does not match the recorded ")?;
    let recorded = rest.get(..right.len())?;
    let at = bytes.windows(recorded.len()).position(|window| window == recorded.as_bytes())?;
    let mut bytes = bytes.to_vec();
    bytes[at..at + right.len()].copy_from_slice(right.as_bytes());
    load(&bytes).ok()
}

/// CRC-32C, a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

/// An event file out of payloads, each after one byte that says how long it is.
pub fn records(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let length = (payload.len() as u64).to_le_bytes();
        out.extend_from_slice(&length);
        out.extend(masked(&length));
        out.extend_from_slice(payload);
        out.extend(masked(payload));
        bytes = rest;
    }
    out
}
