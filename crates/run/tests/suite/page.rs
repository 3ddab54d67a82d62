//! The page of a whole run: sections, what is packed into it, sizes, what is refused.

use base64::Engine as _;
use sememe::eval::{EvalOptions, Evaluation, FactSection, PreviousRun, RecallFigures, Subject, judge, measure_churn};
use sememe::ids::{Style, TextFormat, resolve};
use sememe::progress::{EpochReport, Health, LevelHealth, Losses};
use sememe::{Codec, Codes, Device, Error, Matrix, RqKMeans, rng};
use sememe_run::page::{RunPage, read_epochs, render};
use sememe_testkit::html::{assert_well_formed, shell};
use std::io::Read as _;

/// What a page is made of.
pub(crate) struct Made {
    pub(crate) keys: Vec<String>,
    pub(crate) titles: Vec<String>,
    pub(crate) codes: Codes,
    pub(crate) sizes: Vec<usize>,
    pub(crate) ids: Codes,
    pub(crate) format: TextFormat,
    pub(crate) evaluation: Evaluation,
}

/// Texts that must stay texts.
pub(crate) const HOSTILE: [&str; 12] = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=\"window.hacked=1\">",
    "\"' onmouseover='window.hacked=1' x=\"",
    "--><!--",
    "&lt;b&gt; &amp; ]]>",
    "שלום עולם",
    "\u{202e}turned\u{202c}",
    "a\u{0}b\tc\nd\u{1b}[31m",
    "👩‍👩‍👧‍👦 family, Ünïcödé ﬁ",
    "",
    "   ",
    "\\u003cscript\\u003e ${1+1} `x`",
];

impl Made {
    /// `count` items on random codes, numbered where they collide.
    pub(crate) fn new(count: usize, sizes: &[usize], title: impl Fn(usize) -> String) -> Self {
        let mut stream = rng::stream(5, "page", count as u64);
        let draw = (0..count).flat_map(|_| sizes.iter().map(|k| stream.below(*k as u64) as u32).collect::<Vec<_>>());
        let codes = Codes::from_vec(count, sizes.len(), draw.collect()).unwrap();
        let keys: Vec<String> = (0..count).map(|i| format!("key-{i}")).collect();
        let ids = resolve::number(&keys, &codes).unwrap().codes;
        Self {
            titles: (0..count).map(title).collect(),
            keys,
            sizes: sizes.to_vec(),
            ids,
            format: TextFormat::preset(Style::Animind, sizes).unwrap().with_counter().unwrap(),
            evaluation: judge(&Subject::new(&codes, sizes), &EvalOptions::default()).unwrap(),
            codes,
        }
    }

    pub(crate) fn page(&self) -> RunPage<'_> {
        let (codes, ids) = ((&self.codes, self.sizes.as_slice()), (&self.ids, &self.format));
        let mut page = RunPage::new("A run", &self.keys, codes, ids, &self.evaluation);
        page.titles = &self.titles;
        page
    }
}

/// A title of a few words out of two hundred.
pub(crate) fn words(i: usize) -> String {
    let mut stream = rng::stream(6, "title", i as u64);
    let word = |n: u64| -> String {
        let syllables = ["ba", "ke", "li", "mo", "nu", "ra", "si", "to", "ve", "zu"];
        (0..3).map(|p| syllables[(n / 10u64.pow(p) + u64::from(p) * 3) as usize % 10]).collect()
    };
    (0..5 + i % 3).map(|_| word(stream.below(200))).collect::<Vec<_>>().join(" ")
}

fn epochs(count: u64, levels: usize) -> Vec<EpochReport> {
    let level = |level, e: u64| LevelHealth {
        level,
        codebook_size: 16,
        utilisation: 1.0,
        perplexity: 8.0 + e as f64 / 100.0 + level as f64,
        distinct: 0.9,
        squared_l2: 0.1,
        r2: None,
    };
    let health = |e: u64| Health {
        rows: 90,
        r2: 1.0 - 1.0 / (e + 1) as f64,
        validation_r2: Some(0.5),
        collision_rate: 0.5 / e as f64,
        levels: (0..levels).map(|l| level(l, e)).collect(),
        shared: None,
    };
    let report = |e: u64| EpochReport {
        epoch: e,
        epochs: count,
        step: 10 * e,
        learning_rate: 1e-3,
        losses: Losses {
            total: 100.0 / e as f64,
            reconstruction: 2.0,
            quantizer: vec![0.1; levels],
            ..Losses::default()
        },
        restarted: u64::from(e == 1),
        health: (e % 2 == 1).then(|| health(e)),
        best: e == count,
        rows_per_second: 0.0,
    };
    (1..=count).map(report).collect()
}

/// The packed table, read by another hand: header, IDs in order, columns of texts.
fn unpacked(page: &str) -> (serde_json::Value, Vec<Vec<u32>>, Vec<Vec<String>>) {
    let begin = page.find("<script id=\"items\" type=\"text/plain\">").expect("items") + 37;
    let text = &page[begin..begin + page[begin..].find('<').unwrap()];
    let packed = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    let size = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let head: serde_json::Value = serde_json::from_slice(&bytes[4..4 + size]).unwrap();
    let number = |key: &str| head[key].as_u64().unwrap() as usize;
    let (items, width) = (number("items"), number("width"));
    let mut rest = &bytes[4 + size..];
    let lengths = head["streams"].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize);
    let mut streams: Vec<&[u8]> = Vec::new();
    for length in lengths {
        let (this, after) = rest.split_at(length);
        streams.push(this);
        rest = after;
    }
    assert!(rest.is_empty());
    let mut numbers: Vec<std::vec::IntoIter<u32>> = streams[1..=width]
        .iter()
        .map(|stream| {
            let groups = stream.split_inclusive(|byte| *byte < 128);
            let value = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |v, b| v << 7 | u32::from(b & 127));
            groups.map(value).collect::<Vec<_>>().into_iter()
        })
        .collect();
    let mut ids: Vec<Vec<u32>> = Vec::new();
    for shared in &streams[0][..items] {
        let shared = usize::from(*shared);
        let mut id = ids.last().map_or(Vec::new(), |id| id[..shared].to_vec());
        for level in shared..width {
            let base = if level == shared { ids.last().map_or(0, |id| id[level]) } else { 0 };
            id.push(base + numbers[level].next().unwrap());
        }
        ids.push(id);
    }
    let texts =
        streams[1 + width..].iter().map(|s| std::str::from_utf8(s).unwrap().split('\n').map(str::to_owned).collect());
    let texts = texts.collect();
    (head, ids, texts)
}

#[test]
fn every_section_is_there_where_it_has_data() {
    let made = Made::new(90, &[5, 4], words);
    let bare = render(&made.page()).unwrap();
    let headings = ["What went in", "Training", "Recall against what users did", "Since the run before"];
    for heading in headings {
        assert!(!bare.contains(&format!("<h2>{heading}")), "{heading}");
    }
    let draw = &mut rng::stream(2, "page.rows", 0);
    let rows = Matrix::from_vec(90, 3, (0..270).map(|_| draw.normal() as f32).collect()).unwrap();
    let config = RqKMeans { codebook_sizes: vec![5, 4], ..RqKMeans::default() };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
    let before = Made::new(91, &[5, 4], words);
    let old = Codes::from_vec(90, 2, before.codes.as_slice()[..180].to_vec()).unwrap();
    let churn = measure_churn(&old, &made.codes).unwrap();
    let told = epochs(30, 2);
    for epochs in [&told[..], &told[..1], &[]] {
        let mut page = made.page();
        page.sections = vec![FactSection {
            title: "Sources".into(),
            facts: vec![
                ("items".into(), "90".into()),
                ("hash".into(), "a1".repeat(32)),
                ("nothing".into(), String::new()),
            ],
        }];
        page.notes = vec!["look at `--levels`".into()];
        (page.training, page.epochs) = (Some(&codec.manifest().training), epochs);
        let facts = vec![("minimum support".into(), "2".into())];
        page.recall =
            Some(RecallFigures { k: 20, recall: 0.25, ndcg: Some(0.125), by_chance: Some(0.01), items: 80, facts });
        page.since = Some(PreviousRun { name: "runs/monday", churn: &churn, added: 3, gone: 0 });
        let page = render(&page).unwrap();
        assert_well_formed(&page);
        for heading in headings {
            assert!(page.contains(&format!("<h2>{heading}")), "{heading}");
        }
        let parts = [
            "Find an item",
            "The tree of prefixes",
            "Load of every codeword",
            "Collisions before and after",
            "Recall@20",
            "25.0\u{a0}%",
            "0.1250",
            "runs/monday",
            "<code>--levels</code>",
            "Reseeded",
            "minimum support",
        ];
        for part in parts {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.contains("Inertia by level"), epochs.is_empty());
        assert_eq!(page.contains("Collision rate</h3>"), !epochs.is_empty());
        assert_eq!(page.contains("the best was epoch 30"), epochs.len() == 30);
        let low = shell(&page).to_lowercase();
        for loading in [
            "src=", "href=", "url(", "@import", "http://", "https://", "fetch(", "<link", ">nan", "nan%", "inf%",
            "eval(",
        ] {
            assert!(!low.contains(loading), "`{loading}` in the page");
        }
        assert!(low.contains("default-src 'none'"));
    }
    // Every label of an input or button is a text or said.
    assert!(bare.contains("<label for=\"query\">") && bare.contains("aria-live=\"polite\""));
}

#[test]
fn what_is_packed_comes_back_by_id() {
    for (count, sizes) in [(1, vec![1]), (2, vec![1, 1]), (300, vec![3, 300, 2]), (50, vec![2; 9]), (40, vec![70_000])]
    {
        let made = Made::new(count, &sizes, |i| HOSTILE[i % HOSTILE.len()].to_string());
        let text = render(&made.page()).unwrap();
        assert_well_formed(&text);
        let (head, ids, texts) = unpacked(&text);
        assert_eq!((head["levels"].as_u64(), head["counter"].as_bool()), (Some(sizes.len() as u64), Some(true)));
        assert_eq!(head["columns"], serde_json::json!(["key", "title"]));
        assert_eq!(head["spelling"]["tokens"][0]["before"], "<L1_");
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| made.ids.row(*a).cmp(made.ids.row(*b)));
        assert_eq!(ids.len(), count);
        for (at, row) in order.into_iter().enumerate() {
            assert_eq!(ids[at], made.ids.row(row), "{count} × {sizes:?}, item {at}");
            assert_eq!(texts[0][at], made.keys[row]);
            assert!(!texts[1][at].contains(|c: char| c.is_control() || c == '\u{202e}'));
            if !made.titles[row].contains(|c: char| c.is_control() || c == '\u{202e}') {
                assert_eq!(texts[1][at], made.titles[row].trim());
            }
        }
        assert_eq!(text, render(&made.page()).unwrap(), "the same input gives the same bytes");
    }
}

#[test]
fn data_cannot_leave_its_place() {
    let made = Made::new(HOSTILE.len(), &[2, 2], |i| HOSTILE[i].to_string());
    let mut page = made.page();
    let facts: Vec<(String, String)> = HOSTILE.iter().map(|text| (text.to_string(), text.to_string())).collect();
    page.sections = HOSTILE.iter().map(|text| FactSection { title: text.to_string(), facts: facts.clone() }).collect();
    page.notes = HOSTILE.iter().map(ToString::to_string).collect();
    page.title = HOSTILE[0];
    let churn = measure_churn(&made.codes, &made.codes).unwrap();
    page.since = Some(PreviousRun { name: HOSTILE[1], churn: &churn, added: 0, gone: 0 });
    page.recall = Some(RecallFigures { facts, ..RecallFigures::default() });
    let text = render(&page).unwrap();
    assert_well_formed(&text);
    assert_eq!(text.matches("<script").count(), 2, "the items and the page's own script");
    assert!(!text.contains("<img") && text.contains("&lt;img src=x"));
    assert!(!text.contains(['\u{0}', '\u{1b}', '\u{202e}']));
    // A blank title gives way to the key.
    let blank = (0..HOSTILE.len()).filter(|i| HOSTILE[*i].trim().is_empty());
    for i in blank {
        assert!(text.contains(&format!("<b>key-{i}</b>")), "{i}");
    }
}

#[test]
fn sixty_thousand_items_fit_with_all_their_titles() {
    let made = Made::new(63_436, &[256, 256, 256], words);
    let page = made.page();
    let text = render(&page).unwrap();
    eprintln!("63,436 items: {} bytes", text.len());
    assert!(text.len() <= 5_000_000, "{}", text.len());
    assert!(!text.contains("characters are looked at"));
    let (_, _, texts) = unpacked(&text);
    let mut titles: Vec<&str> = texts[1].iter().map(String::as_str).collect();
    let mut given: Vec<&str> = made.titles.iter().map(String::as_str).collect();
    titles.sort_unstable();
    given.sort_unstable();
    assert!(titles == given);
}

#[test]
fn titles_are_cut_and_then_left_out_where_they_do_not_fit() {
    let mut stream = rng::stream(1, "page.noise", 0);
    let noise: Vec<String> =
        (0..4000).map(|_| (0..300).map(|_| char::from(b'a' + stream.below(26) as u8)).collect()).collect();
    let made = Made::new(4000, &[64, 64], |i| noise[i].clone());
    let mut page = made.page();
    // Letters drawn apart take 4.7 bits, and base64 a third more: 4,000 titles of 200 characters are 630 kB.
    for (max_bytes, said) in [
        (5_000_000, ""),
        (700_000, "first 100 characters"),
        (450_000, "first 60 characters"),
        (110_000, "no room for titles"),
        (60_000, "are too many for a page of 60,000 bytes"),
    ] {
        page.max_bytes = max_bytes;
        let text = render(&page).unwrap();
        assert!(text.len() <= max_bytes, "{} of {max_bytes}", text.len());
        assert!(text.contains(said), "{said}");
        assert_well_formed(&text);
        assert_eq!(text.contains("<script id=\"items\""), max_bytes > 60_000);
        assert_eq!(
            text.contains("id=\"filter\">"),
            max_bytes == 60_000,
            "the tree's own filter where nothing else finds"
        );
    }
}

#[test]
fn no_item_one_item_and_no_titles() {
    let one = Made::new(1, &[3], |_| "alone".into());
    let text = render(&one.page()).unwrap();
    assert!(text.contains("1 item named by 1 distinct ID") && text.contains("its own codes"), "{text}");
    let mut untitled = one.page();
    untitled.titles = &[];
    let text = render(&untitled).unwrap();
    assert!(text.contains("<b>key-0</b>") && text.contains("or a key"));
    assert_eq!(unpacked(&text).0["columns"], serde_json::json!(["key"]));

    // Nothing is judged of no items, but a page of an empty run is still a page.
    let evaluation = Evaluation { rows: 0, unique_ids: 0, max_bucket: 0, ..one.evaluation.clone() };
    let (codes, ids) = (Codes::zeros(0, 1), Codes::zeros(0, 2));
    let text = render(&RunPage::new("Empty", &[], (&codes, &[3]), (&ids, &one.format), &evaluation)).unwrap();
    assert_well_formed(&text);
    let low = text.to_lowercase();
    assert!(!low.contains(">nan") && !low.contains("nan%") && !low.contains("inf"), "{text}");
    assert!(text.contains("0 items named by 0 distinct IDs"));
}

#[test]
fn a_further_level_is_no_counter() {
    let made = Made::new(40, &[3, 2], words);
    let most = made.ids.iter().map(|id| id[2]).max().unwrap() as usize;
    let format = TextFormat::preset(Style::Animind, &[3, 2, most + 1]).unwrap();
    let mut page = made.page();
    page.format = &format;
    let (head, ids, _) = unpacked(&render(&page).unwrap());
    assert_eq!(
        (head["levels"].as_u64(), head["width"].as_u64(), head["counter"].as_bool()),
        (Some(3), Some(3), Some(false))
    );
    assert_eq!(ids.len(), 40);
}

#[test]
fn a_page_refuses_what_does_not_fit() {
    let made = Made::new(10, &[4, 4], words);
    macro_rules! refused {
        ($($field:ident = $value:expr),+) => {{
            let mut page = made.page();
            $(page.$field = $value;)+
            render(&page).unwrap_err()
        }};
    }
    let few = &made.titles[..9];
    assert!(matches!(refused!(titles = few), Error::Shape { expected: 10, got: 9, .. }));
    assert!(matches!(refused!(keys = &made.keys[..9]), Error::Shape { expected: 10, got: 9, .. }));
    let twice: Vec<String> = (0..10).map(|i| (i % 9).to_string()).collect();
    assert!(refused!(keys = &twice).to_string().contains("the same key `0`"));
    assert!(matches!(refused!(ids = &made.codes), Error::Shape { what: "levels", expected: 3, got: 2, .. }));
    let plain = TextFormat::preset(Style::Plain, &[4, 4]).unwrap();
    assert!(matches!(refused!(format = &plain), Error::Shape { what: "levels", expected: 2, got: 3, .. }));
    let (wide, long) = (Codes::zeros(10, 4), Codes::zeros(11, 3));
    let format = TextFormat::preset(Style::Plain, &[4; 4]).unwrap();
    let error = refused!(ids = &wide, format = &format).to_string();
    assert!(error.contains("expected levels = 2, got 4"), "{error}");
    assert!(matches!(refused!(ids = &long), Error::Shape { what: "rows", expected: 10, got: 11, .. }));
    let other = Made::new(11, &[4, 4], words);
    let churn = measure_churn(&other.codes, &other.codes).unwrap();
    let error = refused!(since = Some(PreviousRun { name: "x", churn: &churn, added: 0, gone: 0 })).to_string();
    assert!(error.contains("11 items are compared") && error.contains("there are 10"), "{error}");
}

#[test]
fn epochs_are_read_from_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut text = String::from("{\"kind\":\"step\",\"step\":1}\n");
    for report in epochs(3, 2) {
        let mut line = serde_json::to_value(&report).unwrap();
        line["kind"] = "epoch".into();
        text.push_str(&format!("{line}\n"));
    }
    std::fs::write(&path, &text).unwrap();
    assert_eq!(read_epochs(&path).unwrap(), epochs(3, 2));
    std::fs::write(&path, format!("{text}{{\"kind\":\"epoch\",\"epoch\":\"x\"}}\n")).unwrap();
    let error = read_epochs(&path).unwrap_err().to_string();
    assert!(error.contains("line 5") && error.contains("metrics.jsonl"), "{error}");
    assert!(read_epochs(folder.path().join("other.jsonl")).is_err());
}
