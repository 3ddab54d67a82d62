//! Recommendations, search and chat over HTTP, against the models themselves.

use crate::models_desk::{Desk, ITEMS, Running, vector};
use sememe::Device;
use sememe_recommend::{ChatMessage, Precision, Prediction, Recommender, RecommenderQuery, TextOptions};
use serde_json::{Value, json};
use std::ops::ControlFlow;

const RECOMMEND: &str = "/v1/recommend";
const SEARCH: &str = "/v1/search";
const CHAT: &str = "/v1/chat/completions";

fn keys_of(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().expect("a list").iter().map(|item| item["key"].as_str().expect("a key")).collect()
}

/// What a recommender says by itself: keys and log-probabilities.
fn expected(
    recommender: &Recommender,
    history: &[u32],
    wish: Option<&[f32]>,
    count: usize,
    hide: bool,
) -> Vec<(String, f64)> {
    let mut session = recommender.session(&Device::cpu()).expect("a session");
    let lists = session.recommend(&[RecommenderQuery { history, wish }], count, hide, None).expect("a list");
    lists[0].iter().map(|item| (format!("k{}", item.item), item.log_probability)).collect()
}

fn assert_same(answer: &Value, wanted: &[(String, f64)]) {
    let items = answer["items"].as_array().expect("a list");
    assert_eq!(items.len(), wanted.len(), "{answer}");
    for (item, (key, log)) in items.iter().zip(wanted) {
        let got = item["log_probability"].as_f64().expect("a number");
        assert_eq!(item["key"], **key, "{answer}");
        assert!(
            (got - log).abs() <= 1e-4 && (item["probability"].as_f64().expect("a number") - got.exp()).abs() < 1e-12
        );
    }
}

#[test]
fn histories_and_wishes_are_answered_as_the_recommender_answers_them() {
    let desk = Desk::new();
    let (recommender, sources) = desk.recommender(Prediction::Items, 0);
    let service = Running::start(Desk::with_embedder(sources));
    let answer = service.ask(RECOMMEND, &json!({"history": ["k3", "k4", "k5"], "count": 4}));
    assert_same(&answer, &expected(&recommender, &[3, 4, 5], None, 4, true));
    let first = &answer["items"][0];
    assert_eq!((first["key"].as_str(), first["title"].as_str()), (Some("k6"), Some("Thing number 6")));
    assert_eq!(first["codes"], json!(desk.codes.row(6)));

    // Reasons share what they say, the most alike first; every item of the history that shares a code is one, up to three.
    for item in answer["items"].as_array().expect("a list") {
        let codes: Vec<u32> = serde_json::from_value(item["codes"].clone()).expect("codes");
        let shared = |i: u32| desk.codes.row(i as usize).iter().zip(&codes).take_while(|(a, b)| a == b).count();
        let mut wanted: Vec<(usize, String)> =
            [5, 4, 3].map(|i| (shared(i), format!("k{i}"))).into_iter().filter(|w| w.0 > 0).collect();
        wanted.sort_by_key(|w| std::cmp::Reverse(w.0));
        let why: Vec<(usize, String)> = item["why"]
            .as_array()
            .expect("reasons")
            .iter()
            .map(|w| (w["shared"].as_u64().expect("a number") as usize, w["key"].as_str().expect("a key").to_owned()))
            .collect();
        assert_eq!(why, wanted, "{item}");
    }

    let all = service.ask(RECOMMEND, &json!({"history": ["k3", "k4", "k5"], "count": 100, "include_seen": true}));
    assert_same(&all, &expected(&recommender, &[3, 4, 5], None, 100, false));
    assert_eq!(keys_of(&all).len(), ITEMS as usize);
    let wish = expected(&recommender, &[3], Some(&vector(9)), 5, true);
    assert_same(&service.ask(RECOMMEND, &json!({"history": ["k3"], "vector": vector(9), "count": 5})), &wish);
    assert_same(&service.ask(RECOMMEND, &json!({"history": ["k3"], "text": "like 9", "count": 5})), &wish);
    let alone = expected(&recommender, &[], Some(&vector(2)), 10, true);
    assert_same(&service.ask(RECOMMEND, &json!({"history": [], "text": "2"})), &alone);

    // Several queries, asked in several ways.
    let queries = [
        json!({"history": ["k3", "k4", "k5"], "count": 4}),
        json!({"history": ["k3"], "text": "like 9", "count": 5}),
        json!({"history": ["k3", "k4", "k5"], "count": 100, "include_seen": true}),
    ];
    let several = service.ask(RECOMMEND, &json!({"queries": queries}));
    for (query, answer) in queries.iter().zip(several["answers"].as_array().expect("answers")) {
        assert_eq!(keys_of(answer), keys_of(&service.ask(RECOMMEND, query)), "{query}");
    }
    assert_eq!(service.ask(RECOMMEND, &json!({"queries": []})), json!({"answers": []}));
}

#[test]
fn clients_that_ask_at_once_get_their_own_answers() {
    let desk = Desk::new();
    let (recommender, sources) = desk.recommender(Prediction::Items, 0);
    let service = Running::start(sources);
    std::thread::scope(|scope| {
        for client in 0..8u32 {
            let (service, recommender) = (&service, &recommender);
            scope.spawn(move || {
                for round in 0..20 {
                    let history = [(client + round) % ITEMS, (client + 2 * round + 1) % ITEMS];
                    let count = 1 + (client as usize + round as usize) % 7;
                    let keys: Vec<String> = history.iter().map(|i| format!("k{i}")).collect();
                    let answer = service
                        .ask(RECOMMEND, &json!({"history": keys, "count": count, "include_seen": client % 2 == 0}));
                    assert_same(&answer, &expected(recommender, &history, None, count, client % 2 != 0));
                    // One client's mistakes are its own.
                    if client == 7 {
                        service.refused(RECOMMEND, &json!({"history": keys, "beams": 3}), 400, "bad_request", "beams");
                    }
                }
            });
        }
    });
}

#[test]
fn items_that_training_did_not_know_are_passed_over() {
    let desk = Desk::new();
    let (recommender, sources) = desk.recommender(Prediction::Ordered, 3);
    let service = Running::start(sources);
    let answer = service.ask(RECOMMEND, &json!({"history": ["k10", "k3", "k4"], "count": 3, "beams": 30}));
    assert_eq!(answer["unread"], json!(["k10"]));
    let mut session = recommender.session(&Device::cpu()).expect("a session");
    let options = sememe_recommend::RecommendOptions { count: 3, beams: Some(30), ..Default::default() };
    let lists =
        session.recommend_with(&[RecommenderQuery { history: &[3, 4], wish: None }], &options, None).expect("a list");
    let wanted: Vec<String> = lists[0].iter().map(|item| format!("k{}", item.item)).collect();
    assert_eq!(keys_of(&answer), wanted);
    // One of them alone hides no other answer.
    let body =
        json!({"queries": [{"history": ["k10", "k11"]}, {"history": ["k10", "k3", "k4"], "count": 3, "beams": 30}]});
    let several = service.ask(RECOMMEND, &body);
    assert_eq!(several["answers"][0], json!({"items": [], "unread": ["k10", "k11"]}));
    assert_eq!(keys_of(&several["answers"][1]), wanted);
    assert_eq!(service.ask(RECOMMEND, &json!({"history": ["k10"]})), json!({"items": [], "unread": ["k10"]}));
    service.refused(RECOMMEND, &json!({"history": ["k1"], "vector": vector(1)}), 400, "bad_request", "no wishes");
}

#[test]
fn what_cannot_be_recommended_is_refused() {
    let desk = Desk::new();
    let (_, sources) = desk.recommender(Prediction::Items, 0);
    let service = Running::start(sources);
    let refused = |body: Value, status, code, part| service.refused(RECOMMEND, &body, status, code, part);
    refused(json!({"history": ["k1", "no such", "k2", "nor this"]}), 404, "unknown_item", "`no such`, `nor this`");
    refused(json!({}), 400, "bad_request", "neither a history nor a wish");
    refused(json!({"history": ["k1"], "count": 0}), 400, "bad_request", "`count` is 0");
    refused(json!({"history": ["k1"], "count": 1001}), 400, "bad_request", "expected 1 to 1000");
    refused(json!({"history": ["k1"], "beams": 5}), 400, "bad_request", "beams");
    refused(json!({"history": ["k1"], "vector": [1.0, 2.0]}), 400, "rows_shape", "2 values, expected 4");
    refused(
        json!({"history": ["k1"], "vector": [0.0, 1e39, 0.0, 0.0]}),
        400,
        "not_finite",
        "value 1 of the vector is too large",
    );
    refused(
        json!({"history": ["k1"], "vector": [0.0, 1e30, 0.0, 0.0]}),
        400,
        "bad_request",
        "value 1 of the vector is 1e30, expected -",
    );
    refused(json!({"history": ["k1"], "text": "3", "vector": [0, 0, 0, 0]}), 400, "bad_request", "`text` and `vector`");
    refused(json!({"history": ["k1"], "text": "3"}), 422, "not_loaded", "texts into vectors");
    refused(json!({"history": ["k1"], "hystory": []}), 400, "bad_json", "hystory");
    refused(json!({"history": ["k1"], "queries": []}), 400, "bad_request", "fields of a single query");
    refused(json!({"queries": [{"history": ["k1"]}, {"history": ["k99"]}]}), 404, "unknown_item", "`k99`");
    refused(json!({"queries": vec![json!({"history": ["k1"]}); 257]}), 413, "too_large", "257 queries, at most 256");
    refused(json!({"queries": vec![json!({"history": ["k1"], "count": 1000}); 21]}), 413, "too_large", "21000 items");
}

#[test]
fn search_finds_by_words_meaning_vectors_and_likeness() {
    let desk = Desk::new();
    let service = Running::start(Desk::with_embedder(desk.sources()));
    let words = service.ask(SEARCH, &json!({"words": "thing 7"}));
    assert_eq!((words["by"].as_str(), keys_of(&words)[0]), (Some("words"), "k7"));

    // By distance: nearest first, the squared L2 of the vectors.
    let distance = |a: u32, b: u32| -> f64 {
        vector(a).iter().zip(vector(b)).map(|(x, y)| (f64::from(*x) - f64::from(y)).powi(2)).sum()
    };
    let mut nearest: Vec<u32> = (0..ITEMS).collect();
    nearest.sort_by(|a, b| distance(*a, 5).total_cmp(&distance(*b, 5)));
    let wanted: Vec<String> = nearest.iter().take(5).map(|i| format!("k{i}")).collect();
    for body in [json!({"vector": vector(5), "limit": 5}), json!({"text": "number 5", "limit": 5})] {
        let found = service.ask(SEARCH, &body);
        assert_eq!(
            (found["by"].as_str(), keys_of(&found)),
            (Some("distance"), wanted.iter().map(String::as_str).collect())
        );
        for (item, i) in found["items"].as_array().expect("a list").iter().zip(&nearest) {
            assert!((item["distance"].as_f64().expect("a number") - distance(*i, 5)).abs() < 1e-6, "{item}");
            let shared = desk.codes.row(5).iter().zip(desk.codes.row(*i as usize)).take_while(|(a, b)| a == b).count();
            assert_eq!(item["shared"], shared);
        }
    }
    let like = service.ask(SEARCH, &json!({"like": "k5", "limit": 4}));
    assert_eq!(keys_of(&like), wanted[1..].iter().map(String::as_str).collect::<Vec<_>>());

    service.refused(SEARCH, &json!({"like": "k99"}), 404, "unknown_item", "`k99`");
    service.refused(SEARCH, &json!({}), 400, "bad_request", "0 of `words`");
    service.refused(SEARCH, &json!({"words": "a", "like": "k1"}), 400, "bad_request", "2 of `words`");
    assert_eq!(
        service.ask(SEARCH, &json!({"words": "thing 7", "limit": 3.0})),
        service.ask(SEARCH, &json!({"words": "thing 7", "limit": 3}))
    );
    service.refused(SEARCH, &json!({"words": "a", "limit": 2.5}), 400, "bad_json", "a whole number");
    service.refused(SEARCH, &json!({"words": "a", "limit": -1}), 400, "bad_json", "a whole number");
    service.refused(SEARCH, &json!({"words": "a", "limit": 1e30}), 400, "bad_json", "a whole number");
    service.refused(SEARCH, &json!({"words": "a", "limit": 0}), 400, "bad_request", "`limit` is 0");
    service.refused(SEARCH, &json!({"vector": [0, -1e39, 0, 0]}), 400, "not_finite", "value 1 of the vector");
    service.refused(SEARCH, &json!({"vector": [0, "1", 0, 0]}), 400, "bad_json", "value 1 of the vector is no number");
    service.refused(SEARCH, &json!({"vector": 5}), 400, "bad_json", "the vector is no list");
    service.refused(SEARCH, &json!({"words": "a", "like": null}), 400, "bad_json", "null");
    service.refused(SEARCH, &json!({"vector": vec![0; 8]}), 400, "rows_shape", "8 values, expected 4");
    service.refused(SEARCH, &json!({"text": " "}), 400, "bad_request", "empty");
    service.refused(SEARCH, &json!({"text": "no number"}), 400, "bad_request", "names no number");
}

#[test]
fn without_vectors_search_goes_by_ids() {
    let desk = Desk::new();
    let ids: String =
        (0..ITEMS).map(|i| format!("{{\"id\":\"k{i}\",\"codes\":{:?}}}\n", desk.codes.row(i as usize))).collect();
    std::fs::write(desk.path("ids.jsonl"), ids).expect("written");
    let sources = sememe_serve::Sources { vectors: None, ids: Some(desk.path("ids.jsonl")), ..desk.sources() };
    let service = Running::start(sources);
    let found = service.ask(SEARCH, &json!({"vector": vector(5), "limit": 12}));
    assert_eq!(found["by"], "id");
    let shared: Vec<u64> =
        found["items"].as_array().expect("a list").iter().map(|i| i["shared"].as_u64().expect("a number")).collect();
    assert!(shared.is_sorted_by(|a, b| a >= b) && shared[0] == 2 && *shared.last().expect("items") >= 1, "{shared:?}");
    for item in found["items"].as_array().expect("a list") {
        let codes: Vec<u32> = serde_json::from_value(item["codes"].clone()).expect("codes");
        assert_eq!(codes[0], desk.codes.row(5)[0]);
        assert!(item.get("distance").is_none());
    }
    assert!(!keys_of(&service.ask(SEARCH, &json!({"like": "k5"}))).contains(&"k5"));
    service.refused(SEARCH, &json!({"text": "5"}), 422, "not_loaded", "texts into vectors");
    service.refused(RECOMMEND, &json!({"history": ["k1"]}), 422, "not_loaded", "`recommender`");
    service.refused(CHAT, &json!({"messages": []}), 422, "not_loaded", "`language`");
}

#[test]
fn a_chat_is_answered_with_items_that_exist() {
    let desk = Desk::new();
    let (recommender, sources) = desk.language();
    let service = Running::start(sources);
    let messages = json!([{"role": "user", "content": "a thing?"}]);
    let answer = service.ask(CHAT, &json!({"model": "any", "messages": messages, "n": 12, "unknown_field": true, "stream": null, "stop": null, "seed": null}));
    assert_eq!((answer["object"].as_str(), answer["model"].as_str()), (Some("chat.completion"), Some("speaker")));
    let choice = &answer["choices"][0];
    let keys = keys_of(choice);
    assert_eq!((keys.len(), choice["finish_reason"].as_str()), (12, Some("stop")));
    let question = recommender.question(&[ChatMessage::new("user", "a thing?")]).expect("a question");
    let mut session = recommender.session(&Device::cpu(), Precision::F32, 20).expect("a session");
    let options = sememe_recommend::SpokenOptions { count: 12, ..Default::default() };
    let lists = session.recommend(&[(&question, &[])], &options, None).expect("a list");
    assert_eq!(keys, lists[0].iter().map(|i| recommender.keys()[i.item as usize].as_str()).collect::<Vec<_>>());
    assert_eq!(choice["message"], json!({"role": "assistant", "content": recommender.id(lists[0][0].item)}));
    let sum: f64 =
        choice["items"].as_array().expect("a list").iter().map(|i| i["probability"].as_f64().expect("a number")).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");

    // Drawn: the same seed says the same, all of it exists.
    let drawn = |seed: u64| {
        let body = json!({"messages": messages, "temperature": 2.0, "seed": seed, "n": 3});
        let answer = service.ask(CHAT, &body);
        let choice = answer["choices"][0].clone();
        let said = choice["message"]["content"].as_str().expect("a text").to_owned();
        let row = recommender.items(&said).expect("items")[0];
        assert_eq!((keys_of(&choice)[0], keys_of(&choice).len()), (recommender.keys()[row as usize].as_str(), 3));
        said
    };
    assert_eq!(drawn(5), drawn(5));
    let all: std::collections::BTreeSet<String> = (0..20).map(drawn).collect();
    assert!(all.len() > 3, "{all:?}");

    // Piece by piece.
    let events: Vec<String> = service.events(CHAT, &json!({"messages": messages, "n": 12, "stream": true})).collect();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).expect("JSON")).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    let last = &chunks.last().expect("a chunk")["choices"][0];
    assert_eq!(
        (choice["message"]["content"].as_str(), last["finish_reason"].as_str()),
        (Some(text.as_str()), Some("stop"))
    );
    assert_eq!(keys_of(last), keys);
    assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"] && c["object"] == "chat.completion.chunk"));
}

#[test]
fn after_a_marker_the_answer_names_an_item_and_goes_on() {
    let desk = Desk::new();
    let (recommender, sources) = desk.language();
    // Whatever this model says, its third word is the marker.
    let messages = [ChatMessage::new("user", "hello, what would you take?")];
    let question = recommender.question(&messages).expect("a question");
    let mut session = recommender.session(&Device::cpu(), Precision::F32, 20).expect("a session");
    let options = TextOptions { most_tokens: 40, ..TextOptions::default() };
    let free =
        session.generate(&[&question], &options, &mut |_, _| ControlFlow::Continue(())).expect("a text").remove(0);
    let tokenizer = recommender.model().tokenizer();
    let marker = (1..free.tokens.len())
        .map(|i| tokenizer.decode(&free.tokens[i..=i], false).expect("a text"))
        .find(|text| !text.is_empty() && text.trim() == text && !text.contains('\u{fffd}'))
        .expect("a word that is one");
    drop(session);
    let service = Running::start(sememe_serve::Sources { marker: Some(marker.clone()), ..sources });
    let body = json!({"messages": messages, "max_tokens": 40, "n": 5, "temperature": 0});
    let answer = service.ask(CHAT, &body);
    let choice = &answer["choices"][0];
    let said = choice["message"]["content"].as_str().expect("a text");
    let (before, after) = said.split_once(&marker).expect("the marker");
    assert!(free.text.starts_with(before), "{said} for {}", free.text);
    let first = keys_of(choice)[0].to_owned();
    let row = recommender.keys().iter().position(|key| *key == first).expect("an item") as u32;
    assert!(after.starts_with(&recommender.id(row)), "{after} names {first}");
    assert_eq!(keys_of(choice).len(), 5);
    // The same, as it comes.
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let text: String = service
        .events(CHAT, &streamed)
        .filter(|event| event != "[DONE]")
        .filter_map(|event| {
            let chunk: Value = serde_json::from_str(&event).expect("JSON");
            chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(text, said);
    // A stop text ends it.
    let mut stopped = body;
    stopped["stop"] = json!(marker);
    let answer = service.ask(CHAT, &stopped);
    assert_eq!(
        (answer["choices"][0]["message"]["content"].as_str(), answer["choices"][0]["finish_reason"].as_str()),
        (Some(before), Some("stop"))
    );
    // Where the question ends with the marker, the answer is an ID alone.
    let asked =
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": format!("a thing? {marker}")}]}]});
    let answer = service.ask(CHAT, &asked);
    let said = answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    assert_eq!(recommender.items(&said).expect("items").len(), 1, "{said}");
}

#[test]
fn a_stream_goes_on_over_a_new_generation() {
    let desk = Desk::new();
    let (_, sources) = desk.language();
    let service = Running::start(sememe_serve::Sources { marker: Some("no such marker".into()), ..sources });
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 300, "stream": true, "seed": 3, "temperature": 1.0, "top_p": 0.9});
    let whole: Vec<String> = service.events(CHAT, &body).collect();
    let mut events = service.events(CHAT, &body);
    let first: Vec<String> = events.by_ref().take(2).collect();
    service.handle.reload().expect("a new generation");
    assert_eq!(service.handle.generation(), 2);
    let rest: Vec<String> = events.collect();
    let texts = |events: &[String]| -> String {
        events
            .iter()
            .filter_map(|e| {
                serde_json::from_str::<Value>(e).ok()?["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
            })
            .collect()
    };
    let again = [first, rest].concat();
    assert_eq!(again.last().map(String::as_str), Some("[DONE]"));
    assert!(texts(&whole).len() > 20 && texts(&again) == texts(&whole));
    // A client that hangs up ends its text, and nothing else.
    drop(service.events(CHAT, &body));
    assert_eq!(
        service.ask(CHAT, &json!({"messages": [{"role": "user", "content": "x no such marker"}]}))["choices"][0]["index"],
        0
    );
}

#[test]
fn chats_that_cannot_be_are_refused() {
    let desk = Desk::new();
    let (_, sources) = desk.language();
    let service = Running::start(sources);
    let refused = |more: Value, status, code, part| {
        let mut body = json!({"messages": [{"role": "user", "content": "a thing?"}]});
        for (key, value) in more.as_object().expect("fields") {
            body[key] = value.clone();
        }
        service.refused(CHAT, &body, status, code, part);
    };
    refused(json!({"messages": []}), 400, "bad_request", "no messages");
    refused(json!({"messages": "hello"}), 400, "bad_json", "sequence");
    refused(json!({"n": 0}), 400, "bad_request", "`n` is 0");
    refused(json!({"n": 51}), 400, "bad_request", "expected 1 to 50");
    refused(json!({"temperature": 100.5}), 400, "bad_request", "expected 0 to 100");
    refused(json!({"max_completion_tokens": 8, "max_tokens": 1_000_001}), 400, "bad_request", "expected 1 to 1000000");
    refused(json!({"temperature": -1}), 400, "bad_request", "`temperature` is -1");
    refused(json!({"top_p": 0}), 400, "bad_request", "`top_p` is 0");
    refused(json!({"max_tokens": 0}), 400, "bad_request", "`max_tokens` is 0");
    refused(json!({"stop": [""]}), 400, "bad_request", "`stop`");
    refused(json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), 400, "bad_request", "no text");
    let long = json!([{"role": "user", "content": "word ".repeat(1000)}]);
    // Before the stream begins, an error is an error like any other.
    for stream in [false, true] {
        refused(json!({"messages": long, "stream": stream}), 413, "too_large", "tokens, at most");
        refused(json!({"messages": long, "stream": stream, "temperature": 1}), 413, "too_large", "tokens, at most");
    }
}
