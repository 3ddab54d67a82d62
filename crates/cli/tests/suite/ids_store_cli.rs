//! `assign` and `lookup`: IDs that stay, and processes that are killed.

use crate::cli::Desk;
use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::time::Duration;

fn desk(items: usize) -> Desk {
    let desk = Desk::fitted();
    let lines: String = (0..items).map(|i| format!("{{\"id\":\"package {}\"}}\n", i * 7 % 300)).collect();
    desk.file("items.jsonl", lines.as_bytes());
    desk
}

const ASSIGN: &str = "assign codec.safetensors items.npy --keys items.jsonl --store ids.sqlite";

#[test]
fn an_item_asked_twice_has_the_same_id() {
    let desk = desk(300);
    let first = desk.run(&format!("{ASSIGN} -o ids.csv --json")).json();
    assert_eq!(
        (first["new"].as_u64(), first["known"].as_u64(), first["in_store"].as_u64()),
        (Some(300), Some(0), Some(300))
    );
    let again = desk.run(&format!("{ASSIGN} -o again.csv --batch-items 7 --json")).json();
    assert_eq!(
        (again["new"].as_u64(), again["known"].as_u64(), again["drifted"].as_u64()),
        (Some(0), Some(300), Some(0))
    );
    let ids = fs::read_to_string(desk.path("ids.csv")).unwrap();
    assert_eq!(ids, fs::read_to_string(desk.path("again.csv")).unwrap());
    let distinct: BTreeSet<&str> = ids.lines().skip(1).map(|l| l.split_once(',').unwrap().1).collect();
    assert_eq!(distinct.len(), 300);
    // Row 1 is `package 7`; its ID leads back to it, and its prefixes too.
    let row: Vec<&str> = ids.lines().nth(2).unwrap().split(',').skip(1).collect();
    let found = desk.run("lookup ids.sqlite none --json").json();
    assert_eq!(found["found"], serde_json::json!([{ "key": "none", "id": null }]));
    let codes = row[..3].join("-");
    let id = if row[3] == "0" { codes.clone() } else { row.join("-") };
    let mut keyed = desk.command("lookup ids.sqlite");
    let keyed: crate::cli::Run = keyed.arg("package 7").output().unwrap().into();
    assert_eq!(keyed.ok().stdout, format!("{id}\tpackage 7\n"));
    for question in [format!("--id {id}"), format!("--id {codes}"), format!("--prefix {}", row[..2].join("-"))] {
        let found = desk.run(&format!("lookup ids.sqlite {question}")).ok().stdout;
        assert!(found.contains(&format!("{id}\tpackage 7\n")), "{question}: {found}");
    }
    assert_eq!(desk.run("lookup ids.sqlite --id 7-7-7-99").ok().stdout, "no item, of 300 items in the store\n");
    // Another order of the file gives a fresh store the same IDs.
    let text = desk
        .run(&format!("{} -o fresh.csv --batch-items 50", ASSIGN.replace("ids.sqlite", "fresh.sqlite")))
        .ok()
        .stdout;
    assert!(text.contains("300 items got an ID, 0 had one; 300 in all"), "{text}");
    assert_eq!(ids, fs::read_to_string(desk.path("fresh.csv")).unwrap());
}

#[test]
fn what_a_store_refuses() {
    let desk = desk(300);
    desk.run(ASSIGN).ok();
    desk.run("train items.npy -o other.safetensors --codebook-size 8 --seed 5").ok();
    let other = ASSIGN.replace("codec.safetensors", "other.safetensors");
    desk.run(&other).fails(5, &["store: `ids.sqlite` holds IDs of codec ", "not of codec "]);
    desk.file("few.jsonl", b"{\"id\":1}\n").file("twice.jsonl", &b"{\"id\":1}\n".repeat(300));
    desk.run(&ASSIGN.replace("items.jsonl", "few.jsonl")).fails(3, &["holds 1 items, but `items.npy` 300 rows"]);
    desk.run(&ASSIGN.replace("items.jsonl", "twice.jsonl")).fails(3, &["rows 0 and 1 have the same key `1`"]);
    desk.run(&ASSIGN.replace("ids.sqlite", "s3://here"))
        .fails(2, &["`--store`: `s3://` is no store; give a path, or redis://"]);
    desk.run(&ASSIGN.replace("ids.sqlite", "rediss://here")).fails(2, &["needs TLS", "put a tunnel in front"]);
    #[cfg(not(feature = "redis"))]
    desk.run(&ASSIGN.replace("ids.sqlite", "redis://me:word@here"))
        .fails(2, &["`redis://me:***@here` needs the feature `redis`"]);
    // Nothing listens on port 1.
    #[cfg(feature = "redis")]
    desk.run(&ASSIGN.replace("ids.sqlite", "redis://me:word@127.0.0.1:1"))
        .fails(5, &["`redis://me:***@127.0.0.1:1`", "is a Redis server running there?"]);
    desk.run(&ASSIGN.replace("ids.sqlite", "no/folder.sqlite")).fails(5, &["does its folder exist?"]);
    desk.run(&format!("{ASSIGN} --batch-items 0")).fails(2, &["`--batch-items`"]);
    desk.run("lookup ids.sqlite").fails(2, &["one of keys, `--id` and `--prefix`"]);
    desk.run("lookup ids.sqlite --prefix 1-x").fails(2, &["`x` of `1-x` is no code"]);
    desk.run("lookup ids.sqlite --id 1-2").fails(3, &["character 4", "the text ends"]);
    desk.run("lookup none.sqlite a").fails(5, &["none.sqlite"]);
    desk.run("lookup items.jsonl a").fails(5, &["items.jsonl"]);
}

#[test]
fn killed_processes_lose_and_double_nothing() {
    let desk = desk(300);
    let start = || -> Child {
        let mut command = desk.command(&format!("{ASSIGN} --batch-items 3 --quiet"));
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("started")
    };
    let mut seen: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut killed = 0;
    for round in 0..12u64 {
        let mut crowd: Vec<Child> = (0..3).map(|_| start()).collect();
        std::thread::sleep(Duration::from_millis(10 + 25 * round));
        for child in &mut crowd {
            killed += usize::from(child.try_wait().expect("asked").is_none());
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
        // What the store has told once stays as it is.
        let run = desk.run("lookup ids.sqlite --prefix 0 --json");
        let all: Vec<serde_json::Value> = (0..8)
            .filter(|_| run.code == Some(0))
            .map(|code| desk.run(&format!("lookup ids.sqlite --prefix {code} --json")).json())
            .collect();
        for item in all.iter().flat_map(|v| v["found"].as_array().expect("a list")) {
            let (key, id) = (item["key"].as_str().unwrap().to_owned(), item["id"].as_str().unwrap().to_owned());
            let before = seen.insert(key.clone(), id.clone());
            assert!(before.is_none_or(|b| b == id), "{key} changed to {id}");
        }
    }
    assert!(killed > 0, "uninformative: every process had ended before");
    let last = desk.run(&format!("{ASSIGN} -o ids.csv --json")).json();
    assert_eq!((last["in_store"].as_u64(), last["drifted"].as_u64()), (Some(300), Some(0)));
    assert_eq!(last["known"].as_u64(), Some(seen.len() as u64), "nothing told was lost");
    let ids = fs::read_to_string(desk.path("ids.csv")).unwrap();
    let distinct: BTreeSet<&str> = ids.lines().skip(1).map(|l| l.split_once(',').unwrap().1).collect();
    assert_eq!(distinct.len(), 300);
}

#[test]
fn deleted_items_leave_their_ids_unused_unless_asked() {
    let desk = desk(300);
    let first = desk.run(&format!("{ASSIGN} -o ids.csv --json")).json();
    assert_eq!(first["in_store"].as_u64(), Some(300));
    desk.file("gone.csv", b"id\npackage 7\npackage 14\nnobody\npackage 7\n");
    let plan = desk.run("delete ids.sqlite --items gone.csv --dry-run --json").json();
    assert_eq!((plan["deleted"].as_u64(), plan["in_store"].as_u64()), (Some(0), Some(300)), "{plan}");
    assert_eq!(plan["found"].as_array().map(Vec::len), Some(2), "{plan}");
    let told = desk.run("delete ids.sqlite --items gone.csv --dry-run").ok().stdout;
    assert_eq!(told, "ids.sqlite: 2 items would be deleted, `nobody` is not there; 300 in all\n");
    let done = desk.run("delete ids.sqlite --items gone.csv --json").json();
    assert_eq!((done["deleted"].as_u64(), done["in_store"].as_u64()), (Some(2), Some(298)), "{done}");
    assert_eq!((&done["found"], &done["unknown"]), (&plan["found"], &serde_json::json!(["nobody"])));
    let codes = done["found"][0]["codes"].clone();
    assert!(codes.as_array().is_some_and(|codes| codes.len() == 3) && done["found"][0]["id"].is_string(), "{done}");
    // Again, it is no error, and says so.
    let again = desk.run("delete ids.sqlite --items gone.csv").ok().stdout;
    assert_eq!(again, "ids.sqlite: 0 items deleted, 3 items are not there, the first is `package 7`; 298 in all\n");
    assert_eq!(desk.run("delete ids.sqlite nobody -q").ok().stdout, "");
    // The two come back on other IDs; those of the others stay.
    let ids = |name: &str| -> Vec<String> {
        fs::read_to_string(desk.path(name)).unwrap().lines().map(str::to_owned).collect()
    };
    let back = desk.run(&format!("{ASSIGN} -o back.csv --json")).json();
    assert_eq!((back["new"].as_u64(), back["known"].as_u64()), (Some(2), Some(298)));
    let (before, after) = (ids("ids.csv"), ids("back.csv"));
    let changed: Vec<usize> = (0..before.len()).filter(|i| before[*i] != after[*i]).collect();
    assert_eq!(changed, [2, 3], "rows of packages 7 and 14");
    // Deleted once more, they take deleted IDs again: the lowest on their codes, which are the first ones.
    desk.file("gone.csv", b"id\npackage 7\npackage 14\n");
    desk.run("delete ids.sqlite --items gone.csv").ok();
    desk.run(&format!("{ASSIGN} -o reused.csv --reuse-deleted")).ok();
    let mut sorted = [ids("ids.csv"), ids("reused.csv")];
    assert!(sorted[1].iter().enumerate().all(|(i, id)| [2, 3].contains(&i) || *id == before[i]));
    // The same set of IDs as at first.
    sorted.iter_mut().for_each(|ids| ids.iter_mut().for_each(|id| *id = id.split_once(',').unwrap().1.to_owned()));
    sorted.iter_mut().for_each(|ids| ids.sort());
    assert_eq!(sorted[0], sorted[1]);
    desk.run("delete ids.sqlite").fails(2, &["required arguments"]);
    desk.run("delete none.sqlite a").fails(5, &["none.sqlite"]);
    desk.command("delete ids.sqlite")
        .arg("")
        .output()
        .map(crate::cli::Run::from)
        .unwrap()
        .fails(2, &["a key is empty"]);
    desk.file("other.txt", b"a").run("delete ids.sqlite --items other.txt").fails(3, &["items are read from .jsonl"]);
}

#[test]
fn a_busy_store_is_waited_for_as_long_as_asked() {
    let desk = desk(300);
    desk.run(ASSIGN).ok();
    let other = rusqlite::Connection::open(desk.path("ids.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    desk.run(&format!("{ASSIGN} --patience 0")).fails(5, &["another process held it all the time, try again"]);
    desk.run("delete ids.sqlite none --patience 0").fails(5, &["another process held it all the time"]);
    assert!(desk.run("lookup ids.sqlite none --patience 0").ok().stdout.contains("no ID"));
}

/// The file may grow no further in mid-run, as on a full disk: whole batches stay, and the rest follows when there is room.
#[cfg(unix)]
#[test]
fn a_full_disk_keeps_whole_batches() {
    let desk = desk(300);
    let starved = |blocks: u32| -> crate::cli::Run {
        let mut command = std::process::Command::new("sh");
        // Of 512 bytes or of 1024, as the shell has it; refused writes instead of a signal.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let args = format!("{ASSIGN} --batch-items 10 --quiet");
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_sememe")).args(args.split(' '));
        command.current_dir(desk.path("")).output().expect("run").into()
    };
    let mut kept = 0;
    for blocks in [1, 60, 200, 400] {
        let run = starved(blocks);
        run.fails(5, &["ids.sqlite", "nothing of this batch was kept, make room on the disk"]);
        let count = desk.run("lookup ids.sqlite none --json");
        if count.code == Some(0) {
            let now = count.json()["in_store"].as_u64().unwrap();
            assert!(now >= kept && now.is_multiple_of(10), "{now} items after {kept}");
            kept = now;
        }
    }
    assert!(kept > 0 && kept < 300, "uninformative: {kept} of 300 items");
    let last = desk.run(&format!("{ASSIGN} -o ids.csv --json")).json();
    assert_eq!((last["known"].as_u64(), last["new"].as_u64()), (Some(kept), Some(300 - kept)));
}

/// As another user than the file's: looked up, and refused to be written.
#[cfg(unix)]
#[test]
fn a_read_only_store_is_looked_up_and_not_written() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;
    let desk = desk(300);
    desk.run(ASSIGN).ok();
    let mode = |name: &str, mode: u32| fs::set_permissions(desk.path(name), fs::Permissions::from_mode(mode)).unwrap();
    let root = fs::metadata(desk.path("ids.sqlite")).unwrap().uid() == 0;
    // Root may write whatever the mode says; its tests run the program as nobody, from a copy that nobody can reach.
    let program = desk.path("sememe");
    if root {
        fs::copy(env!("CARGO_BIN_EXE_sememe"), &program).unwrap();
    }
    let run = |args: &str| -> crate::cli::Run {
        let mut command = desk.command(args);
        if root {
            command = std::process::Command::new(&program);
            command.args(args.split(' ')).current_dir(desk.path("")).uid(65534).gid(65534);
        }
        command.output().expect("run").into()
    };
    let key = desk.run("lookup ids.sqlite --prefix 0 --json").json()["found"][0]["key"].as_str().unwrap().to_owned();
    let key = key.strip_prefix("package ").unwrap().to_owned();
    mode("ids.sqlite", 0o444);
    mode("", 0o555);
    let (looked, refused, deleted) =
        (run("lookup ids.sqlite --prefix 0 --json"), run(&format!("{ASSIGN} --quiet")), run("delete ids.sqlite none"));
    mode("", 0o755);
    assert!(
        looked.json()["found"]
            .as_array()
            .is_some_and(|all| all.iter().any(|v| v["key"].as_str().unwrap().ends_with(&key)))
    );
    refused.fails(5, &["ids.sqlite", "may not be written to"]);
    deleted.fails(5, &["ids.sqlite", "may not be written to"]);
    mode("ids.sqlite", 0o644);
    assert_eq!(desk.run(&format!("{ASSIGN} --json")).json()["known"].as_u64(), Some(300));
}

/// The same through a server, and what is said about its settings.
#[cfg(all(feature = "redis", unix))]
#[test]
fn a_redis_server_serves_all_verbs() {
    let Some(mut server) = sememe_testkit::redis_server::Server::start("--requirepass sesame-open") else { return };
    let desk = desk(300);
    desk.run(&format!("{ASSIGN} -o file.csv")).ok();
    let url = format!("{}?pass=sesame-open&namespace=shop", server.url());
    let assign = ASSIGN.replace("ids.sqlite", &url);
    let first = desk.run(&format!("{assign} -o redis.csv --json")).json();
    assert_eq!((first["new"].as_u64(), first["in_store"].as_u64()), (Some(300), Some(300)));
    assert_eq!(first["notes"], serde_json::json!([]));
    assert!(first["store"].as_str().is_some_and(|s| s.contains("pass=***&namespace=shop")), "{first}");
    assert_eq!(
        fs::read(desk.path("file.csv")).unwrap(),
        fs::read(desk.path("redis.csv")).unwrap(),
        "any store, the same IDs"
    );
    let again = desk.run(&assign).ok();
    assert!(again.stdout.contains("0 items got an ID, 300 had one; 300 in all"), "{}", again.stdout);
    let text = |run: crate::cli::Run| format!("{}{}", run.stdout, run.stderr);
    assert_eq!(text(desk.run(&format!("lookup {url} --prefix 0"))), text(desk.run("lookup ids.sqlite --prefix 0")));
    desk.file("gone.csv", b"id\npackage 7\nnobody\n");
    let gone = desk.run(&format!("delete {url} --items gone.csv")).ok().stdout;
    assert!(gone.contains("1 item deleted, `nobody` is not there; 299 in all") && !gone.contains("sesame"), "{gone}");
    desk.run("train items.npy -o other.safetensors --codebook-size 8 --seed 5").ok();
    let other = assign.replace("codec.safetensors", "other.safetensors");
    desk.run(&other).fails(5, &["holds IDs of codec ", "not of codec "]);
    desk.run(&format!("lookup {}?namespace=shop a", server.url())).fails(5, &["give user and password"]);
    let none = format!("lookup {}?pass=sesame-open a", server.url());
    desk.run(&none).fails(5, &["has no namespace `sememe`, so nothing was assigned there yet"]);
    // A server that stays away in mid-run.
    server.signal("STOP");
    let run = desk.run(&format!("lookup {url} a --patience 1"));
    server.signal("CONT");
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    server.kill();
    let away = desk.run(&assign);
    away.fails(5, &["is a Redis server running there?"]);
    assert!(!away.stderr.contains("sesame"), "{}", away.stderr);
    let Some(lax) = sememe_testkit::redis_server::Server::start("--appendfsync everysec") else { return };
    let noted = desk.run(&ASSIGN.replace("ids.sqlite", &lax.url())).ok().stderr;
    assert!(
        noted.contains("note: with `appendfsync everysec` a loss of power loses the last second of IDs"),
        "{noted}"
    );
}
