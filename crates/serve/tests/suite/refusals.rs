//! Every kind of error, with its status, its code, and what it says.

use crate::desk::{DIMS, Desk, Service, key, made_up};
use sememe::ids::store::Store as _;
use sememe_serve::Limits;
use sememe_serve::Settings;
use serde_json::json;

const RAW: &str = "application/octet-stream";

#[test]
fn bodies_that_are_no_rows() {
    let desk = Desk::new();
    let service = desk.serve();
    let encode = |text: &str| service.send("/v1/encode", &[("content-type", "application/json")], text.as_bytes());
    encode("").fails(400, "bad_json", "line 1");
    encode("{\"rows\": [[1, 2").fails(400, "bad_json", "line 1 column");
    encode("{\"rows\": [[NaN, 1, 2, 3, 4, 5]]}").fails(400, "bad_json", "");
    encode("{\"rows\": [[null, 1, 2, 3, 4, 5]]}").fails(400, "bad_json", "value 0 of row 0 is no number");
    encode("{\"rows\": [[1, \"2\", 2, 3, 4, 5]]}").fails(400, "bad_json", "value 1 of row 0 is no number");
    encode("{\"rows\": [1, 2, 3, 4, 5, 6]}").fails(400, "bad_json", "row 0 is no list of numbers");
    encode("{\"rows\": {}}").fails(400, "bad_json", "no list of rows");
    encode("{\"rows\": [[0,0,0,0,0,0],[1,2,3,4,5]]}").fails(400, "rows_shape", "row 1 has 5 values, expected 6");
    encode("{\"rows\": [[0,0,0,0,0,0,0]]}").fails(400, "rows_shape", "row 0 has 7 values");
    encode("{\"rows\": [[0,0,0,0,0,1e39]]}").fails(400, "not_finite", "value 5 of row 0 is too large for float32");
    encode("{\"rows\": [], \"texts\": []}").fails(400, "bad_request", "one of `rows` and `texts`");
    encode("{\"rows\": [], \"texts\": null}").fails(400, "bad_json", "null");
    encode("{\"rows\": null}").fails(400, "bad_json", "no list of rows");
    let most = f64::from(f32::MAX);
    service.post("/v1/encode", &json!({ "rows": [[most, -most, 0, 0, 0, 0]] })).ok();
    service.post("/v1/encode", &json!({ "rows": [[0, most.next_up(), 0, 0, 0, 0]] })).fails(
        400,
        "not_finite",
        "value 1 of row 0",
    );
    encode("{\"rows\": [[0,0,0,0,0,1e400]]}").fails(400, "not_finite", "value 5 of row 0 is too large for float32");
    encode("{}").fails(400, "bad_request", "one of `rows` and `texts`");
    encode("{\"row\": [[1]]}").fails(400, "bad_json", "unknown field `row`");
    encode("[]").fails(400, "bad_json", "expected an object");
    encode(" [null, []]").fails(400, "bad_json", "expected an object");
    encode("7").fails(400, "bad_json", "");
    encode("{\"texts\": [\"a\"]}").fails(422, "not_loaded", "whoever runs it");
    let nested = "[".repeat(100_000);
    encode(&format!("{{\"rows\": {nested}")).fails(400, "bad_json", "");
    let raw = |values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        service.send("/v1/encode", &[("content-type", RAW)], &bytes)
    };
    raw(&[0.0; 5]).fails(400, "rows_shape", "20 bytes");
    raw(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]).fails(
        400,
        "not_finite",
        "value 1 of row 1 is NaN",
    );
    raw(&[f32::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0]).fails(400, "not_finite", "value 0 of row 0 is -inf");
    // Finite, though their sum is not.
    raw(&[f32::MAX; 6]).ok();
    service.send("/v1/encode", &[("content-type", "text/csv")], b"1,2").fails(
        415,
        "unsupported_media_type",
        "`text/csv`",
    );
    service.send("/v1/encode", &[("content-type", "application/json; charset=utf-8")], b"{\"rows\":[]}").ok();
}

#[test]
fn items_that_cannot_have_an_id() {
    let desk = Desk::new();
    let service = desk.serve();
    let before = desk.store().count().unwrap();
    let row = desk.row(0);
    let assign = |items: serde_json::Value| service.post("/v1/assign", &json!({ "items": items }));
    assign(json!([{ "key": "", "row": row }])).fails(400, "bad_request", "key of item 0 has 0 characters");
    // Characters, however many bytes they are.
    assign(json!([{ "key": "ü".repeat(1025), "row": row }])).fails(400, "bad_request", "1025 characters, expected 1");
    assign(json!([{ "key": "a", "row": row }, { "key": "a", "row": row }])).fails(
        409,
        "same_key",
        "items 0 and 1 have the same key `a`",
    );
    assign(json!([{ "key": "a", "row": row, "text": null }])).fails(400, "bad_json", "null");
    assign(json!([{ "key": "a", "row": null }])).fails(400, "bad_json", "row 0 is no list of numbers");
    assign(json!([{ "key": "a" }])).fails(400, "bad_request", "item 0: expected one of `row` and `text`");
    assign(json!([{ "key": "a", "row": row, "text": "b" }])).fails(400, "bad_request", "item 0: expected one of");
    assign(json!([{ "key": "a", "text": "b" }])).fails(422, "not_loaded", "");
    // All or none: what is right beside what is wrong is not kept either.
    assign(json!([{ "key": "a", "row": row }, { "key": "b", "row": [1, 2] }])).fails(
        400,
        "rows_shape",
        "row 1 has 2 values",
    );
    assign(json!([{ "key": 1, "row": row }])).fails(400, "bad_json", "expected a string");
    service.post("/v1/assign", &json!({})).fails(400, "bad_json", "missing field `items`");
    assert_eq!(desk.store().count().unwrap(), before);
    service.get("/v1/items/a").fails(404, "unknown_item", "`a`");
}

#[test]
fn paths_that_lead_nowhere() {
    let desk = Desk::new();
    let service = desk.serve();
    service.get("/v1/items/none").fails(404, "unknown_item", "`none`");
    service.get("/v1/items/%FF").fails(400, "bad_request", "UTF-8");
    service.get("/v1/items/x?neighbours=-1").fails(400, "bad_request", "neighbours");
    service.get("/v1/items/x?neighbors=1").fails(400, "bad_request", "neighbors");
    service.get(&format!("/v1/items/{}?neighbours=1001", key(1).replace('/', "%2F"))).fails(
        400,
        "bad_request",
        "at most 1000",
    );
    service.get("/v1/ids/4-4-4-99").fails(404, "unknown_id", "4-4-4-99");
    service.get("/v1/ids/1-2").fails(400, "bad_request", "`0-0-0`");
    service.get("/v1/ids/1-2-9").fails(400, "bad_request", "past 4");
    service.get("/v1/ids/nonsense").fails(400, "bad_request", "`<a_0><b_0><c_0>`");
    service.get("/v1/prefixes/9").fails(400, "bad_request", "code 9 of level 0 is past 4");
    service.get("/v1/prefixes/1-1-1-1").fails(400, "bad_request", "no prefix");
    service.get("/v1/prefixes/xyz").fails(400, "bad_request", "no prefix");
    service.get("/v1/prefixes?limit=10001").fails(400, "bad_request", "at most 10000");
    service.get("/v1/nothing").fails(404, "not_found", "/openapi.json");
    service.get("/nothing.js").fails(404, "not_found", "");
    service.get("/v1/encode").fails(405, "method_not_allowed", "");
    service.post("/v1/info", &json!({})).fails(405, "method_not_allowed", "");
    assert_eq!(service.get("/v1/encode").header("allow"), Some("POST"));
}

#[test]
fn more_than_is_taken() {
    let desk = Desk::new();
    let limits = Limits { body_bytes: 1000, rows: 3, ..Limits::default() };
    let service = Service::start(desk.sources(), Settings { limits, ..Settings::default() });
    let rows = made_up(4, DIMS, 3);
    let some = |count: usize| (0..count).map(|i| rows.row(i).to_vec()).collect::<Vec<_>>();
    service.post("/v1/encode", &json!({ "rows": some(3) })).ok();
    service.post("/v1/encode", &json!({ "rows": some(4) })).fails(413, "too_large", "4 rows, at most 3");
    let bytes = vec![0u8; 4 * DIMS * 4];
    service.send("/v1/encode", &[("content-type", RAW)], &bytes).fails(413, "too_large", "4 rows, at most 3");
    let items: Vec<_> = (0..4).map(|i| json!({ "key": i.to_string(), "row": [0] })).collect();
    service.post("/v1/assign", &json!({ "items": items })).fails(413, "too_large", "4 items, at most 3");
    service.send("/v1/encode", &[], &[b' '; 1001]).fails(413, "too_large", "longer than 1000 bytes");
    // A length that is not said beforehand.
    let chunk = format!("{:x}\r\n{}\r\n", 600, " ".repeat(600));
    let answer = service.raw(
        format!("POST /v1/encode HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunk}{chunk}0\r\n\r\n").as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
    assert_eq!(
        service.get("/v1/info").ok().json()["limits"],
        json!({ "body_bytes": 1000, "rows": 3, "seconds": 30.0 })
    );
}

#[test]
fn a_store_of_another_codec_is_refused_when_the_service_starts() {
    let desk = Desk::new();
    crate::desk::train(&desk.rows, 99, &desk.path("other.safetensors"));
    let mut sources = desk.sources();
    sources.codec = Some(desk.path("other.safetensors"));
    let error =
        sememe_serve::Bound::new(sources, Settings::default(), "127.0.0.1:0").expect_err("an error").to_string();
    assert!(error.contains("holds IDs of codec"), "{error}");
    let none = sememe_serve::Sources::default();
    let error = sememe_serve::Bound::new(none, Settings::default(), "127.0.0.1:0").expect_err("an error").to_string();
    assert!(error.contains("`codec`: expected a codec, or a run's folder"), "{error}");
}
