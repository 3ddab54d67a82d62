//! Rows for a run: opened, screened, and stopped on request.

use crate::plan::RowsPlan;
use crate::progress;
use sememe::io::OpenOptions;
use sememe::{BadRows, Codec, Error, Metric, Result, RowSource, Screened};
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

/// What rows for several codecs have to serve: cosine if any compares by it.
pub fn strictest(codecs: &[&Codec]) -> Metric {
    let cosine = codecs.iter().any(|codec| codec.metric() == Metric::Cosine);
    if cosine { Metric::Cosine } else { Metric::SquaredL2 }
}

/// Rows as they are, to be refused by whoever reads them if they are bad, or less the bad ones.
pub enum Input {
    Whole(Stoppable<Box<dyn RowSource>>),
    Screened(Screened<Stoppable<Box<dyn RowSource>>>),
}

impl Input {
    /// Opens the files; under `drop` it is read once to find the bad rows.
    pub fn open(plan: &RowsPlan) -> Result<Self> {
        Self::open_for(plan, Metric::SquaredL2)
    }

    /// Opens the file for a metric: rows of zeros have no direction and are bad for cosine.
    pub fn open_for(plan: &RowsPlan, metric: Metric) -> Result<Self> {
        let options = OpenOptions { array: plan.array.clone(), ..OpenOptions::default() };
        let paths: Vec<&Path> = plan.paths().collect();
        let source = sememe::io::open_all(&paths, &options)?;
        match metric {
            Metric::SquaredL2 => Self::over(source, plan.on_bad),
            Metric::Cosine => Ok(Input::Screened(Screened::directions(Stoppable(source), plan.on_bad)?)),
        }
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

    /// How many of them were rows of zeros.
    pub fn dropped_zeros(&self) -> usize {
        match self {
            Input::Whole(_) => 0,
            Input::Screened(screened) => screened.dropped_zeros(),
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
