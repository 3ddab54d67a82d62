//! The plan of a comparison.

use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::interactions::EventsPlan;
use crate::verbs::recommend::events;
use crate::verbs::recommend::flags::CompareFlags;
use crate::verbs::recommend::train::settings;
use anyhow::Result;
use sememe_recommend::{HoldOut, Prediction, RecommenderSettings};
use std::collections::BTreeSet;
use std::path::PathBuf;

pub struct Plan {
    pub events: EventsPlan,
    pub ids: Vec<PathBuf>,
    pub prefixes: bool,
    pub vectors: Option<PathBuf>,
    pub identities: bool,
    pub sasrec: bool,
    pub keys: Option<(PathBuf, String)>,
    pub folder: PathBuf,
    pub settings: RecommenderSettings,
    pub seeds: Vec<u64>,
    pub device: DeviceChoice,
}

pub fn plan(flags: CompareFlags) -> Result<Plan> {
    let settings = settings(&flags.training);
    settings.validate()?;
    if settings.hold_out != HoldOut::Test {
        return Err(usage(
            "`--hold-out validation` leaves nothing to compare by; a comparison needs `--hold-out test`",
        ));
    }
    let seeds: BTreeSet<u64> = flags.seeds.iter().copied().collect();
    if seeds.len() != flags.seeds.len() {
        return Err(usage("`--seeds`: one of them is named twice"));
    }
    let items = flags.items;
    let prediction = settings.prediction;
    let meaningless = match prediction {
        Prediction::Items => None,
        Prediction::Levels if items.no_prefixes => {
            Some("`--no-prefixes` has no meaning with `--predict levels`, whose IDs have no prefixes; leave it out")
        }
        Prediction::Ordered if items.no_prefixes => {
            Some("`--no-prefixes` has no meaning with `--predict ordered`, which reads IDs code by code; leave it out")
        }
        Prediction::Ordered if items.identities => {
            Some("`--identities` has no meaning with `--predict ordered`, which reads IDs code by code; leave it out")
        }
        Prediction::Levels | Prediction::Ordered => None,
    };
    if let Some(problem) = meaningless {
        return Err(usage(problem));
    }
    let seeds = match flags.training.seed {
        Some(seed) => vec![seed],
        None => flags.seeds,
    };
    Ok(Plan {
        events: events(flags.histories)?,
        ids: items.ids,
        prefixes: !items.no_prefixes && prediction == Prediction::Items,
        vectors: items.vectors,
        identities: items.identities,
        sasrec: items.sasrec,
        keys: items.keys.map(|path| (path, items.key)),
        folder: flags.output,
        settings,
        seeds,
        device: flags.on.device,
    })
}
