//! RQ-VAE training on a file, one JSON line a configuration, for `benches/peers/rqvae.py`; a small run without arguments.
//!
//! usage: cargo bench -p sememe --bench rqvae -- --sweep [--small]     rows/s of training steps on the GPU, batches 256 to 20480
//!        cargo bench -p sememe --bench rqvae -- DATA.npy [--config semantic-id|residual-vq|animind] [--epochs N] [--seed N] [--health-last]
//!                                    [--precision f32|bf16]

use sememe::fit::rqvae::{CodebookStart, CodebookUpdate, NetworkInit, Optimizer, Repulsion, RqVae, RqVaeTrainer};
use sememe::{Device, Event, Matrix, Observer, RowSource as _};
use std::sync::Mutex;
use std::time::Instant;

/// Rates of the epochs, and when the last step was taken.
#[derive(Default)]
struct Rates(Mutex<Vec<f64>>, Mutex<Option<Instant>>);

impl Observer for Rates {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Epoch(report) => {
                self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(report.rows_per_second);
                if let (Some(h), true) = (&report.health, std::env::var_os("SEMEME_VERBOSE").is_some()) {
                    let levels: Vec<_> = h.levels.iter().map(|l| (l.perplexity.round(), l.utilisation)).collect();
                    eprintln!(
                        "{} loss {:.4} R2 {:.4} collisions {:.4} {levels:?} restarted {} {:.0} rows/s",
                        report.epoch,
                        report.losses.total,
                        h.r2,
                        h.collision_rate,
                        report.restarted,
                        report.rows_per_second
                    );
                }
            }
            Event::Advance { .. } => {
                *self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
            }
            Event::Note(note) => eprintln!("note: {note}"),
            _ => {}
        }
    }
}

fn config(name: &str) -> RqVae {
    match name {
        // The layers and levels of each peer, with this crate's own recipe.
        "semantic-id" => RqVae::default(),
        "residual-vq" => RqVae {
            hidden: vec![512],
            code_dims: 512,
            codebook_sizes: vec![256; 4],
            batch_rows: 256,
            start: CodebookStart::KMeans { iterations: 3, rows: 2048 },
            codebook: CodebookUpdate::KMeans { iterations: 1, every: 8, settle: 4, balance: Some(0.3) },
            repulsion: Some(Repulsion { weight: 0.08 }),
            optimizer: Optimizer { rate: 3e-3, decoder_factor: 1.5, ..Optimizer::default() },
            ..RqVae::default()
        },
        other => RqVae::preset(other).unwrap_or_else(|e| panic!("{e}")),
    }
}

/// Rows a second of plain training steps (the network of `benches/peers/gpu_rqvae.py`) on the GPU, batch by batch.
fn sweep(small: bool) {
    let device = match Device::gpu() {
        Ok(device) => device,
        Err(error) => return println!("RESULT rq-vae: no GPU, {error}"),
    };
    let info = device.info();
    println!("ADAPTER {} ({}, {})", info.name, info.api, info.driver);
    for batch in if small { vec![64, 256] } else { vec![256, 1024, 4096, 20_480] } {
        let n = batch * if small { 2 } else { 16 };
        let mut random = sememe::rng::stream(2, "sweep", batch as u64);
        let values = (0..n * 384).map(|_| random.normal() as f32).collect();
        let rows = Matrix::from_vec(n, 384, values).unwrap_or_else(|e| panic!("{e}"));
        let config = RqVae {
            codebook: CodebookUpdate::Gradient,
            codebook_sizes: if small { vec![32; 3] } else { vec![256; 3] },
            hidden: if small { vec![32, 16] } else { vec![512, 256, 128] },
            start: CodebookStart::Rows,
            init: NetworkInit::He,
            repulsion: None,
            autoencoder_epochs: 0,
            batch_rows: batch,
            epochs: if small { 2 } else { 9 },
            health_every: 100,
            log_every: 1000,
            ..RqVae::default()
        };
        let rates = Rates::default();
        let mut trainer = RqVaeTrainer::new(config).unwrap_or_else(|e| panic!("{e}"));
        trainer.run(&rows, None, &device, &rates, &mut ()).unwrap_or_else(|e| panic!("{e}"));
        let mut rates = rates.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The first epoch compiles.
        let mut rates = rates.split_off(1);
        rates.sort_by(f64::total_cmp);
        println!("RESULT rq-vae step, batch {batch}, f32: {:.0} rows/s (median epoch)", rates[rates.len() / 2]);
    }
}

fn main() {
    if std::env::args().any(|a| a == "--sweep") {
        return sweep(std::env::args().any(|a| a == "--small"));
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench" && a != "--test").collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let name = option("--config").map_or("semantic-id", String::as_str);
    let mut settings = config(name);
    let rows = match args.first().filter(|a| !a.starts_with("--")) {
        Some(path) => {
            let source = sememe::io::open(std::path::Path::new(path), &sememe::io::OpenOptions::default())
                .unwrap_or_else(|e| panic!("{e}"));
            let mut rows = Matrix::zeros(source.rows(), source.dims()).unwrap_or_else(|e| panic!("{e}"));
            source.read_rows(0, rows.as_mut_slice()).unwrap_or_else(|e| panic!("{e}"));
            rows
        }
        None => {
            settings = RqVae {
                hidden: vec![32],
                code_dims: 8,
                codebook_sizes: vec![16; 2],
                batch_rows: 64,
                epochs: 2,
                ..settings
            };
            let mut random = sememe::rng::stream(1, "bench", 0);
            let values = (0..512 * 24).map(|_| random.normal() as f32).collect();
            Matrix::from_vec(512, 24, values).unwrap_or_else(|e| panic!("{e}"))
        }
    };
    if let Some(epochs) = option("--epochs") {
        settings.epochs = epochs.parse().unwrap_or_else(|e| panic!("--epochs: {e}"));
    }
    if args.iter().any(|a| a == "--health-last") {
        // As the peers, which do not look at the corpus while they train.
        settings.health_every = settings.epochs;
    }
    if let Some(seed) = option("--seed") {
        settings.seed = seed.parse().unwrap_or_else(|e| panic!("--seed: {e}"));
    }
    if let Some(precision) = option("--precision") {
        let value = serde_json::Value::String(precision.clone());
        settings.precision = serde_json::from_value(value).unwrap_or_else(|e| panic!("--precision: {e}"));
    }
    if let Ok(json) = std::env::var("SEMEME_SET") {
        let mut value = serde_json::to_value(&settings).unwrap_or_else(|e| panic!("{e}"));
        let patch: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}"));
        if let (Some(map), serde_json::Value::Object(patch)) = (value.as_object_mut(), patch) {
            map.extend(patch);
        }
        settings = serde_json::from_value(value).unwrap_or_else(|e| panic!("{e}"));
    }
    let rates = Rates::default();
    let begun = Instant::now();
    let mut trainer = RqVaeTrainer::new(settings.clone()).unwrap_or_else(|e| panic!("{e}"));
    trainer.run(&rows, None, &Device::cpu(), &rates, &mut ()).unwrap_or_else(|e| panic!("{e}"));
    let with_last_look = begun.elapsed().as_secs_f64();
    // As the peers are timed: to the last step, without what is measured of the fitted model.
    let seconds = rates
        .1
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .map_or(with_last_look, |t| (t - begun).as_secs_f64());
    let health = trainer.health().unwrap_or_else(|| panic!("a finished training has looked at its corpus"));
    let mut rates = rates.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    rates.sort_by(f64::total_cmp);
    let line = serde_json::json!({
        "peer": format!("sememe {name}"), "rows": rows.rows(), "dims": rows.dims(), "epochs": settings.epochs,
        "precision": settings.precision, "train_s": seconds, "train_and_look_s": with_last_look, "rows_per_s": rows.rows() as f64 * settings.epochs as f64 / seconds,
        "step_rows_per_s": rates[rates.len() / 2],
        "r2": health.r2, "collision_rate": health.collision_rate,
        "perplexity": health.levels.iter().map(|l| l.perplexity).collect::<Vec<_>>(),
        "utilisation": health.levels.iter().map(|l| l.utilisation).collect::<Vec<_>>(),
        "device": Device::cpu().info(),
    });
    println!("{line}");
}
