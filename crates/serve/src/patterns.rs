//! Regular expressions of what is read, for the API's document: as JSON Schema has them, in the part that ECMAScript, Python and Rust
//! read alike.

use std::ops::RangeInclusive;

/// A text with another character than white space, as [`str::trim`] sees it. Written out, as engines differ on `\s`.
pub(crate) const NOT_BLANK: &str =
    r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";

/// This text itself.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\^$.|?*+()[]{}/".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// One of the numbers, without leading zeros. O(digits²) in length.
pub(crate) fn number(range: RangeInclusive<u64>) -> String {
    let (mut from, last) = range.into_inner();
    let mut blocks = Vec::new();
    while from <= last {
        // The largest block of numbers that begins here and ends with any digits: a power of ten.
        let (mut unit, mut free) = (1, 0);
        while from > 0 && from.is_multiple_of(unit * 10) && from + (unit * 10 - 1) <= last {
            unit *= 10;
            free += 1;
        }
        let (before, digit) = (from / unit / 10, from / unit % 10);
        let most = (digit + (last - from + 1) / unit - 1).min(9);
        let before = if before == 0 { String::new() } else { before.to_string() };
        let digits = if digit == most { digit.to_string() } else { format!("[{digit}-{most}]") };
        let rest = match free {
            0 => String::new(),
            1 => "[0-9]".into(),
            _ => format!("[0-9]{{{free}}}"),
        };
        blocks.push(format!("{before}{digits}{rest}"));
        from += (most - digit + 1) * unit;
    }
    any(blocks)
}

/// Any of these.
pub(crate) fn any(choices: impl IntoIterator<Item = String>) -> String {
    let choices: Vec<String> = choices.into_iter().collect();
    if let [only] = choices.as_slice() { only.clone() } else { format!("(?:{})", choices.join("|")) }
}

/// This or nothing.
pub(crate) fn perhaps(pattern: &str) -> String {
    if pattern.is_empty() { String::new() } else { format!("(?:{pattern})?") }
}

/// The whole text.
pub(crate) fn whole(pattern: &str) -> String {
    format!("^(?:{pattern})$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn numbers_of_a_range_and_no_others() {
        let ranges = [
            0..=0,
            0..=4,
            0..=9,
            0..=10,
            0..=255,
            1..=1,
            1..=256,
            7..=13,
            99..=101,
            250..=1023,
            8191..=8192,
            100..=999,
        ];
        for range in ranges {
            let pattern = Regex::new(&whole(&number(range.clone()))).expect("a pattern");
            for n in 0..20_000 {
                assert_eq!(pattern.is_match(&n.to_string()), range.contains(&n), "{n} in {range:?}: {pattern}");
            }
            let first = range.start();
            for no in [format!("0{first}"), format!("+{first}"), format!("{first} "), String::new(), "-".into()] {
                assert!(!pattern.is_match(&no), "`{no}` in {range:?}: {pattern}");
            }
        }
        let counters = Regex::new(&whole(&number(1..=4_294_967_294))).expect("a pattern");
        for (text, counts) in
            [("1", true), ("4294967294", true), ("4294967295", false), ("0", false), ("10000000000", false)]
        {
            assert_eq!(counters.is_match(text), counts, "{text}: {counters}");
        }
    }

    #[test]
    fn literals_are_themselves() {
        let text = r"<|a.b|>[c](d)*e+f?g{h}i^j$k\l/m-n é";
        assert!(Regex::new(&whole(&literal(text))).expect("a pattern").is_match(text));
    }

    #[test]
    fn blank_is_what_is_trimmed() {
        let pattern = Regex::new(NOT_BLANK).expect("a pattern");
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            assert_eq!(pattern.is_match(&text), !text.trim().is_empty(), "{c:?}");
        }
    }
}
