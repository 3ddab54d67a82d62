//! Embeddings that a verb reads: their plan, and rows that are screened and stop on request.

use crate::progress;
use crate::progress::Progress;
use crate::rows_plan::RowsPlan;
use crate::text::whole;
use sememe::io::OpenOptions;
use sememe::{BadRows, Codec, Codes, Encoder, Error, Metric, RowSource, Screened};
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
    fn read_rows(&self, start: usize, out: &mut [f32]) -> sememe::Result<()> {
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
    pub fn open(plan: &RowsPlan) -> sememe::Result<Self> {
        Self::open_for(plan, Metric::SquaredL2)
    }

    /// Opens the file for a metric: rows of zeros have no direction and are bad for cosine.
    pub fn open_for(plan: &RowsPlan, metric: Metric) -> sememe::Result<Self> {
        let options = OpenOptions { array: plan.array.clone(), ..OpenOptions::default() };
        let paths: Vec<&Path> = plan.paths().collect();
        let source = sememe::io::open_all(&paths, &options)?;
        match metric {
            Metric::SquaredL2 => Self::over(source, plan.on_bad),
            Metric::Cosine => Ok(Input::Screened(Screened::directions(Stoppable(source), plan.on_bad)?)),
        }
    }

    /// Wraps any source.
    pub fn over(source: Box<dyn RowSource>, on_bad: BadRows) -> sememe::Result<Self> {
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
    fn read_rows(&self, start: usize, out: &mut [f32]) -> sememe::Result<()> {
        self.source().read_rows(start, out)
    }
}

/// Refuses rows that the codec cannot take, before anything is written.
pub fn check_dims(codec: &Codec, source: &dyn RowSource) -> sememe::Result<()> {
    let (expected, got) = (codec.dims(), source.dims());
    if expected == got { Ok(()) } else { Err(Error::Shape { what: "d", expected, got, place: source.name() }) }
}

/// Says which rows were left out.
pub fn report_dropped(input: &Input, progress: &Progress) {
    if let [first, ..] = input.dropped() {
        let (dropped, zeros) = (input.dropped().len(), input.dropped_zeros());
        let (count, all) = (whole(dropped as u64), whole((dropped + input.rows()) as u64));
        let zero = format!("{} of zeros, which have no direction for cosine", whole(zeros as u64));
        let what = match zeros {
            0 => "with NaN, infinity or a missing value".to_owned(),
            z if z == dropped => "of zeros, which have no direction for cosine".to_owned(),
            _ => format!("({zero}; the others with NaN, infinity or a missing value)"),
        };
        progress.note(&format!("dropped {count} of {all} rows {what}, the first is row {first}"));
    }
}

/// All codes of a source.
pub fn encode_all(
    encoder: &Encoder,
    codec: &Codec,
    rows: &dyn RowSource,
    progress: &Progress,
) -> sememe::Result<Codes> {
    let levels = codec.levels();
    let mut codes = Codes::zeros(rows.rows(), levels);
    encoder.encode_source(rows, progress, &mut |start, part| {
        codes.as_mut_slice()[start * levels..][..part.len()].copy_from_slice(part);
        Ok(())
    })?;
    Ok(codes)
}
