//! `serve` under requests that are wrong in every way, with right ones among them.
//!
//! It takes a few seconds; `SEMEME_MALFORMED` is how many, for a longer look at memory.

use crate::cli::Desk;
use crate::serve::{Served, ask};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Requests of each kind in a second.
const RATE: u32 = 24;
const TOKEN: &str = "authorization: Bearer a-good-token\r\n";
const BODY_MIB: usize = 2;

/// A request that is wrong: what is sent, and the statuses that are right answers to it. None is one, too, where it says so.
struct Kind {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    headers: String,
    body: Vec<u8>,
    right: &'static [u16],
}

fn kinds(dims: usize) -> Vec<Kind> {
    let row = vec!["0.5"; dims].join(",");
    let kind =
        |name, path, body: Vec<u8>, right| Kind { name, method: "POST", path, headers: TOKEN.into(), body, right };
    let raw = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let mut nan = vec![0.5f32; dims];
    nan[dims / 2] = f32::NAN;
    let binary = format!("{TOKEN}content-type: application/octet-stream\r\n");
    vec![
        kind("wrong JSON", "/v1/encode", format!("{{\"rows\":[[{row}]").into_bytes(), &[400]),
        kind("another form", "/v1/assign", b"{\"items\":[{\"key\":5}]}".to_vec(), &[400]),
        kind("deep JSON", "/v1/search", format!("{{\"words\":{}", "[".repeat(20_000)).into_bytes(), &[400]),
        kind("no UTF-8", "/v1/search", b"{\"words\":\"\xff\xfe\"}".to_vec(), &[400]),
        kind("wrong dims", "/v1/encode", format!("{{\"rows\":[[{row},1]]}}").into_bytes(), &[400]),
        kind("wrong dims beside right ones", "/v1/assign", assigned(&row), &[400]),
        kind("NaN in JSON", "/v1/encode", format!("{{\"rows\":[[NaN,{row}]]}}").into_bytes(), &[400]),
        kind(
            "past float32",
            "/v1/encode",
            format!("{{\"rows\":[[{}]]}}", row.replacen("0.5", "1e39", 1)).into_bytes(),
            &[400],
        ),
        Kind { headers: binary.clone(), ..kind("NaN in bytes", "/v1/encode", raw(nan), &[400]) },
        Kind { headers: binary, ..kind("bytes that are no rows", "/v1/encode", vec![0; dims * 4 - 1], &[400]) },
        Kind {
            headers: format!("{TOKEN}content-type: text/csv\r\n"),
            ..kind("another type", "/v1/encode", b"1,2".to_vec(), &[415])
        },
        // Its length is said, so that it is refused before it is sent; whoever sends it all the same may be cut off.
        kind("huge", "/v1/encode", vec![b' '; BODY_MIB * (1 << 20) + 1], &[413, 0]),
        Kind {
            headers: "authorization: Bearer a-bad-token\r\n".into(),
            ..kind("a wrong token", "/v1/encode", b"{\"rows\":[]}".to_vec(), &[401])
        },
        Kind { headers: String::new(), ..kind("no token", "/v1/encode", b"{\"rows\":[]}".to_vec(), &[401]) },
        Kind { method: "GET", ..kind("a wrong path", "/v1/items/%FF%FE", Vec::new(), &[400]) },
        Kind { method: "GET", ..kind("no ID", "/v1/ids/9999999999999-x", Vec::new(), &[400]) },
        Kind { method: "DELETE", ..kind("another method", "/v1/encode", Vec::new(), &[405]) },
    ]
}

fn assigned(row: &str) -> Vec<u8> {
    format!("{{\"items\":[{{\"key\":\"right\",\"row\":[{row}]}},{{\"key\":\"wrong\",\"row\":[1]}}]}}").into_bytes()
}

/// What is sent and never answered: the bytes, after which the client hangs up.
fn cuts() -> Vec<(&'static str, Vec<u8>)> {
    let head = "POST /v1/encode HTTP/1.1\r\nhost: x\r\n";
    vec![
        ("cut in the body", format!("{head}{TOKEN}content-length: 5000\r\n\r\n{{\"rows\":[[").into_bytes()),
        ("cut in the head", head.into()),
        ("cut at once", Vec::new()),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("wrong chunks", format!("{head}{TOKEN}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes()),
        ("chunks without end", huge_chunks(head)),
    ]
}

fn huge_chunks(head: &str) -> Vec<u8> {
    let mut out = format!("{head}{TOKEN}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..BODY_MIB * 16 + 1 {
        out.extend(format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16)).bytes());
    }
    out
}

/// Does something at the rate until it is over; says how often.
fn paced(over: &AtomicBool, mut what: impl FnMut()) -> u32 {
    let begun = Instant::now();
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        what();
        done += 1;
        let next = begun + Duration::from_secs(1) * done / RATE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    done
}

/// Opens connections and sends what is left of a request byte by byte, until the service hangs up.
fn trickle(address: &str, over: &AtomicBool, first: &str, rest: u8) -> u32 {
    let mut open: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    paced(over, || {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.set_nonblocking(true);
            let _ = stream.write_all(first.as_bytes());
            open.push_back((Instant::now(), stream));
        }
        // One in turn says a little more.
        if let Some((since, mut stream)) = open.pop_front() {
            let gone = stream.read(&mut [0; 512]).is_ok();
            let _ = stream.write_all(&[rest]);
            if !gone && since.elapsed() < Duration::from_secs(15) {
                open.push_back((since, stream));
            }
        }
    })
}

/// Memory of a process, in MiB.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
}

#[test]
fn wrong_requests_of_every_kind_leave_right_ones_served() {
    let desk = Desk::fitted();
    desk.file("tokens.txt", b"a-good-token\n");
    let seconds: u64 = std::env::var("SEMEME_MALFORMED").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let mut served = Served::start(
        &desk,
        &format!("--codec codec.safetensors --store ids.sqlite --tokens tokens.txt --body-mib {BODY_MIB} -q"),
    );
    let (address, process) = (served.address().to_owned(), served.process());
    let dims = 384;
    let row = serde_json::to_string(&vec![0.25f32; dims]).expect("JSON");
    let over = AtomicBool::new(false);
    let sent: Mutex<BTreeMap<&'static str, u32>> = Mutex::default();
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let mut memory = Vec::new();
    let (good, slowest) = std::thread::scope(|threads| {
        for kind in kinds(dims) {
            let (over, sent, wrong, address) = (&over, &sent, &wrong, &address);
            threads.spawn(move || {
                let done = paced(over, || {
                    let answer = ask(address, kind.method, kind.path, &kind.headers, &kind.body);
                    let status = answer.as_ref().map_or(0, |(status, _)| *status);
                    if !kind.right.contains(&status) {
                        wrong.lock().expect("no client failed").push(format!("{}: {status}", kind.name));
                    }
                });
                sent.lock().expect("no client failed").insert(kind.name, done);
            });
        }
        for (name, bytes) in cuts() {
            let (over, sent, address) = (&over, &sent, &address);
            threads.spawn(move || {
                let done = paced(over, || {
                    if let Ok(mut stream) = TcpStream::connect(address) {
                        let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
                        let _ = stream.write_all(&bytes);
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                });
                sent.lock().expect("no client failed").insert(name, done);
            });
        }
        for (name, first, rest) in [
            ("a slow body", "POST /v1/encode HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{", b' '),
            ("a slow head", "GET /v1/info HTTP/1.1\r\nhost: x\r\nx-slow: ", b'x'),
        ] {
            let (over, sent, address) = (&over, &sent, &address);
            let first = first.replacen("host: x\r\n", &format!("host: x\r\n{TOKEN}"), 1);
            threads.spawn(move || {
                let done = trickle(address, over, &first, rest);
                sent.lock().expect("no client failed").insert(name, done);
            });
        }
        let clients: Vec<_> = (0..2)
            .map(|client| {
                let (over, address, row) = (&over, &address, &row);
                threads.spawn(move || {
                    let mut times = Vec::new();
                    paced(over, || {
                        let number = times.len() % 500;
                        let (path, body) = match number % 3 {
                            0 => ("/v1/encode", format!("{{\"rows\":[{row}]}}")),
                            1 => (
                                "/v1/assign",
                                format!("{{\"items\":[{{\"key\":\"c{client}n{number}\",\"row\":{row}}}]}}"),
                            ),
                            _ => ("/v1/search", format!("{{\"vector\":{row},\"limit\":3}}")),
                        };
                        let begun = Instant::now();
                        let answer = ask(address, "POST", path, TOKEN, body.as_bytes());
                        let status = answer.as_ref().map(|(status, _)| *status);
                        assert_eq!(status, Some(200), "{path}: {answer:?}");
                        times.push(begun.elapsed());
                    });
                    times
                })
            })
            .collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds)
            && !clients.iter().any(std::thread::ScopedJoinHandle::is_finished)
        {
            std::thread::sleep(Duration::from_millis(500));
            memory.push(resident(process));
        }
        over.store(true, Ordering::Relaxed);
        let mut times: Vec<Duration> =
            clients.into_iter().flat_map(|c| c.join().expect("right requests are served")).collect();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("right requests: {}, p50 {:?}, p99 {:?}", times.len(), at(0.5), at(0.99));
        (times.len(), at(1.0))
    });
    let (wrong, sent) = (wrong.into_inner().unwrap(), sent.into_inner().unwrap());
    println!("slowest {slowest:?}; sent: {sent:?}");
    let every = (memory.len() / 20).max(1);
    let shown: Vec<String> = memory.iter().step_by(every).map(|mib| format!("{mib:.1}")).collect();
    println!("MiB every {} s: {}", every as f64 / 2.0, shown.join(" "));
    if seconds >= 60 {
        let fewest = sent.values().min().copied().unwrap_or(0);
        assert!(
            u64::from(fewest) * 100 >= seconds * u64::from(RATE) * 98,
            "{fewest} of a kind in {seconds} s: {sent:?}"
        );
    }
    assert!(wrong.is_empty(), "{} wrong answers, such as {:?}", wrong.len(), &wrong[..wrong.len().min(9)]);
    assert!(good as u64 > seconds * u64::from(RATE) && sent.len() > 20, "{good} right requests, {} kinds", sent.len());
    // The first quarter fills what is kept for later: buffers, threads' heaps, pages of the store, and, in a longer run, as many slow
    // connections as come within their ten seconds.
    let (early, late) = memory.split_at(memory.len() / 4);
    let most = |part: &[f64]| part.iter().fold(0.0f64, |most, mib| most.max(*mib));
    let room = if seconds >= 60 { 4.0 } else { 32.0 };
    assert!(most(late) < most(early) + room, "{memory:?}");
    assert_eq!(served.stop(), Some(0));
    let log = std::fs::read_to_string(desk.path("serve.log")).expect("a log");
    assert!(!log.contains("panicked") && !log.contains("request failed"), "{log}");
}
