//! Rounds, partials and states as bytes: a name, lengths, a hash, a header of JSON, and numbers in little endian.

use crate::digest::PartDigest;
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What kind of bytes these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Round,
    Partial,
    State,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Partial => "partial",
            Self::State => "distributed training state",
        }
    }

    fn magic(self) -> [u8; 8] {
        match self {
            Self::Round => *b"sem.rnd1",
            Self::Partial => *b"sem.prt1",
            Self::State => *b"sem.dst1",
        }
    }

    pub fn damaged(self, problem: impl std::fmt::Display) -> Error {
        Error::Data(format!("not a {} of this release, or a damaged one: {problem}", self.name()))
    }
}

/// Magic, two lengths, a hash in hexadecimal.
const LEAD: usize = 8 + 8 + 8 + 64;

fn hash(header: &[u8], payload: &[u8]) -> String {
    let mut digest = PartDigest::new();
    digest.part(header);
    digest.part(payload);
    digest.finish()
}

pub fn pack(kind: Kind, header: &impl Serialize, payload: &[u8]) -> Result<Vec<u8>> {
    let header = serde_json::to_vec(header).map_err(|e| kind.damaged(e))?;
    let mut out = Vec::with_capacity(LEAD + header.len() + payload.len());
    out.extend(kind.magic());
    out.extend((header.len() as u64).to_le_bytes());
    out.extend((payload.len() as u64).to_le_bytes());
    out.extend(hash(&header, payload).as_bytes());
    out.extend(header);
    out.extend(payload);
    Ok(out)
}

pub fn unpack<H: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<(H, Numbers<'_>)> {
    let Some((lead, rest)) = bytes.split_at_checked(LEAD) else {
        return Err(kind.damaged(format_args!("{} bytes are too few", bytes.len())));
    };
    if lead[..8] != kind.magic() {
        return Err(kind.damaged("it begins with other bytes"));
    }
    let length = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| lead[at + i]));
    let (header, payload) = (length(8), length(16));
    if header.checked_add(payload) != Some(rest.len() as u64) {
        return Err(kind.damaged(format_args!("it claims {header} and {payload} bytes, {} follow", rest.len())));
    }
    let (header, payload) = rest.split_at(header as usize);
    if hash(header, payload).as_bytes() != &lead[24..] {
        return Err(kind.damaged("its hash is not that of its content"));
    }
    let header = serde_json::from_slice(header).map_err(|e| kind.damaged(e))?;
    Ok((header, Numbers { kind, bytes: payload }))
}

/// Numbers, one list after the other.
pub struct Numbers<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

/// Numbers that are written down.
pub trait Number: Sized {
    const BYTES: usize;
    fn write(&self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            const BYTES: usize = size_of::<$kind>();
            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(std::array::from_fn(|i| bytes[i]))
            }
        }
    )*};
}

number!(u64, i64, i128, f32, f64);

pub fn put<N: Number>(out: &mut Vec<u8>, numbers: &[N]) {
    out.reserve(numbers.len() * N::BYTES);
    numbers.iter().for_each(|number| number.write(out));
}

impl<'a> Numbers<'a> {
    /// The next `count` numbers. Memory is taken for what is there.
    pub fn take<N: Number>(&mut self, count: usize) -> Result<Vec<N>> {
        let part = self.slice(count.checked_mul(N::BYTES))?;
        Ok(part.chunks_exact(N::BYTES).map(N::read).collect())
    }

    fn slice(&mut self, bytes: Option<usize>) -> Result<&'a [u8]> {
        match bytes.and_then(|bytes| self.bytes.split_at_checked(bytes)) {
            Some((part, rest)) => {
                self.bytes = rest;
                Ok(part)
            }
            None => Err(self.kind.damaged(format_args!("{} bytes of numbers are too few", self.bytes.len()))),
        }
    }

    /// The rest, as it is.
    pub fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// Refuses numbers that nobody asked for.
    pub fn end(self) -> Result<()> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.kind.damaged(format_args!("{} bytes are left", self.bytes.len())))
        }
    }
}
