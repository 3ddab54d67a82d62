//! Texts that cannot be embedded: each is found and left out, all others are kept.

use rusqlite::Connection;
use sememe::RowSource as _;
use sememe::io::{OpenOptions, open, read_keys};
use serde_json::{Value, json};

use crate::cli::{Desk, Run};
use sememe_testkit::embed_server::{Call, Reply, Server, ok, status, vector};

fn run(desk: &Desk, args: &str) -> Run {
    let mut command = desk.command(args);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.output().expect("run").into()
}

/// Forty items, of which some have a text that no model takes.
fn items(bad: &[usize]) -> Vec<u8> {
    let text = |i: usize| if bad.contains(&i) { format!("bad {i}") } else { format!("text {i}") };
    (0..40)
        .map(|i| format!("{}\n", json!({"id": format!("k{i:02}"), "text": text(i)})))
        .collect::<String>()
        .into_bytes()
}

fn keys(desk: &Desk, name: &str) -> Vec<String> {
    let db = Connection::open(desk.path(name)).expect("a database");
    let mut select = db.prepare("SELECT id FROM embeddings ORDER BY id").expect("columns");
    select.query_map([], |row| row.get(0)).expect("rows").collect::<rusqlite::Result<_>>().expect("rows")
}

fn is_bad(call: &Call) -> bool {
    call.texts().iter().any(|text| text.starts_with("bad"))
}

/// An answer in which each bad text has this in the place of its vector.
fn instead(call: &Call, of_bad: &str) -> Reply {
    let one = |(i, text): (usize, &String)| match text.starts_with("bad") {
        true => format!(r#"{{"index":{i},"embedding":{of_bad}}}"#),
        false => json!({"index": i, "embedding": vector(text, 4)}).to_string(),
    };
    let data: Vec<String> = call.texts().iter().enumerate().map(one).collect();
    ok(format!(r#"{{"data":[{}]}}"#, data.join(",")))
}

type Fault = fn(&Call) -> Reply;

#[test]
fn a_text_that_cannot_be_embedded_is_alone_in_the_end() {
    let faults: [(&str, Fault); 9] = [
        ("HTTP 400", |_| status(400, r#"{"error":{"message":"maximum context length is 512 tokens"}}"#)),
        ("HTTP 413", |_| status(413, r#"{"error":"must have less than 512 tokens"}"#)),
        ("HTTP 422", |_| status(422, "{}")),
        ("HTTP 424", |_| status(424, r#"{"error":"backend"}"#)),
        ("HTTP 500", |_| status(500, r#"{"error":{"message":"unsupported value: NaN"}}"#)),
        ("no finite numbers", |call| instead(call, "[1,NaN,2,3]")),
        ("no finite numbers", |call| instead(call, "[1,null,2,3]")),
        ("a vector of 3 values", |call| instead(call, "[1,2,3]")),
        ("vectors for", |call| {
            let good: Vec<Value> = call
                .texts()
                .iter()
                .filter(|text| !text.starts_with("bad"))
                .map(|text| json!({"embedding": vector(text, 4)}))
                .collect();
            ok(json!({ "data": good }).to_string())
        }),
    ];
    let server = Server::start(|_, _| Reply::Vectors);
    for (at, (said, fault)) in faults.into_iter().enumerate() {
        let desk = Desk::new();
        desk.file("items.jsonl", &items(&[0, 1, 29]));
        let args = format!(
            "embed items.jsonl -o v.sqlite --url {} --model m --retries 0 --batch-items 8 --concurrency {}",
            server.url,
            1 + at % 3
        );
        server.play(move |_, call| if is_bad(call) { fault(call) } else { Reply::Vectors });
        run(&desk, &args).fails(6, &[said, "`k00`", "3 texts cannot be embedded", "37 of 40", "--skip-failed"]);
        assert_eq!(keys(&desk, "v.sqlite").len(), 37, "{said}");
        // The next run asks for those alone.
        server.take();
        run(&desk, &args).fails(6, &[said, "0 of 3 missing texts are kept"]);
        assert!(server.asked().iter().all(|text| text.starts_with("bad") || text == "a"), "{said}");

        let args = format!("{args} --skip-failed --json --rows r.npy --keys k.jsonl");
        let skipped = run(&desk, &args).json();
        let failed: Vec<&str> =
            skipped["failed"].as_array().expect("a list").iter().map(|f| f["key"].as_str().expect("a key")).collect();
        assert_eq!(failed, ["k00", "k01", "k29"], "{said}");
        assert!(skipped["failed"][2]["problem"].as_str().expect("a problem").contains(said), "{said}: {skipped}");
        assert!(skipped["notes"].to_string().contains("3 items could not be embedded"), "{skipped}");
        let rows = open(desk.path("r.npy"), &OpenOptions::default()).expect("rows");
        let named = read_keys(desk.path("k.jsonl"), "id").expect("keys");
        assert_eq!((rows.rows(), named.len()), (37, 37), "{said}");
        assert!(!named.contains(&"k29".to_owned()) && named.contains(&"k30".to_owned()), "{said}");

        // A better model, or other texts: nothing else is asked for.
        server.play(|_, _| Reply::Vectors);
        let healed = run(&desk, &args).json();
        assert_eq!((&healed["asked"], &healed["failed"]), (&3.into(), &json!([])), "{said}");
        assert_eq!(server.asked(), ["bad 0", "bad 1", "bad 29"], "{said}");
        assert_eq!(keys(&desk, "v.sqlite").len(), 40, "{said}");
    }
}

#[test]
fn a_vector_of_another_dimension_is_that_of_a_text_alone() {
    let server = Server::start(|_, call| instead(call, "[1,2,3]"));
    let desk = Desk::new();
    desk.file("items.jsonl", &items(&[0, 1, 29]));
    let args = format!("embed items.jsonl -o v.sqlite --url {} --model m --batch-items 8 --json", server.url);
    let skipped = run(&desk, &format!("{args} --skip-failed")).json();
    assert_eq!(skipped["failed"].as_array().expect("a list").len(), 3, "{skipped}");
    assert_eq!(keys(&desk, "v.sqlite").len(), 37);
}

#[test]
fn what_is_wrong_with_all_texts_is_found_out_soon() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    desk.file("items.jsonl", &items(&[]));
    let args = format!(
        "embed items.jsonl -o v.sqlite --url {} --model m --backoff 0 --batch-items 16 --concurrency 1 --skip-failed",
        server.url
    );
    // 16, 8, 4, 2 and 1, and a text that any model can embed.
    // With 500, the batch, the text that is alone and the other one are tried twice.
    for (code, calls) in [(400, 6), (500, 9)] {
        server.play(move |_, _| status(code, "no"));
        run(&desk, &format!("{args} --retries 1")).fails(6, &["HTTP", "`k00` to `k15`", "0 of 40"]);
        assert_eq!(server.take().len(), calls, "{code}");
    }
    // Too many requests say nothing of the texts.
    server.play(|_, _| status(429, "slower"));
    run(&desk, &format!("{args} --retries 2")).fails(6, &["HTTP 429", "tried 3 times"]);
    let made = server.take();
    assert!(made.len() == 3 && made.iter().all(|call| call.texts().len() == 16), "{}", made.len());
    // Nor does a server that is not there.
    server.play(|_, _| Reply::HangUp);
    run(&desk, &format!("{args} --retries 1")).fails(6, &["cannot be reached"]);
    assert_eq!(server.take().len(), 2);
}

#[test]
fn a_server_that_takes_fewer_texts_is_asked_for_fewer() {
    let server = Server::start(|_, call| {
        if call.texts().len() > 4 { status(413, r#"{"error":"batch size 16 > 4"}"#) } else { Reply::Vectors }
    });
    let desk = Desk::new();
    desk.file("items.jsonl", &items(&[]));
    let args =
        format!("embed items.jsonl -o v.sqlite --url {} --model m --batch-items 16 --concurrency 1 --json", server.url);
    let done = run(&desk, &args).json();
    assert_eq!(keys(&desk, "v.sqlite").len(), 40);
    // The first batch: 16, two halves, four quarters; then four calls for the second and two for the third.
    let sizes: Vec<usize> = server.take().iter().map(|call| call.texts().len()).collect();
    assert_eq!(sizes, [16, 8, 4, 4, 8, 4, 4, 4, 4, 4, 4, 4, 4], "{done}");
    assert_eq!(done["calls"], sizes.len());
}

#[test]
fn vectors_of_zeros_are_told() {
    let server = Server::start(|_, call| {
        let data: Vec<Value> = call.texts().iter().map(|_| json!({"embedding": [0.0, -0.0]})).collect();
        ok(json!({ "data": data }).to_string())
    });
    let desk = Desk::new();
    desk.file("items.jsonl", &items(&[]));
    let args = format!("embed items.jsonl -o v.sqlite --url {} --model m", server.url);
    let said = run(&desk, &args).ok();
    assert!(said.stderr.contains("40 of 40 vectors are all zero"), "{}", said.stderr);
    // Of what was kept before, too, where rows are written.
    let again = run(&desk, &format!("{args} --rows r.npy --json")).json();
    assert_eq!(again["asked"], 0);
    assert!(again["notes"].to_string().contains("40 of 40 vectors are all zero"), "{again}");
}

#[test]
fn of_items_with_one_key_the_first_or_the_last_is_embedded() {
    let server = Server::start(|_, _| Reply::Vectors);
    let desk = Desk::new();
    desk.file(
        "twice.jsonl",
        b"{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"b\",\"text\":\"y\"}\n{\"id\":\"a\",\"text\":\"z\"}\n",
    );
    for (which, asked) in [("first", ["x", "y"]), ("last", ["y", "z"])] {
        let args = format!("embed twice.jsonl -o {which}.sqlite --url {} --model m", server.url);
        run(&desk, &args).fails(3, &["same key `a`"]);
        let said = run(&desk, &format!("{args} --on-duplicate {which}")).ok();
        assert!(said.stderr.contains("1 item with the key of another"), "{}", said.stderr);
        assert_eq!(server.asked(), asked);
    }
}
