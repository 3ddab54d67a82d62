//! The page's search, in a browser: what is typed is found, offline, whatever the titles hold.

use crate::page::{HOSTILE, Made, words};
use sememe_run::page::render;
use sememe_testkit::chromium::Chromium;
use serde_json::Value;

const READY: &str = "document.getElementById('ask').dataset.ready";
const TOLD: &str = "document.getElementById('told').textContent";
/// Heading, IDs and texts of every group of one side.
const GROUPS: &str = "[...document.querySelectorAll('#SIDE .group')].map(group => [group.querySelector('h3').textContent, \
                      [...group.querySelectorAll('li')].map(li => [li.querySelector('code').textContent, \
                      [...li.querySelectorAll('bdi')].map(part => part.textContent)])])";

/// A heading, and the ID and texts of every item under it.
type Group = (String, Vec<(String, Vec<String>)>);

/// The groups of a side of what was found.
fn groups(browser: &mut Chromium, side: &str) -> Vec<Group> {
    serde_json::from_value(browser.value(&GROUPS.replace("SIDE", side))).expect("groups")
}

/// An ID as the page writes it.
fn written(id: &[u32]) -> String {
    let codes = if id.last() == Some(&0) { &id[..id.len() - 1] } else { id };
    plain(codes)
}

/// First codes of an ID in plain form.
fn plain(codes: &[u32]) -> String {
    codes.iter().map(u32::to_string).collect::<Vec<_>>().join("-")
}

/// Rows in the order of their IDs.
fn by_id(made: &Made) -> Vec<usize> {
    let mut order: Vec<usize> = (0..made.keys.len()).collect();
    order.sort_by_key(|row| made.ids.row(*row).to_vec());
    order
}

/// IDs of the rows that share `depth` codes with `id` and no more (all that share it if `depth` is `whole`), `id` itself left out.
fn sharing(made: &Made, id: &[u32], depth: usize, whole: usize) -> Vec<String> {
    let shared = |row: &usize| {
        let same = made.ids.row(*row).iter().zip(id).take_while(|(a, b)| a == b).count();
        made.ids.row(*row) != id && same.min(whole) == depth
    };
    by_id(made).iter().filter(|row| shared(row)).map(|row| written(made.ids.row(*row))).collect()
}

#[test]
fn what_is_typed_is_found_with_its_neighbours() {
    let Some(mut browser) = Chromium::start() else { return };
    let titles = |i: usize| match i {
        0 => "Crème Brûlée".to_string(),
        1 => "ΟΔΟΣ street".to_string(),
        2 => "the one and only zebra".to_string(),
        40 => "2048, a game".to_string(),
        i if i < 3 + HOSTILE.len() => HOSTILE[i - 3].to_string(),
        i => words(i),
    };
    let made = Made::new(2000, &[6, 5, 4], titles);
    let mut page = made.page();
    page.items_shown = 500;
    browser.open(&render(&page).unwrap(), "", READY);

    // A whole ID, in plain form and as text: its items, then those around it, nearest first.
    let id = made.ids.row(77).to_vec();
    let own: Vec<String> =
        by_id(&made).iter().map(|row| made.ids.row(*row)).filter(|other| other[..3] == id[..3]).map(written).collect();
    let text = format!("<L1_{}> <L2_{}> <L3_{}>", id[0], id[1], id[2]);
    for typed in [plain(&id[..3]), text.clone(), text.to_lowercase(), format!("[{}, {}, {}]", id[0], id[1], id[2])] {
        browser.type_text(&typed);
        assert_eq!(browser.text(TOLD), format!("{} items on {}-{}-{}.", own.len(), id[0], id[1], id[2]), "{typed}");
        let hits = groups(&mut browser, "hits");
        let shown: Vec<String> = hits[0].1.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(shown, own[..own.len().min(20)], "{typed}");
        let near = groups(&mut browser, "near");
        assert_eq!(near.len(), 2);
        for (group, depth) in near.iter().zip([2, 1]) {
            let all = sharing(&made, &id, depth, 3);
            assert!(group.0.starts_with(&format!("{} items", all.len())), "{} of {}", group.0, all.len());
            let shown: Vec<String> = group.1.iter().map(|(id, _)| id.clone()).collect();
            assert_eq!(shown, all[..10], "the first of those that share {depth}");
        }
    }

    // A prefix, typed on; one that no item has; a code past its codebook; a counter.
    let under = |prefix: &[u32]| by_id(&made).iter().filter(|row| made.ids.row(**row).starts_with(prefix)).count();
    for typed in
        [format!("{}-{}", id[0], id[1]), format!("{}-{}-", id[0], id[1]), format!("<L1_{}> <L2_{}> <L", id[0], id[1])]
    {
        browser.type_text(&typed);
        assert_eq!(browser.text(TOLD), format!("{} items under {}-{}.", under(&id[..2]), id[0], id[1]), "{typed}");
    }
    browser.type_text("3-99");
    let said = browser.text(TOLD);
    assert_eq!(said, format!("No item has 3-99; codes of level 2 are 0 to 4; {} items share 3.", under(&[3])));
    let counted = by_id(&made).into_iter().find(|row| made.ids.row(*row)[3] == 1).expect("a collision");
    browser.type_text(&written(made.ids.row(counted)));
    assert_eq!(groups(&mut browser, "hits")[0].1[0].1.last(), Some(&made.keys[counted]));

    // Titles and keys: whole, in part, without case and accents, by words in any order.
    for (typed, row) in [
        ("creme brulee", 0),
        ("CRÈME", 0),
        ("οδος", 1),
        ("ΟΔΟΣ STREET", 1),
        ("zebra only", 2),
        ("the one and only zebra", 2),
        ("key-77", 77),
        ("2048", 40),
        ("family", 3 + 8),
        ("fi fam", 3 + 8),
        ("שלום", 3 + 5),
        ("onerror", 3 + 1),
        ("</script>", 3),
    ] {
        browser.type_text(typed);
        let hits = groups(&mut browser, "hits");
        assert_eq!(hits[0].1[0].0, written(made.ids.row(row)), "{typed}: {hits:?}");
        let near: Vec<String> =
            groups(&mut browser, "near").into_iter().flat_map(|group| group.1).map(|i| i.0).collect();
        let id = made.ids.row(row);
        let want: Vec<String> = [3, 2, 1].iter().flat_map(|d| sharing(&made, id, *d, 3).into_iter().take(10)).collect();
        assert_eq!(near, want, "{typed}");
    }
    browser.type_text("key-7");
    let want = made.keys.iter().filter(|key| key.contains("key-7")).count();
    assert_eq!(browser.text(TOLD), format!("{want} items of 2,000 match."));
    assert_eq!(groups(&mut browser, "hits")[0].1[0].1.last().map(String::as_str), Some("key-7"), "the equal one first");
    browser.type_text("3");
    let want = made.keys.iter().chain(&made.titles).filter(|text| text.contains('3')).count();
    assert_eq!(browser.text(TOLD), format!("{} items under 3. {want} items have that text.", under(&[3])));
    browser.type_text("no such thing");
    assert_eq!(browser.text(TOLD), "None of 2,000 items matches “no such thing”.");
    assert!(groups(&mut browser, "hits").is_empty() && groups(&mut browser, "near").is_empty());
    browser.type_text("");
    assert_eq!(browser.text(TOLD), "");

    // By keyboard: on to the results, the neighbours of another one, more of them.
    browser.type_text("key-1");
    browser.value("document.querySelectorAll('#hits button.id')[3].focus()");
    browser.key("Enter", 13, "\r");
    let chosen = browser.text("document.querySelector('#hits [aria-pressed=true]').textContent");
    assert_eq!(chosen, groups(&mut browser, "hits")[0].1[3].0);
    assert!(browser.text("document.activeElement.textContent").starts_with("Neighbours of "));
    browser.value("document.querySelector('#hits .more').click()");
    assert_eq!(groups(&mut browser, "hits")[0].1.len(), 110);

    // What the tree does not list is one click away.
    let more = browser.text("document.querySelector('#tree [data-rest] button').dataset.query");
    browser.value("document.querySelector('#tree [data-rest] button').click()");
    assert_eq!(browser.text("document.getElementById('query').value"), more);
    assert!(browser.text(TOLD).contains(&more));
    assert_eq!(browser.value("window.hacked === undefined"), Value::Bool(true));
    browser.was_quiet();

    browser.open(&render(&made.page()).unwrap(), "#find=zebra", READY);
    assert_eq!(browser.text(TOLD), "1 item of 2,000 matches.", "a search is part of the address");
    browser.was_quiet();
}

#[test]
fn sixty_thousand_items_are_searched() {
    let Some(mut browser) = Chromium::start() else { return };
    let made = Made::new(63_436, &[256, 256, 256], words);
    let page = render(&made.page()).unwrap();
    browser.open(&page, "", READY);
    let id = made.ids.row(40_000).to_vec();
    let count = |wanted: &str| {
        let holds = |row: &usize| made.titles[*row].contains(wanted) || made.keys[*row].contains(wanted);
        (0..made.keys.len()).filter(holds).count()
    };
    let mut slowest: f64 = 0.0;
    for (typed, matches) in [
        (plain(&id[..3]), None),
        (plain(&id[..1]), None),
        ("key-40000".into(), Some(count("key-40000"))),
        ("e".into(), Some(count("e"))),
        ("ba".into(), Some(count("ba"))),
        (made.titles[7].clone(), Some(count(&made.titles[7]))),
        ("NICHTS".into(), Some(0)),
        ("日本".into(), Some(0)),
    ] {
        for _ in 0..5 {
            browser.type_text("");
            browser.type_text(&typed);
            let ms = browser.text("document.getElementById('told').dataset.ms");
            slowest = slowest.max(ms.parse().unwrap());
        }
        let told = browser.text(TOLD);
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<usize>();
        match matches {
            None => assert!(told.contains(&typed), "{told}"),
            Some(0) => assert!(told.starts_with("None of 63,436"), "{told}"),
            Some(n) => assert_eq!(digits(told.split(' ').next().unwrap()).unwrap(), n, "{typed}: {told}"),
        }
    }
    eprintln!("63,436 items, {} bytes: the slowest search took {slowest} ms", page.len());
    browser.was_quiet();
}

#[test]
fn a_browser_that_cannot_unpack_says_so() {
    let Some(mut browser) = Chromium::start() else { return };
    let source = serde_json::json!({ "source": "delete window.DecompressionStream" });
    browser.ask("Page.addScriptToEvaluateOnNewDocument", source);
    let made = Made::new(60, &[4, 4], words);
    browser.open(&render(&made.page()).unwrap(), "", "document.getElementById('query').disabled");
    assert!(browser.text(TOLD).contains("it has no DecompressionStream"));
    assert_eq!(browser.value("document.getElementById('filter').hidden"), Value::Bool(false), "the tree's own filter");
    // The tree is filtered after a pause in typing.
    browser.value(&format!(
        "(find => {{ find.value = '{}'; find.dispatchEvent(new Event('input')); }})(document.getElementById('find'))",
        made.titles[5]
    ));
    let found = "new Promise(done => setTimeout(() => done(document.querySelectorAll('#tree li.hit').length), 500))";
    assert!(browser.value(found).as_u64() >= Some(1));
    browser.was_quiet();

    // A table that was damaged on the way is found out.
    let page = render(&made.page()).unwrap();
    let begin = page.find("type=\"text/plain\">").unwrap() + 18;
    let broken = format!("{}AAAA{}", &page[..begin + 40], &page[begin + 44..]);
    let Some(mut browser) = Chromium::start() else { return };
    browser.open(&broken, "", "document.getElementById('query').disabled");
    assert!(browser.text(TOLD).starts_with("The items cannot be unpacked"), "{}", browser.text(TOLD));
}
