//! Runs whose vectors come from an endpoint.

use super::*;
use sememe_testkit::embed_server::{Reply, Server, status};

fn place(server: &Server, items: usize) -> Place {
    let place = Place::new(items);
    let config = CONFIG.replace(
        "vectors = \"rows.npy\"",
        &format!("url = \"{}\"\nmodel = \"m\"\nbatch_items = 16\napi_key_env = \"THE_KEY\"\nretries = 0", server.url),
    );
    fs::write(place.path("sememe.toml"), format!("env_file = \".env\"\n{config}")).expect("written");
    fs::write(place.path(".env"), "THE_KEY=s3cret-key\n").expect("written");
    place
}

#[test]
fn one_changed_item_is_one_call_and_moves_no_other_id() {
    let server = Server::start(|_, _| Reply::Vectors);
    let place = place(&server, 100);
    place.run(&[]);
    let calls = server.take();
    assert_eq!(calls.len(), 100usize.div_ceil(16));
    assert!(calls.iter().all(|call| call.authorization.as_deref() == Some("Bearer s3cret-key")));
    assert_eq!(ran(&place.run(&[])), [""; 0]);
    assert_eq!(server.take().len(), 0, "nothing changed, nothing is asked for");
    let before = place.lines("assign/ids.jsonl");
    let mut catalogue = Catalogue::new(100);
    catalogue.titles[40] = "Something else".into();
    catalogue.write(place.0.path());
    let report = place.run(&[]);
    assert_eq!(ran(&report), ["prep", "embed", "assign", "tokenize", "report"]);
    let calls = server.take();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].texts(), ["Something else"]);
    let after = place.lines("assign/ids.jsonl");
    let changed: Vec<&Value> = before.iter().zip(&after).filter(|(a, b)| a != b).map(|(_, b)| b).collect();
    assert!(changed.len() <= 1, "{changed:#?}");
    assert!(before.iter().zip(&after).all(|(a, b)| a["codes"] == b["codes"] && a["counter"] == b["counter"]));
    // The key is nowhere in what a run leaves.
    for (name, path) in files(&place.path("out")) {
        let bytes = fs::read(path).expect("read");
        assert!(!bytes.windows(6).any(|part| part == b"s3cret"), "{name}");
    }
}

#[test]
fn an_endpoint_that_fails_keeps_what_was_answered() {
    let server = Server::start(|call, _| if call < 3 { Reply::Vectors } else { status(503, "busy") });
    let place = place(&server, 100);
    place.refused(&["embed.concurrency=1"], &["503", "48 of 100"]);
    server.play(|_, _| Reply::Vectors);
    server.take();
    place.run(&["embed.concurrency=1"]);
    assert_eq!(server.take().len(), 52usize.div_ceil(16));
    fs::write(place.path(".env"), "").expect("written");
    place.refused(&["embed.model=other"], &["`embed.api_key_env`", "THE_KEY"]);
}

#[test]
fn texts_that_a_model_refuses_are_left_out_where_the_file_says_so() {
    let server = Server::start(|_, _| Reply::Vectors);
    let place = place(&server, 100);
    let mut catalogue = Catalogue::new(100);
    for bad in [3, 40, 99] {
        catalogue.titles[bad] = format!("too long {bad}");
    }
    catalogue.write(place.0.path());
    let refuse = |server: &Server| {
        server.play(|_, call| {
            let bad = call.texts().iter().any(|text| text.starts_with("too long"));
            if bad { status(413, r#"{"error":"must have less than 512 tokens"}"#) } else { Reply::Vectors }
        });
    };
    refuse(&server);
    place.refused(&[], &["413", "3 texts cannot be embedded", "97 of 100", "`embed.skip_failed = true`"]);
    let skip = ["embed.skip_failed=true"];
    let report = place.run(&skip);
    assert_eq!(ran(&report), ["embed", "train", "assign", "tokenize", "report"]);
    let said = &report.phases.iter().find(|phase| phase.phase == Phase::Embed).expect("embed").summary;
    assert!(said.contains("97 vectors") && said.contains("3 items have no vector"), "{said}");
    let failed: Vec<Value> = place.lines("embed/failed.jsonl");
    let keys = |lines: &[Value], field: &str| -> Vec<String> {
        lines.iter().map(|line| line[field].as_str().expect("a key").to_owned()).collect()
    };
    let mut bad: Vec<String> = [3, 40, 99].iter().map(|i| catalogue.keys[*i].clone()).collect();
    bad.sort();
    assert_eq!(keys(&failed, "key"), bad);
    catalogue.keys.sort();
    let left: Vec<String> = catalogue.keys.iter().filter(|key| !bad.contains(key)).cloned().collect();
    assert_eq!(keys(&place.lines("assign/ids.jsonl"), "id"), left);
    verify(place.path("out")).expect("verified");
    // They are tried again in every run; while nothing comes of it, nothing else has to run.
    server.take();
    assert_eq!(ran(&place.run(&skip)), ["embed"]);
    assert!(server.take().iter().all(|call| call.texts().iter().all(|t| t.starts_with("too long") || t == "a")));
    // Once a model takes them they get IDs, and no other ID moves.
    let before = place.lines("assign/ids.jsonl");
    server.play(|_, _| Reply::Vectors);
    assert_eq!(ran(&place.run(&skip)), ["embed", "assign", "tokenize", "report"]);
    assert!(!place.out("embed/failed.jsonl").exists());
    let after = place.lines("assign/ids.jsonl");
    assert_eq!(keys(&after, "id"), catalogue.keys);
    let kept: Vec<&Value> = after.iter().filter(|line| !bad.iter().any(|key| line["id"] == key.as_str())).collect();
    assert_eq!(kept, before.iter().collect::<Vec<_>>());
    assert_eq!(ran(&place.run(&skip)), [""; 0]);
}
