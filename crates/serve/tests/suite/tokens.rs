//! Who may ask.

use crate::desk::{Desk, Service};
use sememe_serve::Settings;
use sememe_serve::Tokens;
use serde_json::json;

#[test]
fn only_who_has_a_token_may_ask() {
    let desk = Desk::new();
    let tokens = Tokens::parse("# of the shop\nfirst-token-1\n\n second-token-2 \n").unwrap();
    let mut service = Service::start(desk.sources(), Settings { tokens, ..Settings::default() });
    for path in ["/v1/info", "/metrics", "/v1/items/x", "/v1/nothing"] {
        let answer = service.get(path);
        answer.fails(401, "unauthorized", "a token is missing");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    service.post("/v1/encode", &json!({ "rows": [] })).fails(401, "unauthorized", "missing");
    for wrong in ["first-token-", "first-token-12", "First-token-1", "second-token-2 x", ""] {
        service.get_with("/v1/info", &[("authorization", &format!("Bearer {wrong}"))]).fails(
            401,
            "unauthorized",
            "wrong",
        );
    }
    for wrong in ["Basic first-token-1", "first-token-1", "Bearer"] {
        service.get_with("/v1/info", &[("authorization", wrong)]).fails(401, "unauthorized", "");
    }
    for free in ["/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"] {
        service.get(free).ok();
    }
    for right in ["Bearer first-token-1", "bearer second-token-2", "BEARER  first-token-1"] {
        service.get_with("/v1/info", &[("authorization", right)]).ok();
    }
    service.token = Some("second-token-2".into());
    service.get("/metrics").ok();
    let document = service.get("/openapi.json").ok().json();
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}

#[test]
fn tokens_that_protect_nobody_are_refused() {
    for (text, part) in [
        ("", "at least one token"),
        ("# none\n", "at least one token"),
        ("long-enough\nshort", "the token of line 2 has 5 characters, expected at least 8"),
        ("two words here", "line 1 holds other characters"),
        ("schlüssel-1234", "line 1 holds other characters"),
    ] {
        let error = Tokens::parse(text).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("`tokens`"), "{error}");
    }
    assert!(!format!("{:?}", Tokens::parse("secret-secret").unwrap()).contains("secret-s"));
}
