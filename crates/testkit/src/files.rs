//! Files by hand, and errors of what must fail.

use std::fmt::Display;

/// The error's text of what must fail.
pub fn error<T, E: Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => panic!("this had to fail"),
        Err(e) => e.to_string(),
    }
}

/// A version 1.0 header with this dictionary.
pub fn npy_v1(dict: &str) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((dict.len() as u16).to_le_bytes());
    out.extend(dict.as_bytes());
    out
}
