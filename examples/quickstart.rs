//! Embeddings in a file become semantic IDs and come back: `cargo run --release --example quickstart`.

use sememe::io::{OpenOptions, open, read_titles};
use sememe::{Codec, Device, Matrix, RowSource, RqKMeans};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The catalogue that comes with the crate; put the path of your own .npy, .npz or .safetensors here.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data");
    let source = open(format!("{folder}/packages.npy"), &OpenOptions::default())?;
    let names = read_titles(format!("{folder}/packages.jsonl"), "package")?;
    println!("{} rows of {} values", source.rows(), source.dims());

    // Train: three levels of 64 codewords. Everything random follows from the seed.
    let config = RqKMeans { codebook_sizes: vec![64; 3], seed: 0, ..RqKMeans::default() };
    let codec = Codec::train(&source, &config, &Device::cpu(), &())?;
    for level in &codec.manifest().training.levels {
        println!("level {}: R² {:.3}, perplexity {:.1}", level.level + 1, level.r2, level.perplexity);
    }

    // Encode. Rows that fit into memory are a matrix; `Encoder::encode_source` streams what does not.
    let mut rows = Matrix::zeros(source.rows(), source.dims())?;
    source.read_rows(0, rows.as_mut_slice())?;
    let codes = codec.encode(&rows)?;
    for (name, id) in names.iter().zip(codes.iter()).take(5) {
        println!("{name:24} {id:?}");
    }

    // Decode: the row that an ID stands for.
    let back = codec.decode(&codes)?;
    let squared_l2: f32 = rows.row(0).iter().zip(back.row(0)).map(|(x, y)| (x - y).powi(2)).sum();
    println!("squared L2 of the first row to its reconstruction: {squared_l2:.3}");

    // Save and load: one file, the same codes.
    let path = std::env::temp_dir().join(format!("sememe-quickstart-{}.safetensors", std::process::id()));
    codec.save(&path)?;
    let loaded = Codec::load(&path)?;
    std::fs::remove_file(&path)?;
    assert_eq!(loaded.encode(&rows)?, codes);
    println!("saved, loaded, and encoded to the same codes; codec {}", &loaded.content_hash()[..12]);
    Ok(())
}
