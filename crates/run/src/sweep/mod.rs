//! A grid of RQ-KMeans settings on the same rows: which are worth having?
//!
//! [`Sweep`] is the grid, [`run`] trains and measures each of its cells and keeps what it found in a folder, so that a sweep that was
//! stopped goes on where it was. [`SweepReport::mark_front`] marks the cells that no other is better than in collision rate, R² and
//! tokens at once; [`render_page`] draws them.

mod cell_file;
mod page;
mod run;

pub use cell_file::{CellMeasures, data_hash};
pub use page::render_page;
pub use run::{SweepOptions, run};

use serde::Serialize;

use sememe::fit::{Balance, LoadTarget, Refine, RqKMeans};
use sememe::{Error, Result};

/// A grid of settings: every combination of the axes, on top of the settings that all cells have.
///
/// ```
/// use sememe_run::sweep::Sweep;
/// let sweep = Sweep { levels: vec![2, 3], codebook_sizes: vec![64, 128], ..Sweep::default() };
/// assert_eq!(sweep.cells()?.len(), 4);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// What all cells have; its `codebook_sizes`, `refine` and `balance` are replaced by the axes.
    pub base: RqKMeans,
    /// Iterations of a level, at most; without it the base's, and as many as a cell's balance takes to settle.
    pub iterations: Option<usize>,
    /// Levels.
    pub levels: Vec<usize>,
    /// Codewords, the same at every level of a cell.
    pub codebook_sizes: Vec<usize>,
    /// Rounds of refinement; 0 is none.
    pub refine_rounds: Vec<usize>,
    /// Prefixes a row that refinement keeps.
    pub beam: usize,
    /// How loads are evened out; `None` is not at all.
    pub balance: Vec<Option<Balance>>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            base: RqKMeans::default(),
            iterations: None,
            levels: vec![2, 3, 4],
            codebook_sizes: vec![128, 256, 512],
            refine_rounds: vec![0],
            beam: Refine::default().beam,
            balance: vec![None],
        }
    }
}

/// Cells of a grid at most.
const MOST_CELLS: usize = 10_000;

impl Sweep {
    /// The settings of every cell: by levels, then codebook size, then the other axes, each in the order given.
    ///
    /// # Errors
    /// [`Error::Config`] for an axis without a value or with one twice, 0 levels or more than 64, or more than 10,000 cells.
    pub fn cells(&self) -> Result<Vec<RqKMeans>> {
        let axes = [
            ("levels", &self.levels),
            ("codebook_sizes", &self.codebook_sizes),
            ("refine_rounds", &self.refine_rounds),
        ];
        for (name, values) in axes {
            if values.is_empty() {
                return Err(Error::config(name, "no value to try; give at least 1"));
            }
            if let Some(twice) = (1..values.len()).find(|at| values[..*at].contains(&values[*at])) {
                return Err(Error::config(name, format!("{} is there twice", values[twice])));
            }
        }
        if self.balance.is_empty() {
            return Err(Error::config("balance", "no value to try; give at least 1"));
        }
        if (1..self.balance.len()).any(|at| self.balance[..at].contains(&self.balance[at])) {
            return Err(Error::config("balance", "one way to balance is there twice"));
        }
        if let Some(levels) = self.levels.iter().find(|levels| !(1..=64).contains(*levels)) {
            return Err(Error::config("levels", format!("expected 1 to 64, got {levels}")));
        }
        let count = axes.iter().fold(self.balance.len(), |product, (_, values)| product.saturating_mul(values.len()));
        if count > MOST_CELLS {
            return Err(Error::config("levels", format!("{count} cells, expected at most {MOST_CELLS}")));
        }
        let mut cells = Vec::with_capacity(count);
        for &levels in &self.levels {
            for &size in &self.codebook_sizes {
                for &rounds in &self.refine_rounds {
                    let refine = (rounds > 0).then_some(Refine { rounds, beam: self.beam });
                    cells.extend(self.balance.iter().map(|balance| RqKMeans {
                        codebook_sizes: vec![size; levels],
                        refine,
                        balance: balance.clone(),
                        iterations: self.iterations.unwrap_or_else(|| {
                            let settling = balance.as_ref().map_or(0, Balance::settling_iterations);
                            self.base.iterations.max(settling)
                        }),
                        ..self.base.clone()
                    }));
                }
            }
        }
        Ok(cells)
    }
}

/// Outcome of a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOutcome {
    /// It was trained and measured, now or before.
    Done(CellMeasures),
    /// It was not, and why.
    Failed(String),
}

/// One cell of the grid with its settings and outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Codes an ID: tokens that a language model writes for an item.
    pub levels: usize,
    /// Codewords a level.
    pub codebook_size: usize,
    /// Rounds of refinement.
    pub refine_rounds: usize,
    /// How loads were evened out: `none`, `sinkhorn` or `capacity`.
    pub balance: &'static str,
    /// Codewords of all levels: tokens that its vocabulary grows by.
    pub vocabulary: usize,
    /// Names the cell's file in the folder.
    pub key: String,
    /// Whether the figures were there from an earlier run.
    pub kept: bool,
    /// Whether no other cell is as good in all of collision rate, R² and levels, and better in one.
    pub on_front: bool,
    /// Its outcome.
    pub outcome: CellOutcome,
}

impl Cell {
    pub(super) fn new(config: &RqKMeans, key: String) -> Self {
        Self {
            levels: config.codebook_sizes.len(),
            codebook_size: config.codebook_sizes.first().copied().unwrap_or(0),
            refine_rounds: config.refine.map_or(0, |refine| refine.rounds),
            balance: match config.balance.as_ref().map(|balance| balance.loads) {
                None => "none",
                Some(LoadTarget::Even) => "sinkhorn",
                Some(LoadTarget::Capacity { .. }) => "capacity",
            },
            vocabulary: config.codebook_sizes.iter().sum(),
            key,
            kept: false,
            on_front: false,
            outcome: CellOutcome::Failed("not reached".into()),
        }
    }

    /// Its figures, if it has any.
    #[must_use]
    pub fn figures(&self) -> Option<&CellMeasures> {
        match &self.outcome {
            CellOutcome::Done(figures) => Some(figures),
            CellOutcome::Failed(_) => None,
        }
    }

    /// Its settings in a few characters: `3 × 256`, `3 × 256, refined 10`.
    #[must_use]
    pub fn name(&self) -> String {
        let refined = if self.refine_rounds > 0 { format!(", refined {}", self.refine_rounds) } else { String::new() };
        let balanced = if self.balance == "none" { String::new() } else { format!(", {}", self.balance) };
        format!("{} × {}{refined}{balanced}", self.levels, self.codebook_size)
    }
}

/// What a sweep found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepReport {
    /// Rows of the data.
    pub rows: usize,
    /// Values a row.
    pub dims: usize,
    /// SHA-256 of shape and values.
    pub data: String,
    /// One entry a cell, in the order of [`Sweep::cells`].
    pub cells: Vec<Cell>,
}

impl SweepReport {
    /// Marks the Pareto front: the cells that no other dominates in collision rate (less is better), R² (more) and levels
    /// (fewer). Cells of equal figures do not dominate each other. O(cells²).
    pub fn mark_front(&mut self) {
        let points: Vec<Option<(f64, f64, usize)>> =
            self.cells.iter().map(|cell| cell.figures().map(|f| (f.collision_rate, f.r2, cell.levels))).collect();
        for (cell, point) in self.cells.iter_mut().zip(&points) {
            cell.on_front = point.is_some_and(|p| !points.iter().flatten().any(|other| dominates(*other, p)));
        }
    }
}

/// Whether `a` is as good as `b` in everything and better in something: (collision rate, R², levels).
fn dominates(a: (f64, f64, usize), b: (f64, f64, usize)) -> bool {
    let as_good = a.0 <= b.0 && a.1 >= b.1 && a.2 <= b.2;
    as_good && (a.0 < b.0 || a.1 > b.1 || a.2 < b.2)
}
