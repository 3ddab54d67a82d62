//! Rows for a run: opened, screened, and stopped on request.

use crate::plan::RowsPlan;
use crate::progress;
use sememe::io::OpenOptions;
use sememe::{BadRows, Error, Result, RowSource, Screened};
use std::path::Path;

/// A source that gives up once a stop is asked for, so that work without an observer stops too.
pub struct Stoppable<S>(pub S);

impl<S: RowSource> RowSource for Stoppable<S> {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn dims(&self) -> usize {
        self.0.dims()
    }
    fn name(&self) -> String {
        self.0.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        if progress::stopped() {
            return Err(Error::Interrupted(String::new()));
        }
        self.0.read_rows(start, out)
    }
}

/// Rows as they are, to be refused by whoever reads them if they are bad, or less the bad ones.
pub enum Input {
    Whole(Stoppable<Box<dyn RowSource>>),
    Screened(Screened<Stoppable<Box<dyn RowSource>>>),
}

impl Input {
    /// Opens the files; under `drop` it is read once to find the bad rows.
    pub fn open(plan: &RowsPlan) -> Result<Self> {
        let options = OpenOptions { array: plan.array.clone(), ..OpenOptions::default() };
        let paths: Vec<&Path> = plan.paths().collect();
        Self::over(sememe::io::open_all(&paths, &options)?, plan.on_bad)
    }

    /// Wraps any source.
    pub fn over(source: Box<dyn RowSource>, on_bad: BadRows) -> Result<Self> {
        let source = Stoppable(source);
        Ok(match on_bad {
            BadRows::Refuse => Input::Whole(source),
            BadRows::Drop => Input::Screened(Screened::new(source, BadRows::Drop)?),
        })
    }

    /// Rows left out, ascending.
    pub fn dropped(&self) -> &[u64] {
        match self {
            Input::Whole(_) => &[],
            Input::Screened(screened) => screened.dropped(),
        }
    }

    /// Row number in the file.
    pub fn original(&self, index: usize) -> u64 {
        match self {
            Input::Whole(_) => index as u64,
            Input::Screened(screened) => screened.original(index),
        }
    }

    fn source(&self) -> &dyn RowSource {
        match self {
            Input::Whole(source) => source,
            Input::Screened(source) => source,
        }
    }
}

impl RowSource for Input {
    fn rows(&self) -> usize {
        self.source().rows()
    }
    fn dims(&self) -> usize {
        self.source().dims()
    }
    fn name(&self) -> String {
        self.source().name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.source().read_rows(start, out)
    }
}
