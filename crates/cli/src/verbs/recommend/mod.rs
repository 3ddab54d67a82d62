//! `sememe recommend`.

mod eval;
mod flags;
mod query;
mod train;

pub use flags::Flags;

use crate::flags::UnknownItems;
use crate::interactions::EventsPlan;
use crate::progress::Progress;
use crate::verbs::recommend::flags::{Action, HistoryFlags};
use anyhow::Result;

pub enum Plan {
    Train(Box<train::Plan>),
    Query(query::Plan),
    Eval(eval::Plan),
}

pub fn plan(flags: Flags) -> Result<Plan> {
    Ok(match flags.action {
        Action::Train(flags) => Plan::Train(Box::new(train::plan(*flags)?)),
        Action::Query(flags) => Plan::Query(query::plan(flags)?),
        Action::Eval(flags) => Plan::Eval(eval::plan(flags)?),
    })
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    match plan {
        Plan::Train(plan) => train::run(plan, progress),
        Plan::Query(plan) => query::run(plan, progress),
        Plan::Eval(plan) => eval::run(plan, progress),
    }
}

fn events(flags: HistoryFlags) -> Result<EventsPlan> {
    EventsPlan::new(flags.interactions, flags.fields, flags.unknown == UnknownItems::Drop)
}
