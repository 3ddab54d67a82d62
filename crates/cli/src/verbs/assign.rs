//! `sememe assign`.

use crate::device;
use crate::failure::usage;
use crate::flags::{DeviceChoice, OnDevice, Rows};
use crate::input::{Input, check_dims, report_dropped};
use crate::output::{output, print, print_json, writes_parquet};
use crate::progress::Progress;
use crate::rows_plan::{RowsPlan, encode_options, rows};
use crate::store_place::{Place, Waiting};
use crate::text::{count, time, whole};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::RowSource as _;
use sememe::ids::store::Reuse;
use sememe::io::{CodesWriter, read_keys};
use sememe::{Codec, EncodeOptions, Error, Event, Observer as _};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Debug, Args)]
pub struct Flags {
    /// Codec to encode with; a store holds IDs of one codec
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// The items, in the order of the rows: .jsonl, .jsonl.gz, .csv or .parquet, or a folder of them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: PathBuf,
    /// Field or column with each item's key
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
    /// Where IDs are kept, made if it does not exist: an SQLite file, or a Redis server as redis://host:6379/0 or
    /// unix:///run/redis.sock, with ?namespace=NAME if it holds several stores
    #[arg(long, value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: PathBuf,
    /// Give new items the IDs of deleted items with the same codes first
    #[arg(long)]
    pub reuse_deleted: bool,
    /// Codes with counters to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    /// Prefixes to keep per row while encoding [default: the codec's own]
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Items per transaction; each is kept whole or not at all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub batch_items: usize,
    #[command(flatten)]
    pub waiting: Waiting,
}

pub struct Plan {
    pub codec: PathBuf,
    pub input: RowsPlan,
    pub keys: PathBuf,
    pub key: String,
    pub store: Place,
    pub reuse: Reuse,
    pub output: Option<PathBuf>,
    pub device: DeviceChoice,
    pub options: EncodeOptions,
    pub batch_items: usize,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let options = encode_options(flags.beam, None)?;
    if flags.batch_items == 0 {
        return Err(usage("`--batch-items`: expected at least 1, got 0"));
    }
    let input = rows(flags.input, flags.rows);
    if let Some(path) = &flags.output {
        let own = [flags.codec.as_path(), &flags.keys, &flags.store];
        let inputs: Vec<&Path> = input.paths().chain(own).collect();
        output(path, &["npy", "parquet", "jsonl", "csv"], "IDs are written as", &inputs, true)?;
        writes_parquet(path)?;
    }
    Ok(Plan {
        codec: flags.codec,
        input,
        keys: flags.keys,
        key: flags.key,
        store: Place::new(flags.store, flags.waiting),
        reuse: if flags.reuse_deleted { Reuse::Deleted } else { Reuse::Never },
        output: flags.output,
        device: flags.on.device,
        options,
        batch_items: flags.batch_items,
    })
}

/// Encodes all rows, then gives items IDs in the order of their keys, a transaction a batch; keys and codes are held in memory.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let codec = Codec::load(&plan.codec)?;
    let input = Input::open_for(&plan.input, codec.metric())?;
    check_dims(&codec, &input)?;
    let keys = read_keys(&plan.keys, &plan.key)?;
    let in_file = input.rows() + input.dropped().len();
    if keys.len() != in_file {
        let problem = format!("holds {} items, but `{}` {in_file} rows", keys.len(), plan.input.path.display());
        return Err(Error::format(&plan.keys, problem).into());
    }
    sememe::ids::check_keys(&keys)?;
    let device = device::open(plan.device, input.rows())?;
    let encoder = codec.encoder(&device, &plan.options)?;
    report_dropped(&input, progress);
    // Opened before the work, so that another codec's store is refused at once.
    let mut store = plan.store.open(codec.content_hash(), codec.levels())?;
    for risk in store.risks() {
        progress.note(&risk);
    }
    let levels = codec.levels();
    let mut codes = vec![0u32; input.rows() * levels];
    encoder.encode_source(&input, progress, &mut |start, part| {
        codes[start * levels..start * levels + part.len()].copy_from_slice(part);
        Ok(())
    })?;
    let key = |i: usize| keys[input.original(i) as usize].as_str();
    let mut order: Vec<usize> = (0..input.rows()).collect();
    // By key over the whole file, so that counters do not depend on its order.
    order.sort_unstable_by_key(|i| key(*i).as_bytes());
    progress.phase("assign", order.len() as u64, "items");
    let working = Instant::now();
    let (mut new, mut drifted, mut done) = (0usize, 0usize, 0u64);
    let mut ids = vec![0u32; input.rows() * (levels + 1)];
    for batch in order.chunks(plan.batch_items) {
        if progress.stop() {
            let text = format!("; {done} of {} items have their IDs, go on with the same command", order.len());
            return Err(Error::Interrupted(text).into());
        }
        let items: Vec<(&str, &[u32])> =
            batch.iter().map(|i| (key(*i), &codes[i * levels..(i + 1) * levels])).collect();
        for (i, given) in batch.iter().zip(store.assign_with(&items, plan.reuse)?) {
            new += usize::from(given.new);
            drifted += usize::from(given.drifted);
            ids[i * (levels + 1)..(i + 1) * (levels + 1)].copy_from_slice(&given.id.to_row());
        }
        done += batch.len() as u64;
        progress.event(Event::Advance { done });
    }
    let rate = order.len() as f64 / working.elapsed().as_secs_f64().max(1e-9);
    if let Some(output) = &plan.output {
        let mut sizes = codec.codebook_sizes();
        sizes.push(ids.chunks_exact(levels + 1).filter_map(|id| id.last()).max().map_or(1, |most| *most as usize + 1));
        let numbers: Vec<u64> = (0..input.rows()).map(|i| input.original(i)).collect();
        let mut writer = CodesWriter::create(output, input.rows(), levels + 1, &sizes)?;
        writer.write_with_rows(&numbers, &ids)?;
        writer.finish()?;
    }
    progress.finish();
    let (items, total, seconds) = (input.rows(), store.count()?, begun.elapsed().as_secs_f64());
    if progress.json {
        return print_json(&json!({
            "store": plan.store.shown(),
            "output": plan.output.as_ref().map(|path| path.display().to_string()),
            "codec": codec.content_hash(),
            "items": items,
            "new": new,
            "known": items - new,
            "drifted": drifted,
            "dropped": input.dropped().len(),
            "in_store": total,
            "items_per_second": rate,
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let drift = match drifted {
        0 => String::new(),
        n => format!("\n{} whose codes have changed kept the ID that they had", count(n, "item")),
    };
    print(&format!(
        "{}: {} got an ID, {} had one; {} in all, in {}, {} items/s{drift}\n",
        plan.store.shown(),
        count(new, "item"),
        whole((items - new) as u64),
        whole(total),
        time(seconds),
        whole(rate as u64)
    ))
}
