//! CRC-32C (Castagnoli), as TFRecord files check themselves with.

use crc32c::crc32c;

/// The checksum as it is stored: masked, since the CRC of data that holds its own CRC says little.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_published_vector() {
        // The CRC is 0xE3069283; 0xE3069283 turned right by 15 is 0x2507C60D; the constant is added modulo 2^32.
        assert_eq!(masked(b"123456789"), 0xC78A_B0E5);
    }
}
