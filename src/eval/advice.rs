//! What a bad figure most likely means, and what to try.

use super::Evaluation;
use crate::remedy::Remedy;
use serde::Serialize;
use std::fmt;

/// A figure that looks bad, with its numbers. `Display` says what it means and which settings to try, by the names of
/// [`RqKMeans`](crate::RqKMeans)' fields; [`text`](Self::text) does so in a program's words.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Advice {
    /// A level after which every row comes back exactly, so that those after it see nothing but zeros.
    NothingLeft {
        /// The level, counted from 0.
        level: usize,
        /// Rows that are copies of others.
        copies: usize,
        /// All items.
        rows: usize,
    },
    /// Rows that are the same, which no codec can tell apart.
    DuplicateRows {
        /// Their share.
        share: f64,
    },
    /// An ID with too many items.
    CrowdedId {
        /// Its items.
        items: usize,
        /// All items.
        rows: usize,
        /// Codes of an ID.
        levels: usize,
    },
    /// Items beyond the first on their IDs.
    Collisions {
        /// Their share.
        share: f64,
        /// IDs that the codebooks allow.
        possible_ids: f64,
        /// All items.
        rows: usize,
        /// Codes of an ID.
        levels: usize,
    },
    /// A codebook of all levels with codewords that none of them uses.
    UnusedShared {
        /// The share that is used.
        utilisation: f64,
    },
    /// Codewords of a level that no item has.
    UnusedCodewords {
        /// The level, counted from 0.
        level: usize,
        /// Codewords that items have.
        used: usize,
        /// Codewords.
        codebook_size: usize,
        /// All items.
        rows: usize,
    },
    /// A codeword with far more items than the others of its level.
    CrowdedCodeword {
        /// The level, counted from 0.
        level: usize,
        /// The share of all items that has it.
        share: f64,
        /// Its items in units of an even load.
        over_mean: f64,
    },
    /// IDs that say little of the rows.
    LowR2 {
        /// R².
        r2: f64,
        /// Codes of an ID.
        levels: usize,
        /// Values of a row.
        dims: usize,
    },
    /// A last level that says next to nothing.
    IdleLevel {
        /// Codes of an ID.
        levels: usize,
        /// What it adds to R².
        r2: f64,
        /// The share of the items that it tells apart.
        told_apart: f64,
    },
    /// Rows of very different lengths.
    LengthsSpread {
        /// The lengths' standard deviation in units of their mean.
        spread: f64,
    },
    /// Neighbours by ID that are hardly those of the rows.
    NeighboursLost {
        /// The share that is kept.
        recall: f64,
        /// What chance gives.
        by_chance: f64,
    },
    /// Rows of nothing but zeros.
    ZeroRows {
        /// How many.
        zero: usize,
        /// All items.
        rows: usize,
    },
}

impl Advice {
    /// What is found, and what it means.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            Advice::NothingLeft { level, copies, rows } => {
                let cause = match copies {
                    0 => String::new(),
                    copies => format!(
                        " {copies} of the {rows} rows are copies of others, which no ID can tell apart: merge them before fitting, and"
                    ),
                };
                format!("after level {} nothing is left, every row comes back exactly:{cause}", level + 1)
            }
            Advice::DuplicateRows { share } => format!(
                "{} of the sampled rows have an exact duplicate, and no codec can tell those apart: merge duplicates before \
                 fitting, or let the IDs be made unique with a suffix",
                percent(*share)
            ),
            Advice::CrowdedId { items, rows, .. } => format!(
                "one ID names {items} of {rows} items: look at them in the report; if they are copies of one text, merge them, else"
            ),
            Advice::Collisions { share, possible_ids, rows, .. } => {
                let cause = if self.few_ids() {
                    format!("{possible_ids:.0} possible IDs are few for {rows} items")
                } else {
                    format!("{:.0} possible IDs per item are not used evenly", possible_ids / *rows as f64)
                };
                format!("{} of the items would need a suffix to be unique; {cause}:", percent(*share))
            }
            Advice::UnusedShared { utilisation } => {
                format!("all levels together use {} of their one codebook:", percent(*utilisation))
            }
            Advice::UnusedCodewords { level, used, codebook_size, rows } => {
                let cause = if self.cannot_fill() { format!(" {rows} items cannot fill it,") } else { String::new() };
                let share = percent(*used as f64 / *codebook_size as f64);
                format!("level {} uses {used} of its {codebook_size} codewords ({share}):{cause}", level + 1)
            }
            Advice::CrowdedCodeword { level, share, over_mean } => format!(
                "{} of all items have the same code at level {}, {over_mean:.0} times an even load, often because one direction \
                 dominates the rows:",
                percent(*share),
                level + 1
            ),
            Advice::LowR2 { r2, .. } => {
                format!("the IDs explain {} of the variance (R² {r2:.3}):", percent(r2.max(0.0)))
            }
            Advice::IdleLevel { levels, r2, told_apart } => format!(
                "level {levels} adds {r2:.3} to R² and tells {} more items apart, so one less would do:",
                percent(*told_apart)
            ),
            Advice::LengthsSpread { spread } => format!(
                "row lengths spread by {} of their mean, so long rows take most codewords: if only the direction carries meaning,",
                percent(*spread)
            ),
            Advice::NeighboursLost { recall, by_chance } => format!(
                "neighbours by ID hold {} of the true neighbours, where chance alone gives {}: check that codes and rows are in \
                 the same order and that the codec was fitted on this kind of embedding",
                percent(*recall),
                percent(*by_chance)
            ),
            Advice::ZeroRows { zero, rows } => format!(
                "{zero} of {rows} rows are all zero: the embedding found nothing to say about these items, leave them out"
            ),
        }
    }

    /// The settings to try, for a training by RQ-KMeans; empty where no setting helps.
    #[must_use]
    pub fn remedies(&self) -> Vec<Remedy> {
        let levels = |n: usize| Remedy::set("levels", n.to_string());
        let more = |n: usize| levels(n + 1).to("add a level");
        let cosine = || Remedy::set("metric", "cosine");
        match self {
            Advice::NothingLeft { level, .. } => vec![levels(level + 1).to("make do")],
            Advice::DuplicateRows { .. } | Advice::NeighboursLost { .. } | Advice::ZeroRows { .. } => Vec::new(),
            Advice::CrowdedId { levels, .. } => vec![more(*levels)],
            Advice::Collisions { levels, .. } if self.few_ids() => vec![more(*levels), Remedy::raise("codebook_sizes")],
            Advice::Collisions { levels, .. } => {
                vec![Remedy::give("refine").to("spread the codes"), Remedy::raise("refine.beam"), more(*levels)]
            }
            Advice::UnusedShared { .. } => vec![Remedy::lower("codebook_sizes")],
            Advice::UnusedCodewords { .. } if self.cannot_fill() => vec![Remedy::lower("codebook_sizes")],
            Advice::UnusedCodewords { .. } => vec![
                Remedy::lower("codebook_sizes"),
                cosine().to("compare by direction, if a few long rows hold the rest,"),
            ],
            Advice::CrowdedCodeword { .. } => {
                vec![cosine().to("compare by direction"), Remedy::lower("preprocess.pca.max_dims")]
            }
            Advice::LowR2 { levels, dims, .. } => {
                let mut all = vec![
                    more(*levels),
                    Remedy::raise("codebook_sizes"),
                    Remedy::give("refine").to("refine the codebooks together"),
                    Remedy::raise("refine.beam").to("search wider"),
                ];
                if *dims > 64 {
                    all.push(Remedy::raise("preprocess.pca.max_dims").to("keep more, if it is set"));
                }
                all
            }
            Advice::IdleLevel { levels: n, .. } => vec![levels(n - 1)],
            Advice::LengthsSpread { .. } => vec![cosine().to("compare by it")],
        }
    }

    /// The finding with its remedies, each in the words of `spell`.
    #[must_use]
    pub fn text(&self, spell: &dyn Fn(&Remedy) -> String) -> String {
        self.text_without(&[], spell)
    }

    /// As [`text`](Self::text), without remedies that change one of these fields, which the method that trained the codec lacks.
    #[must_use]
    pub fn text_without(&self, fields: &[&str], spell: &dyn Fn(&Remedy) -> String) -> String {
        let all = self.remedies();
        let remedies: Vec<String> =
            all.iter().filter(|remedy| !fields.contains(&remedy.field.as_ref())).map(spell).collect();
        if remedies.is_empty() { self.finding() } else { format!("{} {}", self.finding(), Remedy::join(&remedies)) }
    }

    fn few_ids(&self) -> bool {
        matches!(self, Advice::Collisions { possible_ids, rows, .. } if *possible_ids < 20.0 * *rows as f64)
    }

    fn cannot_fill(&self) -> bool {
        matches!(self, Advice::UnusedCodewords { codebook_size, rows, .. } if codebook_size * 4 > *rows)
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Remedy::to_string))
    }
}

/// Figures that look bad, most serious first; empty if nothing stands out.
///
/// The thresholds are judgement, not theory: under 80 % of a codebook used, more than one row in ten beyond the
/// first on its ID, an ID with 1 % of the rows, R² under 0.3, lengths that spread by half their mean.
#[must_use]
pub fn advice(evaluation: &Evaluation) -> Vec<Advice> {
    let mut notes = Vec::new();
    let e = evaluation;
    let exact = exact_level(e);
    match exact {
        Some(level) => {
            let copies = e.rows.saturating_sub(e.levels[level].codes.unique_prefixes);
            notes.push(Advice::NothingLeft { level, copies, rows: e.rows });
        }
        None => duplicates_and_collisions(e, &mut notes),
    }
    // What follows sees nothing but zeros.
    let seen = exact.map_or(e.levels.len(), |level| level + 1);
    unused_codewords(e, seen, &mut notes);
    crowded_codewords(e, seen, &mut notes);
    let full = e.reconstruction.as_ref();
    if let Some(full) = full.filter(|full| full.r2 < 0.3) {
        notes.push(Advice::LowR2 { r2: full.r2, levels: e.levels.len(), dims: full.dims });
    }
    last_level(e, &mut notes);
    if let Some(full) = full.filter(|full| full.norm_spread > 0.5) {
        notes.push(Advice::LengthsSpread { spread: full.norm_spread });
    }
    if let (Some(recall), Some(by_chance)) = (e.neighbours.recall, e.neighbours.recall_by_chance)
        && recall < 3.0 * by_chance
        && by_chance < 0.2
    {
        notes.push(Advice::NeighboursLost { recall, by_chance });
    }
    if let Some(full) = full.filter(|full| full.zero_rows > 0) {
        notes.push(Advice::ZeroRows { zero: full.zero_rows, rows: e.rows });
    }
    notes
}

/// The first level after which every row comes back exactly, if others follow.
fn exact_level(e: &Evaluation) -> Option<usize> {
    let exact = |error: &super::DepthError| error.r2 >= 1.0 - 1e-9;
    let first = e.levels.iter().position(|level| level.error.as_ref().is_some_and(exact))?;
    (first + 1 < e.levels.len()).then_some(first)
}

fn duplicates_and_collisions(e: &Evaluation, notes: &mut Vec<Advice>) {
    let share = e.neighbours.duplicate_rate.unwrap_or(0.0);
    if share > 0.01 {
        notes.push(Advice::DuplicateRows { share });
    }
    let (rows, levels) = (e.rows, e.levels.len());
    if e.max_bucket >= (rows / 100).max(10) {
        notes.push(Advice::CrowdedId { items: e.max_bucket, rows, levels });
    }
    if e.collision_rate > 0.1 {
        let possible_ids = e.levels.iter().map(|level| level.codes.codebook_size as f64).product();
        notes.push(Advice::Collisions { share: e.collision_rate, possible_ids, rows, levels });
    }
}

fn unused_codewords(e: &Evaluation, seen: usize, notes: &mut Vec<Advice>) {
    if let Some(utilisation) = e.shared_utilisation {
        // What one level leaves is for the others.
        if utilisation < 0.8 {
            notes.push(Advice::UnusedShared { utilisation });
        }
        return;
    }
    for (level, found) in e.levels.iter().enumerate().take(seen).filter(|(_, level)| level.codes.utilisation < 0.8) {
        let (used, codebook_size) = (found.codes.used, found.codes.codebook_size);
        notes.push(Advice::UnusedCodewords { level, used, codebook_size, rows: e.rows });
    }
}

fn crowded_codewords(e: &Evaluation, seen: usize, notes: &mut Vec<Advice>) {
    for (level, found) in e.levels.iter().enumerate().take(seen) {
        let codes = &found.codes;
        let share = codes.max_over_mean_load / codes.codebook_size as f64;
        if codes.codebook_size >= 4 && codes.max_over_mean_load > 8.0 && share > 0.1 {
            notes.push(Advice::CrowdedCodeword { level, share, over_mean: codes.max_over_mean_load });
        }
    }
}

fn last_level(e: &Evaluation, notes: &mut Vec<Advice>) {
    // Where the IDs say too little, a level less is no cure.
    if e.reconstruction.is_none_or(|full| full.r2 < 0.3) || e.collision_rate > 0.1 {
        return;
    }
    if let [.., before, last] = e.levels.as_slice()
        && let (Some(before_error), Some(last_error)) = (&before.error, &last.error)
    {
        let told_apart = before.codes.prefix_collision_rate - last.codes.prefix_collision_rate;
        let r2 = last_error.r2 - before_error.r2;
        if r2 < 0.005 && told_apart < 0.005 {
            notes.push(Advice::IdleLevel { levels: e.levels.len(), r2, told_apart });
        }
    }
}

/// A share as a text: `12.3 %`, with more digits where it is small.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value.abs() {
        0.0 => "0 %".into(),
        v if v < 0.0095 => format!("{value:.1e} %"),
        v if v < 0.95 => format!("{value:.2} %"),
        v if v >= 99.95 => format!("{value:.0} %"),
        _ => format!("{value:.1} %"),
    }
}
