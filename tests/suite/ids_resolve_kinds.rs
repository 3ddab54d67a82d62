//! Relocation under every kind of codec: distances as plain f64 loops find them, and nobody moves who need not.

use sememe::compute::tensor::Activation;
use sememe::fit::rqvae::{RqVae, RqVaeTrainer};
use sememe::fit::{ProductQuantization, Rotation};
use sememe::ids::resolve::{Alternatives as _, CodecAlternatives, Resolved, relocate};
use sememe::{Balance, Codec, Codes, Device, Error, Matrix, Metric, Pca, Preprocess, Refine, RqKMeans};
use std::collections::BTreeMap;

use crate::codec::clustered;

fn config() -> RqKMeans {
    RqKMeans { codebook_sizes: vec![6, 6, 6], iterations: 6, ..RqKMeans::default() }
}

fn network() -> RqVae {
    RqVae {
        hidden: vec![14],
        code_dims: 5,
        codebook_sizes: vec![6, 6, 6],
        activation: Activation::Relu,
        epochs: 6,
        autoencoder_epochs: 2,
        batch_rows: 64,
        ..RqVae::default()
    }
}

/// One codec of each kind that relocation takes.
fn kinds(rows: &Matrix) -> Vec<(&'static str, Codec)> {
    let train = |config: &RqKMeans| Codec::train(rows, config, &Device::cpu(), &()).unwrap();
    let rqvae = |config: &RqVae| Codec::train_rqvae(rows, config, &Device::cpu(), &()).unwrap();
    let product = |rotation: Option<Rotation>| {
        let balance = Some(Balance::sinkhorn()).filter(|_| rotation.is_none());
        let config = ProductQuantization { codebook_sizes: vec![6; 3], rotation, balance, ..Default::default() };
        Codec::train_product(rows, &config, &Device::cpu(), &()).unwrap()
    };
    let pca = Preprocess { pca: Some(Pca { keep_variance: 0.9, max_dims: 7 }), ..Preprocess::default() };
    let whitened = Preprocess { center: true, whiten: true, ..pca };
    let start = train(&config());
    let mut plus = RqVaeTrainer::from_quantizer(network(), start.quantizer(), 1.0).unwrap();
    plus.run(rows, None, &Device::cpu(), &(), &mut ()).unwrap();
    vec![
        ("k-means", start),
        ("sinkhorn", train(&RqKMeans { balance: Some(Balance::sinkhorn()), ..config() })),
        ("capacity", train(&RqKMeans { balance: Some(Balance::capacity()), ..config() })),
        ("refined", train(&RqKMeans { refine: Some(Refine { rounds: 2, beam: 4 }), ..config() })),
        ("PCA", train(&RqKMeans { preprocess: pca, ..config() })),
        ("whitened", train(&RqKMeans { preprocess: whitened, ..config() })),
        ("rows of length 1", train(&RqKMeans { preprocess: Preprocess { normalize: true, ..whitened }, ..config() })),
        ("RQ-VAE", rqvae(&network())),
        ("PQ", product(None)),
        ("OPQ", product(Some(Rotation { rounds: 3, iterations: 1 }))),
        ("shared codebook", rqvae(&RqVae { shared_codebook: true, ..network() })),
        ("RQ-KMeans+", Codec::from_trainer(&plus).unwrap()),
    ]
}

/// Where a row enters the first level, by loops that share no code with the library.
fn entered(codec: &Codec, x: &[f32]) -> Vec<f64> {
    let quantizer = codec.quantizer();
    let mean = |c: usize| quantizer.mean.get(c).map_or(0.0, |m| f64::from(*m));
    let mut row: Vec<f64> = x.iter().enumerate().map(|(c, v)| f64::from(*v) - mean(c)).collect();
    if !quantizer.components.is_empty() {
        let each = quantizer.components.chunks_exact(quantizer.dims);
        row = each.map(|p| p.iter().zip(&row).map(|(a, b)| f64::from(*a) * b).sum()).collect();
    }
    row.iter_mut().zip(&quantizer.scales).for_each(|(v, s)| *v *= f64::from(*s));
    if quantizer.normalize_rows {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    }
    let Some(encoder) = &quantizer.encoder else { return row };
    let input = row.clone();
    for layer in &encoder.layers {
        assert!(layer.norm.is_none(), "these networks have none");
        let out = |j: usize| {
            let weights = layer.weight.row(j).iter().zip(&row);
            let sum = weights.map(|(w, v)| f64::from(*w) * v).sum::<f64>() + f64::from(layer.bias[j]);
            if layer.activation.is_some() { sum.max(0.0) } else { sum }
        };
        row = (0..layer.weight.rows()).map(out).collect();
    }
    if encoder.skip {
        row.iter_mut().zip(input).for_each(|(v, x)| *v += x);
    }
    row
}

/// The squared L2 between a row and codes, and what relocation weighs: with twice the prices of a balanced codec.
fn brute(codec: &Codec, x: &[f32], codes: &[u32]) -> (f64, f64) {
    let mut left = entered(codec, x);
    let mut prices = 0.0;
    for (level, code) in codes.iter().enumerate() {
        let codeword = codec.codebook(level).row(*code as usize);
        let first = if codec.manifest().product { (0..level).map(|l| codec.codebook(l).dims()).sum() } else { 0 };
        left[first..].iter_mut().zip(codeword).for_each(|(v, c)| *v -= f64::from(*c));
        prices += codec.quantizer().prices(level).get(*code as usize).map_or(0.0, |p| f64::from(*p));
    }
    let square = left.iter().map(|v| v * v).sum::<f64>();
    (square, square + 2.0 * prices)
}

fn close(got: f64, want: f64) -> bool {
    (got - want).abs() <= 1e-9 * (1.0 + want.abs())
}

/// Of the items on each prefix, how many have to move at least: those that are too many on a code.
fn surplus(codes: &Codes) -> (usize, BTreeMap<Vec<u32>, Vec<usize>>) {
    let (mut same, mut prefixes) = (BTreeMap::<&[u32], usize>::new(), BTreeMap::<Vec<u32>, Vec<usize>>::new());
    for (i, id) in codes.iter().enumerate() {
        *same.entry(id).or_default() += 1;
        prefixes.entry(id[..id.len() - 1].to_vec()).or_default().push(i);
    }
    (same.values().map(|held| held - 1).sum(), prefixes)
}

#[test]
fn distances_and_moves_are_right_under_every_kind_of_codec() {
    let rows = clustered(150, 12, 40, 5);
    let keys: Vec<String> = (0..rows.rows()).map(|i| format!("{i:03}")).collect();
    let mut priced = 0;
    for (kind, codec) in kinds(&rows) {
        let codes = codec.encode(&rows).unwrap();
        let prices = CodecAlternatives::new(&codec, &rows, None).unwrap();
        // Distances, and what is weighed, at every depth.
        let (mut out, mut costs) = (Vec::new(), Vec::new());
        for item in (0..rows.rows()).step_by(7) {
            for depth in 0..codec.levels() {
                let prefix = &codes.row(item)[..depth];
                prices.squared_l2(item, prefix, &mut out).unwrap();
                prices.costs(item, prefix, &mut costs).unwrap();
                for code in 0..6u32 {
                    let id = [prefix, &[code]].concat();
                    let (square, cost) = brute(&codec, rows.row(item), &id);
                    let (got, weighed) = (out[code as usize], costs[code as usize]);
                    assert!(close(got, square), "{kind}: squared L2 of item {item} on {id:?} is {square}, got {got}");
                    assert!(close(weighed, cost), "{kind}: cost of item {item} on {id:?} is {cost}, got {weighed}");
                    priced += usize::from(!close(square, cost));
                    assert!(close(prices.squared_l2_of(item, &id).unwrap(), square), "{kind}");
                }
            }
        }
        let (needed, prefixes) = surplus(&codes);
        let Resolved { codes: after, cost } = relocate(&keys, &codes, 1, &prices).unwrap();
        assert!(needed > 5, "{kind}: uninformative, {needed} of {} items collide", codes.rows());
        assert_eq!((cost.largest_after, cost.ids_after), (1, codes.rows()), "{kind}");
        // What is said of the error is what decoding's sum of codewords is off by.
        let mean = |table: &Codes| {
            (0..table.rows()).map(|i| brute(&codec, rows.row(i), table.row(i)).0).sum::<f64>() / table.rows() as f64
        };
        assert!(close(cost.squared_l2_before.unwrap(), mean(&codes)), "{kind}: {cost:?}");
        assert!(close(cost.squared_l2_after.unwrap(), mean(&after)), "{kind}: {cost:?}");
        // Every item had the code it liked best, so moving costs; and those who move make room for others or were too many themselves.
        let weighed =
            |table: &Codes| (0..table.rows()).map(|i| brute(&codec, rows.row(i), table.row(i)).1).sum::<f64>();
        if codec.manifest().beam == 1 {
            assert!(weighed(&after) > weighed(&codes) - 1e-9, "{kind}: {} {}", weighed(&after), weighed(&codes));
        }
        assert!(cost.moved >= needed && cost.moved <= 2 * needed, "{kind}: {} moved, {needed} have to", cost.moved);
        // Small groups reach the least there is, over all ways.
        let mut tried = 0;
        for (prefix, items) in prefixes.iter().filter(|(_, items)| (2..=5).contains(&items.len())) {
            let table: Vec<Vec<f64>> = items
                .iter()
                .map(|i| (0..6).map(|c| brute(&codec, rows.row(*i), &[&prefix[..], &[c]].concat()).1).collect())
                .collect();
            let crowded = items.iter().any(|i| items.iter().any(|j| i != j && codes.row(*i) == codes.row(*j)));
            if !crowded {
                assert!(items.iter().all(|i| after.row(*i) == codes.row(*i)), "{kind}: nobody had to move");
                continue;
            }
            let got: f64 = items.iter().map(|i| brute(&codec, rows.row(*i), after.row(*i)).1).sum();
            let want = least(&table, 0, &mut [true; 6]);
            assert!(
                (got - want).abs() <= 1e-9 * (1.0 + want.abs()),
                "{kind}: {prefix:?} costs {got}, the least is {want}"
            );
            tried += 1;
        }
        assert!(tried > 2, "{kind}: uninformative, {tried} small groups");
    }
    assert!(priced > 100, "uninformative: {priced} prices");
}

/// The least sum of a table `[items, codes]`, each code taken once at most, by trying all ways.
fn least(table: &[Vec<f64>], item: usize, free: &mut [bool; 6]) -> f64 {
    let Some(costs) = table.get(item) else { return 0.0 };
    let mut best = f64::INFINITY;
    for code in 0..6 {
        if free[code] {
            free[code] = false;
            best = best.min(costs[code] + least(table, item + 1, free));
            free[code] = true;
        }
    }
    best
}

#[test]
fn codecs_without_a_squared_l2_that_adds_up_are_refused_with_the_reason() {
    let rows = clustered(60, 6, 9, 6);
    for config in [
        RqKMeans { metric: Metric::Cosine, ..config() },
        RqKMeans { normalize_residuals: true, ..config() },
        RqKMeans { normalize_residuals: true, balance: Some(Balance::sinkhorn()), ..config() },
    ] {
        let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
        let error = CodecAlternatives::new(&codec, &rows, None).err().expect("refused");
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert!(error.to_string().contains("number the items instead"), "{error}");
    }
}
