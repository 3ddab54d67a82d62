//! `sememe serve`.

mod flags;

pub use flags::Flags;

use crate::embedder::embed_model;
use crate::environment;
use crate::failure::usage;
use crate::flags::{Common, DeviceChoice};
use crate::id_format::style;
use crate::output::{print, print_json};
use crate::precision::precision;
use crate::text::count;
use crate::verbs::serve::flags::{ModelFlags, ServedFlags};
use anyhow::Result;
use sememe::device::DeviceChoice as Choice;
use sememe::{Error, io};
use sememe_serve::Limits;
use sememe_serve::Tokens;
use sememe_serve::{Bound, Settings, Sources};
use sememe_serve::{EmbedSource, ItemFields, SpellingSource};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The longest file of tokens.
const TOKEN_BYTES: u64 = 1 << 20;

pub struct Plan {
    sources: Sources,
    limits: Limits,
    address: String,
    tokens: Option<PathBuf>,
    log_content: bool,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let Flags { run, served, models, endpoint, local, manners } = flags;
    let counts = [
        ("--body-mib", manners.body_mib),
        ("--rows", manners.rows),
        ("--requests", manners.requests),
        ("--connections", manners.connections),
    ];
    if let Some((flag, _)) = counts.iter().find(|(_, value)| *value == 0) {
        return Err(usage(format!("`{flag}`: expected at least 1, got 0")));
    }
    let limits = Limits {
        body_bytes: manners.body_mib.saturating_mul(1 << 20),
        rows: manners.rows,
        time: seconds("--seconds", manners.seconds)?,
        requests: manners.requests,
        connections: manners.connections,
        stop: seconds("--stop-seconds", manners.stop_seconds)?,
        ..Limits::default()
    };
    let embed = match (endpoint.url.is_some() || local.model_folder.is_some(), models.model.is_some()) {
        (false, true) => return Err(usage("`--model` needs `--url`, the server that has it")),
        (false, false) => None,
        (true, _) => {
            let (model, dimensions) = (models.model.clone(), models.dimensions);
            let open = move || {
                let opened = embed_model(model.clone(), dimensions, endpoint.clone(), local.clone());
                let model = opened.map_err(|error| Error::Data(format!("{error:#}")))?;
                model
                    .map(crate::embedder::EmbedModel::into_embedder)
                    .ok_or_else(|| Error::Data("no model of texts".into()))
            };
            Some(EmbedSource { open: Arc::new(open), prefix: models.prefix.clone(), normalize: models.normalize })
        }
    };
    let gather = seconds("--gather", manners.gather / 1e3)?;
    let sources = Sources { embed, gather, ..sources(run, served, models) };
    Ok(Plan { sources, limits, address: manners.address, tokens: manners.tokens, log_content: manners.log_content })
}

fn sources(run: Option<PathBuf>, served: ServedFlags, models: ModelFlags) -> Sources {
    Sources {
        run,
        codec: served.codec,
        store: served.store,
        patience: Duration::from_secs(served.patience),
        ids: served.ids,
        items: served.items,
        fields: ItemFields { key: served.key, title: served.title, ..ItemFields::default() },
        vectors: served.vectors,
        spelling: served.style.map(|choice| SpellingSource::of(style(choice))),
        recommender: models.recommender,
        language: models.language,
        device: match served.device {
            DeviceChoice::Auto => Choice::Auto,
            DeviceChoice::Cpu => Choice::Cpu,
            DeviceChoice::Gpu => Choice::Gpu,
        },
        precision: precision(models.precision),
        marker: models.marker,
        ask: models.ask,
        ..Sources::default()
    }
}

fn seconds(flag: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|time| value >= 0.0 && time.as_secs() < 86_400 * 365)
        .ok_or_else(|| usage(format!("`{flag}`: {value} is no length of time")))
}

/// The tokens of the file, or of the environment.
fn tokens(file: Option<&PathBuf>) -> Result<Tokens> {
    match (file, environment::variable("SEMEME_TOKENS")?) {
        (Some(path), _) => {
            let text = String::from_utf8(io::read_bytes_capped(path, TOKEN_BYTES)?);
            let text = text.map_err(|_| usage(format!("`--tokens`: `{}` is no UTF-8", path.display())))?;
            Ok(Tokens::parse(&text)?)
        }
        (None, Some(text)) => match Tokens::parse(&text.replace(',', "\n")) {
            Err(Error::Config { problem, .. }) => Err(usage(format!("`SEMEME_TOKENS`: {problem}"))),
            other => Ok(other?),
        },
        (None, None) => Ok(Tokens::default()),
    }
}

/// Serves until it is told to stop.
pub fn run(plan: Plan, common: &Common) -> Result<()> {
    let tokens = tokens(plan.tokens.as_ref())?;
    let open = !tokens.are_asked();
    let settings = Settings { limits: plan.limits, tokens, log_content: plan.log_content, threads: common.threads };
    let bound = Bound::new(plan.sources, settings, &plan.address)?.with_signals();
    let (address, items) = (bound.address(), bound.items());
    if open && !address.ip().is_loopback() {
        tracing::warn!("everybody who reaches {address} may ask, and give items IDs; `--tokens` says who may");
    }
    say(address, items, common)?;
    Ok(bound.run()?)
}

fn say(address: SocketAddr, items: usize, common: &Common) -> Result<()> {
    if common.json {
        return print_json(&json!({ "address": address, "url": format!("http://{address}"), "items": items }));
    }
    if common.quiet {
        return Ok(());
    }
    print(&format!("serving {} at http://{address}\n", count(items, "item")))
}
