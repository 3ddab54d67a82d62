//! A table of codes as it is read: row by row, from any format.

use super::window::Window;
use crate::data::Codes;
use crate::error::{Result, check_shape};

/// Codes as a file holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodesFile {
    /// `[rows, levels]`, in the order of the row numbers, or of the file if it holds none.
    pub codes: Codes,
    /// The row number in the original input of each row, ascending, if the file holds them.
    pub rows: Option<Vec<u64>>,
    /// What each row's item is called, if the file says it.
    pub keys: Option<Vec<String>>,
}

/// A code table that grows by rows of equal length.
#[derive(Default)]
pub(crate) struct Table {
    levels: usize,
    codes: Vec<u32>,
    numbers: Vec<u64>,
    keys: Vec<String>,
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

    pub(crate) fn push_key(&mut self, key: String) {
        self.keys.push(key);
    }

    /// The table in the order of the row numbers.
    ///
    /// # Errors
    /// If it is empty, only some rows have a number, or two the same.
    pub(crate) fn finish(mut self, w: &Window) -> Result<CodesFile> {
        let rows = self.rows();
        if rows == 0 {
            return Err(w.bad("holds no codes"));
        }
        let numbers = self.numbers.len();
        if numbers != 0 && numbers != rows {
            return Err(w.bad(format_args!("only {numbers} of {rows} rows say their row number")));
        }
        let keys = self.keys.len();
        if keys != 0 && keys != rows {
            return Err(w.bad(format_args!("only {keys} of {rows} rows say their key")));
        }
        if numbers != 0 {
            self.sort(w)?;
        }
        let codes = Codes::from_vec(rows, self.levels, self.codes)?;
        let (numbers, keys) = (Some(self.numbers).filter(|n| !n.is_empty()), Some(self.keys).filter(|k| !k.is_empty()));
        Ok(CodesFile { codes, rows: numbers, keys })
    }

    /// Puts rows in the order of their numbers, and refuses a number that two rows have.
    fn sort(&mut self, w: &Window) -> Result<()> {
        if self.numbers.is_sorted_by(|a, b| a < b) {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..self.numbers.len()).collect();
        order.sort_unstable_by_key(|i| (self.numbers[*i], *i));
        if let Some(pair) = order.windows(2).find(|pair| self.numbers[pair[0]] == self.numbers[pair[1]]) {
            let (number, a, b) = (self.numbers[pair[0]], pair[0], pair[1]);
            return Err(w.bad(format_args!(
                "holds row number {number} twice, in its rows {a} and {b}; every row has one ID, so leave one of them out"
            )));
        }
        let levels = self.levels;
        self.codes = order.iter().flat_map(|i| &self.codes[i * levels..(i + 1) * levels]).copied().collect();
        self.numbers = order.iter().map(|i| self.numbers[*i]).collect();
        if !self.keys.is_empty() {
            self.keys = order.iter().map(|i| std::mem::take(&mut self.keys[*i])).collect();
        }
        Ok(())
    }
}

/// Checks that an integer of the file is a code.
pub(crate) fn code(w: &Window, row: usize, value: i128) -> Result<u32> {
    u32::try_from(value).map_err(|_| w.bad(format_args!("row {row} holds {value}, expected a code from 0 to 2^32 - 1")))
}
