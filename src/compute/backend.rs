//! The traits that a device implements: [`Backend`], and the groups of kernels that it is made of.

use super::sizes;
use super::{AssignmentScores, BeamCodes, DeviceInfo, HostPartition, LevelCodes, Metric, PreprocessSteps, SoftLoads};
use crate::data::{MatrixView, RowSource as _};
use crate::error::Result;

/// Where rows, codebooks and partitions are kept, and how values get there and back.
pub trait Storage: Send + Sync {
    /// Resident `[n, d]` rows.
    type Rows: Send + Sync;

    /// Resident `[k, d]` codewords with their weights `w` and biases `b`.
    type Codebook: Send + Sync;

    /// Resident `[n]` labels, best and second scores, and the rows sorted by label once tallied.
    type Partition: Send;

    /// Allocates `[n, d]` rows and fills them: `fill(start, part)` is called for consecutive ranges, in order.
    fn upload_rows(
        &self,
        n: usize,
        d: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>,
    ) -> Result<Self::Rows>;

    /// Reads rows from `start` on into `out`.
    fn read_rows(&self, rows: &Self::Rows, start: usize, out: &mut [f32]) -> Result<()>;

    /// `(n, d)` of resident rows.
    fn shape(&self, rows: &Self::Rows) -> (usize, usize);

    /// New rows: those at `indices`, in their order. The provided form goes through the host.
    fn gather_rows(&self, rows: &Self::Rows, indices: &[u32]) -> Result<Self::Rows> {
        let (_, d) = self.shape(rows);
        self.upload_rows(indices.len(), d, &mut |start, out| {
            for (row, index) in out.chunks_exact_mut(d).zip(&indices[start..]) {
                self.read_rows(rows, *index as usize, row)?;
            }
            Ok(())
        })
    }

    /// Uploads `[k, d]` codewords and derives `w` and `b` for `metric`.
    fn codebook(&self, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Self::Codebook>;

    /// `(k, d)` of a codebook.
    fn codebook_shape(&self, codebook: &Self::Codebook) -> (usize, usize);

    /// Reads the codewords back, `[k, d]`.
    fn read_codebook(&self, codebook: &Self::Codebook) -> Result<Vec<f32>>;

    /// Overwrites single codewords (reseeding) and derives their `w` and `b` again.
    fn set_codewords(&self, codebook: &mut Self::Codebook, changes: &[(u32, Vec<f32>)]) -> Result<()>;

    /// Gives the codewords prices `[k]`, which are added to their `b`. Whatever moves codewords afterwards (`update`,
    /// `set_codewords`) may forget the prices: set them again then. O(k·d).
    fn set_prices(&self, codebook: &mut Self::Codebook, prices: &[f32]) -> Result<()>;

    /// An unassigned partition for `n` rows.
    fn partition(&self, n: usize) -> Result<Self::Partition>;

    /// A partition with given labels (scores zero), not yet tallied.
    fn partition_from(&self, labels: &[u32]) -> Result<Self::Partition>;

    /// Reads labels and scores back.
    fn read_partition(&self, partition: &Self::Partition) -> Result<HostPartition>;
}

/// Rows and codewords: scores, the nearest codeword, what is left.
pub trait AssignmentKernels: Storage {
    /// `[n, k]` squared L2 of every row to every codeword, never below 0. Kernel `distance`. O(n·k·d).
    fn distances(&self, rows: &Self::Rows, codebook: &Self::Codebook) -> Result<Vec<f32>>;

    /// Nearest codeword of every row with best and second score; N×K is never written. Kernel `assign`. O(n·k·d).
    fn assign(
        &self,
        rows: &Self::Rows,
        codebook: &Self::Codebook,
        partition: &mut Self::Partition,
    ) -> Result<AssignmentScores>;

    /// As [`assign`](Self::assign), and each codeword's share of the rows if every row were spread over the codewords by
    /// `exp(−s_j/epsilon)`, normalised; N×K is never written. Kernels `assign` and `loads`. O(n·k·d).
    ///
    /// It is what an iteration of Sinkhorn's algorithm needs: with prices λ, the new ones are `λ_j + ε·ln(loads_j/wanted_j)`.
    fn loads(
        &self,
        rows: &Self::Rows,
        codebook: &Self::Codebook,
        epsilon: f32,
        partition: &mut Self::Partition,
    ) -> Result<SoftLoads>;

    /// Indices of the `count` rows with the largest squared L2 to their codeword (row's norm and best score), largest first,
    /// the lowest index on a tie. Rare, so it may read back O(n).
    fn farthest(&self, rows: &Self::Rows, partition: &Self::Partition, count: usize) -> Result<Vec<u32>>;

    /// `rows ← rows − codewords[label]`, in place. Kernel `residual`. O(n·d).
    fn residual(&self, rows: &mut Self::Rows, codebook: &Self::Codebook, partition: &Self::Partition) -> Result<()>;
}

/// Rows by label: counts, sums and means.
pub trait CentroidKernels: Storage {
    /// Counts the labels below `k` and sorts the rows by label, stably. Returns `[k]` counts. Kernel `tally`. O(n + k).
    fn tally(&self, partition: &mut Self::Partition, k: usize) -> Result<Vec<u32>>;

    /// Moves codewords towards the mean of their rows: `c_j ← c_j + weights[j]·(mean_j − c_j)`, on the device, in row
    /// order; codewords without rows stay. `weights[j] = 1` is Lloyd's update (the mean itself, exactly). The partition
    /// must be tallied. Kernel `centroid`. O(n·d).
    fn update(
        &self,
        rows: &Self::Rows,
        partition: &mut Self::Partition,
        codebook: &mut Self::Codebook,
        weights: &[f32],
    ) -> Result<()>;

    /// `[k, d]` sums of the rows of each label, in row order, read back. The partition must be tallied. Kernel
    /// `centroid`. O(n·d).
    fn centroid_sums(&self, rows: &Self::Rows, partition: &mut Self::Partition, k: usize) -> Result<Vec<f64>>;
}

/// Norms, sums and projections of rows.
pub trait RowKernels: Storage {
    /// Divides every row by its L2 norm, in place (a zero row stays zero), and returns the norms `[n]`. Kernel
    /// `normalize`. O(n·d).
    fn normalize(&self, rows: &mut Self::Rows) -> Result<Vec<f32>>;

    /// `[n]` squared L2 norms. Kernel `row_norm`. O(n·d).
    fn row_norms(&self, rows: &Self::Rows) -> Result<Vec<f32>>;

    /// Sum of all squared values, in a fixed order. Kernel `row_norm`. O(n·d).
    fn sum_squares(&self, rows: &Self::Rows) -> Result<f64>;

    /// `[d]` column sums, in a fixed order. Kernel `column_sum`. O(n·d).
    fn column_sums(&self, rows: &Self::Rows) -> Result<Vec<f64>>;

    /// `[d, d]` sums of products of centred rows, `Σ (x − mean)(x − mean)ᵀ`. Kernel `covariance`. O(n·d²).
    fn scatter(&self, rows: &Self::Rows, mean: &[f32]) -> Result<Vec<f64>>;

    /// New rows `[n, count]`: columns `first..first + count`. Kernel `restride`. O(n·count).
    fn columns(&self, rows: &Self::Rows, first: usize, count: usize) -> Result<Self::Rows>;

    /// New rows `[n, p]` = `(x − mean) · componentsᵀ`, each output scaled: `components` is `[p, d]`, `scales` is `[p]`. An
    /// empty `components` means the identity (`p = d`). Kernel `project`. O(n·p·d).
    fn project(&self, rows: &Self::Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Result<Self::Rows>;
}

/// k-means++ starts.
pub trait SeedingKernels: Storage {
    /// State of a k-means++ start over some rows.
    type Seeding: Send;

    /// Starts k-means++ over `rows`: the squared L2 of every row to the codewords chosen so far is infinite.
    fn seeding(&self, rows: &Self::Rows) -> Result<Self::Seeding>;

    /// Draws rows with probability proportional to their squared L2 to the chosen codewords (uniformly before the first):
    /// `uniforms` in [0, 1), one a draw. Deterministic in them.
    fn seeding_draw(&self, seeding: &Self::Seeding, uniforms: &[f64]) -> Result<Vec<u32>>;

    /// Computes the squared L2 of every row to `candidates` (row indices, at most 64), keeps the `[n, t]` table on the
    /// device, and returns for each candidate the sum that would remain if it were chosen. Kernel `seeding`. O(n·t·d).
    fn seeding_try(&self, rows: &Self::Rows, seeding: &mut Self::Seeding, candidates: &[u32]) -> Result<Vec<f64>>;

    /// Chooses candidate `slot` of the last `seeding_try` and returns the sums again, for all its slots. O(n·t).
    fn seeding_accept(&self, seeding: &mut Self::Seeding, slot: usize) -> Result<Vec<f64>>;
}

/// One device's kernels. Shapes: `n` rows, `d` dimensions, `k` codewords, all row-major `f32`.
///
/// Every reduction has a fixed order, so the same calls on the same device give the same bits, at any number of
/// threads. Float results of two backends agree within rounding; integer results of `tally` and `centroid_*`
/// agree exactly given the same labels.
pub trait Backend: AssignmentKernels + CentroidKernels + RowKernels + SeedingKernels {
    /// What this device is.
    fn info(&self) -> DeviceInfo;

    /// η such that a computed dot product of `d` terms is within `η·‖a‖·‖b‖ + d·2⁻¹²⁶` of the true one. Derived in
    /// [`super::bound`].
    fn dot_error(&self, dims: usize) -> f64;

    /// The same for the dot products of [`project`](RowKernels::project).
    fn projection_error(&self, dims: usize) -> f64 {
        self.dot_error(dims)
    }

    /// u such that one computed `+ − ×` is within a factor 1 ± u of the true one.
    fn unit_roundoff(&self) -> f64;

    /// Greedy codes of all levels: assign, subtract, next level; consumes the rows' values. With `normalize` every level's
    /// input is divided by its norm first.
    ///
    /// The provided form calls the kernels above one after the other; a backend may fuse them.
    fn assign_levels(
        &self,
        rows: &mut Self::Rows,
        codebooks: &[Self::Codebook],
        normalize: bool,
    ) -> Result<LevelCodes> {
        let (n, levels) = (self.shape(rows).0, codebooks.len());
        let mut out = LevelCodes::zeros(n, levels);
        let mut partition = self.partition(n)?;
        for (level, codebook) in codebooks.iter().enumerate() {
            let norms = if normalize {
                self.normalize(rows)?
            } else {
                self.row_norms(rows)?.into_iter().map(f32::sqrt).collect()
            };
            self.assign(rows, codebook, &mut partition)?;
            if level + 1 < levels {
                self.residual(rows, codebook, &partition)?;
            }
            let host = self.read_partition(&partition)?;
            for (i, norm) in norms.into_iter().enumerate() {
                out.codes[i * levels + level] = host.labels[i];
                out.margin[i * levels + level] = host.second[i] - host.best[i];
                out.norm[i * levels + level] = norm;
            }
        }
        Ok(out)
    }

    /// Codes of all levels, each of which looks at columns of its own: as many as its codewords have values, side by side in the order of
    /// the levels.
    ///
    /// The provided form calls the kernels above one after the other; a backend may fuse them.
    fn assign_columns(&self, rows: &Self::Rows, codebooks: &[Self::Codebook]) -> Result<LevelCodes> {
        let ((n, d), levels) = (self.shape(rows), codebooks.len());
        sizes::side_by_side(d, codebooks.iter().map(|b| self.codebook_shape(b).1))?;
        let mut out = LevelCodes::zeros(n, levels);
        let mut first = 0;
        for (level, codebook) in codebooks.iter().enumerate() {
            let (_, width) = self.codebook_shape(codebook);
            let mut own = self.columns(rows, first, width)?;
            first += width;
            let found = self.assign_levels(&mut own, std::slice::from_ref(codebook), false)?;
            for i in 0..n {
                let at = i * levels + level;
                (out.codes[at], out.margin[at], out.norm[at]) = (found.codes[i], found.margin[i], found.norm[i]);
            }
        }
        Ok(out)
    }

    /// Uploads host rows and preprocesses them; also returns the norms before `normalize_rows` (empty without it).
    fn prepare(&self, rows: MatrixView<'_>, steps: &PreprocessSteps<'_>) -> Result<(Self::Rows, Vec<f32>)> {
        let mut resident = self.upload_rows(rows.rows(), rows.dims(), &mut |start, out| rows.read_rows(start, out))?;
        if !steps.is_identity() {
            resident = self.project(&resident, steps.mean, steps.components, steps.scales)?;
        }
        let norms = if steps.normalize_rows { self.normalize(&mut resident)? } else { Vec::new() };
        Ok((resident, norms))
    }

    /// Codes of host rows, greedily: upload, preprocess, all levels. A backend may fuse the steps.
    fn encode_rows(
        &self,
        rows: MatrixView<'_>,
        steps: &PreprocessSteps<'_>,
        codebooks: &[Self::Codebook],
    ) -> Result<LevelCodes> {
        let (mut resident, entry_norm) = self.prepare(rows, steps)?;
        if steps.product {
            return Ok(LevelCodes { entry_norm, ..self.assign_columns(&resident, codebooks)? });
        }
        Ok(LevelCodes { entry_norm, ..self.assign_levels(&mut resident, codebooks, steps.normalize_residuals)? })
    }

    /// Codes by beam search of `width` prefixes under squared L2. The cost of a prefix is
    /// `Σ_l (½‖c_l‖² − x·c_l) + Σ_{l<m} c_l·c_m`; the smallest costs stay, lexicographically smaller codes first on a tie.
    /// `gram[m]` is `[k_m, Σ_{l<m} k_l]`: the dot products of level m's codewords with all those before, rounded from f64.
    /// Kernel `beam`. O(n·Σk·(d + width·levels)).
    fn beam(
        &self,
        rows: &Self::Rows,
        codebooks: &[Self::Codebook],
        gram: &[Vec<f32>],
        width: usize,
    ) -> Result<BeamCodes>;
}
