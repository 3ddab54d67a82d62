//! `sememe eval` on everything that it takes, and `sememe sweep`.

use crate::cli::Desk;
use serde_json::Value;
use std::fs;

/// 6 items under 2 × 3 codewords, and what is known about them.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.file("codes.csv", b"row,code_0,code_1\n0,0,0\n1,0,1\n2,0,1\n3,1,0\n4,1,1\n5,1,2\n");
    desk.file("other.csv", b"row,code_0,code_1\n0,0,0\n1,0,1\n2,0,2\n3,1,0\n4,1,1\n5,1,2\n");
    desk.file("few.csv", b"row,code_0,code_1\n0,0,0\n1,0,1\n");
    desk.file(
        "items.jsonl",
        b"{\"id\":\"a\",\"kind\":\"pen\"}\n{\"id\":\"b\",\"kind\":\"pen\"}\n{\"id\":\"c\",\"kind\":\"pen\"}\n\
          {\"id\":\"d\",\"kind\":\"ink\"}\n{\"id\":\"e\",\"kind\":null}\n{\"id\":\"f\"}\n",
    );
    desk.file("users.jsonl", b"{\"user\":0,\"items\":[0,1,2]}\n{\"user\":1,\"items\":[1,2,3]}\n{\"items\":[]}\n");
    desk
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn a_bare_table_is_judged_with_what_there_is() {
    let desk = desk();
    let value = desk.run("eval --codes codes.csv --json").json();
    assert_eq!(number(&value, "/collision_rate"), 1.0 - 5.0 / 6.0);
    assert_eq!(value["codebook_sizes"], serde_json::json!([2, 3]));
    assert!(value["notes"][0].as_str().is_some_and(|note| note.contains("taken to be 2 × 3")), "{value}");
    assert!(value.get("r2").is_none() && value["recall_at_10"].is_null() && value["levels"][0].get("r2").is_none());

    let text = desk.run("eval --codes codes.csv --codebook-size 4").ok();
    assert!(text.stdout.contains("6 items, 5 distinct IDs") && !text.stdout.contains("R²"), "{}", text.stdout);
    assert!(!text.stderr.contains("taken to be"), "{}", text.stderr);

    let args =
        "eval --codes codes.csv --codebook-size 2,3 --labels items.jsonl --label kind --interactions users.jsonl";
    let value = desk.run(&format!("{args} --min-support 2 --json --report page.html")).json();
    assert_eq!(number(&value, "/labels/0/labelled"), 4.0);
    assert_eq!(number(&value, "/labels/0/levels/0/purity"), 1.0);
    assert_eq!(number(&value, "/behaviour/events"), 6.0);
    // 0→1, 1→2, 1→2, 2→3.
    assert_eq!(number(&value, "/behaviour/next_prefix/levels/0/share"), 0.75);
    assert_eq!(number(&value, "/behaviour/next_item/users"), 2.0);
    assert_eq!(number(&value, "/behaviour/co_interaction/items"), 2.0);
    let page = fs::read_to_string(desk.path("page.html")).expect("page");
    assert!(page.contains("Labels by prefix") && page.contains("What users did"));
    let text = desk.run(args).ok().stdout;
    for part in ["labels `kind`", "purity", "next item shares it", "item-kNN", "recall@20 by users"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn events_come_in_every_form_and_by_key() {
    let desk = desk();
    let events = b"user,item,time\nx,c,3\nx,a,1\ny,b,1\ny,d,3\nx,b,2\ny,c,2\n";
    desk.file("by_key.csv", events);
    desk.file("by_row.csv", b"user,item,timestamp\nx,2,3\nx,0,1\ny,1,1\ny,3,3\nx,1,2\ny,2,2\n");
    desk.file(
        "single.jsonl",
        b"{\"user\":\"x\",\"item\":2,\"time\":3}\n{\"user\":\"x\",\"item\":0,\"time\":1}\n{\"user\":\"y\",\"item\":1,\"time\":1}\n\
          {\"user\":\"y\",\"item\":3,\"time\":3}\n{\"user\":\"x\",\"item\":1,\"time\":2}\n{\"user\":\"y\",\"item\":2,\"time\":2}\n",
    );
    let mut npy = sememe_testkit::files::npy_v1("{'descr': '<i8', 'fortran_order': False, 'shape': (6, 3), }");
    for value in [7i64, 2, 3, 7, 0, 1, 8, 1, 1, 8, 3, 3, 7, 1, 2, 8, 2, 2] {
        npy.extend(value.to_le_bytes());
    }
    desk.file("events.npy", &npy);
    let run = |args: &str| {
        let mut value = desk.run(&format!("eval --codes codes.csv --codebook-size 2,3 {args} --json")).json();
        value["behaviour"].take()
    };
    let want = run("--interactions by_row.csv");
    assert_eq!(number(&want, "/next_prefix/levels/0/share"), 0.75);
    assert_eq!(run("--sequences single.jsonl"), want);
    assert_eq!(run("--interactions events.npy"), want);
    assert_eq!(run("--interactions by_key.csv --keys items.jsonl"), want);
}

#[test]
fn labels_are_matched_by_key_whatever_their_order() {
    let desk = desk();
    desk.file("labels.csv", b"sku,kind\nf,ink\nc,pen\na,pen\nzz,cap\n");
    let args = "eval --codes codes.csv --codebook-size 2,3 --keys items.jsonl --labels labels.csv --label kind --label-key sku";
    let value = desk.run(&format!("{args} --json")).json();
    assert_eq!((number(&value, "/labels/0/labelled"), number(&value, "/labels/0/labels")), (3.0, 2.0));
    assert_eq!(number(&value, "/labels/0/levels/0/purity"), 1.0);
}

#[test]
fn two_sides_are_measured_alike_and_told_apart() {
    let desk = desk();
    let value =
        desk.run("eval --codes codes.csv --against other.csv --codebook-size 2,3 --json --report page.html").json();
    let of = |name: &str| {
        let all = value["comparison"]["differences"].as_array().expect("differences");
        all.iter().find(|d| d["measure"] == name && d["level"].is_null()).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(of("collision_rate")["better"], "second");
    assert_eq!(of("unique_ids")["delta"], 1.0);
    assert_eq!(number(&value, "/against/collision_rate"), 0.0);
    assert_eq!(number(&value, "/comparison/churn/levels/1/changed"), 1.0 / 6.0);
    assert!(fs::read_to_string(desk.path("page.html")).expect("page").contains("Beside another"));
    let text = desk.run("eval --codes codes.csv --against other.csv --codebook-size 2,3").ok().stdout;
    assert!(
        text.contains("A  codes.csv") && text.contains("B  other.csv") && text.contains("pairs kept together"),
        "{text}"
    );

    let fitted = Desk::fitted();
    fitted.run("encode codec.safetensors items.npy -o codes.npy").ok();
    let whole = fitted.run("eval codec.safetensors items.npy --queries 30 --json").json();
    let table = fitted.run("eval codec.safetensors items.npy --codes codes.npy --queries 30 --json").json();
    let bare = fitted.run("eval --codes codes.npy items.npy --codebook-size 8 --queries 30 --json").json();
    for name in ["/collision_rate", "/recall_at_10", "/levels/2/perplexity"] {
        assert_eq!(number(&whole, name), number(&table, name), "{name}");
        assert_eq!(number(&whole, name), number(&bare, name), "{name}");
    }
    assert_eq!(number(&whole, "/r2"), number(&table, "/r2"));
    assert!(bare.get("r2").is_none());
    let value = fitted.run("eval codec.safetensors items.npy --against codec.safetensors --queries 0 --json").json();
    let same = value["comparison"]["differences"].as_array().expect("differences");
    assert!(same.iter().all(|d| d["delta"] == 0.0 && (d["better"] == "same" || d["better"] == "neither")));
}

#[test]
fn what_does_not_fit_is_refused_with_the_way_out() {
    let desk = desk();
    desk.refuses("eval", 2, &["give a codec and embeddings", "--codes"]);
    desk.refuses("eval codec.safetensors", 2, &["codec.safetensors", "--codes"]);
    desk.refuses("eval --codes codes.csv --codebook-size 2", 3, &["code 2 at level 1", "holds 2"]);
    desk.refuses("eval --codes codes.csv --codebook-size 2,3,4", 3, &["expected levels = 3, got 2"]);
    desk.refuses("eval --codes codes.csv --codebook-size 0", 2, &["--codebook-size"]);
    desk.refuses("eval --codes codes.csv --against few.csv", 3, &["expected rows = 6, got 2 in `few.csv`"]);
    desk.refuses("eval --codes codes.csv --against c.safetensors", 2, &["--against", "IN"]);
    desk.refuses("eval --codes codes.csv --decay 0 --interactions users.jsonl", 2, &["--decay"]);
    desk.refuses("eval --codes codes.csv --min-support 0 --interactions users.jsonl", 2, &["--min-support"]);
    desk.refuses("eval --codes codes.csv --keys items.jsonl", 2, &["--keys", "--interactions"]);
    let labels = "eval --codes codes.csv --labels items.jsonl --label";
    desk.refuses(&format!("{labels} colour"), 3, &["has no `colour`", "`kind`"]);
    desk.file("lists.jsonl", b"{\"tags\":[\"a\"]}\n");
    desk.refuses(
        "eval --codes codes.csv --labels lists.jsonl --label tags",
        3,
        &["`tags` is a list", "one label an item"],
    );
    desk.file("short.jsonl", b"{\"kind\":\"a\"}\n");
    desk.refuses("eval --codes codes.csv --labels short.jsonl --label kind", 3, &["expected items = 6, got 1"]);
    desk.file("blank.jsonl", b"{\"kind\":\"\"}\n".repeat(6).as_slice());
    desk.refuses("eval --codes codes.csv --labels blank.jsonl --label kind", 3, &["`kind` is empty for all 6 items"]);

    desk.file("unknown.jsonl", b"{\"items\":[0,1]}\n{\"items\":[2,77]}\n");
    let args = "eval --codes codes.csv --interactions unknown.jsonl";
    let parts = ["1 of 4 events", "the first is `77` in line 2", "--unknown drop", "--keys"];
    desk.refuses(args, 3, &parts);
    let value = desk.run(&format!("{args} --unknown drop --json")).json();
    assert_eq!((number(&value, "/unknown_events"), number(&value, "/behaviour/events")), (1.0, 3.0));
    desk.file("none.jsonl", b"{\"items\":[\"x\"]}\n");
    desk.refuses("eval --codes codes.csv --interactions none.jsonl --unknown drop", 3, &["none of its 1 events"]);
    desk.file("empty.jsonl", b"{\"items\":[]}\n");
    desk.refuses("eval --codes codes.csv --interactions empty.jsonl", 3, &["holds no event"]);
    for (name, text, part) in [
        ("a.jsonl", "{\"user\":1}\n", "expected a list `items`, or an item (`item`"),
        ("b.jsonl", "{\"items\":3}\n", "`items` is a number, expected a list"),
        ("c.jsonl", "{\"items\":[1.5]}\n", "an item is 1.5, expected text or a whole number"),
        ("d.jsonl", "{\"user\":1,\"item\":2,\"time\":\"x\"}\n", "`time` is text, expected a time as a number"),
        ("e.csv", "who,item\n1,2\n", "needs a user (`user`"),
        ("f.csv", "user,item,time\n1,2,soon\n", "line 2: time `soon`"),
        ("g.txt", "1 2\n", "events are read from .jsonl"),
    ] {
        desk.file(name, text.as_bytes());
        desk.refuses(&format!("eval --codes codes.csv --interactions {name}"), 3, &[name, part]);
    }
}

#[test]
fn a_sweep_goes_on_where_it_was_and_notices_what_changed() {
    let desk = Desk::fitted();
    let args = "sweep items.npy -o grid --levels 1..2 --codebook-size 4,8,400 --iterations 3 --json";
    let first = desk.run(args).json();
    let cells = first["cells"].as_array().expect("cells").clone();
    assert_eq!((cells.len(), &first["kept"], &first["failed"]), (6, &0.into(), &2.into()));
    let name = |cell: &Value| (cell["levels"].as_u64().expect("levels"), cell["codebook_size"].as_u64().expect("size"));
    assert_eq!(cells.iter().map(name).collect::<Vec<_>>(), [(1, 4), (1, 8), (1, 400), (2, 4), (2, 8), (2, 400)]);
    let why = cells[2].pointer("/outcome/failed").and_then(Value::as_str).expect("a reason");
    assert!(why.contains("300 training rows are fewer than the 400 codewords"), "{why}");
    let own = |cell: &Value| cell.pointer("/outcome/done").cloned().expect("figures");
    assert!(number(&own(&cells[4]), "/r2") > number(&own(&cells[0]), "/r2"));
    assert_eq!(cells[4]["on_front"], true, "the most IDs have the fewest collisions");

    // Nothing is trained twice, and a further value trains only its own cells.
    let again = desk.run(args).json();
    assert_eq!(again["kept"], 4);
    assert_eq!(again["cells"][4]["outcome"], cells[4]["outcome"]);
    let more = desk.run(&args.replace("4,8,400", "4,8,16")).json();
    assert_eq!((&more["kept"], &more["failed"]), (&4.into(), &0.into()));
    // Another seed, other iterations and other data are other cells.
    for other in ["--seed 1", "--center"] {
        assert_eq!(desk.run(&format!("{args} {other}")).json()["kept"], 0, "{other}");
    }
    let rows = fs::read(desk.path("items.npy")).expect("rows");
    let mut changed = rows.clone();
    let last = changed.len() - 4;
    changed[last..].copy_from_slice(&0.125f32.to_le_bytes());
    desk.file("items.npy", &changed);
    assert_eq!(desk.run(args).json()["kept"], 0);
    desk.file("items.npy", &rows);

    // A torn or foreign file is no figures.
    let file = desk.path(&format!("grid/cell-{}.json", cells[4]["key"].as_str().expect("key")));
    let whole = fs::read(&file).expect("cell");
    fs::write(&file, &whole[..whole.len() / 2]).expect("write");
    assert_eq!(desk.run(args).json()["kept"], 3);
    let text = String::from_utf8(fs::read(&file).expect("cell")).expect("UTF-8");
    fs::write(&file, text.replace("\"seed\": 0", "\"seed\": 5")).expect("write");
    assert_eq!(desk.run(args).json()["kept"], 3);

    let page = fs::read_to_string(desk.path("grid/sweep.html")).expect("page");
    sememe_testkit::html::assert_well_formed(&page);
    assert!(page.contains("2 × 8") && page.contains("<svg") && page.contains("fewer than the 400 codewords"));
    for loading in ["src=", "href=", "url(", "http://", "https://", "<script"] {
        assert!(!page.contains(loading), "{loading}");
    }
    let text = desk.run(&args.replace(" --json", "")).ok();
    assert!(text.stdout.contains("Pareto") && text.stdout.contains("failed"), "{}", text.stdout);
    assert!(text.stderr.contains("1 × 400 failed: 300 training rows"), "{}", text.stderr);
}

#[test]
fn a_sweep_tries_ways_to_balance() {
    let desk = Desk::fitted();
    let args = "sweep items.npy -o grid --levels 2 --codebook-size 8 --balance none,sinkhorn,capacity --refine 0,2";
    let value = desk.run(&format!("{args} --json")).json();
    let cells = value["cells"].as_array().expect("cells");
    assert_eq!((cells.len(), &value["failed"]), (6, &2.into()), "refinement and balance exclude each other");
    assert_eq!(cells[1]["balance"], "sinkhorn");
    let evenness = |cell: &Value| number(cell, "/outcome/done/perplexity/0");
    assert!(evenness(&cells[1]) > evenness(&cells[0]) && evenness(&cells[2]) > 7.9, "{cells:#?}");
    let text = desk.run(args).ok();
    assert!(text.stdout.contains("capacity") && text.stdout.contains("4 from earlier"), "{}", text.stdout);
    assert!(text.stderr.contains("2 × 8, refined 2, sinkhorn failed: `balance`"), "{}", text.stderr);
    desk.refuses("sweep items.npy -o none --balance none,none", 2, &["--balance", "twice"]);
}

#[test]
fn a_killed_sweep_loses_no_finished_cell() {
    let desk = Desk::fitted();
    let args = "sweep items.npy -o grid --levels 3 --codebook-size 16,24,32,40,48,56 --refine 0,3 --quiet";
    let mut child = desk.command(args).spawn().expect("start");
    let finished = || {
        let files = fs::read_dir(desk.path("grid")).into_iter().flatten().filter_map(Result::ok);
        files.filter(|file| file.file_name().to_string_lossy().starts_with("cell-")).count()
    };
    while finished() < 2 && child.try_wait().expect("wait").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    let kept = finished() as u64;
    let again = desk.run(&args.replace("--quiet", "--json")).json();
    assert_eq!(again["kept"], kept);
    assert!(kept >= 2, "{kept}");
    let fresh = desk.run(&args.replace("grid", "fresh").replace("--quiet", "--json")).json();
    assert_eq!((&fresh["kept"], &fresh["failed"]), (&0.into(), &0.into()));
    for (a, b) in again["cells"].as_array().expect("cells").iter().zip(fresh["cells"].as_array().expect("cells")) {
        for name in ["key", "on_front", "levels"] {
            assert_eq!(a[name], b[name]);
        }
        for name in ["r2", "collision_rate", "perplexity"] {
            assert_eq!(a["outcome"]["done"][name], b["outcome"]["done"][name], "{name}");
        }
    }
}

#[test]
fn a_sweep_keeps_codecs_and_refuses_early() {
    let desk = Desk::fitted();
    let args = "sweep items.npy -o grid --levels 2 --codebook-size 8 --refine 0,2 --iterations 2 --queries 20";
    desk.run(&format!("{args} --quiet")).ok();
    let value = desk.run(&format!("{args} --keep-codecs --json")).json();
    assert_eq!(value["kept"], 0, "figures without the codec that is asked for are not enough");
    assert_eq!(desk.run(&format!("{args} --keep-codecs --json")).json()["kept"], 2);
    for cell in value["cells"].as_array().expect("cells") {
        let codec = format!("grid/codec-{}.safetensors", cell["key"].as_str().expect("key"));
        let eval = desk.run(&format!("eval {codec} items.npy --queries 20 --json")).json();
        for name in ["collision_rate", "r2", "recall_at_10"] {
            let figure = number(cell, &format!("/outcome/done/{name}"));
            assert_eq!(number(&eval, &format!("/{name}")), figure, "{name}");
        }
    }
    desk.refuses("sweep items.npy -o none --levels 2 --codebook-size 999", 3, &["none of 1 settings", "999"]);
    desk.refuses("sweep items.npy -o none --levels 4..2", 2, &["--levels 4..2"]);
    desk.refuses("sweep items.npy -o none --levels two", 2, &["`two`"]);
    desk.refuses("sweep items.npy -o none --levels 2,2", 2, &["--levels", "2 is there twice"]);
    desk.refuses("sweep items.npy -o none --levels 0..2", 2, &["--levels", "got 0"]);
    desk.refuses("sweep items.npy -o none --beam 4", 2, &["--beam", "--refine"]);
    desk.refuses("sweep items.npy -o codec.safetensors", 2, &["not a folder"]);
    desk.file("nan.npy", b"");
    desk.refuses("sweep nan.npy -o none", 3, &["nan.npy"]);
}

#[test]
fn a_page_shows_resolved_ids_and_finds_by_key_and_text() {
    let desk = desk();
    desk.run("resolve codes.csv -o ids.csv --items items.jsonl --policy suffix").ok();
    let epoch = "{\"kind\":\"epoch\",\"epoch\":1,\"epochs\":2,\"step\":5,\"learning_rate\":0.1,\"losses\":{\"total\":2.0,\
                 \"reconstruction\":1.0,\"quantizer\":[0.5],\"gradient_norm\":1.0},\"restarted\":0,\"best\":true}\n";
    desk.file("metrics.jsonl", epoch.as_bytes());
    let args = "eval --codes codes.csv --codebook-size 2,3 --report page.html --keys items.jsonl";
    desk.run(&format!("{args} --ids ids.csv --style animind --metrics metrics.jsonl")).ok();
    let page = fs::read_to_string(desk.path("page.html")).expect("page");
    sememe_testkit::html::assert_well_formed(&page);
    for part in [
        "6 items named by 6 distinct IDs, 5 before collisions were resolved; 2 levels of 2 × 3 codewords",
        "Collisions before and after",
        "1 item (16.7\u{a0}%) has an ID that is not just their own codes: 1 by a counter",
        "&lt;L1_1&gt; &lt;L2_0&gt;",
        "Training, epoch by epoch",
        "<b>a</b>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    desk.refuses(&format!("{args} --ids few.csv"), 3, &["few.csv", "expected rows = 6, got 2"]);
    desk.file(
        "wide.csv",
        b"row,code_0,code_1,code_2,code_3\n0,0,0,0,0\n1,0,0,0,0\n2,0,0,0,0\n3,0,0,0,0\n4,0,0,0,0\n5,0,0,0,0\n",
    );
    desk.refuses(&format!("{args} --ids wide.csv"), 3, &["wide.csv", "holds 4 codes an ID, expected 2, or 3"]);
    desk.file("metrics.jsonl", b"{\"kind\":\"epoch\"}\n");
    desk.refuses(&format!("{args} --metrics metrics.jsonl"), 3, &["metrics.jsonl", "line 1", "missing field"]);
    desk.refuses("eval --codes codes.csv --ids ids.csv", 2, &["required arguments"]);
    desk.refuses("eval --codes codes.csv --keys items.jsonl", 2, &["--report"]);
}
