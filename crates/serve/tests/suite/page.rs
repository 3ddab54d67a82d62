//! The page's files, and the document of the API.

use crate::desk::Desk;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_file_of_the_page_is_served_with_a_strict_policy() {
    let desk = Desk::new();
    let service = desk.serve();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let mut names = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let answer = service.get(&if name == "index.html" { "/".to_owned() } else { format!("/{name}") }).ok();
        assert_eq!(answer.body, fs::read(&path).unwrap(), "{name}");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            other => panic!("`.{other}`: what is it?"),
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{name}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        // Who has it already is told that it has.
        let tag = answer.header("etag").unwrap();
        let again = service.get_with(&format!("/{name}"), &[("if-none-match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
        names += 1;
    }
    assert!(names >= 3, "{names}");
}

#[test]
fn the_document_tells_every_route_and_its_errors() {
    let desk = Desk::new();
    let service = desk.serve();
    let document = service.get("/openapi.json").ok().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "/v1/info",
        "/v1/encode",
        "/v1/assign",
        "/v1/items/{key}",
        "/v1/ids/{id}",
        "/v1/prefixes",
        "/v1/prefixes/{prefix}",
        "/v1/search",
        "/v1/recommend",
        "/v1/chat/completions",
        "/healthz",
        "/readyz",
        "/metrics",
    ];
    assert_eq!(paths, BTreeSet::from(wanted));
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
