//! Readers of the library: embeddings, codes, codecs, IDs, stores.

use sememe::eval::interpret_codes;
use sememe::ids::store::{open_existing, without_password};
use sememe::ids::{IdTemplate, TextFormat, Tokenizer, Trie, Vocabulary};
use sememe::io::{self, EventItem, OpenOptions};
use sememe::{Codec, EncodeOptions, Matrix, RowSource};

use crate::Scratch;
use crate::sealed::{framed, resealed};

/// What a body itself takes at most for what a file claims to hold.
const SAMPLE: usize = 1 << 16;

fn rows(name: &str, bytes: &[u8], scratch: &Scratch) {
    let path = scratch.file(name, bytes);
    for array in [None, Some("embeddings".to_owned()), Some("b".to_owned())] {
        let Ok(source) = io::open(&path, &OpenOptions { array, ..OpenOptions::default() }) else { continue };
        read_both_ends(&*source);
    }
}

fn read_both_ends(source: &dyn RowSource) {
    let (rows, dims) = (source.rows(), source.dims());
    assert!(rows > 0 && dims > 0, "an open file of {rows} rows of {dims} values");
    if dims <= SAMPLE {
        let mut out = vec![0.0; rows.min(SAMPLE / dims) * dims];
        let _ = source.read_rows(0, &mut out);
        let _ = source.read_rows(rows - 1, &mut out[..dims]);
        // Past the end: refused, whatever the file holds.
        assert!(source.read_rows(rows, &mut out[..dims]).is_err(), "row {rows} of {rows} was read");
    }
}

pub fn npy(bytes: &[u8], scratch: &Scratch) {
    rows("a.npy", bytes, scratch);
}

pub fn npz(bytes: &[u8], scratch: &Scratch) {
    rows("a.npz", bytes, scratch);
}

pub fn safetensors(bytes: &[u8], scratch: &Scratch) {
    rows("a.safetensors", bytes, scratch);
    if let Some(file) = framed(bytes) {
        rows("b.safetensors", &file, scratch);
    }
}

pub fn parquet_rows(bytes: &[u8], scratch: &Scratch) {
    rows("a.parquet", bytes, scratch);
}

fn codes(name: &str, bytes: &[u8], scratch: &Scratch) {
    let Ok(file) = io::read_codes_file(scratch.file(name, bytes)) else { return };
    let (count, levels) = (file.codes.rows(), file.codes.levels());
    assert!(count > 0 && levels > 0);
    for (sizes, rows) in [(None, None), (Some(&[256][..]), None), (None, Some(count)), (None, Some(levels))] {
        let Ok(table) = interpret_codes(file.codes.clone(), sizes, rows) else { continue };
        // What was taken for codes can be counted; nobody has so many codewords that this takes memory of its own.
        if table.codebook_sizes.iter().all(|size| *size <= SAMPLE) {
            let _ = sememe::eval::measure_codes(&table.codes, &table.codebook_sizes);
        }
    }
}

pub fn codes_npy(bytes: &[u8], scratch: &Scratch) {
    codes("c.npy", bytes, scratch);
}

pub fn codes_parquet(bytes: &[u8], scratch: &Scratch) {
    codes("c.parquet", bytes, scratch);
}

pub fn codes_text(bytes: &[u8], scratch: &Scratch) {
    codes("c.jsonl", bytes, scratch);
    codes("c.csv", bytes, scratch);
}

/// A codec that loads is used, and saves as what it was.
pub fn codec(bytes: &[u8], _: &Scratch) {
    let framed = framed(bytes);
    let loaded = resealed(bytes, Codec::from_bytes);
    let Some(codec) = loaded.or_else(|| resealed(framed.as_deref()?, Codec::from_bytes)) else { return };
    let saved = codec.to_bytes().expect("a codec that loaded is saved");
    let again = Codec::from_bytes(&saved).expect("a codec that was saved loads");
    assert_eq!(again.to_bytes().expect("saved again"), saved);
    use_codec(&codec);
}

pub fn use_codec(codec: &Codec) {
    let (dims, codewords) = (codec.dims(), codec.codebook_sizes().iter().sum::<usize>());
    if dims > 256 || codewords > 4096 {
        return;
    }
    let values = (0..3 * dims).map(|at| if at < dims { 0.0 } else { (at % 7) as f32 - 3.0 }).collect();
    let rows = Matrix::from_vec(3, dims, values).expect("three rows");
    if let Ok(encoder) = codec.encoder(&sememe::Device::cpu(), &EncodeOptions::default()) {
        let beam = encoder.beam();
        let (fast, exact) = (encoder.encode(&rows), codec.encode_reference(&rows, beam));
        if let (Ok(fast), Ok(exact)) = (&fast, &exact) {
            assert_eq!(fast.codes, *exact, "the device's codes are the reference's");
        }
        if let Ok(codes) = exact {
            let _ = codec.decode(&codes);
        }
    }
}

pub fn trie(bytes: &[u8], scratch: &Scratch) {
    let Ok(trie) = Trie::from_bytes(bytes.to_vec()) else { return };
    let _ = trie.verify();
    let mut ids = 0;
    let _ = trie.for_each(|id, items| {
        ids += 1;
        assert!(id.len() <= trie.depth());
        let _ = (trie.items(id), items.len());
        if ids < 1000 { Ok(()) } else { Err(()) }
    });
    let mut prefix = Vec::new();
    for _ in 0..trie.depth().min(64) {
        let allowed = trie.allowed(&prefix);
        assert!(!allowed.is_empty(), "no token is allowed after {prefix:?}");
        prefix.push(allowed[0]);
    }
    let flat = |fronts: &mut [sememe::ids::Frontier<'_>]| {
        fronts.iter_mut().for_each(|front| front.scores.fill(0.0));
        Ok(())
    };
    // Each step of a search is a call for the whole beam; a depth of billions is a loop, not a fault.
    if trie.depth() <= 4096 {
        let _ = trie.beam(4, flat);
        let _ = trie.static_layout(0..1000, 1);
    }
    let mapped = Trie::load(scratch.file("t.trie", bytes)).expect("a file loads as its bytes do");
    assert_eq!(mapped.item_count(), trie.item_count());
}

pub fn tokenizer(bytes: &[u8], scratch: &Scratch) {
    let Ok(tokenizer) = Tokenizer::load(scratch.file("tokenizer.json", bytes)) else { return };
    let format = TextFormat::preset(sememe::ids::Style::LcRec, &[2, 2]).expect("a preset");
    let Ok(vocabulary) = Vocabulary::new(&format, 0, tokenizer.next_id(), &[]) else { return };
    let Ok(text) = tokenizer.with_tokens(&vocabulary) else { return };
    let again = Tokenizer::parse(&text).expect("a file that was given tokens is read");
    assert_eq!(again.id("<a_0>").is_some(), vocabulary.tokens().iter().any(|token| token == "<a_0>"));
}

/// The spelling on the first line, as JSON; IDs after it.
pub fn id_text(bytes: &[u8], _: &Scratch) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, ids) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(template) = serde_json::from_str::<IdTemplate>(first) else { return };
    for sizes in [&[4u32 as usize, 256][..], &[1, 1, 1], &[70_000]] {
        let Ok(format) = TextFormat::new(template.clone(), sizes) else { continue };
        let with_counter = format.clone().with_counter();
        for format in [Some(format), with_counter.ok()].into_iter().flatten() {
            for id in ids.lines() {
                if let Ok(codes) = format.parse(id) {
                    assert_eq!(format.write(&codes).expect("codes that were read are written"), id);
                }
            }
            let last: Vec<u32> = sizes.iter().map(|size| *size as u32 - 1).chain([0]).take(format.width()).collect();
            if let Ok(text) = format.write(&last) {
                assert_eq!(format.parse(&text).expect("an ID that was written is read"), last, "`{text}`");
            }
        }
    }
}

pub fn ids(bytes: &[u8], scratch: &Scratch) {
    for name in ["i.txt", "i.jsonl", "i.csv"] {
        let _ = io::read_ids(scratch.file(name, bytes), &mut |_| Ok(()));
    }
}

pub fn labels_parquet(bytes: &[u8], scratch: &Scratch) {
    let path = scratch.file("l.parquet", bytes);
    for field in ["label", "codes", "e", "row"] {
        let _ = io::read_labels(&path, field);
    }
}

fn fields(name: &str, bytes: &[u8], scratch: &Scratch) {
    let path = scratch.file(name, bytes);
    let _ = io::read_titles(&path, "title");
    let _ = io::read_keys(&path, "id");
    let _ = io::read_labels(&path, "title");
}

pub fn catalogue(bytes: &[u8], scratch: &Scratch) {
    fields("t.jsonl", bytes, scratch);
    fields("t.csv", bytes, scratch);
}

pub fn catalogue_gz(bytes: &[u8], scratch: &Scratch) {
    fields("t.jsonl.gz", bytes, scratch);
}

pub fn events(bytes: &[u8], scratch: &Scratch) {
    let row_of = |item: EventItem<'_>| match item {
        EventItem::Number(n) => u32::try_from(n % 16).ok().filter(|n| *n != 13),
        EventItem::Text(text) => Some(text.len() as u32 % 16),
    };
    for name in ["e.jsonl", "e.csv", "e.npy"] {
        if let Ok(read) = io::read_events(scratch.file(name, bytes), &io::EventFields::default(), &row_of) {
            assert_eq!(read.users.len(), read.sequences.users());
        }
    }
}

pub fn store(bytes: &[u8], scratch: &Scratch) {
    let Ok(mut store) = open_existing(scratch.file("s.sqlite", bytes)) else { return };
    let levels = store.levels();
    let _ = (store.codec_hash().len(), store.count(), store.risks());
    let _ = store.get(&["nano", "vi"]);
    if levels <= SAMPLE {
        let codes = vec![1u32; levels];
        let _ = store.with_prefix(&codes[..levels.min(1)], 10);
        let _ = store.assign(&[("new", &codes), ("nano", &codes)]);
    }
    let _ = store.delete(&["nano"]);
    let _ = store.count();
}

pub fn store_place(bytes: &[u8], _: &Scratch) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let shown = without_password(text);
    assert!(shown.len() <= text.len() + 3 * text.matches('&').count() + 6);
}
