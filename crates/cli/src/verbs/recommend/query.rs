//! `sememe recommend query`.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::table as columns;
use crate::verbs::recommend::flags::QueryFlags;
use anyhow::Result;
use sememe::Error;
use sememe::io::read_titles;
use sememe_recommend::{RecommendOptions, Recommender, Sampling};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;

pub struct Plan {
    recommender: PathBuf,
    histories: Vec<Vec<String>>,
    options: RecommendOptions,
    names: Option<(PathBuf, String)>,
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
    let search = flags.search;
    let (temperature, top_p, seed) = (search.temperature, search.top_p, search.seed);
    let sampling = search.sampling.then_some(Sampling { temperature, top_p, seed });
    if let Some(sampling) = &sampling {
        sampling.validate()?;
    }
    if search.beams == Some(0) {
        return Err(usage("`--beams`: expected at least 1, got 0"));
    }
    Ok(Plan {
        recommender: flags.recommender,
        histories,
        options: RecommendOptions { count: flags.k, hide_seen: !flags.seen, beams: search.beams, sampling },
        names: flags.names.map(|path| (path, flags.field)),
        device: flags.on.device,
    })
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let recommender = Recommender::load(&plan.recommender)?;
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
    let histories: Vec<Vec<u32>> = plan
        .histories
        .iter()
        .map(|history| history.iter().map(row_of).collect::<sememe::Result<_>>())
        .collect::<sememe::Result<_>>()?;
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
    let device = device::open(plan.device, recommender.items())?;
    let asked: Vec<&[u32]> = histories.iter().map(Vec::as_slice).collect();
    let answers = recommender.recommend_with(&asked, &plan.options, None, &device)?;
    progress.finish();
    let key = |item: u32| keys.map_or_else(|| item.to_string(), |keys| keys[item as usize].clone());
    if progress.json {
        let lists: Vec<Value> = answers
            .iter()
            .zip(&plan.histories)
            .map(|(list, history)| {
                let items: Vec<Value> = list
                    .iter()
                    .map(|r| {
                        json!({
                            "row": r.item,
                            "key": keys.map(|keys| &keys[r.item as usize]),
                            "name": names.as_ref().map(|names| &names[r.item as usize]),
                            "log_probability": r.log_probability,
                        })
                    })
                    .collect();
                json!({ "history": history, "items": items })
            })
            .collect();
        return print_json(&json!({ "answers": lists, "device": device.info() }));
    }
    let mut text = String::new();
    for (list, history) in answers.iter().zip(&plan.histories) {
        if answers.len() > 1 {
            text.push_str(&format!("after {}\n", history.join(", ")));
        }
        let mut rows = vec![["item", "probability", ""].map(str::to_owned).to_vec()];
        for r in list {
            let name = names.as_ref().map_or_else(String::new, |names| names[r.item as usize].clone());
            rows.push(vec![key(r.item), format!("{:.5}", r.log_probability.exp()), name]);
        }
        text.push_str(&columns(&rows, &[0, 2]));
    }
    print(&text)
}
