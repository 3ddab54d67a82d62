//! A language model that speaks IDs: taught, asked, saved.

use super::*;
use sememe::ids::{Export, Style, TextFormat, Vocabulary};
use sememe::{Codes, Device};
use sememe_recommend::{
    Chat, ChatTokens, LanguageRecommender, LanguageTuning, Learn, Precision, Sampling, SaveOptions, SpokenOptions,
    TuningSettings,
};
use sememe_testkit::files::error;

/// Two items share an ID.
const CODES: [[u32; 2]; 7] = [[0, 0], [0, 1], [1, 0], [1, 2], [2, 1], [2, 1], [2, 2]];
const WORDS: [&str; 7] = ["apple", "pear", "bolt", "nut", "cat", "tom", "dog"];

/// What `export` writes for a model with so many tokens.
fn bundle(first: u32) -> tempfile::TempDir {
    // `</s>` ends an ID.
    bundle_of(Style::LcRec, Some(2), first)
}

/// The same in another spelling.
pub(super) fn bundle_of(style: Style, end: Option<u32>, first: u32) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let format = TextFormat::preset(style, &[3, 3]).expect("a format");
    let codes = Codes::from_vec(7, 2, CODES.concat()).expect("codes");
    let keys: Vec<String> = WORDS.iter().map(|w| (*w).to_owned()).collect();
    let vocabulary = Vocabulary::new(&format, 0, first, &["[REC]"]).expect("a vocabulary");
    let export = Export::new(&format, &codes, &keys).expect("an export");
    export.index(place.path().join("index.json")).expect("written");
    export.trie(&vocabulary, end).expect("a trie").save(place.path().join("ids.trie")).expect("written");
    vocabulary.save(place.path().join("vocabulary.json")).expect("written");
    vocabulary.save_special_tokens(place.path().join("special_tokens.json")).expect("written");
    place
}

pub(super) fn with_tokens(name: &str) -> (LanguageModel, u32, tempfile::TempDir) {
    let mut model = load(name);
    let place = bundle(model.tokenizer().tokens() as u32);
    let first = model.add_id_tokens(place.path()).expect("added");
    (model, first, place)
}

fn question(word: &str) -> String {
    format!("{word}?")
}

fn chats(model: &LanguageModel) -> Vec<ChatTokens> {
    let chat = |(word, code): (&&str, &[u32; 2])| {
        let answer = format!("<a_{}><b_{}>", code[0], code[1]);
        let messages = vec![
            sememe_recommend::ChatMessage::new("user", question(word)),
            sememe_recommend::ChatMessage::new("assistant", answer),
        ];
        model.chat_tokens(&Chat::Messages { messages, answers_from: 0 }).expect("tokens")
    };
    WORDS.iter().zip(&CODES).map(chat).collect()
}

fn asked(recommender: &LanguageRecommender, word: &str) -> Vec<u32> {
    recommender.question(&[sememe_recommend::ChatMessage::new("user", question(word))]).expect("a question")
}

#[test]
fn only_answers_are_learned() {
    let (model, first, place) = with_tokens("llama");
    let chat = &chats(&model)[3];
    let said: Vec<u32> = chat.learned.iter().map(|at| chat.tokens[*at as usize]).collect();
    // `<a_1><b_2>`, and what the template puts after it.
    let ids: Vec<u32> = ["<a_1>", "<b_2>"].iter().map(|t| model.tokenizer().id(t).expect("a token")).collect();
    assert_eq!(said[..2], ids[..]);
    assert!(ids.iter().all(|id| *id >= first) && said.len() < chat.tokens.len() / 2, "{said:?}");
    assert_eq!(chat.learned, (chat.learned[0]..chat.tokens.len() as u32).collect::<Vec<_>>());
    // A question by itself has the tokens that come before its answer.
    let recommender = LanguageRecommender::with_bundle(model, place.path()).expect("a recommender");
    assert_eq!(asked(&recommender, "nut"), chat.tokens[..chat.learned[0] as usize]);
    let plain = Chat::Completion { prompt: "nut?".into(), completion: "<a_1><b_2>".into() };
    let plain = recommender.model().chat_tokens(&plain).expect("tokens");
    assert_eq!((plain.learned.len(), plain.tokens.last()), (3, Some(&2)));
}

#[test]
fn it_learns_to_name_items() {
    for (learn, rate) in [(Learn::Full, 1e-2), (Learn::LowRank, 3e-2)] {
        let (model, first, place) = with_tokens("llama");
        let chat = |(word, code): (&&str, &[u32; 2])| {
            let completion = format!("<a_{}><b_{}>", code[0], code[1]);
            model.chat_tokens(&Chat::Completion { prompt: question(word), completion }).expect("tokens")
        };
        let chats: Vec<ChatTokens> = WORDS.iter().zip(&CODES).map(chat).collect();
        let settings = TuningSettings {
            learn,
            rate: Some(rate),
            rank: 8,
            context: 32,
            batch_tokens: 32,
            epochs: 150,
            ..TuningSettings::default()
        };
        let mut tuning = LanguageTuning::new(settings).expect("settings");
        let tuned =
            tuning.run(model, first, &chats, &chats, &Device::cpu(), &(), &mut ()).expect("a model that has learned");
        let recommender = LanguageRecommender::with_bundle(tuned, place.path()).expect("a recommender");
        let saved = tempfile::tempdir().expect("a folder");
        recommender.save(saved.path(), &SaveOptions::default()).expect("saved");
        assert!(LanguageRecommender::is_in(saved.path()));
        let loaded = LanguageRecommender::load(saved.path()).expect("loaded");
        let mut session = loaded.session(&Device::cpu(), Precision::F32, 20).expect("a session");
        let encode = |word: &&str| loaded.model().tokenizer().encode(&question(word), true).expect("tokens");
        let tokens: Vec<Vec<u32>> = WORDS.iter().map(encode).collect();
        let put: Vec<(&[u32], &[u32])> = tokens.iter().map(|t| (t.as_slice(), &[][..])).collect();
        let lists = session.recommend(&put, &SpokenOptions::default(), None).expect("answers");
        for (item, list) in lists.iter().enumerate() {
            // Those that share an ID share its probability, and the lower row comes first.
            let best = if item == 5 { 4 } else { item as u32 };
            assert_eq!(list[0].item, best, "{learn:?}: {} is answered by {list:?}", WORDS[item]);
        }
        assert_eq!(lists[4][0].log_probability, lists[4][1].log_probability);
    }
}

#[test]
fn probabilities_are_those_of_an_exhaustive_search() {
    for name in MODELS {
        let (model, _, place) = with_tokens(name);
        let recommender = LanguageRecommender::with_bundle(model, place.path()).expect("a recommender");
        for device in devices() {
            let mut session = recommender.session(&device, Precision::F32, 20).expect("a session");
            let prompts = [vec![5, 6, 7], vec![9; 12]];
            let put: Vec<(&[u32], &[u32])> = prompts.iter().map(|p| (p.as_slice(), &[][..])).collect();
            let lists = session.recommend(&put, &SpokenOptions::default(), None).expect("answers");
            for (prompt, list) in prompts.iter().zip(&lists) {
                let sum: f64 = list.iter().map(|item| item.log_probability.exp()).sum();
                assert!(list.len() == 7 && (sum - 1.0).abs() < 1e-6, "{name}: {} items, {sum}", list.len());
                for item in list {
                    let want = exhaustive(&recommender, prompt, &item.id);
                    let sharing: f64 = if [4, 5].contains(&item.item) { 2.0 } else { 1.0 };
                    let got = item.log_probability + sharing.ln();
                    assert!((got - want).abs() < 1e-4, "{name}: item {}: {got} for {want}", item.item);
                }
            }
        }
    }
}

/// The CPU, and a GPU where there is one.
pub(super) fn devices() -> Vec<Device> {
    let mut all = vec![Device::cpu()];
    #[cfg(feature = "gpu")]
    match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(gpu) => all.push(gpu),
        Err(e) => {
            assert_ne!(std::env::var("SEMEME_GPU").as_deref(), Ok("require"), "{e}");
            eprintln!("without a GPU: {e}");
        }
    }
    all
}

/// The log-probability of an ID among all IDs, by full passes.
pub(super) fn exhaustive(recommender: &LanguageRecommender, prompt: &[u32], id: &[u32]) -> f64 {
    let mut sum = 0.0;
    for at in 0..id.len() {
        let read = [prompt, &id[..at]].concat();
        let logits = recommender.model().logits(&[&read], &Device::cpu()).expect("logits").remove(0);
        let last = logits.row(read.len() - 1);
        let allowed = recommender.trie().allowed(&id[..at]);
        let all: f64 = allowed.iter().map(|t| f64::from(last[*t as usize]).exp()).sum();
        sum += f64::from(last[id[at] as usize]) - all.ln();
    }
    sum
}

#[test]
fn what_is_left_out_does_not_come_out_and_what_is_drawn_exists() {
    let (model, _, place) = with_tokens("qwen3");
    let recommender = LanguageRecommender::with_bundle(model, place.path()).expect("a recommender");
    let mut session = recommender.session(&Device::cpu(), Precision::F32, 64).expect("a session");
    let prompt: &[u32] = &[5, 6, 7];
    let odd = |item: u32| item % 2 == 1;
    let lists = session.recommend(&[(prompt, &[1, 5])], &SpokenOptions::default(), Some(&odd)).expect("answers");
    assert_eq!(lists[0].iter().map(|i| i.item).collect::<Vec<_>>(), [3]);
    let sampling = Some(Sampling { temperature: 3.0, top_p: 1.0, seed: 4 });
    let options = SpokenOptions { count: 64, beams: 64, sampling };
    let drawn = session.recommend(&[(prompt, &[])], &options, None).expect("answers");
    assert!(drawn[0].len() > 2 && drawn[0].iter().all(|i| CODES.len() > i.item as usize));
    for item in &drawn[0] {
        assert!(recommender.trie().items(&item.id).contains(&item.item));
    }
    assert_eq!(recommender.items(&recommender.id(3)).expect("items"), [3]);
    assert_eq!(recommender.items("<a_0><b_2>").expect("items"), [0u32; 0]);
    assert!(session.recommend(&[(&[], &[])], &options, None).expect_err("refused").to_string().contains("0 tokens"));
    let none = SpokenOptions { beams: 0, ..options };
    assert!(session.recommend(&[(prompt, &[])], &none, None).expect_err("refused").to_string().contains("got 0"));
}

#[test]
fn a_bundle_of_another_model_is_refused() {
    let (model, first, place) = with_tokens("llama");
    // A model that has the tokens already stays as it is.
    let mut again = model.clone();
    assert_eq!(again.add_id_tokens(place.path()).expect("known"), first);
    assert_eq!(again.shape(), model.shape());

    let other = bundle(first + 5);
    let mut fresh = load("llama");
    let refused = fresh.add_id_tokens(other.path()).expect_err("refused").to_string();
    assert!(refused.contains(&format!("from {} on", first + 5)) && refused.contains("end at"), "{refused}");
    let refused = LanguageRecommender::with_bundle(load("llama"), place.path()).expect_err("refused").to_string();
    assert!(refused.contains("lacks the token") || refused.contains("numbered for another model"), "{refused}");

    let index = place.path().join("index.json");
    let text = std::fs::read_to_string(&index).expect("an index");
    std::fs::write(&index, text.replace("\"<a_0>\", \"<b_1>\"", "\"<a_0>\", \"<b_2>\"")).expect("written");
    let refused = error(LanguageRecommender::with_bundle(model.clone(), place.path()));
    assert!(refused.contains("pear") && refused.contains("not of one export"), "{refused}");
    std::fs::remove_file(&index).expect("removed");
    let refused = error(LanguageRecommender::with_bundle(model, place.path()));
    assert!(refused.contains("index.json"), "{refused}");
}
