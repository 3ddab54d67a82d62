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
