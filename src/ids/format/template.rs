//! How an ID is spelled: the pieces, and the presets that other systems use.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

use crate::error::{Error, Result};

/// The spelling of an ID: `begin`, then a token a level with `separator` between them, then `end`.
///
/// `token` holds `{code}` once, and may hold `{level}` (from 0 on), `{level1}` (from 1 on) and `{letter}` (a to z, then aa, ab, …).
/// A literal brace is written twice: `{{`, `}}`.
///
/// ```
/// use sememe::ids::{IdTemplate, TextFormat};
/// let template = IdTemplate { token: "{letter}{code}".into(), separator: "/".into(), ..IdTemplate::default() };
/// let format = TextFormat::new(template, &[256, 256])?;
/// assert_eq!(format.write(&[12, 5])?, "a12/b5");
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdTemplate {
    /// Text before the first token, a special token of its own: `<|sid_begin|>`. Empty by default.
    pub begin: String,
    /// One level's token: `<{letter}_{code}>`. By default `{code}`.
    pub token: String,
    /// Text between two tokens. By default `-`.
    pub separator: String,
    /// Text after the last token, a special token of its own: `<|sid_end|>`. Empty by default.
    pub end: String,
    /// What the first codeword of a level is called: 0 by default, 1 for systems that count from 1.
    pub first: u32,
    /// Number codes on through the levels: code j of level l is called `first + j +` all earlier codebook sizes.
    pub cumulative: bool,
}

impl IdTemplate {
    /// The texts with their fields' names.
    pub(super) fn pieces(&self) -> [(&'static str, &str); 4] {
        [("begin", &self.begin), ("token", &self.token), ("separator", &self.separator), ("end", &self.end)]
    }
}

impl Default for IdTemplate {
    fn default() -> Self {
        Style::Plain.template()
    }
}

/// The spellings of other systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// `12-5-33`
    Plain,
    /// `<a_12><b_5><c_33>`: LC-Rec, MiniOneRec, LETTER
    LcRec,
    /// `<|sid_begin|><s_a_12><s_b_5><s_c_33><|sid_end|>`: OpenOneRec
    OpenOneRec,
    /// `[SEM_START][SEM_0_12][SEM_1_5][SEM_2_33][SEM_END]`: the semantic ID recommender
    Sem,
    /// `<L1_12> <L2_5> <L3_33>`: AniMind
    Animind,
}

impl Style {
    /// All of them.
    pub const ALL: [Style; 5] = [Style::Plain, Style::LcRec, Style::OpenOneRec, Style::Sem, Style::Animind];

    /// The name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Style::Plain => "plain",
            Style::LcRec => "lc-rec",
            Style::OpenOneRec => "openonerec",
            Style::Sem => "sem",
            Style::Animind => "animind",
        }
    }

    /// Its pieces.
    #[must_use]
    pub fn template(self) -> IdTemplate {
        let (begin, token, separator, end) = match self {
            Style::Plain => ("", "{code}", "-", ""),
            Style::LcRec => ("", "<{letter}_{code}>", "", ""),
            Style::OpenOneRec => ("<|sid_begin|>", "<s_{letter}_{code}>", "", "<|sid_end|>"),
            Style::Sem => ("[SEM_START]", "[SEM_{level}_{code}]", "", "[SEM_END]"),
            Style::Animind => ("", "<L{level1}_{code}>", " ", ""),
        };
        let [begin, token, separator, end] = [begin, token, separator, end].map(str::to_owned);
        IdTemplate { begin, token, separator, end, first: 0, cumulative: false }
    }
}

/// A token's template, taken apart.
enum TemplatePart {
    Text(String),
    Level,
    Level1,
    Letter,
    Code,
}

/// The texts before and after the code in one level's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeAffixes {
    pub before: String,
    pub after: String,
}

/// Takes a token's template apart and spells it for `levels` levels.
pub(super) fn code_affixes(token: &str, levels: usize) -> Result<Vec<CodeAffixes>> {
    let parts = parts(token)?;
    match parts.iter().filter(|p| matches!(p, TemplatePart::Code)).count() {
        1 => {}
        n => return Err(bad(format!("expected `{{code}}` once in `{token}`, got it {n} times"))),
    }
    Ok((0..levels)
        .map(|level| {
            let mut sides = [String::new(), String::new()];
            let mut side = 0;
            for part in &parts {
                // Writing to a String does not fail.
                let _ = match part {
                    TemplatePart::Text(text) => write!(sides[side], "{text}"),
                    TemplatePart::Level => write!(sides[side], "{level}"),
                    TemplatePart::Level1 => write!(sides[side], "{}", level + 1),
                    TemplatePart::Letter => write!(sides[side], "{}", letter(level)),
                    TemplatePart::Code => {
                        side = 1;
                        Ok(())
                    }
                };
            }
            let [before, after] = sides;
            CodeAffixes { before, after }
        })
        .collect())
}

fn bad(problem: String) -> Error {
    Error::config("token", problem)
}

fn parts(token: &str) -> Result<Vec<TemplatePart>> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = token;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("{{") || rest.starts_with("}}") {
            text.push(c);
            rest = &rest[2..];
            continue;
        }
        let column = token[..token.len() - rest.len()].chars().count() + 1;
        match c {
            '{' => {
                let Some((name, after)) = rest[1..].split_once('}') else {
                    return Err(bad(format!(
                        "`{{` at character {column} of `{token}` is not closed; write `{{{{` for a brace"
                    )));
                };
                let part = match name {
                    "code" => TemplatePart::Code,
                    "level" => TemplatePart::Level,
                    "level1" => TemplatePart::Level1,
                    "letter" => TemplatePart::Letter,
                    _ => {
                        return Err(bad(format!(
                            "`{{{name}}}` at character {column} of `{token}` is not known; use {{code}}, {{level}}, \
                             {{level1}} or {{letter}}"
                        )));
                    }
                };
                if !text.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut text)));
                }
                parts.push(part);
                rest = after;
            }
            '}' => {
                return Err(bad(format!(
                    "`}}` at character {column} of `{token}` opens nowhere; write `}}}}` for a brace"
                )));
            }
            _ => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text));
    }
    Ok(parts)
}

/// a to z, then aa, ab, … as spreadsheets name columns.
fn letter(level: usize) -> String {
    let mut letters = Vec::new();
    let mut n = level + 1;
    while n > 0 {
        letters.push(char::from(b'a' + ((n - 1) % 26) as u8));
        n = (n - 1) / 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_count_like_columns() {
        assert_eq!(
            [0, 1, 25, 26, 27, 51, 52, 701, 702].map(letter),
            ["a", "b", "z", "aa", "ab", "az", "ba", "zz", "aaa"]
        );
    }
}
