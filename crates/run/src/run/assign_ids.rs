//! Phase assign: every item an ID, kept in a store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::train::CODEC;
use super::{Context, Phase, PhaseOutput, embed, items};
use crate::config::{CollisionPolicy, OnChange};
use sememe::codec::{Codec, EncodeOptions};
use sememe::data::Codes;
use sememe::eval::{Churn, measure_churn};
use sememe::ids::resolve::{self, CodecAlternatives, Cost};
use sememe::ids::store::{Reuse, Store, open as open_store};
use sememe::io::{
    AtomicFile, OpenOptions, each_json_line, is_there, json_row, open, read_if_there, write_bytes_atomic,
};
use sememe::progress::{Event, check};
use sememe::{Error, Result};

/// A line an item, in the order of prep's items.
pub(super) const IDS: &str = "assign/ids.jsonl";

/// The same of the run before, while and after this one works.
pub(super) const PREVIOUS: &str = "assign/previous.jsonl";
/// How many items changed from that to this.
pub(super) const CHURN: &str = "assign/churn.json";

/// An item's ID, as `assign/ids.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AssignedId {
    pub(super) id: String,
    pub(super) codes: Vec<u32>,
    pub(super) counter: u32,
    /// The codes that the codec gives the item now, where they are not those of its ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encoded: Option<Vec<u32>>,
}

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let assign = &context.written.assign;
    Ok(json!({
        "policy": assign.policy,
        "capacity": assign.capacity,
        "store": assign.store.as_ref().map(|store| sememe::ids::store::without_password(Path::new(store))),
        "on_change": assign.on_change,
        "reuse_deleted": assign.reuse_deleted,
    }))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("the items", context.at(super::prep::ITEMS)),
        ("the vectors", context.at(embed::ROWS)),
        ("the codec", context.at(CODEC)),
    ]
}

/// The store's place: the configuration's, or a file of the codec's own, so that another codec begins anew beside it, as do IDs that
/// are relocated and IDs that are not.
fn place(context: &Context<'_>, codec: &Codec) -> PathBuf {
    let settings = &context.config.assign;
    let how = match settings.policy {
        CollisionPolicy::Relocate => format!("-relocate-{}", settings.capacity),
        CollisionPolicy::Suffix | CollisionPolicy::ExtraLevel | CollisionPolicy::Error => String::new(),
    };
    match &settings.store {
        Some(store) => store.into(),
        None => context.at(&format!("assign/ids-{}{how}.sqlite", super::train::short(codec))),
    }
}

fn store(context: &Context<'_>, codec: &Codec) -> Result<Box<dyn Store>> {
    let mut store = open_store(place(context, codec), codec.content_hash(), codec.levels())?;
    store.set_patience(Duration::from_secs(context.config.assign.patience_seconds))?;
    Ok(store)
}

/// What the phase wrote, in order.
pub(super) fn read(context: &Context<'_>) -> Result<Vec<AssignedId>> {
    read_lines(&context.at(IDS))
}

pub(super) fn read_lines(path: &Path) -> Result<Vec<AssignedId>> {
    let mut lines = Vec::new();
    each_json_line(path, "IDs are .jsonl", &mut |number, text| {
        lines.push(json_row(path, number, text)?);
        Ok(())
    })?;
    Ok(lines)
}

/// Others may work with the store, so it is asked whether it still holds what was written down.
pub(super) fn stale(context: &Context<'_>) -> Result<Option<String>> {
    let codec = Codec::load(context.at(CODEC))?;
    let place = place(context, &codec);
    let url = place.to_string_lossy().contains("://");
    if !url && !is_there(&place)? {
        return Ok(Some(format!("the store `{}` is not there", place.display())));
    }
    let mut store = store(context, &codec)?;
    let lines = read(context)?;
    for part in lines.chunks(context.config.assign.batch_items) {
        let keys: Vec<&str> = part.iter().map(|line| line.id.as_str()).collect();
        for (line, held) in part.iter().zip(store.get(&keys)?) {
            if held.is_none_or(|held| held.codes != line.codes || held.counter != line.counter) {
                return Ok(Some(format!("the store has another ID for `{}`, or none", line.id)));
            }
        }
    }
    Ok(None)
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let settings = &context.config.assign;
    let codec = Codec::load(context.at(CODEC))?;
    let items = items::with_vectors(context)?;
    sememe::ids::check_keys(&items.keys)?;
    let rows = open(context.at(embed::ROWS), &OpenOptions::default())?;
    if rows.rows() != items.keys.len() || rows.dims() != codec.dims() {
        return Err(Error::Data(format!(
            "`{}` has {} rows of {} values, but there are {} items and the codec takes {} values; run phase embed again",
            context.at(embed::ROWS).display(),
            rows.rows(),
            rows.dims(),
            items.keys.len(),
            codec.dims()
        ))
        .mend([sememe::Remedy::set("rebuild", "train").to("train again, if vectors are of another model now,")]));
    }
    context.phase_folder(Phase::Assign)?;
    let previous = previous(context)?;
    // Opened before the work, so that another codec's store is refused at once.
    let mut store = store(context, &codec)?;
    for risk in store.risks() {
        context.observer.event(Event::Note(&risk));
    }
    let device = context.config.device.open(rows.rows())?;
    let encoder = codec.encoder(&device, &EncodeOptions::default())?;
    let levels = codec.levels();
    let mut encoded = Codes::zeros(rows.rows(), levels);
    encoder.encode_source(rows.as_ref(), context.observer, &mut |start, part| {
        encoded.as_mut_slice()[start * levels..][..part.len()].copy_from_slice(part);
        Ok(())
    })?;
    let (asked, cost) = match settings.policy {
        CollisionPolicy::Suffix | CollisionPolicy::ExtraLevel => (None, resolve::number(&items.keys, &encoded)?.cost),
        CollisionPolicy::Error => (None, resolve::refuse(&items.keys, &encoded)?.cost),
        CollisionPolicy::Relocate => {
            let prices = CodecAlternatives::new(&codec, rows.as_ref(), None)?;
            let resolved = resolve::relocate(&items.keys, &encoded, settings.capacity, &prices)?;
            (Some(resolved.codes), resolved.cost)
        }
    };
    let asked = asked.as_ref().unwrap_or(&encoded);
    let given = ask_store(context, store.as_mut(), &items.keys, asked)?;
    write(context, &items.keys, &given.ids, &encoded)?;
    let in_store = store.count()?;
    let mut summary = summarise(&given, &cost, in_store);
    let changes = previous.map(|before| changes_since(&before, &items.keys, &given.ids)).transpose()?.flatten();
    let mut outputs = vec![PathBuf::from(IDS)];
    if let Some(RunChanges { churn, .. }) = &changes {
        let text = serde_json::to_string_pretty(&changes).map_err(|e| Error::Data(e.to_string()))?;
        write_bytes_atomic(context.at(CHURN), format!("{text}\n").as_bytes())?;
        outputs.push(CHURN.into());
        summary.push_str(&format!("; {} of {} items have other codes than before", churn.changed_ids, churn.rows));
    }
    let facts = json!({
        "items": items.keys.len(),
        "new": given.new,
        "known": items.keys.len() - given.new - given.moved,
        "drifted": given.drifted,
        "moved": given.moved,
        "in_store": in_store,
        "store": sememe::ids::store::without_password(place(context, &codec)),
        "codec": codec.content_hash(),
        "policy": settings.policy,
        "cost": cost,
        "since": changes,
    });
    Ok(PhaseOutput { outputs, facts, summary })
}

/// Keeps the IDs of the run before aside, before this one counts as begun: a run that is stopped and goes on compares with the same ones.
pub(super) fn clear(context: &Context<'_>) -> Result<()> {
    let (now, before) = (context.at(IDS), context.at(PREVIOUS));
    let known = context.state.phases.contains_key(&Phase::Assign);
    // Only what is not there is absent: a fault in reading must not cost the comparison, let alone the file.
    match if known { read_if_there(&now, u64::MAX)? } else { None } {
        Some(bytes) => write_bytes_atomic(&before, &bytes),
        None => sememe::io::remove(&before).map(|_| ()),
    }
}

/// The IDs of the run before, if there was one.
fn previous(context: &Context<'_>) -> Result<Option<Vec<AssignedId>>> {
    let before = context.at(PREVIOUS);
    if is_there(&before)? { read_lines(&before).map(Some) } else { Ok(None) }
}

/// Changes since the previous run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunChanges {
    /// Items that only this run has.
    pub(super) added: usize,
    /// Items that only that run had.
    pub(super) gone: usize,
    /// The codes of items that both have.
    #[serde(flatten)]
    pub(super) churn: Churn,
}

/// Compares with the run before; nothing if no item is in both.
fn changes_since(before: &[AssignedId], keys: &[String], now: &[(Vec<u32>, u32)]) -> Result<Option<RunChanges>> {
    let old: HashMap<&str, &[u32]> = before.iter().map(|line| (line.id.as_str(), line.codes.as_slice())).collect();
    let both: Vec<(&[u32], &[u32])> = keys
        .iter()
        .zip(now)
        .filter_map(|(key, (codes, _))| Some((*old.get(key.as_str())?, codes.as_slice())))
        .collect();
    let Some((first, second)) = both.first() else { return Ok(None) };
    let (old_levels, new_levels) = (first.len(), second.len());
    let old = Codes::from_vec(both.len(), old_levels, both.iter().flat_map(|(a, _)| a.iter().copied()).collect())?;
    let new = Codes::from_vec(both.len(), new_levels, both.iter().flat_map(|(_, b)| b.iter().copied()).collect())?;
    let (added, gone) = (keys.len() - both.len(), before.len() - both.len());
    Ok(Some(RunChanges { added, gone, churn: measure_churn(&old, &new)? }))
}

fn summarise(given: &StoreIds, cost: &Cost, in_store: u64) -> String {
    let items = given.ids.len();
    let mut summary = format!(
        "{} new IDs, {} known; {} different codes for {items} items, at most {} on one",
        given.new,
        items - given.new - given.moved,
        cost.ids_before,
        cost.largest_before
    );
    if let Some(added) = cost.added_share() {
        summary.push_str(&format!("; {} items relocated, squared L2 {:+.2} %", cost.moved, 100.0 * added));
    }
    if given.drifted > 0 {
        summary.push_str(&format!("; {} changed and kept their ID", given.drifted));
    }
    if given.moved > 0 {
        summary.push_str(&format!("; {} changed and got a new ID", given.moved));
    }
    if in_store > items as u64 {
        summary.push_str(&format!("; {} IDs of items that are not there any more stay taken", in_store - items as u64));
    }
    summary
}

struct StoreIds {
    /// `[items]` codes and counter.
    ids: Vec<(Vec<u32>, u32)>,
    new: usize,
    drifted: usize,
    moved: usize,
}

/// Asks the store, a transaction a batch, in the order of the keys: so counters do not depend on batches.
fn ask_store(context: &Context<'_>, store: &mut dyn Store, keys: &[String], codes: &Codes) -> Result<StoreIds> {
    let settings = &context.config.assign;
    let reuse = if settings.reuse_deleted { Reuse::Deleted } else { Reuse::Never };
    context.observer.event(Event::Phase { name: "assign", total: Some(keys.len() as u64), unit: "items" });
    let mut out = StoreIds { ids: Vec::with_capacity(keys.len()), new: 0, drifted: 0, moved: 0 };
    let all: Vec<(&str, &[u32])> = keys.iter().enumerate().map(|(i, key)| (key.as_str(), codes.row(i))).collect();
    for batch in all.chunks(settings.batch_items) {
        check(context.observer)?;
        let mut given = store.assign_with(batch, reuse)?;
        let drifted: Vec<usize> = (0..batch.len()).filter(|i| given[*i].drifted).collect();
        if !drifted.is_empty() && settings.on_change == OnChange::Move {
            let gone: Vec<&str> = drifted.iter().map(|i| batch[*i].0).collect();
            store.delete(&gone)?;
            let again: Vec<(&str, &[u32])> = drifted.iter().map(|i| batch[*i]).collect();
            for (i, id) in drifted.iter().zip(store.assign_with(&again, reuse)?) {
                given[*i] = id;
                given[*i].new = false;
            }
            out.moved += drifted.len();
        } else if settings.policy != CollisionPolicy::Relocate {
            // Relocation may choose otherwise as items come; that is no change of the item.
            out.drifted += drifted.len();
        }
        out.new += given.iter().filter(|given| given.new).count();
        out.ids.extend(given.into_iter().map(|given| (given.id.codes, given.id.counter)));
        context.observer.event(Event::Advance { done: out.ids.len() as u64 });
    }
    Ok(out)
}

/// Writes the map.
fn write(context: &Context<'_>, keys: &[String], ids: &[(Vec<u32>, u32)], encoded: &Codes) -> Result<()> {
    let mut file = AtomicFile::create(context.at(IDS))?;
    for (i, (key, (codes, counter))) in keys.iter().zip(ids).enumerate() {
        let now = encoded.row(i);
        let line = AssignedId {
            id: key.clone(),
            codes: codes.clone(),
            counter: *counter,
            encoded: (now != codes.as_slice()).then(|| now.to_vec()),
        };
        let mut text = serde_json::to_vec(&line).map_err(|e| file.failed(e.into()))?;
        text.push(b'\n');
        file.put(&text)?;
    }
    file.commit()
}
