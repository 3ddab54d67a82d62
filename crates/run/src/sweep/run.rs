//! Trains and measures the cells of a grid, one after the other.

use std::path::Path;
use std::time::Instant;

use super::cell_file::{CellMeasures, CellSettings, data_hash};
use super::{Cell, CellOutcome, Sweep, SweepReport};
use sememe::codec::{Codec, EncodeOptions};
use sememe::data::{Codes, RowSource};
use sememe::device::{Device, DeviceKind};
use sememe::eval::{EvalOptions, evaluate};
use sememe::fit::RqKMeans;
use sememe::progress::Observer;
use sememe::{Error, Result};

/// What a sweep measures and keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepOptions {
    /// Rows drawn to measure the recall of neighbours with; 0 leaves it out.
    pub queries: usize,
    /// Keep every cell's codec too, as `codec-{key}.safetensors`.
    pub keep_codecs: bool,
}

/// Trains and measures every cell of `sweep` that `folder` does not hold yet, and returns all of them, the Pareto front marked.
///
/// A finished cell is a file in `folder`, which is made when there is something to keep, written whole or not at all, named by a hash of all that its figures depend on:
/// settings, data, device and version. A sweep that was stopped, or one that has a further value, trains only what is missing;
/// changed settings or data are never mistaken for done. `each` is called with every cell as it ends, kept ones first of all.
///
/// A cell that cannot work (fewer rows than codewords; settings that exclude each other; fewer distinct rows than codewords, which
/// shows in training) becomes [`CellOutcome::Failed`] with the reason, and the others go on. What is known beforehand is refused before
/// anything is trained. Failed cells are tried again by the next run.
///
/// # Errors
/// [`Error::Config`] for a grid that is none; [`Error::NonFinite`] or [`Error::Data`] for data that no cell can use;
/// [`Error::Interrupted`] when the observer asks; [`Error::Io`] if figures cannot be kept; and what a device that goes away returns.
pub fn run(
    sweep: &Sweep,
    source: &dyn RowSource,
    device: &Device,
    folder: &Path,
    options: &SweepOptions,
    observer: &dyn Observer,
    each: &mut dyn FnMut(usize, &Cell),
) -> Result<SweepReport> {
    let configs = sweep.cells()?;
    let data = data_hash(source)?;
    let kind = match device.info().kind {
        DeviceKind::Cpu => "cpu".to_owned(),
        _ => device.info().name,
    };
    let mut cells = Vec::with_capacity(configs.len());
    let mut all = Vec::with_capacity(configs.len());
    for config in &configs {
        let settings = CellSettings::new(&data, &kind, config, options.queries);
        let mut cell = Cell::new(config, settings.key()?);
        // A codec that was not kept is not there, even if its figures are.
        let missing = options.keep_codecs && !sememe::io::is_there(codec_path(folder, &cell))?;
        if let Some(figures) = settings.load(folder)?.filter(|_| !missing) {
            (cell.outcome, cell.kept) = (CellOutcome::Done(figures), true);
        } else if let Err(error) = refuse_early(config, source.rows()) {
            cell.outcome = CellOutcome::Failed(error.facts());
        } else {
            all.push((cells.len(), settings));
        }
        cells.push(cell);
    }
    let waiting: Vec<usize> = all.iter().map(|(at, _)| *at).collect();
    let settled = |at: &usize| !waiting.contains(at);
    (0..cells.len()).filter(settled).for_each(|at| each(at, &cells[at]));
    if !all.is_empty() {
        sememe::io::create_folder(folder)?;
    }
    for (at, settings) in all {
        let cell = &mut cells[at];
        let outcome = one(&configs[at], source, device, options, observer, &codec_path(folder, cell));
        cell.outcome = match outcome {
            Ok(figures) => {
                settings.save(folder, &figures)?;
                CellOutcome::Done(figures)
            }
            Err(error)
                if matches!(
                    error.root(),
                    Error::Config { .. } | Error::Data(_) | Error::Codec(_) | Error::OutOfMemory { .. }
                ) =>
            {
                CellOutcome::Failed(error.facts())
            }
            Err(error) => return Err(error),
        };
        each(at, cell);
    }
    let mut report = SweepReport { rows: source.rows(), dims: source.dims(), data, cells };
    report.mark_front();
    Ok(report)
}

fn codec_path(folder: &Path, cell: &Cell) -> std::path::PathBuf {
    folder.join(format!("codec-{}.safetensors", cell.key))
}

/// What can be known of a cell before it is trained.
fn refuse_early(config: &RqKMeans, rows: usize) -> Result<()> {
    config.validate()?;
    let used = rows.min(config.max_training_rows.unwrap_or(usize::MAX));
    let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
    if used < most {
        return Err(Error::Data(format!(
            "{used} training rows are fewer than the {most} codewords of a level; give more rows or a smaller codebook size"
        )));
    }
    Ok(())
}

fn one(
    config: &RqKMeans,
    source: &dyn RowSource,
    device: &Device,
    options: &SweepOptions,
    observer: &dyn Observer,
    codec_path: &Path,
) -> Result<CellMeasures> {
    let begun = Instant::now();
    let codec = Codec::train(source, config, device, observer)?;
    let train_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let encoder = codec.encoder(device, &EncodeOptions::default())?;
    let levels = codec.levels();
    let mut codes = Codes::zeros(source.rows(), levels);
    encoder.encode_source(source, observer, &mut |start, part| {
        codes.as_mut_slice()[start * levels..][..part.len()].copy_from_slice(part);
        Ok(())
    })?;
    let encode_seconds = begun.elapsed().as_secs_f64();
    let asked = EvalOptions { queries: options.queries, seed: config.seed, ..EvalOptions::default() };
    let evaluation = evaluate(source, &codes, &codec.codebook_sizes(), &|codes| codec.decode(codes), &asked)?;
    // Before the figures, so that figures without their codec are not there after a kill.
    if options.keep_codecs {
        codec.save(codec_path)?;
    }
    Ok(CellMeasures::of(&evaluation, train_seconds, encode_seconds))
}
