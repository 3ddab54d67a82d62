//! Text into HTML: escaping, numbers, tables.

use std::fmt::Write as _;

/// `text` without what a page cannot show: white space of all kinds is a blank, control characters and the marks that turn the
/// direction of the text around them become U+FFFD, and no more than `limit` characters are kept.
pub(crate) fn clean(text: &str, limit: usize) -> impl Iterator<Item = char> {
    let shown = |c: char| match c {
        '\n' | '\t' | '\r' => ' ',
        c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
        c => c,
    };
    let rest = text.chars().nth(limit).map(|_| '…');
    text.chars().take(limit).map(shown).chain(rest)
}

/// Text without what a page cannot show, cut after `limit` characters, with everything escaped that could end a text node or a quoted
/// attribute.
#[must_use]
pub fn escape(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit * 4) + 8);
    for c in clean(text, limit) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A table in a box that scrolls where it is too wide: headings, then rows whose first cell names them.
pub(crate) fn table(out: &mut String, name: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table class=\"measures\"><thead><tr>"
    );
    head.iter().for_each(|cell| {
        let _ = write!(out, "<th scope=\"col\">{cell}</th>");
    });
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        for (c, cell) in row.iter().enumerate() {
            let _ =
                if c == 0 { write!(out, "<tr><th scope=\"row\">{cell}</th>") } else { write!(out, "<td>{cell}</td>") };
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}

/// A whole number with a comma every three digits.
#[must_use]
pub fn whole(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A number with three significant digits.
#[must_use]
pub fn short(x: f64) -> String {
    let size = x.abs();
    match size {
        0.0 => "0".into(),
        s if !s.is_finite() => "–".into(),
        s if (999.5..1e15).contains(&s) => format!("{}{}", if x < 0.0 { "-" } else { "" }, whole(s.round() as usize)),
        s if !(1e-5..1e15).contains(&s) => format!("{x:.2e}"),
        s => {
            let digits = (2 - libm::floor(libm::log10(s)) as i32).max(0) as usize;
            format!("{x:.digits$}")
        }
    }
}

/// `1 item`, `2 items`.
pub(crate) fn items(n: usize) -> String {
    plural(n, "item")
}

/// `1 ID`, `2 IDs`.
#[must_use]
pub fn plural(n: usize, what: &str) -> String {
    format!("{} {what}{}", whole(n), if n == 1 { "" } else { "s" })
}

/// A share in per cent that no line breaks.
#[must_use]
pub fn percent(share: f64) -> String {
    crate::eval::advice::percent(share).replace(' ', "\u{a0}")
}
