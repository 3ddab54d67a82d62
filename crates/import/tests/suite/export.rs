//! Every kind of codec in every format: the same codes when it comes back, or refused with the reason.

use crate::support::rows;
use sememe::codec::Activation;
use sememe::fit::rqvae::RqVae;
use sememe::fit::{ProductQuantization, Rotation};
use sememe::{Balance, Codec, Device, Metric, Pca, Preprocess, Refine, RqKMeans};
use sememe_import::{Content, ExportFormat, ImportOptions, export, import};
use sememe_testkit::files::error;

fn k_means(config: RqKMeans) -> Codec {
    let config = RqKMeans { codebook_sizes: vec![8; 3], ..config };
    Codec::train(&rows(), &config, &Device::cpu(), &()).expect("trained")
}

fn product(config: ProductQuantization) -> Codec {
    let config = ProductQuantization { codebook_sizes: vec![8; 4], ..config };
    Codec::train_product(&rows(), &config, &Device::cpu(), &()).expect("trained")
}

fn network(config: RqVae) -> RqVae {
    let activation = Activation::Relu;
    RqVae {
        hidden: vec![12],
        activation,
        code_dims: 6,
        codebook_sizes: vec![8; 3],
        batch_rows: 40,
        epochs: 3,
        ..config
    }
}

/// What becomes of a kind in a format.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Same,
    Refused(&'static str),
}

use Fate::{Refused, Same};

/// All kinds: what faiss, and what PyTorch makes of them. numpy takes all.
fn kinds() -> Vec<(&'static str, Codec, Fate, Fate)> {
    let config = RqKMeans::default;
    let pca = || Preprocess { pca: Some(Pca { keep_variance: 1.0, max_dims: 8 }), ..Preprocess::default() };
    let rqvae = |config: RqVae| Codec::train_rqvae(&rows(), &config, &Device::cpu(), &()).expect("trained");
    let plus = {
        let start = k_means(config());
        let settings = RqVae { epochs: 2, batch_rows: 40, hidden: vec![12], ..RqVae::default() };
        let mut trainer =
            sememe::fit::rqvae::RqVaeTrainer::from_quantizer(settings, start.quantizer(), 1.0).expect("started");
        trainer.run(&rows(), None, &Device::cpu(), &(), &mut ()).expect("trained");
        Codec::from_trainer(&trainer).expect("a codec")
    };
    vec![
        ("k-means", k_means(config()), Same, Same),
        (
            "sinkhorn",
            k_means(RqKMeans { balance: Some(Balance::default()), ..config() }),
            Refused("prices"),
            Refused("prices"),
        ),
        (
            "capacity",
            k_means(RqKMeans { balance: Some(Balance::capacity()), ..config() }),
            Refused("prices"),
            Refused("prices"),
        ),
        ("refined", k_means(RqKMeans { refine: Some(Refine { rounds: 2, beam: 4 }), ..config() }), Same, Same),
        ("cosine", k_means(RqKMeans { metric: Metric::Cosine, ..config() }), Refused("cosine"), Refused("cosine")),
        (
            "residual-normalised",
            k_means(RqKMeans { normalize_residuals: true, ..config() }),
            Refused("normalised residuals"),
            Refused("normalised residuals"),
        ),
        ("PCA", k_means(RqKMeans { preprocess: pca(), ..config() }), Refused("PCA"), Refused("PCA")),
        (
            "whitened",
            k_means(RqKMeans { preprocess: Preprocess { whiten: true, ..pca() }, ..config() }),
            Refused("scales"),
            Refused("scales"),
        ),
        (
            "rows of norm 1",
            k_means(RqKMeans { preprocess: Preprocess { normalize: true, ..Preprocess::default() }, ..config() }),
            Refused("norm 1"),
            Refused("norm 1"),
        ),
        ("RQ-VAE", rqvae(network(RqVae::default())), Refused("networks"), Same),
        ("RQ-KMeans+", plus, Refused("networks"), Refused("a skip connection around the decoder")),
        (
            "centred",
            k_means(RqKMeans { preprocess: Preprocess { center: true, ..Preprocess::default() }, ..config() }),
            Same,
            Same,
        ),
        (
            "RQ-VAE with GELU",
            rqvae(RqVae { activation: Activation::Gelu, ..network(RqVae::default()) }),
            Refused("networks"),
            Refused("other activations than ReLU"),
        ),
        (
            "shared codebook",
            rqvae(RqVae { shared_codebook: true, ..network(RqVae::default()) }),
            Refused("networks"),
            Same,
        ),
        ("pq", product(ProductQuantization::default()), Same, Refused("side by side")),
        (
            "opq",
            product(ProductQuantization {
                rotation: Some(Rotation { rounds: 3, ..Rotation::default() }),
                ..ProductQuantization::default()
            }),
            Same,
            Refused("side by side"),
        ),
    ]
}

#[test]
fn a_round_trip_keeps_codes_and_rows_or_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = rows();
    for (kind, codec, faiss, torch) in kinds() {
        let wanted = codec.encode(&rows).expect(kind);
        for (format, fate) in
            [(ExportFormat::Faiss, faiss), (ExportFormat::Numpy, Same), (ExportFormat::TorchSafetensors, torch)]
        {
            let name = format.name();
            let path = folder.path().join(format!("{}.{}", kind.replace(' ', "-"), format.extension()));
            let done = export(&codec, format, &path);
            let reason = match (fate, &done) {
                (Same, _) => None,
                (Refused(reason), _) => Some(reason),
            };
            if let Some(reason) = reason {
                let text = error(done);
                assert!(text.contains(reason) && text.contains("export as numpy"), "{kind} as {name}: {text}");
                assert!(!path.exists(), "{kind} as {name}: a refused export leaves nothing");
                continue;
            }
            done.unwrap_or_else(|e| panic!("{kind} as {name}: {e}"));
            // The beam is the one thing that these two have no place for.
            let residual = !codec.manifest().product && format != ExportFormat::Numpy;
            let beam = residual.then_some(codec.manifest().beam);
            let back = import(&path, &ImportOptions { beam, ..ImportOptions::default() });
            let back = back.unwrap_or_else(|e| panic!("{kind} from {name}: {e}"));
            let Content::Codec(back) = back.content else { panic!("{kind}: a table") };
            assert_eq!(back.encode(&rows).expect(kind), wanted, "{kind} by {name}");
            let (was, is) = (codec.decode(&wanted).expect(kind), back.decode(&wanted).expect(kind));
            let off = was.as_slice().iter().zip(is.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-4, "{kind} by {name}: decoded rows differ by {off}");
            let first = std::fs::read(&path).expect("a file");
            export(&codec, format, &path).expect("again");
            assert!(std::fs::read(&path).expect("a file") == first, "{kind} as {name}: the same codec, other bytes");
        }
    }
}

#[test]
fn a_name_that_ends_in_another_way_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let codec = k_means(RqKMeans::default());
    let path = folder.path().join("a.safetensors");
    assert!(error(export(&codec, ExportFormat::Faiss, &path)).contains("written as .npz"));
    assert!(!path.exists());
    let uneven = RqKMeans { codebook_sizes: vec![8, 4, 2], ..RqKMeans::default() };
    let codec = Codec::train(&rows(), &uneven, &Device::cpu(), &()).expect("trained");
    let path = folder.path().join("uneven.npz");
    export(&codec, ExportFormat::Faiss, &path).expect("levels of their own");
    let back = import(&path, &ImportOptions::default()).expect("read");
    let Content::Codec(back) = back.content else { panic!("a table") };
    assert_eq!(back.encode(&rows()).expect("codes"), codec.encode(&rows()).expect("codes"));
    let odd = RqKMeans { codebook_sizes: vec![5; 2], ..RqKMeans::default() };
    let codec = Codec::train(&rows(), &odd, &Device::cpu(), &()).expect("trained");
    assert!(error(export(&codec, ExportFormat::Faiss, &path)).contains("no powers of two"));
}
