//! Metrics lines and the use of codes of a run, killed or not.

use std::cell::Cell;
use std::fs;

use sememe_run::track::{MetricsWriter, write_code_usage};
use serde_json::{Value, json};

use crate::track::names;
use sememe_testkit::files::error;

fn lines(metrics: &mut MetricsWriter, steps: std::ops::Range<u64>) {
    for step in steps {
        metrics.line(&json!({"loss": 1.0 / (step + 1) as f64, "note": "a \"line\"\nend", "step": step})).unwrap();
    }
}

fn until(step: u64) -> impl Fn(&Value) -> bool {
    move |line| line["step"].as_u64().is_some_and(|s| s < step)
}

#[test]
fn metrics_killed_at_any_byte_resume_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    lines(&mut MetricsWriter::create(&path).unwrap(), 0..4);
    let whole = fs::read(&path).unwrap();
    for (step, line) in std::str::from_utf8(&whole).unwrap().lines().enumerate() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["step"], step);
    }
    for cut in 0..=whole.len() {
        let on_disk = whole[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
        // A line that lost only its end counts as well.
        let almost = on_disk + u64::from(whole.get(cut) == Some(&b'\n'));
        for before in [almost, on_disk, on_disk.saturating_sub(1)] {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut metrics = MetricsWriter::resume(&path, until(before)).unwrap();
            lines(&mut metrics, before..4);
            metrics.sync().unwrap();
            assert!(fs::read(&path).unwrap() == whole, "cut at byte {cut}, resumed at step {before}");
        }
    }
    assert_eq!(names(folder.path()), ["metrics.jsonl"]);
}

#[test]
fn metrics_are_there_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut metrics = MetricsWriter::resume(&path, |_| true).unwrap();
    assert_eq!(metrics.path(), path);
    metrics.line(&json!({"loss": f64::NAN})).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{\"loss\":null}\n");
    assert!(error(metrics.line(&[1, 2])).contains("got `[1,2]`"));
    assert!(error(metrics.line(&"text")).contains("expected an object"));
    assert_eq!(fs::read(&path).unwrap(), b"{\"loss\":null}\n");
    MetricsWriter::create(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn metrics_with_a_bad_line_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    for (bad, expected) in [("{\"step\":", "line 2, column"), ("[1]", "line 2 is no JSON object"), ("", "line 2")] {
        let text = format!("{{\"step\":0}}\n{bad}\n{{\"step\":1}}\n");
        fs::write(&path, &text).unwrap();
        let calls = Cell::new(0);
        let result = MetricsWriter::resume(&path, |_| {
            calls.set(calls.get() + 1);
            false
        });
        assert!(error(result).contains(expected));
        assert_eq!((fs::read_to_string(&path).unwrap(), calls.get()), (text, 1));
    }
    // Zeros without a line's end, after a loss of power, are a torn line.
    fs::write(&path, [b"{\"step\":0}\n", &[0; 100][..]].concat()).unwrap();
    drop(MetricsWriter::resume(&path, |_| true).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"{\"step\":0}\n");
    // So are zeros before later lines: what is behind such a hole was not synced.
    fs::write(&path, [b"{\"step\":0}\n", &[0; 100][..], b"ss\":1}\n{\"step\":2}\n"].concat()).unwrap();
    drop(MetricsWriter::resume(&path, |_| true).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"{\"step\":0}\n");
}

#[test]
fn code_usage_sums_to_one_a_level() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("code_usage.csv");
    write_code_usage(&path, &[vec![1, 2, 0], vec![0, 0], vec![u64::MAX, u64::MAX]]).unwrap();
    let expected = "level,code,count,share\n0,0,1,0.3333333333333333\n0,1,2,0.6666666666666666\n0,2,0,0\n1,0,0,0\n1,1,0,0\n\
                    2,0,18446744073709551615,0.5\n2,1,18446744073709551615,0.5\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    write_code_usage(&path, &[]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "level,code,count,share\n");
    assert!(error(write_code_usage(folder.path().join("none/usage.csv"), &[])).contains("cannot create"));
}
