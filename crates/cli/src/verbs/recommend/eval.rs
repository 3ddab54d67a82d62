//! `sememe recommend eval`.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::interactions::{EventItems, EventsPlan, read_interactions};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, percent, table as columns, time, whole};
use crate::verbs::recommend::events;
use crate::verbs::recommend::flags::EvalFlags;
use anyhow::Result;
use sememe::eval::{RankMeasures, RankingMeasures};
use sememe_recommend::{DEFAULT_BEAMS, Prediction, Recommender};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

pub struct Plan {
    recommender: PathBuf,
    events: EventsPlan,
    before_last: usize,
    hide_seen: bool,
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
    print(&format!("{which}, {among}{by}, in {}\n{}", time(seconds), table(&measures)))
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
