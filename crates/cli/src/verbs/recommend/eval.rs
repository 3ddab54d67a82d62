//! `sememe recommend eval`.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::interactions::{EventItems, EventsPlan, read_interactions};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, percent, table as columns, time, whole};
use crate::verbs::recommend::flags::EvalFlags;
use crate::verbs::recommend::{events, read_rows};
use anyhow::Result;
use sememe::RowSource;
use sememe::eval::{BaselineOptions, RankMeasures, RankingMeasures, measure_baselines};
use sememe_recommend::{DEFAULT_BEAMS, Prediction, Recommender};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

pub struct Plan {
    recommender: PathBuf,
    events: EventsPlan,
    before_last: usize,
    hide_seen: bool,
    /// Whether they are measured, and vectors for the last of them.
    baselines: Option<Option<PathBuf>>,
    beams: Option<usize>,
    device: DeviceChoice,
}

pub fn plan(flags: EvalFlags) -> Result<Plan> {
    if flags.beams == Some(0) {
        return Err(usage("`--beams`: expected at least 1, got 0"));
    }
    Ok(Plan {
        recommender: flags.recommender,
        events: events(flags.histories)?,
        before_last: flags.before_last,
        hide_seen: flags.hide_seen,
        baselines: flags.baselines.then_some(flags.vectors),
        beams: flags.beams,
        device: flags.on.device,
    })
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let recommender = Recommender::load(&plan.recommender)?;
    let items = EventItems { count: recommender.items(), numbers: None, keys: recommender.keys() };
    let (histories, unknown) = read_interactions(&plan.events, &items, progress)?;
    let device = device::open(plan.device, recommender.items())?;
    let (before_last, hide_seen) = (plan.before_last, plan.hide_seen);
    let measures = recommender.evaluate_with(&histories, before_last, hide_seen, plan.beams, &device, progress)?;
    let beams = match recommender.settings().prediction {
        Prediction::Items | Prediction::Levels => None,
        Prediction::Ordered => Some(plan.beams.unwrap_or(DEFAULT_BEAMS)),
    };
    let baselines = match &plan.baselines {
        Some(vectors) => {
            let rows = vectors.as_ref().map(|path| read_rows(path)).transpose()?;
            let options = BaselineOptions {
                from_end: plan.before_last,
                hide_seen: plan.hide_seen,
                hold_out: recommender.settings().hold_out.items(),
                ..BaselineOptions::default()
            };
            let rows = rows.as_ref().map(|rows| rows as &dyn RowSource);
            Some(measure_baselines(recommender.items(), rows, &histories, &options, progress)?)
        }
        None => None,
    };
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        return print_json(&json!({
            "recommender": plan.recommender.display().to_string(),
            "before_last": plan.before_last,
            "hide_seen": plan.hide_seen,
            "beams": beams,
            "unknown_events": unknown,
            "measures": measures,
            "baselines": baselines,
            "device": device.info(),
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    let which = match plan.before_last {
        0 => "the last item of each user".to_owned(),
        1 => "the item before the last of each user".to_owned(),
        n => format!("the item {n} places before the last of each user"),
    };
    let all = count(recommender.items() as u64, "item");
    let among =
        if plan.hide_seen { format!("among the {all} less those taken before") } else { format!("among all {all}") };
    let by = beams.map_or_else(String::new, |beams| format!(", searched with {}", count(beams as u64, "beam")));
    let mut text = format!("{which}, {among}{by}, in {}\n{}", time(seconds), table(&measures));
    if let Some(baselines) = &baselines {
        text.push_str("\nbeside what learns nothing, or only counts\n");
        let mut rows = vec![summary_head()];
        rows.push(summary_line("recommender", &measures));
        rows.extend(baselines.iter().map(|b| summary_line(baseline_name(&b.by), &b.measures)));
        text.push_str(&columns(&rows, &[0]));
    }
    print(&text)
}

/// What a baseline is called.
pub fn baseline_name(by: &str) -> &str {
    match by {
        "item_knn" => "item-kNN",
        "vectors" => "mean of vectors",
        other => other,
    }
}

/// Names of the columns of [`summary_line`].
pub fn summary_head() -> Vec<String> {
    ["", "R@5", "R@10", "NDCG@5", "NDCG@10", "coverage", "cold R@10"].map(str::to_owned).to_vec()
}

/// One way of ranking in a line.
pub fn summary_line(name: &str, measures: &RankingMeasures) -> Vec<String> {
    let four = |v: f64| format!("{v:.4}");
    let all = &measures.all;
    let mut line = vec![name.to_owned()];
    line.extend([all.recall_at_5, all.recall_at_10, all.ndcg_at_5, all.ndcg_at_10].map(four));
    line.push(percent(measures.coverage_at_10));
    line.push(cold(measures).map_or_else(|| "–".to_owned(), |cold| four(cold.recall_at_10)));
    line
}

/// Of items that training never saw, if any was asked for.
pub fn cold(measures: &RankingMeasures) -> Option<&RankMeasures> {
    let bucket = measures.by_popularity.iter().find(|b| b.events_to == Some(0))?;
    (bucket.measures.questions > 0).then_some(&bucket.measures)
}

/// Measures as a table: all questions, then by how often training saw the right item.
pub fn table(measures: &RankingMeasures) -> String {
    let line = |name: String, m: &RankMeasures| {
        let four = |v: f64| format!("{v:.4}");
        vec![name, whole(m.questions), four(m.recall_at_5), four(m.recall_at_10), four(m.ndcg_at_5), four(m.ndcg_at_10)]
    };
    let head = ["", "questions", "R@5", "R@10", "NDCG@5", "NDCG@10"].map(str::to_owned).to_vec();
    let mut rows = vec![head, line("all".into(), &measures.all)];
    for bucket in measures.by_popularity.iter().filter(|bucket| bucket.measures.questions > 0) {
        let name = match (bucket.events_from, bucket.events_to) {
            (0, _) => "items never seen in training".to_owned(),
            (from, Some(to)) => format!("seen {from} to {to} times"),
            (from, None) => format!("seen {from} times or more"),
        };
        rows.push(line(name, &bucket.measures));
    }
    format!("{}lists of 10 name {} of all items\n", columns(&rows, &[0]), percent(measures.coverage_at_10))
}
