//! Numbers as people read them.

use sememe::progress::LevelBalance;

/// `1234567` as `1,234,567`.
pub fn whole(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How rows are compared with codewords.
pub fn metric(metric: sememe::Metric) -> &'static str {
    match metric {
        sememe::Metric::SquaredL2 => "squared L2",
        sememe::Metric::Cosine => "cosine",
    }
}

/// A number with its noun: `1 row`, `2 rows`, `2 batches`.
pub fn count(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    let ending = if noun.ends_with("tch") { "es" } else { "s" };
    format!("{} {noun}{}", whole(n), if n == 1 { "" } else { ending })
}

/// `1.2 MB`, in powers of 1000.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "bytes" { count(bytes, "byte") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `12 ms`, `1.3 s`, `2 min 5 s`, `3 h 2 min`.
pub fn time(seconds: f64) -> String {
    let s = seconds.max(0.0);
    match s {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 59.5 => format!("{s:.0} s"),
        s if s < 3570.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

/// `12.3 %`, with more digits where it is small.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".into(),
        v if v >= 99.95 => format!("{v:.0} %"),
        v if v >= 0.95 => format!("{v:.1} %"),
        v if v >= 0.0095 => format!("{v:.2} %"),
        v => format!("{v:.1e} %"),
    }
}

/// `256 × 256 × 128`.
pub fn sizes(codebook_sizes: &[usize]) -> String {
    match codebook_sizes {
        [first, .., last] if codebook_sizes.len() > 4 && codebook_sizes.iter().all(|k| k == first) => {
            format!("{} levels of {last}", codebook_sizes.len())
        }
        _ => codebook_sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × "),
    }
}

/// Columns two spaces apart after an indent of two, all but the last right-aligned where `left` does not name them.
pub fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            line.push_str("  ");
            line.push_str(&if left.contains(&c) { format!("{cell}{pad}") } else { format!("{pad}{cell}") });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `loads 47 to 48`, and what prices alone make of them where that is something else.
pub fn loads(b: &LevelBalance) -> String {
    let mut text = format!("loads {} to {}", whole(b.least_load), whole(b.largest_load));
    if b.moved_rows > 0 {
        text.push_str(&format!(
            ", by prices alone {} to {} with {} elsewhere",
            whole(b.least_priced_load),
            whole(b.largest_priced_load),
            count(b.moved_rows, "row")
        ));
    }
    text
}
