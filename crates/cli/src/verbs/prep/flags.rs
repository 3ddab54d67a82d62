//! Flags of `sememe prep`.

use crate::flags::{OnBad, OnDuplicateChoice, UnicodeChoice};
use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe prep shop.db --table products --key sku --template '{name}[ by {brand}][. {description:500}]' -o prepared.sqlite
  sememe prep shop.db --query 'SELECT id, name FROM products WHERE sold' --template '{name}' -o items.parquet -o items.jsonl
  sememe prep items.jsonl.gz --template '{title}[. Tags: {tags}]' --title title -o prepared.jsonl

In a template, {field} stands for a field and {field:500} for its first 500 characters. [What stands in brackets] is left out where
one of its fields is empty. Write braces and brackets twice to have them in the text.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Items: an SQLite database, .jsonl, .jsonl.gz, .csv, .tsv or .parquet
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub source: PathBuf,
    /// Output, sorted by key: .sqlite, .db, .parquet or .jsonl; may be given several times
    #[arg(long, short, value_name = "OUT", required = true, value_hint = ValueHint::FilePath)]
    pub output: Vec<PathBuf>,
    /// How fields become a text: '{title}[ by {author}]'
    #[arg(long, value_name = "TEXT")]
    pub template: String,
    /// Field or column with each item's key
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
    /// Field or column to keep as the item's title
    #[arg(long, value_name = "NAME")]
    pub title: Option<String>,
    /// Table or view of an SQLite database [default: its only one]
    #[arg(long, value_name = "NAME", conflicts_with = "query")]
    pub table: Option<String>,
    /// SELECT statement to read instead of a table
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    /// Table to write in an SQLite output; other tables in that file stay as they are
    #[arg(long, value_name = "NAME", default_value = "prepared")]
    pub output_table: String,
    /// Leave HTML as it is; otherwise tags are removed and entities resolved
    #[arg(long)]
    pub keep_html: bool,
    #[arg(long, value_enum, default_value = "nfc", value_name = "FORM", hide_possible_values = true)]
    #[arg(help = "Unicode normal form: nfc, nfkc (variants of letters become the letter) or none")]
    pub unicode: UnicodeChoice,
    /// Text between the values of a field that is a list
    #[arg(long, value_name = "TEXT", default_value = ", ")]
    pub list_separator: String,
    /// At most so many characters per text; longer texts end at a blank, if there is one in the second half [default: no limit]
    #[arg(long, value_name = "N")]
    pub max_chars: Option<usize>,
    /// Keep only the first N items, by key
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(help = "What to do with rows without a key or a text: refuse the source, or drop them and count them")]
    pub on_bad: OnBad,
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(
        help = "What to do with several rows of one key: refuse the source, or keep the first or the last and say how many were left out"
    )]
    pub on_duplicate: OnDuplicateChoice,
    /// Read everything, show the result, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}
