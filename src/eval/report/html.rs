//! Text into HTML: escaping and numbers.

/// `text` with everything escaped that could end a text node or a quoted attribute; control characters become
/// U+FFFD, and no more than `limit` characters are kept.
pub(crate) fn escape(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit * 4) + 8);
    for (count, c) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' | '\r' => out.push(' '),
            // Controls, and the marks that turn the direction of the text around them.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// A whole number with a comma every three digits.
pub(crate) fn whole(n: usize) -> String {
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
pub(crate) fn short(x: f64) -> String {
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
pub(crate) fn plural(n: usize, what: &str) -> String {
    format!("{} {what}{}", whole(n), if n == 1 { "" } else { "s" })
}

/// A share in per cent that no line breaks.
pub(crate) fn percent(share: f64) -> String {
    crate::eval::advice::percent(share).replace(' ', "\u{a0}")
}
