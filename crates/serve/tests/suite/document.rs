//! The OpenAPI document says what this very service takes: no less, and no more.

use crate::desk::{self, DIMS, Service};
use crate::extremes::Extremes;
use crate::models_desk;
use regex::Regex;
use sememe::{Codec, Device, RqKMeans};
use sememe_serve::{Limits, Settings, Sources};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ALWAYS: [&str; 10] = [
    "/v1/info",
    "/v1/encode",
    "/v1/items/{key}",
    "/v1/ids/{id}",
    "/v1/prefixes",
    "/v1/prefixes/{prefix}",
    "/v1/search",
    "/healthz",
    "/readyz",
    "/metrics",
];

fn document(service: &Service) -> Value {
    service.get("/openapi.json").ok().json()
}

fn paths(document: &Value) -> BTreeSet<&str> {
    document["paths"].as_object().expect("paths").keys().map(String::as_str).collect()
}

/// A text of a pattern and one that it does not match: of the few patterns that there are.
fn texts(pattern: &str) -> (String, String) {
    let found = Regex::new(pattern).expect("a pattern");
    let (right, wrong) = ("7", "\u{a0} \t");
    assert!(found.is_match(right) && !found.is_match(wrong), "{pattern}");
    (right.into(), wrong.into())
}

/// Asks at every bound that the document states and one beyond each, and holds the answers to it.
fn hold_to_its_word(service: &Service, least: usize) {
    let document = document(service);
    let extremes = Extremes::new(&document, &texts);
    let (mut allowed, mut forbidden) = (0, 0);
    for (path, item) in document["paths"].as_object().expect("paths") {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let told = |status: u16| !item["post"]["responses"][status.to_string()].is_null();
        for body in extremes.allowed(schema) {
            let answer = service.post(path, &body);
            // Keys that no item has are well formed.
            assert!([200, 404].contains(&answer.status) && told(answer.status), "{path} {body}: {}", answer.text());
            allowed += 1;
        }
        for body in extremes.forbidden(schema) {
            let answer = service.post(path, &body);
            assert!([400, 413].contains(&answer.status) && told(answer.status), "{path} {body}: {}", answer.text());
            forbidden += 1;
        }
    }
    assert!(allowed > least && forbidden > least, "{allowed} and {forbidden} requests");
    for (path, parameter) in
        [("/v1/items/{key}", "neighbours"), ("/v1/prefixes", "limit"), ("/v1/prefixes/{prefix}", "limit")]
    {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().expect("parameters");
        let schema = &parameters.iter().find(|p| p["name"] == parameter).expect("a parameter")["schema"];
        let place = parameters.iter().find(|p| p["in"] == "path").map_or_else(
            || path.to_owned(),
            |place| {
                let example = place["example"].as_str().expect("an example").replace('/', "%2F");
                path.replace(&format!("{{{}}}", place["name"].as_str().expect("a name")), &example)
            },
        );
        for (value, status) in [
            (schema["minimum"].as_i64().expect("a bound"), 200),
            (schema["maximum"].as_i64().expect("a bound"), 200),
            (schema["minimum"].as_i64().expect("a bound") - 1, 400),
            (schema["maximum"].as_i64().expect("a bound") + 1, 400),
        ] {
            let answer = service.get(&format!("{place}?{parameter}={value}"));
            assert_eq!(answer.status, status, "{place} {value}: {}", answer.text());
        }
    }
}

#[test]
fn requests_are_taken_up_to_the_bounds_that_are_stated_and_no_further() {
    let limits = || Settings { limits: Limits { rows: 3, ..Limits::default() }, ..Settings::default() };
    // A codec and a store, all that there is, and recommenders that search.
    let desk = desk::Desk::new();
    hold_to_its_word(&Service::start(desk.sources(), limits()), 50);
    let desk = models_desk::Desk::new();
    hold_to_its_word(&Service::start(desk.everything(), limits()), 150);
    let (_, sources) = desk.recommender(sememe_recommend::Prediction::Ordered, 0);
    hold_to_its_word(&Service::start(sources, limits()), 50);
}

#[test]
fn what_cannot_be_asked_is_not_in_the_document() {
    let desk = models_desk::Desk::new();
    let service = Service::start(desk.sources(), Settings::default());
    let bare = document(&service);
    assert_eq!(paths(&bare), BTreeSet::from(ALWAYS));
    let text = bare.to_string();
    for absent in ["texts", "ChatRequest", "RecommendQuery", "AssignItem"] {
        assert!(!text.contains(&format!("\"{absent}\"")), "{absent}");
    }
    assert!(bare["paths"]["/v1/encode"]["post"]["responses"]["422"].is_object());
    service.post("/v1/assign", &json!({ "items": [] })).fails(422, "not_loaded", "`store`");
    service.post("/v1/encode", &json!({ "texts": ["a"] })).fails(422, "not_loaded", "`embed`");

    let service = Service::start(desk.everything(), Settings::default());
    let all = document(&service);
    let more = ["/v1/assign", "/v1/recommend", "/v1/chat/completions"];
    assert_eq!(paths(&all), ALWAYS.into_iter().chain(more).collect());
    for path in ["/v1/encode", "/v1/search", "/v1/assign", "/v1/recommend"] {
        assert!(all["paths"][path]["post"]["responses"]["422"].is_null(), "{path}");
    }
    let ways = |name: &str| all["components"]["schemas"][name]["oneOf"].as_array().map(Vec::len);
    assert_eq!(
        ["EncodeRequest", "AssignItem", "SearchRequest", "RecommendRequest"].map(ways),
        [Some(2), Some(2), Some(4), Some(4)]
    );
}

#[test]
fn the_document_goes_with_the_codec() {
    let desk = desk::Desk::new();
    let service = Service::start(Sources { store: None, ..desk.sources() }, Settings::default());
    let before = document(&service);
    let pattern = |document: &Value| {
        let text =
            document["paths"]["/v1/ids/{id}"]["get"]["parameters"][0]["schema"]["pattern"].as_str().map(str::to_owned);
        Regex::new(&text.expect("a pattern")).expect("a pattern")
    };
    let row = |document: &Value| {
        document["components"]["schemas"]["EncodeRequest"]["properties"]["rows"]["items"]["maxItems"].clone()
    };
    assert!(pattern(&before).is_match("4-4-4") && !pattern(&before).is_match("5-4"));
    assert_eq!((row(&before), document(&service)), (json!(DIMS), before));
    let settings = RqKMeans { codebook_sizes: vec![7, 4], ..RqKMeans::default() };
    let codec: Codec = Codec::train(&desk.rows, &settings, &Device::cpu(), &()).expect("a codec");
    codec.save(desk.path("codec.safetensors")).expect("written");
    service.handle.reload().expect("a new generation");
    let after = document(&service);
    assert!(!pattern(&after).is_match("4-4-4") && pattern(&after).is_match("6-3") && !pattern(&after).is_match("6-4"));
    let example = after["paths"]["/v1/ids/{id}"]["get"]["parameters"][0]["example"].as_str().expect("an ID").to_owned();
    assert!(pattern(&after).is_match(&example), "{example}");
    service.get(&format!("/v1/ids/{}", example.replace('<', "%3C").replace('>', "%3E"))).ok();
}

#[test]
fn the_document_tells_every_route_and_its_errors() {
    let desk = models_desk::Desk::new();
    let service = Service::start(desk.everything(), Settings::default());
    let document = document(&service);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} says nothing of itself");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"));
            if path.starts_with("/v1/") {
                assert!(
                    responses.contains_key("429") && responses.contains_key("500"),
                    "{method} {path}: {responses:?}"
                );
                assert_eq!(responses.contains_key("413"), method == "post", "{method} {path}");
            }
            for (status, response) in responses {
                if let (false, Some(content)) = (status.starts_with('2'), response["content"].as_object()) {
                    let schema = &content["application/json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/ErrorBody", "{method} {path} {status}");
                }
            }
        }
    }
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.match_indices("#/components/schemas/").map(|(at, found)| &text[at + found.len()..]) {
        let name = &reference[..reference.find('"').unwrap()];
        assert!(document["components"]["schemas"].get(name).is_some(), "`{name}` is not there");
    }
}
