//! `sememe trie`.

use crate::output::{print, print_json};
use crate::text::{count, size};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::ids::Trie;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Flags {
    /// Trie that `export` wrote
    #[arg(value_name = "TRIE", value_hint = ValueHint::FilePath)]
    pub trie: PathBuf,
    /// Numbers of the tokens so far
    #[arg(value_name = "TOKEN")]
    pub prefix: Vec<u32>,
    /// First read all of it and check its hash
    #[arg(long)]
    pub verify: bool,
}

/// Tokens and items that the text lists before it breaks off; JSON has all of them.
const SHOWN: usize = 40;

/// Reads a trie and answers one question. Not by a memory map, though one would do for a single question: nobody promises the program that
/// the file does not change meanwhile.
pub fn run(flags: &Flags, json: bool) -> Result<()> {
    let trie = Trie::load(&flags.trie)?;
    if flags.verify {
        trie.verify()?;
    }
    let (allowed, items) = (trie.allowed(&flags.prefix), trie.items(&flags.prefix));
    let known = trie.node(&flags.prefix).is_some();
    if json {
        return print_json(&json!({
            "trie": flags.trie.display().to_string(),
            "bytes": trie.len_bytes(),
            "items": trie.item_count(),
            "prefixes": trie.nodes(),
            "depth": trie.depth(),
            "end_token_id": trie.end(),
            "verified": flags.verify,
            "prefix": flags.prefix,
            "known": known,
            "allowed": allowed,
            "rows": items,
        }));
    }
    let list = |all: &[u32]| {
        let shown: Vec<String> = all.iter().take(SHOWN).map(u32::to_string).collect();
        let more = if all.len() > SHOWN { format!(" … of {}", all.len()) } else { String::new() };
        format!("{}{more}", shown.join(" "))
    };
    let mut text = format!(
        "{}: {}, {} tokens deep, {}, ended by {}{}\n",
        flags.trie.display(),
        count(trie.item_count() as u64, "item"),
        trie.depth(),
        size(trie.len_bytes() as u64),
        trie.end(),
        if flags.verify { ", whole" } else { "" }
    );
    let what = if known { "next" } else { "no ID starts so; next" };
    text.push_str(&format!("{what}: {}\n", list(&allowed)));
    if !items.is_empty() {
        text.push_str(&format!("rows on this ID: {}\n", list(&items)));
    }
    print(&text)
}
