//! Settings of published systems, as their sources have them.

use super::config::{
    CodebookStart, CodebookUpdate, Commitment, NetworkInit, Optimizer, OptimizerKind, Reduction, Restart, RqVae,
    Schedule, ScheduleKind, Sinkhorn, SinkhornForm,
};
use crate::compute::tensor::Activation;
use crate::error::{Error, Result};
use crate::fit::Preprocess;

/// Names that [`RqVae::preset`] knows; the first is the default.
pub const PRESETS: [&str; 5] = ["sememe", "tiger", "lc-rec", "animind", "residual-vq"];

impl RqVae {
    /// The settings of a published system by its name, one of [`PRESETS`]; `sememe` are the defaults.
    ///
    /// `tiger`: Rajput et al. 2023. `lc-rec`: Zheng et al. 2024, also MiniOneRec's. `animind`: eight levels over one codebook.
    /// `residual-vq`: vector-quantize-pytorch's ResidualVQ between one hidden layer each. They reproduce networks, losses,
    /// optimisers and quantisers; where a system restarts codewords on every batch, here an interval's uses decide.
    ///
    /// # Errors
    /// [`Error::Config`] for another name, with the list.
    pub fn preset(name: &str) -> Result<Self> {
        // What the published systems share, where the defaults differ.
        let plain = Self {
            init: NetworkInit::Uniform,
            reconstruction: Reduction::Mean,
            quantizer: Reduction::Mean,
            commitment_weight: 0.25,
            commitment: Commitment::Levels,
            repulsion: None,
            autoencoder_epochs: 0,
            activation: Activation::Relu,
            preprocess: Preprocess::default(),
            schedule: Schedule { kind: ScheduleKind::Constant, warmup_steps: 0, ..Schedule::default() },
            codebook: CodebookUpdate::Gradient,
            ..Self::default()
        };
        let adam = Optimizer {
            kind: OptimizerKind::Adam,
            rate: 1e-3,
            decoder_factor: 1.0,
            beta2: 0.999,
            ..Optimizer::default()
        };
        let adamw = Optimizer { kind: OptimizerKind::AdamW, decay: 0.01, ..adam };
        match name {
            "sememe" => Ok(Self::default()),
            "tiger" => Ok(Self {
                start: CodebookStart::KMeans { iterations: 10, rows: 1024 },
                optimizer: Optimizer { kind: OptimizerKind::Adagrad, rate: 0.4, epsilon: 1e-10, ..adam },
                batch_rows: 1024,
                epochs: 20_000,
                health_every: 100,
                ..plain
            }),
            "lc-rec" => Ok(Self {
                hidden: vec![2048, 1024, 512, 256, 128, 64],
                init: NetworkInit::Xavier,
                codebook_sizes: vec![256; 4],
                quantizer_weight: 0.25,
                start: CodebookStart::KMeans { iterations: 100, rows: 1024 },
                sinkhorn: Some(Sinkhorn {
                    levels: Some(vec![3]),
                    epsilon: 0.003,
                    iterations: 50,
                    form: SinkhornForm::BatchRange,
                }),
                optimizer: Optimizer { decay: 1e-4, ..adamw },
                batch_rows: 1024,
                epochs: 5000,
                health_every: 50,
                ..plain
            }),
            "animind" => Ok(Self {
                hidden: vec![1024],
                code_dims: 256,
                activation: Activation::Gelu,
                codebook_sizes: vec![2048; 8],
                shared_codebook: true,
                codebook: CodebookUpdate::Ema { decay: 0.99, epsilon: 1e-5 },
                restart: Some(Restart { until: 1.0, ..Restart::default() }),
                optimizer: Optimizer { rate: 4e-5, beta1: 0.5, beta2: 0.9, ..adam },
                schedule: Schedule { kind: ScheduleKind::Constant, warmup_steps: 1000, ..Schedule::default() },
                batch_rows: 256,
                epochs: 40,
                validation: 0.05,
                ..plain
            }),
            "residual-vq" => Ok(Self {
                hidden: vec![512],
                code_dims: 512,
                activation: Activation::Gelu,
                codebook_sizes: vec![256; 4],
                start: CodebookStart::KMeans { iterations: 10, rows: 256 },
                codebook: CodebookUpdate::Ema { decay: 0.999, epsilon: 1e-5 },
                restart: Some(Restart { until: 1.0, ..Restart::default() }),
                optimizer: adamw,
                batch_rows: 256,
                epochs: 20,
                ..plain
            }),
            other => Err(Error::config(
                "preset",
                format!("there is no preset `{other}`; there are {}", PRESETS.map(|p| format!("`{p}`")).join(", ")),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_none_is_another() {
        let all: Vec<RqVae> = PRESETS.iter().map(|name| RqVae::preset(name).unwrap()).collect();
        for (i, preset) in all.iter().enumerate() {
            preset.validate().unwrap_or_else(|e| panic!("{}: {e}", PRESETS[i]));
            assert!(all[..i].iter().all(|other| other != preset));
        }
        assert!(RqVae::preset("nobody").unwrap_err().to_string().contains("`lc-rec`"));
    }
}
