//! Texts that a language model writes, token by token, with IDs in them that exist.

use super::spoken::{bundle_of, devices, exhaustive, with_tokens};
use super::*;
use sememe::ids::{Style, Trie};
use sememe_recommend::{
    GeneratedText, LanguageRecommender, LanguageSession, Precision, Sampling, SpokenOptions, TextEnd, TextIds,
    TextOptions,
};
use sememe_testkit::files::error;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// As transformers was asked: twelve tokens, whatever they are.
fn twelve() -> TextOptions {
    TextOptions { most_tokens: 12, ignore_end: true, ..TextOptions::default() }
}

fn recommender(name: &str) -> LanguageRecommender {
    let (model, _, place) = with_tokens(name);
    LanguageRecommender::with_bundle(model, place.path()).expect("a recommender")
}

/// The model as transformers knows it: its items are named by tokens that it has. New ones would take the place of unused rows, which some
/// of the sequences read.
fn untouched(name: &str) -> LanguageRecommender {
    let (model, place) = (load(name), tempfile::tempdir().expect("a folder"));
    let ids: [&[u32]; 3] = [&[70, 71], &[70, 72], &[73, 71]];
    let tokens = |id: &[u32]| id.iter().map(|t| model.tokenizer().token(*t).expect("a token")).collect::<Vec<_>>();
    let index: std::collections::BTreeMap<String, Vec<String>> =
        ids.iter().enumerate().map(|(i, id)| (format!("k{i}"), tokens(id))).collect();
    std::fs::write(place.path().join("index.json"), serde_json::to_vec(&index).expect("JSON")).expect("written");
    Trie::build(ids.into_iter(), 2).expect("a trie").save(place.path().join("ids.trie")).expect("written");
    LanguageRecommender::with_bundle(model, place.path()).expect("a recommender")
}

fn session(recommender: &LanguageRecommender) -> LanguageSession<'_> {
    recommender.session(&Device::cpu(), Precision::F32, 8).expect("a session")
}

/// One text, and the pieces that it came in.
fn write(session: &mut LanguageSession<'_>, prompt: &[u32], options: &TextOptions) -> (GeneratedText, Vec<String>) {
    let mut pieces = Vec::new();
    let mut texts = session
        .generate(&[prompt], options, &mut |place, piece| {
            assert_eq!(place, 0);
            pieces.push(piece.to_owned());
            ControlFlow::Continue(())
        })
        .expect("a text");
    assert!(texts.len() == 1 && texts[0].text == pieces.concat(), "{pieces:?} of {texts:?}");
    (texts.remove(0), pieces)
}

#[test]
fn greedy_texts_are_those_of_transformers() {
    for name in MODELS {
        let (recommender, want) = (untouched(name), answers(name));
        let tokenizer = recommender.model().tokenizer();
        for device in devices() {
            let mut session = recommender.session(&device, Precision::F32, 8).expect("a session");
            let prompts: Vec<&[u32]> = want.sequences.iter().map(Vec::as_slice).collect();
            let mut pieces = vec![String::new(); prompts.len()];
            let texts = session
                .generate(&prompts, &twelve(), &mut |place, piece| {
                    pieces[place].push_str(piece);
                    ControlFlow::Continue(())
                })
                .expect("texts");
            for (number, text) in texts.iter().enumerate() {
                let (prompt, greedy) = (prompts[number], &want.greedy[number]);
                assert_eq!([prompt, &text.tokens].concat(), *greedy, "{name}, {device:?}");
                let before = tokenizer.decode(prompt, true).expect("a text");
                assert_eq!(before + &text.text, want.generated[number], "{name}");
                assert_eq!((&text.text, text.end), (&pieces[number], TextEnd::MostTokens));
            }
        }
    }
}

#[test]
fn texts_that_begin_later_and_questions_in_between_change_nothing() {
    let (recommender, want) = (untouched("qwen3"), answers("qwen3"));
    let mut session = session(&recommender);
    let question: &[u32] = &[5, 6, 7];
    let ask = |session: &mut LanguageSession<'_>| {
        session
            .recommend(&[(question, &[])], &SpokenOptions { beams: 8, ..SpokenOptions::default() }, None)
            .expect("items")
    };
    let alone = ask(&mut session);
    let mut written: Vec<Option<GeneratedText>> = vec![None; 6];
    let mut begun = 0;
    // A new text every fifth token, so that some end while others have just begun.
    for round in 0..60 {
        if round % 5 == 0 && begun < 6 {
            let options = TextOptions { most_tokens: 12 - begun, ..twelve() };
            assert_eq!(session.begin_text(&want.sequences[begun % 3], &options).expect("begun"), begun as u64);
            begun += 1;
        }
        for step in session.advance_texts().expect("a step") {
            if step.finished.is_some() {
                written[step.text as usize] = step.finished;
            }
        }
        assert_eq!(ask(&mut session), alone, "round {round}");
    }
    assert_eq!(session.texts(), 0);
    for (i, text) in written.into_iter().enumerate() {
        let (prompt, greedy) = (&want.sequences[i % 3], &want.greedy[i % 3]);
        assert_eq!(text.expect("finished").tokens, greedy[prompt.len()..greedy.len() - i], "text {i}");
    }
}

#[test]
fn what_ends_a_text_is_no_part_of_it() {
    let (recommender, want) = (recommender("llama"), answers("llama"));
    let mut session = session(&recommender);
    let (prompt, said) = (&want.sequences[1], &want.greedy[1][7..]);
    // …, Y, #, 3, …
    assert_eq!(said[4..7], [59, 5, 21]);
    let stop = TextOptions { stop_tokens: vec![5], ..twelve() };
    let (text, _) = write(&mut session, prompt, &stop);
    assert_eq!((&text.tokens[..], text.end), (&said[..5], TextEnd::Ended));
    assert!(text.text.ends_with('Y'), "{}", text.text);
    let (whole, pieces) = write(&mut session, prompt, &twelve());
    assert!(pieces.len() > 3 && whole.text.contains("Y#3"), "{pieces:?}");
    let stop = TextOptions { stop_texts: vec!["#3".into(), "no".into()], ..twelve() };
    let (text, _) = write(&mut session, prompt, &stop);
    assert_eq!((text.text.as_str(), text.end), (whole.text.split("#3").next().expect("a text"), TextEnd::Ended));
    let stop = TextOptions { stop_texts: vec!["#3no".into()], ..twelve() };
    assert_eq!(write(&mut session, prompt, &stop).0, whole);

    // A caller that has heard enough.
    let (mut heard, mut pieces) = (String::new(), 0);
    let cut = session
        .generate(&[prompt], &twelve(), &mut |_, piece| {
            heard.push_str(piece);
            pieces += 1;
            if pieces == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("a text");
    assert_eq!((cut[0].end, &cut[0].text, session.texts()), (TextEnd::Cut, &heard, 0));
    assert!(whole.text.starts_with(&heard) && whole.text.len() > heard.len());

    // The model's own end, where it says it.
    let want = answers("llama3");
    let recommender = untouched("llama3");
    let (text, _) = write(
        &mut self::session(&recommender),
        &want.sequences[2],
        &TextOptions { most_tokens: 12, ..TextOptions::default() },
    );
    let said = &want.greedy[2][want.sequences[2].len()..];
    assert!(said.contains(&2) && text.end == TextEnd::Ended, "{text:?}");
    assert_eq!(text.tokens, said.split(|t| *t == 2).next().expect("tokens"));
}

#[test]
fn draws_are_those_of_their_seed_and_follow_the_probabilities() {
    let recommender = recommender("qwen2");
    let mut session = session(&recommender);
    let draw = |session: &mut LanguageSession<'_>, temperature, top_p, seed| {
        let options = TextOptions { sampling: Some(Sampling { temperature, top_p, seed }), ..twelve() };
        write(session, &[5, 6, 7], &options).0.tokens
    };
    let greedy = write(&mut session, &[5, 6, 7], &twelve()).0.tokens;
    assert_eq!(draw(&mut session, 1.0, 1e-9, 3), greedy, "only the likeliest token is left");
    assert_eq!(draw(&mut session, 1e-6, 1.0, 3), greedy);
    assert_eq!(draw(&mut session, 1.5, 0.95, 3), draw(&mut session, 1.5, 0.95, 3));
    let drawn: BTreeSet<Vec<u32>> = (0..8).map(|seed| draw(&mut session, 1.5, 0.95, seed)).collect();
    assert!(drawn.len() > 6, "{drawn:?}");

    // First tokens of many texts against the probabilities.
    let logits = recommender.model().logits(&[&[5, 6, 7]], &Device::cpu()).expect("logits").remove(0);
    let last: Vec<f64> = logits.row(2).iter().map(|v| f64::from(*v).exp()).collect();
    let sum: f64 = last.iter().sum();
    let (mut counts, draws) = (vec![0u32; last.len()], 3000);
    for seed in 0..draws {
        let sampling = Some(Sampling { seed, ..Sampling::default() });
        let options = TextOptions { most_tokens: 1, sampling, ..twelve() };
        session.begin_text(&[5, 6, 7], &options).expect("begun");
    }
    while session.texts() > 0 {
        for step in session.advance_texts().expect("a step") {
            counts[step.finished.expect("one token each").tokens[0] as usize] += 1;
        }
    }
    let likely: Vec<usize> = (0..last.len()).filter(|t| last[*t] / sum > 0.01).collect();
    assert!(likely.len() > 10, "uninformative: {} tokens", likely.len());
    for token in likely {
        let (share, got) = (last[token] / sum, f64::from(counts[token]) / draws as f64);
        let spread = (share * (1.0 - share) / draws as f64).sqrt();
        assert!((got - share).abs() < 5.0 * spread, "token {token}: {got} for {share}");
    }
}

#[test]
fn after_a_marker_there_is_an_id_that_exists_and_then_the_text_goes_on() {
    let (recommender, want) = (recommender("llama"), answers("llama"));
    let mut session = session(&recommender);
    let (prompt, said) = (&want.sequences[1], &want.greedy[1][7..]);
    for sampling in [None, Some(Sampling { temperature: 0.01, top_p: 1.0, seed: 2 })] {
        let ids = TextIds::After("Y#".into());
        let options = TextOptions { ids, sampling, most_tokens: 20, ..twelve() };
        let (text, pieces) = write(&mut session, prompt, &options);
        assert_eq!(text.tokens[..6], said[..6], "the text up to the marker");
        assert_eq!((text.tokens.len(), text.end), (20, TextEnd::MostTokens));
        let named = &text.ids[0];
        assert_eq!((named.tokens_before, named.id.len()), (6, 2));
        assert_eq!(text.tokens[6..8], named.id[..]);
        assert!(!named.items.is_empty() && named.items == recommender.trie().items(&named.id));
        let spelled = recommender.id(named.items[0]);
        assert!(text.text.contains(&format!("Y#{spelled}")) && pieces.concat() == text.text, "{}", text.text);
        let read = [&prompt[..], &text.tokens[..6]].concat();
        let probability = exhaustive(&recommender, &read, &named.id);
        assert!((named.log_probability - probability).abs() < 1e-4, "{} for {probability}", named.log_probability);
        if sampling.is_none() {
            // What comes behind it is what the model says after reading it.
            let read = [&prompt[..], &text.tokens[..8]].concat();
            let (rest, _) = write(&mut session, &read, &twelve());
            let next = text.ids.get(1).map_or(text.tokens.len(), |next| next.tokens_before);
            assert_eq!(text.tokens[8..next], rest.tokens[..next - 8]);
        }
    }
    // The bound comes between marker and ID, or within the ID: it is finished.
    for most_tokens in [6, 7] {
        let options = TextOptions { ids: TextIds::After("Y#".into()), most_tokens, ..twelve() };
        let (text, _) = write(&mut session, prompt, &options);
        assert_eq!((text.tokens.len(), text.ids.len(), text.end), (8, 1, TextEnd::MostTokens));
    }
    // A model that never says the marker says what it always says.
    let options = TextOptions { ids: TextIds::After("[REC]".into()), ..twelve() };
    assert_eq!(write(&mut session, prompt, &options).0.tokens, said);
}

#[test]
fn ids_with_an_end_of_their_own_end_with_it() {
    let mut model = load("llama");
    let place = bundle_of(Style::Sem, None, model.tokenizer().tokens() as u32);
    model.add_id_tokens(place.path()).expect("added");
    let recommender = LanguageRecommender::with_bundle(model, place.path()).expect("a recommender");
    let end = recommender.trie().end();
    let mut session = session(&recommender);
    let prompt = &answers("llama").sequences[1];
    let options = TextOptions { ids: TextIds::After("Y#".into()), show_special: true, ..twelve() };
    let (text, _) = write(&mut session, prompt, &options);
    let (id, from) = (&text.ids[0].id, text.ids[0].tokens_before);
    assert_eq!((id.len(), text.tokens[from + id.len()]), (3, end), "begun, two codes, ended");
    assert!(text.text.contains("[SEM_END]") && text.tokens.len() == 12, "{text:?}");
    let (text, _) = write(&mut session, prompt, &TextOptions { ids: TextIds::Only, ..options });
    assert_eq!((text.tokens.len(), text.tokens.last(), text.end), (4, Some(&end), TextEnd::Ended));
    assert!(text.text.starts_with("[SEM_START]") && text.text.ends_with("[SEM_END]"), "{}", text.text);
}

#[test]
fn a_whole_answer_may_be_an_id() {
    for name in MODELS {
        let recommender = recommender(name);
        let mut session = session(&recommender);
        let options = TextOptions { ids: TextIds::Only, most_tokens: 1, ..TextOptions::default() };
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let sampling = Some(Sampling { temperature: 2.0, top_p: 1.0, seed });
            let (text, _) = write(&mut session, &[9; 12], &TextOptions { sampling, ..options.clone() });
            let [named] = &text.ids[..] else { panic!("{text:?}") };
            assert_eq!((&named.id, named.tokens_before, text.end), (&text.tokens, 0, TextEnd::Ended));
            assert_eq!(
                (&named.items, &text.text),
                (&recommender.items(&text.text).expect("items"), &recommender.id(named.items[0]))
            );
            assert!((named.log_probability - exhaustive(&recommender, &[9; 12], &named.id)).abs() < 1e-4);
            seen.insert(named.id.clone());
        }
        assert!(seen.len() > 3, "{name}: {seen:?}");
    }
}

#[test]
fn texts_end_where_the_model_reads_no_further() {
    let recommender = recommender("llama");
    let (mut session, positions) = (session(&recommender), 64);
    let free = TextOptions { most_tokens: 1000, ..twelve() };
    let (text, _) = write(&mut session, &[9; 20], &free);
    assert_eq!((text.tokens.len(), text.end), (positions + 1 - 20, TextEnd::MostTokens));
    let again = greedy(recommender.model(), &[9; 20], positions + 1 - 20, &Device::cpu());
    assert_eq!(text.tokens, again[20..]);
    let marked = TextOptions { ids: TextIds::After("no such".into()), ..free };
    assert_eq!(write(&mut session, &[9; 20], &marked).0.tokens.len(), positions + 1 - 20 - 3);
}

#[test]
fn texts_that_cannot_be_are_refused() {
    let recommender = recommender("llama");
    let mut session = session(&recommender);
    let mut ask = |prompt: &[u32], options: &TextOptions| error(session.begin_text(prompt, options));
    let fine = TextOptions::default();
    assert!(ask(&[], &fine).contains("0 tokens, expected 1 to 61"));
    assert!(ask(&[9; 62], &fine).contains("62 tokens, expected 1 to 61"));
    assert!(ask(&[9999], &fine).contains("names token 9999"));
    assert!(ask(&[9], &TextOptions { most_tokens: 0, ..fine.clone() }).contains("most_tokens"));
    assert!(ask(&[9], &TextOptions { ids: TextIds::After(String::new()), ..fine.clone() }).contains("marker is empty"));
    assert!(ask(&[9], &TextOptions { stop_texts: vec![String::new()], ..fine.clone() }).contains("stop_texts"));
    let sampling = Some(Sampling { temperature: 0.0, ..Sampling::default() });
    assert!(ask(&[9], &TextOptions { sampling, ..fine.clone() }).contains("temperature"));
    session.begin_text(&[9], &fine).expect("begun");
    let running = session.generate(&[&[9]], &fine, &mut |_, _| ControlFlow::Continue(()));
    assert!(error(running).contains("writing 1 texts"));
    assert_eq!(session.stop_text(0).map(|text| text.end), Some(TextEnd::Cut));
    assert!(session.stop_text(0).is_none() && session.advance_texts().expect("nothing").is_empty());
}
