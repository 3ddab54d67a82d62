//! The report: well formed, escaped, offline, bounded.

use sememe::eval::{EvalOptions, Evaluation, ReportInput, evaluate, render_html};
use sememe::{Codes, Error, Matrix};
use sememe_testkit::html::{assert_well_formed, shell};

/// A run over random rows that come back as zeros: enough for a report.
fn run(codes: &Codes, sizes: &[usize]) -> Evaluation {
    let mut stream = sememe::rng::stream(9, "test", 3);
    let values = (0..codes.rows() * 2).map(|_| stream.normal() as f32).collect();
    let rows = Matrix::from_vec(codes.rows(), 2, values).unwrap();
    let zeros = |codes: &Codes| Matrix::zeros(codes.rows(), 2);
    evaluate(&rows, codes, sizes, &zeros, &EvalOptions::default()).unwrap()
}

fn random_codes(rows: usize, sizes: &[usize]) -> Codes {
    let mut stream = sememe::rng::stream(9, "test", 4);
    let data = (0..rows).flat_map(|_| sizes.iter().map(|&k| stream.below(k as u64) as u32).collect::<Vec<_>>());
    Codes::from_vec(rows, sizes.len(), data.collect()).unwrap()
}

#[test]
fn a_page_is_well_formed_and_asks_for_nothing() {
    for (rows, sizes) in
        [(1, vec![1]), (1, vec![4, 4]), (2, vec![1, 1]), (40, vec![3]), (300, vec![16, 8, 4]), (90, vec![700; 9])]
    {
        let codes = random_codes(rows, &sizes);
        let evaluation = run(&codes, &sizes);
        let names: Vec<String> = (0..rows).map(|i| format!("name {i}")).collect();
        let mut input = ReportInput::new("A run", &codes, &sizes, &evaluation);
        let unnamed = render_html(&input).unwrap();
        assert!(unnamed.contains("<b>item 0</b>"), "{rows} × {sizes:?}");
        input.names = &names;
        input.details = &names;
        input.facts = vec![("seed".into(), "7".into())];
        let page = render_html(&input).unwrap();
        for page in [unnamed, page] {
            assert_well_formed(&page);
            let low = shell(&page).to_lowercase();
            for loading in
                ["src=", "href=", "url(", "@import", "http://", "https://", "//cdn", "fetch(", "<link", "nan", "inf%"]
            {
                assert!(!low.contains(loading), "`{loading}` in the page for {rows} × {sizes:?}");
            }
            assert!(low.contains("default-src 'none'"));
        }
    }
}

#[test]
fn every_item_is_listed_once_and_counts_are_true() {
    let sizes = [6, 5, 4];
    let codes = random_codes(500, &sizes);
    let evaluation = run(&codes, &sizes);
    let names: Vec<String> = (0..500).map(|i| format!("only-{i}-here")).collect();
    let mut input = ReportInput::new("A run", &codes, &sizes, &evaluation);
    input.names = &names;
    let page = render_html(&input).unwrap();
    let items = |page: &str| page.matches("<li data-i>").count();
    assert_eq!(items(&page), 500);
    for name in &names {
        assert_eq!(page.matches(&format!("<b>{name}</b>")).count(), 1, "{name}");
    }
    let first = codes.iter().filter(|id| id[0] == 2).count();
    assert!(page.contains(&format!("<code><b>2</b></code><span class=\"n\">{first} items")), "{first}");
    assert_eq!(page, render_html(&input).unwrap(), "the same input gives the same bytes");
    input.items_shown = 100;
    let fewer = render_html(&input).unwrap();
    assert_eq!(items(&fewer), 100);
    assert!(fewer.contains("100 of 500 items are listed") && fewer.contains("more, not listed"));
    assert_well_formed(&fewer);
}

#[test]
fn data_cannot_leave_its_place() {
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</details></ul><style>*{display:none}</style>",
        "a\u{0}b\u{1b}[31m\u{202e}c\nd & e &lt;",
        "",
        "   ",
    ];
    let names: Vec<String> = hostile.iter().map(|s| (*s).to_string()).collect();
    let codes = random_codes(names.len(), &[2, 2]);
    let evaluation = run(&codes, &[2, 2]);
    let mut input = ReportInput::new(hostile[0], &codes, &[2, 2], &evaluation);
    input.names = &names;
    input.details = &names;
    input.facts = names.iter().map(|name| (name.clone(), name.clone())).collect();
    let page = render_html(&input).unwrap();
    assert_well_formed(&page);
    assert_eq!(page.matches("<script>").count(), 1, "only the page's own script");
    assert!(!page.contains("<img") && page.contains("&lt;script&gt;alert(1)") && page.contains("&amp;lt;"));
    assert!(!page.contains('\u{0}') && !page.contains('\u{1b}') && !page.contains('\u{202e}'));
    assert!(page.contains("<b>item 5</b>") && page.contains("<b>item 6</b>"));
}

#[test]
fn the_size_is_kept_whatever_the_data() {
    let sizes = [2000, 4];
    let codes = random_codes(20_000, &sizes);
    let evaluation = run(&codes, &sizes);
    let long: Vec<String> = (0..20_000).map(|i| format!("{i} {}", "long < word ".repeat(100))).collect();
    let mut input = ReportInput::new("A run", &codes, &sizes, &evaluation);
    input.names = &long;
    input.details = &long;
    input.items_shown = usize::MAX;
    for max_bytes in [2_000_000, 300_000, 60_000] {
        input.max_bytes = max_bytes;
        let page = render_html(&input).unwrap();
        assert!(page.len() <= max_bytes, "{} of {max_bytes}", page.len());
        assert!(page.len() > max_bytes / 3, "{} of {max_bytes}", page.len());
        assert_well_formed(&page);
        assert!(page.contains("are not shown"), "2,000 first codes are more than a page lists");
    }
}

#[test]
fn a_report_refuses_what_does_not_fit() {
    let codes = random_codes(10, &[4]);
    let evaluation = run(&codes, &[4]);
    let names = vec!["a".to_string()];
    let mut input = ReportInput::new("A run", &codes, &[4], &evaluation);
    input.names = &names;
    assert!(matches!(render_html(&input), Err(Error::Shape { expected: 10, got: 1, .. })));
    let other = random_codes(11, &[4]);
    let input = ReportInput::new("A run", &other, &[4], &evaluation);
    assert!(matches!(render_html(&input), Err(Error::Shape { expected: 11, got: 10, .. })));
}
