//! One line of clean text.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::html;

/// Which of Unicode's normal forms texts are brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unicode {
    /// Composed: the same text has the same bytes, and looks as it did.
    #[default]
    Nfc,
    /// Composed, and variants of a letter become the letter: `ﬁ` is `fi`, `²` is `2`.
    Nfkc,
    /// As it is.
    None,
}

/// What is done to texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaning {
    /// Whether HTML becomes text: tags and comments go, entities are resolved.
    pub html: bool,
    /// The normal form.
    pub unicode: Unicode,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self { html: true, unicode: Unicode::Nfc }
    }
}

impl Cleaning {
    /// One line: HTML if asked for, then control characters, white space and the normal form.
    ///
    /// Any run of white space, line breaks too, becomes one blank, none at the ends. Control characters go, and so do characters without
    /// a width that only steer display (soft hyphen, zero-width space, byte order mark, direction marks); those that shape letters and
    /// emoji (joiners, variation selectors) stay. Without `html` it changes nothing the second time. O(bytes).
    ///
    /// ```
    /// use sememe_text::prep::Cleaning;
    /// assert_eq!(Cleaning::default().apply("<p>Fish &amp;\n chips</p>\t2\u{a0}&lt; 3"), "Fish & chips 2 < 3");
    /// ```
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let text = if self.html { html::strip(text) } else { Cow::Borrowed(text) };
        self.line(&text)
    }

    /// Without looking for HTML.
    pub(super) fn line(&self, text: &str) -> String {
        // Taking characters out first, as a mark may then meet its letter.
        let flat = squeeze(text);
        match self.unicode {
            Unicode::None => flat,
            Unicode::Nfc => flat.nfc().collect(),
            // This one may put blanks in the place of other characters.
            Unicode::Nfkc => squeeze(&flat.nfkc().collect::<String>()),
        }
    }
}

fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = false;
    for c in text.chars() {
        match c {
            // Separators of files, groups, records and units part words too.
            '\x1c'..='\x1f' => blank = true,
            c if c.is_whitespace() => blank = true,
            c if c.is_control() || steers(c) => {}
            c => {
                if blank && !out.is_empty() {
                    out.push(' ');
                }
                blank = false;
                out.push(c);
            }
        }
    }
    out
}

/// Characters that are not seen and mean nothing to a reader of the text alone.
fn steers(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{61c}')
}
