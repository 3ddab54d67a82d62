//! One step laid open, so that tests can hold losses and gradients against an oracle.

use super::super::config::RqVae;
use super::super::layout::{LinearOffsets, carried};
use super::super::session::{Dropout, Session};
use super::super::step::StepInput;
use super::super::trainer::RqVaeTrainer;
use crate::compute::tensor::{TensorBackend, from, whole};
use crate::compute::{Device, on_device};
use crate::data::{Matrix, RowSource};
use crate::error::Result;

/// What is given to the step; everything that a training would draw.
#[derive(Clone, Debug, Default)]
pub struct OpenInput {
    /// Parameters instead of those of the start.
    pub params: Option<Vec<f32>>,
    /// Levels that quantise.
    pub levels: usize,
    /// Gumbel-softmax temperature.
    pub temperature: f32,
    /// Gumbel noise of each level, `[n, k]`.
    pub noise: Vec<Vec<f32>>,
    /// Bits of the dropout masks, layer after layer (each rounded up to whole words), encoder first.
    pub masks: Vec<u32>,
    /// Diversity targets of each level.
    pub targets: Vec<Vec<u32>>,
    /// Learning rate; with `update`, the optimiser's step is taken too.
    pub rate: f64,
    /// Whether parameters move.
    pub update: bool,
}

/// What the step left.
#[derive(Clone, Debug)]
pub struct OpenStep {
    /// Parameters, before or, with `update`, after the step.
    pub params: Vec<f32>,
    /// Their gradients; clipping is not in them.
    pub grads: Vec<f32>,
    /// Loss terms: reconstruction, squared L2 of each level, alignment, diversity, squared gradient norm, repulsion.
    pub losses: Vec<f32>,
    /// Labels of each level.
    pub labels: Vec<Vec<u32>>,
    /// Names, first places and shapes `[outputs, inputs]` of the parameters: `encoder.0.weight`, `decoder.1.bias`, `codebook.0`, ….
    pub places: Vec<(String, usize, [usize; 2])>,
}

/// Runs one step on all rows as one batch.
///
/// # Errors
/// As a training's.
pub fn open_step(
    config: &RqVae,
    rows: &Matrix,
    aligned: Option<&Matrix>,
    device: &Device,
    input: &OpenInput,
) -> Result<OpenStep> {
    on_device!(device, backend => open_on(backend, config, rows, aligned, input))
}

fn open_on<B: TensorBackend>(
    backend: &B,
    config: &RqVae,
    rows: &Matrix,
    aligned: Option<&Matrix>,
    input: &OpenInput,
) -> Result<OpenStep> {
    let mut trainer = RqVaeTrainer::new(RqVae { batch_rows: rows.rows(), ..config.clone() })?;
    let data = trainer.load(backend, rows, aligned.map(|a| a as &dyn RowSource), &())?;
    let layout = trainer.layout()?;
    let principal = match config.init {
        super::super::config::NetworkInit::Pca => Some(data.principal(backend, carried(config, layout.dims))?),
        _ => None,
    };
    trainer.begin(&layout, principal.as_ref());
    let settings = trainer.config.clone();
    let dims = data.aligned.as_ref().map(|a| a.dims);
    let n = rows.rows();
    let mut session = Session::new(backend, &settings, &layout, dims, n)?;
    trainer.upload(&mut session)?;
    let all: Vec<u32> = (0..n as u32).collect();
    let mut x = backend.zeros("rows", n * layout.dims)?;
    if let Some(params) = &input.params {
        backend.write_tensor(&mut session.params, 0, params)?;
        session.codebooks_moved = true;
    } else {
        session.start_codebooks(&data.corpus(), &all, &mut x, settings.seed, &())?;
    }
    backend.write_tensor(&mut x, 0, &data.gather(&all))?;
    let mut h = backend.zeros("aligned rows", n * dims.unwrap_or(0))?;
    if let Some(aligned) = &data.aligned {
        backend.write_tensor(&mut h, 0, &aligned.gather(&all))?;
    }
    let mut masks = backend.index("masks", input.masks.len())?;
    backend.write_index(&mut masks, 0, &input.masks)?;
    for (tensor, targets) in session.scratch.targets.iter_mut().zip(&input.targets) {
        backend.write_index(tensor, 0, targets)?;
    }
    let spread = session.spread()?;
    let scale = (1.0 / (1.0 - settings.dropout)) as f32;
    let step = StepInput {
        x: whole(&x),
        aligned: dims.map(|c| (from(&h, 0), c)),
        n,
        levels: input.levels,
        time: 1,
        codebook_time: 1,
        rate: input.rate,
        temperature: input.temperature,
        dropout: (!input.masks.is_empty()).then_some(Dropout { bits: &masks, first_bit: 0, scale }),
        noise: input.noise.clone(),
        spread: &spread,
    };
    if input.update {
        session.step(&step)?;
    } else {
        session.gradients(&step)?;
    }
    let read = |tensor: &B::Tensor| {
        let mut out = vec![0.0f32; backend.tensor_len(tensor)];
        backend.read_tensor(tensor, 0, &mut out).map(|()| out)
    };
    let labels = session.labels.iter().take(input.levels).map(|index| {
        let mut out = vec![0u32; n];
        backend.read_index(index, 0, &mut out).map(|()| out)
    });
    let mut places = Vec::new();
    let mut name = |network: &str, layers: &[LinearOffsets]| {
        for (i, l) in layers.iter().enumerate() {
            places.push((format!("{network}.{i}.weight"), l.weight, [l.outputs, l.inputs]));
            places.push((format!("{network}.{i}.bias"), l.bias, [l.outputs, 1]));
            if let Some((gain, bias)) = l.norm {
                places.push((format!("{network}.{i}.norm.gain"), gain, [l.outputs, 1]));
                places.push((format!("{network}.{i}.norm.bias"), bias, [l.outputs, 1]));
            }
        }
    };
    name("encoder", &layout.encoder);
    name("decoder", &layout.decoder);
    if let (Some(at), Some(c)) = (layout.projection, dims) {
        places.push(("projection".into(), at, [c, layout.code_dims]));
    }
    for (level, (at, k)) in layout.codebooks.iter().zip(&layout.sizes).enumerate() {
        places.push((format!("codebook.{level}"), *at, [*k, layout.code_dims]));
    }
    Ok(OpenStep {
        params: read(&session.params)?,
        grads: read(&session.grads)?,
        losses: read(&session.losses)?,
        labels: labels.collect::<Result<_>>()?,
        places,
    })
}
