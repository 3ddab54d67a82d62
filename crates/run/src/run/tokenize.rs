//! Phase tokenize: IDs to tokens, and the files that trainers and servers of language models read.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::assign_ids::{AssignedId, IDS};
use super::items::PreparedItems;
use super::train::CODEC;
use super::{Context, Phase, PhaseOutput, assign_ids, items};
use crate::config::CollisionPolicy;
use crate::recall::measure_recall;
use sememe::codec::Codec;
use sememe::data::Codes;
use sememe::eval::measure_codes;
use sememe::ids::{Export, TextFormat, Tokenizer, Vocabulary};
use sememe::io::{AtomicFile, write_bytes_atomic};
use sememe::progress::{Event, check};
use sememe::{Error, Result};

/// The recall report, if the configuration asks for one.
pub(super) const RECALL: &str = "tokenize/recall_report.json";
/// A line an item: key, codes, the ID as text.
pub(super) const SEMANTIC_IDS: &str = "tokenize/semantic_ids.jsonl";

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let mut value = serde_json::to_value(&context.written.tokenize).map_err(|e| Error::Data(e.to_string()))?;
    if let Value::Object(map) = &mut value {
        // A further level is spelt as one.
        map.insert("policy".into(), json!(context.written.assign.policy));
        map.insert("recall".into(), json!(context.written.recall));
    }
    Ok(value)
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    let mut out = vec![
        ("the items", context.at(super::prep::ITEMS)),
        ("the IDs", context.at(IDS)),
        ("the codec", context.at(CODEC)),
    ];
    if let Some(tokenizer) = &context.config.tokenize.tokenizer {
        out.push(("the tokenizer", tokenizer.clone()));
    }
    if let Some(recall) = &context.config.recall {
        out.push(("the interactions", recall.source.clone()));
    }
    out
}

/// IDs in the configured spelling: the text format and the codes it is applied to.
pub(super) struct SpelledIds {
    pub(super) format: TextFormat,
    /// `[items, width]`.
    pub(super) codes: Codes,
    /// The largest counter.
    pub(super) most_counter: u32,
}

/// The IDs of a policy in the configuration's spelling.
pub(super) fn spell_ids(context: &Context<'_>, sizes: &[usize], lines: &[AssignedId]) -> Result<SpelledIds> {
    let levels = sizes.len();
    let most_counter = lines.iter().map(|line| line.counter).max().unwrap_or(0);
    let template = context.config.tokenize.spelling();
    let format = match context.config.assign.policy {
        CollisionPolicy::ExtraLevel => {
            let mut sizes = sizes.to_vec();
            sizes.push(most_counter as usize + 1);
            TextFormat::new(template, &sizes)?
        }
        CollisionPolicy::Error => TextFormat::new(template, sizes)?,
        CollisionPolicy::Suffix | CollisionPolicy::Relocate => TextFormat::new(template, sizes)?.with_counter()?,
    };
    let mut values = Vec::with_capacity(lines.len() * format.width());
    for line in lines {
        if line.codes.len() != levels {
            let got = line.codes.len();
            return Err(Error::format(context.at(IDS), format!("`{}` has {got} codes, the codec {levels}", line.id)));
        }
        values.extend(&line.codes);
        if format.width() > levels {
            values.push(line.counter);
        } else if line.counter > 0 {
            return Err(Error::Data(format!(
                "`{}` shares its codes with another item, which `policy = \"error\"` does not allow",
                line.id
            )));
        }
    }
    let codes = Codes::from_vec(lines.len(), format.width(), values)?;
    Ok(SpelledIds { format, codes, most_counter })
}

#[derive(Serialize)]
struct IdLine<'a> {
    id: &'a str,
    codes: &'a [u32],
    counter: u32,
    semantic_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let codec = Codec::load(context.at(CODEC))?;
    let sizes = codec.codebook_sizes();
    let items = items::with_vectors(context)?;
    let lines = assign_ids::read(context)?;
    if let Some(other) = items.keys.iter().zip(&lines).position(|(key, line)| *key != line.id) {
        return Err(Error::format(
            context.at(IDS),
            format!("line {}: is of another item; run assign again", other + 1),
        ));
    }
    if lines.len() != items.keys.len() {
        let problem = format!("has {} items, prep {}; run assign again", lines.len(), items.keys.len());
        return Err(Error::format(context.at(IDS), problem));
    }
    let SpelledIds { format, codes, most_counter } = spell_ids(context, &sizes, &lines)?;
    let token_set = tokens(context, &format, most_counter)?;
    let export = Export::new(&format, &codes, &items.keys)?;
    let trie = match &token_set {
        Some(TokenSet { vocabulary, end: Some(end), .. }) => Some(export.trie(vocabulary, Some(*end))?),
        _ => None,
    };
    context.observer.event(Event::Phase { name: "tokenize", total: Some(lines.len() as u64), unit: "items" });
    context.phase_folder(Phase::Tokenize)?;
    let mut outputs: Vec<PathBuf> = Vec::new();
    let mut at = |name: &str| {
        let path = PathBuf::from("tokenize").join(name);
        let whole = context.folder.join(&path);
        outputs.push(path);
        whole
    };
    map(context, &format, &codes, &lines, &items, &at("semantic_ids.jsonl"), &at("semantic_lookup.tsv"))?;
    export.items(at("semantic_id_to_item.jsonl"))?;
    if let Some(TokenSet { vocabulary, tokenizer, .. }) = &token_set {
        vocabulary.save(at("semantic_vocab.json"))?;
        vocabulary.save_special_tokens(at("special_tokens.json"))?;
        export.index(at("index.json"))?;
        if let Some(text) = tokenizer {
            write_bytes_atomic(at("tokenizer.json"), text.as_bytes())?;
        }
    }
    if let Some(trie) = &trie {
        trie.save(at("ids.trie"))?;
    }
    check(context.observer)?;
    inspect(context, &lines, &items, &at("cluster_inspection.jsonl"))?;
    let own_codes =
        Codes::from_vec(lines.len(), sizes.len(), lines.iter().flat_map(|l| l.codes.iter().copied()).collect())?;
    let measures = measure_codes(&own_codes, &sizes)?;
    let summary = json!({
        "items": lines.len(),
        "codec": codec.content_hash(),
        "policy": context.config.assign.policy,
        "clusters": measures,
    });
    write_bytes_atomic(at("cluster_summary.json"), format!("{summary:#}\n").as_bytes())?;
    let recall = match &context.config.recall {
        Some(recall) => {
            let report = measure_recall(recall, &items.keys, &own_codes, context.observer)?;
            let text = serde_json::to_string_pretty(&report).map_err(|e| Error::Data(e.to_string()))?;
            write_bytes_atomic(at("recall_report.json"), format!("{text}\n").as_bytes())?;
            Some(report)
        }
        None => None,
    };
    let vocabulary = token_set.as_ref().map(|token_set| &token_set.vocabulary);
    let mut summary = match vocabulary {
        Some(vocabulary) => format!(
            "{} IDs in {} tokens{}; a model's embedding needs {} rows",
            lines.len(),
            vocabulary.tokens().len(),
            if trie.is_some() { ", with their trie" } else { "" },
            vocabulary.embedding_rows()
        ),
        None => format!("{} IDs as text; this spelling has no token a code, so there is no vocabulary", lines.len()),
    };
    if let Some(report) = &recall {
        let m = &report.measures;
        summary.push_str(&format!(
            "; recall@{} {:.4} of {} items, {:.4} by chance",
            m.k, m.recall, m.items, m.recall_by_chance
        ));
    }
    let facts = json!({
        "recall": recall.as_ref().map(|report| &report.measures),
        "items": lines.len(),
        "tokens": vocabulary.map(|vocabulary| vocabulary.tokens().len()),
        "special_tokens": vocabulary.map(Vocabulary::special_tokens),
        "first_token_id": vocabulary.map(Vocabulary::first_id),
        "embedding_rows": vocabulary.map(Vocabulary::embedding_rows),
        "template": format.template(),
        "trie": trie.is_some(),
        "example": lines.first().map(|_| format.write(codes.row(0))).transpose()?,
    });
    Ok(PhaseOutput { outputs, facts, summary })
}

/// The tokens of all IDs, for a language model.
struct TokenSet {
    vocabulary: Vocabulary,
    /// The model's tokenizer with these tokens.
    tokenizer: Option<String>,
    /// The token that ends an ID.
    end: Option<u32>,
}

/// The tokens of a spelling, if it has one of its own for every code, as `12-5-33` has not.
fn tokens(context: &Context<'_>, format: &TextFormat, most_counter: u32) -> Result<Option<TokenSet>> {
    let settings = &context.config.tokenize;
    if let Err(e) = format.vocabulary() {
        let wanted = [
            (settings.tokenizer.is_some(), "tokenizer"),
            (settings.end_token_id.is_some(), "end_token_id"),
            (!settings.special_tokens.is_empty(), "special_tokens"),
            (settings.first_token_id != 0, "first_token_id"),
        ];
        return match wanted.iter().find(|(given, _)| *given) {
            Some((_, field)) => {
                Err(Error::config(format!("tokenize.{field}"), format!("needs a spelling with a token a code: {e}")))
            }
            None => Ok(None),
        };
    }
    let tokenizer = settings.tokenizer.as_ref().map(Tokenizer::load).transpose()?;
    let first = tokenizer.as_ref().map_or(settings.first_token_id, Tokenizer::next_id);
    let own: Vec<&str> = settings.special_tokens.iter().map(String::as_str).collect();
    let vocabulary = Vocabulary::new(format, most_counter, first, &own)?;
    let end = end(context, tokenizer.as_ref())?.or(vocabulary.end());
    let tokenizer = tokenizer.as_ref().map(|tokenizer| tokenizer.with_tokens(&vocabulary)).transpose()?;
    Ok(Some(TokenSet { vocabulary, tokenizer, end }))
}

/// The number of the token that ends an ID, if one is named.
fn end(context: &Context<'_>, tokenizer: Option<&Tokenizer>) -> Result<Option<u32>> {
    let settings = &context.config.tokenize;
    match (&settings.end_token, tokenizer) {
        (Some(text), Some(tokenizer)) => {
            let unknown = || Error::config("tokenize.end_token", format!("the tokenizer has no token `{text}`"));
            tokenizer.id(text).map(Some).ok_or_else(unknown)
        }
        _ => Ok(settings.end_token_id),
    }
}

/// Every item with its ID, as JSONL and as a table.
fn map(
    context: &Context<'_>,
    format: &TextFormat,
    codes: &Codes,
    lines: &[AssignedId],
    items: &PreparedItems,
    ids: &std::path::Path,
    lookup: &std::path::Path,
) -> Result<()> {
    let mut ids = AtomicFile::create(ids)?;
    let mut lookup = AtomicFile::create(lookup)?;
    lookup.put(b"id\tsemantic_id\tcodes\ttitle\n")?;
    let breaks = ['\t', '\n', '\r'];
    let mut row = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i.is_multiple_of(4096) {
            check(context.observer)?;
        }
        let text = format.write(codes.row(i))?;
        let title = items.titles.get(i).map(String::as_str);
        let value = IdLine { id: &line.id, codes: &line.codes, counter: line.counter, semantic_id: &text, title };
        let mut json = serde_json::to_vec(&value).map_err(|e| ids.failed(e.into()))?;
        json.push(b'\n');
        ids.put(&json)?;
        row.clear();
        // As in `12-5-33`, `12-5-33-1`: a counter of 0 is not written.
        let width = codes.levels() - usize::from(format.has_counter() && line.counter == 0);
        let plain: Vec<String> = codes.row(i)[..width].iter().map(u32::to_string).collect();
        let title = title.unwrap_or_default().replace(breaks, " ");
        let key = line.id.replace(breaks, " ");
        let _ = writeln!(row, "{key}\t{text}\t{}\t{title}", plain.join("-"));
        lookup.put(row.as_bytes())?;
    }
    ids.commit()?;
    lookup.commit()
}

#[derive(Serialize)]
struct Cluster<'a> {
    depth: usize,
    prefix: &'a [u32],
    items: usize,
    examples: Vec<Example<'a>>,
}

#[derive(Serialize)]
struct Example<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

/// Every prefix with some of its items, level by level, in the order of the codes.
fn inspect(context: &Context<'_>, lines: &[AssignedId], items: &PreparedItems, path: &std::path::Path) -> Result<()> {
    let clusters = &context.config.tokenize.clusters;
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|a, b| lines[*a].codes.cmp(&lines[*b].codes));
    let levels = lines.first().map_or(0, |line| line.codes.len());
    let mut file = AtomicFile::create(path)?;
    for depth in 1..=clusters.depth.min(levels) {
        for group in order.chunk_by(|a, b| lines[*a].codes[..depth] == lines[*b].codes[..depth]) {
            // Spread over the cluster, rather than its first sub-cluster.
            let shown = clusters.examples.min(group.len());
            let examples = (0..shown)
                .map(|at| group[at * group.len() / shown])
                .map(|i| Example { id: &lines[i].id, title: items.titles.get(i).map(String::as_str) });
            let cluster = Cluster {
                depth,
                prefix: &lines[group[0]].codes[..depth],
                items: group.len(),
                examples: examples.collect(),
            };
            let mut text = serde_json::to_vec(&cluster).map_err(|e| file.failed(e.into()))?;
            text.push(b'\n');
            file.put(&text)?;
        }
    }
    file.commit()
}
