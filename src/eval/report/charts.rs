//! Charts: shapes as inline SVG that stretches, every text as HTML at its own size.

use std::fmt::Write as _;

use super::ReportInput;
use super::html::{items, percent, plural, short, whole};
use super::tree::Catalogue;

/// Load of each codeword, busiest first, one chart a level.
pub(super) fn loads(input: &ReportInput<'_>, loads: &[Vec<u64>]) -> String {
    let levels = &input.evaluation.levels;
    let tops: Vec<f64> = levels.iter().map(|level| level.codes.max_over_mean_load.max(1.0)).collect();
    let highest = tops.iter().copied().fold(1.0, f64::max);
    // One scale for all levels, unless it would press the others flat.
    let common = tops.iter().all(|top| highest <= 6.0 * top);
    let mut out = String::from("<div class=\"charts\">");
    for (depth, ((load, level), top)) in loads.iter().zip(levels).zip(tops).enumerate() {
        let codes = &level.codes;
        let scale = 1.15 * if common { highest } else { top };
        let mean = input.codes.rows() as f64 / load.len() as f64;
        let mut sorted = load.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        // At most 512 steps: the order is by size, so a sample keeps the shape.
        let steps = sorted.len().min(512);
        let mut path = String::from("M0 100");
        for step in 0..steps {
            let height = sorted[step * sorted.len() / steps] as f64 / mean / scale * 100.0;
            let _ = write!(path, "V{:.2}H{:.2}", 100.0 - height, 1000.0 * (step + 1) as f64 / steps as f64);
        }
        path.push_str("V100Z");
        let even = 100.0 - 100.0 / scale;
        let peak = 100.0 - 100.0 * codes.max_over_mean_load / scale;
        // Labels in the margin give way to that of the even load where they would touch it.
        let mut margin = format!("<span class=\"y rust\" style=\"top:{even:.1}%\">{}</span>", short(mean));
        if even - peak > 9.0 {
            let count = whole(sorted.first().map_or(0, |&c| c as usize));
            let _ = write!(margin, "<span class=\"y\" style=\"top:{peak:.1}%\">{count}</span>");
        }
        if even < 91.0 {
            margin.push_str("<span class=\"y\" style=\"top:100%\">0</span>");
        }
        let _ = write!(
            out,
            "<figure><figcaption><h3>Level {}</h3><small>{} of {} codewords used ({})<br>perplexity {} ({} of K), \
             Gini {:.2}</small></figcaption><div class=\"plot\" role=\"img\" aria-label=\"Load per codeword of level \
             {}, busiest first: from {} down to {} items, {} would be even\">\
             <svg viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path class=\"area\" \
             d=\"{path}\"/></svg>{margin}<span class=\"even\" style=\"top:{even:.1}%\"></span></div><div class=\"axis ends\" aria-hidden=\"true\"><span>busiest codeword</span>\
             <span>least used</span></div></figure>",
            depth + 1,
            whole(codes.used),
            whole(codes.codebook_size),
            percent(codes.utilisation),
            short(codes.perplexity),
            percent(codes.perplexity / codes.codebook_size as f64),
            codes.gini,
            depth + 1,
            sorted.first().unwrap_or(&0),
            sorted.last().unwrap_or(&0),
            short(mean),
        );
    }
    out.push_str("</div>");
    let note = if common {
        "all levels are drawn to one scale, in multiples of it"
    } else {
        "each level is drawn to a scale of its own"
    };
    let _ = write!(out, "<p class=\"soft under\">The dashed line is an even load; {note}.</p>");
    out
}

/// R² and MSE against the number of codes used, from none (the mean row) on; `None` where they were not measured.
pub(super) fn errors(input: &ReportInput<'_>) -> Option<String> {
    let e = input.evaluation;
    let variance = e.reconstruction.as_ref()?.variance;
    let by_depth = || e.levels.iter().filter_map(|level| level.error.as_ref());
    let r2: Vec<f64> = std::iter::once(0.0).chain(by_depth().map(|error| error.r2)).collect();
    let mse: Vec<f64> = std::iter::once(variance).chain(by_depth().map(|error| error.mse)).collect();
    let lowest = r2.iter().copied().fold(0.0, f64::min);
    let highest = mse.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let r2_ticks = if lowest < 0.0 { vec![lowest, 0.0, 1.0] } else { vec![0.0, 0.5, 1.0] };
    Some(format!(
        "<div class=\"charts\">{}{}</div>",
        curve("Variance explained, R²", "higher is better, 1 is exact", &r2, (lowest, 1.0), &r2_ticks, "up"),
        curve(
            "Mean squared error a value",
            "lower is better; no code at all means answering with the mean row",
            &mse,
            (0.0, highest),
            &[0.0, highest / 2.0, highest],
            "down"
        ),
    ))
}

fn curve(title: &str, note: &str, values: &[f64], (low, high): (f64, f64), ticks: &[f64], side: &str) -> String {
    let last = (values.len() - 1).max(1) as f64;
    let across = |i: usize| 5.0 + 88.0 * i as f64 / last;
    // Head room for the label above the highest point.
    let down = |v: f64| 13.0 + 87.0 * (1.0 - (v - low) / (high - low).max(f64::MIN_POSITIVE));
    let mut path = String::new();
    let (mut marks, mut axis) = (String::new(), String::new());
    let every = values.len().div_ceil(7);
    for (i, &value) in values.iter().enumerate() {
        let (x, y) = (across(i), down(value));
        let _ = write!(path, "{}{:.2} {y:.2}", if i == 0 { "M" } else { "L" }, x * 10.0);
        let _ = write!(marks, "<span class=\"dot\" style=\"left:{x:.2}%;top:{y:.2}%\"></span>");
        if i % every == 0 || i + 1 == values.len() {
            // A label below the axis would be lost, and one below the first point of a falling curve is in its way.
            let side = if y > 82.0 || i == 0 { "up" } else { side };
            let _ = write!(marks, "<span class=\"{side}\" style=\"left:{x:.2}%;top:{y:.2}%\">{}</span>", short(value));
            let what = if i == 0 { "no code".to_string() } else { i.to_string() };
            let _ = write!(axis, "<span style=\"left:{x:.2}%\">{what}</span>");
        }
    }
    let spoken: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("{i} codes {}", short(*v))).collect();
    let spoken = format!("{title} by number of codes used: {}", spoken.join(", "));
    figure(title, note, &spoken, &grid(ticks, down), &path, &marks, &axis)
}

/// Lines across a plot at `ticks`, each with its number in the margin.
pub(super) fn grid(ticks: &[f64], down: impl Fn(f64) -> f64) -> String {
    let mut out = String::new();
    for &tick in ticks {
        let y = down(tick);
        let label = short(tick);
        let label = if label.contains('.') && !label.contains('e') {
            label.trim_end_matches('0').trim_end_matches('.')
        } else {
            &label
        };
        let _ = write!(
            out,
            "<span class=\"line\" style=\"top:{y:.2}%\"></span><span class=\"y\" style=\"top:{y:.2}%\">{label}</span>"
        );
    }
    out
}

/// A drawing with its heading and axis; `spoken` is what it says to those who cannot see it.
pub(super) fn figure(
    title: &str,
    note: &str,
    spoken: &str,
    grid: &str,
    path: &str,
    marks: &str,
    axis: &str,
) -> String {
    format!(
        "<figure><figcaption><h3>{title}</h3><small>{note}</small></figcaption><div class=\"plot\" role=\"img\" \
         aria-label=\"{spoken}\">{grid}<svg viewBox=\"0 0 1000 100\" \
         preserveAspectRatio=\"none\" aria-hidden=\"true\"><path class=\"curve\" d=\"{path}\"/></svg>{marks}</div>\
         <div class=\"axis\" aria-hidden=\"true\">{axis}</div></figure>"
    )
}

/// How many items are alone on their ID, in pairs, and so on.
pub(super) fn buckets(catalogue: &Catalogue<'_>) -> String {
    let codes = catalogue.codes;
    // Bins: 1, 2, 3, 4, then 5–8, 9–16, …
    let bin = |size: usize| if size <= 4 { size - 1 } else { 2 + (size - 1).ilog2() as usize };
    let mut bins: Vec<(usize, usize)> = Vec::new();
    for bucket in catalogue.order.chunk_by(|&a, &b| codes.row(a) == codes.row(b)) {
        let at = bin(bucket.len());
        if bins.len() <= at {
            bins.resize(at + 1, (0, 0));
        }
        bins[at].0 += 1;
        bins[at].1 += bucket.len();
    }
    let mut out = String::from("<div class=\"hist\">");
    for (at, &(ids, count)) in bins.iter().enumerate().filter(|&(at, &(ids, _))| at == 0 || ids > 0) {
        let label = match at {
            0 => "alone on its ID".to_string(),
            1..=3 => format!("{} on one ID", at + 1),
            _ => format!("{}–{} on one ID", whole((1 << (at - 2)) + 1), whole(1 << (at - 1))),
        };
        let share = count as f64 / codes.rows().max(1) as f64;
        let width = if count == 0 { String::new() } else { format!("<i style=\"width:{:.2}%\"></i>", share * 100.0) };
        let ids = if at == 0 { String::new() } else { format!(", {}", plural(ids, "ID")) };
        let _ = write!(
            out,
            "<span>{label}</span><span>{width}</span><span class=\"soft\">{} ({}){ids}</span>",
            items(count),
            percent(share)
        );
    }
    out.push_str("</div>");
    out
}
