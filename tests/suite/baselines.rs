//! Baselines of recommenders: the rankings of `measure_next_item`, which is held to a slow form of its own, over the questions of a recommender.

use sememe::eval::{BaselineMeasures, BaselineOptions, NextItemOptions, measure_baselines, measure_next_item};
use sememe::progress::{Event, Observer};
use sememe::rng::stream;
use sememe::{Codes, Error, Matrix, Sequences};

fn of<'a>(measured: &'a [BaselineMeasures], by: &str) -> &'a BaselineMeasures {
    measured.iter().find(|m| m.by == by).expect("measured")
}

#[test]
fn they_rank_as_measure_next_item_does_where_it_asks_the_same() {
    for round in 0..6u64 {
        let draw = &mut stream(9, "baselines", round);
        let items = 90 + 10 * round as usize;
        // Nobody takes an item twice, so no question is left out there.
        let lists: Vec<Vec<u32>> = (0..70)
            .map(|_| {
                let (from, length) = (draw.below(items as u64) as usize, draw.below(8) as usize);
                let taken = draw.sample(20, length);
                taken.iter().map(|at| ((from + *at as usize) % items) as u32).collect()
            })
            .collect();
        let rows = Matrix::from_vec(items, 4, (0..items * 4).map(|_| draw.normal() as f32).collect()).unwrap();
        let codes = Codes::from_vec(items, 1, vec![0; items]).unwrap();
        for (from_end, validation) in [(0, 1), (0, 0), (1, 1)] {
            let cut: Vec<&[u32]> = lists.iter().map(|l| &l[..l.len().saturating_sub(from_end)]).collect();
            let next = NextItemOptions { decay: 0.5, shrink: 0.25, validation, ..Default::default() };
            let want = measure_next_item(&codes, Some(&rows), &Sequences::from_lists(&cut).unwrap(), &next).unwrap();
            let options = BaselineOptions {
                from_end,
                hide_seen: true,
                hold_out: from_end + 1 + validation,
                decay: 0.5,
                shrink: 0.25,
            };
            let histories = Sequences::from_lists(&lists).unwrap();
            let got = measure_baselines(items, Some(&rows), &histories, &options, &()).unwrap();
            assert_eq!(got.iter().map(|m| m.by.as_str()).collect::<Vec<_>>(), ["popularity", "item_knn", "vectors"]);
            for ranking in want.rankings.iter().filter(|r| r.by != "codes") {
                let all = of(&got, ranking.by).measures.all;
                assert_eq!(all.questions as usize, want.users);
                let pairs = [
                    (all.recall_at_5, ranking.recall_at_5),
                    (all.recall_at_10, ranking.recall_at_10),
                    (all.ndcg_at_5, ranking.ndcg_at_5),
                    (all.ndcg_at_10, ranking.ndcg_at_10),
                ];
                for (got, want) in pairs {
                    assert!((got - want).abs() <= 1e-10, "{}: got {got}, want {want}", ranking.by);
                }
                assert!(all.recall_at_10 > 0.0, "{all:?}");
            }
        }
    }
}

#[test]
fn what_was_seen_may_come_again_unless_it_is_hidden() {
    // Two items, always the same one last: popularity puts it first.
    let histories = Sequences::from_lists([vec![0, 0, 0, 0], vec![0, 0, 0, 0], vec![1, 0, 0, 0]]).unwrap();
    let measured = |hide_seen| {
        let options = BaselineOptions { hide_seen, ..Default::default() };
        measure_baselines(12, None, &histories, &options, &()).unwrap()
    };
    let all = measured(false);
    let shown = &of(&all, "popularity").measures;
    assert_eq!((shown.all.questions, shown.all.recall_at_5, shown.all.ndcg_at_5), (3, 1.0, 1.0));
    assert_eq!(of(&measured(true), "popularity").measures.all.recall_at_10, 0.0);
    // Seven events of item 0 less those held out: five; the list of ten names ten of twelve items.
    assert_eq!(shown.coverage_at_10, 10.0 / 12.0);
    let seen: Vec<u64> = shown.by_popularity.iter().map(|b| b.measures.questions).collect();
    assert_eq!(seen, [0, 3, 0, 0]);
}

struct Stop;

impl Observer for Stop {
    fn event(&self, _: Event<'_>) {}
    fn stop(&self) -> bool {
        true
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let histories = Sequences::from_lists([vec![0, 1, 2], vec![2]]).unwrap();
    let asked = |items, rows: Option<&Matrix>, options: BaselineOptions| {
        let rows = rows.map(|rows| rows as &dyn sememe::RowSource);
        measure_baselines(items, rows, &histories, &options, &()).unwrap_err().to_string()
    };
    let base = BaselineOptions::default();
    assert!(asked(2, None, base).contains("past the 2 rows"));
    assert!(asked(3, None, BaselineOptions { from_end: 2, ..base }).contains("none of 2 users has 4 items"));
    assert!(asked(3, None, BaselineOptions { from_end: usize::MAX - 2, ..base }).contains("none of 2 users"));
    assert!(asked(3, None, BaselineOptions { decay: 0.0, ..base }).contains("got 0"));
    assert!(asked(3, None, BaselineOptions { shrink: f64::NAN, ..base }).contains("got NaN"));
    let rows = Matrix::from_vec(2, 2, vec![1.0; 4]).unwrap();
    assert!(asked(3, Some(&rows), base).contains('2'));
    let rows = Matrix::from_vec(3, 1, vec![1.0, f32::NAN, 0.0]).unwrap();
    let bad = measure_baselines(3, Some(&rows), &histories, &base, &());
    assert!(matches!(bad, Err(Error::NonFinite { .. })), "{bad:?}");
    assert!(matches!(measure_baselines(3, None, &histories, &base, &Stop), Err(Error::Interrupted(_))));
    // Rows of zeros and of any finite size are ranked.
    let rows = Matrix::from_vec(3, 2, vec![0.0, 0.0, 1e30, -1e30, 1e-30, 0.0]).unwrap();
    let measured = measure_baselines(3, Some(&rows), &histories, &base, &()).unwrap();
    assert!(of(&measured, "vectors").measures.all.recall_at_5.is_finite());
}
