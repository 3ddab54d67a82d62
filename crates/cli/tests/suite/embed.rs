//! `sememe embed`: only what changed is asked for, whatever the endpoint does and whenever the run is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sememe::io::{OpenOptions, open, read_keys};
use sememe::{Error, Matrix, Result, RowSource as _};
use sememe_text::embed::{EmbedCall, EmbedError, EmbedOptions, Embedder, Texts, VectorTable, embed};
use serde_json::Value;

use crate::cli::{Desk, Run};
use sememe_testkit::embed_server::{Call, Reply, Server, answer, ok, status, vector};

/// Runs the program, without the proxies of whoever runs the tests.
fn command(desk: &Desk, args: &str) -> std::process::Command {
    let mut command = desk.command(args);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

fn run(desk: &Desk, args: &str) -> Run {
    command(desk, args).output().expect("run").into()
}

fn jsonl(items: &[(&str, &str)]) -> Vec<u8> {
    let line = |(key, text): &(&str, &str)| format!("{}\n", serde_json::json!({"id": key, "text": text}));
    items.iter().map(line).collect::<String>().into_bytes()
}

const ITEMS: [(&str, &str); 5] = [
    ("nano", "small editor"),
    ("vim", "modal editor"),
    ("emacs", "an editor and more"),
    ("ed", "the editor"),
    ("cat", "prints files"),
];

/// Everything a table of vectors says, less times: key → (vector, dims, model, prepared).
fn table(path: &Path, table: &str, key: &str) -> BTreeMap<String, (Vec<f32>, i64, String, Option<String>)> {
    let db = Connection::open(path).expect("a database");
    let sql =
        format!("SELECT CAST({key} AS TEXT), embedding, embedding_dim, model_name, source_prepared_at FROM {table}");
    let mut statement = db.prepare(&sql).expect("the columns");
    let rows = statement.query_map([], |row| {
        let bytes: Vec<u8> = row.get(1)?;
        let vector = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok((row.get(0)?, (vector, row.get(2)?, row.get(3)?, row.get(4)?)))
    });
    rows.expect("rows").collect::<rusqlite::Result<_>>().expect("rows")
}

fn vectors(server: &Server) -> &str {
    &server.url
}

#[test]
fn only_what_changed_is_asked_for() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    desk.file("items.jsonl", &jsonl(&ITEMS));
    let args = format!(
        "embed items.jsonl -o v.sqlite --url {} --model m --rows rows.npy --keys keys.jsonl --batch-items 2 --json",
        vectors(&server)
    );
    let first = run(&desk, &args).json();
    assert_eq!((&first["asked"], &first["calls"], &first["dims"]), (&5.into(), &3.into(), &4.into()), "{first}");
    assert!(server.take().iter().all(|call| call.path == "/v1/embeddings" && call.authorization.is_none()));
    let kept = table(&desk.path("v.sqlite"), "embeddings", "id");
    for (key, text) in ITEMS {
        assert_eq!(kept[key], (vector(text, 4), 4, "m".into(), None), "{key}");
    }
    let rows = open(desk.path("rows.npy"), &OpenOptions::default()).expect("rows");
    let mut values = vec![0.0; 20];
    rows.read_rows(0, &mut values).expect("rows");
    assert_eq!(values, ITEMS.iter().flat_map(|(_, text)| vector(text, 4)).collect::<Vec<_>>());
    assert_eq!(read_keys(desk.path("keys.jsonl"), "id").expect("keys"), ITEMS.map(|(key, _)| key));

    // Nothing changed: nothing asked, nothing written.
    let stamps = |desk: &Desk| {
        ["v.sqlite", "rows.npy", "keys.jsonl"].map(|name| {
            let path = desk.path(name);
            (fs::metadata(&path).expect("there").modified().expect("a time"), fs::read(&path).expect("read"))
        })
    };
    let before = stamps(&desk);
    let again = run(&desk, &args).json();
    assert_eq!((&again["asked"], &again["kept"], &again["rows_written"]), (&0.into(), &5.into(), &false.into()));
    assert!(stamps(&desk) == before && server.count() == 0);

    // One item of many: one call for one text.
    let mut items = ITEMS;
    items[2].1 = "an operating system";
    desk.file("items.jsonl", &jsonl(&items));
    let dry = run(&desk, &format!("{args} --dry-run")).json();
    assert_eq!((&dry["asked"], server.count()), (&1.into(), 0));
    assert!(stamps(&desk) == before, "a dry run writes nothing");
    assert_eq!(run(&desk, &args).json()["calls"], 1);
    assert_eq!(server.asked(), ["an operating system"]);

    // Items that trade texts, and a new one with an old text, need no call.
    (items[0].1, items[1].1) = (items[1].1, items[0].1);
    let mut more = items.to_vec();
    more.push(("vi", "modal editor"));
    desk.file("items.jsonl", &jsonl(&more));
    let traded = run(&desk, &args).json();
    assert_eq!((&traded["asked"], &traded["copied"], server.count()), (&0.into(), &3.into(), 0), "{traded}");
    let kept = table(&desk.path("v.sqlite"), "embeddings", "id");
    for (key, text) in &more {
        assert_eq!(kept[*key].0, vector(text, 4), "{key}");
    }
    // Items that are gone stay until they are pruned; the same text twice is asked for once.
    desk.file("items.jsonl", &jsonl(&[("nano", "modal editor"), ("x", "new"), ("y", "new")]));
    let gone = run(&desk, &args).json();
    assert_eq!((&gone["asked"], &gone["gone"], &gone["removed"]), (&1.into(), &5.into(), &0.into()), "{gone}");
    assert_eq!(run(&desk, &format!("{args} --prune")).json()["removed"], 5);
    assert_eq!(table(&desk.path("v.sqlite"), "embeddings", "id").len(), 3);
    // Other settings are other vectors.
    for other in ["--normalize", "--normalize --prefix passage:", "--model n", "--model n --extra {\"a\":1}"] {
        server.take();
        let args = if other.starts_with("--model") { args.replace("--model m", "") } else { args.clone() };
        assert_eq!(run(&desk, &format!("{args} {other}")).json()["asked"], 2, "{other}");
        let call = &server.take()[0];
        assert_eq!(call.texts()[0].starts_with("passage:"), other.contains("passage"), "{other}");
        assert_eq!(call.body.get("a"), other.contains("extra").then_some(&Value::from(1)));
        if other == "--normalize" {
            let norm: f32 = table(&desk.path("v.sqlite"), "embeddings", "id")["x"].0.iter().map(|v| v * v).sum();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        }
    }
    let rebuilt = run(&desk, &format!("{args} --rebuild")).ok();
    let asked: Value = serde_json::from_str(&rebuilt.stdout).expect("JSON");
    assert_eq!((&asked["asked"], &asked["copied"]), (&2.into(), &0.into()));
}

/// AniMind's own tables, as its phases make them.
fn animind(path: &Path, items: &[(i64, &str)], embedded: &[(i64, &str)]) {
    let db = Connection::open(path).expect("a database");
    db.execute_batch(
        "CREATE TABLE anime_prep (anime_id INTEGER PRIMARY KEY, anime_text TEXT NOT NULL, prepared_at TEXT NOT NULL);
         CREATE TABLE anime_embeddings (anime_id INTEGER PRIMARY KEY, embedding BLOB NOT NULL, embedding_dim INTEGER NOT NULL,
             model_name TEXT NOT NULL, embedded_at TEXT NOT NULL, source_prepared_at TEXT);",
    )
    .expect("tables");
    for (id, text) in items {
        db.execute("INSERT INTO anime_prep VALUES (?1, ?2, '2025-01-01T00:00:00+00:00')", (id, text)).expect("an item");
    }
    for (id, prepared) in embedded {
        let bytes: Vec<u8> = [0.25f32, -0.5, 0.75, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let sql = "INSERT INTO anime_embeddings VALUES (?1, ?2, 4, 'm', '2025-01-02T00:00:00.5+00:00', ?3)";
        db.execute(sql, (id, bytes, prepared)).expect("a vector");
    }
}

#[test]
fn an_animind_database_works_as_it_is() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    let (now, old) = ("2025-01-01T00:00:00+00:00", "2024-01-01T00:00:00+00:00");
    let items = [(1, "one"), (2, "two"), (10, "ten"), (9, "nine")];
    animind(&desk.path("a.sqlite"), &items, &[(1, now), (2, old)]);
    let args =
        format!("embed a.sqlite --animind --url {} --model m --rows r.npy --keys k.jsonl --json", vectors(&server));
    let first = run(&desk, &args).json();
    assert_eq!((&first["adopted"], &first["asked"]), (&1.into(), &3.into()), "{first}");
    assert_eq!(server.asked(), ["nine", "ten", "two"]);
    let kept = table(&desk.path("a.sqlite"), "anime_embeddings", "anime_id");
    assert_eq!(kept["1"].0, [0.25, -0.5, 0.75, 1.0], "AniMind's own vector stays");
    assert_eq!(kept["10"], (vector("ten", 4), 4, "m".into(), Some(now.into())));
    // Numbers in their order, not that of their digits.
    assert_eq!(read_keys(desk.path("k.jsonl"), "id").expect("keys"), ["1", "2", "9", "10"]);
    let db = Connection::open(desk.path("a.sqlite")).expect("a database");
    let kinds =
        "SELECT count(*) FROM anime_embeddings WHERE typeof(anime_id) = 'integer' AND typeof(embedding) = 'blob'
                 AND embedded_at LIKE '____-__-__T__:__:__.%+00:00'";
    assert_eq!(db.query_row(kinds, [], |row| row.get::<_, i64>(0)).expect("a count"), 4);
    assert_eq!(run(&desk, &args).json()["kept"], 4);

    // Its prep phase ran again with the same texts: only the time is written. A changed text is asked for.
    db.execute_batch("UPDATE anime_prep SET prepared_at = '2025-05-05'; UPDATE anime_prep SET anime_text = 'dos' WHERE anime_id = 2;")
        .expect("updated");
    assert_eq!(run(&desk, &args).json()["asked"], 1);
    assert_eq!(server.asked(), ["dos"]);
    let kept = table(&desk.path("a.sqlite"), "anime_embeddings", "anime_id");
    assert!(kept.values().all(|row| row.3.as_deref() == Some("2025-05-05")), "{kept:?}");
    // Another program's vector in the place of ours is seen by its time.
    db.execute_batch("UPDATE anime_embeddings SET embedded_at = 'later', source_prepared_at = 'x' WHERE anime_id = 9")
        .expect("updated");
    assert_eq!(run(&desk, &args).json()["asked"], 1);
    assert_eq!(server.asked(), ["nine"]);
    // A damaged one is asked for again.
    db.execute_batch("UPDATE anime_embeddings SET embedding = x'00' WHERE anime_id = 10").expect("updated");
    assert_eq!(run(&desk, &args).json()["asked"], 1);
    let first_two = run(&desk, &format!("{args} --limit 2")).json();
    assert_eq!((&first_two["items"], &first_two["gone"]), (&2.into(), &0.into()), "what was not read is not gone");
}

/// Fails so, with nothing of the key in it.
fn fails(desk: &Desk, args: &str, code: i32, parts: &[&str]) {
    let run: Run = command(desk, args).env("TEST_KEY", "sk-secret-123\n").output().expect("run").into();
    run.fails(code, parts);
    assert!(!run.stderr.contains("sk-secret-123"), "{}", run.stderr);
}

#[test]
fn every_fault_of_an_endpoint_is_one_error() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    desk.file("items.jsonl", &jsonl(&ITEMS));
    let base = format!("embed items.jsonl -o v.sqlite --url {} --model m --retries 1 --backoff 0", vectors(&server));
    let args = format!("{base} --api-key-env TEST_KEY");
    let quoting = r#"{"error":{"message":"Incorrect API key provided: sk-secret-123","code":"invalid_api_key"}}"#;
    let quota = r#"{"error":{"message":"no credit","code":"insufficient_quota"}}"#;
    let short = |call: &Call| answer(&call.texts()[1..], 4);
    let cases: Vec<(Reply, usize, &[&str])> = vec![
        (status(401, quoting), 1, &["HTTP 401", "***", "--api-key-env"]),
        (status(403, ""), 1, &["HTTP 403", "the right key with `--api-key-env`"]),
        (status(404, r#"{"error":"model 'm' not found"}"#), 1, &["model 'm' not found", "/v1/embeddings"]),
        (status(413, r#"{"error":"batch size 5 > 2"}"#), 4, &["batch size 5 > 2", "`nano` to `cat`"]),
        (status(429, quota), 1, &["HTTP 429", "no credit"]),
        (status(500, "boom\nboom"), 7, &["HTTP 500: boom boom", "tried 2 times"]),
        (Reply::Status(307, vec![("location", "http://elsewhere/".into())], String::new()), 1, &["http://elsewhere/"]),
        (Reply::Status(429, vec![("retry-after", "86400".into())], String::new()), 1, &["asks to wait 86400 s"]),
        (Reply::HangUp, 2, &["cannot be reached", "tried 2 times"]),
        (Reply::Half, 2, &["cannot be reached", "tried 2 times"]),
        (ok("<html>hello"), 4, &["something else than vectors", "<html>hello"]),
        (ok(r#"{"data":[{"embedding":[1,NaN]}]}"#), 4, &["no finite numbers", "float32"]),
        (ok(r#"{"data":[{"embedding":[1e99]}]}"#), 4, &["no finite numbers", "`nano` to `cat`"]),
    ];
    for (reply, calls, parts) in cases {
        let played = reply.clone();
        server.play(move |_, _| played.clone());
        fails(&desk, &args, 6, parts);
        fails(&desk, &args, 6, &["0 of 5 missing texts are kept in `v.sqlite` and are not asked for again"]);
        let made = server.take();
        assert_eq!(made.len(), 2 * calls, "{parts:?}");
        assert!(made.iter().all(|call| call.authorization.as_deref() == Some("Bearer sk-secret-123")));
    }
    server.play(move |_, call| ok(short(call)));
    fails(&desk, &args, 6, &["returned 4 vectors for 5 texts"]);
    server.play(|_, _| status(401, "{}"));
    fails(&desk, &base, 6, &["HTTP 401", "the key that it may want", "--api-key-env"]);
    server.play(|_, _| Reply::Late(Duration::from_secs(3)));
    fails(&desk, &format!("{args} --timeout 0.2"), 6, &["did not answer within 0.2 s", "tried 2 times", "--timeout"]);
    let zeros: Vec<&str> = vec![r#"{"embedding":[0,0]}"#; 5];
    let zeros = format!(r#"{{"data":[{}]}}"#, zeros.join(","));
    server.play(move |_, _| ok(zeros.clone()));
    fails(&desk, &format!("{args} --normalize"), 6, &["`nano`", "cannot be normalised"]);
    server.play(|_, call| ok(answer(&call.texts(), 3)));
    fails(&desk, &format!("{args} --dimensions 2"), 6, &["vectors of 3 values", "--dimensions"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let down = args.replace(vectors(&server), &format!("http://{free}/v1"));
    fails(&desk, &down, 6, &["cannot be reached", "is it running"]);

    // What passes is waited for.
    server.play(|number, _| match number {
        0 => Reply::Status(429, vec![("retry-after", "0.3".into())], String::new()),
        1 => status(503, ""),
        2 => Reply::HangUp,
        3 => Reply::Half,
        _ => Reply::Vectors,
    });
    let begun = Instant::now();
    let patient = run(&desk, &base.replace("--retries 1", "--retries 4")).ok();
    assert!(begun.elapsed() >= Duration::from_millis(300), "Retry-After is waited for");
    assert!(patient.stderr.contains("HTTP 429; try 2 in 0.3 s"), "{}", patient.stderr);
    assert_eq!(server.count(), 5);

    // Vectors of another dimension than those that are up to date; and of two dimensions in one run.
    desk.file("items.jsonl", &jsonl(&[ITEMS[0], ("new", "something new")]));
    server.play(|_, call| ok(answer(&call.texts(), 3)));
    fails(&desk, &args, 6, &["vectors of 3 values, where earlier ones have 4", "--rebuild", "--into"]);
    run(&desk, &format!("{base} --rebuild --rows r.npy")).ok();
    assert_eq!(table(&desk.path("v.sqlite"), "embeddings", "id")["nano"].1, 3);
    server.play(|number, call| ok(answer(&call.texts(), 2 + number)));
    fails(
        &desk,
        &format!("{args} --batch-items 1 --concurrency 1 --rebuild"),
        6,
        // The second text's vector has 3 values, and that of a text which any model can embed 4.
        &["of 4 values, where earlier ones have 2", "1 of 2"],
    );
}

#[test]
fn what_was_answered_is_kept() {
    let server = Server::start(|number, _| if number < 2 { Reply::Vectors } else { status(400, "no") });
    let desk = Desk::new();
    desk.file("items.jsonl", &jsonl(&ITEMS));
    let args =
        format!("embed items.jsonl -o v.sqlite --url {} --model m --batch-items 1 --concurrency 1", vectors(&server));
    run(&desk, &args).fails(6, &["2 of 5 missing texts are kept in `v.sqlite`", "text of `emacs`"]);
    // And a text that any model can embed.
    assert_eq!(server.count(), 4, "no further batch is begun");
    server.play(|_, _| Reply::Vectors);
    let done = run(&desk, &args).ok();
    assert!(done.stdout.contains("5 items: 2 up to date, 3 texts embedded in 3 requests"), "{}", done.stdout);
    assert_eq!(server.asked(), ["an editor and more", "prints files", "the editor"]);
    // The same table, whatever the number of calls at once.
    let wide = args.replace("v.sqlite", "w.sqlite").replace("--concurrency 1", "--concurrency 8");
    run(&desk, &wide).ok();
    assert_eq!(table(&desk.path("v.sqlite"), "embeddings", "id"), table(&desk.path("w.sqlite"), "embeddings", "id"));
}

#[test]
fn killed_at_any_time_it_asks_only_for_the_rest() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    let texts: Vec<(String, String)> =
        (0..120).map(|i| (format!("item {i:03}"), format!("text {}", i * 7 % 120))).collect();
    let items: Vec<(&str, &str)> = texts.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    desk.file("items.jsonl", &jsonl(&items));
    let args = |db: &str| {
        format!("embed items.jsonl -o {db} --url {} --model m --batch-items 3 --concurrency 2 --json", vectors(&server))
    };
    run(&desk, &args("whole.sqlite")).json();
    // 0 as well while there is no table, or a run holds it.
    let kept = || {
        let count = |db: Connection| db.query_row("SELECT count(*) FROM embeddings", [], |row| row.get::<_, i64>(0));
        if desk.path("killed.sqlite").exists() {
            Connection::open(desk.path("killed.sqlite")).and_then(count).unwrap_or(0)
        } else {
            0
        }
    };
    for kill in 0..4 {
        let before = kept();
        // From some call on there is no answer, so that the run cannot end by itself.
        let answered = 5 + kill;
        server.play(
            move |number, _| if number < answered { Reply::Late(Duration::from_millis(2)) } else { Reply::Never },
        );
        let mut child =
            command(&desk, &args("killed.sqlite")).stdout(std::process::Stdio::null()).spawn().expect("started");
        while server.count() <= answered || kept() <= before {
            assert!(child.try_wait().expect("asked").is_none(), "it ended with calls that have no answer");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        server.settle();
    }
    server.play(|_, _| Reply::Vectors);
    let kept = table(&desk.path("killed.sqlite"), "embeddings", "id");
    let last = run(&desk, &args("killed.sqlite")).json();
    let mut missing: Vec<String> =
        items.iter().filter(|(key, _)| !kept.contains_key(*key)).map(|(_, text)| (*text).to_owned()).collect();
    missing.sort();
    assert!(!missing.is_empty(), "uninformative: nothing was left to do");
    assert_eq!(server.asked(), missing, "{last}");
    assert_eq!(
        table(&desk.path("killed.sqlite"), "embeddings", "id"),
        table(&desk.path("whole.sqlite"), "embeddings", "id")
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_waiting_and_says_how_to_go_on() {
    let server = Server::start(|number, _| if number == 0 { Reply::Vectors } else { status(503, "") });
    let desk = Desk::new();
    desk.file("items.jsonl", &jsonl(&ITEMS));
    let args = format!(
        "embed items.jsonl -o v.sqlite --url {} --model m --batch-items 2 --concurrency 1 --backoff 50",
        vectors(&server)
    );
    let child = command(&desk, &args).stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn();
    let child = child.expect("started");
    while server.count() < 2 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = std::process::Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().expect("kill");
    assert!(killed.success());
    let run: Run = child.wait_with_output().expect("ended").into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(
        run.stderr.contains("2 of 5 missing texts are kept in `v.sqlite` and are not asked for again"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("nothing was written"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_embedded_is_refused_before_a_call() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    let end = format!("--url {} --model m", vectors(&server));
    desk.file("items.jsonl", &jsonl(&ITEMS)).file("twice.jsonl", &jsonl(&[("a", "x"), ("a", "y")]));
    desk.file("empty.jsonl", &jsonl(&[("a", "x"), ("b", " "), ("c", "")]))
        .file("none.jsonl", b"")
        .file("text.sqlite", b"no database");
    desk.file("keyless.jsonl", &jsonl(&[("a", "x"), ("", "y")]));
    desk.refuses(&format!("embed items.jsonl {end}"), 2, &["no SQLite file", "--output"]);
    desk.refuses(&format!("embed absent.jsonl -o v.sqlite {end}"), 3, &["absent.jsonl"]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite --key sku {end}"), 3, &["no `sku`", "`id`, `text`"]);
    desk.refuses(&format!("embed twice.jsonl -o v.sqlite {end}"), 3, &["twice.jsonl", "same key `a`"]);
    desk.refuses(&format!("embed keyless.jsonl -o v.sqlite {end}"), 3, &["key of row 1 is empty"]);
    desk.refuses(&format!("embed none.jsonl -o v.sqlite {end}"), 3, &["none.jsonl", "is empty"]);
    desk.refuses(&format!("embed items.jsonl -o text.sqlite {end}"), 3, &["text.sqlite", "is no SQLite file"]);
    desk.refuses(
        &format!("embed empty.jsonl -o v.sqlite {end}"),
        3,
        &["2 of 3 items", "the first is `b`", "--skip-empty"],
    );
    desk.refuses("embed items.jsonl -o v.sqlite --url ftp://x --model m", 2, &["--url", "http://"]);
    desk.refuses("embed items.jsonl -o v.sqlite --url http://me:word@x/v1 --model m", 2, &["--url", "--api-key-env"]);
    desk.refuses(
        &format!("embed items.jsonl -o v.sqlite {end} --api-key-env NOT_SET_HERE"),
        2,
        &["NOT_SET_HERE", "is not set"],
    );
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --extra [1]"), 2, &["--extra", "JSON object"]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --extra {{\"input\":1}}"), 2, &["--extra", "`input`"]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --batch-items 0"), 2, &["--batch-items", "got 0"]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --timeout=-1"), 2, &["--timeout"]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --rows r.txt"), 2, &["r.txt", ".npy"]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --keys k.jsonl"), 2, &[]);
    desk.refuses(&format!("embed items.jsonl -o v.sqlite {end} --limit 2 --prune"), 2, &["--limit", "--prune"]);

    let db = Connection::open(desk.path("a.sqlite")).expect("a database");
    db.execute_batch(
        "CREATE TABLE books (isbn TEXT PRIMARY KEY, blurb TEXT); CREATE TABLE films (isbn TEXT PRIMARY KEY, blurb TEXT);
         INSERT INTO books VALUES ('1', 'a'), ('x', CAST(x'61ff62' AS TEXT)); INSERT INTO films VALUES ('1', x'00');
         CREATE TABLE anime_embeddings (isbn TEXT PRIMARY KEY, embedding BLOB);
         CREATE TABLE numbers (isbn INTEGER PRIMARY KEY, embedding BLOB, embedding_dim INTEGER, model_name TEXT, embedded_at TEXT,
             source_prepared_at TEXT);",
    )
    .expect("tables");
    let named = format!("embed a.sqlite {end} --key isbn --text blurb");
    desk.refuses(&format!("embed a.sqlite {end}"), 3, &["no table with columns `id` and `text`", "`books`", "`films`"]);
    desk.refuses(&named, 3, &["`books`, `films` have columns", "--table"]);
    desk.refuses(&format!("{named} --table cds"), 3, &["no table `cds`", "`books`"]);
    desk.refuses(&format!("{named} --table books --text title"), 2, &[]);
    desk.refuses(
        &format!("embed a.sqlite {end} --table books --key isbn --text title"),
        3,
        &["no column `title`", "`blurb`"],
    );
    desk.refuses(&format!("{named} --table books"), 3, &["`blurb` of the row of `x`", "not UTF-8 from byte 1"]);
    desk.refuses(&format!("{named} --table films"), 3, &["a blob of 1 bytes"]);
    db.execute_batch("DELETE FROM books WHERE isbn = 'x'; INSERT INTO books VALUES ('007', 'b')").expect("deleted");
    let table = format!("{named} --table books");
    desk.refuses(&format!("{table} --into anime_embeddings"), 3, &["no column `embedding_dim`", "--into"]);
    desk.refuses(&format!("{table} --into numbers"), 3, &["whole numbers for keys, got `007`"]);
    assert_eq!(server.count(), 0, "nothing was asked for");
    // A database that another process writes to.
    db.execute_batch("BEGIN IMMEDIATE").expect("locked");
    run(&desk, &format!("{table} --patience 0")).fails(5, &["a.sqlite", "locked", "--patience"]);
    db.execute_batch("COMMIT").expect("free");
    assert_eq!(server.count(), 0, "nothing was asked for");
    run(&desk, &table).ok();
    let skipped = run(&desk, &format!("embed empty.jsonl -o v.sqlite {end} --skip-empty --json")).json();
    assert_eq!((&skipped["items"], &skipped["skipped"]), (&1.into(), &2.into()));
}

/// An embedder that is wrong in a chosen way.
struct Wrong(&'static str);

impl Embedder for Wrong {
    fn model(&self) -> &str {
        self.0
    }
    fn embed(&self, texts: &[&str], _: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
        Ok(match self.0 {
            "fewer" => Matrix::zeros(texts.len() - 1, 2),
            "flat" => Matrix::zeros(texts.len(), 0),
            "nan" => Matrix::from_vec(texts.len(), 1, vec![f32::NAN; texts.len()]),
            _ => Err(Error::Data("cannot".into())),
        }?)
    }
}

#[test]
fn any_embedder_is_held_to_its_promise() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = VectorTable::new(folder.path().join("v.sqlite"));
    let texts = Texts::new(vec!["a".into(), "b".into()], vec!["x".into(), "y".into()]).expect("texts");
    for (kind, part) in
        [("fewer", "expected 2 vectors"), ("flat", "of 0 values"), ("nan", "2 of 2 vectors"), ("none", "cannot")]
    {
        let error = embed(&texts, &Wrong(kind), &target, &EmbedOptions::default(), &()).expect_err(kind).to_string();
        assert!(error.contains(part) && error.contains("0 of 2 missing texts"), "{error}");
    }
    assert!(Texts::new(vec!["a".into()], vec![" ".into()]).is_err());
    assert!(Texts::new(Vec::new(), Vec::new()).is_err());
}
