//! A new generation is taken up while requests go on.

use crate::desk::{DIMS, Desk, ITEMS, made_up, train};
use sememe::ids::store::Store as _;
use serde_json::json;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn a_new_codec_is_taken_up_without_a_lost_request() {
    let desk = Desk::new();
    // Without a store, which would hold IDs of one codec only.
    let sources = sememe_serve::Sources { store: None, ..desk.sources() };
    let service = crate::desk::Service::start(sources, sememe_serve::Settings::default());
    let second = train(&desk.rows, 5, &desk.path("second.safetensors"));
    assert_ne!(second.content_hash(), desk.codec.content_hash());
    let rows = made_up(50, DIMS, 21);
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let lists: Vec<&[f32]> = (0..50).map(|i| rows.row(i)).collect();
                let body = json!({ "rows": lists });
                let of = |codec: &sememe::Codec| {
                    json!(codec.encode(&rows).unwrap().as_slice().chunks(3).collect::<Vec<_>>())
                };
                let (old, new) = (of(&desk.codec), of(&second));
                assert_ne!(old, new);
                let mut seen_new = false;
                while !done.load(Ordering::Relaxed) || !seen_new {
                    let codes = service.post("/v1/encode", &body).ok().json()["codes"].clone();
                    // One generation or the other, never some of both, and never back.
                    assert!(codes == old || codes == new, "{codes}");
                    assert!(!(seen_new && codes == old), "an older generation came back");
                    seen_new |= codes == new;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while asked.load(Ordering::Relaxed) < 20 {
            std::thread::yield_now();
        }
        fs::copy(desk.path("second.safetensors"), desk.path("codec.safetensors")).unwrap();
        service.handle.reload().unwrap();
        done.store(true, Ordering::Relaxed);
    });
    let info = service.get("/v1/info").ok().json();
    assert_eq!((info["codec"].as_str(), info["generation"].as_u64()), (Some(second.content_hash()), Some(2)));
}

#[test]
fn what_cannot_be_loaded_leaves_what_is_served() {
    let desk = Desk::new();
    let service = desk.serve();
    let before = service.get("/v1/items/item%2F7").ok().json();
    fs::write(desk.path("codec.safetensors"), b"no codec").unwrap();
    service.handle.reload().unwrap_err();
    assert_eq!(service.get("/v1/items/item%2F7").ok().json(), before);
    assert_eq!(service.handle.generation(), 1);
    let figures = service.get("/metrics").ok().text();
    assert!(figures.contains("\nsememe_reloads_failed_total 1\n"), "{figures}");
    service.post("/v1/encode", &json!({ "rows": [desk.row(0)] })).ok();
}

#[test]
fn items_that_get_an_id_while_a_generation_is_taken_up_are_found_in_it() {
    let desk = Desk::new();
    let service = desk.serve();
    let count = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for client in 0..3 {
            let (service, count, done) = (&service, &count, &done);
            threads.spawn(move || {
                let rows = made_up(400, DIMS, client + 30);
                for i in 0..400 {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("client {client} item {i}");
                    let body = json!({ "items": [{ "key": key, "row": rows.row(i), "title": "came later" }] });
                    let given = service.post("/v1/assign", &body).ok().json()["items"][0].clone();
                    // At once, in whichever generation answers.
                    let found = service.get(&format!("/v1/items/{}", key.replace(' ', "%20"))).ok().json();
                    assert_eq!((&found["id"], &found["title"]), (&given["id"], &given["title"]));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            service.handle.reload().unwrap();
        }
        while count.load(Ordering::Relaxed) < 30 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    let (items, stored) =
        (service.get("/v1/info").ok().json()["items"].as_u64().unwrap(), desk.store().count().unwrap());
    assert_eq!((items, stored), ((ITEMS + count.load(Ordering::Relaxed)) as u64, items));
    assert_eq!(service.handle.generation(), 6);
}
