//! `sememe parse`.

use crate::output::{print, print_json};
use crate::progress::{Progress, stopped};
use crate::spelling::ParsePlan;
use crate::text::{count, time};
use anyhow::Result;
use sememe::Error;
use sememe::io::{CodesWriter, read_ids, read_index};
use serde_json::json;
use std::time::Instant;

/// Reads a line at a time; the codes are held in memory.
pub fn run(plan: &ParsePlan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let mut sizes = plan.sizes.resolve(plan.levels)?;
    let format = plan.spelling.bind(&sizes)?;
    if let Some(levels) = plan.levels.filter(|l| *l != format.levels()) {
        let place = "--levels".to_owned();
        return Err(Error::Shape { what: "levels", expected: format.levels(), got: levels, place }.into());
    }
    let (mut codes, mut numbers, mut rows) = (Vec::new(), Vec::new(), 0usize);
    let pause = |rows: usize| {
        if rows % (1 << 14) == 0 && stopped() { Err(Error::Interrupted(String::new())) } else { Ok(()) }
    };
    let mut keys = Vec::new();
    if plan.ids.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        read_index(&plan.ids, &mut |key, tokens| {
            pause(rows)?;
            codes.extend(format.parse_tokens(tokens)?);
            keys.push(key.to_owned());
            numbers.push(rows as u64);
            rows += 1;
            Ok(())
        })?;
    } else {
        read_ids(&plan.ids, &mut |item| {
            pause(rows)?;
            codes.extend(format.parse(item.text)?);
            numbers.push(item.row.unwrap_or(rows as u64));
            rows += 1;
            Ok(())
        })?;
    }
    if rows == 0 {
        return Err(Error::format(&plan.ids, "holds no IDs").into());
    }
    if format.has_counter() {
        let most = codes.chunks_exact(format.width()).filter_map(|id| id.last()).max();
        sizes.push(most.map_or(1, |m| *m as usize + 1));
    }
    let mut writer = if keys.is_empty() {
        CodesWriter::create(&plan.output, rows, format.width(), &sizes)?
    } else {
        CodesWriter::create_keyed(&plan.output, rows, format.width(), &sizes)?
    };
    writer.write_with_keys(&numbers, &keys, &codes)?;
    writer.finish()?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "rows": rows,
            "keys": !keys.is_empty(),
            "levels": format.levels(),
            "counter": format.has_counter(),
            "codebook_sizes": sizes,
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let (shown, width) = (plan.output.display(), count(format.width() as u64, "code"));
    print(&format!("wrote {shown}: {} of {width} in {}\n", count(rows as u64, "ID"), time(seconds)))
}
