//! Measures against hand-worked cases and an independent slow form; properties that hold for any input.

use proptest::prelude::*;
use sememe::eval::{
    Advice, EvalOptions, NeighbourOptions, Reconstruction, advice, evaluate, measure_codes, measure_neighbours,
    render_text,
};
use sememe::{Codes, Error, Matrix};

#[path = "eval_report.rs"]
pub(crate) mod report;

/// Passes only within the tolerance: NaN fails.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 + 1e-9 * b.abs()
}

fn codes(rows: &[&[u32]]) -> Codes {
    Codes::from_vec(rows.len(), rows[0].len(), rows.concat()).unwrap()
}

#[test]
fn the_comparator_rejects() {
    assert!(!close(f64::NAN, 1.0) && !close(1.0, f64::NAN) && !close(1.0, 1.0 + 1e-6) && close(1.0, 1.0));
}

#[test]
fn code_measures_of_a_hand_worked_table() {
    // IDs: 00 ×3, 01 ×1, 20 ×2; codebooks of 4 and 2.
    let m = measure_codes(&codes(&[&[2, 0], &[0, 0], &[0, 1], &[0, 0], &[2, 0], &[0, 0]]), &[4, 2]).unwrap();
    assert_eq!((m.rows, m.unique_ids, m.max_bucket), (6, 3, 3));
    assert!(close(m.collision_rate, 0.5) && close(m.colliding_item_rate, 5.0 / 6.0));
    let h = -(0.5f64 * 0.5f64.ln() + (1.0 / 6.0) * (1.0f64 / 6.0).ln() + (1.0 / 3.0) * (1.0f64 / 3.0).ln());
    assert!(close(m.entropy_ratio, h / 8f64.ln()));
    let [a, b] = &m.levels[..] else { panic!("2 levels") };
    assert_eq!((a.used, b.used, a.unique_prefixes, b.unique_prefixes), (2, 2, 2, 3));
    assert!(close(a.utilisation, 0.5) && close(b.utilisation, 1.0));
    // Loads 4, 0, 2, 0: perplexity of (2/3, 1/3), busiest 4 over a mean of 1.5.
    assert!(close(a.perplexity, (-(2.0 / 3.0) * (2.0f64 / 3.0).ln() - (1.0 / 3.0) * (1.0f64 / 3.0).ln()).exp()));
    assert!(close(a.max_over_mean_load, 4.0 / 1.5));
    // Gini = Σ|x_i − x_j| / (2 K Σx): ordered pairs of (0,0,2,4) differ by 2·(2+4+2+4+2) = 28; 28 / (2·4·6).
    assert!(close(a.gini, 28.0 / 48.0), "{}", a.gini);
    assert!(close(a.prefix_collision_rate, 1.0 - 2.0 / 6.0) && close(b.prefix_collision_rate, 0.5));
    assert!(close(a.fan_out_mean, 2.0) && a.fan_out_max == 2 && close(b.fan_out_mean, 1.5) && b.fan_out_max == 2);
}

#[test]
fn code_measures_at_the_edges() {
    let one = measure_codes(&codes(&[&[0]]), &[1]).unwrap();
    assert_eq!((one.unique_ids, one.max_bucket), (1, 1));
    assert_eq!((one.collision_rate, one.colliding_item_rate, one.entropy_ratio), (0.0, 0.0, 1.0));
    let all_one = measure_codes(&codes(&[&[3], &[3]]), &[4]).unwrap();
    assert!(close(all_one.levels[0].gini, 0.75) && close(all_one.levels[0].perplexity, 1.0));
    assert_eq!(all_one.entropy_ratio, 0.0);
    // 3 × 32 bits do not fit one word: the other sort.
    let big = u32::MAX - 1;
    assert!(matches!(measure_codes(&codes(&[&[big, 0, 0]]), &[2, 2, 2]), Err(Error::Data(m)) if m.contains("level 0")));
    assert!(matches!(measure_codes(&codes(&[&[0, 0]]), &[2]), Err(Error::Shape { expected: 2, got: 1, .. })));
    assert!(matches!(measure_codes(&codes(&[&[0]]), &[0]), Err(Error::Config { .. })));
    assert!(matches!(measure_codes(&Codes::zeros(0, 2), &[2, 2]), Err(Error::Data(_))));
}

#[test]
fn long_ids_are_measured_like_short_ones() {
    // 9 levels of 8 bits need more than one word; the same table on 3 levels of the same codes does not.
    let mut stream = sememe::rng::stream(1, "test", 0);
    let short: Vec<u32> = (0..600).map(|_| stream.below(3) as u32 * 100).collect();
    let long: Vec<u32> = short.chunks(3).flat_map(|id| [id, id, id].concat()).collect();
    let a = measure_codes(&Codes::from_vec(200, 3, short).unwrap(), &[256; 3]).unwrap();
    let b = measure_codes(&Codes::from_vec(200, 9, long).unwrap(), &[256; 9]).unwrap();
    assert_eq!((a.unique_ids, a.max_bucket), (b.unique_ids, b.max_bucket));
    assert_eq!(a.levels, b.levels[..3]);
}

#[test]
fn reconstruction_of_hand_worked_rows() {
    // Rows (0,0), (3,4), (6,8): mean (3,4), deviations 25 + 0 + 25.
    let rows = Matrix::from_vec(3, 2, vec![0., 0., 3., 4., 6., 8.]).unwrap();
    let coarse = Matrix::from_vec(3, 2, vec![0., 0., 4., 3., 0., 0.]).unwrap();
    let mut gathered = Reconstruction::new(2, 2);
    gathered.add(rows.view(), &[coarse, rows.clone()]).unwrap();
    let m = gathered.finish().unwrap();
    assert_eq!((m.rows, m.zero_rows), (3, 1));
    assert!(close(m.variance, 50.0 / 6.0) && close(m.norm_mean, 5.0));
    assert!(close(m.norm_spread, (50.0f64 / 3.0).sqrt() / 5.0));
    let [a, b] = &m.depths[..] else { panic!("2 depths") };
    assert!(close(a.squared_l2, 102.0 / 3.0) && close(a.mse, 102.0 / 6.0) && close(a.r2, 1.0 - 102.0 / 50.0));
    // The zero row is left out, the row that comes back as zero counts 0: (24/25 + 0) / 2.
    assert!(close(a.cosine, 0.48));
    assert!(close(b.r2, 1.0) && b.mse == 0.0 && close(b.cosine, 1.0));
}

#[test]
fn reconstruction_does_not_cancel_far_from_the_origin() {
    // Deviations of ±1 around 2²³: a sum of squares in f64 would lose them only past 2²⁶, f32 at once.
    let base = 8_388_608.0f32;
    let rows: Vec<f32> = (0..5000).map(|i| base + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let back = Matrix::from_vec(5000, 1, vec![base; 5000]).unwrap();
    let rows = Matrix::from_vec(5000, 1, rows).unwrap();
    let mut gathered = Reconstruction::new(1, 1);
    gathered.add(rows.view(), &[back]).unwrap();
    let m = gathered.finish().unwrap();
    assert!(close(m.variance, 1.0) && close(m.depths[0].mse, 1.0) && m.depths[0].r2.abs() < 1e-12);
}

#[test]
fn reconstruction_of_constant_rows_and_of_nothing() {
    let rows = Matrix::from_vec(300, 1, vec![0.1; 300]).unwrap();
    let mut exact = Reconstruction::new(1, 1);
    exact.add(rows.view(), std::slice::from_ref(&rows)).unwrap();
    assert_eq!(exact.finish().unwrap().depths[0].r2, 1.0);
    let mut off = Reconstruction::new(1, 1);
    off.add(rows.view(), &[Matrix::zeros(300, 1).unwrap()]).unwrap();
    assert_eq!(off.finish().unwrap().depths[0].r2, 0.0);
    assert!(matches!(Reconstruction::new(1, 1).finish(), Err(Error::Data(_))));
    let mut bad = Reconstruction::new(1, 1);
    let nan = Matrix::from_vec(1, 1, vec![f32::NAN]).unwrap();
    let error = bad.add(rows.view().slice(0, 1), &[nan]).unwrap_err().to_string();
    assert!(error.contains("1 of 1 rows") && error.contains("depth 1"), "{error}");
    assert!(matches!(bad.add(rows.view(), &[]), Err(Error::Shape { what: "depths", .. })));
}

/// Every order of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = orders(n - 1);
    shorter.iter().flat_map(|o| (0..n).map(move |at| [&o[..at], &[n - 1], &o[at..]].concat())).collect()
}

/// Recall and NDCG by sorting the candidates under every order of breaking ties, for each ranking on its own.
fn by_enumeration(rows: &Matrix, codes: &Codes, k: usize) -> (f64, f64) {
    let n = rows.rows();
    let orders = orders(n - 1);
    let (mut recall, mut ndcg) = (0.0, 0.0);
    for q in 0..n {
        let others: Vec<usize> = (0..n).filter(|&i| i != q).collect();
        let near: Vec<f64> = others
            .iter()
            .map(|&i| {
                rows.row(q).iter().zip(rows.row(i)).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
            })
            .collect();
        let apart: Vec<f64> = others
            .iter()
            .map(|&i| {
                let shared = codes.row(q).iter().zip(codes.row(i)).take_while(|(a, b)| a == b).count();
                (codes.levels() - shared) as f64
            })
            .collect();
        // Chance of each candidate at each place.
        let places = |key: &[f64]| {
            let mut chance = vec![vec![0.0; n - 1]; n - 1];
            for order in &orders {
                let mut ranked = order.clone();
                ranked.sort_by(|&a, &b| key[a].total_cmp(&key[b]));
                ranked.iter().enumerate().for_each(|(place, &i)| chance[i][place] += 1.0 / orders.len() as f64);
            }
            chance
        };
        let (near, by_code) = (places(&near), places(&apart));
        let top = k.min(n - 1);
        let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
        for (near, by_code) in near.iter().zip(&by_code) {
            let relevant: f64 = near[..top].iter().sum();
            recall += relevant * by_code[..top].iter().sum::<f64>() / top as f64;
            let gained: f64 = by_code[..top].iter().enumerate().map(|(p, chance)| chance * gain(p)).sum();
            ndcg += relevant * gained / (0..top).map(gain).sum::<f64>();
        }
    }
    (recall / n as f64, ndcg / n as f64)
}

#[test]
fn neighbours_of_hand_worked_rows() {
    // On a line: 0, 1, 2, 10; the last is coded with the first. k = 1.
    let rows = Matrix::from_vec(4, 1, vec![0., 1., 2., 10.]).unwrap();
    let ids = codes(&[&[0], &[1], &[1], &[0]]);
    let m = measure_neighbours(&rows, &ids, &NeighbourOptions { k: 1, ..Default::default() }).unwrap();
    // Row 0: nearest 1, by code 3: 0. Row 1: nearest 0 or 2 (tie), by code 2: ½. Row 2: 1. Row 3: nearest 2: 0.
    assert!(close(m.recall.unwrap(), 1.5 / 4.0) && close(m.ndcg.unwrap(), 1.5 / 4.0));
    assert!(close(m.recall_by_chance.unwrap(), 1.0 / 3.0) && m.duplicate_rate == Some(0.0) && m.queries == 4);
}

#[test]
fn neighbours_at_the_edges() {
    let one = Matrix::from_vec(1, 1, vec![1.0]).unwrap();
    let m = measure_neighbours(&one, &codes(&[&[0]]), &NeighbourOptions::default()).unwrap();
    assert_eq!((m.queries, m.recall), (0, None));
    let zero = NeighbourOptions { k: 0, ..Default::default() };
    assert!(matches!(measure_neighbours(&one, &codes(&[&[0]]), &zero), Err(Error::Config { .. })));
    let two = Matrix::from_vec(2, 1, vec![1.0, f32::INFINITY]).unwrap();
    let error = measure_neighbours(&two, &codes(&[&[0], &[0]]), &NeighbourOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NonFinite { first: 1, count: 1, .. }));
    // All rows equal: every candidate is as near and as close by code, so recall is chance, whatever the count.
    let same = Matrix::from_vec(5000, 2, vec![0.25; 10_000]).unwrap();
    let options = NeighbourOptions { k: 10, queries: 50, seed: 3 };
    let m = measure_neighbours(&same, &Codes::zeros(5000, 2), &options).unwrap();
    assert!(close(m.recall.unwrap(), 10.0 / 4999.0) && m.duplicate_rate == Some(1.0));
    // Values whose squares leave f32: decided in f64.
    let huge = Matrix::from_vec(4, 1, vec![1e30, 1.5e30, -2e30, -2.1e30]).unwrap();
    let m =
        measure_neighbours(&huge, &codes(&[&[0], &[0], &[1], &[1]]), &NeighbourOptions { k: 1, ..options }).unwrap();
    assert_eq!(m.recall, Some(1.0));
}

#[test]
fn far_rows_with_tiny_gaps_are_decided_in_f64() {
    // Around 1000 the f32 scores cannot tell gaps of 2⁻¹⁰ in the squared L2; codes follow the true order.
    let n = 400;
    let values: Vec<f32> = (0..n).map(|i| 1000.0 + i as f32 / 1024.0 * (1.0 + i as f32 / 4096.0)).collect();
    let rows = Matrix::from_vec(n, 1, values.clone()).unwrap();
    let ids = Codes::from_vec(n, 1, (0..n as u32).map(|i| i / 2).collect()).unwrap();
    let m = measure_neighbours(&rows, &ids, &NeighbourOptions { k: 1, queries: n, seed: 0 }).unwrap();
    let mut expected = 0.0;
    for q in 0..n {
        let gap = |i: usize| (f64::from(values[i]) - f64::from(values[q])).powi(2);
        let best = (0..n).filter(|&i| i != q).map(gap).fold(f64::INFINITY, f64::min);
        let nearest: Vec<usize> = (0..n).filter(|&i| i != q && gap(i) == best).collect();
        expected += nearest.iter().filter(|&&i| i / 2 == q / 2).count() as f64 / nearest.len() as f64;
    }
    assert!(close(m.recall.unwrap(), expected / n as f64), "{:?} {}", m.recall, expected / n as f64);
}

fn table() -> impl Strategy<Value = (Vec<Vec<u32>>, usize)> {
    (1usize..5, 1usize..40, 1u32..6).prop_flat_map(|(levels, rows, k)| {
        (prop::collection::vec(prop::collection::vec(0..k, levels), rows), Just(k as usize))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn code_measures_stay_in_range_and_ignore_the_order((rows, k) in table(), turn in 0usize..40) {
        let make = |rows: &[Vec<u32>]| Codes::from_vec(rows.len(), rows[0].len(), rows.concat()).unwrap();
        let sizes = vec![k; rows[0].len()];
        let m = measure_codes(&make(&rows), &sizes).unwrap();
        let distinct: std::collections::HashSet<_> = rows.iter().collect();
        prop_assert_eq!(m.unique_ids, distinct.len());
        prop_assert!(m.collision_rate >= 0.0 && m.collision_rate <= m.colliding_item_rate && m.colliding_item_rate <= 1.0);
        prop_assert!((0.0..=1.0 + 1e-12).contains(&m.entropy_ratio));
        for (depth, level) in m.levels.iter().enumerate() {
            let prefixes: std::collections::HashSet<_> = rows.iter().map(|r| &r[..=depth]).collect();
            prop_assert_eq!(level.unique_prefixes, prefixes.len());
            let children = |p: &[u32]| rows.iter().filter(|r| r.starts_with(p)).map(|r| r[depth])
                .collect::<std::collections::HashSet<_>>().len();
            prop_assert_eq!(level.fan_out_max, rows.iter().map(|r| children(&r[..depth])).max().unwrap());
            prop_assert!(level.perplexity >= 1.0 - 1e-9 && level.perplexity <= level.used as f64 + 1e-9);
            prop_assert!((0.0..1.0).contains(&level.gini) && level.max_over_mean_load >= 1.0 - 1e-12);
        }
        let mut turned = rows.clone();
        turned.rotate_left(turn % rows.len());
        turned.reverse();
        prop_assert_eq!(m, measure_codes(&make(&turned), &sizes).unwrap());
    }

    #[test]
    fn an_even_load_has_gini_0_and_full_perplexity(k in 1u32..50, each in 1usize..5) {
        let ids: Vec<u32> = (0..each).flat_map(|_| 0..k).collect();
        let m = measure_codes(&Codes::from_vec(ids.len(), 1, ids).unwrap(), &[k as usize]).unwrap();
        prop_assert_eq!(m.levels[0].gini, 0.0);
        prop_assert!(close(m.levels[0].perplexity, f64::from(k)) && close(m.levels[0].max_over_mean_load, 1.0));
        prop_assert!(close(m.entropy_ratio, 1.0));
    }

    #[test]
    fn neighbours_equal_the_enumeration_of_all_ties(
        values in prop::collection::vec(0i32..3, 2 * 6),
        ids in prop::collection::vec(0u32..2, 2 * 6),
        rows in 2usize..7,
        k in 1usize..7,
    ) {
        let data = values[..rows * 2].iter().map(|&v| v as f32).collect();
        let matrix = Matrix::from_vec(rows, 2, data).unwrap();
        let table = Codes::from_vec(rows, 2, ids[..rows * 2].to_vec()).unwrap();
        let m = measure_neighbours(&matrix, &table, &NeighbourOptions { k, queries: rows, seed: 0 }).unwrap();
        let (recall, ndcg) = by_enumeration(&matrix, &table, k);
        prop_assert!(close(m.recall.unwrap(), recall), "{:?} {recall}", m.recall);
        prop_assert!(close(m.ndcg.unwrap(), ndcg), "{:?} {ndcg}", m.ndcg);
    }

    #[test]
    fn neighbours_ignore_the_order_of_the_rows(seed in 0u64..1000, turn in 1usize..700) {
        // Enough rows for several chunks and blocks, coarse values for many ties.
        let n = 700;
        let mut stream = sememe::rng::stream(seed, "test", 1);
        let values: Vec<f32> = (0..n * 3).map(|_| stream.below(6) as f32).collect();
        let ids: Vec<u32> = values.chunks(3).flat_map(|v| [v[0] as u32, v[1] as u32]).collect();
        let options = NeighbourOptions { k: 10, queries: n, seed: 0 };
        let measure = |values: Vec<f32>, ids: Vec<u32>| {
            let rows = Matrix::from_vec(n, 3, values).unwrap();
            measure_neighbours(&rows, &Codes::from_vec(n, 2, ids).unwrap(), &options).unwrap()
        };
        let a = measure(values.clone(), ids.clone());
        let turned = |v: &[f32], w| { let mut v = v.to_vec(); v.rotate_left(turn * w); v };
        let mut turned_ids = ids.clone();
        turned_ids.rotate_left(turn * 2);
        let b = measure(turned(&values, 3), turned_ids);
        prop_assert!(close(a.recall.unwrap(), b.recall.unwrap()) && close(a.ndcg.unwrap(), b.ndcg.unwrap()));
        prop_assert_eq!(a.duplicate_rate, b.duplicate_rate);
    }
}

/// Three clusters on a line, two levels: the cluster, then the side of it.
pub(super) fn small_run() -> (Matrix, Codes, sememe::eval::Evaluation) {
    let mut stream = sememe::rng::stream(5, "test", 2);
    let rows: Vec<f32> = (0..90).flat_map(|i| [(i % 3) as f32 * 10.0, stream.normal() as f32]).collect();
    let ids: Vec<u32> = rows.chunks(2).flat_map(|r| [(r[0] / 10.0) as u32, u32::from(r[1] > 0.0)]).collect();
    let (rows, ids) = (Matrix::from_vec(90, 2, rows).unwrap(), Codes::from_vec(90, 2, ids).unwrap());
    let decode = |codes: &Codes| {
        let side = |id: &[u32]| id.get(1).map_or(0.0, |&s| if s == 1 { 0.8 } else { -0.8 });
        Matrix::from_vec(codes.rows(), 2, codes.iter().flat_map(|id| [id[0] as f32 * 10.0, side(id)]).collect())
    };
    let evaluation = evaluate(&rows, &ids, &[3, 2], &decode, &EvalOptions::default()).unwrap();
    (rows, ids, evaluation)
}

#[test]
fn an_evaluation_serialises_under_the_names_that_were_promised() {
    let (_, _, evaluation) = small_run();
    let json = serde_json::to_value(&evaluation).unwrap();
    for name in [
        "rows",
        "collision_rate",
        "colliding_item_rate",
        "max_bucket",
        "entropy_ratio",
        "r2",
        "cosine",
        "recall_at_10",
        "ndcg_at_10",
        "recall_queries",
        "unique_ids",
        "seed",
        "squared_l2",
        "zero_rows",
    ] {
        assert!(json[name].is_number(), "`{name}` in {json}");
    }
    for level in json["levels"].as_array().unwrap() {
        for name in ["utilisation", "perplexity", "max_over_mean_load", "gini", "prefix_collision_rate", "r2", "mse"] {
            assert!(level[name].is_number(), "`levels.{name}` in {json}");
        }
    }
    let full = evaluation.reconstruction.unwrap().r2;
    assert!(evaluation.levels[0].error.unwrap().r2 < full && full > 0.99);
    assert!(evaluation.neighbours.recall > evaluation.neighbours.recall_by_chance);
}

#[test]
fn an_evaluation_refuses_what_does_not_fit() {
    let (rows, ids, _) = small_run();
    let short = |_: &Codes| Matrix::zeros(1, 2);
    let error = evaluate(&rows, &ids, &[3, 2], &short, &EvalOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "rows", expected: 90, got: 1, .. }));
    let fine = |codes: &Codes| Matrix::zeros(codes.rows(), 2);
    let error = evaluate(&rows, &Codes::zeros(89, 2), &[3, 2], &fine, &EvalOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Shape { expected: 90, got: 89, .. }));
    assert!(evaluate(&rows, &ids, &[3, 2], &fine, &EvalOptions { k: 0, ..Default::default() }).is_err());
}

#[test]
fn advice_names_settings_where_a_figure_is_bad_and_is_silent_where_none_is() {
    let (_, _, mut evaluation) = small_run();
    let all = advice(&evaluation).iter().map(Advice::to_string).collect::<Vec<_>>().join("\n");
    // 6 IDs for 90 items.
    assert!(all.contains("`levels = 3`") && all.contains("6 possible IDs are few for 90 items"), "{all}");
    evaluation.reconstruction.as_mut().unwrap().r2 = 0.1;
    evaluation.levels[0].codes.utilisation = 0.3;
    evaluation.reconstruction.as_mut().unwrap().norm_spread = 0.9;
    let all = advice(&evaluation).iter().map(Advice::to_string).collect::<Vec<_>>().join("\n");
    for part in ["`refine`", "`codebook_sizes`", "`refine.beam`", "`metric = \"cosine\"`"] {
        assert!(all.contains(part), "{part} in {all}");
    }
    evaluation.reconstruction.as_mut().unwrap().r2 = 0.6;
    evaluation.levels[0].codes.utilisation = 1.0;
    evaluation.reconstruction.as_mut().unwrap().norm_spread = 0.0;
    evaluation.collision_rate = 0.0;
    evaluation.max_bucket = 1;
    evaluation.levels[1].error.as_mut().unwrap().r2 = evaluation.levels[0].error.unwrap().r2 + 0.1;
    assert_eq!(advice(&evaluation), []);
}

#[test]
fn the_text_is_a_table_of_equal_columns() {
    let (_, _, evaluation) = small_run();
    let text = render_text(&evaluation);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("90 items, 6 distinct IDs of 2 levels"), "{text}");
    assert!(text.contains("recall@10") && lines.iter().all(|l| l.trim_end() == *l), "{text}");
    let table = &lines[lines.len() - 3..];
    assert!(table.iter().all(|l| l.chars().count() == table[0].chars().count()), "{text}");
}
