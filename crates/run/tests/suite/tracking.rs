//! Figures of a run: the files that are always written, and the server that may be told.
//!
//! One file past the usual length: every case builds on the readers of figures at the top.

use sememe::{Codec, Device, Error, Event, Matrix, Observer, RqKMeans};
use sememe_run::tracking::{Mlflow, Tracker, Tracking, TrackingObserver};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `phase step` of every line.
fn steps(folder: &Path) -> Vec<String> {
    lines(folder).iter().map(|line| format!("{} {}", line["phase"].as_str().unwrap(), line["step"])).collect()
}

fn event_bytes(folder: &Path, phase: &str) -> Vec<u8> {
    let mut files: Vec<_> =
        fs::read_dir(folder.join("events").join(phase)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.iter().all(|file| file.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.")));
    files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
}

#[test]
fn every_phase_has_its_figures_in_files() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let mut tracker = Tracker::start(&Tracking::default(), folder).unwrap();
    tracker.param("levels", 3);
    tracker.param("levels", 4);
    tracker.param("name", "a \"b\"");
    tracker.scalars("prep", 0, &[("items", 12.0), ("chars", 3.5)]).unwrap();
    for step in 0..4 {
        tracker.scalar("train", step, "loss", 1.0 / step as f64).unwrap();
    }
    tracker.scalars("train", 9, &[]).unwrap();
    let report = tracker.finish(true).unwrap();
    assert_eq!((report.scalars, report.notes.len()), (6, 0));
    assert_eq!(serde_json::to_value(&report).unwrap(), serde_json::json!({"scalars": 6, "notes": []}));
    let all = lines(folder);
    assert_eq!(steps(folder), ["prep 0", "train 0", "train 1", "train 2", "train 3"]);
    assert_eq!(all[0]["values"], serde_json::json!({"items": 12.0, "chars": 3.5}));
    assert_eq!(all[1]["values"], serde_json::json!({"loss": null}), "JSON has no infinity");
    assert!(all[0]["unix_seconds"].as_f64().unwrap() > 1.7e9);
    let params: Value = serde_json::from_str(&fs::read_to_string(folder.join("params.json")).unwrap()).unwrap();
    assert_eq!(params, serde_json::json!({"levels": "4", "name": "a \"b\""}));
    assert_eq!((holds(&event_bytes(folder, "prep"), "items"), holds(&event_bytes(folder, "train"), "loss")), (1, 4));
}

#[test]
fn a_phase_that_is_begun_again_leaves_no_figure_of_before() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let run = |phases: &[(&str, Option<u64>, std::ops::Range<u64>)]| {
        let mut tracker = Tracker::start(&Tracking::default(), folder).unwrap();
        for (phase, from, steps) in phases {
            if let Some(from) = from {
                tracker.begin(phase, *from).unwrap();
            }
            for step in steps.clone() {
                tracker.scalar(phase, step, "figure", step as f64).unwrap();
            }
        }
        // As a kill leaves it.
        drop(tracker);
    };
    run(&[("prep", None, 0..1), ("train", None, 0..3)]);
    // Half a line and half a record at the end.
    let append = |path: &Path, bytes: &[u8]| {
        let text = [fs::read(path).unwrap(), bytes.to_vec()].concat();
        fs::write(path, text).unwrap();
    };
    append(&folder.join("metrics.jsonl"), b"{\"phase\":\"train\",\"st");
    // The training goes on from step 2; prep is not done again.
    run(&[("train", Some(2), 2..4)]);
    assert_eq!(steps(folder), ["prep 0", "train 0", "train 1", "train 2", "train 3"]);
    assert_eq!(holds(&event_bytes(folder, "train"), "figure"), 4);
    // From scratch.
    run(&[("train", None, 0..2)]);
    assert_eq!(steps(folder), ["prep 0", "train 0", "train 1"]);
    assert_eq!(holds(&event_bytes(folder, "train"), "figure"), 2);
    let mut tracker = Tracker::start(&Tracking::default(), folder).unwrap();
    for name in ["", "a/b", "..", "A", "ä"] {
        assert!(matches!(tracker.begin(name, 0), Err(Error::Config { .. })), "{name}");
    }
    fs::write(folder.join("file"), "").unwrap();
    assert!(Tracker::start(&Tracking::default(), folder.join("file")).is_err());
}

#[test]
fn what_training_tells_is_kept_and_handed_on() {
    struct Counts(AtomicUsize);
    impl Observer for Counts {
        fn event(&self, _: Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let rows = Matrix::from_vec(60, 3, (0..180).map(|i| (i * i % 101) as f32).collect()).unwrap();
    let config = RqKMeans { codebook_sizes: vec![4, 4], ..RqKMeans::default() };
    let (counts, mut tracker) = (Counts(AtomicUsize::new(0)), Tracker::start(&Tracking::default(), folder).unwrap());
    let watch = TrackingObserver::new(&mut tracker, "train", &counts);
    let codec = Codec::train(&rows, &config, &Device::cpu(), &watch).unwrap();
    watch.done().unwrap();
    tracker.finish(true).unwrap();
    assert!(counts.0.into_inner() > 4);
    let levels: Vec<f64> = lines(folder).iter().filter_map(|line| line["values"]["level/r2"].as_f64()).collect();
    let want: Vec<f64> = codec.manifest().training.levels.iter().map(|level| level.r2).collect();
    assert_eq!(levels, want);
    // A disk that takes nothing more ends the work with the reason.
    let mut tracker = Tracker::start(&Tracking::default(), folder.join("full")).unwrap();
    fs::write(folder.join("full/events"), "in the way").unwrap();
    let watch = TrackingObserver::new(&mut tracker, "train", &());
    assert!(matches!(Codec::train(&rows, &config, &Device::cpu(), &watch), Err(Error::Interrupted(_))));
    assert!(matches!(watch.done(), Err(Error::Io { .. })));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let folder = TempDir::new().unwrap();
    let base = Mlflow { uri: "http://localhost:5000".into(), ..Mlflow::default() };
    let refused = |mlflow: Mlflow, part: &str| {
        let error = Tracker::start(&Tracking { mlflow: Some(mlflow) }, folder.path()).err().expect("accepted");
        assert!(matches!(error.root(), Error::Config { .. }) && error.to_string().contains(part), "{error}");
    };
    if !cfg!(feature = "mlflow") {
        return refused(base, "build with the feature `mlflow`");
    }
    let with = |uri: &str| Mlflow { uri: uri.into(), ..base.clone() };
    refused(with(""), "`mlflow.uri`");
    refused(with("sqlite:///x.db"), "`sqlite:///x.db`");
    refused(with("http://me:secret@host"), "holds a name or password");
    refused(with("http:///x"), "no address");
    refused(with("http://a b"), "no address");
    refused(Mlflow { experiment: " ".into(), ..base.clone() }, "`mlflow.experiment`");
    refused(Mlflow { run: Some(String::new()), ..base.clone() }, "`mlflow.run`");
    refused(Mlflow { timeout_seconds: 0, ..base.clone() }, "`mlflow.timeout_seconds`");
    refused(
        Mlflow { token_env: Some("SEMEME_NO_SUCH_VARIABLE".into()), ..base },
        "`SEMEME_NO_SUCH_VARIABLE` is not set",
    );
    let text = r#"{"mlflow": {"uri": "http://localhost:5000", "experimnt": "x"}}"#;
    assert!(serde_json::from_str::<Tracking>(text).unwrap_err().to_string().contains("experimnt"));
}

#[cfg(feature = "mlflow")]
mod mlflow {
    use super::lines;
    use sememe_run::tracking::{Mlflow, Tracker, Tracking, TrackingReport};
    use sememe_testkit::python_with;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;
    use std::process::{Child, Stdio};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::{Duration, Instant};
    use tempfile::TempDir;

    /// A request: its path with the query, its headers, its body.
    #[derive(Clone, Debug)]
    struct Asked {
        path: String,
        head: String,
        body: Value,
    }

    /// A server that answers as it is told to; `None` is no answer at all.
    struct Server {
        uri: String,
        asked: Arc<Mutex<Vec<Asked>>>,
    }

    impl Server {
        fn new(answer: impl Fn(&Asked, usize) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let uri = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let (seen, answer) = (asked.clone(), Arc::new(answer));
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (seen, answer) = (seen.clone(), answer.clone());
                    thread::spawn(move || serve(stream, &seen, &*answer));
                }
            });
            Self { uri, asked }
        }

        fn asked(&self) -> Vec<Asked> {
            self.asked.lock().unwrap().clone()
        }
    }

    /// What a server says to a call and its number: a status and a body, or nothing.
    type Answer = dyn Fn(&Asked, usize) -> Option<(u16, String)>;

    fn serve(stream: TcpStream, seen: &Mutex<Vec<Asked>>, answer: &Answer) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line == "\r\n" {
                    break;
                }
                head.push_str(&line);
            }
            let field = |name: &str| {
                let line = head.lines().find(|line| line.to_lowercase().starts_with(name))?;
                line[name.len()..].trim().parse::<usize>().ok()
            };
            let mut body = vec![0; field("content-length:").unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let one = Asked { path, head, body: serde_json::from_slice(&body).unwrap_or_default() };
            let nth = {
                let mut seen = seen.lock().unwrap();
                seen.push(one.clone());
                seen.len()
            };
            let Some((status, text)) = answer(&one, nth) else {
                thread::sleep(Duration::from_secs(60));
                return;
            };
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// As MLflow answers when all is well.
    fn well(asked: &Asked) -> (u16, String) {
        let method = asked.path.rsplit("mlflow/").next().unwrap();
        let answer = match method.split('?').next().unwrap() {
            "experiments/get-by-name" => json!({"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}}),
            "runs/create" => json!({"run": {"info": {"run_id": "abc"}}}),
            "runs/log-batch" | "runs/update" => json!({}),
            _ => return (404, "{}".into()),
        };
        (200, answer.to_string())
    }

    fn settings(uri: &str) -> Mlflow {
        Mlflow { uri: uri.into(), timeout_seconds: 1, patience_seconds: 3, ..Mlflow::default() }
    }

    /// A short run that is told to a server.
    fn run(mlflow: Mlflow, folder: &Path, ok: bool) -> TrackingReport {
        let mut tracker = Tracker::start(&Tracking { mlflow: Some(mlflow) }, folder).unwrap();
        tracker.param("levels", 3);
        tracker.param("long", "é".repeat(700));
        for step in 1..=5 {
            tracker.scalars("train", step, &[("loss", 1.0 / step as f64), ("odd:name", step as f64)]).unwrap();
        }
        tracker.scalars("assign", 0, &[("nan", f64::NAN), ("up", f64::INFINITY), ("down", f64::NEG_INFINITY)]).unwrap();
        tracker.finish(ok).unwrap()
    }

    #[test]
    fn a_server_is_told_everything() {
        // It stumbles twice on the way.
        let server = Server::new(|asked, nth| match nth {
            1 => Some((503, "busy".into())),
            3 => Some((429, json!({"error_code": "RESOURCE_EXHAUSTED", "message": "slow"}).to_string())),
            _ => Some(well(asked)),
        });
        let folder = TempDir::new().unwrap();
        let mlflow = Mlflow {
            run: Some("first".into()),
            experiment: "a & b".into(),
            tags: BTreeMap::from([("team".into(), "search".into())]),
            token_env: Some("CARGO_MANIFEST_DIR".into()),
            // A busy machine is no fault of the server's.
            timeout_seconds: 60,
            patience_seconds: 120,
            ..settings(&format!("{}/", server.uri))
        };
        let report = run(mlflow, folder.path(), false);
        assert_eq!(report.notes, [""; 0]);
        let there = report.mlflow.unwrap();
        assert_eq!((there.experiment_id.as_str(), there.run_id.as_str()), ("7", "abc"));
        assert_eq!(there.url, format!("{}/#/experiments/7/runs/abc", server.uri));
        let asked = server.asked();
        let token = format!("Bearer {}", env!("CARGO_MANIFEST_DIR"));
        assert!(asked.iter().all(|one| one.head.contains(&token)), "{asked:?}");
        assert!(
            asked[0].path.ends_with("/api/2.0/mlflow/experiments/get-by-name?experiment_name=a%20%26%20b"),
            "{}",
            asked[0].path
        );
        let of = |method: &str| {
            asked.iter().filter(|one| one.path.ends_with(method)).map(|one| &one.body).collect::<Vec<_>>()
        };
        let made = of("runs/create")[1];
        assert_eq!((&made["experiment_id"], &made["run_name"]), (&json!("7"), &json!("first")));
        assert!(made["tags"].as_array().unwrap().contains(&json!({"key": "team", "value": "search"})));
        let metrics: Vec<&Value> =
            of("log-batch").iter().flat_map(|body| body["metrics"].as_array().unwrap()).collect();
        assert_eq!(metrics.len(), 13);
        let steps: Vec<u64> =
            metrics.iter().filter(|m| m["key"] == "train/loss").map(|m| m["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5]);
        assert!(metrics.iter().all(|m| m["timestamp"].as_u64() > Some(1_700_000_000_000)));
        let odd: Vec<(&str, &Value)> =
            metrics.iter().map(|m| (m["key"].as_str().unwrap(), &m["value"])).skip(8).collect();
        assert_eq!(odd[1], ("train/odd_name", &json!(5.0)));
        assert_eq!(
            odd[2..],
            [("assign/nan", &json!("NaN")), ("assign/up", &json!("Infinity")), ("assign/down", &json!("-Infinity"))]
        );
        let params: Vec<&Value> = of("log-batch").iter().flat_map(|body| body["params"].as_array().unwrap()).collect();
        assert_eq!((params.len(), params[1]["value"].as_str().unwrap().chars().count()), (2, 500));
        assert_eq!(of("runs/update")[0]["status"], "FAILED");
    }

    #[test]
    fn a_server_that_fails_is_a_note_and_nothing_else() {
        let token = env!("CARGO_MANIFEST_DIR");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let broken = Server::new(|_, _| Some((500, "<html>oh\n no</html>".into())));
        let echo = Server::new(move |_, _| {
            let message = format!("`{token}` is no token. ");
            Some((401, json!({"error_code": "UNAUTHENTICATED", "message": message}).to_string()))
        });
        let silent = Server::new(|_, _| None);
        let other = Server::new(|_, _| Some((200, "<html>hello</html>".into())));
        let deleted = Server::new(|_, _| {
            Some((200, json!({"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}).to_string()))
        });
        let moved = Server::new(|_, _| Some((302, String::new())));
        let refusing = Server::new(|asked, _| match asked.path.ends_with("log-batch") {
            true => Some((400, json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}).to_string())),
            false => Some(well(asked)),
        });
        for (what, uri, part) in [
            ("down", &format!("http://{port}"), "efused"),
            ("broken", &broken.uri, "status 500: <html>oh no</html>"),
            ("unauthorised", &echo.uri, "status 401: `***` is no token"),
            ("silent", &silent.uri, "timeout"),
            ("another service", &other.uri, "no MLflow server"),
            ("deleted", &deleted.uri, "is deleted"),
            ("moved", &moved.uri, "status 302"),
            ("refusing", &refusing.uri, "status 400: no"),
        ] {
            let folder = TempDir::new().unwrap();
            let begun = Instant::now();
            let report =
                run(Mlflow { token_env: Some("CARGO_MANIFEST_DIR".into()), ..settings(uri) }, folder.path(), true);
            assert_eq!(report.notes.len(), 1, "{what}: {:?}", report.notes);
            let note = &report.notes[0];
            assert!(note.contains(part) || note.contains("within 3 s"), "{what}: {note}");
            assert!(!note.contains(token) && !note.contains('\n'), "{what}: {note}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} held the run up");
            assert_eq!((report.scalars, lines(folder.path()).len()), (13, 6), "{what}");
            println!("{what}: {note}");
        }
        let alone = run(settings(&echo.uri), TempDir::new().unwrap().path(), true);
        assert!(alone.notes[0].contains("token_env"), "{:?}", alone.notes);
    }

    struct Guard(Child);

    impl Drop for Guard {
        fn drop(&mut self) {
            // The server starts processes of its own, all in its group.
            #[cfg(unix)]
            let _ = std::process::Command::new("kill").args(["-9", "--", &format!("-{}", self.0.id())]).status();
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_real_server_gives_it_back_to_its_own_client() {
        if python_with(&["mlflow", "flask", "sqlalchemy"]).is_none() {
            return;
        }
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let uri = format!("http://127.0.0.1:{port}");
        let python = |args: &[&str]| {
            let mut command = python_with(&["mlflow"]).expect("there before");
            command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/mlflow_run.py")).args(args);
            command.current_dir(folder.path()).env("MLFLOW_DISABLE_TELEMETRY", "true").env("DO_NOT_TRACK", "true");
            command
        };
        let path = folder.path().to_str().unwrap();
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        let mut serve = python(&["serve", path, &port.to_string()]);
        serve.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut serve, 0);
        let mut server = Guard(serve.spawn().unwrap());
        // It makes its tables first, which takes a while.
        let up = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(500));
            assert!(
                server.0.try_wait().unwrap().is_none(),
                "{}",
                std::fs::read_to_string(folder.path().join("server.log")).unwrap()
            );
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(up, "{}", std::fs::read_to_string(folder.path().join("server.log")).unwrap());
        let patient = Mlflow {
            experiment: "sememe test: ä".into(),
            run: Some("first".into()),
            tags: BTreeMap::from([("team".into(), "search".into())]),
            timeout_seconds: 60,
            patience_seconds: 300,
            ..settings(&uri)
        };
        let first = run(patient.clone(), &folder.path().join("a"), true);
        assert_eq!(first.notes, [""; 0]);
        let second = run(Mlflow { run: None, ..patient.clone() }, &folder.path().join("b"), false);
        assert_eq!(second.notes, [""; 0]);
        // A setting that changes after the server has it, one without a value, and more figures than a batch takes.
        let mut tracker = Tracker::start(&Tracking { mlflow: Some(patient) }, folder.path().join("c")).unwrap();
        tracker.param("levels", 3);
        tracker.param("empty", "");
        (0..1234).for_each(|step| tracker.scalar("train", step, "loss", step as f64).unwrap());
        thread::sleep(Duration::from_secs(3));
        tracker.param("levels", 4);
        let third = tracker.finish(true).unwrap();
        assert_eq!(third.notes, [""; 0]);
        let read = python(&["read", &uri, "sememe test: ä"]).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let runs: Vec<Value> = serde_json::from_slice(&read.stdout).unwrap();
        assert_eq!(runs.len(), 3);
        let of = |report: &TrackingReport| {
            let id = &report.mlflow.as_ref().unwrap().run_id;
            runs.iter().find(|run| run["run_id"] == *id).expect("the run is there").clone()
        };
        let (first, second, third) = (of(&first), of(&second), of(&third));
        assert_eq!(third["params"]["levels"], "3");
        assert_eq!(third["metrics"]["train/loss"].as_array().unwrap().len(), 1234);
        assert_eq!((&first["status"], &second["status"]), (&json!("FINISHED"), &json!("FAILED")));
        assert_eq!((&first["name"], &first["ended"]), (&json!("first"), &json!(true)));
        assert_eq!(
            (&first["tags"]["team"], &first["tags"]["mlflow.source.name"]),
            (&json!("search"), &json!("sememe"))
        );
        assert_eq!(first["params"]["levels"], "3");
        assert_eq!(first["params"]["long"].as_str().unwrap(), "é".repeat(500));
        let metric = |name: &str| -> Vec<(u64, String)> {
            let history = first["metrics"][name].as_array().unwrap_or_else(|| panic!("{name}: {first}"));
            history.iter().map(|one| (one[0].as_u64().unwrap(), one[1].as_str().unwrap().to_owned())).collect()
        };
        let want: Vec<(u64, String)> = [(1, "1.0"), (2, "0.5"), (3, "0.3333333333333333"), (4, "0.25"), (5, "0.2")]
            .map(|(s, v)| (s, v.to_owned()))
            .into();
        assert_eq!(metric("train/loss"), want);
        assert_eq!(metric("train/odd_name").len(), 5);
        println!(
            "NaN, inf, -inf read back as {:?}, {:?}, {:?}",
            metric("assign/nan"),
            metric("assign/up"),
            metric("assign/down")
        );
        assert_eq!(metric("assign/nan")[0].1, "nan");
    }
}

#[test]
fn event_files_become_a_run_of_wandb() {
    use sememe_testkit::python_with;
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let mut tracker = Tracker::start(&Tracking::default(), folder).unwrap();
    tracker.param("levels", 3);
    tracker.scalars("prep", 0, &[("items", 12.0)]).unwrap();
    for step in 1..=300 {
        tracker.scalars("train", step, &[("loss", 1.0 / step as f64), ("epoch/rate", 0.25)]).unwrap();
    }
    tracker.finish(true).unwrap();
    let python = |script: &str, args: &[&str]| {
        let mut command = python_with(&["wandb", "tensorboard"])?;
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).args(args).current_dir(folder);
        command.env("WANDB_DIR", folder).env("WANDB_ERROR_REPORTING", "false").env("DO_NOT_TRACK", "1");
        let run = command.output().expect("run");
        assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
        Some(String::from_utf8(run.stdout).unwrap())
    };
    let Some(said) = python("../../python/sememe_wandb.py", &[".", "--project", "sememe", "--offline"]) else { return };
    assert!(said.contains("301 steps of 2 folders"), "{said}");
    let read: Value = serde_json::from_str(&python("tests/python/wandb_run.py", &["."]).unwrap()).unwrap();
    assert_eq!(read["config"]["levels"], "3");
    let history = read["history"].as_array().unwrap();
    let figure = |row: &Value, name: &str| row[name].as_str().map(|text| text.parse::<f64>().unwrap());
    let train: Vec<&Value> = history.iter().filter(|row| figure(row, "train/step").is_some()).collect();
    assert_eq!((history.len(), train.len()), (301, 300));
    for (row, step) in train.iter().zip(1..) {
        assert_eq!(figure(row, "train/step"), Some(f64::from(step)));
        // Event files hold f32.
        assert_eq!(figure(row, "train/loss").map(|loss| loss as f32), Some(1.0 / step as f32));
        assert_eq!(figure(row, "train/epoch/rate"), Some(0.25));
    }
    assert!(history.iter().any(|row| figure(row, "prep/items") == Some(12.0)));
}
