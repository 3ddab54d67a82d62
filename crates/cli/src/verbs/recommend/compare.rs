//! `sememe recommend compare`.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::interactions::{EventItems, EventsPlan, read_interactions};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, percent, table as columns, time};
use crate::verbs::recommend::eval::{baseline_name, summary_head, summary_line};
use crate::verbs::recommend::flags::CompareFlags;
use crate::verbs::recommend::train::{read_table, settings};
use crate::verbs::recommend::{events, read_rows};
use anyhow::Result;
use sememe::digest::PartDigest;
use sememe::eval::{BaselineMeasures, BaselineOptions, measure_baselines};
use sememe::io::{create_folder, read_if_there, read_keys, remove, remove_leftovers, write_bytes_atomic};
use sememe::{Device, Error, RowSource, Sequences};
use sememe_recommend::{
    ComparedRun, ComparedTable, HoldOut, ItemSources, MeasureSpread, RecommenderEpoch, RecommenderSettings,
    RecommenderTraining, TrainingRecorder, training_digest,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The comparison, in its folder.
const COMPARISON: &str = "comparison.json";
/// The largest state that is read back, and the largest result.
const MOST_STATE_BYTES: u64 = 64 << 30;
const MOST_RESULT_BYTES: u64 = 1 << 20;

pub struct Plan {
    events: EventsPlan,
    ids: Vec<PathBuf>,
    prefixes: bool,
    vectors: Option<PathBuf>,
    identities: bool,
    sasrec: bool,
    keys: Option<(PathBuf, String)>,
    folder: PathBuf,
    settings: RecommenderSettings,
    seeds: Vec<u64>,
    device: DeviceChoice,
}

pub fn plan(flags: CompareFlags) -> Result<Plan> {
    let settings = settings(&flags.training);
    settings.validate()?;
    if settings.hold_out != HoldOut::Test {
        return Err(usage(
            "`--hold-out validation` leaves nothing to compare by; a comparison needs `--hold-out test`",
        ));
    }
    // The seed of all trainings but one would be ignored.
    let seeds: BTreeSet<u64> = flags.seeds.iter().copied().collect();
    if seeds.len() != flags.seeds.len() {
        return Err(usage("`--seeds`: one of them is named twice"));
    }
    let items = flags.items;
    let seeds = match flags.training.seed {
        Some(seed) => vec![seed],
        None => flags.seeds,
    };
    Ok(Plan {
        events: events(flags.histories)?,
        ids: items.ids,
        prefixes: !items.no_prefixes,
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

/// What one row of the comparison is trained on.
struct Entry {
    name: String,
    /// The start of its files' names.
    stem: String,
    sources: ItemSources,
}

/// A name that is a part of a file's name everywhere.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

/// Tables, and the items' keys if they have some.
struct Compared {
    entries: Vec<Entry>,
    keys: Option<Vec<String>>,
    items: usize,
}

impl Compared {
    fn read(plan: &Plan) -> Result<Self> {
        let mut keys = match &plan.keys {
            Some((path, field)) => Some((path.clone(), read_keys(path, field)?)),
            None => None,
        };
        let vectors = plan.vectors.as_ref().map(|path| read_rows(path)).transpose()?;
        let (mut entries, mut items) = (Vec::new(), None);
        for path in &plan.ids {
            let (codes, own) = read_table(path)?;
            let expected = *items.get_or_insert(codes.rows());
            same_size(path, expected, codes.rows())?;
            if let Some(own) = own {
                match &keys {
                    Some((first, keys)) => same_keys((first, keys), (path, &own))?,
                    None => keys = Some((path.clone(), own)),
                }
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let sources = ItemSources {
                items: expected,
                identities: plan.identities,
                codes: Some(codes),
                prefixes: plan.prefixes,
                vectors: vectors.clone(),
            };
            entries.push(Entry { name: path.display().to_string(), stem: plain(&stem), sources });
        }
        let items = items.unwrap_or(0);
        if let Some((path, keys)) = &keys {
            same_size(path, items, keys.len())?;
            sememe::ids::check_keys(keys)?;
        }
        if plan.sasrec {
            let alone = ItemSources { items, identities: true, ..ItemSources::default() };
            let both = vectors.map(|vectors| ItemSources { vectors: Some(vectors), ..alone.clone() });
            entries.push(Entry { name: "item identities".into(), stem: "identities".into(), sources: alone });
            entries.extend(both.map(|sources| Entry {
                name: "item identities and vectors".into(),
                stem: "identities-vectors".into(),
                sources,
            }));
        }
        Ok(Self { entries, keys: keys.map(|(_, keys)| keys), items })
    }
}

fn same_size(path: &Path, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape { what: "items", expected, got, place: path.display().to_string() }.into())
}

fn same_keys((first, keys): (&Path, &[String]), (path, own): (&Path, &[String])) -> Result<()> {
    same_size(path, keys.len(), own.len())?;
    let Some(at) = keys.iter().zip(own).position(|(a, b)| a != b) else { return Ok(()) };
    let problem = format!(
        "item {at} is `{}`, and in `{}` it is `{}`; tables are compared over the same items in the same order",
        own[at],
        first.display(),
        keys[at]
    );
    Err(Error::format(path, problem).into())
}

/// A training that is done, as its file keeps it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRun {
    /// Of all that it depends on.
    digest: String,
    settings: RecommenderSettings,
    run: ComparedRun,
}

/// One training of the comparison.
struct Cell<'a> {
    entry: &'a Entry,
    settings: RecommenderSettings,
    digest: String,
    result: PathBuf,
    state: PathBuf,
}

impl<'a> Cell<'a> {
    fn new(plan: &Plan, entry: &'a Entry, histories: &Sequences, device: &Device, seed: u64) -> Result<Self> {
        let settings = RecommenderSettings { seed, ..plan.settings.clone() };
        let mut digest = PartDigest::new();
        digest.part(env!("CARGO_PKG_VERSION").as_bytes());
        digest.part(training_digest(&entry.sources, histories).as_bytes());
        digest.part(serde_json::to_string(&settings)?.as_bytes());
        // Devices round differently.
        digest.part(format!("{:?}", device.info().kind).as_bytes());
        let digest = digest.finish();
        let name = format!("{}-{}-seed-{seed}", entry.stem, digest.get(..12).unwrap_or(&digest));
        let (result, state) = (format!("{name}.json"), format!("{name}.safetensors"));
        Ok(Self { entry, settings, digest, result: plan.folder.join(result), state: plan.folder.join(state) })
    }

    /// What was measured before, if that training is done. A file that is not what it should be is made anew.
    fn kept(&self) -> Result<Option<ComparedRun>> {
        let Some(bytes) = read_if_there(&self.result, MOST_RESULT_BYTES)? else { return Ok(None) };
        let kept: Option<KeptRun> = serde_json::from_slice(&bytes).ok();
        Ok(kept.filter(|kept| kept.digest == self.digest && kept.settings == self.settings).map(|kept| kept.run))
    }

    fn train(&self, histories: &Sequences, device: &Device, progress: &Progress) -> Result<ComparedRun> {
        let kept = read_if_there(&self.state, MOST_STATE_BYTES)?
            .and_then(|bytes| RecommenderTraining::from_bytes(&bytes).ok())
            .filter(|training| *training.settings() == self.settings);
        let mut training = match kept {
            Some(training) => training,
            None => RecommenderTraining::new(self.settings.clone())?,
        };
        let mut recorder = StateKeeper { state: &self.state, progress, epochs: self.settings.epochs };
        let recommender = training.run(&self.entry.sources, histories, device, progress, &mut recorder)?;
        let measures = recommender.evaluate(histories, 0, false, device, progress)?;
        let best = training.epochs().iter().rfind(|epoch| epoch.best);
        let run = ComparedRun {
            seed: self.settings.seed,
            epochs: training.epochs().len(),
            best: best.and_then(|epoch| Some((epoch.epoch, epoch.validation_ndcg_at_10?))),
            measures,
        };
        let kept = KeptRun { digest: self.digest.clone(), settings: self.settings.clone(), run };
        write_bytes_atomic(&self.result, format!("{:#}\n", serde_json::to_value(&kept)?).as_bytes())?;
        remove(&self.state)?;
        Ok(kept.run)
    }
}

/// Keeps the state after every epoch.
struct StateKeeper<'a> {
    state: &'a Path,
    progress: &'a Progress,
    epochs: usize,
}

impl TrainingRecorder for StateKeeper<'_> {
    fn epoch(&mut self, epoch: &RecommenderEpoch) -> sememe::Result<()> {
        let looked = epoch.validation_ndcg_at_10.map_or_else(String::new, |v| format!(", validation NDCG@10 {v:.4}"));
        self.progress.say(&format!("epoch {} of {}: loss {:.3}{looked}", epoch.epoch, self.epochs, epoch.loss));
        Ok(())
    }

    fn checkpoint(&mut self, training: &RecommenderTraining) -> sememe::Result<()> {
        write_bytes_atomic(self.state, &training.to_bytes()?)
    }
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let compared = Compared::read(plan)?;
    let items = EventItems { count: compared.items, numbers: None, keys: compared.keys.as_deref() };
    let (histories, unknown) = read_interactions(&plan.events, &items, progress)?;
    create_folder(&plan.folder)?;
    remove_leftovers(&plan.folder)?;
    let device = device::open(plan.device, compared.items)?;
    let baselines = baselines(&compared, &histories, progress)?;
    let (mut tables, mut trained) = (Vec::new(), 0u64);
    for entry in &compared.entries {
        let mut runs = Vec::new();
        for seed in &plan.seeds {
            let cell = Cell::new(plan, entry, &histories, &device, *seed)?;
            let run = match cell.kept()? {
                Some(run) => run,
                None => {
                    progress.say(&format!("{}, seed {seed}", entry.name));
                    trained += 1;
                    cell.train(&histories, &device, progress).map_err(going_on)?
                }
            };
            runs.push(run);
        }
        tables.push(ComparedTable::new(entry.name.clone(), runs));
    }
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    let value = json!({
        "items": compared.items,
        "users": histories.users(),
        "events": histories.events(),
        "unknown_events": unknown,
        "settings": plan.settings,
        "seeds": plan.seeds,
        "tables": tables,
        "baselines": baselines,
        "device": device.info(),
    });
    write_bytes_atomic(plan.folder.join(COMPARISON), format!("{value:#}\n").as_bytes())?;
    if progress.json {
        let mut value = value;
        value["output"] = json!(plan.folder.join(COMPARISON).display().to_string());
        value["trained"] = json!(trained);
        value["seconds"] = json!(seconds);
        value["notes"] = json!(progress.notes());
        return print_json(&value);
    }
    if progress.quiet {
        return Ok(());
    }
    let mut rows = vec![summary_head()];
    rows.extend(tables.iter().map(line));
    rows.extend(baselines.iter().map(|b| summary_line(baseline_name(&b.by), &b.measures)));
    let all = count(compared.items as u64, "item");
    print(&format!(
        "the last item of each user, among all {all}; {} trained, {} kept, in {}\n{}wrote {}\n",
        trained,
        tables.iter().map(|table| table.runs.len() as u64).sum::<u64>() - trained,
        time(seconds),
        columns(&rows, &[0]),
        plan.folder.join(COMPARISON).display()
    ))
}

/// Whatever stops a comparison, what is trained stays.
fn going_on(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(Error::Interrupted(_)) => {
            Error::Interrupted("what was trained is kept; go on with the same command".into()).into()
        }
        _ => error,
    }
}

fn baselines(compared: &Compared, histories: &Sequences, progress: &Progress) -> Result<Vec<BaselineMeasures>> {
    let vectors = compared.entries.iter().find_map(|entry| entry.sources.vectors.as_ref());
    let rows = vectors.map(|rows| rows as &dyn RowSource);
    Ok(measure_baselines(compared.items, rows, histories, &BaselineOptions::default(), progress)?)
}

/// A table in a line: means, with the spread over seeds if there are several.
fn line(table: &ComparedTable) -> Vec<String> {
    let spread = |value: &Option<MeasureSpread>, text: fn(f64) -> String| match value {
        None => "–".to_owned(),
        Some(MeasureSpread { mean, deviation: None }) => text(*mean),
        Some(MeasureSpread { mean, deviation: Some(deviation) }) => format!("{} ± {}", text(*mean), text(*deviation)),
    };
    let four = |value: f64| format!("{value:.4}");
    let mut out = vec![table.name.clone()];
    for value in [&table.recall_at_5, &table.recall_at_10, &table.ndcg_at_5, &table.ndcg_at_10] {
        out.push(spread(value, four));
    }
    out.push(spread(&table.coverage_at_10, percent));
    out.push(spread(&table.cold_recall_at_10, four));
    out
}
