//! What turns texts into vectors: an endpoint, or a model in a folder, by the flags of every verb that takes texts.

use crate::failure::usage;
use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use sememe_text::embed::Embedder;
#[cfg(feature = "embed-http")]
use serde_json::Value;
use std::path::PathBuf;
#[cfg(feature = "embed-http")]
use std::time::Duration;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Endpoint")]
pub struct EndpointFlags {
    /// Base URL of an OpenAI-compatible server, such as http://localhost:8000/v1
    #[arg(long, value_name = "URL", conflicts_with = "model_folder")]
    pub url: Option<String>,
    /// Environment variable that holds the API key [default: no key is sent]
    #[arg(long, value_name = "NAME", conflicts_with = "model_folder")]
    pub api_key_env: Option<String>,
    /// More fields for the request, as a JSON object: '{"truncate_prompt_tokens":512}'
    #[arg(long, value_name = "JSON", conflicts_with = "model_folder")]
    pub extra: Option<String>,
    /// Requests at once [default: 4]
    #[arg(long, value_name = "N", conflicts_with = "model_folder")]
    pub concurrency: Option<usize>,
    /// Seconds before a request times out [default: 60]
    #[arg(long, value_name = "SECONDS", conflicts_with = "model_folder")]
    pub timeout: Option<f64>,
    /// Retries after 408, 429, 5xx, a timeout or a broken connection [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "model_folder")]
    pub retries: Option<u32>,
    /// Seconds before the first retry, doubled for each one after it; Retry-After overrides it [default: 0.5]
    #[arg(long, value_name = "SECONDS", conflicts_with = "model_folder")]
    pub backoff: Option<f64>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model in a folder")]
pub struct LocalFlags {
    /// Folder with a model in Hugging Face's layout, to run here: config.json, tokenizer.json, model.safetensors
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub model_folder: Option<PathBuf>,
    /// How tokens become one vector [default: as the folder says, or mean for encoders and last for decoders]
    #[arg(long, value_name = "HOW", conflicts_with = "url")]
    pub pooling: Option<PoolingChoice>,
    /// At most so many tokens per text; longer texts are cut [default: as the folder says]
    #[arg(long, value_name = "N", conflicts_with = "url")]
    pub max_tokens: Option<usize>,
    /// Which prompt of the folder to put before every text; '' for none [default: as the folder says]
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub prompt: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingChoice {
    /// Mean of all tokens
    Mean,
    /// The first token
    Cls,
    /// The last token
    Last,
}

/// The model that the flags name, if they name one.
pub fn embed_model(
    model: Option<String>,
    dimensions: Option<usize>,
    at: EndpointFlags,
    here: LocalFlags,
) -> Result<Option<EmbedModel>> {
    Ok(Some(match (here.model_folder.clone(), at.url.clone()) {
        (Some(folder), _) => local(folder, model, dimensions, here)?,
        (None, Some(url)) => {
            let name = model.ok_or_else(|| usage("`--url` needs `--model`, the model's name at the endpoint"))?;
            endpoint(url, name, dimensions, at)?
        }
        (None, None) => return Ok(None),
    }))
}

/// What makes vectors.
pub struct EmbedModel {
    embedder: Box<dyn Embedder + Send>,
    place: (&'static str, String),
}

impl EmbedModel {
    pub fn embedder(&self) -> &dyn Embedder {
        &*self.embedder
    }

    /// It alone, for whoever keeps it.
    #[cfg(feature = "serve")]
    pub fn into_embedder(self) -> Box<dyn Embedder + Send> {
        self.embedder
    }

    /// Where it is asked, for JSON.
    pub fn place(&self) -> (&'static str, String) {
        self.place.clone()
    }
}

#[cfg(feature = "embed-http")]
fn endpoint(url: String, model: String, dimensions: Option<usize>, e: EndpointFlags) -> Result<EmbedModel> {
    let mut endpoint = sememe_text::embed::Endpoint::new(url, model);
    let key = e.api_key_env.map(|name| sememe_text::embed::ApiKey::from_env(&name));
    endpoint.api_key = key.transpose()?;
    endpoint.dimensions = dimensions;
    if let Some(timeout) = e.timeout {
        endpoint.timeout = seconds("--timeout", timeout)?;
    }
    if let Some(retries) = e.retries {
        endpoint.retries = retries;
    }
    if let Some(backoff) = e.backoff {
        endpoint.backoff = seconds("--backoff", backoff)?;
    }
    if let Some(text) = e.extra {
        endpoint.extra = match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(usage("`--extra`: expected a JSON object, such as '{\"truncate\":true}'")),
            Err(e) => return Err(usage(format!("`--extra` is no JSON: {e}"))),
        };
    }
    let embedder = endpoint.connect()?;
    let place = ("url", embedder.url().to_owned());
    Ok(EmbedModel { embedder: Box::new(embedder), place })
}

#[cfg(not(feature = "embed-http"))]
fn endpoint(_: String, _: String, _: Option<usize>, _: EndpointFlags) -> Result<EmbedModel> {
    Err(usage("`--url` needs a program built with `--features embed-http`"))
}

#[cfg(feature = "embed")]
fn local(folder: PathBuf, model: Option<String>, dimensions: Option<usize>, flags: LocalFlags) -> Result<EmbedModel> {
    use PoolingChoice as Choice;
    use sememe_text::embed::{LocalModel, Pooling};
    let pooling = flags.pooling.map(|choice| match choice {
        Choice::Mean => Pooling::Mean,
        Choice::Cls => Pooling::Cls,
        Choice::Last => Pooling::Last,
    });
    let local =
        LocalModel { folder, name: model, pooling, max_tokens: flags.max_tokens, dimensions, prompt: flags.prompt };
    let embedder = local.open()?;
    let place = ("model_folder", embedder.folder().display().to_string());
    Ok(EmbedModel { embedder: Box::new(embedder), place })
}

#[cfg(not(feature = "embed"))]
fn local(_: PathBuf, _: Option<String>, _: Option<usize>, _: LocalFlags) -> Result<EmbedModel> {
    Err(usage("`--model-folder` needs a program built with `--features embed`"))
}

#[cfg(feature = "embed-http")]
fn seconds(flag: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| usage(format!("`{flag}`: {value} is no number of seconds")))
}
