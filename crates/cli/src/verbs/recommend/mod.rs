//! `sememe recommend`.

mod compare;
mod eval;
#[cfg(feature = "language")]
mod eval_chats;
mod flags;
#[cfg(feature = "language")]
mod language_flags;
mod query;
#[cfg(feature = "language")]
mod speak;
mod train;
#[cfg(feature = "language")]
mod tune;

pub use flags::Flags;

use crate::flags::UnknownItems;
use crate::interactions::EventsPlan;
use crate::progress::Progress;
use crate::verbs::recommend::flags::{Action, HistoryFlags};
use anyhow::Result;
use sememe::io::{OpenOptions, open};
use sememe::{Matrix, RowSource as _};
use std::path::Path;

pub enum Plan {
    Train(Box<train::Plan>),
    Query(Box<query::Plan>),
    Eval(eval::Plan),
    Compare(Box<compare::Plan>),
    #[cfg(feature = "language")]
    Tune(Box<tune::Plan>),
    #[cfg(feature = "language")]
    Speak(Box<speak::Plan>),
    #[cfg(feature = "language")]
    EvalChats(eval_chats::Plan),
}

pub fn plan(flags: Flags) -> Result<Plan> {
    Ok(match flags.action {
        Action::Train(flags) => Plan::Train(Box::new(train::plan(*flags)?)),
        #[cfg(feature = "language")]
        Action::Tune(flags) => Plan::Tune(Box::new(tune::plan(*flags)?)),
        #[cfg(feature = "language")]
        Action::EvalChats(flags) => Plan::EvalChats(eval_chats::plan(flags)?),
        #[cfg(feature = "language")]
        Action::Query(flags) if flags.recommender.is_dir() => Plan::Speak(Box::new(speak::plan(*flags)?)),
        #[cfg(not(feature = "language"))]
        Action::Query(flags) if flags.recommender.is_dir() => {
            let folder = flags.recommender.display();
            return Err(crate::failure::usage(format!(
                "`{folder}`: language models need a program built with `--features language`"
            )));
        }
        Action::Query(flags) => Plan::Query(Box::new(query::plan(*flags)?)),
        Action::Eval(flags) => Plan::Eval(eval::plan(flags)?),
        Action::Compare(flags) => Plan::Compare(Box::new(compare::plan(*flags)?)),
    })
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    match plan {
        Plan::Train(plan) => train::run(plan, progress),
        Plan::Query(plan) => query::run(plan, progress),
        Plan::Eval(plan) => eval::run(plan, progress),
        Plan::Compare(plan) => compare::run(plan, progress),
        #[cfg(feature = "language")]
        Plan::Tune(plan) => tune::run(plan, progress),
        #[cfg(feature = "language")]
        Plan::Speak(plan) => speak::run(plan, progress),
        #[cfg(feature = "language")]
        Plan::EvalChats(plan) => eval_chats::run(plan, progress),
    }
}

fn events(flags: HistoryFlags) -> Result<EventsPlan> {
    EventsPlan::new(flags.interactions, flags.fields, flags.unknown == UnknownItems::Drop)
}

/// Rows of a file, in memory.
fn read_rows(path: &Path) -> Result<Matrix> {
    let source = open(path, &OpenOptions::default())?;
    let mut rows = Matrix::zeros(source.rows(), source.dims())?;
    source.read_rows(0, rows.as_mut_slice())?;
    Ok(rows)
}
