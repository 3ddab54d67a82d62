//! Draws the examples: independently for each item and user, split by their keys, then shuffled.

use sha2::{Digest as _, Sha256};

use super::Dialogues;
use super::bind::BoundTurn;
use super::catalogue::{Catalogue, CatalogueItem};
use super::example::{Example, history};
use super::output::Composed;
use super::report::{SplitReport, TemplateUse};
use super::turn::{Slot, Task};
use sememe::progress::{Observer, check};
use sememe::rng;
use sememe::{Error, Result};

/// The random decisions about one item or user, derived from its key alone.
struct KeyDraw {
    validation: bool,
    /// Names its stream of draws.
    stream: u64,
}

impl KeyDraw {
    fn of(key: &str, share: f64) -> Self {
        let digest = Sha256::new().chain_update("sememe dialogues\0").chain_update(key).finalize();
        let number = |at: usize| digest[at..at + 8].iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        // 53 bits, which f64 holds exactly: a share that grows only ever moves keys to the validation side.
        let place = (number(0) >> 11) as f64 / (1u64 << 53) as f64;
        Self { validation: place < share, stream: number(8) }
    }
}

pub(super) fn draw(dialogues: &Dialogues, catalogue: Catalogue, observer: &dyn Observer) -> Result<Composed> {
    let Catalogue { items, templates, users, mut report } = catalogue;
    let mut examples: [Vec<Example>; 2] = [Vec::new(), Vec::new()];
    let mut splits = [SplitReport::default(), SplitReport::default()];
    for (at, item) in items.iter().enumerate() {
        if at % 4096 == 0 {
            check(observer)?;
        }
        let lot = KeyDraw::of(&item.key, dialogues.validation);
        let side = usize::from(lot.validation);
        splits[side].items += 1;
        let mut stream = rng::stream(dialogues.seed, "dialogues.item", lot.stream);
        for task in [Task::IdFromQuery, Task::AttributeFromId] {
            let fitting = fitting(&templates, task, item, &[]);
            if fitting.is_empty() {
                if templates.iter().any(|template| template.parsed.task == task) {
                    *report.without_template.entry(task).or_default() += 1;
                }
                continue;
            }
            let count = dialogues.examples_per_item.min(fitting.len());
            if count < dialogues.examples_per_item {
                *report.fewer_examples.entry(task).or_default() += 1;
            }
            for pick in stream.sample(fitting.len() as u64, count) {
                examples[side].push(Example { subject: at as u32, position: 0, template: fitting[pick as usize] });
            }
        }
    }
    for (at, (name, sequence)) in users.iter().flat_map(|(s, names)| names.iter().zip(s.iter())).enumerate() {
        if at % 1024 == 0 {
            check(observer)?;
        }
        let lot = KeyDraw::of(name, dialogues.validation);
        let side = usize::from(lot.validation);
        splits[side].users += 1;
        // An item before, and the next one.
        let positions = sequence.len().saturating_sub(dialogues.hold_out).saturating_sub(1) as u64;
        let mut stream = rng::stream(dialogues.seed, "dialogues.user", lot.stream);
        let picked: Vec<u64> = match dialogues.examples_per_user {
            Some(most) if (most as u64) < positions => stream.sample(positions, most),
            _ => (0..positions).collect(),
        };
        for pick in picked {
            let position = pick as usize + 1;
            let before = history(sequence, position, dialogues.max_history);
            let next = &items[sequence[position] as usize];
            let before: Vec<&CatalogueItem> = before.iter().map(|item| &items[*item as usize]).collect();
            let fitting = fitting(&templates, Task::NextItem, next, &before);
            if fitting.is_empty() {
                *report.without_template.entry(Task::NextItem).or_default() += 1;
                continue;
            }
            let template = fitting[stream.below(fitting.len() as u64) as usize];
            examples[side].push(Example { subject: at as u32, position: position as u32, template });
        }
    }
    if examples.iter().all(Vec::is_empty) {
        return Err(Error::Data(format!(
            "no example comes of {} items and {} users: every template has a field that is empty, and no user has 2 events to learn from",
            items.len(),
            users.as_ref().map_or(0, |(_, names)| names.len())
        )));
    }
    report.templates = templates.iter().map(used).collect();
    for (side, examples) in examples.iter_mut().enumerate() {
        for example in examples.iter() {
            let row = &mut report.templates[example.template as usize];
            *(if side == 0 { &mut row.train } else { &mut row.validation }) += 1;
            *splits[side].tasks.entry(row.task).or_default() += 1;
        }
        splits[side].examples = examples.len();
        let mut stream = rng::stream(dialogues.seed, "dialogues.shuffle", side as u64);
        for last in (1..examples.len()).rev() {
            examples.swap(last, stream.below(last as u64 + 1) as usize);
        }
    }
    [report.train, report.validation] = splits;
    report.sememe = env!("CARGO_PKG_VERSION");
    report.settings = settings(dialogues);
    Ok(Composed { dialogues: dialogues.clone(), items, templates, users, examples, report })
}

fn used(template: &BoundTurn) -> TemplateUse {
    let [query, answer] = template.parsed.texts.clone();
    TemplateUse { task: template.parsed.task, query, answer, train: 0, validation: 0 }
}

/// What was asked for, without the names of files, which do not change a byte.
fn settings(dialogues: &Dialogues) -> serde_json::Value {
    let mut value = serde_json::to_value(dialogues).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        for path in ["ids", "source", "events", "templates"] {
            map.remove(path);
        }
    }
    value
}

/// The templates of a task that an item fills without a hole.
fn fitting(templates: &[BoundTurn], task: Task, item: &CatalogueItem, before: &[&CatalogueItem]) -> Vec<u32> {
    let fits = |template: &&(u32, &BoundTurn)| {
        let bound = template.1;
        let there = |slots: &[Slot], parsed: &crate::prep::TextTemplate| {
            let values: Vec<&str> = slots.iter().map(|slot| sample(slot, item, before)).collect();
            parsed.lacks(&values).is_none() && values.iter().any(|value| !value.is_empty())
        };
        there(&bound.query, &bound.parsed.query) && there(&bound.answer, &bound.parsed.answer)
    };
    let of_task = (0u32..).zip(templates).filter(|(_, template)| template.parsed.task == task);
    of_task.collect::<Vec<_>>().iter().filter(fits).map(|(at, _)| *at).collect()
}

/// A slot's value, or of a list one that tells whether there is any.
fn sample<'a>(slot: &Slot, item: &'a CatalogueItem, before: &[&'a CatalogueItem]) -> &'a str {
    match slot {
        Slot::Id => &item.id,
        Slot::Field(at) => &item.values[*at],
        Slot::History => before.first().map_or("", |item| &item.id),
        Slot::HistoryField(at) => {
            before.iter().map(|item| item.values[*at].as_str()).find(|value| !value.is_empty()).unwrap_or_default()
        }
    }
}
