//! Phase recommend: a recommender over the run's IDs, and how good it is.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::observer::RunObserver;
use super::{Context, Phase, PhaseOutput, assign_ids, embed, items, prep};
use crate::config::{Recommend, UnknownEvents};
use crate::histories::read_histories;
use sememe::data::{Codes, Matrix, RowSource as _};
use sememe::eval::{BaselineMeasures, BaselineOptions, RankingMeasures, measure_baselines};
use sememe::io::{OpenOptions, open, read_if_there, write_bytes_atomic};
use sememe::progress::Event;
use sememe::{Device, Error, Remedy, Result, Sequences};
use sememe_recommend::{
    HoldOut, ItemSources, Prediction, Recommender, RecommenderEpoch, RecommenderSettings, RecommenderTraining,
    TrainingRecorder,
};

/// The recommender.
pub(super) const RECOMMENDER: &str = "recommend/recommender.safetensors";
/// Its epochs and measures, beside those of the baselines.
pub(super) const REPORT: &str = "recommend/report.json";
/// What a stopped training goes on from; gone once the phase is done.
const STATE: &str = "recommend/state.safetensors";
/// The largest state that is read back.
const MOST_STATE_BYTES: u64 = 64 << 30;

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let Some(recommend) = &context.written.recommend else { return Ok(Value::Null) };
    let mut value = serde_json::to_value(recommend).map_err(|e| Error::Data(e.to_string()))?;
    value["seed"] = json!(recommend.settings(context.written.seed).seed);
    Ok(value)
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    let mut out = vec![("the items", context.at(prep::ITEMS))];
    if let Some(recommend) = &context.config.recommend {
        out.push(("the interactions", recommend.interactions.clone()));
        out.extend(recommend.ids.then(|| ("the IDs", context.at(assign_ids::IDS))));
        // They are also what the recommender is measured beside.
        out.push(("the vectors", context.at(embed::ROWS)));
    }
    out
}

/// Removes the state of an earlier training, before one that begins anew counts as begun.
pub(super) fn clear(context: &Context<'_>) -> Result<()> {
    sememe::io::remove(context.at(STATE)).map(drop)
}

/// The first epoch whose figures are not kept yet.
pub(super) fn steps(context: &Context<'_>) -> Result<u64> {
    let Some(recommend) = context.config.recommend.as_ref().filter(|_| context.continues) else { return Ok(0) };
    let kept = kept(context, &recommend.settings(context.config.seed))?;
    Ok(kept.map_or(0, |training| training.epochs().len() as u64 + 1))
}

/// The state that a stopped training left, if it is there and of these settings.
fn kept(context: &Context<'_>, settings: &RecommenderSettings) -> Result<Option<RecommenderTraining>> {
    let Some(bytes) = read_if_there(context.at(STATE), MOST_STATE_BYTES)? else { return Ok(None) };
    // One that cannot be read any more is no loss but of time.
    Ok(RecommenderTraining::from_bytes(&bytes).ok().filter(|training| training.settings() == settings))
}

/// IDs as codes: `[items, levels]`, with the number of an item among those on its codes as one more if any is numbered.
fn codes(context: &Context<'_>, keys: &[String]) -> Result<Codes> {
    let lines = assign_ids::read(context)?;
    let fits = lines.len() == keys.len() && lines.iter().zip(keys).all(|(line, key)| line.id == *key);
    if !fits {
        return Err(Error::format(context.at(assign_ids::IDS), "is of other items; run assign again"));
    }
    let numbered = lines.iter().any(|line| line.counter > 0);
    let levels = lines.first().map_or(0, |line| line.codes.len()) + usize::from(numbered);
    let of = |line: &assign_ids::AssignedId| -> Vec<u32> {
        line.codes.iter().copied().chain(numbered.then_some(line.counter)).collect()
    };
    Codes::from_vec(lines.len(), levels, lines.iter().flat_map(of).collect())
}

fn sources(context: &Context<'_>, recommend: &Recommend, keys: &[String]) -> Result<ItemSources> {
    let vectors = match recommend.vectors {
        true => {
            let source = open(context.at(embed::ROWS), &OpenOptions::default())?;
            let mut rows = Matrix::zeros(source.rows(), source.dims())?;
            source.read_rows(0, rows.as_mut_slice())?;
            Some(rows)
        }
        false => None,
    };
    let codes = recommend.ids.then(|| codes(context, keys)).transpose()?;
    let prefixes = recommend.ids && recommend.prefixes && recommend.prediction == Prediction::Items;
    Ok(ItemSources { items: keys.len(), identities: recommend.identities, codes, prefixes, vectors })
}

/// What users did, and how many events name no item.
fn histories(context: &Context<'_>, recommend: &Recommend, keys: &[String]) -> Result<(Sequences, u64)> {
    let file = read_histories(&recommend.interactions, &recommend.event_fields, keys)?;
    if let (Some(first), unknown) = (&file.first_unknown, file.unknown) {
        let all = unknown + file.sequences.events() as u64;
        let items = keys.len();
        let which = format!("{unknown} of {all} events name none of the {items} items, the first is {first}");
        if recommend.unknown == UnknownEvents::Refuse {
            return Err(Error::format(&recommend.interactions, which)
                .mend([Remedy::set("unknown", "drop").to("leave them out")]));
        }
        context.observer.event(Event::Note(&format!("dropped events: {which}")));
    }
    Ok((file.sequences, file.unknown))
}

/// Keeps the state and the figures of every epoch.
struct EpochRecorder<'a> {
    state: &'a Path,
    track: &'a RunObserver<'a>,
}

impl TrainingRecorder for EpochRecorder<'_> {
    fn epoch(&mut self, epoch: &RecommenderEpoch) -> Result<()> {
        let mut values = vec![("epoch/loss", epoch.loss), ("epoch/tokens_per_second", epoch.tokens_per_second)];
        values.extend(epoch.validation_ndcg_at_10.map(|reached| ("epoch/validation_ndcg_at_10", reached)));
        self.track.scalars(epoch.epoch as u64, &values)
    }

    fn checkpoint(&mut self, training: &RecommenderTraining) -> Result<()> {
        write_bytes_atomic(self.state, &training.to_bytes()?)
    }
}

/// How the last item of each user is found, by the recommender and by what learns nothing.
struct Tested {
    recommender: RankingMeasures,
    baselines: Vec<BaselineMeasures>,
}

fn tested(
    context: &Context<'_>,
    recommender: &Recommender,
    histories: &Sequences,
    device: &Device,
) -> Result<Option<Tested>> {
    let hold_out = recommender.settings().hold_out;
    if hold_out != HoldOut::Test {
        return Ok(None);
    }
    let measures = recommender.evaluate(histories, 0, false, device, context.observer)?;
    let rows = open(context.at(embed::ROWS), &OpenOptions::default())?;
    let options = BaselineOptions { hold_out: hold_out.items(), ..BaselineOptions::default() };
    let baselines = measure_baselines(recommender.items(), Some(rows.as_ref()), histories, &options, context.observer)?;
    Ok(Some(Tested { recommender: measures, baselines }))
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let Some(recommend) = &context.config.recommend else {
        return Err(Error::config("recommend", "the configuration has no such section"));
    };
    let settings = recommend.settings(context.config.seed);
    let items = items::with_vectors(context)?;
    sememe::ids::check_keys(&items.keys)?;
    let (histories, unknown) = histories(context, recommend, &items.keys)?;
    let sources = sources(context, recommend, &items.keys)?;
    context.phase_folder(Phase::Recommend)?;
    let device = context.config.device.open(items.keys.len())?;
    let kept = if context.continues { kept(context, &settings)? } else { None };
    let mut training = match kept {
        Some(training) => training,
        None => RecommenderTraining::new(settings)?,
    };
    let state = context.at(STATE);
    let mut recorder = EpochRecorder { state: &state, track: context.track };
    let trained = training.run(&sources, &histories, &device, context.observer, &mut recorder)?;
    let recommender = trained.with_keys(items.keys)?;
    recommender.save(context.at(RECOMMENDER))?;
    let tested = tested(context, &recommender, &histories, &device)?;
    let facts = facts(&training, &recommender, &histories, unknown, tested.as_ref());
    write_bytes_atomic(context.at(REPORT), format!("{facts:#}\n").as_bytes())?;
    // All that could be gone on to is written.
    sememe::io::remove(&state)?;
    let summary = summary(&training, &recommender, tested.as_ref());
    let mut facts = facts;
    facts["device"] = json!(device.info());
    Ok(PhaseOutput { outputs: vec![RECOMMENDER.into(), REPORT.into()], facts, summary })
}

/// What the report says: nothing that differs from run to run.
fn facts(
    training: &RecommenderTraining,
    recommender: &Recommender,
    histories: &Sequences,
    unknown: u64,
    tested: Option<&Tested>,
) -> Value {
    json!({
        "items": recommender.items(),
        "users": histories.users(),
        "events": histories.events(),
        "unknown_events": unknown,
        "parameters": recommender.parameters(),
        "epochs": training.epochs(),
        "best": training.epochs().iter().rfind(|epoch| epoch.best),
        "test": tested.map(|tested| &tested.recommender),
        "baselines": tested.map(|tested| &tested.baselines),
    })
}

fn summary(training: &RecommenderTraining, recommender: &Recommender, tested: Option<&Tested>) -> String {
    let mut out = format!("{} items, {} parameters", recommender.items(), recommender.parameters());
    if let Some(best) = training.epochs().iter().rfind(|epoch| epoch.best) {
        let reached = best.validation_ndcg_at_10.unwrap_or_default();
        out.push_str(&format!("; best after epoch {}, validation NDCG@10 {reached:.4}", best.epoch));
    }
    if let Some(tested) = tested {
        let all = &tested.recommender.all;
        out.push_str(&format!("; test R@10 {:.4}, NDCG@10 {:.4}", all.recall_at_10, all.ndcg_at_10));
    }
    out
}
