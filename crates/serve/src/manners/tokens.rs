//! Who may ask.

use sememe::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq as _};

/// Bearer tokens, kept as their hashes. Without any, everybody may ask.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    hashes: Vec<[u8; 32]>,
}

/// The shortest token that is taken.
const SHORTEST: usize = 8;

impl Tokens {
    /// Tokens one a line; empty lines, and lines that begin with `#`, are passed over.
    ///
    /// # Errors
    /// [`Error::Config`] for a token of fewer than 8 characters, or with other characters than visible ASCII; and if there is none.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |problem: String| Error::Config { field: "tokens".into(), problem };
        let mut hashes = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let token = line.trim();
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(bad(format!("line {number} holds other characters than visible ASCII")));
            }
            if token.len() < SHORTEST {
                let have = token.len();
                return Err(bad(format!(
                    "the token of line {number} has {have} characters, expected at least {SHORTEST}"
                )));
            }
            hashes.push(Sha256::digest(token.as_bytes()).into());
        }
        if hashes.is_empty() {
            return Err(bad("expected at least one token, got none".into()));
        }
        Ok(Self { hashes })
    }

    /// Whether a token is asked for at all.
    #[must_use]
    pub fn are_asked(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// Whether the value of an `Authorization` header lets in. All tokens are compared, by their hashes: how long it takes says neither how
    /// much of a token was right nor which it was.
    #[must_use]
    pub fn admit(&self, header: Option<&[u8]>) -> bool {
        if !self.are_asked() {
            return true;
        }
        let given = header
            .and_then(|value| value.split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        let hash: [u8; 32] = Sha256::digest(given.map_or(&b""[..], |(_, token)| token.trim_ascii())).into();
        let right = self.hashes.iter().fold(Choice::from(0), |any, known| any | known.ct_eq(&hash));
        given.is_some() & bool::from(right)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.hashes.len())
    }
}
