//! Right answers of the endpoints about IDs and items.

use crate::desk::{DIMS, Desk, ITEMS, LEVELS, key, made_up};
use sememe::ids::store::Store as _;
use serde_json::{Value, json};

const RAW: &str = "application/octet-stream";

fn as_codes(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("codes")
}

#[test]
fn rows_have_the_codes_that_the_codec_gives_them() {
    let desk = Desk::new();
    let service = desk.serve();
    let rows = made_up(700, DIMS, 7);
    let wanted = desk.codec.encode(&rows).unwrap();
    // One row, several, and enough for threads.
    for count in [0, 1, 5, 700] {
        let lists: Vec<&[f32]> = (0..count).map(|i| rows.row(i)).collect();
        let answer = service.post("/v1/encode", &json!({ "rows": lists })).ok().json();
        let codes: Vec<Vec<u32>> = serde_json::from_value(answer["codes"].clone()).unwrap();
        assert_eq!(codes, (0..count).map(|i| wanted.row(i).to_vec()).collect::<Vec<_>>());
        let ids: Vec<String> = serde_json::from_value(answer["ids"].clone()).unwrap();
        assert_eq!(ids.len(), count);
        for (id, codes) in ids.iter().zip(&codes) {
            assert_eq!(*id, format!("<a_{}><b_{}><c_{}>", codes[0], codes[1], codes[2]));
        }
    }
}

#[test]
fn raw_values_go_both_ways() {
    let desk = Desk::new();
    let service = desk.serve();
    let rows = made_up(6000, DIMS, 9);
    let wanted = desk.codec.encode(&rows).unwrap();
    let body: Vec<u8> = rows.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect();
    let answer = service.send("/v1/encode", &[("content-type", RAW), ("accept", RAW)], &body).ok();
    assert_eq!(answer.header("content-type"), Some(RAW));
    let codes: Vec<u32> = answer.body.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(codes, wanted.as_slice());
    // One way only.
    let one = &body[..DIMS * 4];
    let answer = service.send("/v1/encode", &[("content-type", RAW)], one).ok().json();
    assert_eq!(as_codes(&answer["codes"][0]), wanted.row(0));
    let text = json!({ "rows": [rows.row(0)] }).to_string();
    let answer = service.send("/v1/encode", &[("accept", RAW)], text.as_bytes()).ok();
    assert_eq!(answer.body, wanted.row(0).iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>());
}

#[test]
fn numbers_are_read_as_float32_is_rounded() {
    let desk = Desk::new();
    let service = desk.serve();
    // Exponents, integers, a sign, white space, and digits beyond what a float64 holds.
    let text = "{ \"rows\" : [ [ 1e-1 , 2 , -0.25E+0,\n0.3333333333333333333333333333, 16777217, -0 ] ] }";
    let row = [0.1f32, 2.0, -0.25, 1.0 / 3.0, 16_777_216.0, -0.0];
    let answer = service.send("/v1/encode", &[], text.as_bytes()).ok().json();
    assert_eq!(as_codes(&answer["codes"][0]), desk.codec.encode_row(&row).unwrap());
}

#[test]
fn ids_stay_in_the_store_and_are_found_at_once() {
    let desk = Desk::new();
    let service = desk.serve();
    let rows = made_up(3, DIMS, 11);
    let body = json!({ "items": [
        { "key": "new one", "row": rows.row(0), "title": "Purple elephant" },
        { "key": key(5), "row": rows.row(1) },
        { "key": "new two", "row": rows.row(2) },
    ] });
    let first = service.post("/v1/assign", &body).ok().json();
    let items = first["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|item| item["new"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(as_codes(&items[0]["codes"]), desk.codec.encode_row(rows.row(0)).unwrap());
    // Who had an ID keeps it, and is told that its embedding is another.
    assert_eq!(as_codes(&items[1]["codes"]), desk.codes.row(5));
    let moved = desk.codec.encode_row(rows.row(1)).unwrap() != desk.codes.row(5);
    assert_eq!((items[1]["drifted"].as_bool(), items[1]["title"].as_str()), (Some(moved), Some("Blåes thing 1")));
    let again = service.post("/v1/assign", &body).ok().json();
    for (a, b) in items.iter().zip(again["items"].as_array().unwrap()) {
        assert_eq!(
            (&a["id"], &a["codes"], &a["counter"], false),
            (&b["id"], &b["codes"], &b["counter"], b["new"] == true)
        );
    }
    let held = desk.store().get(&["new one", "new two"]).unwrap();
    assert_eq!(held[0].as_ref().unwrap().codes, as_codes(&items[0]["codes"]));
    assert!(held[1].is_some());
    let found = service.get("/v1/items/new%20one").ok().json();
    assert_eq!((found["title"].as_str(), &found["id"]), (Some("Purple elephant"), &items[0]["id"]));
    let found = service.post("/v1/search", &json!({ "words": "purple ele", "limit": 5 })).ok().json();
    assert_eq!(found["items"][0]["key"], "new one");
    assert_eq!(service.get("/v1/info").ok().json()["items"], ITEMS + 2);
}

#[test]
fn an_item_has_its_place_and_its_neighbours() {
    let desk = Desk::new();
    let service = desk.serve();
    let item = service.get("/v1/items/item%2F7?neighbours=40").ok().json();
    let codes = desk.codes.row(7);
    assert_eq!(as_codes(&item["codes"]), codes);
    assert_eq!((item["key"].as_str(), item["text"].as_str()), (Some("item/7"), Some("text of 7")));
    let shared = |other: usize| desk.codes.row(other).iter().zip(codes).take_while(|(a, b)| a == b).count();
    for level in 0..LEVELS {
        let step = &item["path"][level];
        let sharing = (0..ITEMS).filter(|other| shared(*other) > level).count();
        assert_eq!(
            (step["code"].as_u64(), step["items"].as_u64()),
            (Some(u64::from(codes[level])), Some(sharing as u64))
        );
        assert_eq!(step["token"], format!("<{}_{}>", ["a", "b", "c"][level], codes[level]));
    }
    let neighbours = item["neighbours"].as_array().unwrap();
    let lengths: Vec<u64> = neighbours.iter().map(|n| n["shared"].as_u64().unwrap()).collect();
    let mut wanted: Vec<u64> =
        (0..ITEMS).filter(|other| *other != 7).map(|o| shared(o) as u64).filter(|s| *s > 0).collect();
    wanted.sort_unstable_by(|a, b| b.cmp(a));
    wanted.truncate(40);
    assert!(wanted.len() > 5 && wanted[0] > wanted[wanted.len() - 1], "the input says nothing: {wanted:?}");
    assert_eq!(lengths, wanted);
    for neighbour in neighbours {
        let number: usize = neighbour["key"].as_str().unwrap()[5..].parse().unwrap();
        assert_eq!(shared(number) as u64, neighbour["shared"].as_u64().unwrap());
        assert_ne!(number, 7);
    }
    assert_eq!(service.get("/v1/items/item%2F7?neighbours=0").ok().json()["neighbours"], json!([]));
}

#[test]
fn ids_and_prefixes_lead_to_items_in_both_spellings() {
    let desk = Desk::new();
    let service = desk.serve();
    let codes = desk.codes.row(3);
    let all: Vec<usize> = (0..ITEMS).filter(|i| desk.codes.row(*i) == codes).collect();
    let (a, b, c) = (codes[0], codes[1], codes[2]);
    for id in [format!("{a}-{b}-{c}"), format!("%3Ca_{a}%3E%3Cb_{b}%3E%3Cc_{c}%3E")] {
        let found = service.get(&format!("/v1/ids/{id}")).ok().json();
        assert_eq!(found["items"].as_array().unwrap().len(), all.len());
        assert_eq!(
            (found["id"].as_str().unwrap(), as_codes(&found["codes"])),
            (&*format!("<a_{a}><b_{b}><c_{c}>"), codes.to_vec())
        );
        let counters: Vec<u64> =
            found["items"].as_array().unwrap().iter().map(|i| i["counter"].as_u64().unwrap()).collect();
        assert_eq!(counters, (0..all.len() as u64).collect::<Vec<_>>());
    }
    let second = service.get(&format!("/v1/ids/{a}-{b}-{c}-1"));
    assert_eq!(second.status, if all.len() > 1 { 200 } else { 404 });
    for prefix in [format!("{a}-{b}"), format!("{a}%20{b}"), format!("{a},{b}"), format!("%3Ca_{a}%3E%3Cb_{b}%3E")] {
        let node = service.get(&format!("/v1/prefixes/{prefix}?limit=2")).ok().json();
        let sharing: Vec<usize> = (0..ITEMS).filter(|i| desk.codes.row(*i)[..2] == codes[..2]).collect();
        assert_eq!((node["items_total"].as_u64(), as_codes(&node["codes"])), (Some(sharing.len() as u64), vec![a, b]));
        assert_eq!(node["prefix"], format!("<a_{a}><b_{b}>"));
        assert_eq!(node["items"].as_array().unwrap().len(), sharing.len().min(2));
        let children = node["children"].as_array().unwrap();
        let sum: u64 = children.iter().map(|child| child["items"].as_u64().unwrap()).sum();
        assert_eq!(sum, sharing.len() as u64);
        let order: Vec<u64> = children.iter().map(|child| child["code"].as_u64().unwrap()).collect();
        assert!(order.is_sorted() && children.iter().any(|child| child["prefix"] == format!("{a}-{b}-{c}")), "{node}");
    }
    let whole = service.get(&format!("/v1/prefixes/{a}-{b}-{c}")).ok().json();
    assert_eq!((&whole["children"], whole["items_total"].as_u64()), (&json!([]), Some(all.len() as u64)));
    let root = service.get("/v1/prefixes?limit=0").ok().json();
    let sum: u64 = root["children"].as_array().unwrap().iter().map(|child| child["items"].as_u64().unwrap()).sum();
    assert_eq!((sum, root["items_total"].as_u64(), &root["items"]), (ITEMS as u64, Some(ITEMS as u64), &json!([])));
}

#[test]
fn words_are_folded_and_the_last_may_be_a_beginning() {
    let desk = Desk::new();
    let service = desk.serve();
    let keys = |words: &str| -> Vec<String> {
        let found = service.post("/v1/search", &json!({ "words": words, "limit": 400 })).ok().json();
        assert_eq!(found["by"], "words");
        found["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    };
    // `Blåes` by plain letters, and by its beginning.
    assert_eq!(keys("BLAES").len(), ITEMS / 3);
    assert_eq!(keys("bla").len(), ITEMS / 3);
    // A word with a space after it is whole.
    assert_eq!(keys("bla ").len(), 0);
    // Both words before one of them.
    assert_eq!(keys("green 17 ")[0], "item/52");
    assert_eq!(keys("item 299")[0], "item/299");
    // Words that nobody has do not hide what the others find.
    assert_eq!(keys("no such thing ").len(), ITEMS);
    assert_eq!(keys("…").len(), 0);
}

#[test]
fn what_is_served_is_told() {
    let desk = Desk::new();
    let service = desk.serve();
    let info = service.get("/v1/info").ok().json();
    assert_eq!((info["items"].as_u64(), info["levels"].as_u64(), info["dims"].as_u64()), (Some(300), Some(3), Some(6)));
    assert_eq!((info["codec"].as_str(), info["style"].as_str()), (Some(desk.codec.content_hash()), Some("lc-rec")));
    assert_eq!((info["can"]["assign"].as_bool(), info["can"]["recommend"].as_bool()), (Some(true), Some(false)));
    let example = info["example_id"].as_str().unwrap().replace('<', "%3C").replace('>', "%3E");
    service.get(&format!("/v1/ids/{example}")).ok();
    assert_eq!(service.get("/healthz").ok().json()["status"], "alive");
    assert_eq!(service.get("/readyz").ok().json()["status"], "ready");
    service.post("/v1/encode", &json!({ "rows": [[0, 0, 0, 0, 0, 0]] })).ok();
    service.get("/v1/items/none");
    let figures = service.get("/metrics").ok().text();
    for line in [
        "sememe_requests_total{route=\"/v1/encode\",status=\"200\"} 1",
        "sememe_requests_total{route=\"/v1/items/{key}\",status=\"404\"} 1",
        "sememe_request_seconds_count{route=\"/v1/encode\"} 1",
        "sememe_rows_encoded_total 1",
        "sememe_items 300",
        "sememe_generation 1",
        "sememe_requests_in_flight 1",
    ] {
        assert!(figures.lines().any(|l| l == line), "`{line}` in\n{figures}");
    }
}

#[test]
fn vectors_alone_are_enough_for_a_try() {
    let desk = Desk::new();
    let mut sources = desk.sources();
    sources.store = None;
    let service = crate::desk::Service::start(sources, sememe_serve::Settings::default());
    let item = service.get("/v1/items/item%2F7").ok().json();
    assert_eq!(as_codes(&item["codes"]), desk.codes.row(7));
    service.post("/v1/assign", &json!({ "items": [] })).fails(422, "not_loaded", "`store`");
}

#[test]
fn codecs_with_a_network_encode_rows_of_several_requests_together() {
    use sememe::Device;
    let desk = Desk::new();
    let rqvae = sememe::fit::rqvae::RqVae {
        codebook_sizes: vec![4; 2],
        hidden: vec![8],
        code_dims: 4,
        epochs: 2,
        ..sememe::fit::rqvae::RqVae::default()
    };
    let codec = sememe::Codec::train_rqvae(&desk.rows, &rqvae, &Device::cpu(), &()).expect("a codec");
    codec.save(desk.path("network.safetensors")).expect("written");
    let sources =
        sememe_serve::Sources { codec: Some(desk.path("network.safetensors")), store: None, ..desk.sources() };
    let service = crate::desk::Service::start(sources, sememe_serve::Settings::default());
    std::thread::scope(|threads| {
        for client in 0..8 {
            let (service, codec) = (&service, &codec);
            threads.spawn(move || {
                let rows = made_up(20, DIMS, 100 + client);
                for i in 0..20 {
                    let answer = service.post("/v1/encode", &json!({ "rows": [rows.row(i)] })).ok().json();
                    assert_eq!(as_codes(&answer["codes"][0]), codec.encode_row(rows.row(i)).unwrap());
                }
            });
        }
    });
}
