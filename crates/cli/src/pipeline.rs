//! `sememe run`, `sememe init` and `sememe config check`.

use crate::args::{CheckConfig, InitFile, PhaseChoice, Run as Flags};
use crate::failure::usage;
use crate::hints;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, time};
use anyhow::Result;
use sememe::io::write_bytes_atomic;
use sememe_run::config::{LoadedConfig, Overrides, TEMPLATE, TrainMethod, load};
use sememe_run::run::{Phase, RunEvent, RunOptions, run as run_phases, verify};
use serde_json::json;

pub struct RunPlan {
    loaded: LoadedConfig,
    options: RunOptions,
    dry_run: bool,
}

pub fn plan(flags: &Flags) -> Result<RunPlan> {
    if !flags.config.exists() {
        let shown = flags.config.display();
        return Err(usage(format!("`{shown}` is not there; `sememe init` writes one, `--config FILE` names another")));
    }
    let mut loaded = load(&flags.config, &Overrides::from_process(flags.set.clone()))?;
    if flags.dry_run {
        (loaded.config, loaded.written) = (loaded.config.dry(), loaded.written.dry());
    }
    let options =
        RunOptions { phases: phases(&flags.phase), rebuild: phases(&flags.rebuild), advice_text: hints::advice_of_run };
    Ok(RunPlan { loaded, options, dry_run: flags.dry_run })
}

fn phases(choices: &[PhaseChoice]) -> Vec<Phase> {
    let named = |choice: &PhaseChoice| match choice {
        PhaseChoice::Prep => vec![Phase::Prep],
        PhaseChoice::Embed => vec![Phase::Embed],
        PhaseChoice::Train => vec![Phase::Train],
        PhaseChoice::Assign => vec![Phase::Assign],
        PhaseChoice::Tokenize => vec![Phase::Tokenize],
        PhaseChoice::Dialogues => vec![Phase::Dialogues],
        PhaseChoice::Report => vec![Phase::Report],
        PhaseChoice::All => Phase::ALL.to_vec(),
    };
    choices.iter().flat_map(named).collect()
}

/// Goes through the phases and says of each what it did.
pub fn run(plan: &RunPlan, progress: &Progress) -> Result<()> {
    let levels = plan.loaded.config.train.rq_kmeans(0).map_or(0, |config| config.codebook_sizes.len());
    let mut skipped = 0;
    let report = run_phases(&plan.loaded, &plan.options, progress, &mut |news| match news {
        RunEvent::Skipped(phase) => {
            skipped += 1;
            progress.say(&format!("{:<9} up to date", phase.name()));
        }
        RunEvent::Started(phase, why) => {
            progress.say(&format!("{:<9} runs: {why}", phase.name()));
            if phase == Phase::Train {
                progress.expect_levels(levels, 1);
            }
        }
        RunEvent::Finished(done) => {
            progress.say(&format!("{:<9} {} ({})", done.phase.name(), done.summary, time(done.seconds)));
        }
    })?;
    let checked = if plan.dry_run { Some(verify(&report.output)?) } else { None };
    progress.finish();
    if progress.json {
        let mut value = serde_json::to_value(&report)?;
        if let Some(map) = value.as_object_mut() {
            map.insert("dry_run".into(), json!(plan.dry_run));
            map.insert("checked".into(), json!(checked));
            map.insert("notes".into(), json!(progress.notes()));
        }
        return print_json(&value);
    }
    if progress.quiet {
        return Ok(());
    }
    let ran = report.phases.len() - skipped;
    let mut text = format!(
        "{}: {} run, {skipped} up to date, in {}\n",
        report.output.display(),
        count(ran as u64, "phase"),
        time(report.seconds)
    );
    for line in checked.iter().flatten() {
        text.push_str(&format!("  {line}\n"));
    }
    print(&text)
}

/// Writes the commented file.
pub fn init(flags: &InitFile, json: bool) -> Result<()> {
    let shown = flags.path.display();
    if flags.path.exists() && !flags.force {
        return Err(usage(format!("`{shown}` is there already; `--force` replaces it")));
    }
    write_bytes_atomic(&flags.path, TEMPLATE.as_bytes())?;
    if json {
        return print_json(&json!({ "output": shown.to_string() }));
    }
    print(&format!(
        "wrote {shown}: set `prep.source` and one of the three ways of `[embed]`, then `sememe config check`\n"
    ))
}

/// Checks a configuration and prints what it comes to.
pub fn check(flags: &CheckConfig, json: bool) -> Result<()> {
    let loaded = load(&flags.path, &Overrides::from_process(flags.set.clone()))?;
    let mut written = loaded.written;
    if written.train.method == TrainMethod::RqKmeans {
        // `levels` and `codebook_size` go over its own.
        written.train.rq_kmeans = written.train.rq_kmeans(written.seed)?;
    }
    let value = serde_json::to_value(&written)?;
    if json {
        return print_json(&value);
    }
    let (text, unset) = crate::config::toml(value)?;
    print(&format!("# {} is right; in full:\n# not set: {}\n\n{text}", flags.path.display(), unset.join(", ")))
}
