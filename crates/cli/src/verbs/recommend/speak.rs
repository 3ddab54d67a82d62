//! `sememe recommend query` of a language model's folder.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::output::{print, print_json};
use crate::precision::precision;
use crate::progress::Progress;
use crate::text::table as columns;
use crate::verbs::recommend::flags::QueryFlags;
use anyhow::Result;
use sememe::Error;
use sememe::io::read_titles;
use sememe_recommend::{ChatMessage, LanguageRecommender, Precision, Sampling, SpokenItem, SpokenOptions};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

pub struct Plan {
    folder: PathBuf,
    texts: Vec<String>,
    histories: Vec<Vec<String>>,
    ask: Option<String>,
    system: Option<String>,
    options: SpokenOptions,
    seen: bool,
    names: Option<(PathBuf, String)>,
    precision: Precision,
    device: DeviceChoice,
}

pub fn plan(flags: QueryFlags) -> Result<Plan> {
    if flags.k == 0 {
        return Err(usage("`-k`: expected at least 1 item, got 0"));
    }
    let parts = |text: &String| -> Vec<String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let histories: Vec<Vec<String>> = flags.history.iter().map(parts).collect();
    if histories.iter().any(Vec::is_empty) {
        return Err(usage("`--history`: expected items separated by commas, oldest first, got none"));
    }
    let meaningless = [
        ("--vector", flags.vector.is_some()),
        ("--model", flags.wishes.model.is_some()),
        ("--url", flags.endpoint.url.is_some()),
        ("--model-folder", flags.local.model_folder.is_some()),
    ];
    if let Some((flag, _)) = meaningless.iter().find(|(_, given)| *given) {
        return Err(usage(format!(
            "`{flag}` has no meaning for a language model, which reads words itself; leave it out"
        )));
    }
    if flags.text.iter().any(|text| text.trim().is_empty()) {
        return Err(usage("`--text`: expected words, got none"));
    }
    if !(histories.is_empty() || flags.text.is_empty() || histories.len() == flags.text.len()) {
        let (histories, texts) = (histories.len(), flags.text.len());
        return Err(usage(format!(
            "{histories} of `--history` and {texts} of `--text`: give one of each for every question"
        )));
    }
    match &flags.spoken.ask {
        None if !histories.is_empty() => {
            return Err(usage(
                "a language model is asked in words: say with `--ask` how histories are put, as the chats that it learned from put them: \
                 --ask 'I have {history}. What else?'",
            ));
        }
        Some(ask) if !histories.is_empty() && !ask.contains("{history}") => {
            return Err(usage("`--ask`: expected {history} in it, where the IDs of the history go"));
        }
        Some(ask) if !flags.text.is_empty() && !ask.contains("{text}") => {
            return Err(usage("`--ask`: expected {text} in it, where `--text` goes"));
        }
        _ => {}
    }
    let search = flags.search;
    let (temperature, top_p, seed) = (search.temperature, search.top_p, search.seed);
    let sampling = search.sampling.then_some(Sampling { temperature, top_p, seed });
    if let Some(sampling) = &sampling {
        sampling.validate()?;
    }
    if search.beams == Some(0) {
        return Err(usage("`--beams`: expected at least 1, got 0"));
    }
    let beams = search.beams.unwrap_or_else(|| SpokenOptions::default().beams.max(flags.k));
    Ok(Plan {
        folder: flags.recommender,
        texts: flags.text,
        histories,
        ask: flags.spoken.ask,
        system: flags.spoken.system,
        options: SpokenOptions { count: flags.k, beams, sampling },
        seen: flags.seen,
        names: flags.names.map(|path| (path, flags.field)),
        precision: flags.spoken.precision.map_or(Precision::F32, precision),
        device: flags.on.device,
    })
}

/// A question as it is put, and the items before it.
struct Question {
    words: String,
    history: Vec<u32>,
}

fn questions(plan: &Plan, recommender: &LanguageRecommender) -> Result<Vec<Question>> {
    let by_key: HashMap<&str, u32> =
        recommender.keys().iter().enumerate().map(|(row, key)| (key.as_str(), row as u32)).collect();
    let mut out = Vec::new();
    for number in 0..plan.texts.len().max(plan.histories.len()) {
        let row_of = |key: &String| {
            let lacks = || {
                let items = recommender.keys().len();
                Error::Data(format!("the recommender knows {items} items, and none with the key `{key}`"))
            };
            by_key.get(key.as_str()).copied().ok_or_else(lacks)
        };
        let history = plan.histories.get(number).map_or(&[][..], Vec::as_slice);
        let history: Vec<u32> = history.iter().map(row_of).collect::<sememe::Result<_>>()?;
        let ids = history.iter().map(|row| recommender.id(*row)).collect::<Vec<_>>().join(", ");
        let text = plan.texts.get(number).map_or("", String::as_str);
        let words = plan.ask.as_deref().unwrap_or("{text}").replace("{history}", &ids).replace("{text}", text);
        out.push(Question { words, history });
    }
    Ok(out)
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let recommender = LanguageRecommender::load(&plan.folder)?;
    let asked = questions(plan, &recommender)?;
    let names = match &plan.names {
        Some((path, field)) => {
            let names = read_titles(path, field)?;
            let (expected, got, place) = (recommender.keys().len(), names.len(), path.display().to_string());
            if got != expected {
                return Err(Error::Shape { what: "items", expected, got, place }.into());
            }
            Some(names)
        }
        None => None,
    };
    let mut tokens = Vec::new();
    for question in &asked {
        let system = plan.system.iter().map(|words| ChatMessage::new("system", words.as_str()));
        let messages: Vec<ChatMessage> = system.chain([ChatMessage::new("user", question.words.as_str())]).collect();
        tokens.push(recommender.question(&messages)?);
    }
    let device = device::open(plan.device, usize::MAX)?;
    let mut session = recommender.session(&device, plan.precision, plan.options.beams)?;
    let begun = Instant::now();
    let put: Vec<(&[u32], &[u32])> = tokens
        .iter()
        .zip(&asked)
        .map(|(tokens, question)| (tokens.as_slice(), if plan.seen { &[][..] } else { &question.history }))
        .collect();
    let answers = session.recommend(&put, &plan.options, None)?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish();
    if progress.json {
        let lists: Vec<Value> = answers
            .iter()
            .zip(&asked)
            .map(|(list, question)| {
                let items: Vec<Value> = list.iter().map(|item| as_json(item, &recommender, names.as_deref())).collect();
                json!({ "question": question.words, "items": items })
            })
            .collect();
        return print_json(&json!({ "answers": lists, "device": device.info(), "seconds": seconds }));
    }
    let mut text = String::new();
    for (list, question) in answers.iter().zip(&asked) {
        if answers.len() > 1 {
            text.push_str(&format!("{}\n", question.words));
        }
        let mut rows = vec![["item", "ID", "probability", ""].map(str::to_owned).to_vec()];
        for item in list {
            let name = names.as_ref().map_or_else(String::new, |names| names[item.item as usize].clone());
            let probability = format!("{:.5}", item.log_probability.exp());
            rows.push(vec![
                recommender.keys()[item.item as usize].clone(),
                recommender.id(item.item),
                probability,
                name,
            ]);
        }
        text.push_str(&columns(&rows, &[0, 1, 3]));
    }
    print(&text)
}

fn as_json(item: &SpokenItem, recommender: &LanguageRecommender, names: Option<&[String]>) -> Value {
    json!({
        "row": item.item,
        "key": recommender.keys()[item.item as usize],
        "id": recommender.id(item.item),
        "name": names.map(|names| &names[item.item as usize]),
        "log_probability": item.log_probability,
    })
}
