//! A neural codec: train an RQ-VAE, look at its health, encode: `cargo run --release --example train_rqvae`.

use sememe::fit::rqvae::{CheckpointKind, Recorder, RqVae, RqVaeTrainer};
use sememe::io::{OpenOptions, open};
use sememe::progress::EpochReport;
use sememe::{Codec, Device, Matrix, RowSource};

/// Prints every epoch and keeps the last checkpoint; a program would write it to a file.
#[derive(Default)]
struct Keeper {
    last: Vec<u8>,
}

impl Recorder for Keeper {
    fn epoch(&mut self, report: &EpochReport) -> sememe::Result<()> {
        if let Some(health) = &report.health {
            let perplexity: Vec<String> = health.levels.iter().map(|l| format!("{:.0}", l.perplexity)).collect();
            println!(
                "epoch {:2}: R² {:.3}, collision rate {:.3}, perplexity {}",
                report.epoch,
                health.r2,
                health.collision_rate,
                perplexity.join("/")
            );
        }
        Ok(())
    }

    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        content: &dyn Fn() -> sememe::Result<Vec<u8>>,
    ) -> sememe::Result<()> {
        if kind == CheckpointKind::Last {
            self.last = content()?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let source = open(path, &OpenOptions::default())?;

    // 384 values to 128, 64, then 16, and back; three levels of 64 codewords. Everything random follows from the seed.
    let config = RqVae {
        hidden: vec![128, 64],
        code_dims: 16,
        codebook_sizes: vec![64; 3],
        batch_rows: 512,
        epochs: 6,
        ..RqVae::default()
    };
    let mut trainer = RqVaeTrainer::new(config)?;
    let mut keeper = Keeper::default();
    trainer.run(&source, None, &Device::cpu(), &(), &mut keeper)?;

    // What a checkpoint holds is the whole training: `from_bytes` and `run` would go on from it.
    assert!(RqVaeTrainer::from_bytes(&keeper.last)?.is_finished());

    // The codec is like any other: one file, exact codes.
    let codec = Codec::from_trainer(&trainer)?;
    let mut rows = Matrix::zeros(source.rows(), source.dims())?;
    source.read_rows(0, rows.as_mut_slice())?;
    let codes = codec.encode(&rows)?;
    println!("the first row is {:?}", codes.row(0));
    assert_eq!(Codec::from_bytes(&codec.to_bytes()?)?.encode(&rows)?, codes);
    Ok(())
}
