//! The cells of a sweep as one HTML page that opens anywhere, without a network.

use std::fmt::Write as _;

use super::{Cell, CellMeasures, CellOutcome, SweepReport};
use sememe::eval::report::html::{escape, percent, plural, short, whole};
use sememe::eval::report::page_head;

/// Room around the points, as a share of what they span.
const MARGIN: f64 = 0.08;

/// Renders one page: collision rate against R² with the levels as shapes and the Pareto front filled, and a table of all cells.
///
/// Drawings and styles are inside the page, which forbids itself every request. Text from outside is escaped. The same report gives
/// the same bytes.
#[must_use]
pub fn render_page(title: &str, report: &SweepReport) -> String {
    let name = escape(title, 200);
    let mut out = page_head(&name);
    let done: Vec<(&Cell, &CellMeasures)> =
        report.cells.iter().filter_map(|cell| cell.figures().map(|figures| (cell, figures))).collect();
    let front = done.iter().filter(|(cell, _)| cell.on_front).count();
    let _ = write!(
        out,
        "<header><h1>{name}</h1><p class=\"lead\">{} on {} rows of {} values; {front} of them no other is better than in \
         collisions, R² and tokens at once.</p></header>",
        plural(report.cells.len(), "setting"),
        whole(report.rows),
        whole(report.dims)
    );
    if !done.is_empty() {
        let _ = write!(
            out,
            "<section><h2>Collisions against R²</h2><p class=\"soft\">Down and to the right is better. Fewer levels are fewer \
             tokens an item; lines join settings of the same levels, from few codewords to many.</p>{}</section>",
            plot(report, &done)
        );
    }
    let _ = write!(out, "<section><h2>All settings</h2>{}</section>", table(report));
    let failed: Vec<&Cell> = report.cells.iter().filter(|cell| cell.figures().is_none()).collect();
    if !failed.is_empty() {
        out.push_str("<section><h2>Without figures</h2><ul>");
        for cell in failed {
            if let CellOutcome::Failed(why) = &cell.outcome {
                let _ = write!(out, "<li><b>{}</b>: {}</li>", cell.name(), escape(why, 400));
            }
        }
        out.push_str("</ul></section>");
    }
    let _ = write!(
        out,
        "<footer>Written by sememe {}. Data {}. This page is one file and asks for nothing from the network.</footer>\n\
         </main></body></html>\n",
        env!("CARGO_PKG_VERSION"),
        escape(&report.data[..report.data.len().min(16)], 16)
    );
    out
}

/// Where a collision rate is drawn: logarithms, with 0 half an item below the least that there can be.
fn height(rate: f64, rows: usize) -> f64 {
    libm::log10(rate.max(0.5 / rows.max(1) as f64))
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let room = ((high - low) * MARGIN).max(1e-3);
    (low - room, high + room)
}

fn plot(report: &SweepReport, done: &[(&Cell, &CellMeasures)]) -> String {
    let (left, right) = span(done.iter().map(|(_, f)| f.r2));
    let (low, high) = span(done.iter().map(|(_, f)| height(f.collision_rate, report.rows)));
    let across = |r2: f64| 100.0 * (r2 - left) / (right - left);
    let down = |rate: f64| 100.0 * (1.0 - (height(rate, report.rows) - low) / (high - low));
    let mut levels: Vec<usize> = done.iter().map(|(cell, _)| cell.levels).collect();
    levels.sort_unstable();
    levels.dedup();
    let shape = |cell: &Cell| levels.iter().position(|l| *l == cell.levels).unwrap_or(0) % 4;

    let mut key = String::from("<ul class=\"key\">");
    for (at, level) in levels.iter().enumerate() {
        let _ = write!(key, "<li><i class=\"s{}\"></i>{}</li>", at % 4, plural(*level, "level"));
    }
    key.push_str("<li><i class=\"full\"></i>filled: on the Pareto front</li></ul>");

    let mut trails = String::new();
    let (mut marks, mut spoken) = (String::new(), Vec::new());
    for level in &levels {
        let kind = |cell: &Cell| (cell.refine_rounds, cell.balance);
        let mut kinds: Vec<(usize, &str)> =
            done.iter().filter(|(cell, _)| cell.levels == *level).map(|(cell, _)| kind(cell)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for wanted in kinds {
            let mut line: Vec<&(&Cell, &CellMeasures)> =
                done.iter().filter(|(cell, _)| cell.levels == *level && kind(cell) == wanted).collect();
            line.sort_by_key(|(cell, _)| cell.codebook_size);
            let path: Vec<String> =
                line.iter().map(|(_, f)| format!("{:.2} {:.2}", across(f.r2) * 10.0, down(f.collision_rate))).collect();
            if path.len() > 1 {
                let _ = write!(trails, "<path class=\"trail\" d=\"M{}\"/>", path.join("L"));
            }
        }
    }
    for (cell, f) in done {
        let (x, y) = (across(f.r2), down(f.collision_rate));
        let on = if cell.on_front { " on" } else { "" };
        let what = format!("{}: R² {:.4}, collision rate {}", cell.name(), f.r2, percent(f.collision_rate));
        let _ = write!(
            marks,
            "<span class=\"p s{}{on}\" style=\"left:{x:.2}%;top:{y:.2}%\" title=\"{what}\"></span>",
            shape(cell)
        );
        let side = if x > 70.0 { " left" } else { "" };
        let how = match (cell.refine_rounds > 0, cell.balance) {
            (true, _) => "+",
            (_, "sinkhorn") => " s",
            (_, "capacity") => " c",
            _ => "",
        };
        let _ = write!(
            marks,
            "<span class=\"t{side}\" style=\"left:{x:.2}%;top:{y:.2}%\">{}{how}</span>",
            cell.codebook_size
        );
        spoken.push(what);
    }
    let mut grid = String::new();
    // Powers of ten and their thirds; 0 where it is.
    let mut ticks: Vec<f64> = (-9..=0).flat_map(|p| [1.0, 3.0].map(|m| m * libm::pow(10.0, f64::from(p)))).collect();
    ticks.retain(|t| *t <= 1.0 && (low..=high).contains(&libm::log10(*t)));
    for tick in ticks {
        let y = down(tick);
        let _ = write!(
            grid,
            "<span class=\"line\" style=\"top:{y:.2}%\"></span><span class=\"y\" style=\"top:{y:.2}%\">{}</span>",
            percent(tick)
        );
    }
    if done.iter().any(|(_, f)| f.collision_rate == 0.0) {
        let _ = write!(grid, "<span class=\"y\" style=\"top:{:.2}%\">0</span>", down(0.0));
    }
    let mut axis = String::new();
    for at in 0..5 {
        let share = (at as f64 + 0.5) / 5.0;
        let _ = write!(axis, "<span style=\"left:{:.1}%\">{:.3}</span>", share * 100.0, left + share * (right - left));
    }
    format!(
        "{key}<figure><div class=\"plot tall\" role=\"img\" aria-label=\"Collision rate against R²: {}\">{grid}<svg viewBox=\"0 0 1000 \
         100\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{trails}</svg>{marks}</div><div class=\"axis\" \
         aria-hidden=\"true\">{axis}</div><p class=\"soft under\">Across: R², variance explained. Up: collision rate, the share \
         of items beyond the first on their ID, in logarithms. Numbers at the points are codewords a level{}.</p></figure>",
        spoken.join("; "),
        match (done.iter().any(|(c, _)| c.refine_rounds > 0), done.iter().any(|(c, _)| c.balance != "none")) {
            (true, true) => ", + where refined, s and c where balanced by Sinkhorn and by capacity",
            (true, false) => ", + where refined",
            (false, true) => ", s and c where balanced by Sinkhorn and by capacity",
            (false, false) => "",
        }
    )
}

fn table(report: &SweepReport) -> String {
    let recall = report.cells.iter().any(|cell| cell.figures().is_some_and(|f| f.recall_at_10.is_some()));
    let mut out = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"All settings\"><table class=\"measures\"><thead><tr>",
    );
    let mut head = vec!["Setting", "R²", "Collision rate", "Largest bucket", "Perplexity", "Entropy ratio", "Training"];
    if recall {
        head.insert(3, "Recall@10");
    }
    head.iter().for_each(|cell| {
        let _ = write!(out, "<th scope=\"col\">{cell}</th>");
    });
    out.push_str("</tr></thead><tbody>");
    for cell in &report.cells {
        let Some(f) = cell.figures() else { continue };
        let (class, mark) = if cell.on_front { (" class=\"on\"", " ●") } else { ("", "") };
        let perplexity: Vec<String> = f.perplexity.iter().map(|p| short(*p)).collect();
        let _ = write!(
            out,
            "<tr{class}><th scope=\"row\">{}{mark}<small>{} in the vocabulary</small></th><td>{:.4}</td><td>{}</td>",
            cell.name(),
            plural(cell.vocabulary, "token"),
            f.r2,
            percent(f.collision_rate)
        );
        if recall {
            let _ = write!(out, "<td>{}</td>", f.recall_at_10.map_or(String::new(), percent));
        }
        let _ = write!(
            out,
            "<td>{}</td><td>{}</td><td>{:.4}</td><td>{:.1} s</td></tr>",
            whole(f.max_bucket),
            perplexity.join(" / "),
            f.entropy_ratio,
            f.train_seconds
        );
    }
    out.push_str(
        "</tbody></table></div><p class=\"soft under\">● on the Pareto front of collision rate, R² and levels.</p>",
    );
    out
}
