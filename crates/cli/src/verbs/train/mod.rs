//! `sememe train`.

mod balance;
mod flags;
mod minibatch;
mod plan;
mod product;
mod rqvae;

pub use flags::Flags;
pub use plan::plan;

use crate::failure::usage;
use crate::input::{Input, check_dims, report_dropped};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, metric, percent, size, sizes, table, time, whole};
use crate::verbs::train::plan::Plan;
use crate::verbs::train::rqvae::RqVaePlan;
use crate::{device, hints};
use anyhow::Result;
use sememe::eval::{EvalOptions, Evaluation, advice, evaluate};
use sememe::io::CodesWriter;
use sememe::{Codec, Codes, Device, EncodeOptions, Error, Metric, Pca, RowSource, RqKMeans};
use sememe_run::train::RqVaeRun;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Up to so many rows the IDs of the training file are measured when it is done, which takes about as long as one
/// iteration of every level; past them it is left to `sememe eval`.
const MEASURED_ROWS: usize = 200_000;

/// Trains a codec and saves it.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let start = plan.from.as_ref().map(|(path, _)| Codec::load(path)).transpose()?;
    let compared = match (&plan.network, &plan.minibatch, &start) {
        (Some(_), ..) => Metric::SquaredL2,
        (None, Some(minibatch), _) => minibatch.config.metric,
        (None, None, Some(start)) => start.metric(),
        (None, None, None) => plan.config.metric,
    };
    let input = Input::open_for(&plan.input, compared)?;
    let config = &started(plan, start.as_ref(), &input)?;
    let cap = plan.network.as_ref().map_or(config.max_training_rows, |n| n.config.max_training_rows);
    let used = input.rows().min(cap.unwrap_or(usize::MAX));
    let device = device::open(plan.device, used)?;
    if let (Some(network), true) = (&plan.network, plan.dry_run) {
        return network_dry_run(plan, network, &input, &device, progress);
    }
    if plan.dry_run {
        return dry_run(plan, config, &input, used, &device, progress);
    }
    report_dropped(&input, progress);
    let codec = match (&plan.network, &plan.minibatch) {
        (Some(network), _) => {
            let aligned = network.align.as_ref().map(Input::open).transpose()?;
            let other = aligned.as_ref().map(|rows| rows as &dyn RowSource);
            network_run(network)?.train(&input, other, &device, progress)?
        }
        (None, Some(minibatch)) => minibatch::train(minibatch, &input, &device, progress)?,
        (None, None) => {
            progress.expect_levels(config.codebook_sizes.len(), config.starts);
            fit(plan, config, start.as_ref(), &input, &device, progress)?
        }
    };
    codec.save(&plan.output)?;
    let seconds = begun.elapsed().as_secs_f64();
    // The codec is safe by now, so being stopped here is no failure.
    let measured = match measure(&codec, &input, &device, progress) {
        Err(Error::Interrupted(_)) => None,
        other => other?,
    };
    progress.finish();
    let notes = measured.as_ref().map(advice).unwrap_or_default();
    let say = hints::advice_about(Some(&codec));
    if progress.json {
        notes.iter().for_each(|note| progress.note(&say(note)));
        return print_json(&summary(plan, &codec, &input, &device, measured.as_ref(), seconds, progress));
    }
    if progress.quiet {
        return Ok(());
    }
    let bytes = std::fs::metadata(&plan.output).map_or(0, |m| m.len());
    let mut text = format!(
        "wrote {}: {} codewords for {} dimensions, {}, from {} in {} on the {}\n",
        plan.output.display(),
        sizes(&codec.codebook_sizes()),
        codec.dims(),
        size(bytes),
        count(codec.manifest().training.rows, "row"),
        time(seconds),
        device::name(&device.info())
    );
    if let Some((e, full)) = measured.as_ref().and_then(|e| Some((e, e.reconstruction?))) {
        text.push_str(&format!(
            "R² {:.4}, cosine {:.4}, {} distinct IDs for {}, at most {} on one\n",
            full.r2,
            full.cosine,
            whole(e.unique_ids as u64),
            count(e.rows as u64, "item"),
            whole(e.max_bucket as u64)
        ));
    }
    print(&text)?;
    notes.iter().for_each(|note| progress.note(&say(note)));
    Ok(())
}

/// The settings, with what the codec to start from decides taken from it.
fn started(plan: &Plan, start: Option<&Codec>, input: &Input) -> Result<RqKMeans> {
    let mut config = plan.config.clone();
    let (Some(start), Some((path, sizes))) = (start, &plan.from) else { return Ok(config) };
    if start.manifest().encoder.is_some() || start.manifest().decoder.is_some() {
        let path = path.display();
        return Err(usage(format!("`--from`: `{path}` has networks; k-means starts from a codec of RQ-KMeans")));
    }
    if start.manifest().product != plan.product.is_some() {
        let (path, is) = (path.display(), &start.manifest().method);
        let wanted = if plan.product.is_some() { "`pq` or `opq`" } else { "RQ-KMeans" };
        return Err(usage(format!("`--from`: `{path}` is of `{is}`, this method starts from a codec of {wanted}")));
    }
    check_dims(start, input)?;
    if *sizes {
        config.codebook_sizes = start.codebook_sizes();
    }
    if config.codebook_sizes != start.codebook_sizes() {
        return Err(usage(format!(
            "`--codebook-size`: the codec of `--from` has {:?}, got {:?}; leave it out",
            start.codebook_sizes(),
            config.codebook_sizes
        )));
    }
    (config.metric, config.normalize_residuals) = (start.metric(), start.manifest().normalize_residuals);
    config.validate()?;
    Ok(config)
}

fn network_run(plan: &RqVaePlan) -> Result<RqVaeRun> {
    Ok(RqVaeRun {
        config: plan.config.clone(),
        folder: plan.folder.clone(),
        resume: plan.resume.clone(),
        start: plan.from.as_ref().map(Codec::load).transpose()?,
    })
}

/// A small training in a folder of its own, every artifact of which is looked at.
fn network_dry_run(
    plan: &Plan,
    network: &RqVaePlan,
    input: &Input,
    device: &Device,
    progress: &Progress,
) -> Result<()> {
    let aligned = network.align.as_ref().map(Input::open).transpose()?;
    let other = aligned.as_ref().map(|rows| rows as &dyn RowSource);
    let name = plan.output.file_name().unwrap_or_default().to_string_lossy();
    let done = network_run(network)?.dry_run(&name, input, other, device, progress)?;
    progress.finish();
    if progress.json {
        return print_json(&json!({
            "dry_run": true, "rows": done.rows, "epochs": done.epochs, "steps": done.steps, "folder": done.folder.display().to_string(),
            "artifacts": done.artifacts, "config": network.config, "device": device.info(),
        }));
    }
    let mut text = format!(
        "dry run: {} of {} rows, {} of {} epochs, {} on the {}\n",
        whole(done.rows as u64),
        whole(input.rows() as u64),
        done.epochs,
        network.config.epochs,
        count(done.steps, "step"),
        device::name(&device.info())
    );
    done.artifacts.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str(&format!("all is in {}; `{}` was not written\n", done.folder.display(), plan.output.display()));
    print(&text)
}

/// Writes the codes that training gave the rows.
fn keep_assigned(path: &Path, codes: &Codes, codec: &Codec, input: &Input) -> Result<()> {
    let mut writer = CodesWriter::create(path, codes.rows(), codes.levels(), &codec.codebook_sizes())?;
    let numbers: Vec<u64> = (0..codes.rows()).map(|i| input.original(i)).collect();
    writer.write_with_rows(&numbers, codes.as_slice())?;
    writer.finish()?;
    Ok(())
}

/// Trains k-means or product quantisation on rows in memory, from a codec if there is one to start from.
fn fit(
    plan: &Plan,
    config: &RqKMeans,
    start: Option<&Codec>,
    input: &Input,
    device: &Device,
    progress: &Progress,
) -> Result<Codec> {
    let product = plan.product.as_ref().map(|product| product.settings(config));
    if let Some(start) = start {
        return Ok(match &product {
            Some(product) => Codec::train_product_from(start, input, product, device, progress)?,
            None => Codec::train_from(start, input, config, device, progress)?,
        });
    }
    let Some(path) = &plan.assigned else {
        return Ok(match &product {
            Some(product) => Codec::train_product(input, product, device, progress)?,
            None => Codec::train(input, config, device, progress)?,
        });
    };
    let (codec, codes) = match &product {
        Some(product) => Codec::train_product_assigned(input, product, device, progress)?,
        None => Codec::train_assigned(input, config, device, progress)?,
    };
    keep_assigned(path, &codes, &codec, input)?;
    Ok(codec)
}

/// What the IDs of the training file are like, where that is quick.
fn measure(codec: &Codec, input: &Input, device: &Device, progress: &Progress) -> sememe::Result<Option<Evaluation>> {
    if input.rows() > MEASURED_ROWS {
        progress.note("past 200,000 rows the IDs are not measured here; `sememe eval` does it");
        return Ok(None);
    }
    let encoder = codec.encoder(device, &EncodeOptions::default())?;
    let mut codes = Codes::zeros(input.rows(), codec.levels());
    let levels = codec.levels();
    encoder.encode_source(input, progress, &mut |start, part| {
        codes.as_mut_slice()[start * levels..][..part.len()].copy_from_slice(part);
        Ok(())
    })?;
    progress.phase("measure", 0, "");
    let options =
        EvalOptions { queries: 0, shared_codebook: codec.manifest().shared_codebook, ..EvalOptions::default() };
    evaluate(input, &codes, &codec.codebook_sizes(), &|codes| codec.decode(codes), &options).map(Some)
}

fn summary(
    plan: &Plan,
    codec: &Codec,
    input: &Input,
    device: &Device,
    measured: Option<&Evaluation>,
    seconds: f64,
    progress: &Progress,
) -> Value {
    let manifest = codec.manifest();
    let ids = measured.map(|e| {
        json!({
            "rows": e.rows,
            "unique_ids": e.unique_ids,
            "collision_rate": e.collision_rate,
            "colliding_item_rate": e.colliding_item_rate,
            "max_bucket": e.max_bucket,
            "entropy_ratio": e.entropy_ratio,
            "r2": e.reconstruction.map(|full| full.r2),
            "mse": e.reconstruction.map(|full| full.mse),
            "cosine": e.reconstruction.map(|full| full.cosine),
        })
    });
    json!({
        "output": plan.output.display().to_string(),
        "output_bytes": std::fs::metadata(&plan.output).map_or(0, |m| m.len()),
        "assigned": plan.assigned.as_ref().map(|path| path.display().to_string()),
        "content_hash": codec.content_hash(),
        "dims": codec.dims(),
        "inner_dims": manifest.inner_dims,
        "codebook_sizes": codec.codebook_sizes(),
        "seed": manifest.seed,
        "config": manifest.config,
        "training": manifest.training,
        "dropped": input.dropped().len(),
        "ids": ids,
        "device": device.info(),
        "seconds": seconds,
        "notes": progress.notes(),
    })
}

fn dry_run(
    plan: &Plan,
    config: &RqKMeans,
    input: &Input,
    used: usize,
    device: &Device,
    progress: &Progress,
) -> Result<()> {
    let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
    if used < most {
        return Err(Error::Data(format!(
            "{used} training rows are fewer than the {most} codewords of a level; give more rows or a smaller codebook size"
        ))
        .into());
    }
    if let Some(product) = &plan.product {
        product.settings(config).check_dims(input.dims())?;
    }
    if let Some(pca) = config.preprocess.pca
        && config.preprocess.whiten
        && used < 2
    {
        return Err(usage(format!("`--pca`: {} of variance cannot be found in {used} rows", pca.keep_variance)));
    }
    if let Some(balance) = &config.balance {
        let levels = config.codebook_sizes.iter().enumerate().filter(|(level, _)| balance.applies(*level));
        for (_, size) in levels {
            balance.bounds(used, *size)?;
        }
    }
    if progress.json {
        return print_json(&json!({
            "dry_run": true,
            "input": plan.input.path.display().to_string(),
            "rows": input.rows(),
            "dims": input.dims(),
            "training_rows": used,
            "dropped": input.dropped().len(),
            "output": plan.output.display().to_string(),
            "replaces": plan.output.exists(),
            "config": match (&plan.minibatch, &plan.product) {
                (Some(minibatch), _) => json!(minibatch.config),
                (None, Some(product)) => json!(product.settings(config)),
                (None, None) => json!(config),
            },
            "device": device.info(),
        }));
    }
    print(&describe(plan, config, input, used, device))
}

fn describe(plan: &Plan, config: &RqKMeans, input: &Input, used: usize, device: &Device) -> String {
    let ids: f64 = config.codebook_sizes.iter().map(|k| *k as f64).product();
    let bytes = input.rows() as u64 * input.dims() as u64 * 4;
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let mut rows = vec![row(
        "would read",
        format!(
            "{}: {} of {} dimensions, {} as f32",
            plan.input.path.display(),
            count(input.rows() as u64, "row"),
            input.dims(),
            size(bytes)
        ),
    )];
    if used < input.rows() {
        rows.push(row(
            "train on",
            format!("{} of them, drawn at random with seed {}", whole(used as u64), config.seed),
        ));
    }
    match &plan.from {
        Some((codec, _)) => rows.push(row("start", format!("preprocessing and codebooks of {}", codec.display()))),
        None => rows.push(row("preprocess", preprocessing(config))),
    }
    rows.push(row("codebooks", format!("{} codewords, {ids:.3e} possible IDs", sizes(&config.codebook_sizes))));
    if let Some(product) = plan.product.as_ref().filter(|_| plan.from.is_none()) {
        rows.push(row("product", product.describe(config, input.dims())));
    }
    match &plan.minibatch {
        Some(minibatch) => rows.push(row("mini-batches", minibatch::describe(minibatch))),
        None => rows.push(row("k-means", kmeans(config))),
    }
    if let Some(balance) = &config.balance {
        rows.push(row("balance", balance::describe(balance)));
    }
    if let Some(refine) = config.refine {
        rows.push(row("refine", format!("{} with a beam of {}", count(refine.rounds as u64, "round"), refine.beam)));
    }
    rows.push(row("device", device::name(&device.info())));
    if let Some(codes) = &plan.assigned {
        rows.push(row("would write", format!("{}, the codes that training gives its rows", codes.display())));
    }
    let replaces = if plan.output.exists() { ", replacing the one there" } else { "" };
    rows.push(row("would write", format!("{}{replaces}", plan.output.display())));
    format!("{}nothing was written (--dry-run)\n", table(&rows, &[0, 1]))
}

fn kmeans(config: &RqKMeans) -> String {
    let metric = metric(config.metric);
    let residuals = if config.normalize_residuals { ", residuals normalised" } else { "" };
    format!(
        "at most {} a level, tolerance {:e}, {}, seed {}, {metric}{residuals}",
        count(config.iterations as u64, "iteration"),
        config.tolerance,
        count(config.starts as u64, "start"),
        config.seed
    )
}

fn preprocessing(config: &RqKMeans) -> String {
    let steps = &config.preprocess;
    let mut out = Vec::new();
    if steps.center || steps.pca.is_some() {
        out.push("centre".to_owned());
    }
    if let Some(Pca { keep_variance, max_dims }) = steps.pca {
        out.push(format!("PCA to {} of the variance, at most {max_dims} dimensions", percent(keep_variance)));
    }
    if steps.whiten {
        out.push("whiten".to_owned());
    }
    if steps.normalize {
        out.push("normalise rows".to_owned());
    }
    if out.is_empty() { "none".to_owned() } else { out.join(", ") }
}
