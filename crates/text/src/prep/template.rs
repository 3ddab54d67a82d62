//! Several fields of an item as one text.

use sememe::{Error, Result};

/// How fields are joined: `{title}[ by {author}][. {description:500}]`.
///
/// `{name}` stands for a field, `{name:500}` for at most 500 characters of it. What stands in `[…]` is left out where one of its
/// fields is empty; such parts do not nest. A brace or bracket that is meant is written twice. Everything else is taken as it is.
///
/// ```
/// use sememe_text::prep::TextTemplate;
/// let template = TextTemplate::parse("{title}[ by {author}]")?;
/// assert_eq!(template.fields(), ["title", "author"]);
/// assert_eq!(template.fill(&["Nano", "C. Allegretta"])?, "Nano by C. Allegretta");
/// assert_eq!(template.fill(&["Nano", ""])?, "Nano");
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate {
    pieces: Vec<Piece>,
    fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { at: usize, most: Option<usize> },
    Optional(Vec<Piece>),
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Config`] for `template` with the character: a brace or bracket without its partner, a field without a name or with a
    /// cap of 0, a part in a part, a part without a field; and if there is no field at all.
    pub fn parse(text: &str) -> Result<Self> {
        let mut fields = Vec::new();
        let mut outer = Vec::new();
        // The optional part that is open, and where it began.
        let mut part: Option<(usize, Vec<Piece>)> = None;
        let mut literal = String::new();
        let all: Vec<char> = text.chars().collect();
        let mut at = 0;
        while let Some(&c) = all.get(at) {
            let twice = all.get(at + 1) == Some(&c);
            if !"{}[]".contains(c) || twice {
                literal.push(c);
                at += if twice && "{}[]".contains(c) { 2 } else { 1 };
                continue;
            }
            let pieces = part.as_mut().map_or(&mut outer, |(_, pieces)| pieces);
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            match c {
                '{' => {
                    let Some(length) = all[at + 1..].iter().position(|c| *c == '}') else {
                        return Err(bad(at, "`{` has no `}`; a brace that is meant is written twice"));
                    };
                    let name: String = all[at + 1..at + 1 + length].iter().collect();
                    pieces.push(field(&name, at, &mut fields)?);
                    at += length + 2;
                    continue;
                }
                '[' => match &part {
                    Some(_) => {
                        return Err(bad(at, "parts in `[…]` do not nest; a bracket that is meant is written twice"));
                    }
                    None => part = Some((at, Vec::new())),
                },
                ']' => match part.take() {
                    Some((begin, pieces)) if !pieces.iter().any(|piece| matches!(piece, Piece::Field { .. })) => {
                        return Err(bad(begin, "this part has no field; brackets that are meant are written twice"));
                    }
                    Some((_, pieces)) => outer.push(Piece::Optional(pieces)),
                    None => return Err(bad(at, "`]` has no `[`; a bracket that is meant is written twice")),
                },
                _ => return Err(bad(at, "`}` has no `{`; a brace that is meant is written twice")),
            }
            at += 1;
        }
        if let Some((begin, _)) = part {
            return Err(bad(begin, "`[` has no `]`; a bracket that is meant is written twice"));
        }
        if fields.is_empty() {
            return Err(Error::config("template", format!("{text:?} names no field, as `{{title}}` would")));
        }
        if !literal.is_empty() {
            outer.push(Piece::Text(literal));
        }
        Ok(Self { pieces: outer, fields })
    }

    /// The fields that it needs, each once, in the order in which they appear.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The first field outside of `[…]` whose value is empty, so that the text would have a hole; `[fields]` in the order of
    /// [`fields`](Self::fields), values past the end are empty.
    ///
    /// ```
    /// use sememe_text::prep::TextTemplate;
    /// let template = TextTemplate::parse("{title}[ by {author}]")?;
    /// assert_eq!(template.lacks(&["Nano", ""]), None);
    /// assert_eq!(template.lacks(&["", "C. Allegretta"]), Some("title"));
    /// # Ok::<(), sememe::Error>(())
    /// ```
    #[must_use]
    pub fn lacks<S: AsRef<str>>(&self, values: &[S]) -> Option<&str> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Field { at, .. } if values.get(*at).is_none_or(|value| value.as_ref().trim().is_empty()) => {
                Some(self.fields[*at].as_str())
            }
            _ => None,
        })
    }

    /// Puts values in, `[fields]` in the order of [`fields`](Self::fields).
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of values.
    pub fn fill<S: AsRef<str>>(&self, values: &[S]) -> Result<String> {
        sememe::check_shape("fields", self.fields.len(), values.len(), "values of a template")?;
        let mut out = String::new();
        fill(&self.pieces, values, &mut out);
        Ok(out)
    }
}

fn fill<S: AsRef<str>>(pieces: &[Piece], values: &[S], out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field { at, most } => out.push_str(cut(values[*at].as_ref(), most.unwrap_or(usize::MAX)).0),
            Piece::Optional(inner) => {
                let empty =
                    |piece: &Piece| matches!(piece, Piece::Field { at, .. } if values[*at].as_ref().trim().is_empty());
                if !inner.iter().any(empty) {
                    fill(inner, values, out);
                }
            }
        }
    }
}

fn field(text: &str, at: usize, fields: &mut Vec<String>) -> Result<Piece> {
    let (name, most) = match text.rsplit_once(':') {
        Some((name, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let most = digits.parse().ok().filter(|most| *most > 0);
            (name, Some(most.ok_or_else(|| bad(at, &format!("`{{{text}}}`: expected at least 1 character")))?))
        }
        _ => (text, None),
    };
    if name.is_empty() || name.contains(['{', '[', ']']) {
        return Err(bad(at, &format!("`{{{text}}}` is no field; a brace that is meant is written twice")));
    }
    let known = fields.iter().position(|field| field == name);
    let at = known.unwrap_or_else(|| {
        fields.push(name.to_owned());
        fields.len() - 1
    });
    Ok(Piece::Field { at, most })
}

fn bad(at: usize, problem: &str) -> Error {
    Error::config("template", format!("character {}: {problem}", at + 1))
}

/// At most `most` characters, and whether some were left out: up to the last blank if that loses less than half, never between a
/// letter and its accent.
pub(super) fn cut(text: &str, most: usize) -> (&str, bool) {
    let Some((mut end, _)) = text.char_indices().nth(most) else { return (text, false) };
    let next = |end: usize| text[end..].chars().next();
    while end > 0 && next(end).is_some_and(unicode_normalization::char::is_combining_mark) {
        end = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
    }
    if next(end) != Some(' ')
        && let Some(blank) = text[..end].rfind(' ')
        && blank > end / 2
    {
        end = blank;
    }
    (text[..end].trim_end(), true)
}
