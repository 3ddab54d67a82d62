//! Settings of the RQ-VAE, each with its meaning and its default; what they may be is in `check`.

use crate::compute::tensor::{Activation, Precision};
use crate::fit::Preprocess;
use serde::{Deserialize, Serialize};

/// Settings of an RQ-VAE.
///
/// An encoder network maps a row to a code vector, codebooks quantise it level by level, and a decoder network maps the sum of
/// the codewords back to a row. The loss of a batch is
///
/// `reconstruction + quantizer_weight · Σ_levels (codebook + commitment_weight · commitment)`,
///
/// each a mean over the rows of a squared L2: of the row to its reconstruction, of the residual to its codeword with the gradient
/// to the codeword, and the same with the gradient to the residual.
///
/// **Sum or mean over dimensions.** [`Reduction::Mean`] divides a squared L2 by its number of dimensions. What matters is the
/// *ratio* of reconstruction to commitment: where the commitment weighs too much, the encoder makes codes easy to hit by
/// drawing them together, codewords die, and IDs collide. With rows of length 1 in 384 dimensions a mean makes the
/// reconstruction 384 times smaller than the commitment of a sum. The default is a sum for both, of rows scaled to unit variance:
/// the reconstruction then leads, and training does not collapse.
///
/// ```
/// use sememe::fit::rqvae::RqVae;
/// let config = RqVae { hidden: vec![64], code_dims: 16, codebook_sizes: vec![32; 2], ..RqVae::default() };
/// config.validate()?;
/// let lc_rec = RqVae::preset("lc-rec")?;
/// assert_eq!(lc_rec.hidden, [2048, 1024, 512, 256, 128, 64]);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RqVae {
    /// Widths of the encoder's hidden layers, from the rows on; may be empty for a linear encoder.
    pub hidden: Vec<usize>,
    /// Widths of the decoder's hidden layers, from the code vector on; `None` mirrors the encoder's.
    pub decoder_hidden: Option<Vec<usize>>,
    /// Values of a code vector. Ignored where a codec is the start: RQ-KMeans+ keeps the rows' dimensions.
    pub code_dims: usize,
    /// What follows every hidden layer.
    pub activation: Activation,
    /// Whether every hidden layer is normalised before its activation.
    pub layer_norm: bool,
    /// Share of hidden values set to zero while training, in [0, 1).
    pub dropout: f64,
    /// How weights start.
    pub init: NetworkInit,
    /// Principal components that a start from PCA carries at most. More of them lower the first error and use later levels'
    /// codewords less evenly, since what the last components hold is noise that no two items share.
    pub pca_dims: usize,
    /// Codewords of each level, coarse to fine.
    pub codebook_sizes: Vec<usize>,
    /// One codebook for all levels.
    pub shared_codebook: bool,
    /// How codebooks start.
    pub start: CodebookStart,
    /// How gradients pass the quantiser.
    pub estimator: Estimator,
    /// How codewords learn.
    pub codebook: CodebookUpdate,
    /// Reconstruction over the dimensions of a row.
    pub reconstruction: Reduction,
    /// Codebook and commitment terms over the dimensions of a code vector.
    pub quantizer: Reduction,
    /// Factor of all codebook and commitment terms.
    pub quantizer_weight: f64,
    /// Factor of the commitment, β.
    pub commitment_weight: f64,
    /// What the code vector is committed to.
    pub commitment: Commitment,
    /// Entropy of the code vectors.
    pub repulsion: Option<Repulsion>,
    /// Epochs at the start that train the networks without quantisation; codebooks start after them. At most all but the last.
    pub autoencoder_epochs: usize,
    /// Chance that a batch uses its first levels only, a random number of them, in [0, 1).
    pub quantize_dropout: f64,
    /// Restart of codewords that hardly any row chose. Codebooks by k-means see to their own.
    pub restart: Option<Restart>,
    /// Balanced assignment in training.
    pub sinkhorn: Option<Sinkhorn>,
    /// LETTER's diversity loss.
    pub diversity: Option<Diversity>,
    /// LETTER's collaborative alignment; the rows to align with are given beside the data.
    pub alignment: Option<Alignment>,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// Largest L2 norm of a gradient; longer ones are shortened.
    pub clip_norm: Option<f64>,
    /// Rows a batch.
    pub batch_rows: usize,
    /// Passes over the training rows.
    pub epochs: usize,
    /// Share of the rows kept out of training, in [0, 1).
    pub validation: f64,
    /// Stop once the monitored measure has not improved for so many epochs.
    pub patience: Option<usize>,
    /// What the best checkpoint is the best of.
    pub monitor: Monitor,
    /// Epochs from one look at the whole corpus to the next.
    pub health_every: usize,
    /// Steps from one logged step to the next.
    pub log_every: usize,
    /// Steps from one `last` checkpoint to the next, besides those at the end of every epoch.
    pub checkpoint_steps: Option<usize>,
    /// Stop with an error when a level collapses.
    pub stop_on_collapse: bool,
    /// Arithmetic of matrix products in training. Encoding is f32 and exact in any case.
    pub precision: Precision,
    /// What happens to rows before the encoder.
    pub preprocess: Preprocess,
    /// Train on a random sample of at most this many rows.
    pub max_training_rows: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
}

/// How weights start. Biases start at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkInit {
    /// The networks start as PCA and its inverse: pairs of hidden units carry a principal component and its negative through
    /// every layer, the other units start at half the He-normal weights and do not reach the output yet. Needs hidden layers of at
    /// least twice the carried dimensions; where a layer is narrower it carries what it can.
    #[default]
    Pca,
    /// Normal with variance 2/inputs (He et al. 2015).
    He,
    /// Normal with variance 2/(inputs + outputs) (Glorot and Bengio 2010), as LC-Rec.
    Xavier,
    /// Uniform in ±1/√inputs, biases too, as PyTorch's `Linear`.
    Uniform,
}

/// How codebooks start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum CodebookStart {
    /// Residual k-means over the code vectors of at most `rows` training rows.
    KMeans {
        /// Lloyd iterations a level.
        iterations: usize,
        /// Rows that start a codebook; all if there are fewer.
        rows: usize,
    },
    /// Code vectors of random rows, and what they leave over for the levels after the first.
    Rows,
    /// Uniform in ±1/codewords, as LC-Rec without k-means.
    Uniform,
}

/// How gradients pass the quantiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Estimator {
    /// As if the quantiser were the identity (Bengio et al. 2013; van den Oord et al. 2017).
    StraightThrough,
    /// As if each level were the rotation and scaling that carries its input onto its codeword (Fifty et al. 2024).
    Rotation,
    /// Codewords mixed by a softmax over squared L2 with Gumbel noise (Jang et al. 2017); the temperature falls geometrically from
    /// `from` to `to` over the training. Codebooks by gradient only.
    Gumbel {
        /// First temperature.
        from: f64,
        /// Last temperature.
        to: f64,
    },
}

/// How codewords learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum CodebookUpdate {
    /// By the optimiser, through the codebook term.
    Gradient,
    /// As moving averages of their rows; there is no codebook term then.
    Ema {
        /// γ: share of the average that a step keeps, in [0, 1).
        decay: f64,
        /// ε of the Laplace smoothing of counts.
        epsilon: f64,
    },
    /// By Lloyd's iterations over the code vectors of all training rows at the beginning of epochs; within an epoch they stay.
    /// There is no codebook term then. Codewords without rows move to the rows farthest from theirs.
    KMeans {
        /// Iterations a level each time.
        iterations: usize,
        /// Epochs from one time to the next: 1 follows the networks most closely, more takes less time.
        #[serde(default = "one")]
        every: usize,
        /// Epochs at the end in which codebooks stay and only the networks learn.
        settle: usize,
        /// ε of a Sinkhorn that evens the loads out in these iterations, in units of the mean squared L2 to the nearest codeword;
        /// `None` for plain nearest codewords.
        balance: Option<f64>,
    },
}

fn one() -> usize {
    1
}

/// What a commitment term compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commitment {
    /// Every level's input with its codeword, as the published systems do.
    Levels,
    /// The code vector with the sum of its codewords.
    Sum,
}

/// Code vectors driven apart: the Kozachenko–Leonenko estimate of their entropy, `−½·mean ln ‖z_i − z_j‖²` with the nearest other
/// row j of the batch, is to grow (Sablayrolles et al. 2019, KoLeo). It evens out the codes and parts items that would
/// collide, at the price of some reconstruction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repulsion {
    /// Factor of the term, in units of the reconstruction as a mean over dimensions (a sum multiplies it by their number).
    pub weight: f64,
}

impl Default for Repulsion {
    fn default() -> Self {
        Self { weight: 0.35 }
    }
}

/// Over dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Divided by their number.
    Mean,
    /// Summed.
    #[default]
    Sum,
}

/// Restart of codewords. Uses are counted over an interval, so that a codeword of a large codebook that no row of one batch
/// chose is not dead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// A codeword is dead if fewer rows chose it than this share of an equal share.
    pub threshold: f64,
    /// Steps of an interval; `None` is an epoch.
    pub interval_steps: Option<usize>,
    /// Share of the training after which no codeword is restarted any more, so that the last ones settle.
    pub until: f64,
}

impl Default for Restart {
    fn default() -> Self {
        Self { threshold: 0.05, interval_steps: None, until: 0.9 }
    }
}

/// Balanced assignment of a batch by Sinkhorn's algorithm in the log domain. In training only: an ID is the nearest codeword.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sinkhorn {
    /// Levels from 0 that are balanced; `None` is all of them. LC-Rec and MiniOneRec balance the last.
    pub levels: Option<Vec<usize>>,
    /// ε, in the unit of `form`.
    pub epsilon: f64,
    /// Iterations.
    pub iterations: usize,
    /// What ε is relative to.
    pub form: SinkhornForm,
}

impl Default for Sinkhorn {
    fn default() -> Self {
        Self { levels: None, epsilon: 0.05, iterations: 30, form: SinkhornForm::Codebook }
    }
}

/// What a Sinkhorn ε is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkhornForm {
    /// LC-Rec's exact form: half the range of the batch's squared L2, so that one far row changes everyone's ε. LC-Rec: 0.003 and 50
    /// iterations.
    BatchRange,
    /// The mean squared L2 of the level's codewords from their mean, whatever the batch.
    Codebook,
}

/// LETTER's diversity loss: within clusters of codewords, each is drawn to another of its cluster and away from all others.
/// Wang et al. 2024. Codebooks by gradient only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diversity {
    /// Factor of the loss.
    pub weight: f64,
    /// Clusters of codewords.
    pub clusters: usize,
    /// Temperature of the softmax.
    pub temperature: f64,
}

impl Default for Diversity {
    fn default() -> Self {
        Self { weight: 1e-4, clusters: 10, temperature: 1.0 }
    }
}

/// LETTER's collaborative alignment: among the rows of a batch, a quantised row is to be most similar to its own collaborative
/// embedding. Where the two differ in size, a linear map is learned. Wang et al. 2024.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alignment {
    /// Factor of the loss.
    pub weight: f64,
    /// Temperature of the softmax.
    pub temperature: f64,
}

impl Default for Alignment {
    fn default() -> Self {
        Self { weight: 0.1, temperature: 1.0 }
    }
}

/// The optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// The rule.
    pub kind: OptimizerKind,
    /// Learning rate at its highest.
    pub rate: f64,
    /// Factor of the rate for the decoder.
    pub decoder_factor: f64,
    /// Weight decay of the networks; codebooks have none.
    pub decay: f64,
    /// β₁ of Adam.
    pub beta1: f64,
    /// β₂ of Adam.
    pub beta2: f64,
    /// ε of Adam and Adagrad.
    pub epsilon: f64,
    /// Momentum of SGD.
    pub momentum: f64,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            rate: 1e-2,
            decoder_factor: 2.0,
            decay: 0.0,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            momentum: 0.9,
        }
    }
}

/// The optimiser's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    #[serde(rename = "adamw")]
    AdamW,
    /// Adam.
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adagrad.
    Adagrad,
}

/// The learning rate over time, in shares of the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Its shape after the warm-up.
    pub kind: ScheduleKind,
    /// Steps of linear rise from 0.
    pub warmup_steps: usize,
    /// Where cosine and one-cycle end, as a share of the highest.
    pub least: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { kind: ScheduleKind::Cosine, warmup_steps: 20, least: 0.02 }
    }
}

/// The shape of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// As it is.
    Constant,
    /// Falls as half a cosine to the least at the last step.
    Cosine,
    /// Rises as half a cosine from a 25th over the first 30 % of the steps, then falls as half a cosine (Smith 2018, as in
    /// PyTorch). The warm-up is not used.
    OneCycle,
}

/// What the best checkpoint is the best of, measured on the whole corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Monitor {
    /// Highest R² of the full IDs.
    #[default]
    R2,
    /// Highest R² of the validation rows; needs `validation`.
    ValidationR2,
    /// Lowest collision rate; of equal ones the higher R².
    CollisionRate,
}

impl Default for RqVae {
    fn default() -> Self {
        Self {
            hidden: vec![512, 256, 128],
            decoder_hidden: None,
            code_dims: 32,
            activation: Activation::Silu,
            layer_norm: false,
            dropout: 0.0,
            init: NetworkInit::default(),
            pca_dims: 40,
            codebook_sizes: vec![256; 3],
            shared_codebook: false,
            start: CodebookStart::KMeans { iterations: 10, rows: 1 << 16 },
            estimator: Estimator::StraightThrough,
            codebook: CodebookUpdate::KMeans { iterations: 2, every: 3, settle: 3, balance: None },
            reconstruction: Reduction::Sum,
            quantizer: Reduction::Sum,
            quantizer_weight: 1.0,
            commitment_weight: 0.5,
            commitment: Commitment::Sum,
            repulsion: Some(Repulsion::default()),
            autoencoder_epochs: 1,
            quantize_dropout: 0.0,
            restart: None,
            sinkhorn: None,
            diversity: None,
            alignment: None,
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            clip_norm: None,
            batch_rows: 1024,
            epochs: 20,
            validation: 0.0,
            patience: None,
            monitor: Monitor::default(),
            health_every: 1,
            log_every: 50,
            checkpoint_steps: None,
            stop_on_collapse: false,
            precision: Precision::F32,
            preprocess: Preprocess { center: true, scale: true, ..Preprocess::default() },
            max_training_rows: None,
            seed: 0,
        }
    }
}

impl RqVae {
    /// Epochs that the networks train without codebooks.
    pub(super) fn epochs_before_codebooks(&self) -> u64 {
        self.autoencoder_epochs.min(self.epochs.saturating_sub(1)) as u64
    }

    /// Widths of the decoder's hidden layers.
    #[must_use]
    pub fn decoder_widths(&self) -> Vec<usize> {
        self.decoder_hidden.clone().unwrap_or_else(|| self.hidden.iter().rev().copied().collect())
    }
}
