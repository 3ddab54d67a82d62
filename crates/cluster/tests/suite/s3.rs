//! Stores that speak S3's protocol: a small server of it, and whole works through it.

use crate::support::{Kept, codec, expected, keys, rows, text, write_items};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// As much of S3 as a client of objects needs: one bucket, no signatures looked at.
struct Server {
    objects: Objects,
    url: String,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).expect("hexadecimal"));
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).expect("text")
}

fn request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decoded(k), decoded(v)));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) => _ = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path: decoded(path), query: query.collect(), headers, body })
}

/// Status, headers, body.
fn answer(request: &Request, objects: &Objects) -> (&'static str, Vec<(String, String)>, Vec<u8>) {
    let mut objects = objects.lock().expect("lock");
    let key = request.path.trim_start_matches("/bucket").trim_start_matches('/').to_owned();
    let tag = |bytes: &[u8]| ("ETag".to_owned(), format!("\"{}\"", &sememe::digest::sha256(bytes)[..32]));
    let date = ("Last-Modified".to_owned(), "Mon, 30 Nov 2026 10:00:00 GMT".to_owned());
    let missing = || ("404 Not Found", vec![], b"<Error><Code>NoSuchKey</Code></Error>".to_vec());
    let query = |name: &str| request.query.get(name);
    match request.method.as_str() {
        "GET" if key.is_empty() => {
            let prefix = query("prefix").cloned().unwrap_or_default();
            let mut xml = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
            for (key, bytes) in objects.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
                if !key.starts_with("?") {
                    xml.push_str(&format!(
                        "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-30T10:00:00.000Z</LastModified>\
                         <ETag>{}</ETag></Contents>",
                        bytes.len(),
                        tag(bytes).1
                    ));
                }
            }
            ("200 OK", vec![], format!("{xml}</ListBucketResult>").into_bytes())
        }
        "GET" | "HEAD" => {
            let Some(bytes) = objects.get(&key) else { return missing() };
            let mut headers = vec![tag(bytes), date];
            match request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")) {
                Some(range) => {
                    let (from, to) = range.split_once('-').expect("range");
                    let last = bytes.len() - 1;
                    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
                        (Ok(from), Ok(to)) => (from, to.min(last)),
                        (Ok(from), Err(_)) => (from, last),
                        (Err(_), to) => (bytes.len() - to.expect("suffix").min(bytes.len()), last),
                    };
                    headers.push(("Content-Range".into(), format!("bytes {from}-{to}/{}", bytes.len())));
                    ("206 Partial Content", headers, bytes[from..=to].to_vec())
                }
                None => ("200 OK", headers, bytes.clone()),
            }
        }
        "POST" if query("uploads").is_some() => {
            let id = format!("u{}", objects.len());
            let xml =
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
            ("200 OK", vec![], xml.into_bytes())
        }
        "PUT" if query("partNumber").is_some() => {
            let number: u32 = query("partNumber").expect("number").parse().expect("number");
            objects.insert(format!("?{key}?{number:06}"), request.body.clone());
            ("200 OK", vec![tag(&request.body)], vec![])
        }
        "POST" if query("uploadId").is_some() => {
            let begin = format!("?{key}?");
            let parts: Vec<String> = objects.keys().filter(|part| part.starts_with(&begin)).cloned().collect();
            let whole: Vec<u8> = parts.iter().flat_map(|part| objects.remove(part).expect("part")).collect();
            let tag = tag(&whole).1;
            objects.insert(key, whole);
            let xml = format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>");
            ("200 OK", vec![], xml.into_bytes())
        }
        "POST" if query("delete").is_some() => {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            for part in text.split("<Key>").skip(1) {
                objects.remove(part.split("</Key>").next().expect("key"));
            }
            ("200 OK", vec![], b"<DeleteResult></DeleteResult>".to_vec())
        }
        "PUT" if request.headers.contains_key("if-none-match") && objects.contains_key(&key) => {
            ("412 Precondition Failed", vec![], vec![])
        }
        "PUT" => {
            objects.insert(key, request.body.clone());
            ("200 OK", vec![tag(&request.body)], vec![])
        }
        "DELETE" if query("uploadId").is_some() => ("204 No Content", vec![], vec![]),
        "DELETE" => {
            objects.remove(&key);
            ("204 No Content", vec![], vec![])
        }
        _ => ("501 Not Implemented", vec![], vec![]),
    }
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let objects = Objects::default();
        let shared = objects.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let objects = shared.clone();
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone().expect("stream");
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = request(&mut reader) {
                        let (status, headers, body) = answer(&request, &objects);
                        let mut head = format!("HTTP/1.1 {status}\r\n");
                        for (name, value) in headers {
                            head.push_str(&format!("{name}: {value}\r\n"));
                        }
                        let length = match (request.method.as_str(), request.path.trim_start_matches("/bucket/")) {
                            ("HEAD", key) => objects.lock().expect("lock").get(key).map_or(0, Vec::len),
                            _ => body.len(),
                        };
                        head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
                        let body = if request.method == "HEAD" { vec![] } else { body };
                        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body)).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { objects, url }
    }

    fn program(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sememe-cluster"));
        program.args(arguments).args(["--partitions", "2"]);
        let settings = [
            ("AWS_ENDPOINT", self.url.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "who"),
            ("AWS_SECRET_ACCESS_KEY", "ever"),
        ];
        program.envs(settings).output().expect("run")
    }

    fn names(&self, begin: &str) -> Vec<String> {
        self.objects.lock().expect("lock").keys().filter(|key| key.starts_with(begin)).cloned().collect()
    }
}

#[test]
fn items_codecs_and_results_in_a_store() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(4000, 1), keys(4000));
    write_items(&folder.path().join("items"), &rows, &keys, 2, Kept::Fixed32);
    let codec = codec(&rows);
    {
        let mut objects = server.objects.lock().expect("lock");
        for (name, bytes) in crate::support::content(&folder.path().join("items")) {
            objects.insert(format!("data/items/{name}"), bytes);
        }
        objects.insert("codecs/one.safetensors".into(), codec.to_bytes().expect("bytes"));
    }
    let place = ["--codec", "s3://bucket/codecs/one.safetensors", "--key", "item"];
    let encode =
        |out: &str| server.program(&[&["encode", "s3://bucket/data/items", "-o", out], place.as_slice()].concat());
    let done = encode("s3://bucket/out");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let written = server.names("out/");
    assert!(written.contains(&"out/_files.json".to_owned()) && written.len() == 3, "{written:?}");
    for name in written.iter().filter(|name| name.ends_with(".parquet")) {
        let bytes = server.objects.lock().expect("lock")[name].clone();
        let local = folder.path().join(name);
        std::fs::create_dir_all(local.parent().expect("folder")).expect("made");
        std::fs::write(local, bytes).expect("written");
    }
    assert_eq!(crate::support::codes_by_key(&folder.path().join("out"), "item"), expected(&codec, &rows, &keys));

    // A folder of a store cannot be exchanged for another, so it is not replaced.
    let again = encode("s3://bucket/out");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(said.contains("`--output`: `s3://bucket/out` holds files; name an empty place"), "{said}");
    assert_eq!(server.names("out/"), written);
    let nowhere = server.program(&[
        "encode",
        "s3://bucket/none",
        "-o",
        "s3://bucket/x",
        "--codec",
        "s3://bucket/codecs/one.safetensors",
    ]);
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(said.contains("there is no `s3://bucket/none`"), "{said}");

    // A table of IDs, grown twice.
    let assign = || {
        server.program(
            &[&["assign", "s3://bucket/data/items", "--ids", "s3://bucket/ids", "--json"], place.as_slice()].concat(),
        )
    };
    for (new, before) in [(4000, 0), (0, 4000)] {
        let done = assign();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).expect("json");
        assert_eq!((report["new"].as_u64(), report["before"].as_u64()), (Some(new), Some(before)));
    }
    assert_eq!(server.names("ids/_ids-").len(), 1);
}

#[test]
fn a_store_that_does_not_answer_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(40, 2);
    let place = crate::support::saved(&codec(&rows), folder.path(), "codec");
    write_items(&folder.path().join("items"), &rows, &keys(40), 1, Kept::Fixed32);
    let mut program = Command::new(env!("CARGO_BIN_EXE_sememe-cluster"));
    program.args(["encode", &text(&folder.path().join("items")), "--codec", &place, "-o", "s3://bucket/out"]);
    program.envs([("AWS_ENDPOINT", "http://127.0.0.1:9"), ("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "us-east-1")]);
    program.envs([("AWS_ACCESS_KEY_ID", "who"), ("AWS_SECRET_ACCESS_KEY", "ever"), ("AWS_MAX_RETRIES", "0")]);
    let done = program.output().expect("run");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(said.contains("s3://bucket/out"), "{said}");
}
