//! Text forms: each preset's text to the letter, exact inverses, and refusal of everything else with its place.

use proptest::prelude::*;
use sememe::Error;
use sememe::ids::{IdTemplate, Style, TextFormat};

const SIZES: [usize; 3] = [256, 300, 64];

fn preset(style: Style) -> TextFormat {
    TextFormat::preset(style, &SIZES).expect("a preset")
}

/// Where and why a text is refused.
#[track_caller]
fn fault(format: &TextFormat, text: &str) -> (usize, String) {
    match format.parse(text) {
        Err(Error::Text { column, problem, .. }) => (column, problem),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[track_caller]
fn refused(template: IdTemplate, sizes: &[usize], part: &str) {
    let error = TextFormat::new(template, sizes).expect_err("refused");
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
    assert!(error.to_string().contains(part), "{part:?} is not in {error}");
}

fn token(token: &str) -> IdTemplate {
    IdTemplate { token: token.into(), ..IdTemplate::default() }
}

#[test]
fn presets_are_spelled_to_the_letter() {
    let want = [
        "12-5-33",
        "<a_12><b_5><c_33>",
        "<|sid_begin|><s_a_12><s_b_5><s_c_33><|sid_end|>",
        "[SEM_START][SEM_0_12][SEM_1_5][SEM_2_33][SEM_END]",
        "<L1_12> <L2_5> <L3_33>",
    ];
    for (style, want) in Style::ALL.into_iter().zip(want) {
        let format = preset(style);
        assert_eq!(format.write(&[12, 5, 33]).unwrap(), want, "{style:?}");
        assert_eq!(format.parse(want).unwrap(), [12, 5, 33], "{style:?}");
    }
    assert_eq!(preset(Style::Sem).special_tokens(), ["[SEM_START]", "[SEM_END]"]);
    assert_eq!(preset(Style::Sem).tokens(&[1, 2, 3]).unwrap().len(), 5);
    assert_eq!(preset(Style::Animind).tokens(&[1, 2, 3]).unwrap(), ["<L1_1>", "<L2_2>", "<L3_3>"]);
}

#[test]
fn offsets_rename_codes_and_are_undone() {
    let from_one = IdTemplate { first: 1, ..Style::LcRec.template() };
    let format = TextFormat::new(from_one, &SIZES).unwrap();
    assert_eq!(format.write(&[0, 5, 63]).unwrap(), "<a_1><b_6><c_64>");
    assert_eq!(format.parse("<a_1><b_6><c_64>").unwrap(), [0, 5, 63]);
    assert_eq!(fault(&format, "<a_0><b_6><c_64>"), (4, "code 0 of level 0 is before 1, the first of 256".into()));
    let on = IdTemplate { cumulative: true, ..IdTemplate::default() };
    let format = TextFormat::new(on, &SIZES).unwrap();
    assert_eq!(format.write(&[12, 5, 33]).unwrap(), "12-261-589");
    assert_eq!(format.parse("12-261-589").unwrap(), [12, 5, 33]);
    assert_eq!(fault(&format, "12-255-589"), (4, "code 255 of level 1 is before 256, the first of 300".into()));
    assert_eq!(fault(&format, "12-261-620"), (8, "code 620 of level 2 is past 619, the last of 64".into()));
}

#[test]
fn faults_name_their_place() {
    let plain = preset(Style::Plain);
    for (text, column, problem) in [
        ("", 1, "expected the digits of a code, but the text ends"),
        ("12-5", 5, "expected `-`, but the text ends"),
        ("12-5-", 6, "expected the digits of a code, but the text ends"),
        ("12x5-33", 3, "expected `-`, got `x`"),
        ("12-05-33", 4, "a code is written without leading zeros, got `0`"),
        ("012-5-33", 1, "a code is written without leading zeros, got `0`"),
        ("12-5-33-1", 8, "expected the end of the text, got `-`"),
        ("12-5-33 ", 8, "expected the end of the text, got ` `"),
        (" 12-5-33", 1, "expected the digits of a code, got ` `"),
        ("+12-5-33", 1, "expected the digits of a code, got `+`"),
        ("256-5-33", 1, "code 256 of level 0 is past 255, the last of 256"),
        ("1-5-99999999999999999999999", 5, "code 99999999999999999999999 of level 2 is past 63, the last of 64"),
        ("١٢-5-33", 1, "expected the digits of a code, got `١`"),
    ] {
        assert_eq!(fault(&plain, text), (column, problem.into()), "{text:?}");
    }
    let sem = preset(Style::OpenOneRec);
    let ok = "<|sid_begin|><s_a_12><s_b_5><s_c_33><|sid_end|>";
    assert_eq!(fault(&sem, &ok.replace("_b_", "_c_")).0, 25, "the letter itself, not the token's start");
    assert_eq!(fault(&sem, &ok[1..]).0, 1);
    assert_eq!(fault(&sem, &ok[..ok.len() - 1]).0, ok.len());
    // Columns are characters, and a long text is cut.
    let format = TextFormat::new(token("é{letter}{code}"), &[9, 9]).unwrap();
    assert_eq!(fault(&format, "éa1-éb9").0, 7);
    let Err(Error::Text { text, .. }) = plain.parse(&"7".repeat(5000)) else { panic!() };
    assert_eq!(text.chars().count(), 201);
}

#[test]
fn a_counter_is_left_out_where_it_is_zero() {
    for style in Style::ALL {
        let format = preset(style).with_counter().unwrap();
        assert_eq!((format.width(), format.levels()), (4, 3));
        let alone = format.write(&[12, 5, 33, 0]).unwrap();
        assert_eq!(alone, preset(style).write(&[12, 5, 33]).unwrap());
        assert_eq!(format.parse(&alone).unwrap(), [12, 5, 33, 0]);
        let second = format.write(&[12, 5, 33, 1]).unwrap();
        assert_eq!(format.parse(&second).unwrap(), [12, 5, 33, 1]);
        assert!(preset(style).parse(&second).is_err(), "{style:?}");
    }
    let plain = preset(Style::Plain).with_counter().unwrap();
    assert_eq!(plain.write(&[12, 5, 33, 1]).unwrap(), "12-5-33-1");
    assert_eq!(fault(&plain, "12-5-33-0"), (9, "expected a counter from 1 on, got `0`".into()));
    assert_eq!(fault(&plain, "12-5-33-").0, 9);
    // A counter is a count, whatever codes are called; and a separator inside the token ends a counter as well.
    let one = IdTemplate { first: 1, cumulative: true, ..token("{code},") };
    let one = TextFormat::new(IdTemplate { separator: String::new(), ..one }, &[4, 4]).unwrap().with_counter().unwrap();
    assert_eq!(one.write(&[0, 0, 1]).unwrap(), "1,5,1,");
    assert_eq!(one.parse("1,5,1,").unwrap(), [0, 0, 1]);
    assert_eq!(one.parse("1,5,").unwrap(), [0, 0, 0]);
    // An end that looks like a counter.
    let tricky = IdTemplate { end: "-1".into(), ..IdTemplate::default() };
    let tricky = TextFormat::new(tricky, &[9, 9]).unwrap().with_counter().unwrap();
    for id in [[3, 4, 0], [3, 4, 1], [3, 4, 12]] {
        assert_eq!(tricky.parse(&tricky.write(&id).unwrap()).unwrap(), id);
    }
}

#[test]
fn templates_that_cannot_be_parsed_back_are_refused() {
    let joined = |t: &str| IdTemplate { separator: String::new(), ..token(t) };
    refused(joined("{code}"), &[9, 9], "nothing stands between two codes");
    refused(token("{code}1"), &[9], "a digit stands right after the code");
    refused(token("1{code}"), &[9], "a digit stands right before the code");
    refused(joined("{level}{code}"), &[9, 9], "a digit stands right before the code");
    refused(joined("{code}_{level}5"), &[9, 9, 0], "0 codewords");
    refused(IdTemplate { separator: "7".into(), ..IdTemplate::default() }, &[9, 9], "starts with a digit");
    refused(IdTemplate { end: "0".into(), ..IdTemplate::default() }, &[9, 9], "right after the code");
    refused(token("x"), &[9], "expected `{code}` once in `x`, got it 0 times");
    refused(token("{code}{code}"), &[9], "got it 2 times");
    refused(token("<{codes}>"), &[9], "`{codes}` at character 2 of `<{codes}>` is not known");
    refused(token("é{code"), &[9], "`{` at character 2");
    refused(token("}{code}"), &[9], "`}` at character 1");
    refused(IdTemplate { begin: "\n".into(), ..IdTemplate::default() }, &[9], "control character");
    refused(IdTemplate::default(), &[], "expected 1 to 64 levels, got 0");
    refused(IdTemplate::default(), &[9; 65], "got 65");
    refused(IdTemplate { first: u32::MAX, ..IdTemplate::default() }, &[2], "past 2^32 - 1");
    refused(IdTemplate { cumulative: true, ..IdTemplate::default() }, &[1 << 31, 1 << 31, 9], "past 2^32 - 1");
    refused(IdTemplate::default(), &[usize::MAX], "past 2^32 - 1");
    assert!(TextFormat::new(joined("{{{letter}{code}}}"), &[9, 9]).unwrap().write(&[1, 2]).unwrap() == "{a1}{b2}");
}

#[test]
fn ids_that_do_not_fit_are_not_written() {
    let format = preset(Style::Plain);
    assert!(matches!(format.write(&[1, 2]), Err(Error::Shape { expected: 3, got: 2, .. })));
    let mut out = "kept".to_owned();
    assert!(format.write_into(&[1, 300, 2], &mut out).unwrap_err().to_string().contains("code 300 of level 1"));
    assert_eq!(out, "kept");
}

#[test]
fn a_vocabulary_has_every_token_once() {
    let words = preset(Style::LcRec).vocabulary().unwrap();
    assert_eq!(words.len(), 620);
    assert_eq!([&words[0], &words[255], &words[256], &words[619]], ["<a_0>", "<a_255>", "<b_0>", "<c_63>"]);
    let error = preset(Style::Plain).vocabulary().unwrap_err().to_string();
    assert!(error.contains("`0` would be the token of two codes"), "{error}");
    let on = IdTemplate { cumulative: true, ..IdTemplate::default() };
    assert_eq!(TextFormat::new(on, &SIZES).unwrap().vocabulary().unwrap()[619], "619");
    let clash = IdTemplate { begin: "<a_3>".into(), ..Style::LcRec.template() };
    assert!(TextFormat::new(clash, &SIZES).unwrap().vocabulary().unwrap_err().to_string().contains("`<a_3>`"));
    let huge = TextFormat::preset(Style::LcRec, &[1 << 30]).unwrap();
    assert!(huge.vocabulary().unwrap_err().to_string().contains("1073741824 tokens, at most 16777216"));
}

/// Templates of all shapes, most of which can be parsed back.
fn templates() -> impl Strategy<Value = IdTemplate> {
    let piece = prop::sample::select(vec!["", "-", "<", ">", "a", "_", " ", "1", "9x", "x9", "é", "{{", "[S]"]);
    let mark = prop::sample::select(vec!["", "{level}", "{level1}", "{letter}", "_{level}_", "{letter}-"]);
    let numbers = (prop::sample::select(vec![0u32, 1, 7, 1000]), any::<bool>());
    (piece.clone(), mark.clone(), piece.clone(), mark, piece.clone(), piece, numbers).prop_map(
        |(begin, a, before, b, separator, end, (first, cumulative))| {
            let plain = |text: &str| text.replace("{{", "{");
            let [begin, separator, end] = [begin, separator, end].map(plain);
            IdTemplate { begin, token: format!("{a}{before}{{code}}{b}"), separator, end, first, cumulative }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_an_exact_inverse(
        template in templates(),
        sizes in prop::collection::vec(1usize..400, 1..13),
        counter in any::<bool>(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 14),
        other in prop::collection::vec(any::<prop::sample::Index>(), 14),
        (at, change) in (any::<prop::sample::Index>(), prop::sample::select(vec!['0', '1', '9', '-', '<', 'a', ' ', 'é'])),
    ) {
        let Ok(format) = TextFormat::new(template, &sizes) else { return Ok(()) };
        let Ok(format) = (if counter { format.with_counter() } else { Ok(format) }) else { return Ok(()) };
        let id = |picks: &[prop::sample::Index]| {
            let mut id: Vec<u32> = sizes.iter().zip(picks).map(|(k, p)| p.index(*k) as u32).collect();
            if counter {
                id.push(picks[13].index(4) as u32);
            }
            id
        };
        let (a, b) = (id(&picks), id(&other));
        let (text, text_b) = (format.write(&a).unwrap(), format.write(&b).unwrap());
        prop_assert_eq!(format.parse(&text).unwrap(), a.clone());
        prop_assert_eq!(text == text_b, a == b, "two IDs, one text");
        // A changed text is refused, or is another ID's own text.
        let places: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
        let place = places[at.index(places.len())];
        for changed in [
            format!("{}{change}{}", &text[..place], &text[place..]),
            format!("{}{change}{}", &text[..place], text[place..].chars().skip(1).collect::<String>()),
            text[..place].to_owned(),
            format!("{text}{change}"),
        ] {
            match format.parse(&changed) {
                Ok(read) => prop_assert_eq!(format.write(&read).unwrap(), changed),
                Err(Error::Text { column, .. }) => prop_assert!(column <= changed.chars().count() + 1),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", pick in 0usize..5) {
        let format = TextFormat::preset(Style::ALL[pick], &SIZES).unwrap();
        if let Ok(codes) = format.parse(&text) {
            prop_assert_eq!(format.write(&codes).unwrap(), text);
        }
    }
}
