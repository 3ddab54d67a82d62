//! One batch: asked for as a whole, and where that fails in halves, until a text that cannot be embedded is alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::embedder::{EmbedCall, EmbedError, Embedder};
use super::options::EmbedOptions;
use sememe::data::{Matrix, first_non_finite};
use sememe::unit_rows;
use sememe::{Error, Remedy, Result};

/// Any model can embed it: one that cannot is at fault itself.
const PROBE: &str = "a";

/// A batch's text, and the key of the first item that has it.
#[derive(Clone, Copy)]
pub(super) struct BatchText<'a> {
    pub(super) key: &'a str,
    pub(super) text: &'a str,
}

/// Result of a batch.
#[derive(Default)]
pub(super) struct BatchResult {
    /// Vectors, with the texts that they are of.
    pub(super) good: Vec<(Range<usize>, Matrix)>,
    /// Texts that cannot be embedded, and why.
    pub(super) refused: Vec<(usize, Error)>,
}

/// Embeds batches of texts with a model; used from several threads at once.
pub(super) struct BatchEmbedder<'a> {
    embedder: &'a dyn Embedder,
    options: &'a EmbedOptions,
    stop: &'a AtomicBool,
    /// Texts that a call may have: fewer than a batch once it is known that the model does not take so many.
    most: AtomicUsize,
    /// Values of a vector; 0 until that is known.
    dims: AtomicUsize,
    calls: AtomicUsize,
}

/// The vectors of a call; those of some texts may be none.
struct CallVectors {
    matrix: Matrix,
    /// Rows that cannot be used.
    bad: Vec<(usize, Error)>,
}

impl<'a> BatchEmbedder<'a> {
    /// `dims` values of a vector, 0 if that is not known yet.
    pub(super) fn new(
        embedder: &'a dyn Embedder,
        options: &'a EmbedOptions,
        dims: usize,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            embedder,
            options,
            stop,
            most: AtomicUsize::new(usize::MAX),
            dims: AtomicUsize::new(dims),
            calls: AtomicUsize::new(0),
        }
    }

    /// Values of a vector; 0 until that is known.
    pub(super) fn dims(&self) -> usize {
        self.dims.load(Ordering::Relaxed)
    }

    /// Calls of the model so far.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Asks for a batch. A text is refused alone, and only by a model that can embed another one: what is wrong with all of them is an
    /// error, and is found out in about log₂ of the batch's size calls. One refused text takes twice that.
    ///
    /// # Errors
    /// What no part of the batch would help against.
    pub(super) fn ask(&self, batch: &[BatchText<'_>]) -> Result<BatchResult> {
        let most = self.most.load(Ordering::Relaxed).min(batch.len()).max(1);
        // The first piece on top.
        let mut pieces: Vec<(Range<usize>, bool)> =
            (0..batch.len()).step_by(most).map(|at| (at..batch.len().min(at + most), false)).rev().collect();
        let mut answer = BatchResult::default();
        // The first error, which is told if it is that of all texts.
        let mut first: Option<Error> = None;
        let mut healthy = false;
        while let Some((piece, part)) = pieces.pop() {
            let texts = &batch[piece.clone()];
            let call = EmbedCall::until(self.stop);
            // A text that is alone is given all the patience there is, before it is refused.
            let call = if part && texts.len() > 1 { call.of_part() } else { call };
            if call.stopped() {
                return Err(Error::Interrupted(String::new()));
            }
            match self.call(texts, call).and_then(|vectors| self.of_usual_length(vectors, texts)) {
                Ok(vectors) => {
                    healthy = true;
                    let alone = |at: &usize| (piece.start + at..piece.start + at + 1, true);
                    pieces.extend(vectors.bad.iter().rev().map(|(at, _)| alone(at)));
                    let bad: Vec<usize> = vectors.bad.iter().map(|(at, _)| *at).collect();
                    answer.good.extend(runs(&piece, &bad, &vectors.matrix)?);
                }
                Err(EmbedError::All(e)) => return Err(e),
                Err(EmbedError::Texts(e)) if texts.len() > 1 => {
                    first.get_or_insert(e);
                    let middle = piece.start + texts.len() / 2;
                    pieces.push((middle..piece.end, true));
                    pieces.push((piece.start..middle, true));
                }
                Err(EmbedError::Texts(e)) => {
                    if !healthy {
                        match self.call(&[BatchText { key: PROBE, text: PROBE }], call) {
                            Err(_) => return Err(first.unwrap_or(e)),
                            // Not this text, but the model is another than before.
                            Ok(vectors) => self.of_known_length(vectors.matrix.dims())?,
                        }
                    }
                    healthy = true;
                    answer.refused.push((piece.start, e));
                }
            }
        }
        if first.is_some() {
            self.settle_dims(batch, &mut answer);
            if answer.refused.is_empty() {
                // Nothing was wrong but the number of texts.
                let largest = answer.good.iter().map(|(piece, _)| piece.len()).max().unwrap_or(1);
                self.most.fetch_min(largest, Ordering::Relaxed);
            }
        }
        if let Some((_, vectors)) = answer.good.first() {
            // Fails where another batch was first, which is then checked against.
            let _ = self.dims.compare_exchange(0, vectors.dims(), Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// # Errors
    /// If vectors of another length than before come from the model for any text.
    pub(super) fn of_known_length(&self, dims: usize) -> Result<()> {
        let known = self.dims();
        if known == 0 || dims == known {
            return Ok(());
        }
        let model = self.embedder.model();
        let fault = self
            .embedder
            .fault(format!("`{model}` returned vectors of {dims} values, where earlier ones have {known}"));
        let apart = Remedy::give("target.table").to("keep them in another table");
        Err(fault.mend([Remedy::set("rebuild", "true").to("ask for all again"), apart]))
    }

    /// Vectors of another length than before may be those of these texts alone, which is found out in halves.
    fn of_usual_length(&self, vectors: CallVectors, texts: &[BatchText<'_>]) -> Result<CallVectors, EmbedError> {
        let (known, got) = (self.dims(), vectors.matrix.dims());
        if known == 0 || got == known {
            return Ok(vectors);
        }
        let (model, first) = (self.embedder.model(), texts[0].key);
        let problem = format!("`{model}` returned a vector of {got} values for `{first}`, and of {known} for others");
        Err(EmbedError::Texts(self.embedder.fault(problem)))
    }

    /// Refuses texts of a batch that failed whose vectors have another dimension than those that are known, or than most.
    fn settle_dims(&self, batch: &[BatchText<'_>], answer: &mut BatchResult) {
        let texts_of = |dims: usize| -> usize {
            answer.good.iter().filter(|(_, vectors)| vectors.dims() == dims).map(|(piece, _)| piece.len()).sum()
        };
        let known = self.dims();
        let most = answer.good.iter().map(|(_, vectors)| vectors.dims()).max_by_key(|dims| texts_of(*dims));
        let usual = if texts_of(known) > 0 { known } else { most.unwrap_or(0) };
        let (good, odd) =
            std::mem::take(&mut answer.good).into_iter().partition(|(_, vectors)| vectors.dims() == usual);
        answer.good = good;
        let (model, fault) = (self.embedder.model(), |problem| self.embedder.fault(problem));
        for (piece, vectors) in odd {
            answer.refused.extend(piece.map(|at| {
                let (key, got) = (batch[at].key, vectors.dims());
                (
                    at,
                    fault(format!(
                        "`{model}` returned a vector of {got} values for `{key}`, and of {usual} for others"
                    )),
                )
            }));
        }
    }

    /// One call, its vectors checked and normalised.
    fn call(&self, texts: &[BatchText<'_>], call: EmbedCall<'_>) -> Result<CallVectors, EmbedError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let prefix = &self.options.prefix;
        let prefixed: Vec<String>;
        let mut plain: Vec<&str> = texts.iter().map(|text| text.text).collect();
        if !prefix.is_empty() {
            prefixed = plain.iter().map(|text| format!("{prefix}{text}")).collect();
            plain = prefixed.iter().map(String::as_str).collect();
        }
        let place = match texts {
            [one] => format!("text of `{}`", one.key),
            [first, .., last] => format!("texts of `{}` to `{}`", first.key, last.key),
            [] => String::new(),
        };
        let placed = |e: Error| match e {
            Error::Endpoint(text) => Error::Endpoint(format!("{text} ({place})")),
            Error::Data(text) => Error::Data(format!("{text} ({place})")),
            other => other,
        };
        let mut matrix = self.embedder.embed(&plain, &call).map_err(|e| match e {
            EmbedError::Texts(e) => EmbedError::Texts(placed(e)),
            EmbedError::All(e) => EmbedError::All(placed(e)),
        })?;
        let (rows, dims, model) = (matrix.rows(), matrix.dims(), self.embedder.model());
        let fault = |problem: String| EmbedError::Texts(self.embedder.fault(problem));
        if rows != texts.len() || dims == 0 {
            let expected = texts.len();
            return Err(fault(format!(
                "expected {expected} vectors of `{model}`, got {rows} of {dims} values ({place})"
            )));
        }
        let mut bad: BTreeMap<usize, String> = BTreeMap::new();
        if let Some((first, count)) = first_non_finite(matrix.as_slice(), dims) {
            let which = texts[first].key;
            let problem = format!(
                "{count} of {rows} vectors of `{model}` hold NaN or infinity, the first is that of `{which}`; \
                 a model that runs in half precision may need float32"
            );
            let finite = |row: &usize| matrix.row(*row).iter().all(|v| v.is_finite());
            bad.extend((first..rows).filter(|row| !finite(row)).map(|row| (row, problem.clone())));
        }
        if self.options.normalize {
            let mut norms = vec![0.0; rows];
            unit_rows(matrix.as_mut_slice(), dims, &mut norms);
            for (row, norm) in norms.iter().enumerate().filter(|(_, norm)| **norm <= 0.0 || !norm.is_finite()) {
                let key = texts[row].key;
                bad.entry(row).or_insert_with(|| {
                    format!("the vector of `{key}` by `{model}` has an L2 norm of {norm}, which cannot be normalised")
                });
            }
        }
        if bad.len() == rows
            && let Some((_, problem)) = bad.pop_first()
        {
            return Err(fault(problem));
        }
        Ok(CallVectors {
            matrix,
            bad: bad.into_iter().map(|(row, problem)| (row, self.embedder.fault(problem))).collect(),
        })
    }
}

/// Vectors without some of their rows, as runs that follow each other; `bad` is sorted.
fn runs(piece: &Range<usize>, bad: &[usize], matrix: &Matrix) -> Result<Vec<(Range<usize>, Matrix)>> {
    let ends = bad.iter().copied().chain([matrix.rows()]);
    let mut out = Vec::new();
    let mut start = 0;
    for end in ends {
        if end > start {
            let values = matrix.as_slice()[start * matrix.dims()..end * matrix.dims()].to_vec();
            let rows = Matrix::from_vec(end - start, matrix.dims(), values)?;
            out.push((piece.start + start..piece.start + end, rows));
        }
        start = end + 1;
    }
    Ok(out)
}
