//! Steps to be held against the oracle: rows, parameters and draws away from every boundary, run on every device.

use super::open_step::{OpenInput, OpenStep, open_step};
use super::oracle::{Level, Outcome, Problem};
use crate::support::{is_close, wide};
use sememe::fit::rqvae::{CodebookStart, CodebookUpdate, Estimator, NetworkInit, RqVae};
use sememe::rng::{Stream, stream};
use sememe::{Device, Matrix, Preprocess};
use std::collections::HashSet;

/// A small network, and codebooks that learn by gradient; rows reach it as they are.
pub fn base() -> RqVae {
    RqVae {
        hidden: vec![9, 7],
        code_dims: 4,
        init: NetworkInit::He,
        codebook_sizes: vec![6, 5, 4],
        start: CodebookStart::Rows,
        codebook: CodebookUpdate::Gradient,
        quantizer_weight: 0.8,
        commitment_weight: 0.35,
        repulsion: None,
        preprocess: Preprocess::default(),
        ..RqVae::default()
    }
}

/// A case: settings, rows, dimensions, levels in use, dimensions of the aligned rows.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub config: RqVae,
    pub n: usize,
    pub d: usize,
    pub levels: usize,
    pub aligned: Option<usize>,
}

/// A case's numbers, and what the oracle says of them.
pub struct Prepared {
    pub name: &'static str,
    pub problem: Problem,
    pub params: Vec<f32>,
    pub want: Outcome,
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn normals(random: &mut Stream, count: usize, scale: f64) -> Vec<f64> {
    (0..count).map(|_| f64::from((scale * random.normal()) as f32)).collect()
}

/// The CPU and, where the build has one and `SEMEME_GPU` allows it, a GPU with checked shaders and poisoned buffers.
pub fn devices() -> Vec<Device> {
    #[cfg_attr(not(feature = "gpu"), allow(unused_mut, reason = "a GPU would be added"))]
    let mut devices = vec![Device::cpu()];
    #[cfg(feature = "gpu")]
    {
        let options = sememe::compute::gpu::Options { checked: true, poison: true, ..Default::default() };
        devices.extend(crate::support::open(options).map(|gpu| Device::Gpu(std::sync::Arc::new(gpu))));
    }
    devices
}

/// Holds `got` to `want`, tensor by tensor: every value within `rtol` of the tensor's largest; a tensor of zeros exactly. On top
/// comes one ulp of the values in `beside`, where numbers are differences of such. Returns the largest share that was off.
pub fn compare(
    places: &[(String, usize, [usize; 2])],
    (got, want): (&[f64], &[f64]),
    rtol: f64,
    beside: Option<&[f64]>,
) -> Result<f64, String> {
    let mut worst = 0.0f64;
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    for (name, at, [rows, columns]) in places {
        let run = *at..at + rows * columns;
        let largest = want[run.clone()].iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for i in run {
            let ulp = beside.map_or(0.0, |w| w[i].abs() * f64::from(f32::EPSILON));
            let off = (got[i] - want[i]).abs() / largest;
            worst = worst.max(off);
            if !is_close(got[i], want[i], rtol * largest + ulp, 0.0) {
                return Err(format!("{name}[{}]: got {}, want {}, {off:.1e} of the largest", i - at, got[i], want[i]));
            }
        }
    }
    Ok(worst)
}

impl Case {
    pub fn new(name: &'static str, config: RqVae) -> Self {
        let levels = config.codebook_sizes.len();
        Case { name, config, n: 14, d: 7, levels, aligned: None }
    }

    /// The first draw of numbers that is away from every boundary.
    #[track_caller]
    pub fn prepare(&self) -> Prepared {
        let places = self.places();
        for seed in 0..200 {
            let prepared = self.draw(seed, places.clone());
            if prepared.is_clear() {
                prepared.assert_informative();
                return prepared;
            }
        }
        panic!("{}: no draw away from all boundaries", self.name);
    }

    /// The library's own start says what lies where; every parameter has a place, and one only.
    #[track_caller]
    fn places(&self) -> Vec<(String, usize, [usize; 2])> {
        let problem = self.empty(Vec::new(), &mut stream(0, "places", 0));
        let input = OpenInput { levels: 0, ..OpenInput::default() };
        let start = open_step(&self.config, &problem.rows(), problem.embeddings().as_ref(), &Device::cpu(), &input);
        let start = start.unwrap_or_else(|why| panic!("{}: {why}", self.name));
        let mut owners = vec![0; start.params.len()];
        for (name, at, [rows, columns]) in &start.places {
            let shared = self.config.shared_codebook && name.starts_with("codebook") && name != "codebook.0";
            owners[*at..at + rows * columns].iter_mut().for_each(|o| *o += usize::from(!shared));
        }
        assert!(owners.iter().all(|o| *o == 1), "{}: places overlap or leave gaps", self.name);
        start.places
    }

    fn empty(&self, places: Vec<(String, usize, [usize; 2])>, random: &mut Stream) -> Problem {
        let (n, d, config) = (self.n, self.d, self.config.clone());
        let mut bits = 0;
        for width in config.hidden.iter().chain(&config.decoder_widths()) {
            bits += (n * width).div_ceil(32) * 32;
        }
        let mut word = || (0..32).fold(0, |w, bit| w | u32::from(random.uniform() >= config.dropout) << bit);
        let masks = if config.dropout > 0.0 { (0..bits / 32).map(|_| word()).collect() } else { Vec::new() };
        let gumbel = matches!(config.estimator, Estimator::Gumbel { .. });
        let sizes = config.codebook_sizes.clone();
        let mut draw = || f64::from(-(-(1.0 - random.uniform()).ln()).ln() as f32);
        let noise = sizes.iter().filter(|_| gumbel).map(|k| (0..n * k).map(|_| draw()).collect()).collect();
        let mut other = |j: u32, k: u64| ((u64::from(j) + 1 + random.below(k - 1)) % k) as u32;
        let targets = sizes.iter().map(|k| (0..*k as u32).map(|j| other(j, *k as u64)).collect());
        let targets = if config.diversity.is_some() { targets.collect() } else { Vec::new() };
        let x = normals(random, n * d, 1.0);
        let aligned = self.aligned.map(|c| (normals(random, n * c, 0.9), c));
        Problem { config, n, d, x, aligned, levels: self.levels, temperature: 0.75, noise, masks, targets, places }
    }

    fn draw(&self, seed: u64, places: Vec<(String, usize, [usize; 2])>) -> Prepared {
        let mut random = stream(seed, "gradients", 0);
        let problem = self.empty(places, &mut random);
        let len = problem.places.iter().map(|(_, at, [o, i])| at + o * i).max().unwrap_or(0);
        let mut params = vec![0.0; len];
        for (name, at, [outputs, inputs]) in &problem.places {
            let scale = if name.ends_with("weight") { (1.5 / *inputs as f64).sqrt() } else { 0.3 };
            let middle = if name.ends_with("gain") { 1.0 } else { 0.0 };
            let values = normals(&mut random, outputs * inputs, scale).into_iter();
            params.splice(*at..at + outputs * inputs, values.map(|v| f64::from((v + middle) as f32)));
        }
        // Codewords near the rows that meet them, so that several are chosen.
        let z = problem.forward(&problem.network("encoder"), &params, &problem.x, &mut 0).output;
        let (e, mut last) = (problem.e(), usize::MAX);
        for level in 0..self.config.codebook_sizes.len() {
            let (at, k) = problem.codebook(level);
            if at != last {
                let plain = Problem { config: base_quantiser(&self.config), ..problem.clone() };
                let residual = plain
                    .quantise(&params, &z, level)
                    .0
                    .pop()
                    .map_or_else(|| z.clone(), |l| l.residual.iter().zip(&l.q).map(|(r, q)| r - q).collect());
                let size = (residual.iter().map(|v| v * v).sum::<f64>() / residual.len() as f64).sqrt();
                for j in 0..k {
                    let row = &residual[j * self.n / k * e..][..e];
                    let noise = normals(&mut random, e, 0.4 * size);
                    // One codebook for all levels needs short codewords too.
                    let share = if self.config.shared_codebook { [1.0, 0.5, 0.3][j % 3] } else { 1.0 };
                    let codeword = (0..e).map(|c| f64::from((share * (0.8 * row[c] + noise[c])) as f32));
                    params.splice(at + j * e..at + (j + 1) * e, codeword);
                }
            }
            last = at;
        }
        let want = problem.solve(&params);
        Prepared { name: self.name, problem, params: narrow(&params), want }
    }
}

/// Without what the start of codebooks need not know.
fn base_quantiser(config: &RqVae) -> RqVae {
    RqVae { code_dims: config.code_dims, ..base() }
}

impl Problem {
    fn rows(&self) -> Matrix {
        Matrix::from_vec(self.n, self.d, narrow(&self.x)).expect("rows")
    }

    fn embeddings(&self) -> Option<Matrix> {
        self.aligned.as_ref().map(|(h, c)| Matrix::from_vec(self.n, *c, narrow(h)).expect("aligned rows"))
    }
}

impl Prepared {
    /// Rounding must not decide a label, a neighbour or a side of an activation's kink; and several codewords are in use.
    fn is_clear(&self) -> bool {
        let least = if self.problem.config.sinkhorn.is_some() { 2e-2 } else { 1e-3 };
        let neighbours = self.problem.config.repulsion.is_none() || self.want.neighbour_margin > 1e-3;
        let different = |level: &Level| level.labels.iter().collect::<HashSet<_>>().len();
        let clear = |level: &Level| level.margin > least && different(level) >= 3;
        neighbours && self.want.kink > 2e-4 && self.want.levels.iter().all(clear)
    }

    /// Every tensor that learns has a gradient; the others have none at all.
    #[track_caller]
    fn assert_informative(&self) {
        let (problem, config) = (&self.problem, &self.problem.config);
        for (name, at, [rows, columns]) in &problem.places {
            let largest = self.want.grads[*at..at + rows * columns].iter().fold(0.0f64, |m, g| m.max(g.abs()));
            let unused = name.strip_prefix("codebook.").map(|l| l.parse().expect("a level")).is_some_and(|l: usize| {
                config.codebook != CodebookUpdate::Gradient || (l >= problem.levels && !config.shared_codebook)
            });
            let silent = problem.levels == 0 && !name.contains("coder") || unused;
            assert!(if silent { largest == 0.0 } else { largest > 1e-4 }, "{}: {name} up to {largest}", self.name);
        }
    }

    pub fn wide(&self) -> Vec<f64> {
        wide(&self.params)
    }

    #[track_caller]
    pub fn run(&self, device: &Device, rate: Option<f64>) -> OpenStep {
        let p = &self.problem;
        let input = OpenInput {
            params: Some(self.params.clone()),
            levels: p.levels,
            temperature: p.temperature as f32,
            noise: p.noise.iter().map(|v| narrow(v)).collect(),
            masks: p.masks.clone(),
            targets: p.targets.clone(),
            rate: rate.unwrap_or(0.0),
            update: rate.is_some(),
        };
        open_step(&p.config, &p.rows(), p.embeddings().as_ref(), device, &input)
            .unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }
}
