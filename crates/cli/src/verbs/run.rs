//! `sememe run`.

use crate::failure::usage;
use crate::hints;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, time};
use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use sememe_run::config::{LoadedConfig, Overrides, load};
use sememe_run::run::{Phase, RunEvent, RunOptions, run as run_phases, verify};
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe init
  sememe run
  sememe run --config shop.toml --phase tokenize
  sememe run --set train.levels=4 --set assign.policy=relocate
  sememe run --rebuild train
  sememe run --dry-run";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "sememe.toml", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Phases to run, in their order; the others stay as they are
    #[arg(long, value_enum, value_name = "PHASES", value_delimiter = ',', default_value = "all")]
    pub phase: Vec<PhaseChoice>,
    /// Phases to run again even if they are up to date
    #[arg(long, value_enum, value_name = "PHASES", value_delimiter = ',')]
    pub rebuild: Vec<PhaseChoice>,
    /// Change one setting for this run: train.levels=4; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Try everything with few items and epochs in a folder of its own, and read every artifact back
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseChoice {
    /// Rows of the catalogue to texts
    Prep,
    /// Texts to vectors
    Embed,
    /// Vectors to a codec
    Train,
    /// Items to IDs
    Assign,
    /// IDs to tokens and the files around them
    Tokenize,
    /// Training data for a language model, if the configuration has it
    Dialogues,
    /// A recommender over the IDs, if the configuration has it
    Recommend,
    /// Measures and the report
    Report,
    /// All of them
    All,
}

pub struct Plan {
    loaded: LoadedConfig,
    options: RunOptions,
    dry_run: bool,
}

pub fn plan(flags: &Flags) -> Result<Plan> {
    if !flags.config.exists() {
        let shown = flags.config.display();
        return Err(usage(format!("`{shown}` is not there; `sememe init` writes one, `--config FILE` names another")));
    }
    let mut loaded = load(&flags.config, &Overrides::from_process(flags.set.clone()))?;
    if flags.dry_run {
        (loaded.config, loaded.written) = (loaded.config.dry(), loaded.written.dry());
    }
    let options = RunOptions {
        phases: phases(&flags.phase),
        rebuild: phases(&flags.rebuild),
        advice_text: hints::advice_of_run(loaded.config.train.method),
    };
    Ok(Plan { loaded, options, dry_run: flags.dry_run })
}

fn phases(choices: &[PhaseChoice]) -> Vec<Phase> {
    let named = |choice: &PhaseChoice| match choice {
        PhaseChoice::Prep => vec![Phase::Prep],
        PhaseChoice::Embed => vec![Phase::Embed],
        PhaseChoice::Train => vec![Phase::Train],
        PhaseChoice::Assign => vec![Phase::Assign],
        PhaseChoice::Tokenize => vec![Phase::Tokenize],
        PhaseChoice::Dialogues => vec![Phase::Dialogues],
        PhaseChoice::Recommend => vec![Phase::Recommend],
        PhaseChoice::Report => vec![Phase::Report],
        PhaseChoice::All => Phase::ALL.to_vec(),
    };
    choices.iter().flat_map(named).collect()
}

/// Goes through the phases and says of each what it did.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let levels = plan.loaded.config.train.codebook_sizes().map_or(0, |sizes| sizes.len());
    let mut skipped = 0;
    let report = run_phases(&plan.loaded, &plan.options, progress, &mut |event| match event {
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
