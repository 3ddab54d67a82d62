//! Rows of a catalogue to clean texts: templates, cleaning, every source and output, and what is refused.

use proptest::prelude::*;
use sememe::Error;
use sememe_testkit::text::{ROWS, TEMPLATE};
use sememe_text::prep::{Cleaning, OnBad, OnDuplicate, Prep, Prepared, TextTemplate, Unicode, prepare};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use unicode_normalization::is_nfc;

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

    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).expect("list").map(|e| e.expect("entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn prep(source: &Path, template: &str) -> Prep {
    Prep { source: source.into(), template: template.into(), ..Prep::default() }
}

fn pairs(prepared: &Prepared) -> Vec<(&str, &str)> {
    prepared.items.iter().map(|item| (item.id.as_str(), item.text.as_str())).collect()
}

#[track_caller]
fn fails(prep: &Prep, parts: &[&str]) {
    let text = prepare(prep, &()).expect_err("accepted").to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
}

#[test]
fn templates_join_drop_and_cap() {
    let fill = |template: &str, values: &[&str]| TextTemplate::parse(template).unwrap().fill(values).unwrap();
    assert_eq!(fill("{a}", &["x"]), "x");
    assert_eq!(fill("{a} {a} {b}", &["x", "y"]), "x x y");
    assert_eq!(fill("{a}[ by {b}][ ({c}, {b})]", &["x", "y", ""]), "x by y");
    assert_eq!(fill("{a}[ by {b}]", &["x", " \t"]), "x");
    assert_eq!(fill("{{{a}}} [[{a}]] }}", &["x"]), "{x} [x] }");
    assert_eq!(fill("[[{a}[ {b}]]]", &["x", "y"]), "[x y]");
    assert_eq!(fill("{a:5}|{a:12}", &["one two three"]), "one|one two");
    assert_eq!(fill("{a:4}", &["abcdefgh"]), "abcd");
    // Whole letters only: the accent stays with its letter or goes with it.
    assert_eq!(fill("{a:2}", &["ae\u{301}x"]), "a");
    assert_eq!(fill("{12:01}", &["x"]).len(), 1);
    assert_eq!(TextTemplate::parse("{at:noon}").unwrap().fields(), ["at:noon"]);
    for (text, part) in [
        ("", "names no field"),
        ("plain", "names no field"),
        ("ab{c", "character 3: `{` has no `}`"),
        ("ab}c", "character 3"),
        ("[{a}", "character 1: `[` has no `]`"),
        ("{a}]", "character 4"),
        ("[{a}[{b}]]", "do not nest"),
        ("{a}[ and]", "character 4: this part has no field"),
        ("{}", "is no field"),
        ("{a:0}", "at least 1"),
        ("{a:99999999999999999999999}", "at least 1"),
    ] {
        let error = TextTemplate::parse(text).expect_err(text);
        assert!(matches!(error, Error::Config { .. }) && error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn cleaning_is_as_written_down() {
    let html = |text: &str| Cleaning::default().apply(text);
    for (dirty, clean) in [
        ("<p>One</p><p>two<br>three</p>", "One two three"),
        ("E=mc<sup>2</sup>, <B class=\"x>y\">bold</B>er", "E=mc2, bolder"),
        ("a<!-- <b> no -->b", "a b"),
        ("a<script>if (1<2) x</SCRIPT>b<style>p{}</style>", "a b"),
        ("AT&amp;T &eacute; &#233; &#xE9; &nbsp;&lt;b&gt; &unknown; & R&D", "AT&T é é é <b> &unknown; & R&D"),
        (
            "vector<int> <me@example.org> 1 < 2 > 0 <a@b.org> <b-tree>",
            "vector<int> <me@example.org> 1 < 2 > 0 <a@b.org> <b-tree>",
        ),
        ("I <b", "I <b"),
        ("x <a href='y", "x <a href='y"),
        ("it <i title=don't>works</i>", "it works"),
        ("<!DOCTYPE html><html>hi", "hi"),
        ("e\u{301}\u{200b} \u{2028}n\u{ad}o\0t\u{1f}e\r\n", "é not e"),
        ("\u{feff}\u{3000}日本\u{3000}語 👩\u{200d}🔬", "日本 語 👩\u{200d}🔬"),
    ] {
        assert_eq!(html(dirty), clean, "{dirty:?}");
    }
    let plain = Cleaning { html: false, unicode: Unicode::None };
    assert_eq!(plain.apply("<p>\te\u{301}&amp;"), "<p> e\u{301}&amp;");
    assert_eq!(Cleaning { html: false, unicode: Unicode::Nfkc }.apply("ﬁve²"), "five2");
}

/// Text as the web has it: letters, marks, controls, white space, pieces of markup.
fn wild() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        proptest::sample::select(vec![
            "<b>",
            "</p>",
            "<!--",
            "-->",
            "<script>",
            "</script",
            "<a href=\"",
            "'",
            ">",
            "<",
            "&amp;",
            "&",
            ";",
            "e",
            "\u{301}",
            "\u{200b}",
            "\u{a8}",
            "\u{fdfa}",
            "\u{1100}",
            "\u{1161}",
            "\n",
            "\u{2028}",
            "\0",
            " ",
            "word",
            "{",
            "]",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn clean_text_is_one_normal_line(text in wild(), html: bool) {
        let clean = Cleaning { html, unicode: Unicode::Nfc }.apply(&text);
        prop_assert!(is_nfc(&clean));
        prop_assert!(!clean.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')), "{clean:?}");
        prop_assert!(!clean.contains("  ") && clean.trim() == clean, "{clean:?}");
        let plain = Cleaning { html: false, unicode: Unicode::Nfc };
        prop_assert_eq!(plain.apply(&clean), clean);
        let wide = Cleaning { html: false, unicode: Unicode::Nfkc };
        prop_assert_eq!(wide.apply(&wide.apply(&text)), wide.apply(&text));
    }

    #[test]
    fn text_without_markup_loses_nothing_to_html(text in "[^<&]*") {
        prop_assert_eq!(Cleaning::default().apply(&text), Cleaning { html: false, unicode: Unicode::Nfc }.apply(&text));
    }

    #[test]
    fn a_template_says_what_its_fields_say(text in any::<String>(), values in proptest::collection::vec(wild(), 3)) {
        let twice = |text: &str| text.chars().flat_map(|c| vec![c; if "{}[]".contains(c) { 2 } else { 1 }]).collect::<String>();
        let template = TextTemplate::parse(&format!("{}{{a}}{}{{b}}[{{c}}!]", twice(&text), twice(&text))).unwrap();
        let last = if values[2].trim().is_empty() { String::new() } else { format!("{}!", values[2]) };
        prop_assert_eq!(template.fill(&values).unwrap(), format!("{text}{}{text}{}{last}", values[0], values[1]));
    }

    #[test]
    fn any_template_is_read_or_refused(text in "[{}\\[\\]:a0 ]{0,16}") {
        if let Ok(template) = TextTemplate::parse(&text) {
            let values = vec!["é e\u{301} words"; template.fields().len()];
            template.fill(&values).unwrap();
        }
    }
}

#[test]
fn the_same_items_from_every_source_in_any_order() {
    let folder = Folder::new();
    let want = [("10", "Nano (tty, edit)"), ("9", "Vi by Bill"), ("a", "Vi by Bill")];
    let source = folder.file("items.jsonl", ROWS);
    let mut settings = prep(&source, TEMPLATE);
    settings.title = Some("name".into());
    let prepared = prepare(&settings, &()).unwrap();
    assert_eq!(pairs(&prepared), want);
    assert_eq!(prepared.items[0].title.as_deref(), Some("Nano"));
    assert_eq!((prepared.report.rows, prepared.report.items, prepared.report.duplicates), (3, 3, 2));
    assert_eq!(prepared.report.duplicate_texts[0].ids, ["9", "a"]);
    assert_eq!((prepared.report.chars, prepared.report.longest_chars), (36, 16));

    let mut lines: Vec<&str> = ROWS.lines().collect();
    lines.reverse();
    settings.source = folder.file("other.jsonl", lines.join("\n"));
    assert_eq!(prepare(&settings, &()).unwrap(), prepared);

    let csv = "by,id,name,tags\n,10,<b>Nano</b>,\"tty, edit\"\nBill,9,\"Vi\n\",\nBill,a,Vi,\n";
    settings.source = folder.file("items.csv", csv);
    assert_eq!(prepare(&settings, &()).unwrap(), prepared);
    settings.source =
        folder.file("items.tsv", "by\tid\tname\ttags\n\t10\tNano\ttty, edit\nBill\t9\tVi\t\nBill\ta\tVi\t\n");
    assert_eq!(prepare(&settings, &()).unwrap(), prepared);
}

#[test]
fn golden_jsonl() {
    let folder = Folder::new();
    let source = folder.file("items.jsonl", ROWS);
    let settings = Prep { title: Some("name".into()), max_chars: Some(12), ..prep(&source, TEMPLATE) };
    let prepared = prepare(&settings, &()).unwrap();
    let out = folder.path("out.jsonl");
    prepared.save(&out, "prepared").unwrap();
    let golden = "{\"id\":\"10\",\"title\":\"Nano\",\"text\":\"Nano (tty,\"}\n{\"id\":\"9\",\"title\":\"Vi\",\"text\":\"Vi by Bill\"}\n\
                  {\"id\":\"a\",\"title\":\"Vi\",\"text\":\"Vi by Bill\"}\n";
    assert_eq!(fs::read_to_string(&out).unwrap(), golden);
    assert_eq!(prepared.report.shortened, 1);
    // What was prepared can be prepared: it stays as it is.
    let again = prepare(&Prep { title: Some("title".into()), ..prep(&out, "{text}") }, &()).unwrap();
    assert_eq!(again.items, prepared.items);
    assert_eq!(folder.left(), ["items.jsonl", "out.jsonl"]);

    let limited = prepare(&Prep { limit: Some(2), ..settings }, &()).unwrap();
    assert_eq!((limited.items.as_slice(), limited.report.over_limit), (&prepared.items[..2], 1));
}

#[test]
fn bad_rows_are_refused_by_name_or_dropped_and_counted() {
    let folder = Folder::new();
    let case = |text: &str| prep(&folder.file("bad.jsonl", text), "{name}");
    let holes = "{\"id\":\"a\",\"name\":\"x\"}\n{\"name\":\"y\"}\n{\"id\":\" \",\"name\":\"z\"}\n{\"id\":\"d\",\"name\":\"<p> </p>\"}\n{\"id\":null}\n";
    fails(&case(holes), &["3 of 5 rows have no key in `id`", "line 2", "`on_bad = \"drop\"`"]);
    let dropped = prepare(&Prep { on_bad: OnBad::Drop, ..case(holes) }, &()).unwrap();
    assert_eq!(pairs(&dropped), [("a", "x")]);
    assert_eq!((dropped.report.without_key, dropped.report.without_text, dropped.report.rows), (3, 1, 5));
    fails(&case("{\"id\":\"d\",\"name\":\"&nbsp;\"}"), &["1 of 1 rows have an empty text", "`d` in line 1"]);
    // Only literal text is no text.
    let literal = Prep { template: "Item: {name}".into(), ..case("{\"id\":\"d\",\"name\":\"\"}") };
    fails(&literal, &["empty text"]);
    fails(&Prep { on_bad: OnBad::Drop, ..literal }, &["holds no item", "1 without a text"]);
    fails(
        &case("{\"id\":1,\"name\":\"x\"}\n{\"id\":2,\"name\":\"x\"}\n{\"id\":\"1\",\"name\":\"y\"}"),
        &["lines 1 and 3", "same key `1`", "`on_duplicate = \"first\"`"],
    );
    fails(&case("{\"id\":1,\"nam\":\"x\"}"), &["has no field `name`", "`id`, `nam`"]);
    fails(&case("{\"id\":1.5,\"name\":\"x\"}"), &["line 1", "`id` is 1.5"]);
    fails(&case("{\"id\":1,\"name\":{\"de\":\"x\"}}"), &["`name` is an object"]);
    fails(&case("{\"id\":1,\"name\":[[1]]}"), &["`name` is a list with a list"]);
    fails(&case("{\"id\":1"), &["line 1, column"]);
    fails(
        &prep(&folder.file("bad.jsonl", b"{\"id\":1,\"name\":\"x\"}\n{\"id\":2,\"name\":\"\xff\"}\n"), "{name}"),
        &["line 2 is not UTF-8"],
    );
    fails(&prep(&folder.file("bad.csv", b"id,name\n1,x\n2,\xff\n"), "{name}"), &["line 3: field 2 is not UTF-8"]);
    fails(&prep(&folder.file("bad.csv", b"id,nom\n1,x\n"), "{name}"), &["has no column `name`", "`id`, `nom`"]);
    fails(&prep(&folder.file("bad.csv", b"id,name,name\n1,x,y\n"), "{name}"), &["more than one column `name`"]);
    fails(&prep(&folder.file("bad.txt", b"x"), "{name}"), &[".jsonl", "in a .gz", "got `.txt`"]);
    fails(&prep(&folder.file("empty.jsonl", b""), "{name}"), &["is empty"]);
    fails(&prep(&folder.path("missing.jsonl"), "{name}"), &["cannot open"]);
    fails(&Prep { table: Some("t".into()), ..case(ROWS) }, &["`table`", "SQLite"]);
    fails(&Prep { max_chars: Some(0), ..case(ROWS) }, &["`max_chars`", "at least 1"]);
    fails(&Prep { table: Some("t".into()), query: Some("q".into()), ..case(ROWS) }, &["`query`"]);
    let prepared = prepare(&case(ROWS), &()).unwrap();
    assert!(matches!(prepared.save(folder.path("out.xlsx"), "t"), Err(Error::Config { .. })));
}

#[test]
fn of_rows_with_one_key_the_first_or_the_last_counts() {
    let folder = Folder::new();
    let rows = "{\"id\":\"a\",\"name\":\"x\"}\n{\"id\":\"b\",\"name\":\"y\"}\n{\"id\":\"a\",\"name\":\"z\"}\n{\"id\":\"a\",\"name\":\"w\"}\n";
    let source = folder.file("twice.jsonl", rows);
    for (on_duplicate, text) in [(OnDuplicate::First, "x"), (OnDuplicate::Last, "w")] {
        let prepared = prepare(&Prep { on_duplicate, ..prep(&source, "{name}") }, &()).unwrap();
        assert_eq!(pairs(&prepared), [("a", text), ("b", "y")]);
        assert_eq!((prepared.report.rows, prepared.report.items, prepared.report.duplicate_keys), (4, 2, 2));
    }
}

#[test]
fn dots_reach_into_objects_and_what_python_writes_is_read() {
    let folder = Folder::new();
    let rows = "{\"id\":18446744073709551616,\"title\":\"Oil \\ud83d\",\"details\":{\"Brand\":\"Acme\",\"made\":{\"in\":\"DE\"}},\"p\":NaN}\n\
                {\"id\":2,\"title\":\"Soap\",\"details\":{},\"details.Brand\":\"Own\",\"by\":[{\"n\":\"A\"},{\"n\":\"B\"}]}\n";
    let source = folder.file("nested.jsonl", rows);
    let template = "{title}[ by {details.Brand}][ from {details.made.in}][ of {by.n}]";
    let prepared = prepare(&prep(&source, template), &()).unwrap();
    assert_eq!(
        pairs(&prepared),
        [("18446744073709551616", "Oil \u{FFFD} by Acme from DE"), ("2", "Soap by Own of A, B")]
    );
    let by_brand =
        Prep { key: "details.Brand".into(), title: Some("details.made.in".into()), ..prep(&source, "{title}") };
    let prepared = prepare(&by_brand, &()).unwrap();
    assert_eq!((prepared.items[0].id.as_str(), prepared.items[0].title.as_deref()), ("Acme", Some("DE")));
    fails(&prep(&source, "{details.brand}"), &["has no field `details.brand`", "`details`"]);
    let python = folder.file("python.jsonl", "{'id': 'B1', 'title': 'Rose soap'}\n");
    fails(&prep(&python, "{title}"), &["line 1: a Python literal", "json.dumps(ast.literal_eval(line))"]);
}

#[test]
fn a_quote_that_is_not_closed_swallows_no_rows() {
    let folder = Folder::new();
    let open = folder.file("open.csv", "id,name\n1,\"never closed\n2,Two\n3,Three\n");
    fails(&prep(&open, "{name}"), &["line 2: a quote is not closed"]);
    let letters = folder.file("letters.tsv", "id\tname\n1\t\"Rocky\" Road\n2\t\"Half open\n3\tPlain\n");
    let prepared = prepare(&prep(&letters, "{name}"), &()).unwrap();
    assert_eq!(pairs(&prepared), [("1", "\"Rocky\" Road"), ("2", "\"Half open"), ("3", "Plain")]);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use rusqlite::Connection;

    fn database(folder: &Folder, sql: &str) -> PathBuf {
        let path = folder.path("shop.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    }

    const SHOP: &str = "CREATE TABLE items (id INTEGER, name TEXT, price REAL, raw BLOB);
        INSERT INTO items VALUES (2, 'Nano', 1.5, x'00'), (1, '<i>Vi</i>', NULL, NULL);
        CREATE VIEW cheap AS SELECT * FROM items WHERE price < 2;";

    #[test]
    fn tables_views_and_queries_are_read() {
        let folder = Folder::new();
        let path = database(&folder, SHOP);
        let base = Prep { table: Some("Items".into()), ..prep(&path, "{name}[ at {price}]") };
        assert_eq!(pairs(&prepare(&base, &()).unwrap()), [("1", "Vi"), ("2", "Nano at 1.5")]);
        let view = Prep { table: Some("cheap".into()), ..base.clone() };
        assert_eq!(pairs(&prepare(&view, &()).unwrap()), [("2", "Nano at 1.5")]);
        let sql = "SELECT 'k' || id AS id, upper(name) AS name, price FROM items WHERE id > 1";
        let query = Prep { table: None, query: Some(sql.into()), ..base.clone() };
        assert_eq!(pairs(&prepare(&query, &()).unwrap()), [("k2", "NANO at 1.5")]);

        fails(&Prep { table: Some("item".into()), ..base.clone() }, &["has no table `item`", "`cheap`, `items`"]);
        fails(&Prep { table: None, ..base.clone() }, &["holds 2 tables", "`table`"]);
        fails(
            &Prep { template: "{nam}".into(), ..base.clone() },
            &["has no column `nam`", "`id`, `name`, `price`, `raw`"],
        );
        fails(&Prep { template: "{raw}".into(), ..base.clone() }, &["row 1: `raw` is a blob of 1 bytes"]);
        fails(&Prep { key: "price".into(), ..base.clone() }, &["row 1: `price` is 1.5"]);
        let bad = |sql: &str| Prep { query: Some(sql.into()), ..query.clone() };
        fails(&bad("SELECT id FROM nowhere"), &["`query`", "no such table: nowhere", "`cheap`, `items`"]);
        fails(&bad("DELETE FROM items"), &["one SELECT"]);
        fails(&bad("SELECT id, name, price FROM items WHERE id = ?"), &["one SELECT"]);
        fails(&bad("SELECT id, id, name, price FROM items"), &["more than one column `id`"]);
        assert_eq!(folder.left(), ["shop.db"]);
    }

    #[test]
    fn a_database_in_write_ahead_mode_is_read_without_a_trace() {
        let folder = Folder::new();
        let path = database(&folder, &format!("PRAGMA journal_mode = WAL; {SHOP}"));
        assert_eq!(folder.left(), ["shop.db"], "uninformative: the log is still there");
        let before = fs::read(&path).unwrap();
        let base = Prep { table: Some("items".into()), ..prep(&path, "{name}") };
        assert_eq!(pairs(&prepare(&base, &()).unwrap()), [("1", "Vi"), ("2", "Nano")]);
        assert_eq!(folder.left(), ["shop.db"]);
        assert!(fs::read(&path).unwrap() == before);
        // With a log, whoever writes has it open: what is in the log is read too.
        let db = Connection::open(&path).unwrap();
        db.execute_batch("INSERT INTO items (id, name) VALUES (3, 'Ed')").unwrap();
        assert!(folder.left().contains(&"shop.db-wal".to_owned()), "uninformative: there is no log");
        assert_eq!(prepare(&base, &()).unwrap().items.len(), 3);
        drop(db);
        assert_eq!(folder.left(), ["shop.db"]);
    }

    #[test]
    fn broken_text_locks_and_damage_are_named() {
        let folder = Folder::new();
        let path = database(
            &folder,
            "CREATE TABLE t (id TEXT, name TEXT);
            INSERT INTO t VALUES ('a', 'fine'), ('b', CAST(x'6162ff' AS TEXT)), (NULL, 'z');",
        );
        let settings = prep(&path, "{name}");
        fails(&settings, &["row 2: `name` is not UTF-8 from byte 3 on"]);
        let db = Connection::open(&path).unwrap();
        db.execute_batch("DELETE FROM t WHERE id = 'b'").unwrap();
        fails(&settings, &["1 of 2 rows have no key", "row 2"]);
        db.execute_batch("UPDATE t SET id = 'a'; BEGIN EXCLUSIVE").unwrap();
        fails(&settings, &["is locked by another process"]);
        db.execute_batch("COMMIT").unwrap();
        fails(&settings, &["rows 1 and 2", "same key `a`"]);
        fails(&prep(&folder.file("no.sqlite", vec![7u8; 4096]), "{name}"), &["is no SQLite database"]);
        fails(&prep(&folder.path("none.sqlite"), "{name}"), &["none.sqlite"]);
        assert!(!folder.path("none.sqlite").exists());
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(5000);
        bytes[4096..].fill(0xff);
        fails(&prep(&folder.file("torn.db", bytes), "{name}"), &["torn.db"]);
        Connection::open(folder.path("bare.db")).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
        fails(&prep(&folder.path("bare.db"), "{name}"), &["holds no table"]);
    }

    fn kept(path: &Path, table: &str) -> Vec<(String, String, Option<String>, String)> {
        let db = Connection::open(path).unwrap();
        let mut select =
            db.prepare(&format!("SELECT id, text, title, prepared_at FROM \"{table}\" ORDER BY id")).unwrap();
        let rows = select.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn a_table_gains_what_changed_and_nothing_else() {
        let folder = Folder::new();
        let source = folder.file("items.jsonl", ROWS);
        let settings = prep(&source, TEMPLATE);
        let first = prepare(&settings, &()).unwrap();
        let out = folder.path("out.sqlite");
        let saved = first.save(&out, "my \"table\"").unwrap();
        assert_eq!((saved.added, saved.changed, saved.removed, saved.unchanged), (3, 0, 0, 0));
        let table = "my \"\"table\"\"";
        assert_eq!(kept(&out, table)[0].1, "Nano (tty, edit)");
        Connection::open(&out).unwrap().execute_batch(&format!("UPDATE \"{table}\" SET prepared_at = 'then'")).unwrap();

        let before = fs::read(&out).unwrap();
        assert_eq!(first.save(&out, "my \"table\"").unwrap().unchanged, 3);
        assert!(fs::read(&out).unwrap() == before, "nothing changed, and yet the file did");

        folder.file("items.jsonl", ROWS.replace("\"a\"", "\"A\"").replace("Vi\\n", "Vim"));
        let saved = prepare(&settings, &()).unwrap().save(&out, "my \"table\"").unwrap();
        assert_eq!((saved.added, saved.changed, saved.removed, saved.unchanged), (1, 1, 1, 1));
        let rows = kept(&out, table);
        assert_eq!(
            rows.iter().map(|r| (r.0.as_str(), r.1.as_str(), r.3 == "then")).collect::<Vec<_>>(),
            [("10", "Nano (tty, edit)", true), ("9", "Vim by Bill", false), ("A", "Vi by Bill", false),]
        );
        assert_eq!(folder.left(), ["items.jsonl", "out.sqlite"]);
    }

    #[test]
    fn a_table_that_is_not_ours_or_locked_stays() {
        let folder = Folder::new();
        let source = folder.file("items.jsonl", ROWS);
        let prepared = prepare(&prep(&source, TEMPLATE), &()).unwrap();
        let path = database(&folder, SHOP);
        let before = fs::read(&path).unwrap();
        let refused = |parts: &[&str]| {
            let text = prepared.save(&path, "items").expect_err("accepted").to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert!(fs::read(&path).unwrap() == before);
        };
        refused(&["`items` has the columns `id`, `name`, `price`, `raw`", "name another table"]);
        prepared.save(&path, "prepared").unwrap();
        let again = Prep { table: Some("prepared".into()), ..prep(&path, "{text}") };
        assert_eq!(prepare(&again, &()).unwrap().items, prepared.items);
        let db = Connection::open(&path).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let text = prepared.save(&path, "prepared").expect_err("accepted").to_string();
        assert!(text.contains("is locked"), "{text}");
        // A new file that cannot be filled is not left behind.
        assert!(prepared.save(folder.path("new.sqlite"), "sqlite_own").is_err());
        assert!(prepared.save(folder.path("no/such.sqlite"), "t").is_err());
        assert_eq!(folder.left(), ["items.jsonl", "shop.db"]);
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_goes_out_and_comes_back() {
    let folder = Folder::new();
    let source = folder.file("items.jsonl", ROWS);
    for title in [None, Some("name".to_owned())] {
        let prepared = prepare(&Prep { title: title.clone(), ..prep(&source, TEMPLATE) }, &()).unwrap();
        let (a, b) = (folder.path("a.parquet"), folder.path("b.parquet"));
        prepared.save(&a, "prepared").unwrap();
        prepared.save(&b, "prepared").unwrap();
        assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
        let again = prepare(&Prep { title: title.map(|_| "title".into()), ..prep(&a, "{text}") }, &()).unwrap();
        assert_eq!(again.items, prepared.items);
        fails(&prep(&a, "{name}"), &["has no column `name`", "`id`, `text`, `title`"]);
    }
    let mut bytes = fs::read(folder.path("a.parquet")).unwrap();
    bytes.truncate(bytes.len() / 2);
    fails(&prep(&folder.file("torn.parquet", bytes), "{text}"), &["torn.parquet"]);
}
