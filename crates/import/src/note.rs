//! What a user should know about an import or an export.

use serde::Serialize;
use std::fmt;

/// Something that a user should know about an import or an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What kind of thing it is.
    pub kind: NoteKind,
    /// It, in one sentence without a full stop.
    pub text: String,
}

/// The kinds of [`Note`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The file does not say it; this was taken to be so.
    Assumed,
    /// The file does not hold it.
    Unknown,
    /// The file holds it, and it was not taken over.
    LeftOut,
}

impl Note {
    pub(crate) fn assumed(text: impl Into<String>) -> Self {
        Self { kind: NoteKind::Assumed, text: text.into() }
    }

    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self { kind: NoteKind::Unknown, text: text.into() }
    }

    pub(crate) fn left_out(text: impl Into<String>) -> Self {
        Self { kind: NoteKind::LeftOut, text: text.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            NoteKind::Assumed => "assumed: ",
            NoteKind::Unknown => "not in the file: ",
            NoteKind::LeftOut => "left out: ",
        })?;
        f.write_str(&self.text)
    }
}
