//! `sememe recommend train`.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::interactions::{EventItems, EventsPlan, read_interactions};
use crate::output::{output, print, print_json};
use crate::precision::precision;
use crate::progress::Progress;
use crate::text::{count, size, time, whole};
use crate::verbs::recommend::eval::table;
use crate::verbs::recommend::flags::{HoldOutChoice, ItemFlags, PredictChoice, TrainFlags, TrainingFlags};
use crate::verbs::recommend::{events, read_rows};
use anyhow::Result;
use sememe::io::{read_codes_file, read_if_there, read_keys, write_bytes_atomic};
use sememe::{Codes, Error, Matrix};
use sememe_recommend::{
    HoldOut, ItemSources, Prediction, RecommenderEpoch, RecommenderSettings, RecommenderTraining, TrainingRecorder,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The largest state that is read back.
const MOST_STATE_BYTES: u64 = 64 << 30;

pub struct Plan {
    events: EventsPlan,
    ids: Option<PathBuf>,
    vectors: Option<PathBuf>,
    identities: bool,
    prefixes: bool,
    keys: Option<(PathBuf, String)>,
    output: PathBuf,
    checkpoint: Option<PathBuf>,
    settings: RecommenderSettings,
    device: DeviceChoice,
}

pub fn plan(flags: TrainFlags) -> Result<Plan> {
    let items = flags.items;
    if items.ids.is_none() && items.vectors.is_none() && !items.identities {
        return Err(usage("items need something to be told apart by: `--ids`, `--vectors` or `--identities`"));
    }
    let settings = settings(&flags.training);
    settings.validate()?;
    match settings.prediction {
        Prediction::Items => {}
        Prediction::Ordered => of_codes(&items)?,
        Prediction::Levels => of_levels(&items)?,
    }
    let given = [items.ids.as_deref(), items.vectors.as_deref(), items.keys.as_deref()];
    let inputs: Vec<&Path> = given.into_iter().flatten().chain([flags.histories.interactions.as_path()]).collect();
    output(&flags.output, &["safetensors"], "a recommender is written as", &inputs, true)?;
    if let Some(checkpoint) = &flags.checkpoint {
        if *checkpoint == flags.output {
            return Err(usage("`--checkpoint` and `--output` are the same file; give another name to one of them"));
        }
        output(checkpoint, &["safetensors"], "a state is written as", &inputs, true)?;
    }
    Ok(Plan {
        events: events(flags.histories)?,
        prefixes: items.ids.is_some() && !items.no_prefixes && settings.prediction == Prediction::Items,
        ids: items.ids,
        vectors: items.vectors,
        identities: items.identities,
        keys: items.keys.map(|path| (path, items.key)),
        output: flags.output,
        checkpoint: flags.checkpoint,
        settings,
        device: flags.on.device,
    })
}

/// Refuses what ordered prediction has no use for, or lacks.
fn of_codes(items: &ItemFlags) -> Result<()> {
    if items.ids.is_none() {
        return Err(usage("`--predict ordered` writes IDs code by code, so it needs `--ids`"));
    }
    let meaningless = [("--identities", items.identities), ("--no-prefixes", items.no_prefixes)];
    match meaningless.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(usage(format!(
            "`{flag}` has no meaning with `--predict ordered`, which reads IDs code by code; leave it out"
        ))),
        None => Ok(()),
    }
}

/// Refuses what predicting all codes at once has no use for, or lacks.
fn of_levels(items: &ItemFlags) -> Result<()> {
    if items.ids.is_none() {
        return Err(usage("`--predict levels` predicts the codes of IDs, so it needs `--ids`"));
    }
    if items.no_prefixes {
        let problem =
            "`--no-prefixes` has no meaning with `--predict levels`, whose IDs have no prefixes; leave it out";
        return Err(usage(problem));
    }
    Ok(())
}

/// The settings that the flags ask for.
pub fn settings(flags: &TrainingFlags) -> RecommenderSettings {
    let base = RecommenderSettings::default();
    RecommenderSettings {
        prediction: match flags.predict {
            PredictChoice::Items => Prediction::Items,
            PredictChoice::Ordered => Prediction::Ordered,
            PredictChoice::Levels => Prediction::Levels,
        },
        dims: flags.dims.unwrap_or(base.dims),
        layers: flags.layers.unwrap_or(base.layers),
        heads: flags.heads.unwrap_or(base.heads),
        feed_forward: flags.feed_forward.or(base.feed_forward),
        positions: flags.positions.unwrap_or(base.positions),
        dropout: flags.dropout.unwrap_or(base.dropout),
        smoothing: flags.smoothing.unwrap_or(base.smoothing),
        batch_tokens: flags.batch_tokens.unwrap_or(base.batch_tokens),
        accumulate: flags.accumulate.unwrap_or(base.accumulate),
        epochs: flags.epochs.unwrap_or(base.epochs),
        validate_every: flags.validate_every.unwrap_or(base.validate_every),
        patience: match flags.patience {
            Some(0) => None,
            Some(looks) => Some(looks),
            None => base.patience,
        },
        rate: flags.rate.unwrap_or(base.rate),
        warmup: flags.warmup.unwrap_or(base.warmup),
        weight_decay: flags.weight_decay.unwrap_or(base.weight_decay),
        clip_norm: flags.clip_norm.or(base.clip_norm),
        item_deviation: base.item_deviation,
        precision: precision(flags.precision),
        hold_out: match flags.hold_out {
            HoldOutChoice::Test => HoldOut::Test,
            HoldOutChoice::Validation => HoldOut::Validation,
        },
        seed: flags.seed.unwrap_or(base.seed),
    }
}

/// A table of IDs: codes of all items, and their keys if it has them.
pub fn read_table(path: &Path) -> Result<(Codes, Option<Vec<String>>)> {
    let file = read_codes_file(path)?;
    if file.rows.as_ref().is_some_and(|rows| rows.iter().enumerate().any(|(at, row)| at as u64 != *row)) {
        let problem = "leaves rows out, and items are told by their rows; give IDs of all items";
        return Err(Error::format(path, problem).into());
    }
    Ok((file.codes, file.keys))
}

/// Items with what is known of each.
struct Catalogue {
    codes: Option<Codes>,
    vectors: Option<Matrix>,
    keys: Option<Vec<String>>,
}

impl Catalogue {
    fn read(plan: &Plan) -> Result<Self> {
        let (mut codes, mut keys) = (None, None);
        if let Some(path) = &plan.ids {
            let table = read_table(path)?;
            (codes, keys) = (Some(table.0), table.1);
        }
        if let Some((path, field)) = &plan.keys {
            keys = Some(read_keys(path, field)?);
        }
        if let Some(keys) = &keys {
            sememe::ids::check_keys(keys)?;
        }
        let vectors = match &plan.vectors {
            Some(path) => Some(read_rows(path)?),
            None => None,
        };
        Ok(Self { codes, vectors, keys })
    }

    /// How many items there are, if the catalogue says it.
    fn items(&self) -> Option<usize> {
        let (codes, vectors, keys) = (&self.codes, &self.vectors, &self.keys);
        codes
            .as_ref()
            .map(Codes::rows)
            .or_else(|| vectors.as_ref().map(Matrix::rows))
            .or_else(|| keys.as_ref().map(Vec::len))
    }
}

/// Tells epochs, and keeps the state.
struct Recorder<'a> {
    progress: &'a Progress,
    checkpoint: Option<&'a Path>,
    epochs: usize,
}

impl TrainingRecorder for Recorder<'_> {
    fn epoch(&mut self, epoch: &RecommenderEpoch) -> sememe::Result<()> {
        let looked = match (epoch.validation_ndcg_at_10, epoch.best) {
            (Some(reached), true) => format!(", validation NDCG@10 {reached:.4}, the best so far"),
            (Some(reached), false) => format!(", validation NDCG@10 {reached:.4}"),
            (None, _) => String::new(),
        };
        self.progress.say(&format!(
            "epoch {} of {}: loss {:.3}{looked}, {} steps/s",
            epoch.epoch,
            self.epochs,
            epoch.loss,
            whole(epoch.tokens_per_second as u64)
        ));
        Ok(())
    }

    fn checkpoint(&mut self, training: &RecommenderTraining) -> sememe::Result<()> {
        match self.checkpoint {
            Some(path) => write_bytes_atomic(path, &training.to_bytes()?),
            None => Ok(()),
        }
    }
}

/// The state to go on from: a kept one, or none.
fn started(plan: &Plan, progress: &Progress) -> Result<RecommenderTraining> {
    let kept = match &plan.checkpoint {
        Some(path) => read_if_there(path, MOST_STATE_BYTES)?.map(|bytes| (path, bytes)),
        None => None,
    };
    let Some((path, bytes)) = kept else { return Ok(RecommenderTraining::new(plan.settings.clone())?) };
    let training = RecommenderTraining::from_bytes(&bytes).map_err(|e| Error::format(path, e.to_string()))?;
    if *training.settings() != plan.settings {
        let problem = format!(
            "is the state of a training with other settings; give the same flags, another `--checkpoint`, or remove the file. It has {}",
            serde_json::to_string(training.settings())?
        );
        return Err(Error::format(path, problem).into());
    }
    progress.note(&format!("going on after {}", count(training.epochs().len() as u64, "epoch")));
    Ok(training)
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let catalogue = Catalogue::read(plan)?;
    let most = catalogue.items().unwrap_or(u32::MAX as usize);
    let items = EventItems { count: most, numbers: None, keys: catalogue.keys.as_deref() };
    let (histories, _) = read_interactions(&plan.events, &items, progress)?;
    // Identities alone: as many items as histories name.
    let named = || histories.iter().flatten().max().map_or(0, |item| *item as usize + 1);
    let items = catalogue.items().unwrap_or_else(named);
    if let Some(keys) = &catalogue.keys
        && keys.len() != items
    {
        let place = plan.keys.as_ref().map_or_else(String::new, |(path, _)| path.display().to_string());
        return Err(Error::Shape { what: "items", expected: items, got: keys.len(), place }.into());
    }
    let sources = ItemSources {
        items,
        identities: plan.identities,
        codes: catalogue.codes,
        prefixes: plan.prefixes,
        vectors: catalogue.vectors,
    };
    let device = device::open(plan.device, items)?;
    let mut training = started(plan, progress)?;
    let epochs = plan.settings.epochs;
    let mut recorder = Recorder { progress, checkpoint: plan.checkpoint.as_deref(), epochs };
    let trained = training.run(&sources, &histories, &device, progress, &mut recorder).map_err(|e| match e {
        Error::Interrupted(_) if plan.checkpoint.is_some() && !training.epochs().is_empty() => {
            Error::Interrupted(format!(
                "stopped after {}; the same command goes on from there",
                count(training.epochs().len() as u64, "epoch")
            ))
        }
        other => other,
    })?;
    let recommender = match catalogue.keys {
        Some(keys) => trained.with_keys(keys)?,
        None => trained,
    };
    recommender.save(&plan.output)?;
    let seconds = begun.elapsed().as_secs_f64();
    let test = match plan.settings.hold_out {
        // The recommender is safe by now, so being stopped here is no failure.
        HoldOut::Test => match recommender.evaluate(&histories, 0, false, &device, progress) {
            Err(Error::Interrupted(_)) => None,
            other => Some(other?),
        },
        HoldOut::Validation => None,
    };
    progress.finish();
    let best = training.epochs().iter().rfind(|e| e.best);
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "items": items,
            "users": histories.users(),
            "events": histories.events(),
            "parameters": recommender.parameters(),
            "settings": plan.settings,
            "epochs": training.epochs(),
            "best": best,
            "test": test,
            "device": device.info(),
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let mut text = format!(
        "wrote {}: {}, {}, learned from {} of {}, {}, in {} on the {}\n",
        plan.output.display(),
        count(items as u64, "item"),
        count(recommender.parameters() as u64, "parameter"),
        count(histories.events() as u64, "event"),
        count(histories.users() as u64, "user"),
        size(std::fs::metadata(&plan.output).map_or(0, |m| m.len())),
        time(seconds),
        device::name(&device.info())
    );
    if let Some(best) = best {
        let reached = best.validation_ndcg_at_10.unwrap_or_default();
        text.push_str(&format!("best: epoch {}, validation NDCG@10 {reached:.4}\n", best.epoch));
    }
    if let Some(test) = &test {
        text.push_str("test: the last item of each user, among all items\n");
        text.push_str(&table(test));
    }
    print(&text)
}
