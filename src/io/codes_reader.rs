//! Reads codes from `.npy`, `.parquet`, `.jsonl` or `.csv`.

use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::codes_table::{CodesFile, Table, code};
use super::csv_rows::CsvRows;
use super::index::read_index;
use super::integers::read_integers;
use super::json_objects::json_row;
use super::lines::Lines;
use super::options::extension;
use super::window::Window;
use crate::data::Codes;
use crate::error::{Error, Result};

/// Reads codes in the forms that [`CodesWriter`](super::CodesWriter) writes, into memory; and the tokens of an `index.json`.
///
/// A `.npy` may hold any integers, in C or Fortran order; the list column of a `.parquet` too. `.jsonl` and `.csv`
/// may hold other fields beside `row`, `key`, `codes` and `code_0`, `code_1`, …; those are passed over. In an `index.json`
/// (`{"key": ["<a_12>", "<b_5>"], …}`) a token's code is the last number in it, as it stands, and a first or last token without a number
/// is a special one; rows come in the order of the file, with their keys. Rows come in the order of their row numbers,
/// if the file holds them, whatever their order in the file.
///
/// # Errors
/// If the file cannot be read, is none of these formats, holds no codes, rows of unequal length, a row number twice, or a number that is
/// not a code (negative, or of more than 32 bits); errors name the row or line.
pub fn read_codes(path: impl AsRef<Path>) -> Result<Codes> {
    read_codes_file(path).map(|file| file.codes)
}

/// As [`read_codes`], with the row numbers.
///
/// # Errors
/// As for [`read_codes`], and if only some of the rows say their number.
pub fn read_codes_file(path: impl AsRef<Path>) -> Result<CodesFile> {
    let path = path.as_ref();
    let w = Window::open(path)?;
    let mut table = Table::default();
    match extension(path).as_str() {
        "npy" => read_npy(&w, &mut table)?,
        "jsonl" => read_jsonl(&w, &mut table)?,
        "csv" => read_csv(&w, &mut table)?,
        "parquet" => read_parquet(&w, &mut table)?,
        "json" => read_tokens(&w, &mut table)?,
        other => {
            let problem = format!("codes are read from .npy, .parquet, .jsonl, .csv or .json, got `.{other}`");
            return Err(Error::format(path, problem));
        }
    }
    table.finish(&w)
}

#[cfg(feature = "parquet")]
fn read_parquet(w: &Window, table: &mut Table) -> Result<()> {
    super::parquet_codes::read(w, table)
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(w: &Window, _: &mut Table) -> Result<()> {
    Err(w.bad("is a parquet file, which this build does not read").mend([crate::Remedy::build("parquet")]))
}

fn read_npy(w: &Window, table: &mut Table) -> Result<()> {
    read_integers(w, &mut |_, _| Ok(()), &mut |row, values| {
        table.push(w, values.iter().map(|value| code(w, row, *value)))
    })
}

#[derive(Deserialize)]
struct CodesLine {
    row: Option<u64>,
    key: Option<Value>,
    codes: Vec<i128>,
}

/// The code that a token names: the last number in it.
fn code_in(token: &str) -> Option<&str> {
    let end = token.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = token[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + token[at..].chars().next().map_or(1, char::len_utf8));
    Some(&token[start..end])
}

fn read_tokens(w: &Window, table: &mut Table) -> Result<()> {
    read_index(w.path(), &mut |key, tokens| {
        let row = table.rows();
        let last = tokens.len().saturating_sub(1);
        let codes = tokens.iter().enumerate().filter_map(|(i, token)| match code_in(token) {
            Some(digits) => {
                let past = |_| w.bad(format_args!("item `{key}` holds {digits}, expected a code from 0 to 2^32 - 1"));
                Some(digits.parse::<i128>().map_err(past).and_then(|value| code(w, row, value)))
            }
            None if i == 0 || i == last => None,
            None => Some(Err(Error::Data(format!("the token `{token}` holds no code")))),
        });
        table.push(w, codes)?;
        table.push_key(key.to_owned());
        Ok(())
    })
}

fn read_jsonl(w: &Window, table: &mut Table) -> Result<()> {
    let mut lines = Lines::new(BufReader::new(w.reader()), w.path());
    while let Some((number, text)) = lines.next()? {
        let line: CodesLine = json_row(w.path(), number, text)?;
        let row = table.rows();
        table.push(w, line.codes.into_iter().map(|value| code(w, row, value)))?;
        if let Some(number) = line.row {
            table.push_number(number);
        }
        match line.key {
            Some(Value::String(key)) => table.push_key(key),
            Some(Value::Number(key)) => table.push_key(key.to_string()),
            _ => {}
        }
    }
    Ok(())
}

fn read_csv(w: &Window, table: &mut Table) -> Result<()> {
    let mut rows = CsvRows::open(w.path())?;
    let columns: Vec<usize> = (0..rows.headers().len()).map_while(|l| rows.find(&format!("code_{l}"))).collect();
    if columns.is_empty() {
        return Err(rows.missing("has no column `code_0`"));
    }
    let (numbers, keys) = (rows.find("row"), rows.find("key"));
    while let Some(found) = rows.next_row()? {
        let line = found.line();
        let row = table.rows();
        let wrong = |field: &str| w.bad(format_args!("line {line}: `{field}` is not an integer"));
        let codes = columns.iter().map(|c| {
            let field = found.get(*c);
            code(w, row, field.parse().map_err(|_| wrong(field))?)
        });
        table.push(w, codes)?;
        if let Some(column) = numbers {
            let field = found.get(column);
            table.push_number(field.parse().map_err(|_| wrong(field))?);
        }
        if let Some(key) = keys.map(|column| found.get(column)).filter(|key| !key.is_empty()) {
            table.push_key(key.to_owned());
        }
    }
    Ok(())
}
