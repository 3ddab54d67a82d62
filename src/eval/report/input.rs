//! The content of a report.

use serde::Serialize;

use crate::data::Codes;
use crate::eval::{Advice, Churn, Comparison, Evaluation};
use crate::fit::TrainingSummary;
use crate::progress::EpochReport;

/// The content of a report. All but the first six fields of [`new`](Self::new) may be empty: a section without data is left out.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// Heading of the page.
    pub title: &'a str,
    /// What went in, in short: dimensions, device, seed, time, as (name, value) in the order to be shown.
    pub facts: Vec<(String, String)>,
    /// What went in, in full: sources, counts, settings, versions, hashes.
    pub sections: Vec<FactSection>,
    /// What the reader should know; what stands between backticks is shown as code.
    pub notes: Vec<String>,
    /// How advice is worded: by default with the names of the library's settings.
    pub advice_text: fn(&Advice) -> String,
    /// `[n]` what items are called in a program, or empty.
    pub keys: &'a [String],
    /// `[n]` name of each item, or empty: then items are shown by key, or by number.
    pub names: &'a [String],
    /// `[n]` a line about each item, or empty.
    pub details: &'a [String],
    /// `[n, levels]` codes.
    pub codes: &'a Codes,
    /// `[levels]` codewords of each level.
    pub codebook_sizes: &'a [usize],
    /// `[n, levels]` IDs after collisions were resolved, or `[n, levels + 1]` with a counter; `None` where codes are the IDs.
    pub ids: Option<&'a Codes>,
    /// How IDs are written as text, so that the text of one is found; one token a column of the IDs. Without it, a column beyond the
    /// codes is taken to be a counter.
    pub spelling: Option<Spelling>,
    /// The measures of the codes.
    pub evaluation: &'a Evaluation,
    /// How the levels were trained.
    pub training: Option<&'a TrainingSummary>,
    /// Epochs of a network's training.
    pub epochs: &'a [EpochReport],
    /// Recall against what users did.
    pub recall: Option<RecallFigures>,
    /// What changed since an earlier run.
    pub since: Option<PreviousRun<'a>>,
    /// Another codec or code table beside this one.
    pub comparison: Option<&'a Comparison>,
    /// Items listed in the tree at most; every prefix keeps its share of them, and its true count.
    pub items_shown: usize,
    /// Size to stay within: texts that can be searched are cut, then fewer items are listed until the page fits, down to none at all.
    pub max_bytes: usize,
}

impl<'a> ReportInput<'a> {
    /// A report without facts and names, 5,000 items in the tree and 5 MB at most.
    #[must_use]
    pub fn new(title: &'a str, codes: &'a Codes, codebook_sizes: &'a [usize], evaluation: &'a Evaluation) -> Self {
        Self {
            title,
            facts: Vec::new(),
            sections: Vec::new(),
            notes: Vec::new(),
            advice_text: Advice::to_string,
            keys: &[],
            names: &[],
            details: &[],
            codes,
            codebook_sizes,
            ids: None,
            spelling: None,
            evaluation,
            training: None,
            epochs: &[],
            recall: None,
            since: None,
            comparison: None,
            items_shown: 5_000,
            max_bytes: 5_000_000,
        }
    }
}

/// Facts under one heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactSection {
    /// The heading.
    pub title: String,
    /// (name, value) in the order to be shown.
    pub facts: Vec<(String, String)>,
}

/// How an ID is written as text: `begin`, a token a number with `separator` between them, `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spelling {
    /// Before the first token.
    pub begin: String,
    /// Between two tokens.
    pub separator: String,
    /// After the last token.
    pub end: String,
    /// One a level, a counter's last.
    pub tokens: Vec<TokenSpelling>,
    /// Whether the last token is a counter, which is left out where it is 0.
    pub counter: bool,
}

/// What stands around a code, and what is added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenSpelling {
    /// Before the number.
    pub before: String,
    /// After the number.
    pub after: String,
    /// What code 0 is called.
    pub first: u32,
}

impl Spelling {
    /// The text of some first codes.
    pub(super) fn write(&self, codes: &[u32]) -> String {
        let token = |(t, code): (&TokenSpelling, &u32)| {
            format!("{}{}{}", t.before, u64::from(*code) + u64::from(t.first), t.after)
        };
        let tokens: Vec<String> = self.tokens.iter().zip(codes).map(token).collect();
        format!("{}{}{}", self.begin, tokens.join(&self.separator), self.end)
    }
}

/// How many of an item's neighbours by users are nearest by ID, as a recall report has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecallFigures {
    /// Neighbours an item.
    pub k: usize,
    /// Share of the neighbours that are found.
    pub recall: f64,
    /// NDCG at k, where it was measured.
    pub ndcg: Option<f64>,
    /// The recall of IDs without meaning.
    pub by_chance: Option<f64>,
    /// Items that were looked at.
    pub items: usize,
    /// What it was measured with: minimum support, scores, caps, seed.
    pub facts: Vec<(String, String)>,
}

/// What changed since an earlier run.
#[derive(Clone, Debug)]
pub struct PreviousRun<'a> {
    /// What that run is called: its folder, time or hash.
    pub name: &'a str,
    /// The IDs of items that both runs have: then, and now.
    pub churn: &'a Churn,
    /// Items that only this run has.
    pub added: usize,
    /// Items that only that run had.
    pub gone: usize,
}
