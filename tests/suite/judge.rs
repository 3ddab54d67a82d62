//! Measures that need more than codes and rows: labels, behaviour, another table. Hand-worked cases, and an independent slow form.

use sememe::eval::{
    Better, CoInteractionOptions, CodeAdjustment, EvalOptions, Labels, NextItemOptions, ReportInput, Subject, compare,
    interpret_codes, judge, measure_churn, measure_co_interaction, measure_labels, measure_next_item,
    measure_next_prefix, render_comparison, render_html, render_text,
};
use sememe::rng::{Stream, stream};
use sememe::{Codes, Error, Matrix, Sequences};
use sememe_testkit::slow_eval as slow;

#[track_caller]
fn same(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-10, "got {got}, want {want}");
}

fn table(rows: &[Vec<u32>]) -> Codes {
    Codes::from_vec(rows.len(), rows[0].len(), rows.concat()).unwrap()
}

fn random_codes(draw: &mut Stream, items: usize, sizes: &[u64]) -> Vec<Vec<u32>> {
    (0..items).map(|_| sizes.iter().map(|&k| draw.below(k) as u32).collect()).collect()
}

/// Users who take items near each other, so that behaviour has something in it; some lists are short or repeat.
fn random_lists(draw: &mut Stream, users: usize, items: u64) -> Vec<Vec<u32>> {
    let list = |draw: &mut Stream| {
        let (from, length) = (draw.below(items), draw.below(7));
        (0..length).map(|_| ((from + draw.below(6)) % items) as u32).collect()
    };
    (0..users).map(|_| list(draw)).collect()
}

#[test]
fn next_prefixes_of_a_hand_worked_case() {
    // Pairs: 0→1 (share 1 of 2), 1→1 (a repeat), 1→2 (nothing), 2→3 (all).
    let codes = table(&[vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 0]]);
    let m = measure_next_prefix(&codes, &Sequences::from_lists([[0, 1, 1, 2, 3]]).unwrap()).unwrap();
    assert_eq!((m.pairs, m.repeats), (4, 1));
    same(m.levels[0].share, 2.0 / 3.0);
    same(m.levels[1].share, 1.0 / 3.0);
    // First ends 0,1,1,2; second ends 1,1,2,3. Of the 16 pairings 5 are an item with itself (1·1 twice each way: 4, and 2·2).
    // Same first code: {0,1}×{1,1} gives 6, 2×{2,3} gives 2: 8 − 5 = 3 of 11. Both codes: 2×{2,3} = 2, and 1×1 = 4: less 5 is 1.
    same(m.levels[0].by_chance, 3.0 / 11.0);
    same(m.levels[1].by_chance, 1.0 / 11.0);
    same(m.levels[0].lift, (2.0 / 3.0) / (3.0 / 11.0));
}

#[test]
fn next_items_of_a_hand_worked_case() {
    // One user: history 0, then 1 is to be found. By code, items 1 and 2 share one code with 0, and tie for places 1 and 2.
    let codes = table(&[vec![0, 0], vec![0, 1], vec![0, 2], vec![1, 0]]);
    let sequences = Sequences::from_lists([vec![0, 1]]).unwrap();
    let m = measure_next_item(&codes, None, &sequences, &NextItemOptions::default()).unwrap();
    assert_eq!((m.users, m.left_out, m.rankings.len()), (1, 0, 3));
    let by_code = m.rankings[0];
    assert_eq!((by_code.by, by_code.recall_at_5), ("codes", 1.0));
    same(by_code.ndcg_at_5, (1.0 + 1.0 / 3f64.log2()) / 2.0);
    // Nothing is learned from so short a sequence: all three tie, and order by row number would find it first.
    same(m.rankings[1].ndcg_at_10, (1.0 + 1.0 / 3f64.log2() + 0.5) / 3.0);
    same(m.rankings[2].ndcg_at_10, (1.0 + 1.0 / 3f64.log2() + 0.5) / 3.0);
    // One row is nearer than the item, one as near: places 2 and 3.
    let rows = Matrix::from_vec(4, 2, vec![1., 0., 1., 1., 1., 1., 4., 1.]).unwrap();
    let m = measure_next_item(&codes, Some(&rows), &sequences, &NextItemOptions::default()).unwrap();
    assert_eq!(m.rankings[3].by, "vectors");
    same(m.rankings[3].ndcg_at_5, (1.0 / 3f64.log2() + 0.5) / 2.0);
}

#[test]
fn co_interaction_of_a_hand_worked_case() {
    // Items 0, 1 and 2 have the same two users; 3 has one of them. With support 2, item 0's neighbours are 1 and 2.
    let sequences = Sequences::from_lists([vec![0, 1, 2, 3], vec![2, 1, 0, 0]]).unwrap();
    let codes = table(&[vec![0], vec![0], vec![1], vec![0]]);
    let m = measure_co_interaction(
        &codes,
        &sequences,
        &CoInteractionOptions { k: 2, min_support: 2, ..Default::default() },
    )
    .unwrap();
    assert_eq!(m.items, 3);
    // Items 0 and 1 hold their two code neighbours {1 or 0, 3}: one of two is right. Item 2 shares no code: any 2 of 3.
    same(m.recall, (0.5 + 0.5 + 2.0 / 3.0) / 3.0);
    same(m.recall_by_chance, 2.0 / 3.0);
    same(m.neighbours_mean, 2.0);
    let none = measure_co_interaction(
        &codes,
        &sequences,
        &CoInteractionOptions { k: 2, min_support: 3, ..Default::default() },
    );
    assert!(matches!(&none, Err(e) if matches!(e.root(), Error::Data(m) if m.contains("3 users in common"))));
}

#[test]
fn labels_of_a_hand_worked_case() {
    // Prefixes 0: a a b; 1: b, and one without a label.
    let codes = table(&[vec![0], vec![0], vec![0], vec![1], vec![1]]);
    let m = measure_labels(&codes, &Labels::new("kind", &["a", "a", "b", "b", ""]), 0).unwrap();
    assert_eq!((m.labelled, m.labels, m.levels[0].prefixes), (4, 2, 2));
    same(m.majority, 0.5);
    same(m.levels[0].purity, 0.75);
    // H(prefix) of (3/4, 1/4), H(label) = ln 2, joint of (1/2, 1/4, 1/4).
    let (h, joint) = (-(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln()), 0.5 * 2f64.ln() + 0.5 * 4f64.ln());
    same(m.levels[0].nmi, 2.0 * (h + 2f64.ln() - joint) / (h + 2f64.ln()));
    let exact = measure_labels(&codes, &Labels::new("kind", &["a", "a", "a", "b", "b"]), 0).unwrap();
    assert_eq!((exact.levels[0].purity, exact.levels[0].purity_adjusted), (1.0, 1.0));
    same(exact.levels[0].nmi, 1.0);
    assert!(
        measure_labels(&codes, &Labels::new("kind", &[""; 5]), 0).unwrap_err().to_string().contains("none of 5 rows")
    );
    let few = measure_labels(&codes, &Labels::new("kind", &["a"]), 0);
    assert!(matches!(few, Err(Error::Shape { expected: 5, got: 1, .. })));
}

#[test]
fn singletons_are_pure_by_chance_and_score_nothing() {
    let codes = table(&(0..50).map(|i| vec![i]).collect::<Vec<_>>());
    let texts: Vec<String> = (0..50).map(|i| (i % 7).to_string()).collect();
    let m = measure_labels(&codes, &Labels::new("kind", &texts), 0).unwrap();
    assert_eq!((m.levels[0].purity, m.levels[0].purity_by_chance, m.levels[0].purity_adjusted), (1.0, 1.0, 0.0));
    same(m.levels[0].nmi, m.levels[0].nmi_by_chance);
}

#[test]
fn everything_is_what_an_independent_slow_form_finds() {
    for round in 0..12 {
        let draw = &mut stream(3, "judge", round);
        let items = 20 + draw.below(60) as usize;
        let codes = random_codes(draw, items, &[4, 3, 3]);
        let lists = random_lists(draw, 40, items as u64);
        let (ids, sequences) = (table(&codes), Sequences::from_lists(&lists).unwrap());

        let m = measure_next_prefix(&ids, &sequences).unwrap();
        for depth in 1..=3 {
            let (share, by_chance) = slow::next_prefix(&codes, &lists, depth);
            same(m.levels[depth - 1].share, share);
            same(m.levels[depth - 1].by_chance, by_chance);
        }

        for (k, min_support) in [(1, 1), (5, 2), (1000, 1)] {
            let m = measure_co_interaction(
                &ids,
                &sequences,
                &CoInteractionOptions { k, min_support, ..Default::default() },
            )
            .unwrap();
            let (recall, ndcg, count) = slow::co_interaction(&codes, &lists, k, min_support);
            assert_eq!(m.items, count);
            same(m.recall, recall);
            same(m.ndcg, ndcg);
        }

        // Halves are exact, so ties are ties in any order of summation.
        let options =
            NextItemOptions { decay: 0.5, shrink: 0.25, validation: (round % 3) as usize, ..Default::default() };
        let mut values: Vec<f32> = (0..items * 3).map(|_| draw.normal() as f32).collect();
        values.copy_within(0..9, 9);
        let rows = Matrix::from_vec(items, 3, values.clone()).unwrap();
        let m = measure_next_item(&ids, Some(&rows), &sequences, &options).unwrap();
        let cut: Vec<&[u32]> = lists.iter().map(|l| &l[..l.len().saturating_sub(1 + options.validation)]).collect();
        let has = |item: usize| -> Vec<usize> { (0..cut.len()).filter(|&u| cut[u].contains(&(item as u32))).collect() };
        let users: Vec<Vec<usize>> = (0..items).map(has).collect();
        let weighed = |history: &[u32], of: &dyn Fn(usize) -> f64| -> f64 {
            let last = history.len() - 1;
            history.iter().enumerate().map(|(at, &h)| 0.5f64.powi((last - at) as i32) * of(h as usize)).sum()
        };
        let similar = |a: usize, b: usize| {
            let common = users[a].iter().filter(|u| users[b].contains(u)).count() as f64;
            common / (((users[a].len() * users[b].len()) as f64).sqrt() + 0.25)
        };
        let unit = |i: usize| -> Vec<f64> {
            let row: Vec<f64> = values[i * 3..i * 3 + 3].iter().map(|&x| f64::from(x)).collect();
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(|x| x / norm).collect()
        };
        let dot = |a: usize, b: usize| -> f64 { unit(a).iter().zip(unit(b)).map(|(x, y)| x * y).sum() };
        type Score<'a> = Box<dyn Fn(&[u32], usize) -> f64 + 'a>;
        let scores: [(&str, Score<'_>); 4] = [
            ("codes", Box::new(|h, c| weighed(h, &|i| slow::shared(&codes[i], &codes[c]) as f64))),
            ("popularity", Box::new(|_, c| users[c].len() as f64)),
            ("item_knn", Box::new(|h, c| weighed(h, &|i| similar(i, c)))),
            ("vectors", Box::new(|h, c| weighed(h, &|i| dot(i, c)))),
        ];
        for (ranking, (name, score)) in m.rankings.iter().zip(scores) {
            assert_eq!(ranking.by, name);
            let (want, users) = slow::next_item(items, &lists, score);
            assert_eq!(m.users, users);
            let got = [ranking.recall_at_5, ranking.recall_at_10, ranking.ndcg_at_5, ranking.ndcg_at_10];
            got.iter().zip(want).for_each(|(got, want)| assert!((got - want).abs() < 1e-9, "{name}: {got}, {want}"));
        }

        let texts: Vec<String> = (0..items).map(|i| format!("l{}", (codes[i][0] + draw.below(3) as u32) % 5)).collect();
        let names: Vec<&str> = texts.iter().map(String::as_str).collect();
        let m = measure_labels(&ids, &Labels::new("l", &texts), 0).unwrap();
        for (depth, level) in m.levels.iter().enumerate() {
            let groups: Vec<Vec<u32>> = codes.iter().map(|id| id[..=depth].to_vec()).collect();
            let (purity, nmi) = slow::agreement(&groups, &names);
            same(level.purity, purity);
            same(level.nmi, nmi);
            // Chance is a mean of 4 draws; 200 others say where it must be about.
            let chance = (0..200u64).map(|at| {
                let mut order: Vec<&str> = names.clone();
                let draw = &mut stream(99, "judge.shuffle", at);
                (1..order.len()).for_each(|i| order.swap(i, draw.below(i as u64 + 1) as usize));
                slow::agreement(&groups, &order).0
            });
            let mean = chance.sum::<f64>() / 200.0;
            assert!((level.purity_by_chance - mean).abs() < 0.12, "{} and {mean}", level.purity_by_chance);
        }

        let other = random_codes(draw, items, &[3, 4]);
        let m = measure_churn(&ids, &table(&other)).unwrap();
        assert_eq!(m.levels.len(), 2);
        for (depth, level) in m.levels.iter().enumerate() {
            let (changed, kept, before) = slow::churn(&codes, &other, depth + 1);
            same(level.changed, changed);
            same(level.kept_together, kept);
            same(level.together_before, before);
        }
    }
}

#[test]
fn no_measure_depends_on_the_order_of_items_or_users() {
    let draw = &mut stream(4, "judge", 0);
    let codes = random_codes(draw, 50, &[4, 4]);
    let lists = random_lists(draw, 60, 50);
    let turn = |i: u32| (i * 7 + 3) % 50;
    let mut moved = vec![vec![0; 2]; 50];
    (0..50).for_each(|i| moved[turn(i as u32) as usize] = codes[i].clone());
    let relabelled: Vec<Vec<u32>> = lists.iter().rev().map(|l| l.iter().map(|&i| turn(i)).collect()).collect();
    let options = EvalOptions { queries: 0, ..Default::default() };
    let run = |codes: &[Vec<u32>], lists: &[Vec<u32>]| {
        let (codes, sequences) = (table(codes), Sequences::from_lists(lists).unwrap());
        judge(&Subject { sequences: Some(&sequences), ..Subject::new(&codes, &[4, 4]) }, &options).unwrap()
    };
    let (a, b) = (run(&codes, &lists).behaviour.unwrap(), run(&moved, &relabelled).behaviour.unwrap());
    let (x, y) = (a.co_interaction.unwrap(), b.co_interaction.unwrap());
    same(x.recall, y.recall);
    same(x.ndcg, y.ndcg);
    for (x, y) in a.next_item.unwrap().rankings.iter().zip(&b.next_item.unwrap().rankings) {
        same(x.recall_at_10, y.recall_at_10);
        same(x.ndcg_at_5, y.ndcg_at_5);
    }
}

#[test]
fn what_events_cannot_tell_is_left_out_and_what_is_wrong_refused() {
    let codes = table(&[vec![0], vec![1], vec![1]]);
    let lonely = Sequences::from_lists([vec![], vec![2], vec![1]]).unwrap();
    let subject = Subject { sequences: Some(&lonely), ..Subject::new(&codes, &[2]) };
    let evaluation = judge(&subject, &EvalOptions::default()).unwrap();
    let behaviour = evaluation.behaviour.as_ref().unwrap();
    assert_eq!((behaviour.users, behaviour.events), (3, 2));
    assert!(behaviour.next_prefix.is_none() && behaviour.co_interaction.is_none() && behaviour.next_item.is_none());
    let text = render_text(&evaluation);
    assert!(text.contains("no user has an item before the last one") && !text.contains("R²"), "{text}");
    assert!(matches!(Sequences::from_lists([[0u32; 0]]), Err(Error::Data(m)) if m.contains("no event")));
    let far = Sequences::from_lists([[0, 3]]).unwrap();
    let subject = Subject { sequences: Some(&far), ..Subject::new(&codes, &[2]) };
    let error = judge(&subject, &EvalOptions::default()).unwrap_err().to_string();
    assert!(error.contains("1 of 2 events") && error.contains("the first is item 3"), "{error}");
    for bad in [
        NextItemOptions { decay: 0.0, ..Default::default() },
        NextItemOptions { decay: f64::NAN, ..Default::default() },
        NextItemOptions { shrink: -1.0, ..Default::default() },
        NextItemOptions { users: Some(0), ..Default::default() },
    ] {
        let options = EvalOptions { next_item: bad, ..Default::default() };
        assert!(matches!(judge(&Subject::new(&codes, &[2]), &options), Err(Error::Config { .. })), "{bad:?}");
    }
    let options = NextItemOptions { users: Some(1), ..Default::default() };
    let two = Sequences::from_lists([[0, 1], [1, 2]]).unwrap();
    assert_eq!(measure_next_item(&codes, None, &two, &options).unwrap().users, 1);
}

#[test]
fn tables_of_other_systems_are_read_as_they_are_meant() {
    // [levels, rows]: 3 levels of 100 items.
    let wide = Codes::from_vec(3, 100, (0..300).map(|i| (i % 5) as u32).collect()).unwrap();
    let table = interpret_codes(wide.clone(), Some(&[5]), None).unwrap();
    assert_eq!((table.codes.rows(), table.codes.levels(), table.readings), (100, 3, vec![CodeAdjustment::Transposed]));
    assert_eq!(table.codes.row(7), [wide.row(0)[7], wide.row(1)[7], wide.row(2)[7]]);
    // As many rows as there are items is no reason to turn, whatever the shape.
    let table = interpret_codes(wide.clone(), None, Some(3));
    assert!(table.unwrap_err().to_string().contains("100 codes an ID"));
    let square = Codes::from_vec(4, 4, vec![0; 16]).unwrap();
    assert_eq!(interpret_codes(square, Some(&[1]), Some(4)).unwrap().readings, []);
    let turned = Codes::from_vec(2, 5, vec![0; 10]).unwrap();
    assert_eq!(interpret_codes(turned.clone(), Some(&[1]), Some(5)).unwrap().readings, [CodeAdjustment::Transposed]);
    assert!(matches!(interpret_codes(turned, None, Some(6)), Err(Error::Shape { expected: 6, got: 2, .. })));

    let offset = Codes::from_vec(2, 3, vec![0, 4, 8, 3, 7, 9]).unwrap();
    let table = interpret_codes(offset.clone(), Some(&[4]), None).unwrap();
    assert_eq!((table.codes.as_slice(), table.readings), (&[0, 0, 0, 3, 3, 1][..], vec![CodeAdjustment::Offset]));
    let error = interpret_codes(offset, None, None).unwrap_err().to_string();
    assert!(error.contains("0 to 3, 4 to 7, 8 to 9") && error.contains("`codebook_sizes`"), "{error}");
    let plain = Codes::from_vec(2, 2, vec![0, 3, 2, 1]).unwrap();
    let table = interpret_codes(plain.clone(), None, None).unwrap();
    assert_eq!((table.codebook_sizes, table.readings), (vec![3, 4], vec![CodeAdjustment::SizesGuessed]));
    let ones = Codes::from_vec(2, 2, vec![1, 4, 4, 1]).unwrap();
    assert!(interpret_codes(ones, Some(&[4]), None).unwrap_err().to_string().contains("counted from 1"));
    assert!(matches!(interpret_codes(plain.clone(), Some(&[4, 4, 4]), None), Err(Error::Shape { .. })));
    assert!(matches!(interpret_codes(plain, Some(&[0]), None), Err(Error::Config { .. })));
}

#[test]
fn two_tables_side_by_side_say_which_is_better() {
    let (good, bad) = (table(&[vec![0, 0], vec![0, 1], vec![1, 0]]), table(&[vec![0, 0], vec![0, 0], vec![0, 1]]));
    let options = EvalOptions::default();
    let run = |codes: &Codes| judge(&Subject::new(codes, &[2, 2]), &options).unwrap();
    let (a, b) = (run(&good), run(&bad));
    let c = compare(("good", &a), ("bad <&>", &b), Some(measure_churn(&good, &bad).unwrap()));
    let of = |name: &str, level: Option<usize>| {
        c.differences.iter().find(|d| d.measure == name && d.level == level).unwrap_or_else(|| panic!("{name}"))
    };
    assert_eq!(of("collision_rate", None).better, Better::First);
    same(of("collision_rate", None).delta, 1.0 / 3.0);
    assert_eq!(of("perplexity", Some(1)).better, Better::First);
    assert_eq!(of("fan_out_max", Some(2)).better, Better::Neither);
    assert_eq!(of("utilisation", Some(2)).better, Better::Same);
    let back = compare(("bad", &b), ("good", &a), None);
    assert_eq!(back.differences[1].better, Better::Second);
    let text = render_comparison(&c);
    assert!(text.contains("A  good") && text.contains("codes changed") && !text.contains("NaN"), "{text}");
    let labels = [Labels::new("<kind>", &["a", "a", "b"])];
    let sequences = Sequences::from_lists([[0, 1, 2], [0, 1, 2]]).unwrap();
    let subject = Subject { labels: &labels, sequences: Some(&sequences), ..Subject::new(&good, &[2, 2]) };
    let evaluation = judge(&subject, &options).unwrap();
    let mut page = ReportInput::new("tables", &good, &[2, 2], &evaluation);
    page.comparison = Some(&c);
    let page = render_html(&page).unwrap();
    sememe_testkit::html::assert_well_formed(&page);
    for part in
        ["Labels by prefix", "&lt;kind&gt;", "What users did", "shared prefix", "Beside another", "bad &lt;&amp;&gt;"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("Error by depth") && !page.contains("R²"), "nothing is said about rows that are not there");
}
