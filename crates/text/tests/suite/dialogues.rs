//! Training data for language models: what is written, who is on which side of the split, and what is refused.
//!
//! One file past the usual length: every case builds on the catalogue and the readers at the top.

use sememe::Error;
use sememe_testkit::text::{CATALOGUE, IDS};
use sememe_text::dialogues::{Dialogues, ExampleFormat, Task, TemplateSource, Templates, Turn, compose};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).expect("write");
        self.path(name)
    }

    /// The names in a folder, and what they hold.
    fn content(&self, name: &str) -> BTreeMap<String, String> {
        let Ok(entries) = fs::read_dir(self.path(name)) else { return BTreeMap::new() };
        let paths = entries.map(|entry| entry.expect("entry").path());
        paths
            .map(|path| (path.file_name().unwrap().to_string_lossy().into(), fs::read_to_string(path).unwrap()))
            .collect()
    }
}

fn turn(query: &str, answer: Option<&str>) -> Turn {
    Turn { query: query.into(), answer: answer.map(str::to_owned) }
}

fn templates() -> Templates {
    Templates {
        id_from_query: vec![turn("Find {name}[ by {by}]", None), turn("{about}", Some("It is {semantic_id}."))],
        attribute_from_id: vec![turn("What is {semantic_id}?", Some("{name}[: {about}]"))],
        next_item: Vec::new(),
    }
}

fn given(folder: &Folder) -> Dialogues {
    Dialogues {
        ids: folder.file("ids.jsonl", IDS),
        source: Some(folder.file("shop.csv", CATALOGUE)),
        templates: TemplateSource::Given(templates()),
        validation: 0.0,
        ..Dialogues::default()
    }
}

#[track_caller]
fn fails(dialogues: &Dialogues, parts: &[&str]) -> Error {
    let error = compose(dialogues, &()).err().expect("accepted");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
    error
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_golden_case() {
    let folder = Folder::new();
    let dialogues = Dialogues { query_end: Some("[REC]".into()), system: Some("Be brief".into()), ..given(&folder) };
    let composed = compose(&dialogues, &()).unwrap();
    let report = composed.save(folder.path("out"), &()).unwrap();
    let content = folder.content("out");
    assert_eq!(content.keys().collect::<Vec<_>>(), ["dialogues_summary.json", "train.jsonl"]);
    let golden = "\
What is <L1_7> <L2_1>? -> Nano: A small editor
What is <L1_7> <L2_2>? -> Pico
A small editor [REC] -> It is <L1_7> <L2_1>.
Find Nano [REC] -> <L1_7> <L2_1>
Find Vi improved by Bram [REC] -> <L1_3> <L2_1>
A modal editor [REC] -> It is <L1_3> <L2_1>.
What is <L1_3> <L2_1>? -> Vi improved: A modal editor
Find Pico by UW [REC] -> <L1_7> <L2_2>
";
    let short: String = lines(&content["train.jsonl"])
        .iter()
        .map(|line| {
            let messages = line["messages"].as_array().unwrap();
            assert_eq!((messages.len(), line.as_object().unwrap().len()), (3, 1));
            assert_eq!(messages[0], serde_json::json!({"role": "system", "content": "Be brief"}));
            assert_eq!((&messages[1]["role"], &messages[2]["role"]), (&"user".into(), &"assistant".into()));
            format!("{} -> {}\n", messages[1]["content"].as_str().unwrap(), messages[2]["content"].as_str().unwrap())
        })
        .collect();
    assert_eq!(short, golden);
    assert!(
        content["train.jsonl"].starts_with(
            "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief\"},{\"role\":\"user\",\"content\":"
        )
    );
    assert_eq!(composed.first_lines(100).unwrap().join("\n") + "\n", content["train.jsonl"]);
    assert_eq!((report.rows, report.items, report.without_id), (4, 3, 1));
    assert_eq!(report.first_without_id, ["ed"]);
    assert_eq!(report.fewer_examples[&Task::AttributeFromId], 3);
    assert_eq!(report.fewer_examples[&Task::IdFromQuery], 1, "pico has nothing about it");
    let used: Vec<usize> = report.templates.iter().map(|template| template.train).collect();
    assert_eq!(used, [3, 2, 3]);
    assert_eq!(
        serde_json::from_str::<Value>(&content["dialogues_summary.json"]).unwrap(),
        serde_json::to_value(&report).unwrap()
    );
    assert_eq!(report.files[0].size_bytes, content["train.jsonl"].len() as u64);

    // Again: the same bytes. Rows in another order: the same. Another seed: another order of the same lines.
    compose(&dialogues, &()).unwrap().save(folder.path("again"), &()).unwrap();
    assert_eq!(folder.content("again"), content);
    let mut rows: Vec<&str> = CATALOGUE.lines().collect();
    rows[1..].reverse();
    folder.file("shop.csv", rows.join("\n"));
    compose(&dialogues, &()).unwrap().save(folder.path("turned"), &()).unwrap();
    assert_eq!(folder.content("turned"), content);
    compose(&Dialogues { seed: 1, ..dialogues }, &()).unwrap().save(folder.path("seed"), &()).unwrap();
    let other = &folder.content("seed")["train.jsonl"];
    assert_ne!(other, &content["train.jsonl"]);
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(other), sorted(&content["train.jsonl"]));
}

#[test]
fn forms_end_prompts_where_the_answer_begins() {
    let folder = Folder::new();
    let mut dialogues = Dialogues { form: ExampleFormat::PromptCompletion, ..given(&folder) };
    let told = |dialogues: &Dialogues| {
        let lines = compose(dialogues, &()).unwrap().first_lines(100).unwrap();
        lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    for line in told(&dialogues) {
        assert!(line["prompt"].as_str().unwrap().ends_with('\n'), "{line}");
        assert!(!line["completion"].as_str().unwrap().starts_with(char::is_whitespace), "{line}");
    }
    dialogues.query_end = Some("[REC]".into());
    dialogues.system = Some("Be brief".into());
    dialogues.prompt_end = " =>".into();
    let mut ends = BTreeSet::new();
    for line in told(&dialogues) {
        let prompt = line["prompt"].as_str().unwrap();
        assert!(prompt.starts_with("Be brief\n\n"), "{line}");
        let asks = line["completion"].as_str().unwrap().contains("<L1_");
        assert_eq!(prompt.ends_with(" [REC]"), asks, "{line}");
        assert_eq!(prompt.ends_with("? =>"), !asks, "{line}");
        ends.insert(asks);
    }
    assert_eq!(ends.len(), 2, "uninformative");
    dialogues.form = ExampleFormat::ChatPromptCompletion;
    dialogues.metadata = true;
    for line in told(&dialogues) {
        let roles: Vec<&str> = line["prompt"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user"]);
        assert_eq!(line["completion"][0]["role"], "assistant");
        assert!(
            line["key"].is_string() && ["id_from_query", "attribute_from_id"].contains(&line["task"].as_str().unwrap())
        );
    }
}

/// Items named `i0`, …, and histories of users over them.
fn many(folder: &Folder, items: usize, users: usize) -> Dialogues {
    let ids: String = (0..items)
        .map(|i| format!("{{\"id\":\"i{i}\",\"semantic_id\":\"{}-{}\",\"title\":\"T{i}\"}}\n", i / 16, i % 16))
        .collect();
    let events: String = (0..users)
        .flat_map(|user| {
            (0..5).map(move |t| {
                format!("{{\"user\":\"u{user}\",\"item\":\"i{}\",\"time\":{}}}\n", (user * 3 + t) % 80, 9 - t)
            })
        })
        .collect();
    Dialogues {
        ids: folder.file("ids.jsonl", ids),
        events: Some(folder.file("events.jsonl", events)),
        validation: 0.2,
        metadata: true,
        ..Dialogues::default()
    }
}

/// Every example with its side, by key.
fn by_key(dialogues: &Dialogues, folder: &Folder) -> BTreeMap<String, BTreeSet<String>> {
    compose(dialogues, &()).unwrap().save(folder.path("out"), &()).unwrap();
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (side, text) in folder.content("out").into_iter().filter(|(name, _)| name.ends_with(".jsonl")) {
        for (line, value) in text.lines().zip(lines(&text)) {
            out.entry(value["key"].as_str().unwrap().into()).or_default().insert(format!("{side} {line}"));
        }
    }
    out
}

#[test]
fn added_items_and_users_move_nobody() {
    let folder = Folder::new();
    let before = by_key(&many(&folder, 200, 100), &folder);
    let after = by_key(&many(&folder, 260, 150), &folder);
    assert_eq!((before.len(), after.len()), (300, 410));
    for (key, lines) in &before {
        assert_eq!(&after[key], lines, "{key}");
        let sides: BTreeSet<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(sides.len(), 1, "{key} is on both sides");
    }
    let side = |all: &BTreeMap<String, BTreeSet<String>>| -> BTreeSet<String> {
        let validation = all.iter().filter(|(_, lines)| lines.iter().all(|line| line.starts_with("validation")));
        validation.map(|(key, _)| key.clone()).collect()
    };
    let fifth = side(&after);
    // 410 draws of a fifth: six standard deviations are 49.
    assert!((33..=131).contains(&fifth.len()), "{}", fifth.len());
    // A larger share only adds; another seed moves nobody.
    let half = side(&by_key(&Dialogues { validation: 0.5, seed: 9, ..many(&folder, 260, 150) }, &folder));
    assert!(fifth.is_subset(&half) && fifth.len() < half.len());
    let none = by_key(&Dialogues { validation: 0.0, ..many(&folder, 20, 10) }, &folder);
    assert!(side(&none).is_empty());
    assert!(!folder.path("out/validation.jsonl").exists(), "one from before would be taken for this one's");
}

#[test]
fn histories_run_to_the_next_item() {
    let folder = Folder::new();
    let next = |query: &str, answer| Templates { next_item: vec![turn(query, answer)], ..Templates::default() };
    let mut dialogues = Dialogues {
        events: Some(folder.file("events.csv", "user,item,time\nx,vim,3\nx,nano,1\nx,gone,2\nx,pico,2\ny,vim,1\n")),
        templates: TemplateSource::Given(next("{history} | {history.name} | {by}", None)),
        history_separator: " + ".into(),
        query_end: Some("[REC]".into()),
        ..given(&folder)
    };
    let told = |dialogues: &Dialogues| {
        let composed = compose(dialogues, &()).unwrap();
        let told = |line: String| {
            let line: Value = serde_json::from_str(&line).unwrap();
            let part = |at: usize| line["messages"][at]["content"].as_str().unwrap().to_owned();
            format!("{} -> {}", part(0), part(1))
        };
        let all: BTreeSet<String> = composed.first_lines(100).unwrap().into_iter().map(told).collect();
        (all.into_iter().collect::<Vec<_>>(), composed.report().clone())
    };
    let (all, report) = told(&dialogues);
    assert_eq!(
        all,
        [
            "<L1_7> <L2_1> + <L1_7> <L2_2> | Nano + Pico | Bram [REC] -> <L1_3> <L2_1>",
            "<L1_7> <L2_1> | Nano | UW [REC] -> <L1_7> <L2_2>",
        ]
    );
    assert_eq!((report.users, report.events, report.events_left_out, report.train.users), (2, 4, 1, 2));
    dialogues.max_history = 1;
    assert_eq!(told(&dialogues).0[1], "<L1_7> <L2_2> | Pico | Bram [REC] -> <L1_3> <L2_1>");
    dialogues.hold_out = 1;
    assert_eq!(told(&dialogues).0, ["<L1_7> <L2_1> | Nano | UW [REC] -> <L1_7> <L2_2>"]);
    dialogues.hold_out = 2;
    fails(&dialogues, &["no example comes of 3 items and 2 users"]);
    dialogues.hold_out = 0;
    dialogues.examples_per_user = Some(1);
    assert_eq!(told(&dialogues).0.len(), 1);
    // A title is no ID: no token asks for one.
    dialogues.templates = TemplateSource::Given(next("After {history.name}?", Some("{name}")));
    assert!(told(&dialogues).0.iter().all(|line| !line.contains("[REC]")));
    dialogues.strict = true;
    folder.file("shop.csv", CATALOGUE.replace("ed,Ed,Ken,The standard editor\n", ""));
    fails(&dialogues, &["1 of 5 events name an item that has no ID", "`gone`", "`strict`"]);
}

#[test]
fn ids_come_as_the_other_verbs_write_them() {
    let folder = Folder::new();
    let catalogue = "id,title\n007,Bond\n7,Seven\n-1,Minus\n";
    let base = Dialogues {
        source: Some(folder.file("items.csv", catalogue)),
        templates: TemplateSource::Given(Templates {
            id_from_query: vec![turn("{title}", None)],
            ..Templates::default()
        }),
        validation: 0.0,
        ..Dialogues::default()
    };
    let told = |name: &str, text: &str| {
        let composed = compose(&Dialogues { ids: folder.file(name, text), ..base.clone() }, &()).unwrap();
        let all: BTreeSet<String> = composed.first_lines(10).unwrap().into_iter().collect();
        (all, composed.report().inputs.clone())
    };
    let keyed = told(
        "a.jsonl",
        "{\"id\":\"007\",\"semantic_id\":\"1-2\"}\n{\"id\":7,\"semantic_id\":\"1-3\"}\n{\"id\":-1,\"semantic_id\":\"4\"}\n",
    );
    assert_eq!(keyed.0.len(), 3);
    for (name, text) in [
        ("b.csv", "semantic_id,id\n1-3,7\n1-2,007\n4,-1\n"),
        ("c.jsonl", "{\"row\":0,\"id\":\"1-2\"}\n{\"row\":2,\"id\":\"4\"}\n{\"row\":1,\"id\":\"1-3\"}\n"),
        ("d.csv", "row,id\n0,1-2\n1,1-3\n2,4\n"),
        (
            "e.jsonl",
            "{\"id\":\"1-2\",\"codes\":[1,2],\"items\":[\"007\"]}\n{\"id\":\"1-3\",\"codes\":[1,3],\"items\":[7]}\n{\"id\":\"4\",\"items\":[\"-1\"]}\n",
        ),
    ] {
        assert_eq!(told(name, text), keyed, "{name}");
    }
    let refused = |name: &str, text: &str, parts: &[&str]| {
        fails(&Dialogues { ids: folder.file(name, text), ..base.clone() }, parts);
    };
    refused("x.jsonl", "", &["is empty"]);
    refused(
        "x.jsonl",
        "{\"key\":\"a\",\"sid\":\"1\"}\n",
        &["line 1", "`id` and `semantic_id`", "it holds `key`, `sid`"],
    );
    refused("x.jsonl", "{\"id\":\"7\",\"semantic_id\":5}\n", &["line 1", "`semantic_id` is a number"]);
    refused(
        "x.jsonl",
        "{\"id\":\"7\",\"semantic_id\":\"1\"}\n{\"id\":\"7\",\"semantic_id\":\"2\"}\n",
        &["line 2", "`7` has an ID already"],
    );
    refused(
        "x.jsonl",
        "{\"row\":7,\"id\":\"1\"}\n{\"id\":\"7\",\"semantic_id\":\"2\"}\n",
        &["some items by `row` and some by key"],
    );
    refused("x.jsonl", "[1]\n", &["line 1", "expected an object"]);
    refused("x.csv", "key,id\n1,2\n", &["needs columns", "it holds `key`, `id`"]);
    refused("x.csv", "row,id\nx,2\n", &["line 2", "`x` is no row number"]);
    refused("x.csv", "row,id\n", &["holds no IDs"]);
    refused("x.txt", "1-2\n", &["got `.txt`"]);
    refused(
        "x.jsonl",
        "{\"id\":\"other\",\"semantic_id\":\"1\"}\n",
        &["none of the 3 items", "the first without is `007`", "`id` the field"],
    );
    folder.file("items.csv", "id,title\na,A\na,B\n");
    refused("x.jsonl", "{\"id\":\"a\",\"semantic_id\":\"1\"}\n", &["rows 2 and 3 have the same key `a`"]);
    folder.file("items.csv", "id,title\n");
    refused("x.jsonl", "{\"id\":\"a\",\"semantic_id\":\"1\"}\n", &["none of the 0 items"]);
    folder.file("items.csv", "");
    refused("x.jsonl", "{\"id\":\"a\",\"semantic_id\":\"1\"}\n", &["items.csv", "is empty"]);
}

#[test]
fn strict_leaves_nothing_out() {
    let folder = Folder::new();
    let dialogues = Dialogues { strict: true, ..given(&folder) };
    let error = fails(&dialogues, &["1 of 4 items", "shop.csv", "have no ID in", "the first is `ed`", "`strict`"]);
    assert!(matches!(error.root(), Error::Data(_)), "{error:?}");
    // An ID that is there but empty is none.
    folder.file("ids.jsonl", format!("{}{{\"id\":\"ed\",\"semantic_id\":null}}\n", IDS.replace("<L1_3> <L2_1>", " ")));
    fails(&dialogues, &["2 of 4 items", "the first is `vim`"]);
    folder.file("ids.jsonl", format!("{IDS}{{\"id\":\"ed\",\"semantic_id\":\"<L1_3> <L2_1>\"}}\n"));
    let report = compose(&dialogues, &()).unwrap().report().clone();
    assert_eq!((report.items, report.sharing_an_id, report.ids_without_item), (4, 2, 0));
    folder.file("shop.csv", format!("{CATALOGUE},Nobody,,\n"));
    fails(&dialogues, &["1 of 5 items", "have no key in `id`, the first is line 6"]);
    let report = compose(&Dialogues { strict: false, ..dialogues }, &()).unwrap().report().clone();
    assert_eq!((report.items, report.without_key), (4, 1));
}

#[test]
fn templates_that_cannot_work_are_named() {
    let folder = Folder::new();
    let base = given(&folder);
    let with = |task: Task, query: &str, answer: Option<&str>| {
        let mut templates = templates();
        let list = match task {
            Task::IdFromQuery => &mut templates.id_from_query,
            Task::AttributeFromId => &mut templates.attribute_from_id,
            Task::NextItem => &mut templates.next_item,
        };
        list.push(turn(query, answer));
        Dialogues { templates: TemplateSource::Given(templates), ..base.clone() }
    };
    use Task::{AttributeFromId as Attribute, IdFromQuery as Id, NextItem as Next};
    for (task, query, answer, parts) in [
        (Id, "Find {name", None, ["`id_from_query[2].query`", "`{` has no `}`"]),
        (Id, "Find {name} [REC]", None, ["`id_from_query[2].query`", "written twice"]),
        (Id, "Find it", None, ["`id_from_query[2].query`", "names no field"]),
        (Id, "{name} {semantic_id}", None, ["`id_from_query[2].query`", "which is what it asks for"]),
        (Id, "{name}", Some("{about}"), ["`id_from_query[2].answer`", "does not hold `{semantic_id}`"]),
        (
            Attribute,
            "What is {name}?",
            Some("{about}"),
            ["`attribute_from_id[1].query`", "does not hold `{semantic_id}`"],
        ),
        (Attribute, "What is {semantic_id}?", None, ["`attribute_from_id[1].answer`", "is missing"]),
        (
            Attribute,
            "{semantic_id}: {name}",
            Some("{name} {semantic_id}"),
            ["`attribute_from_id[1].answer`", "only repeats"],
        ),
        (Next, "After {name}?", None, ["`next_item[0].query`", "neither `{history}`"]),
        (Next, "{history}?", Some("{history} {name}"), ["`next_item[0].answer`", "stands in queries only"]),
        (Next, "{history} {name}?", Some("{name}"), ["`next_item[0].answer`", "only repeats"]),
        (Id, "Find {brand}", None, ["`templates.id_from_query[2]`", "`brand`, which"]),
        (Id, "Find {history}", None, ["`templates.id_from_query[2]`", "it has `id`, `name`, `by`, `about`"]),
    ] {
        let error = fails(&with(task, query, answer), &parts);
        assert!(matches!(error.root(), Error::Config { .. }), "{error:?}");
    }
    fails(&Dialogues { templates: TemplateSource::Given(Templates::default()), ..base.clone() }, &["there are none"]);
    // The starter set takes what is there, and says what it wants.
    let starter = Dialogues { templates: TemplateSource::Starter, ..base.clone() };
    fails(&starter, &["`title` or `text`", "it has `id`, `name`", "templates of your own with `templates`"]);
    let own = compose(&Dialogues { source: None, ..starter }, &()).unwrap();
    assert!(own.report().templates.iter().all(|template| !template.query.contains("{text")));
    assert_eq!(own.report().train.tasks.keys().copied().collect::<Vec<_>>(), [Id, Attribute]);
    // Every field of the only template is empty.
    folder.file("shop.csv", "id,name,by,about\nnano,,,\n");
    fails(&base, &["no example comes of 1 items"]);
}

#[test]
fn settings_that_cannot_work_are_named() {
    let folder = Folder::new();
    let base = given(&folder);
    let refused = |change: &dyn Fn(&mut Dialogues), parts: &[&str]| {
        let mut dialogues = base.clone();
        change(&mut dialogues);
        assert!(matches!(fails(&dialogues, parts).root(), Error::Config { .. }));
    };
    refused(&|d| d.ids = PathBuf::new(), &["`ids`"]);
    refused(&|d| d.key = String::new(), &["`key`"]);
    refused(&|d| d.validation = 1.0, &["`validation`", "got 1"]);
    refused(&|d| d.validation = f64::NAN, &["`validation`", "got NaN"]);
    refused(&|d| d.validation = -0.1, &["`validation`", "got -0.1"]);
    refused(&|d| d.examples_per_item = 0, &["`examples_per_item`", "at least 1"]);
    refused(&|d| d.max_history = 0, &["`max_history`"]);
    refused(&|d| d.system = Some(" ".into()), &["`system`", "is empty"]);
    refused(&|d| d.tasks = Some(vec![]), &["`tasks`"]);
    refused(&|d| d.tasks = Some(vec![Task::NextItem]), &["`events`"]);
    refused(&|d| d.hold_out = 1, &["`hold_out`", "`events`"]);
    refused(&|d| d.examples_per_user = Some(1), &["`examples_per_user`"]);
    refused(&|d| d.events = Some("x.jsonl".into()), &["`events`", "no template for the task `next_item`"]);
    refused(&|d| d.table = Some("t".into()), &["`table`", "is of SQLite databases"]);
    refused(&|d| (d.source, d.table) = (None, Some("t".into())), &["`table`", "is of the catalogue"]);
    let only = Dialogues { tasks: Some(vec![Task::AttributeFromId]), ..base.clone() };
    assert_eq!(compose(&only, &()).unwrap().report().templates.len(), 1);
    // As a section of a file of settings.
    let text =
        r#"{"ids": "ids.jsonl", "templates": {"id_from_query": [{"query": "{name}"}]}, "form": "prompt_completion"}"#;
    let read: Dialogues = serde_json::from_str(text).unwrap();
    assert!(matches!(&read.templates, TemplateSource::Given(given) if given.id_from_query.len() == 1));
    assert_eq!(serde_json::from_value::<Dialogues>(serde_json::to_value(&read).unwrap()).unwrap(), read);
    assert_eq!(serde_json::from_value::<Dialogues>(serde_json::to_value(&base).unwrap()).unwrap(), base);
    let file: Dialogues = serde_json::from_str(r#"{"templates": "own.toml"}"#).unwrap();
    assert_eq!(file.templates, TemplateSource::File("own.toml".into()));
    let wrong = serde_json::from_str::<Dialogues>(r#"{"templates": {"id_from_qury": []}}"#).unwrap_err().to_string();
    assert!(wrong.contains("id_from_qury") && wrong.contains("id_from_query"), "{wrong}");
}

#[test]
fn templates_are_files_too() {
    let folder = Folder::new();
    let starter = Templates::starter();
    starter.validate().unwrap();
    let path = folder.file("own.json", serde_json::to_string(&starter).unwrap());
    assert_eq!(Templates::load(path).unwrap(), starter);
    {
        let odd = Templates { id_from_query: vec![turn("\"{name}\"\n\\ \u{7f}é\u{1}", None)], ..starter.clone() };
        for templates in [starter, odd] {
            assert_eq!(Templates::load(folder.file("own.toml", templates.to_toml())).unwrap(), templates);
        }
        let refused = |text: &str, parts: &[&str]| {
            let error = Templates::load(folder.file("bad.toml", text)).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            assert!(!error.contains('\n'), "{error}");
        };
        refused(
            "[[id_from_query]]\nquery = \"{a}\"\nanser = 1\n",
            &["bad.toml", "line 3, column 1", "anser", "answer"],
        );
        refused("x = ", &["line 1"]);
        refused("", &["there are none"]);
        refused("[[id_from_query]]\nquery = \"{a\"\n", &["bad.toml", "id_from_query[0].query"]);
    }
    let text = Templates::load(folder.file("bad.json", "{\"id_from_query\":\n[{}]}")).unwrap_err().to_string();
    assert!(text.contains("line 2") && text.contains("`query`"), "{text}");
    assert!(Templates::load(folder.file("bad.yaml", "x")).unwrap_err().to_string().contains(".toml or .json"));
}

#[cfg(feature = "sqlite")]
#[test]
fn the_catalogue_may_be_a_database() {
    let folder = Folder::new();
    let db = rusqlite::Connection::open(folder.path("shop.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE items (id TEXT, name TEXT, by TEXT, about TEXT); CREATE TABLE other (x);
         INSERT INTO items VALUES ('vim', 'Vi improved', 'Bram', 'A modal editor'), ('nano', 'Nano', NULL, 'A small editor'),
         ('pico', 'Pico', 'UW', NULL), ('ed', 'Ed', 'Ken', 'The standard editor')",
    )
    .unwrap();
    drop(db);
    let csv = given(&folder);
    let mut sqlite = Dialogues { source: Some(folder.path("shop.db")), table: Some("items".into()), ..csv.clone() };
    let told = |dialogues: &Dialogues| compose(dialogues, &()).unwrap().first_lines(100).unwrap();
    assert_eq!(told(&sqlite), told(&csv));
    sqlite.table = None;
    fails(&sqlite, &["holds 2 tables"]);
    sqlite.query = Some("SELECT id, name FROM items".into());
    fails(&sqlite, &["wants the field `by`", "it has `id`, `name`"]);
}
