//! RQ-VAE training on a file, one JSON line a configuration, for `benches/peers/rqvae.py`; a small run without arguments.
//!
//! usage: cargo bench --bench rqvae -- DATA.npy [--config semantic-id|residual-vq|animind] [--epochs N] [--seed N]

use sememe::fit::rqvae::{CodebookStart, CodebookUpdate, Optimizer, Repulsion, RqVae, RqVaeTrainer};
use sememe::{Device, Event, Matrix, Observer, RowSource as _};
use std::sync::Mutex;
use std::time::Instant;

/// Rates of the epochs.
#[derive(Default)]
struct Rates(Mutex<Vec<f64>>);

impl Observer for Rates {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Epoch(report) => {
                self.0.lock().unwrap_or_else(|e| e.into_inner()).push(report.rows_per_second);
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
            start: CodebookStart::KMeans { iterations: 5, rows: 1 << 16 },
            codebook: CodebookUpdate::KMeans { iterations: 1, settle: 1, balance: Some(0.3) },
            repulsion: Some(Repulsion { weight: 0.08 }),
            optimizer: Optimizer { rate: 3e-3, decoder_factor: 1.5, ..Optimizer::default() },
            ..RqVae::default()
        },
        other => RqVae::preset(other).unwrap_or_else(|e| panic!("{e}")),
    }
}

fn main() {
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
    if let Some(seed) = option("--seed") {
        settings.seed = seed.parse().unwrap_or_else(|e| panic!("--seed: {e}"));
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
    let seconds = begun.elapsed().as_secs_f64();
    let health = trainer.health().unwrap_or_else(|| panic!("a finished training has looked at its corpus"));
    let mut rates = rates.0.into_inner().unwrap_or_else(|e| e.into_inner());
    rates.sort_by(f64::total_cmp);
    let line = serde_json::json!({
        "peer": format!("sememe {name}"), "rows": rows.rows(), "dims": rows.dims(), "epochs": settings.epochs,
        "train_s": seconds, "rows_per_s": rows.rows() as f64 * settings.epochs as f64 / seconds,
        "step_rows_per_s": rates[rates.len() / 2],
        "r2": health.r2, "collision_rate": health.collision_rate,
        "perplexity": health.levels.iter().map(|l| l.perplexity).collect::<Vec<_>>(),
        "utilisation": health.levels.iter().map(|l| l.utilisation).collect::<Vec<_>>(),
        "device": Device::cpu().info(),
    });
    println!("{line}");
}
