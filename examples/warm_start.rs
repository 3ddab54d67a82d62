//! RQ-KMeans+: networks that start from a fitted RQ-KMeans: `cargo run --release --example warm_start`.

use sememe::eval::{EvalOptions, evaluate};
use sememe::fit::rqvae::{CodebookUpdate, Optimizer, RqVae, RqVaeTrainer};
use sememe::io::{OpenOptions, open};
use sememe::{Codec, Device, Matrix, RowSource, RqKMeans};

fn r2(codec: &Codec, rows: &Matrix) -> sememe::Result<f64> {
    let options = EvalOptions { queries: 0, ..EvalOptions::default() };
    let codes = codec.encode(rows)?;
    let evaluation = evaluate(rows, &codes, &codec.codebook_sizes(), &|codes| codec.decode(codes), &options)?;
    Ok(evaluation.reconstruction.map_or(0.0, |error| error.r2))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let source = open(path, &OpenOptions::default())?;
    let mut rows = Matrix::zeros(source.rows(), source.dims())?;
    source.read_rows(0, rows.as_mut_slice())?;

    let plain = RqKMeans { codebook_sizes: vec![64; 3], ..RqKMeans::default() };
    let start = Codec::train(&rows, &plain, &Device::cpu(), &())?;

    // Encoder z = x + MLP(x), decoder x = z + MLP(z): both add nothing at first, so training begins where k-means ended.
    let config = RqVae {
        hidden: vec![256],
        codebook: CodebookUpdate::Ema { decay: 0.99, epsilon: 1e-5 },
        repulsion: None,
        optimizer: Optimizer { rate: 1e-3, ..Optimizer::default() },
        batch_rows: 256,
        epochs: 6,
        ..RqVae::default()
    };
    let mut trainer = RqVaeTrainer::from_quantizer(config, start.quantizer(), start.manifest().mean_norm)?;
    trainer.run(&rows, None, &Device::cpu(), &(), &mut ())?;
    let plus = Codec::from_trainer(&trainer)?;
    println!("R² {:.4} by k-means, {:.4} with networks", r2(&start, &rows)?, r2(&plus, &rows)?);
    Ok(())
}
