//! Charts: shapes as inline SVG that stretches, every text as HTML at its own size.

use std::fmt::Write as _;

use super::ReportInput;
use super::html::{items, percent, plural, short, whole};
use crate::data::Codes;

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
    let description: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("{i} codes {}", short(*v))).collect();
    let description = format!("{title} by number of codes used: {}", description.join(", "));
    let path = format!("<path class=\"curve\" d=\"{path}\"/>");
    figure(title, note, &description, &grid(ticks, down), &path, &marks, &axis)
}

/// Lines across a plot at `ticks`, each with its number in the margin.
fn grid(ticks: &[f64], down: impl Fn(f64) -> f64) -> String {
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

/// A drawing with its heading and axis; `description` is what it says to those who cannot see it.
fn figure(title: &str, note: &str, description: &str, grid: &str, paths: &str, marks: &str, axis: &str) -> String {
    format!(
        "<figure><figcaption><h3>{title}</h3><small>{note}</small></figcaption><div class=\"plot\" role=\"img\" \
         aria-label=\"{description}\">{grid}<svg viewBox=\"0 0 1000 100\" \
         preserveAspectRatio=\"none\" aria-hidden=\"true\">{paths}</svg>{marks}</div>\
         <div class=\"axis\" aria-hidden=\"true\">{axis}</div></figure>"
    )
}

/// A line of a chart; its name may be empty if it is the only one.
pub(super) struct Curve {
    pub(super) name: String,
    /// Ascending in x.
    pub(super) points: Vec<(f64, f64)>,
}

/// Above this ratio of the highest to the lowest value a chart is logarithmic.
const LOGARITHMIC: f64 = 30.0;
/// Lines that have a colour, and a name at their end.
pub(super) const NAMED: usize = 4;

/// Lines over epochs, levels or rounds, `across`; `None` if there is no point to draw.
pub(super) fn lines(title: &str, note: &str, across: &str, all: &[Curve]) -> Option<String> {
    let finite =
        |line: &Curve| -> Vec<(f64, f64)> { line.points.iter().copied().filter(|p| p.1.is_finite()).collect() };
    let drawn: Vec<(&str, Vec<(f64, f64)>)> =
        all.iter().map(|line| (line.name.as_str(), finite(line))).filter(|(_, points)| !points.is_empty()).collect();
    let points = || drawn.iter().flat_map(|(_, points)| points.iter().copied());
    let span = |of: fn((f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((first, last), (low, high)) = (span(|p| p.0), span(|p| p.1));
    if drawn.is_empty() {
        return None;
    }
    let log = low > 0.0 && high / low > LOGARITHMIC;
    let scale = |v: f64| if log { libm::log10(v) } else { v };
    let (bottom, top) = (scale(low), scale(high));
    let named = drawn.len() > 1 && drawn.len() <= NAMED;
    // A character of a name at the end of a line takes a fortieth of a drawing on a phone.
    let longest = drawn.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let room = if named { (89.0 - 2.5 * longest as f64).max(45.0) } else { 88.0 };
    let x = |v: f64| if last > first { 5.0 + room * (v - first) / (last - first) } else { 5.0 + room / 2.0 };
    // Head room for the label above the highest point, and a little below the lowest.
    let y = |v: f64| if top > bottom { 13.0 + 81.0 * (top - scale(v)) / (top - bottom) } else { 50.0 };

    let (mut paths, mut marks, mut description) = (String::new(), String::new(), Vec::new());
    let mut ends: Vec<(f64, f64, usize, &str)> = Vec::new();
    for (at, (name, points)) in drawn.iter().enumerate() {
        let colour = if drawn.len() > NAMED { 0 } else { at };
        // Many epochs are more than a line can show: every nth, and the last.
        let every = points.len().div_ceil(400);
        let kept = points.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == points.len()).map(|(_, p)| p);
        let path: Vec<String> = kept.map(|p| format!("{:.2} {:.2}", x(p.0) * 10.0, y(p.1))).collect();
        let faint = if drawn.len() > NAMED {
            format!(" style=\"opacity:{:.2}\"", fade(at, drawn.len()))
        } else {
            String::new()
        };
        let _ = write!(paths, "<path class=\"curve c{colour}\"{faint} d=\"M{}\"/>", path.join("L"));
        let (begin, end) = (points[0], points[points.len() - 1]);
        for p in points.iter().filter(|_| points.len() <= 12 && drawn.len() <= NAMED) {
            let _ =
                write!(marks, "<span class=\"dot c{colour}\" style=\"left:{:.2}%;top:{:.2}%\"></span>", x(p.0), y(p.1));
        }
        if drawn.len() == 1 {
            for p in if points.len() > 1 { vec![begin, end] } else { vec![end] } {
                let _ = write!(
                    marks,
                    "<span class=\"up\" style=\"left:{:.2}%;top:{:.2}%\">{}</span>",
                    x(p.0),
                    y(p.1),
                    short(p.1)
                );
            }
        }
        ends.push((x(end.0), y(end.1), colour, name));
        let label = if name.is_empty() { String::new() } else { format!("{name}, ") };
        description.push(format!(
            "{label}{across} {} {}, {across} {} {}",
            begin.0,
            short(begin.1),
            end.0,
            short(end.1)
        ));
    }
    if named {
        // Names at the ends of their lines, apart from each other.
        ends.sort_by(|a, b| a.1.total_cmp(&b.1));
        let lowest = 100.0;
        for i in 1..ends.len() {
            ends[i].1 = ends[i].1.max(ends[i - 1].1 + 9.0);
        }
        for i in (0..ends.len()).rev() {
            let limit = if i + 1 < ends.len() { ends[i + 1].1 - 9.0 } else { lowest };
            ends[i].1 = ends[i].1.min(limit);
        }
        for (x, y, colour, name) in &ends {
            let _ = write!(marks, "<span class=\"end c{colour}\" style=\"left:{x:.2}%;top:{y:.2}%\">{name}</span>");
        }
    }
    let mut axis = String::new();
    for tick in ticks(first, last, 5) {
        let _ = write!(axis, "<span style=\"left:{:.2}%\">{}</span>", x(tick), whole(tick.round() as usize));
    }
    let faded = if drawn.len() > NAMED {
        format!("; {} the strongest, {} the faintest", drawn[0].0, drawn[drawn.len() - 1].0)
    } else {
        String::new()
    };
    let kind = if log { ", in logarithms" } else { "" };
    let heights = if log { decades(low, high) } else { ticks_between(low, high) };
    let description = format!("{title} by {across}: {}", description.join("; "));
    Some(figure(
        title,
        &format!("{note}{kind}{faded}"),
        &description,
        &grid(&heights, y),
        &paths,
        &marks,
        &format!("{axis}<span class=\"what\">{across}</span>"),
    ))
}

/// How strong the line of a level is where there are too many for colours.
fn fade(at: usize, all: usize) -> f64 {
    1.0 - 0.75 * at as f64 / (all - 1).max(1) as f64
}

/// Whole numbers from `first` to `last`, at most about `most`, both ends among them.
fn ticks(first: f64, last: f64, most: usize) -> Vec<f64> {
    let steps = (last - first).max(0.0);
    let step = [1.0, 2.0, 5.0].iter().flat_map(|m| (0..18).map(move |p| m * libm::pow(10.0, f64::from(p))));
    let step = step.filter(|step| steps / step <= most as f64).fold(f64::INFINITY, f64::min);
    let mut out = vec![first];
    let mut next = (libm::floor(first / step) + 1.0) * step;
    while step.is_finite() && next < last {
        out.push(next);
        next += step;
    }
    if last > first {
        // The end stands in the way of what is just before it.
        if out.len() > 1 && last - out[out.len() - 1] < 0.6 * step {
            out.pop();
        }
        out.push(last);
    }
    // And the beginning of what is just after it.
    if out.len() > 2 && out[1] - out[0] < 0.6 * step {
        out.remove(1);
    }
    out
}

/// Two to four round numbers between.
fn ticks_between(low: f64, high: f64) -> Vec<f64> {
    if high <= low {
        return vec![low];
    }
    let step = (-12..15).flat_map(|p| [1.0, 2.0, 5.0].map(|m| m * libm::pow(10.0, f64::from(p))));
    let Some(step) = step.into_iter().find(|step| (high - low) / step <= 4.0) else { return vec![low, high] };
    let from = libm::ceil(low / step) as i64;
    // Rounded to what its digits say, as 3 · 0.1 is not 0.3.
    (from..from + 6).map(|i| i as f64 * step).filter(|v| *v <= high * (1.0 + 1e-12)).collect()
}

/// Powers of ten and their thirds between; the ends where there are none.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let all: Vec<f64> = (-12..15).flat_map(|p| [1.0, 3.0].map(|m| m * libm::pow(10.0, f64::from(p)))).collect();
    let mut inside: Vec<f64> = all.into_iter().filter(|v| (low..=high).contains(v)).collect();
    if inside.len() > 5 {
        let every = inside.len().div_ceil(4);
        inside = inside.into_iter().step_by(every).collect();
    }
    if inside.is_empty() { vec![low, high] } else { inside }
}

/// How many items are alone on their ID, in pairs, and so on.
pub(super) fn buckets(codes: &Codes, order: &[usize]) -> String {
    // Bins: 1, 2, 3, 4, then 5–8, 9–16, …
    let bin = |size: usize| if size <= 4 { size - 1 } else { 2 + (size - 1).ilog2() as usize };
    let mut bins: Vec<(usize, usize)> = Vec::new();
    for bucket in order.chunk_by(|&a, &b| codes.row(a) == codes.row(b)) {
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
