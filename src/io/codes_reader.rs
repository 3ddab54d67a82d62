//! Reads codes from `.npy`, `.parquet`, `.jsonl` or `.csv`.

use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use super::lines::{Lines, csv_bad, json_bad};
use super::npy;
use super::open::extension;
use super::window::Window;
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// Codes as a file holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodesFile {
    /// `[rows, levels]`, in the file's order.
    pub codes: Codes,
    /// The row number in the original input of each row, if the file holds them.
    pub rows: Option<Vec<u64>>,
}

/// A code table that grows by rows of equal length.
#[derive(Default)]
pub(crate) struct Table {
    levels: usize,
    codes: Vec<u32>,
    numbers: Vec<u64>,
}

impl Table {
    pub(crate) fn rows(&self) -> usize {
        self.codes.len().checked_div(self.levels).unwrap_or(0)
    }

    pub(crate) fn push(&mut self, w: &Window, codes: impl Iterator<Item = Result<u32>>) -> Result<()> {
        let (row, before) = (self.rows(), self.codes.len());
        for code in codes {
            self.codes.push(code?);
        }
        let levels = self.codes.len() - before;
        if levels == 0 {
            return Err(w.bad(format_args!("row {row} holds no codes")));
        }
        if self.levels == 0 {
            self.levels = levels;
        }
        check_shape("levels", self.levels, levels, format!("{}, row {row}", w.name()))
    }

    pub(crate) fn push_number(&mut self, number: u64) {
        self.numbers.push(number);
    }

    fn finish(self, w: &Window) -> Result<CodesFile> {
        let rows = self.rows();
        if rows == 0 {
            return Err(w.bad("holds no codes"));
        }
        let numbers = self.numbers.len();
        if numbers != 0 && numbers != rows {
            return Err(w.bad(format_args!("only {numbers} of {rows} rows say their row number")));
        }
        let codes = Codes::from_vec(rows, self.levels, self.codes)?;
        Ok(CodesFile { codes, rows: Some(self.numbers).filter(|n| !n.is_empty()) })
    }
}

/// Checks that an integer of the file is a code.
pub(crate) fn code(w: &Window, row: usize, value: i128) -> Result<u32> {
    u32::try_from(value).map_err(|_| w.bad(format_args!("row {row} holds {value}, expected a code from 0 to 2^32 - 1")))
}

/// Reads codes in the forms that [`CodesWriter`](super::CodesWriter) writes, into memory.
///
/// A `.npy` may hold any integers, in C or Fortran order; the list column of a `.parquet` too. `.jsonl` and `.csv`
/// may hold other fields beside `codes` and `code_0`, `code_1`, …; those are passed over.
///
/// # Errors
/// If the file cannot be read, is none of these formats, holds no codes, rows of unequal length, or a number that is
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
        other => {
            let problem = format!("codes are read from .npy, .parquet, .jsonl or .csv, got `.{other}`");
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
    Err(w.bad("is a parquet file, which this build does not read; build with `--features parquet`"))
}

/// Calls `begin` with the shape of an integer `.npy`, in C or Fortran order, then `each` with every row.
pub(crate) fn read_integers(
    w: &Window,
    begin: &mut dyn FnMut(usize, usize) -> Result<()>,
    each: &mut dyn FnMut(usize, &[i128]) -> Result<()>,
) -> Result<()> {
    let header = npy::read_header(w)?;
    if !matches!(header.kind, b'u' | b'i') {
        return Err(w.bad(format_args!("holds `{}`, expected integers", header.descr)));
    }
    let (rows, levels) = header.check(w)?;
    // Both fit: the file was checked to hold as many bytes.
    let size = header.size_bytes as usize;
    let bytes = w.bytes(header.start, rows * levels * size)?;
    let signed = header.kind == b'i';
    let value = |item: &[u8]| {
        let mut wide = [0u8; 8];
        for (i, byte) in item.iter().enumerate() {
            wide[if header.big_endian { size - 1 - i } else { i }] = *byte;
        }
        let shift = 64 - 8 * size;
        let bits = u64::from_le_bytes(wide) << shift;
        if signed { i128::from(bits as i64 >> shift) } else { i128::from(bits >> shift) }
    };
    begin(rows, levels)?;
    let mut values = vec![0i128; levels];
    for row in 0..rows {
        let at = |level: usize| if header.columns { level * rows + row } else { row * levels + level };
        values.iter_mut().enumerate().for_each(|(l, v)| *v = value(&bytes[at(l) * size..(at(l) + 1) * size]));
        each(row, &values)?;
    }
    Ok(())
}

fn read_npy(w: &Window, table: &mut Table) -> Result<()> {
    read_integers(w, &mut |_, _| Ok(()), &mut |row, values| {
        table.push(w, values.iter().map(|value| code(w, row, *value)))
    })
}

#[derive(Deserialize)]
struct Line {
    row: Option<u64>,
    codes: Vec<i128>,
}

fn read_jsonl(w: &Window, table: &mut Table) -> Result<()> {
    let mut lines = Lines::new(BufReader::new(w.reader()), w.path());
    while let Some((number, text)) = lines.next()? {
        let line: Line = serde_json::from_str(text).map_err(|e| json_bad(w.path(), number, &e))?;
        let row = table.rows();
        table.push(w, line.codes.into_iter().map(|value| code(w, row, value)))?;
        if let Some(number) = line.row {
            table.push_number(number);
        }
    }
    Ok(())
}

fn read_csv(w: &Window, table: &mut Table) -> Result<()> {
    let mut reader = csv::Reader::from_reader(BufReader::new(w.reader()));
    let headers = reader.headers().map_err(|e| csv_bad(w.path(), &e))?.clone();
    let at = |name: &str| headers.iter().position(|h| h == name);
    let columns: Vec<usize> = (0..headers.len()).map_while(|l| at(&format!("code_{l}"))).collect();
    if columns.is_empty() {
        let names: Vec<&str> = headers.iter().take(20).collect();
        return Err(w.bad(format_args!("has no column `code_0`; it holds `{}`", names.join("`, `"))));
    }
    let numbers = at("row");
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| csv_bad(w.path(), &e))? {
        let line = record.position().map_or(0, csv::Position::line);
        let row = table.rows();
        let wrong = |field: &str| w.bad(format_args!("line {line}: `{field}` is not an integer"));
        let codes = columns.iter().map(|c| {
            let field = record.get(*c).unwrap_or_default();
            code(w, row, field.parse().map_err(|_| wrong(field))?)
        });
        table.push(w, codes)?;
        if let Some(field) = numbers.and_then(|c| record.get(c)) {
            table.push_number(field.parse().map_err(|_| wrong(field))?);
        }
    }
    Ok(())
}
