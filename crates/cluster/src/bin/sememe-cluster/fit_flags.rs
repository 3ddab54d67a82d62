//! Flags of `fit`, named as those of `sememe train`.

use crate::flags::ItemFlags;
use clap::{Args, ValueEnum};
use sememe::distributed::DistributedRqKMeans;
use sememe::{Balance, EmptyPolicy, Error, Init, Metric, Pca, Preprocess, Result, RqKMeans};
use sememe_cluster::jobs::Fit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricChoice {
    /// Nearest by squared L2
    SquaredL2,
    /// Nearest by angle
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InitChoice {
    /// Greedy k-means++
    #[value(name = "k-means-plus-plus", alias = "kmeans++", alias = "k-means++")]
    KMeansPlusPlus,
    /// Distinct rows at random
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmptyChoice {
    /// Move it to the row farthest from its own codeword
    Farthest,
    /// Leave it where it is
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BalanceChoice {
    /// Nearest codewords, whatever their loads
    None,
    /// Nearly even loads, by Sinkhorn's algorithm
    Sinkhorn,
}

#[derive(Debug, Args)]
pub struct FitFlags {
    #[command(flatten)]
    pub items: ItemFlags,
    /// Codec to write, a .safetensors file; an existing one is replaced once the new one is complete
    #[arg(long, short, value_name = "CODEC")]
    pub output: String,
    /// Column that names items, for messages
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Keep the state of the training in this file, written after every pass over the items
    #[arg(long, value_name = "STATE")]
    pub checkpoint: Option<String>,
    /// Continue from the checkpoint, if there is one
    #[arg(long, requires = "checkpoint")]
    pub resume: bool,
    /// Folder that all executors see, for what they are asked [default: beside the codec]
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<String>,
    #[command(flatten)]
    pub codebooks: Codebooks,
    #[command(flatten)]
    pub balance: BalanceFlags,
    #[command(flatten)]
    pub preprocess: PreprocessFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Codebooks")]
pub struct Codebooks {
    /// Codes in an ID [default: 3]
    #[arg(long, value_name = "N")]
    pub levels: Option<usize>,
    /// Codewords per level: one number for all levels, or one for each as in 512,256,128 [default: 256]
    #[arg(long, value_name = "K", value_delimiter = ',', num_args = 1)]
    pub codebook_size: Option<Vec<usize>>,
    /// At most so many iterations per level [default: 25; 40 with `--balance sinkhorn`, which converges slowly]
    #[arg(long, value_name = "N")]
    pub iterations: Option<usize>,
    /// Stop a level once an iteration improves it by no more than this share; 0 runs all iterations [default: 1e-5]
    #[arg(long, value_name = "SHARE")]
    pub tolerance: Option<f64>,
    /// Starts per level; the best one counts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub starts: usize,
    /// Seed for everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How rows are compared with codewords
    #[arg(long, value_enum, default_value = "squared-l2")]
    pub metric: MetricChoice,
    /// How the first codewords are chosen
    #[arg(long, value_enum, default_value = "k-means-plus-plus", value_name = "HOW")]
    pub init: InitChoice,
    /// What to do with a codeword that no row chose
    #[arg(long, value_enum, default_value = "farthest", value_name = "WHERE")]
    pub empty: EmptyChoice,
    /// Rows that the driver starts from, drawn from all items [default: by the codebooks' sizes]
    #[arg(long, value_name = "N")]
    pub sample_rows: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Balance")]
pub struct BalanceFlags {
    /// Even out how many rows a codeword has
    #[arg(long, value_enum, default_value = "none", value_name = "HOW")]
    pub balance: BalanceChoice,
    /// Levels to balance, counted from 0, as in 0,1 [default: all]
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', num_args = 1)]
    pub balance_levels: Option<Vec<usize>>,
    /// ε in units of a level's mean squared L2 to the nearest codeword; smaller is more even [default: 0.045]
    #[arg(long, value_name = "E")]
    pub balance_epsilon: Option<f64>,
    /// At most so many iterations of Sinkhorn's algorithm with the final codewords [default: 30]
    #[arg(long, value_name = "N")]
    pub balance_iterations: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Preprocessing, undone by decode")]
pub struct PreprocessFlags {
    /// Subtract the mean row
    #[arg(long)]
    pub center: bool,
    /// Keep the fewest principal components that hold this share of the variance [without a number: 0.95]
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.95")]
    pub pca: Option<f64>,
    /// Keep at most this many principal components; without --pca exactly this many [default with --pca: 256]
    #[arg(long, value_name = "N")]
    pub pca_dims: Option<usize>,
    /// Scale every principal component to unit variance
    #[arg(long)]
    pub whiten: bool,
    /// Divide every row by its L2 norm, after the steps above
    #[arg(long)]
    pub normalize: bool,
    /// Divide the residual of every row by its L2 norm before every level, as GRID does
    #[arg(long)]
    pub normalize_residuals: bool,
}

impl FitFlags {
    /// The training, its settings checked.
    pub fn job(&self) -> Result<Fit> {
        let settings = DistributedRqKMeans { kmeans: self.settings()?, sample_rows: self.codebooks.sample_rows };
        Ok(Fit {
            items: self.items.items(self.key.as_deref()),
            settings,
            output: self.output.clone(),
            checkpoint: self.checkpoint.clone(),
            resume: self.resume,
            work: self.work.clone(),
        })
    }

    fn settings(&self) -> Result<RqKMeans> {
        let (books, steps) = (&self.codebooks, &self.preprocess);
        let mut config = RqKMeans::default();
        config.codebook_sizes = sizes(books, config.codebook_sizes)?;
        config.balance = self.balance.plan()?;
        if let (Some(balance), None) = (&config.balance, books.iterations) {
            config.iterations = config.iterations.max(balance.settling_iterations());
        }
        config.iterations = books.iterations.unwrap_or(config.iterations);
        if config.iterations == 0 {
            return Err(Error::config("iterations", "expected at least 1, got 0"));
        }
        config.tolerance = books.tolerance.unwrap_or(config.tolerance);
        config.starts = books.starts;
        config.seed = books.seed;
        config.metric = match books.metric {
            MetricChoice::SquaredL2 => Metric::SquaredL2,
            MetricChoice::Cosine => Metric::Cosine,
        };
        config.init = match books.init {
            InitChoice::KMeansPlusPlus => Init::KMeansPlusPlus,
            InitChoice::Random => Init::Random,
        };
        config.empty = match books.empty {
            EmptyChoice::Farthest => EmptyPolicy::Farthest,
            EmptyChoice::Keep => EmptyPolicy::Keep,
        };
        config.normalize_residuals = steps.normalize_residuals;
        let Preprocess { center, whiten, normalize, pca, .. } = &mut config.preprocess;
        (*center, *whiten, *normalize) = (steps.center, steps.whiten, steps.normalize);
        if let Some(keep_variance) = steps.pca {
            *pca = Some(Pca { keep_variance, ..Pca::default() });
        }
        if let Some(max_dims) = steps.pca_dims {
            // Asked for alone, the number is meant, not the share.
            *pca = Some(Pca { max_dims, ..pca.unwrap_or(Pca { keep_variance: 1.0, max_dims }) });
        }
        config.validate()?;
        Ok(config)
    }
}

impl BalanceFlags {
    fn plan(&self) -> Result<Option<Balance>> {
        let given = [
            ("balance_levels", self.balance_levels.is_some()),
            ("balance_epsilon", self.balance_epsilon.is_some()),
            ("balance_iterations", self.balance_iterations.is_some()),
        ];
        if self.balance == BalanceChoice::None {
            return match given.iter().find(|(_, given)| *given) {
                Some((field, _)) => Err(Error::config(*field, "goes with `--balance sinkhorn` only; leave it out")),
                None => Ok(None),
            };
        }
        let mut balance = Balance::sinkhorn();
        balance.levels = self.balance_levels.clone();
        balance.epsilon = self.balance_epsilon.unwrap_or(balance.epsilon);
        balance.iterations = self.balance_iterations.unwrap_or(balance.iterations);
        Ok(Some(balance))
    }
}

fn sizes(books: &Codebooks, defaults: Vec<usize>) -> Result<Vec<usize>> {
    if let Some(levels @ (0 | 65..)) = books.levels {
        return Err(Error::config("levels", format!("expected 1 to 64, got {levels}")));
    }
    let levels = books.levels.unwrap_or(defaults.len());
    match books.codebook_size.as_deref() {
        None => Ok(vec![defaults[0]; levels]),
        Some([size]) => Ok(vec![*size; levels]),
        Some(sizes) => match books.levels {
            Some(levels) if levels != sizes.len() => Err(Error::config(
                "codebook_size",
                format!(
                    "lists {} levels and `--levels` says {levels}; leave `--levels` out, or give one size",
                    sizes.len()
                ),
            )),
            _ => Ok(sizes.to_vec()),
        },
    }
}
