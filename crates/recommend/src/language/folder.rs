//! What lies in a folder beside configuration and weights: tokenizer, settings, chat template.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::chat::ChatTemplate;
use super::config::{LanguageConfig, token_ids};
use super::shards::is_shard;
use super::tokenizer::{LanguageTokenizer, MOST_BYTES};
use super::weights::{INDEX, WHOLE};
use sememe::io::{AtomicFolder, read_bytes_capped, write_bytes_atomic};
use sememe::{Error, Result};

pub(super) const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const OLD_TEMPLATE: &str = "chat_template.json";
const SPECIALS: &str = "special_tokens_map.json";
/// Files that are kept as they are.
const KEPT: [&str; 5] = [SETTINGS, SPECIALS, GENERATION, TEMPLATE, OLD_TEMPLATE];
/// Tokens that an old tokenizer was given; `tokenizer.json` has them all.
const OLD_TOKENS: &str = "added_tokens.json";
/// A file of settings is small; old ones name every added token.
const MOST_SETTINGS_BYTES: u64 = 64 << 20;

/// The small files of a folder, as they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct SmallFiles {
    kept: BTreeMap<&'static str, Vec<u8>>,
}

/// A folder's special tokens by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialTokens {
    pub begin: Option<u32>,
    pub end: Vec<u32>,
    pub padding: Option<u32>,
}

pub(super) fn read_config(folder: &Path) -> Result<LanguageConfig> {
    let path = folder.join(CONFIG);
    match read_small(&path)? {
        Some(bytes) => LanguageConfig::parse(&bytes, &path),
        None => Err(Error::format(folder, format!("has no `{CONFIG}`, so that it is unknown which model it holds"))),
    }
}

pub(super) fn read_tokenizer(folder: &Path) -> Result<LanguageTokenizer> {
    let path = folder.join(TOKENIZER);
    if !path.exists() {
        let older = ["tokenizer.model", "vocab.json", "spiece.model"].iter().find(|name| folder.join(name).exists());
        let hint = older.map_or(String::new(), |name| {
            format!(
                "; its `{name}` becomes one by transformers' `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`"
            )
        });
        return Err(Error::format(folder, format!("has no `{TOKENIZER}`{hint}")));
    }
    let text = String::from_utf8(read_bytes_capped(&path, MOST_BYTES)?)
        .map_err(|e| Error::format(&path, format!("is not UTF-8 text: {e}")))?;
    LanguageTokenizer::parse(text, &path)
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    if path.exists() { read_bytes_capped(path, MOST_SETTINGS_BYTES).map(Some) } else { Ok(None) }
}

impl SmallFiles {
    pub fn read(folder: &Path) -> Result<Self> {
        let mut kept = BTreeMap::new();
        for name in KEPT {
            if let Some(bytes) = read_small(&folder.join(name))? {
                kept.insert(name, bytes);
            }
        }
        Ok(Self { kept })
    }

    fn object(&self, folder: &Path, name: &str) -> Result<Map<String, Value>> {
        let Some(bytes) = self.kept.get(name) else { return Ok(Map::new()) };
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Error::format(folder.join(name), "is no JSON object")),
            Err(e) => Err(Error::format(folder.join(name), format!("is no JSON: {e}"))),
        }
    }

    /// The chat template, if there is one: a file of its own comes before one among the settings.
    pub fn template(&self, folder: &Path) -> Result<Option<ChatTemplate>> {
        let settings = self.object(folder, SETTINGS)?;
        let (name, text) = if let Some(bytes) = self.kept.get(TEMPLATE) {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            let text = text.map_err(|e| Error::format(folder.join(TEMPLATE), format!("is not UTF-8 text: {e}")))?;
            (TEMPLATE, text)
        } else if let Some(value) = settings.get("chat_template").filter(|value| !value.is_null()) {
            (SETTINGS, template_text(value).map_err(|e| Error::format(folder.join(SETTINGS), e))?)
        } else if let Some(value) = self.object(folder, OLD_TEMPLATE)?.get("chat_template") {
            (OLD_TEMPLATE, template_text(value).map_err(|e| Error::format(folder.join(OLD_TEMPLATE), e))?)
        } else {
            return Ok(None);
        };
        let specials = special_texts(&[&settings, &self.object(folder, SPECIALS)?]);
        ChatTemplate::new(&text, &specials).map(Some).map_err(|e| Error::format(folder.join(name), e.to_string()))
    }

    /// The numbers of special tokens: what generation is told comes before what the model and the tokenizer say.
    pub fn specials(
        &self,
        folder: &Path,
        config: &LanguageConfig,
        tokenizer: &LanguageTokenizer,
    ) -> Result<SpecialTokens> {
        let generation = self.object(folder, GENERATION)?;
        let texts = special_texts(&[&self.object(folder, SETTINGS)?, &self.object(folder, SPECIALS)?]);
        let find = |name: &str| {
            let known = |ids: Vec<u32>| -> Vec<u32> {
                ids.into_iter().filter(|id| (*id as usize) < config.shape.vocabulary).collect()
            };
            let id_name = format!("{name}_id");
            let sources = [
                known(token_ids(&generation, &id_name)),
                known(config.token_ids(&id_name)),
                texts.get(name).and_then(|text| tokenizer.id(text)).into_iter().collect(),
            ];
            sources.into_iter().find(|ids| !ids.is_empty()).unwrap_or_default()
        };
        Ok(SpecialTokens {
            begin: find("bos_token").first().copied(),
            end: find("eos_token"),
            padding: find("pad_token").first().copied(),
        })
    }

    /// Starts the folder that a model is written to, with all of its small files in it; the caller writes those `beside` it.
    pub fn write(
        &self,
        folder: &Path,
        tokenizer: &LanguageTokenizer,
        template: Option<&ChatTemplate>,
        beside: &[&str],
    ) -> Result<AtomicFolder> {
        let mut owned: BTreeSet<String> =
            KEPT.into_iter().chain([CONFIG, TOKENIZER, OLD_TOKENS, WHOLE, INDEX]).map(str::to_owned).collect();
        // Shards of an earlier time: as many as there were then.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_shard(&name) {
                owned.insert(name);
            }
        }
        let owned: Vec<&str> = owned.iter().map(String::as_str).chain(beside.iter().copied()).collect();
        let out = AtomicFolder::create(folder, &owned)?;
        for (name, bytes) in &self.kept {
            write_bytes_atomic(out.file(name), bytes)?;
        }
        // Where tokenizers do not look, transformers finds none.
        if let Some(template) = template.filter(|_| self.kept.contains_key(OLD_TEMPLATE)) {
            write_bytes_atomic(out.file(TEMPLATE), template.text().as_bytes())?;
        }
        write_bytes_atomic(out.file(TOKENIZER), tokenizer.text().as_bytes())?;
        Ok(out)
    }
}

/// A template that stands alone, or the one named `default` of several.
fn template_text(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(list) => {
            let find = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
            let text = list.iter().find(find).and_then(|entry| entry.get("template")).and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| "`chat_template`: has several, none of them named `default`".into())
        }
        other => Err(format!("`chat_template`: expected a text, got {other}")),
    }
}

/// Texts of special tokens, under the names that templates know them by; what stands first counts.
fn special_texts(files: &[&Map<String, Value>]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (name, value) in files.iter().flat_map(|fields| fields.iter()) {
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
        if let (true, Some(text)) = (name.ends_with("_token"), text) {
            out.entry(name.clone()).or_insert_with(|| text.to_owned());
        }
    }
    out
}
