//! Text out of HTML.

use std::borrow::Cow;

/// Elements inside a line: taking their tags away joins what is on either side. All other elements leave a blank.
const INLINE: &[&str] = &[
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "mark", "nobr", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var", "wbr",
];

/// Names that are known, so that `vector<int>` and `<me@example.org>` stay.
const BLOCK: &[&str] = &[
    "address",
    "applet",
    "area",
    "article",
    "aside",
    "audio",
    "base",
    "blockquote",
    "body",
    "br",
    "button",
    "canvas",
    "caption",
    "center",
    "col",
    "colgroup",
    "datalist",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "embed",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "frame",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "iframe",
    "img",
    "input",
    "label",
    "legend",
    "li",
    "link",
    "main",
    "map",
    "menu",
    "meta",
    "meter",
    "nav",
    "noframes",
    "noscript",
    "object",
    "ol",
    "optgroup",
    "option",
    "output",
    "p",
    "param",
    "picture",
    "pre",
    "progress",
    "script",
    "search",
    "section",
    "select",
    "slot",
    "source",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "template",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "track",
    "ul",
    "video",
];

/// Takes tags and comments away, with what is in scripts and styles, and resolves entities once: `AT&amp;amp;T` is `AT&amp;T`.
///
/// `<` counts as markup only before the name of an HTML element, `/` and such a name, `!--` or `!doctype`. What is never closed stays
/// as it is, and everything after it. O(bytes).
pub(super) fn strip(text: &str) -> Cow<'_, str> {
    if !text.contains(['<', '&']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(ahead) = text[at..].find('<') {
        out.push_str(&text[at..at + ahead]);
        at += ahead;
        match markup(&text[at..]) {
            Markup::None => {
                out.push('<');
                at += 1;
            }
            Markup::Open => break,
            Markup::Skip { length, blank } => {
                if blank {
                    out.push(' ');
                }
                at += length;
            }
        }
    }
    out.push_str(&text[at..]);
    Cow::Owned(html_escape::decode_html_entities(&out).into_owned())
}

enum Markup {
    None,
    /// It has no end, so nothing after it can be told from it. Searching on would also take quadratic time.
    Open,
    Skip {
        length: usize,
        blank: bool,
    },
}

fn markup(text: &str) -> Markup {
    if let Some(inside) = text.strip_prefix("<!--") {
        return inside.find("-->").map_or(Markup::Open, |end| Markup::Skip { length: end + 7, blank: true });
    }
    let head = text.as_bytes().get(..9).unwrap_or_default();
    if head.eq_ignore_ascii_case(b"<!doctype") {
        return text.find('>').map_or(Markup::Open, |end| Markup::Skip { length: end + 1, blank: true });
    }
    let closing = text[1..].starts_with('/');
    let from = 1 + usize::from(closing);
    let length = text[from..].bytes().take(12).take_while(u8::is_ascii_alphanumeric).count();
    let name = text[from..from + length].to_ascii_lowercase();
    let inline = INLINE.contains(&name.as_str());
    if !inline && !BLOCK.contains(&name.as_str()) {
        return Markup::None;
    }
    if !text[from + length..].starts_with(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/') {
        // `<a@example.org>`, `<b-tree>`; at the end of the text there is no tag either.
        return Markup::None;
    }
    let Some(mut end) = tag_end(text, from + length) else { return Markup::Open };
    if !closing && (name == "script" || name == "style") {
        match find_closing(&text[end..], &name) {
            Some(inside) => end += inside,
            None => return Markup::Open,
        }
    }
    Markup::Skip { length: end, blank: !inline }
}

/// Behind the `>` that ends a tag, which inside a quoted attribute it does not.
fn tag_end(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut value) = (from, false);
    // A quote that never ends is none; each is searched for in vain at most once.
    let mut endless = [false; 2];
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'>' => return Some(at + 1),
            b'"' | b'\'' if value && !endless[usize::from(byte == b'"')] => {
                match bytes[at + 1..].iter().position(|b| *b == byte) {
                    Some(ahead) => at += ahead + 1,
                    None => endless[usize::from(byte == b'"')] = true,
                }
                value = false;
            }
            b'=' => value = true,
            byte if !byte.is_ascii_whitespace() => value = false,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where `</script` begins, in any case of letters.
fn find_closing(text: &str, name: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(ahead) = text[at..].find("</") {
        at += ahead;
        let found = text.as_bytes().get(at + 2..at + 2 + name.len());
        if found.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes())) {
            return Some(at);
        }
        at += 2;
    }
    None
}
