//! What a bad figure most likely means, and what to try.

use super::Evaluation;

/// Notes on figures that look bad, most serious first, each with the options of the program to try; empty if
/// nothing stands out.
///
/// The thresholds are judgement, not theory: under 80 % of a codebook used, more than one row in ten beyond the
/// first on its ID, an ID with 1 % of the rows, R² under 0.3, lengths that spread by half their mean.
#[must_use]
pub fn advice(evaluation: &Evaluation) -> Vec<String> {
    let mut notes = Vec::new();
    let e = evaluation;
    let exact = exact_level(e);
    if let Some(level) = exact {
        let distinct = e.levels[level].codes.unique_prefixes;
        let cure = match e.rows.saturating_sub(distinct) {
            0 => "fewer levels would do".to_owned(),
            copies => format!(
                "{copies} of the {} rows are copies of others, which no ID can tell apart; merge them before fitting, and fewer levels \
                 would do",
                e.rows
            ),
        };
        notes.push(format!("after level {} nothing is left, every row comes back exactly: {cure}", level + 1));
    } else {
        duplicates_and_collisions(e, &mut notes);
    }
    unused_codewords(e, exact, &mut notes);
    crowded_codewords(e, exact, &mut notes);
    let full = e.reconstruction.as_ref();
    if let Some(full) = full.filter(|full| full.r2 < 0.3) {
        let cut = if full.dims > 64 { ", and if `--pca-dims` is set, raise it" } else { "" };
        notes.push(format!(
            "the IDs explain {} of the variance (R² {:.3}): add a level with `--levels {}`, enlarge `--codebook-size`, \
             refine the codebooks together with `--refine`, or search wider with `--beam`{cut}",
            percent(full.r2.max(0.0)),
            full.r2,
            e.levels.len() + 1
        ));
    }
    last_level(e, &mut notes);
    if let Some(full) = full.filter(|full| full.norm_spread > 0.5) {
        notes.push(format!(
            "row lengths spread by {} of their mean, so long rows take most codewords: if only the direction carries \
             meaning, fit with `--metric cosine`",
            percent(full.norm_spread)
        ));
    }
    if let (Some(recall), Some(chance)) = (e.neighbours.recall, e.neighbours.recall_by_chance)
        && recall < 3.0 * chance
        && chance < 0.2
    {
        notes.push(format!(
            "neighbours by ID hold {} of the true neighbours, where chance alone gives {}: check that codes and rows \
             are in the same order and that the codec was fitted on this kind of embedding",
            percent(recall),
            percent(chance)
        ));
    }
    if let Some(full) = full.filter(|full| full.zero_rows > 0) {
        notes.push(format!(
            "{} of {} rows are all zero: the embedding found nothing to say about these items, leave them out",
            full.zero_rows, e.rows
        ));
    }
    notes
}

/// The first level after which every row comes back exactly, if others follow: they see nothing but zeros.
fn exact_level(e: &Evaluation) -> Option<usize> {
    let exact = |error: &super::DepthError| error.r2 >= 1.0 - 1e-9;
    let first = e.levels.iter().position(|level| level.error.as_ref().is_some_and(exact))?;
    (first + 1 < e.levels.len()).then_some(first)
}

fn duplicates_and_collisions(e: &Evaluation, notes: &mut Vec<String>) {
    let duplicates = e.neighbours.duplicate_rate.unwrap_or(0.0);
    if duplicates > 0.01 {
        notes.push(format!(
            "{} of the sampled rows have an exact duplicate, and no codec can tell those apart: merge duplicates \
             before fitting, or let the IDs be made unique with a suffix",
            percent(duplicates)
        ));
    }
    let crowded = (e.rows / 100).max(10);
    if e.max_bucket >= crowded {
        notes.push(format!(
            "one ID names {} of {} items: look at them in the report; if they are copies of one text, merge them, \
             else add a level with `--levels {}`",
            e.max_bucket,
            e.rows,
            e.levels.len() + 1
        ));
    }
    if e.collision_rate > 0.1 {
        let possible: f64 = e.levels.iter().map(|level| level.codes.codebook_size as f64).product();
        let cure = if possible < 20.0 * e.rows as f64 {
            format!(
                "{possible:.0} possible IDs are few for {} items: raise `--levels` to {} or double `--codebook-size`",
                e.rows,
                e.levels.len() + 1
            )
        } else {
            format!(
                "{:.0} possible IDs per item are not used evenly: spread the codes with `--refine` and `--beam`, \
                 or add a level with `--levels {}`",
                possible / e.rows as f64,
                e.levels.len() + 1
            )
        };
        notes.push(format!("{} of the items would need a suffix to be unique; {cure}", percent(e.collision_rate)));
    }
}

fn unused_codewords(e: &Evaluation, exact: Option<usize>, notes: &mut Vec<String>) {
    if let Some(used) = e.shared_utilisation {
        // What one level leaves is for the others.
        if used < 0.8 {
            notes.push(format!(
                "all levels together use {} of their one codebook: choose a smaller `--codebook-size`",
                percent(used)
            ));
        }
        return;
    }
    let levels = e.levels.iter().enumerate().take(exact.map_or(usize::MAX, |level| level + 1));
    for (depth, level) in levels.filter(|(_, level)| level.codes.utilisation < 0.8) {
        let codes = &level.codes;
        let cure = if codes.codebook_size * 4 > e.rows {
            format!("{} items cannot fill it, choose a smaller `--codebook-size`", e.rows)
        } else {
            "choose a smaller `--codebook-size`, or `--metric cosine` if a few long rows hold the rest".to_string()
        };
        notes.push(format!(
            "level {} uses {} of its {} codewords ({}): {cure}",
            depth + 1,
            codes.used,
            codes.codebook_size,
            percent(codes.utilisation)
        ));
    }
}

fn crowded_codewords(e: &Evaluation, exact: Option<usize>, notes: &mut Vec<String>) {
    for (depth, level) in e.levels.iter().enumerate().take(exact.map_or(usize::MAX, |level| level + 1)) {
        let codes = &level.codes;
        let share = codes.max_over_mean_load / codes.codebook_size as f64;
        if codes.codebook_size >= 4 && codes.max_over_mean_load > 8.0 && share > 0.1 {
            notes.push(format!(
                "{} of all items have the same code at level {}, {:.0} times an even load: often one direction \
                 dominates the rows; try `--metric cosine`, or fewer dimensions with `--pca-dims`",
                percent(share),
                depth + 1,
                codes.max_over_mean_load
            ));
        }
    }
}

fn last_level(e: &Evaluation, notes: &mut Vec<String>) {
    // Where the IDs say too little, a level less is no cure.
    if e.reconstruction.is_none_or(|full| full.r2 < 0.3) || e.collision_rate > 0.1 {
        return;
    }
    if let [.., before, last] = e.levels.as_slice()
        && let (Some(before_error), Some(last_error)) = (&before.error, &last.error)
    {
        let told_apart = before.codes.prefix_collision_rate - last.codes.prefix_collision_rate;
        if last_error.r2 - before_error.r2 < 0.005 && told_apart < 0.005 {
            notes.push(format!(
                "level {} adds {:.3} to R² and tells {} more items apart: `--levels {}` would do",
                e.levels.len(),
                last_error.r2 - before_error.r2,
                percent(told_apart),
                e.levels.len() - 1
            ));
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
