//! Item search: all items packed into the page, and the search box.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::ReportInput;
use super::html::{clean, escape, items, whole};
use super::input::Spelling;
use crate::data::Codes;
use crate::error::{Error, Result};
use crate::eval::codes::shared_prefix;

/// What is left of texts, from all that is useful to nothing but keys: characters of a name, of a detail.
const CUTS: [(usize, usize); 5] = [(200, 160), (100, 60), (60, 0), (30, 0), (0, 0)];
/// Characters of a key.
const KEY: usize = 200;
/// Text of a catalogue deflates to a fifth or so; what is larger than this many times its room is not tried.
const MOST_DEFLATED: usize = 10;

/// What the script has to know before it can read the columns.
#[derive(Serialize)]
struct TableHeader<'a> {
    items: usize,
    /// Numbers an ID, a counter included.
    width: usize,
    levels: usize,
    counter: bool,
    sizes: &'a [usize],
    spelling: Option<&'a Spelling>,
    columns: Vec<&'static str>,
    /// Bytes of each column that follows.
    streams: Vec<usize>,
}

/// All items, packed, and how much of their texts is there.
pub(super) struct SearchIndex {
    base64: String,
    cut: (usize, usize),
}

impl SearchIndex {
    /// Packs all items into at most `max_bytes` of a page, shortening texts as far as that takes; `None` if even the shortest are too
    /// much. `order` is that of the IDs.
    ///
    /// # Errors
    /// None that a table in memory can cause.
    pub(super) fn pack(
        input: &ReportInput<'_>,
        ids: &Codes,
        order: &[usize],
        max_bytes: usize,
    ) -> Result<Option<Self>> {
        // What an ID shares with the one before it is a byte.
        if ids.levels() > 255 {
            return Ok(None);
        }
        let (mut last, fits) = (0, max_bytes / 4 * 3);
        for cut in CUTS {
            let columns = columns(input, order, cut);
            let raw = columns.iter().map(|(_, text)| text.len()).sum::<usize>();
            // What cutting does not shorten is not deflated again.
            if raw / MOST_DEFLATED > fits || raw == last {
                continue;
            }
            last = raw;
            let packed = deflate(&table(input, ids, order, columns)?)?;
            if packed.len() <= fits {
                return Ok(Some(Self { base64: STANDARD.encode(packed), cut }));
            }
        }
        Ok(None)
    }
}

/// Names and texts of the columns, an item a line.
fn columns(input: &ReportInput<'_>, order: &[usize], (name, detail): (usize, usize)) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let join = |texts: &[String], limit: usize| {
        let mut out = String::new();
        for (i, row) in order.iter().enumerate() {
            out.extend((i > 0).then_some('\n'));
            out.extend(clean(texts[*row].trim(), limit));
        }
        out
    };
    if !input.keys.is_empty() {
        out.push(("key", join(input.keys, KEY)));
    }
    if !input.names.is_empty() && (name > 0 || input.keys.is_empty()) {
        out.push(("title", join(input.names, name.max(16))));
    }
    if !input.details.is_empty() && detail > 0 {
        out.push(("detail", join(input.details, detail)));
    }
    if input.keys.is_empty() && input.names.is_empty() {
        let numbers: Vec<String> = order.iter().map(|row| format!("item {row}")).collect();
        out.push(("key", numbers.join("\n")));
    }
    out
}

/// The table before it is deflated: the header's length (u32, little endian), the header as JSON, then the columns: of the numbers, how
/// many each ID shares with the one before it (a byte), and a level at a time the numbers that it does not share (LEB128; the first
/// of them as the difference, which is positive, as IDs ascend); of the texts, UTF-8 lines.
fn table(
    input: &ReportInput<'_>,
    ids: &Codes,
    order: &[usize],
    columns: Vec<(&'static str, String)>,
) -> Result<Vec<u8>> {
    let (width, levels) = (ids.levels(), input.codes.levels());
    let mut streams: Vec<Vec<u8>> = vec![Vec::new(); 1 + width];
    let none = vec![0; width];
    for (i, row) in order.iter().enumerate() {
        let before = if i > 0 { ids.row(order[i - 1]) } else { &none };
        let id = ids.row(*row);
        let shared = if i > 0 { shared_prefix(before, id) } else { 0 };
        streams[0].push(shared as u8);
        for level in shared..width {
            let base = if level == shared { before[level] } else { 0 };
            leb128(&mut streams[1 + level], id[level] - base);
        }
    }
    let mut names = Vec::new();
    for (name, text) in columns {
        names.push(name);
        streams.push(text.into_bytes());
    }
    // A further level that numbers items is a level like any other.
    let counter = width > levels && input.spelling.as_ref().is_none_or(|spelling| spelling.counter);
    let head = TableHeader {
        items: order.len(),
        width,
        levels: if counter { levels } else { width },
        counter,
        sizes: input.codebook_sizes,
        spelling: input.spelling.as_ref(),
        columns: names,
        streams: streams.iter().map(Vec::len).collect(),
    };
    let head = serde_json::to_vec(&head).map_err(|e| Error::Data(format!("the header of the items: {e}")))?;
    let mut out = (head.len() as u32).to_le_bytes().to_vec();
    out.extend(head);
    streams.iter().for_each(|stream| out.extend(stream));
    Ok(out)
}

fn leb128(out: &mut Vec<u8>, mut value: u32) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zlib, which has a checksum, at the level whose bytes are the same everywhere.
fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let done = writer.write_all(bytes).and_then(|()| writer.finish());
    done.map_err(|e| Error::Data(format!("the items cannot be deflated: {e}")))
}

/// The section: the box, its examples, and where the script puts what it finds.
pub(super) fn section(input: &ReportInput<'_>, ids: &Codes, order: &[usize], index: &SearchIndex) -> String {
    let Some(&row) = order.get(order.len() / 2) else { return String::new() };
    let (levels, id) = (input.codes.levels(), ids.row(row));
    let plain = |codes: &[u32]| codes.iter().map(u32::to_string).collect::<Vec<_>>().join("-");
    let mut examples = vec![plain(&id[..levels])];
    if levels > 1 {
        examples.push(plain(&id[..levels - 1]));
    }
    if let Some(spelling) = &input.spelling {
        let spelled = spelling.write(&id[..levels]);
        if !examples.contains(&spelled) {
            examples.push(spelled);
        }
    }
    for texts in [input.names, input.keys] {
        let text = texts.get(row).map_or("", |text| text.trim());
        if !text.is_empty() && text.chars().count() <= 40 && !examples.iter().any(|e| e == text) {
            examples.push(clean(text, 40).collect());
        }
    }
    let mut buttons = String::new();
    for example in &examples {
        let text = escape(example, 200);
        let _ = write!(buttons, " <button type=\"button\" data-query=\"{text}\">{text}</button>");
    }
    let what = match (input.names.is_empty(), input.keys.is_empty()) {
        (true, true) => "an item’s number",
        (true, false) => "a key",
        (false, true) => "a part of a name",
        (false, false) => "a part of a title or key",
    };
    let cut = match index.cut {
        cut if cut == CUTS[0] => String::new(),
        (0, _) if !input.keys.is_empty() => " There was no room for titles: keys are looked for.".into(),
        (name, 0) if !input.details.is_empty() => {
            format!(" Of a name the first {} characters are looked at, its details are not.", name.max(16))
        }
        (name, _) => format!(" Of a title the first {} characters are looked at.", name.max(16)),
    };
    format!(
        "<section id=\"search\"><h2>Find an item</h2><p class=\"soft\">By an ID, the beginning of one, or {what}; among {}, \
         all inside this page.{cut}</p><noscript><p>Searching needs JavaScript, which is off here.</p></noscript><div id=\"ask\" \
         hidden><div class=\"tools\"><label for=\"query\">Find <input id=\"query\" type=\"search\" autocomplete=\"off\" \
         autocapitalize=\"none\" spellcheck=\"false\" aria-controls=\"hits near\"></label><output id=\"told\" for=\"query\" \
         aria-live=\"polite\"></output></div><p class=\"try\">Try{buttons}</p></div><div id=\"found\"><div id=\"hits\"></div><div \
         id=\"near\"></div></div><script id=\"items\" type=\"text/plain\">{}</script></section>\n",
        items(order.len()),
        index.base64
    )
}

/// What stands in the section's place where the items do not fit.
pub(super) fn too_many(rows: usize, max_bytes: usize) -> String {
    format!(
        "{} are too many for a page of {} bytes, so only those that the tree lists can be found here.",
        items(rows),
        whole(max_bytes)
    )
}
