//! Rows out of tables and back, and scores by tables.

use super::*;

/// Rows of a table of `k`, some past it, the first half of them often.
fn picked(name: &str, n: usize, k: usize) -> Vec<u32> {
    let mut stream = rng::stream(7, name, (n * 31 + k) as u64);
    let mut one = |i: usize| match i % 7 {
        6 => [k as u32, k as u32 + 1, u32::MAX][i % 3],
        0 | 1 => (stream.below(k.max(1) as u64) / 2) as u32,
        _ => stream.below(k.max(1) as u64) as u32,
    };
    (0..n).map(&mut one).collect()
}

pub(in super::super) fn case_gather<B: TensorBackend>(backend: &B) {
    let shapes = [
        (0, 4, 3),
        (1, 1, 1),
        (3, 0, 2),
        (5, 1, 0),
        (5, 1, 7),
        (127, 3, 9),
        (128, 64, 50),
        (129, 65, 5),
        (300, 17, 1000),
    ];
    for (i, (n, e, k)) in shapes.into_iter().enumerate() {
        let (table, rows, old) = (values("gather table", k * e), picked("gather", n, k), values("gather old", n * e));
        let (before, skip, at) = (i % 4, i % 3, i % 5);
        let given = tensor(backend, before, &table);
        let words: Vec<u32> = vec![0; skip].into_iter().chain(rows.iter().copied()).collect();
        let words = index(backend, &words);
        for accumulate in [false, true] {
            let mut out = tensor(backend, at, &if accumulate { old.clone() } else { vec![f32::NAN; n * e] });
            backend
                .gather((n, e, k), from(&given, before), from(&words, skip), accumulate, &mut out, at)
                .expect("gather");
            let want = |i: usize, c: usize| {
                let row = rows[i] as usize;
                let found = if row < k { table[row * e + c] } else { 0.0 };
                if accumulate { old[i * e + c] + found } else { found }
            };
            let want: Vec<f32> = (0..n * e).map(|at| want(at / e, at % e)).collect();
            assert_eq!(read(backend, &out, at, n * e), want, "{n} rows of {e} from {k}, accumulate: {accumulate}");
        }
    }
}

/// Holds a scatter to f64.
fn hold_scatter<B: TensorBackend>(backend: &B, (n, e, k): (usize, usize, usize), to: &[u32], at: usize) {
    let (given, old) = (values("scatter", n * e), values("scatter old", k * e));
    let (order, bounds, rows) = sorted_segments(to, k);
    let (count, pad) = (rows.len(), |list: &[u32]| index(backend, &[list, &[9; 2]].concat()));
    let (order, bounds, rows) = (pad(&order), pad(&bounds), pad(&rows));
    let segments = Segments { count, order: &order, bounds: &bounds, rows: &rows };
    let (up, mut out) = (tensor(backend, 0, &given), tensor(backend, at, &old));
    backend.scatter_rows((n, e, k), -0.75, &segments, &up, &mut out, at).expect("scatter");
    let got = read(backend, &out, at, k * e);
    let (mut want, mut sizes, mut counts) = (wide(&old), wide(&old), vec![0usize; k]);
    sizes.iter_mut().for_each(|v| *v = v.abs());
    for (i, row) in to.iter().enumerate().filter(|(_, row)| (**row as usize) < k) {
        counts[*row as usize] += 1;
        for c in 0..e {
            let term = -0.75 * f64::from(given[i * e + c]);
            want[*row as usize * e + c] += term;
            sizes[*row as usize * e + c] += term.abs();
        }
    }
    let what = format!("scatter {n} rows of {e} to {k}");
    hold(&what, &got, &want, |at| if counts[at / e] == 0 { 0.0 } else { gamma(counts[at / e] + 3) * sizes[at] });
    if n > 100 {
        assert!(counts.contains(&0) && counts.iter().any(|c| *c > 3), "{what}: uninformative rows");
        let other: Vec<f64> = want.iter().enumerate().map(|(i, v)| v + 0.01 * counts[i / e] as f64).collect();
        assert!(differs(&wide(&got), &other, 1e-3, 0.0), "{what}: a moved sum went unnoticed");
    }
}

pub(in super::super) fn case_scatter_rows<B: TensorBackend>(backend: &B) {
    for (i, shape) in
        [(0, 4, 3), (1, 1, 1), (9, 3, 0), (3, 0, 5), (129, 1, 40), (400, 63, 70), (500, 64, 200), (1000, 65, 300)]
            .into_iter()
            .enumerate()
    {
        hold_scatter(backend, shape, &picked("scatter", shape.0, shape.2), i % 4);
    }
    // All of many rows go to one, as in a table with one popular item.
    let mut to = vec![3; 5000];
    (to[0], to[4999]) = (0, 4);
    hold_scatter(backend, (5000, 5, 6), &to, 0);
}

/// Codes of items, some past the tables.
fn coded(items: usize, levels: usize, most: u64) -> Vec<u32> {
    let mut stream = rng::stream(7, "codes", (items * levels) as u64);
    let mut one = |i: usize| if i % 11 == 10 { [u32::MAX, most as u32 + 70][i % 2] } else { stream.below(most) as u32 };
    (0..items * levels).map(&mut one).collect()
}

pub(in super::super) fn case_table_scores<B: TensorBackend>(backend: &B) {
    for (n, items, levels, most) in [
        (0, 5, 2, 3u64),
        (1, 1, 1, 1),
        (3, 0, 2, 5),
        (2, 7, 0, 5),
        (3, 70, 3, 16),
        (15, 255, 4, 256),
        (16, 256, 3, 33),
        (17, 257, 4, 64),
        (33, 1000, 2, 5),
        (50, 3001, 5, 10),
    ] {
        // A gap between the levels, and a code past the last level's codewords is past the row.
        let (width, first): (usize, Vec<u32>) =
            ((most as usize + 1) * levels, (0..levels).map(|m| m as u32 * (most as u32 + 1)).collect());
        let (tables, codes) = (values("tables", n * width), coded(items, levels, most));
        let given = tensor(backend, 0, &tables);
        let mut out = empty(backend, n * items);
        let (first_index, codes_index) = (index(backend, &first), index(backend, &codes));
        backend
            .table_scores((n, items, levels), width, &first_index, &codes_index, &given, &mut out)
            .expect("table scores");
        let got = read(backend, &out, 0, n * items);
        let terms = |i: usize, j: usize| {
            let (tables, codes, first) = (&tables, &codes, &first);
            (0..levels).filter_map(move |m| {
                let at = codes[j * levels + m] as usize + first[m] as usize;
                (at < width).then(|| f64::from(tables[i * width + at]))
            })
        };
        let want: Vec<f64> = (0..n * items).map(|at| terms(at / items, at % items).sum()).collect();
        let size = |at: usize| terms(at / items, at % items).map(f64::abs).sum::<f64>();
        hold(&format!("{n}×{items}, {levels} levels"), &got, &want, |at| gamma(levels + 1) * size(at));
        if items > 50 {
            let other: Vec<f64> = (0..n * items).map(|at| terms(at / items, (at + 1) % items).sum()).collect();
            assert!(differs(&wide(&got), &other, 1e-3, 0.0), "another item's codes went unnoticed");
        }
    }
}

/// More rows, values and scores than workgroups that one dimension of a dispatch holds.
pub(in super::super) fn case_tables_past_one_dimension<B: TensorBackend>(backend: &B) {
    let (table, rows) = (values("long table", 4099), (0..LONG).map(|i| (i % 4099) as u32).collect::<Vec<_>>());
    let (given, words, mut out) = (tensor(backend, 0, &table), index(backend, &rows), empty(backend, LONG));
    backend.gather((LONG, 1, 4099), whole(&given), whole(&words), false, &mut out, 0).expect("gather");
    let got = read(backend, &out, 0, LONG);
    assert!(got.iter().enumerate().all(|(i, v)| *v == table[i % 4099]), "gather past 65,535 workgroups");
    // A segment for each of so many rows.
    let n = 65_536 + 9;
    let to: Vec<u32> = (0..n as u32 + 9).rev().map(|i| if i < 5 { 7 } else { i }).collect();
    hold_scatter(backend, (n + 9, 1, n), &to, 1);
}
