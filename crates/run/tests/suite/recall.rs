//! Behavioural recall: which interactions count, whatever holds them, and the same figures as the slow form finds.

use sememe::eval::recall::{RecallOptions, RecallReport};
use sememe::rng::stream;
use sememe::{Codes, Error};
use sememe_run::recall::measure_recall;
use sememe_testkit::slow_eval as slow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const ITEMS: usize = 60;

#[track_caller]
fn same(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-10, "got {got}, want {want}");
}

/// One interaction.
#[derive(Clone)]
struct Row {
    user: String,
    item: String,
    score: Option<u64>,
    status: &'static str,
}

/// Users who take items near each other, some of them unknown, some several times.
fn rows() -> Vec<Row> {
    let mut draw = stream(5, "recall", 0);
    (0..1500)
        .map(|_| {
            let user = draw.below(80);
            let item = (user * 7 / 10 + draw.below(9)) % (ITEMS as u64 + 4);
            Row {
                user: format!("u{user}"),
                item: if item < ITEMS as u64 { format!("i{item}") } else { format!("gone{item}") },
                score: Some(draw.below(11)).filter(|score| *score > 0),
                status: ["completed", "dropped", "watching"][draw.below(3) as usize],
            }
        })
        .collect()
}

fn codes() -> (Vec<Vec<u32>>, Codes, Vec<String>) {
    let mut draw = stream(6, "recall", 0);
    let rows: Vec<Vec<u32>> =
        (0..ITEMS).map(|i| vec![i as u32 / 12, draw.below(3) as u32, draw.below(4) as u32]).collect();
    let codes = Codes::from_vec(ITEMS, 3, rows.concat()).unwrap();
    (rows, codes, (0..ITEMS).map(|i| format!("i{i}")).collect())
}

fn csv(rows: &[Row]) -> String {
    let mut out = String::from("status,score,item,user\n");
    for row in rows {
        let score = row.score.map_or(String::new(), |score| score.to_string());
        let _ = writeln!(out, "{},{score},{},{}", row.status, row.item, row.user);
    }
    out
}

fn settings(source: PathBuf) -> RecallOptions {
    RecallOptions {
        source,
        score: Some("score".into()),
        positive_score: Some(6.0),
        status: Some("status".into()),
        completed: vec!["completed".into(), "watching".into()],
        k: 5,
        ..RecallOptions::default()
    }
}

/// What should count, a list a user.
fn lists(rows: &[Row]) -> Vec<Vec<u32>> {
    let mut out: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for row in rows {
        if row.status != "dropped"
            && row.score >= Some(6)
            && let Some(item) = row.item.strip_prefix('i')
        {
            out.entry(&row.user).or_default().push(item.parse().unwrap());
        }
    }
    out.into_values().collect()
}

fn measured(recall: &RecallOptions) -> RecallReport {
    let (_, codes, keys) = codes();
    measure_recall(recall, &keys, &codes, &()).unwrap()
}

#[track_caller]
fn fails(recall: &RecallOptions, parts: &[&str]) -> Error {
    let (_, codes, keys) = codes();
    let error = measure_recall(recall, &keys, &codes, &()).expect_err("accepted");
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    error
}

#[test]
fn what_counts_is_measured_as_the_slow_form_does() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("watched.csv");
    let rows = rows();
    fs::write(&path, csv(&rows)).unwrap();
    let recall = settings(path.clone());
    let (table, ..) = codes();
    let lists = lists(&rows);
    let report = measured(&recall);
    let events: usize = lists.iter().map(Vec::len).sum();
    assert_eq!((report.read.interactions, report.read.users, report.items), (events, lists.len(), ITEMS));
    let read = report.read;
    assert_eq!(read.rows, read.interactions + read.unknown_items + read.not_completed + read.below_score);
    assert!(read.unknown_items > 10 && read.not_completed > 200 && read.below_score > 200, "uninformative: {read:?}");
    let (want, ndcg, items) = slow::co_interaction(&table, &lists, 5, 2);
    assert_eq!(report.measures.items, items);
    same(report.measures.recall, want);
    same(report.measures.ndcg, ndcg);
    same(report.lift, want / (5.0 / 59.0));
    assert!(report.lift > 1.5, "uninformative");
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["measures"]["recall_at_5"], report.measures.recall);
    assert_eq!(value["settings"]["positive_score"], 6.0);
    assert!(value["settings"].get("source").is_none());

    // An item that few took is neither measured nor found.
    let takers = |item: u32| lists.iter().filter(|list| list.contains(&item)).count();
    let known = |item: &u32| takers(*item) >= 7;
    let fewer: Vec<Vec<u32>> = lists.iter().map(|list| list.iter().copied().filter(known).collect()).collect();
    let (want, _, items) = slow::co_interaction(&table, &fewer, 5, 2);
    let report = measured(&RecallOptions { min_item_users: 7, ..recall.clone() });
    assert!((10..report.items - 5).contains(&items), "uninformative: {items}");
    assert_eq!(report.measures.items, items);
    same(report.measures.recall, want);

    // IDs without meaning have what chance has.
    let keys: Vec<String> = (0..ITEMS).map(|i| format!("i{i}")).collect();
    let blank = measure_recall(&recall, &keys, &Codes::from_vec(ITEMS, 1, vec![0; ITEMS]).unwrap(), &()).unwrap();
    same(blank.measures.recall, blank.measures.recall_by_chance);
    same(blank.measures.ndcg, blank.measures.ndcg_by_chance);
    same(blank.lift, 1.0);
}

#[test]
fn the_order_and_the_format_do_not_matter() {
    let folder = TempDir::new().unwrap();
    let mut rows = rows();
    let file = |name: &str, text: String| {
        fs::write(folder.path().join(name), text).unwrap();
        RecallOptions { max_rows: Some(200), max_queries: Some(20), ..settings(folder.path().join(name)) }
    };
    let first = measured(&file("a.csv", csv(&rows)));
    rows.reverse();
    rows.swap(3, 700);
    assert_eq!(measured(&file("b.csv", csv(&rows))), first);
    let lines: String = rows
        .iter()
        .map(|row| {
            serde_json::json!({"user": row.user, "item": row.item, "score": row.score, "status": row.status})
                .to_string()
                + "\n"
        })
        .collect();
    assert_eq!(measured(&file("c.jsonl", lines)), first);
    #[cfg(feature = "sqlite")]
    {
        let path = folder.path().join("d.db");
        let mut db = rusqlite::Connection::open(&path).unwrap();
        let write = db.transaction().unwrap();
        write
            .execute_batch("CREATE TABLE log (uid TEXT, anime TEXT, score REAL, status TEXT); CREATE TABLE users (uid)")
            .unwrap();
        for row in &rows {
            write
                .execute(
                    "INSERT INTO log VALUES (?, ?, ?, ?)",
                    (&row.user, &row.item, row.score.map(|s| s as f64), row.status),
                )
                .unwrap();
        }
        write.commit().unwrap();
        let base =
            RecallOptions { source: path, user: "uid".into(), item: "anime".into(), ..file("a.csv", csv(&rows)) };
        let by_table = measured(&RecallOptions { table: Some("log".into()), ..base.clone() });
        assert_eq!((by_table.read, by_table.measures), (first.read, first.measures));
        let query = "SELECT uid, anime, score, status FROM log WHERE status <> 'dropped'".to_owned();
        let by_query = measured(&RecallOptions { query: Some(query), ..base.clone() });
        assert_eq!(by_query.measures, first.measures);
        assert_eq!(by_query.read.not_completed, 0);
        fails(&base, &["holds 2 tables", "`log`"]);
        fails(&RecallOptions { table: Some("users".into()), ..base }, &["no column `anime`", "it holds `uid`"]);
    }
}

#[test]
fn caps_draw_whole_users_and_single_items_by_the_seed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("watched.csv");
    let rows = rows();
    fs::write(&path, csv(&rows)).unwrap();
    let recall = settings(path);
    let all = measured(&recall);
    let lists = lists(&rows);
    let mut seen = BTreeSet::new();
    for seed in 0..5 {
        let report = measured(&RecallOptions { max_rows: Some(200), seed, ..recall.clone() });
        let read = report.read;
        assert!(read.interactions <= 200 && read.interactions > 200 - lists.iter().map(Vec::len).max().unwrap());
        assert_eq!(read.interactions + read.over_max_rows, all.read.interactions);
        seen.insert(report.measures.recall.to_bits());
    }
    assert!(seen.len() > 1, "every seed draws the same users");
    let uncapped = measured(&RecallOptions { max_rows: Some(all.read.interactions), ..recall.clone() });
    assert_eq!((uncapped.read, uncapped.measures), (all.read, all.measures));

    let mut recalls = Vec::new();
    for seed in 0..40 {
        let few = measured(&RecallOptions { max_queries: Some(10), seed, ..recall.clone() });
        assert_eq!(few.measures.items, 10);
        recalls.push(few.measures.recall);
    }
    let mean = recalls.iter().sum::<f64>() / 40.0;
    assert!(recalls.iter().any(|recall| (recall - mean).abs() > 1e-3), "every seed draws the same items");
    assert!((mean - all.measures.recall).abs() < 0.05, "{mean} of samples, {} of all", all.measures.recall);
    let enough = measured(&RecallOptions { max_queries: Some(10_000), ..recall });
    assert_eq!(enough.measures, all.measures);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("watched.csv");
    fs::write(&path, csv(&rows())).unwrap();
    let base = settings(path.clone());
    let refused = |change: &dyn Fn(&mut RecallOptions), parts: &[&str]| {
        let mut recall = base.clone();
        change(&mut recall);
        assert!(matches!(fails(&recall, parts).root(), Error::Config { .. }));
    };
    refused(&|r| r.source = PathBuf::new(), &["`source`"]);
    refused(&|r| r.user = String::new(), &["`user`"]);
    refused(&|r| r.k = 0, &["`k`", "at least 1"]);
    refused(&|r| r.max_queries = Some(0), &["`max_queries`"]);
    refused(&|r| r.min_item_users = 0, &["`min_item_users`"]);
    refused(&|r| r.positive_score = None, &["`score`", "go together"]);
    refused(&|r| r.score = None, &["`score`", "go together"]);
    refused(&|r| r.completed = vec![], &["`status`", "go together"]);
    refused(&|r| r.positive_score = Some(f64::NAN), &["`positive_score`", "NaN"]);
    refused(&|r| r.table = Some("t".into()), &["`table`", "SQLite"]);
    fails(
        &RecallOptions { completed: vec!["done".into()], ..base.clone() },
        &["none of 1500 rows", "of another status (there are `completed`, `dropped`, `watching`)"],
    );
    fails(&RecallOptions { positive_score: Some(99.0), ..base.clone() }, &["none of 1500 rows", "below the score"]);
    fails(&RecallOptions { max_rows: Some(1), ..base.clone() }, &["over `max_rows`"]);
    fails(&RecallOptions { min_support: 79, ..base.clone() }, &["79 users in common"]);
    fails(
        &RecallOptions { score: Some("rating".into()), ..base.clone() },
        &["no column `rating`", "`status`, `score`"],
    );
    fails(&RecallOptions { source: folder.path().join("no.csv"), ..base.clone() }, &["no.csv"]);
    fs::write(&path, "user,item,score,status\na,i1,high,completed\n").unwrap();
    fails(&base, &["row 2: score `high` is no number"]);
    fs::write(&path, "user,item,score,status\n").unwrap();
    fails(&base, &["none of 0 rows"]);
    let (_, codes, mut keys) = codes();
    keys[1] = keys[0].clone();
    assert!(measure_recall(&base, &keys, &codes, &()).unwrap_err().to_string().contains("same key"));
    keys.pop();
    assert!(matches!(measure_recall(&base, &keys, &codes, &()), Err(Error::Shape { expected: 60, got: 59, .. })));
}
