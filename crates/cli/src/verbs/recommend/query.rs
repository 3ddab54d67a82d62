//! `sememe recommend query`.

use crate::device;
use crate::embedder::{EmbedModel, embed_model};
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::table as columns;
use crate::verbs::recommend::flags::QueryFlags;
use crate::verbs::recommend::read_rows;
use anyhow::Result;
use sememe::io::read_titles;
use sememe::{Error, Matrix};
use sememe_recommend::{RecommendOptions, Recommendation, Recommender, RecommenderQuery, Sampling};
use sememe_text::embed::embed_texts;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

/// What is wished for.
enum Wishes {
    None,
    Texts { texts: Vec<String>, model: EmbedModel, prefix: String, normalize: bool },
    Rows(PathBuf),
}

pub struct Plan {
    recommender: PathBuf,
    histories: Vec<Vec<String>>,
    wishes: Wishes,
    options: RecommendOptions,
    names: Option<(PathBuf, String)>,
    device: DeviceChoice,
}

pub fn plan(flags: QueryFlags) -> Result<Plan> {
    if flags.k == 0 {
        return Err(usage("`-k`: expected at least 1 item, got 0"));
    }
    let spoken = &flags.spoken;
    let given = [
        ("--ask", spoken.ask.is_some()),
        ("--system", spoken.system.is_some()),
        ("--precision", spoken.precision.is_some()),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        return Err(usage(format!(
            "`{flag}` is for language models, which are folders, and this is a file; leave it out"
        )));
    }
    let parts = |text: &String| -> Vec<String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let histories: Vec<Vec<String>> = flags.history.iter().map(parts).collect();
    if histories.iter().any(Vec::is_empty) {
        return Err(usage("`--history`: expected items separated by commas, oldest first, got none"));
    }
    if flags.text.iter().any(|text| text.trim().is_empty()) {
        return Err(usage("`--text`: expected words, got none"));
    }
    let by_words = !flags.text.is_empty();
    let named = flags.endpoint.url.is_some() || flags.local.model_folder.is_some();
    if named && !by_words {
        return Err(usage("a model of texts is for `--text`, which is not given"));
    }
    let model = embed_model(flags.wishes.model, flags.wishes.dimensions, flags.endpoint, flags.local)?;
    let wishes = match (model, flags.vector) {
        (Some(model), _) => {
            let (prefix, normalize) = (flags.wishes.prefix, flags.wishes.normalize);
            Wishes::Texts { texts: flags.text, model, prefix, normalize }
        }
        (None, _) if by_words => {
            return Err(usage(
                "`--text` needs the model that made the items' vectors: a server with `--url` and `--model`, or a folder with \
                 `--model-folder`",
            ));
        }
        (None, Some(path)) => Wishes::Rows(path),
        (None, None) => Wishes::None,
    };
    let search = flags.search;
    let (temperature, top_p, seed) = (search.temperature, search.top_p, search.seed);
    let sampling = search.sampling.then_some(Sampling { temperature, top_p, seed });
    if let Some(sampling) = &sampling {
        sampling.validate()?;
    }
    if search.beams == Some(0) {
        return Err(usage("`--beams`: expected at least 1, got 0"));
    }
    let options = RecommendOptions { count: flags.k, hide_seen: !flags.seen, beams: search.beams, sampling };
    Ok(Plan {
        recommender: flags.recommender,
        histories,
        wishes,
        options,
        names: flags.names.map(|path| (path, flags.field)),
        device: flags.on.device,
    })
}

impl Plan {
    /// Vectors of what is wished for, a row a query.
    fn wished(&self, recommender: &Recommender) -> Result<Option<Matrix>> {
        if matches!(self.wishes, Wishes::None) {
            return Ok(None);
        }
        if recommender.vector_dims().is_none() {
            let shown = self.recommender.display();
            return Err(usage(format!(
                "`{shown}` was trained without vectors of its items, so it reads no wishes; train it with `--vectors`"
            )));
        }
        Ok(match &self.wishes {
            Wishes::None => None,
            Wishes::Rows(path) => Some(read_rows(path)?),
            Wishes::Texts { texts, model, prefix, normalize } => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                Some(embed_texts(model.embedder(), &texts, prefix, *normalize)?)
            }
        })
    }

    /// Text of a wish, if it has one.
    fn text(&self, number: usize) -> Option<&str> {
        match &self.wishes {
            Wishes::Texts { texts, .. } => texts.get(if texts.len() == 1 { 0 } else { number }).map(String::as_str),
            _ => None,
        }
    }

    /// Of query `number`, if there are histories: one stands for all.
    fn history(&self, number: usize) -> Option<&[String]> {
        let number = if self.histories.len() == 1 { 0 } else { number };
        self.histories.get(number).map(Vec::as_slice)
    }

    /// What a query was, in words.
    fn asked(&self, number: usize) -> String {
        let mut parts = Vec::new();
        parts.extend(self.history(number).map(|history| format!("after {}", history.join(", "))));
        match (&self.wishes, self.text(number)) {
            (_, Some(text)) => parts.push(format!("for \"{text}\"")),
            (Wishes::Rows(path), None) => parts.push(format!("for row {number} of {}", path.display())),
            _ => {}
        }
        parts.join(", ")
    }
}

/// The rows of the items that a history names.
fn rows(recommender: &Recommender, histories: &[Vec<String>]) -> sememe::Result<Vec<Vec<u32>>> {
    let keys = recommender.keys();
    let by_key: HashMap<&str, u32> =
        keys.unwrap_or_default().iter().enumerate().map(|(row, key)| (key.as_str(), row as u32)).collect();
    let row_of = |text: &String| match keys {
        Some(_) => by_key.get(text.as_str()).copied().ok_or_else(|| {
            Error::Data(format!("the recommender knows {} items, and none with the key `{text}`", recommender.items()))
        }),
        None => {
            text.parse::<u32>().ok().filter(|row| (*row as usize) < recommender.items()).ok_or_else(|| {
                Error::Data(format!("expected a row number below {}, got `{text}`", recommender.items()))
            })
        }
    };
    histories.iter().map(|history| history.iter().map(row_of).collect()).collect()
}

/// Histories and wishes together: one of either kind goes with each of the other.
fn queries<'a>(histories: &'a [Vec<u32>], wishes: Option<&'a Matrix>) -> Result<Vec<RecommenderQuery<'a>>> {
    let (of_users, of_wishes) = (histories.len(), wishes.map_or(0, Matrix::rows));
    if of_users > 1 && of_wishes > 1 && of_users != of_wishes {
        return Err(usage(format!(
            "{of_users} histories and {of_wishes} wishes: expected as many of both, or one of either"
        )));
    }
    let one_for_all = |number: usize, all: usize| if all == 1 { 0 } else { number };
    let query = |number: usize| RecommenderQuery {
        history: histories.get(one_for_all(number, of_users)).map_or(&[], Vec::as_slice),
        wish: wishes.filter(|w| w.rows() > 0).map(|w| w.row(one_for_all(number, of_wishes))),
    };
    Ok((0..of_users.max(of_wishes)).map(query).collect())
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let recommender = Recommender::load(&plan.recommender)?;
    let histories = rows(&recommender, &plan.histories)?;
    let names = match &plan.names {
        Some((path, field)) => {
            let names = read_titles(path, field)?;
            if names.len() != recommender.items() {
                let (expected, got) = (recommender.items(), names.len());
                return Err(Error::Shape { what: "items", expected, got, place: path.display().to_string() }.into());
            }
            Some(names)
        }
        None => None,
    };
    let wishes = plan.wished(&recommender)?;
    let queries = queries(&histories, wishes.as_ref())?;
    let device = device::open(plan.device, recommender.items())?;
    let mut session = recommender.session(&device)?;
    let begun = Instant::now();
    let answers = session.recommend_with(&queries, &plan.options, None)?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish();
    let shown = Shown { plan, keys: recommender.keys(), names: names.as_deref() };
    if progress.json {
        let lists: Vec<Value> = answers.iter().enumerate().map(|(number, list)| shown.json(number, list)).collect();
        return print_json(&json!({ "answers": lists, "device": device.info(), "seconds": seconds }));
    }
    let mut text = String::new();
    for (number, list) in answers.iter().enumerate() {
        if answers.len() > 1 {
            text.push_str(&format!("{}\n", plan.asked(number)));
        }
        text.push_str(&shown.table(list));
    }
    print(&text)
}

/// What is shown of items.
struct Shown<'a> {
    plan: &'a Plan,
    keys: Option<&'a [String]>,
    names: Option<&'a [String]>,
}

impl Shown<'_> {
    fn json(&self, number: usize, list: &[Recommendation]) -> Value {
        let item = |r: &Recommendation| {
            json!({
                "row": r.item,
                "key": self.keys.map(|keys| &keys[r.item as usize]),
                "name": self.names.map(|names| &names[r.item as usize]),
                "log_probability": r.log_probability,
            })
        };
        let items: Vec<Value> = list.iter().map(item).collect();
        json!({ "history": self.plan.history(number), "text": self.plan.text(number), "items": items })
    }

    fn table(&self, list: &[Recommendation]) -> String {
        let mut rows = vec![["item", "probability", ""].map(str::to_owned).to_vec()];
        for r in list {
            let row = r.item as usize;
            let key = self.keys.map_or_else(|| r.item.to_string(), |keys| keys[row].clone());
            let name = self.names.map_or_else(String::new, |names| names[row].clone());
            rows.push(vec![key, format!("{:.5}", r.log_probability.exp()), name]);
        }
        columns(&rows, &[0, 2])
    }
}
