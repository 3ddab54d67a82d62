//! Clients that are slow, cut off, or too many.

use crate::desk::{Desk, Service};
use sememe_serve::Limits;
use sememe_serve::Settings;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

fn with(desk: &Desk, limits: Limits) -> Service {
    Service::start(desk.sources(), Settings { limits, ..Settings::default() })
}

#[test]
fn slow_heads_are_cut_and_slow_bodies_are_answered() {
    let desk = Desk::new();
    let soon = Duration::from_millis(300);
    let service = with(&desk, Limits { head_seconds: soon, body_seconds: soon, ..Limits::default() });
    let begun = Instant::now();
    // Never ends its headers.
    let mut stream = service.connect();
    stream.write_all(b"GET /v1/info HTTP/1.1\r\nhost: x\r\nx-slow: ").unwrap();
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out);
    assert!(!String::from_utf8_lossy(&out).contains("200 OK"));
    // Says a length and sends less.
    let answer = service
        .raw(b"POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{\"rows\"");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("\"timeout\"") && answer.contains("retry-after"),
        "{answer}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Says nothing at all.
    let mut stream = service.connect();
    let _ = stream.read_to_end(&mut out);
    service.get("/v1/info").ok();
}

#[test]
fn cut_connections_and_other_protocols_leave_the_service_well() {
    let desk = Desk::new();
    let service = desk.serve();
    for bytes in [
        &b"POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"rows\": [["[..],
        b"GET / HTTP/1.1\r\nhost",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/info HTTP/9.9\r\n\r\n",
        b"GET /v1/items/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/encode HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ] {
        for _ in 0..5 {
            let mut stream = service.connect();
            stream.write_all(bytes).unwrap();
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    let huge = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200_000));
    let answer = service.raw(huge.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    service.get("/v1/info").ok();
    // Nobody is served any more; the gauges say so.
    let begun = Instant::now();
    loop {
        let figures = service.get("/metrics").ok().text();
        if figures.lines().any(|line| line == "sememe_connections 1") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{figures}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn slow_bodies_keep_nobody_else_waiting() {
    let desk = Desk::new();
    let service = with(&desk, Limits { requests: 2, ..Limits::default() });
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = service.connect();
            stream.write_all(b"POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n{").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        service.post("/v1/encode", &json!({ "rows": [] })).ok();
    }
    drop(slow);
}

#[test]
fn answers_that_nobody_reads_are_dropped() {
    let desk = Desk::new();
    let service = with(&desk, Limits { time: Duration::from_millis(500), ..Limits::default() });
    let path = "GET /v1/prefixes?limit=300 HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut stream = service.connect();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    // Far more answers than the buffers on the way hold: at some point the service hangs up.
    let asked = (0..100_000).take_while(|_| stream.write_all(path.as_bytes()).is_ok()).count();
    assert!(asked < 100_000);
    service.get("/v1/info").ok();
}

#[test]
fn as_many_are_served_at_once_as_may_be() {
    let desk = Desk::new();
    let service = with(&desk, Limits { requests: 1, ..Limits::default() });
    // Long enough that two of them meet: 16,000 rows in JSON.
    let row = serde_json::to_string(&desk.row(0)).unwrap();
    let body = format!("{{\"rows\":[{}]}}", vec![row; 16_000].join(","));
    let answers: Vec<crate::desk::Answer> = std::thread::scope(|threads| {
        let send = || service.send("/v1/encode", &[], body.as_bytes());
        let clients: Vec<_> = (0..8).map(|_| threads.spawn(send)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !refused.is_empty(), "{} served, {} refused", served.len(), refused.len());
    for answer in refused {
        answer.fails(429, "too_many_requests", "1 requests are being served");
    }
    // A place that was left is free again.
    service.send("/v1/encode", &[], body.as_bytes()).ok();
}

#[test]
fn bodies_together_have_a_bound() {
    let desk = Desk::new();
    // Longer than this test takes on a busy machine.
    let body_seconds = Duration::from_secs(120);
    let service = with(&desk, Limits { body_bytes: 1000, body_seconds, ..Limits::default() });
    let head = "POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = service.connect();
        stream.write_all(format!("{head}{}", " ".repeat(999)).as_bytes()).unwrap();
        held.push(stream);
    }
    // 8 times 999 bytes are held; 8 more are the most.
    let begun = Instant::now();
    loop {
        let answer = service.send("/v1/encode", &[], &[b' '; 500]);
        if answer.status == 503 {
            answer.fails(503, "busy", "memory for bodies");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never refused");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(held);
    while service.send("/v1/encode", &[], &[b' '; 500]).status != 400 {
        assert!(begun.elapsed() < Duration::from_secs(90), "never free again");
        std::thread::sleep(Duration::from_millis(10));
    }
}
