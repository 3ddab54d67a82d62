//! The service finishes what it has begun, and leaves.

use crate::desk::{Desk, Service};
use sememe_serve::Limits;
use sememe_serve::Settings;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

fn body(desk: &Desk) -> String {
    format!("{{\"rows\":[{}]}}", desk.row(0))
}

/// Waits until the head of another request was read.
fn until_it_has_begun(service: &Service) {
    while !service.get("/metrics").ok().text().lines().any(|line| line == "sememe_requests_in_flight 2") {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_begun_is_finished_and_who_comes_then_is_told() {
    let desk = Desk::new();
    let service = desk.serve();
    let body = body(&desk);
    // Its body is not here yet, so it has begun and cannot end.
    let mut begun = service.connect();
    let head = format!("POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    begun.write_all(head.as_bytes()).unwrap();
    begun.write_all(&body.as_bytes()[..10]).unwrap();
    until_it_has_begun(&service);
    // Idle ones are let go.
    let mut idle = service.connect();
    idle.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut ready = [0u8; 15];
    idle.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"HTTP/1.1 200 OK");
    service.handle.stop();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    // Whoever comes now hears why it is not served.
    service.get("/readyz").fails(503, "busy", "stopping");
    service.get("/healthz").ok();
    service.get("/v1/info").fails(503, "busy", "stopping");
    begun.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"codes\""), "{answer}");
    let left = Instant::now();
    service.join();
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
}

#[test]
fn what_does_not_finish_is_left_within_the_bound() {
    let desk = Desk::new();
    let limits = Limits { stop: Duration::from_millis(300), ..Limits::default() };
    let service = Service::start(desk.sources(), Settings { limits, ..Settings::default() });
    let mut stuck = service.connect();
    stuck.write_all(b"POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    until_it_has_begun(&service);
    let begun = Instant::now();
    service.handle.stop();
    service.join();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_idle_service_leaves_at_once() {
    let desk = Desk::new();
    let service = desk.serve();
    service.get("/v1/info").ok();
    let _open = service.connect();
    let begun = Instant::now();
    service.handle.stop();
    service.join();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
