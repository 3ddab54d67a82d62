//! Raw flags → what will be done, checked before any row is read.

use crate::args::{BalanceChoice, Codebooks, EmptyChoice, Method, MiniBatchFlags};
use crate::args::{
    Decode, Demo, DeviceChoice, Encode, InitChoice, MetricChoice, OnBad, PreprocessFlags, Preset, Rows, Train,
};
use crate::failure::{Usage, usage};
use crate::network::NetworkPlan;
use anyhow::Result;
use sememe::fit::MiniBatchRqKMeans;
use sememe::io::AtomicFile;
use sememe::{BadRows, EmptyPolicy, EncodeOptions, Init, Metric, Pca, Preprocess, Refine, RqKMeans};
use std::path::{Path, PathBuf};

/// Embeddings in a file, several or a folder of them.
pub struct RowsPlan {
    pub path: PathBuf,
    /// Files whose rows follow.
    pub more: Vec<PathBuf>,
    pub array: Option<String>,
    pub on_bad: BadRows,
}

pub struct TrainPlan {
    pub input: RowsPlan,
    pub output: PathBuf,
    pub config: RqKMeans,
    /// A codec of RQ-KMeans to start from, and whether its codebook sizes are the ones to take.
    pub from: Option<(PathBuf, bool)>,
    /// Where the codes go that training gave its rows.
    pub assigned: Option<PathBuf>,
    pub minibatch: Option<MiniBatchPlan>,
    pub network: Option<NetworkPlan>,
    pub device: DeviceChoice,
    pub dry_run: bool,
}

/// Mini-batches take the place of the k-means settings.
pub struct MiniBatchPlan {
    pub config: MiniBatchRqKMeans,
    pub checkpoint: Option<PathBuf>,
    pub resume: bool,
}

pub struct EncodePlan {
    pub codec: PathBuf,
    pub input: RowsPlan,
    pub output: PathBuf,
    pub device: DeviceChoice,
    pub options: EncodeOptions,
}

pub struct DecodePlan {
    pub codec: PathBuf,
    pub codes: PathBuf,
    pub output: PathBuf,
    pub depth: Option<usize>,
}

/// Where items' names are.
pub struct Names {
    pub path: PathBuf,
    pub field: String,
    pub detail: Option<String>,
}

pub struct DemoPlan {
    pub output: PathBuf,
    pub device: DeviceChoice,
}

pub fn train(flags: Train) -> Result<TrainPlan> {
    let network = crate::network::plan(&flags)?;
    let mut config = config(&flags.codebooks, &flags.preprocess)?;
    config.balance = crate::balance::plan(&flags.balance, flags.minibatch.method)?;
    if flags.balance.balance == BalanceChoice::Sinkhorn && flags.codebooks.iterations.is_none() {
        // A third of them go without prices, and even loads settle slowly: R² is still rising at 25.
        config.iterations = config.iterations.max(40);
    }
    config.validate()?;
    let assigned = flags.balance.assigned.clone();
    if let Some(name) = [
        (config.refine.is_some(), "--refine"),
        (config.max_training_rows.is_some(), "--max-training-rows"),
        (flags.codebooks.from.is_some(), "--from"),
    ]
    .into_iter()
    .find(|(given, _)| *given && assigned.is_some())
    {
        return Err(usage(format!("`--assigned` does not go with `{}`; leave one of them out", name.1)));
    }
    let from = if network.is_none() { from(&flags, &mut config)? } else { None };
    let input = rows(flags.input, flags.rows);
    let mut inputs: Vec<&Path> = input.paths().collect();
    inputs.extend(from.iter().map(|(codec, _)| codec.as_path()));
    output(&flags.output, &["safetensors"], "a codec is written as", &inputs, !flags.dry_run)?;
    if let Some(codes) = &assigned {
        let kinds = ["npy", "parquet", "jsonl", "csv"];
        let inputs: Vec<&Path> = input.paths().chain([flags.output.as_path()]).collect();
        output(codes, &kinds, "codes are written as", &inputs, !flags.dry_run)?;
        writes_parquet(codes)?;
    }
    let minibatch = minibatch(&flags.minibatch, &flags.codebooks, &flags.preprocess, &config)?;
    if let Some(state) = minibatch.as_ref().and_then(|m| m.checkpoint.as_deref()) {
        let inputs: Vec<&Path> = input.paths().chain([flags.output.as_path()]).collect();
        output(state, &["json"], "a training state is written as", &inputs, !flags.dry_run)?;
    }
    let (output, device, dry_run) = (flags.output, flags.on.device, flags.dry_run);
    Ok(TrainPlan { input, output, config, from, assigned, minibatch, network, device, dry_run })
}

/// Where k-means starts, if from a codec, with what that decides refused as an option.
fn from(flags: &Train, config: &mut RqKMeans) -> Result<Option<(PathBuf, bool)>> {
    let (books, steps) = (&flags.codebooks, &flags.preprocess);
    let Some(codec) = &books.from else { return Ok(None) };
    if flags.minibatch.method == Method::Minibatch {
        return Err(usage("`--from` does not go with `--method minibatch`; leave one of them out"));
    }
    let decided = [
        (books.preset.is_some(), "--preset"),
        (books.starts != 1, "--starts"),
        (books.init != InitChoice::KMeansPlusPlus, "--init"),
        (books.metric != MetricChoice::SquaredL2, "--metric"),
        (steps.center, "--center"),
        (steps.pca.is_some(), "--pca"),
        (steps.pca_dims.is_some(), "--pca-dims"),
        (steps.whiten, "--whiten"),
        (steps.normalize, "--normalize"),
        (steps.normalize_residuals, "--normalize-residuals"),
    ];
    if let Some((_, name)) = decided.iter().find(|(given, _)| *given) {
        return Err(usage(format!("`{name}` is decided by the codec of `--from`; leave one of them out")));
    }
    // Moving codewords to where the error is would take the codes of many rows along.
    config.exchange = false;
    Ok(Some((codec.clone(), books.levels.is_none() && books.codebook_size.is_none())))
}

pub fn encode(flags: Encode) -> Result<EncodePlan> {
    let options = encode_options(flags.beam, flags.batch_rows)?;
    let input = rows(flags.input, flags.rows);
    let inputs: Vec<&Path> = input.paths().chain([flags.codec.as_path()]).collect();
    output(&flags.output, &["npy", "parquet", "jsonl", "csv"], "codes are written as", &inputs, true)?;
    writes_parquet(&flags.output)?;
    Ok(EncodePlan { codec: flags.codec, input, output: flags.output, device: flags.on.device, options })
}

/// Refuses a `.parquet` of codes in a build that cannot write one.
pub fn writes_parquet(path: &Path) -> Result<()> {
    if extension(path) == "parquet" && !cfg!(feature = "parquet") {
        return Err(usage(format!(
            "`{}`: this build does not write parquet; build with `--features parquet`, or write .npy, .jsonl or .csv",
            path.display()
        )));
    }
    Ok(())
}

pub fn decode(flags: Decode) -> Result<DecodePlan> {
    if flags.depth == Some(0) {
        return Err(usage("`--depth`: expected at least 1 code an ID, got 0"));
    }
    output(&flags.output, &["npy", "safetensors"], "rows are written as", &[&flags.codec, &flags.codes], true)?;
    Ok(DecodePlan { codec: flags.codec, codes: flags.codes, output: flags.output, depth: flags.depth })
}

pub fn demo(flags: Demo) -> Result<DemoPlan> {
    output(&flags.output, &["html", "htm"], "a page is written as", &[], true)?;
    Ok(DemoPlan { output: flags.output, device: flags.on.device })
}

pub fn rows(path: PathBuf, flags: Rows) -> RowsPlan {
    let on_bad = match flags.on_bad {
        OnBad::Refuse => BadRows::Refuse,
        OnBad::Drop => BadRows::Drop,
    };
    RowsPlan { path, more: flags.more, array: flags.array, on_bad }
}

impl RowsPlan {
    /// All files, in the order of their rows.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path).chain(&self.more).map(PathBuf::as_path)
    }
}

pub fn encode_options(beam: Option<usize>, batch_rows: Option<usize>) -> Result<EncodeOptions> {
    if let Some(beam @ (0 | 65..)) = beam {
        return Err(usage(format!("`--beam`: expected 1 to 64 prefixes, got {beam}")));
    }
    if batch_rows == Some(0) {
        return Err(usage("`--batch-rows`: expected at least 1, got 0"));
    }
    Ok(EncodeOptions { beam, batch_rows })
}

/// The training's settings: the preset's, or the defaults, with what was typed on top.
fn config(flags: &Codebooks, steps: &PreprocessFlags) -> Result<RqKMeans> {
    let mut config = RqKMeans::default();
    if flags.preset == Some(Preset::Basil) {
        config.codebook_sizes = vec![1024; 3];
        config.iterations = 20;
        config.tolerance = 1e-4;
        config.preprocess = Preprocess::basil();
    }
    config.codebook_sizes = codebook_sizes(flags, &config.codebook_sizes)?;
    config.iterations = flags.iterations.unwrap_or(config.iterations);
    if config.iterations == 0 {
        return Err(usage("`--iterations`: expected at least 1, got 0"));
    }
    config.tolerance = flags.tolerance.unwrap_or(config.tolerance);
    config.starts = flags.starts;
    config.seed = flags.seed;
    config.metric = match flags.metric {
        MetricChoice::SquaredL2 => Metric::SquaredL2,
        MetricChoice::Cosine => Metric::Cosine,
    };
    config.init = match flags.init {
        InitChoice::KMeansPlusPlus => Init::KMeansPlusPlus,
        InitChoice::Random => Init::Random,
    };
    config.empty = match flags.empty {
        EmptyChoice::Farthest => EmptyPolicy::Farthest,
        EmptyChoice::Keep => EmptyPolicy::Keep,
    };
    config.refine =
        flags.refine.map(|rounds| Refine { rounds, beam: flags.beam.unwrap_or_else(|| Refine::default().beam) });
    config.max_training_rows = flags.max_training_rows;
    config.normalize_residuals = steps.normalize_residuals;
    preprocess(steps, &mut config.preprocess);
    config.validate()?;
    Ok(config)
}

/// The mini-batch settings, if that is the method; options of the other method are refused rather than ignored.
fn minibatch(
    flags: &MiniBatchFlags,
    books: &Codebooks,
    steps: &PreprocessFlags,
    config: &RqKMeans,
) -> Result<Option<MiniBatchPlan>> {
    let given = |pairs: &[(bool, &str)]| pairs.iter().find(|(given, _)| *given).map(|(_, name)| (*name).to_owned());
    if flags.method == Method::Rqvae {
        return Ok(None);
    }
    if flags.method == Method::Kmeans {
        let own = [
            (flags.epochs.is_some(), "--epochs"),
            (flags.batch_rows.is_some(), "--batch-rows"),
            (flags.joint, "--joint"),
            (flags.checkpoint.is_some(), "--checkpoint"),
            (flags.resume.is_some(), "--resume"),
        ];
        return match given(&own) {
            Some(name) => Err(usage(format!("`{name}` needs `--method minibatch`"))),
            None => Ok(None),
        };
    }
    let foreign = [
        (books.preset.is_some(), "--preset"),
        (books.iterations.is_some(), "--iterations"),
        (books.tolerance.is_some(), "--tolerance"),
        (books.starts != 1, "--starts"),
        (books.init != InitChoice::KMeansPlusPlus, "--init"),
        (books.empty != EmptyChoice::Farthest, "--empty"),
        (books.refine.is_some(), "--refine"),
        (books.max_training_rows.is_some(), "--max-training-rows"),
        (steps.center, "--center"),
        (steps.pca.is_some(), "--pca"),
        (steps.pca_dims.is_some(), "--pca-dims"),
        (steps.whiten, "--whiten"),
        (steps.normalize, "--normalize"),
    ];
    if let Some(name) = given(&foreign) {
        return Err(usage(format!("`{name}` does not go with `--method minibatch`; leave one of them out")));
    }
    let resume = flags.resume.is_some();
    if let Some(which) = flags.resume.as_deref().filter(|which| *which != "last") {
        return Err(usage(format!(
            "`--resume {which}` is for `--method rqvae`; mini-batches go on from `--checkpoint`"
        )));
    }
    if resume && flags.checkpoint.is_none() {
        return Err(usage("`--resume` needs `--checkpoint`, the state to go on from"));
    }
    let defaults = MiniBatchRqKMeans::default();
    let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
    let settings = MiniBatchRqKMeans {
        codebook_sizes: config.codebook_sizes.clone(),
        batch_rows: flags.batch_rows.unwrap_or(defaults.batch_rows),
        // Enough rows a codeword for a start that means something.
        init_rows: defaults.init_rows.max(16 * most),
        epochs: flags.epochs.unwrap_or(defaults.epochs),
        layer_wise: !flags.joint,
        metric: config.metric,
        normalize_residuals: config.normalize_residuals,
        seed: config.seed,
        ..defaults
    };
    settings.validate()?;
    Ok(Some(MiniBatchPlan { config: settings, checkpoint: flags.checkpoint.clone(), resume }))
}

pub fn preprocess(flags: &PreprocessFlags, steps: &mut Preprocess) {
    steps.center |= flags.center;
    steps.whiten |= flags.whiten;
    steps.normalize |= flags.normalize;
    if let Some(keep_variance) = flags.pca {
        steps.pca = Some(Pca { keep_variance, ..steps.pca.unwrap_or_default() });
    }
    if let Some(max_dims) = flags.pca_dims {
        // Asked for alone, the number is meant, not the share.
        let asked = steps.pca.unwrap_or(Pca { keep_variance: 1.0, max_dims });
        steps.pca = Some(Pca { max_dims, ..asked });
    }
}

fn codebook_sizes(flags: &Codebooks, defaults: &[usize]) -> Result<Vec<usize>> {
    let levels = flags.levels;
    if let Some(levels @ (0 | 65..)) = levels {
        return Err(usage(format!("`--levels`: expected 1 to 64, got {levels}")));
    }
    match flags.codebook_size.as_deref() {
        None => Ok(vec![defaults[0]; levels.unwrap_or(defaults.len())]),
        Some([size]) => Ok(vec![*size; levels.unwrap_or(defaults.len())]),
        Some(sizes) => match levels {
            Some(levels) if levels != sizes.len() => Err(usage(format!(
                "`--codebook-size` lists {} levels and `--levels` says {levels}; leave `--levels` out, or give one size",
                sizes.len()
            ))),
            _ => Ok(sizes.to_vec()),
        },
    }
}

pub fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Refuses an output that could not be written after the work is done; `probe` also tries to create a file there.
pub fn output(path: &Path, extensions: &[&str], what: &str, inputs: &[&Path], probe: bool) -> Result<()> {
    let shown = path.display();
    if !extensions.contains(&extension(path).as_str()) {
        let list: Vec<String> = extensions.iter().map(|e| format!(".{e}")).collect();
        let list = match list.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
            _ => list.concat(),
        };
        return Err(usage(format!("`{shown}`: {what} {list}; give a name that ends so")));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let problem = if folder.exists() { "is not a folder" } else { "does not exist; make it first" };
        return Err(usage(format!("`{shown}` cannot be written: the folder `{}` {problem}", folder.display())));
    }
    if let Ok(target) = path.canonicalize() {
        for input in inputs {
            if input.canonicalize().is_ok_and(|input| input == target) {
                return Err(usage(format!("`{shown}` is an input too; give the output another name")));
            }
        }
    }
    if probe {
        // Made beside the output and gone again: this finds folders that cannot be written to, whatever the reason.
        AtomicFile::create(path).map_err(|e| Usage(e.to_string()))?;
    } else if path.exists() && !path.is_file() {
        return Err(usage(format!("`{shown}` is a folder, a pipe or a device, which a file cannot replace")));
    }
    Ok(())
}
