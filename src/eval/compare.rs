//! Two evaluations side by side.

use serde::Serialize;

use super::{Churn, Evaluation, LevelEvaluation};

/// Which of two is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither: the values are the same.
    Same,
    /// The measure describes; more is not better or worse.
    Neither,
}

/// One measure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Name as in the JSON of an [`Evaluation`], with dots for nesting: `collision_rate`, `behaviour.next_item.codes.recall_at_10`.
    pub measure: String,
    /// Level that it is of, from 1 on; none for a measure of whole IDs.
    pub level: Option<usize>,
    /// Value of the first.
    pub first: f64,
    /// Value of the second.
    pub second: f64,
    /// `second` − `first`.
    pub delta: f64,
    /// Which is better.
    pub better: Better,
}

/// Two evaluations side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What the first is called.
    pub first: String,
    /// What the second is called.
    pub second: String,
    /// Every measure that both have, whole IDs first, then level by level.
    pub differences: Vec<Difference>,
    /// What changed between the code tables, where they are of the same items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
}

/// Sign of better: 1 higher, −1 lower, 0 neither.
type MeasureEntry = (String, Option<usize>, i8, f64);

/// Puts two evaluations side by side: every measure that both have, with its difference and which is better.
///
/// Better is judged measure by measure, never in sum: fewer collisions may cost R². Measures that describe (fan-out, the number of
/// distinct labels) are not judged. Levels past the shorter of the two are left out.
#[must_use]
pub fn compare(first: (&str, &Evaluation), second: (&str, &Evaluation), churn: Option<Churn>) -> Comparison {
    let others = entries(second.1);
    let differences = entries(first.1).into_iter().filter_map(|(measure, level, sign, a)| {
        let (.., b) = others.iter().find(|(name, at, ..)| *name == measure && *at == level)?;
        let delta = b - a;
        let better = match (sign, delta * f64::from(sign)) {
            (0, _) => Better::Neither,
            (_, gain) if gain > 0.0 => Better::Second,
            (_, gain) if gain < 0.0 => Better::First,
            _ => Better::Same,
        };
        Some(Difference { measure, level, first: a, second: *b, delta, better })
    });
    let differences = differences.collect();
    Comparison { first: first.0.to_owned(), second: second.0.to_owned(), differences, churn }
}

fn entries(e: &Evaluation) -> Vec<MeasureEntry> {
    let mut out: Vec<MeasureEntry> = Vec::new();
    let mut whole = |name: &str, sign: i8, value: f64| out.push((name.to_owned(), None, sign, value));
    whole("unique_ids", 1, e.unique_ids as f64);
    whole("collision_rate", -1, e.collision_rate);
    whole("colliding_item_rate", -1, e.colliding_item_rate);
    whole("max_bucket", -1, e.max_bucket as f64);
    whole("entropy_ratio", 1, e.entropy_ratio);
    if let Some(full) = &e.reconstruction {
        whole("r2", 1, full.r2);
        whole("mse", -1, full.mse);
        whole("squared_l2", -1, full.squared_l2);
        whole("cosine", 1, full.cosine);
    }
    let n = &e.neighbours;
    for (name, value) in [("recall", n.recall), ("ndcg", n.ndcg)] {
        if let Some(value) = value {
            whole(&format!("{name}_at_{}", n.k), 1, value);
        }
    }
    if let Some(behaviour) = &e.behaviour {
        if let Some(co) = &behaviour.co_interaction {
            whole(&format!("behaviour.co_interaction.recall_at_{}", co.k), 1, co.recall);
            whole(&format!("behaviour.co_interaction.ndcg_at_{}", co.k), 1, co.ndcg);
        }
        let by_codes = behaviour.next_item.iter().flat_map(|n| &n.rankings).filter(|ranking| ranking.by == "codes");
        for ranking in by_codes {
            whole("behaviour.next_item.codes.recall_at_5", 1, ranking.recall_at_5);
            whole("behaviour.next_item.codes.recall_at_10", 1, ranking.recall_at_10);
            whole("behaviour.next_item.codes.ndcg_at_5", 1, ranking.ndcg_at_5);
            whole("behaviour.next_item.codes.ndcg_at_10", 1, ranking.ndcg_at_10);
        }
    }
    for (level, measures) in e.levels.iter().enumerate() {
        of_level(e, level, measures, &mut out);
    }
    out
}

fn of_level(e: &Evaluation, level: usize, measures: &LevelEvaluation, out: &mut Vec<MeasureEntry>) {
    let mut put = |name: String, sign: i8, value: f64| out.push((name, Some(level + 1), sign, value));
    let codes = &measures.codes;
    put("utilisation".into(), 1, codes.utilisation);
    put("perplexity".into(), 1, codes.perplexity);
    put("perplexity_ratio".into(), 1, codes.perplexity_ratio);
    put("max_over_mean_load".into(), -1, codes.max_over_mean_load);
    put("gini".into(), -1, codes.gini);
    put("prefix_collision_rate".into(), -1, codes.prefix_collision_rate);
    put("fan_out_mean".into(), 0, codes.fan_out_mean);
    put("fan_out_max".into(), 0, codes.fan_out_max as f64);
    if let Some(error) = &measures.error {
        put("r2".into(), 1, error.r2);
        put("mse".into(), -1, error.mse);
        put("cosine".into(), 1, error.cosine);
    }
    for labels in &e.labels {
        if let Some(depth) = labels.levels.get(level) {
            // Raw purity rises with the number of prefixes, so the adjusted one is judged.
            put(format!("labels.{}.purity", labels.name), 0, depth.purity);
            put(format!("labels.{}.purity_adjusted", labels.name), 1, depth.purity_adjusted);
            put(format!("labels.{}.nmi", labels.name), 0, depth.nmi);
        }
    }
    if let Some(depth) =
        e.behaviour.as_ref().and_then(|b| b.next_prefix.as_ref()).and_then(|next| next.levels.get(level))
    {
        put("behaviour.next_prefix.share".into(), 0, depth.share);
        put("behaviour.next_prefix.lift".into(), 1, depth.lift);
    }
}
