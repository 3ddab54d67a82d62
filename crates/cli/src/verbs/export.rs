//! `sememe export`.

use crate::failure::usage;
use crate::given::Given;
#[cfg(feature = "import")]
use crate::given::Takes;
use crate::id_format::{Sizes, SizesPlan, Spelling, SpellingPlan, pick, sizes, spelling};
#[cfg(feature = "import")]
use crate::output::output;
use crate::output::{print, print_json};
use crate::progress::{Progress, stopped};
use crate::text::{count, size, time, whole};
use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
#[cfg(feature = "import")]
use sememe::Codec;
use sememe::Error;
use sememe::ids::{Export, TextFormat, Tokenizer, Vocabulary};
use sememe::io::{AtomicFolder, CodesFile, read_codes_file, read_keys, read_titles, write_bytes_atomic};
#[cfg(feature = "import")]
use sememe_import::ExportFormat;
use serde_json::json;
#[cfg(feature = "import")]
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Flags {
    /// Codes: .npy, .parquet, .jsonl or .csv; with --format a codec
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// Folder to write to, made if it does not exist: vocabulary.json, special_tokens.json, index.json, items.jsonl, ids.trie;
    /// with --title info.tsv, with --tokenizer tokenizer.json, with --static static.npz, with --python-helper sememe_trie.py; with --format a
    /// file
    #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    #[cfg(feature = "import")]
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    #[arg(help = "Write a codec for another system instead: faiss or numpy (.npz), torch-safetensors (.safetensors)")]
    pub format: Option<CodecFormat>,
    #[command(flatten)]
    pub sizes: Sizes,
    #[command(flatten)]
    pub spelling: Spelling,
    /// The items, in the order of the encoded rows: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Items")]
    pub items: Option<PathBuf>,
    /// Field or column with each item's key; without --items keys are row numbers
    #[arg(long, value_name = "NAME", default_value = "id", requires = "items", help_heading = "Items")]
    pub key: String,
    /// Field or column with each item's title, for info.tsv
    #[arg(long, value_name = "NAME", requires = "items", help_heading = "Items")]
    pub title: Option<String>,
    /// Number of the first new token: the size of the model's vocabulary [default: 0; with --tokenizer, where its tokens end]
    #[arg(long, value_name = "N", help_heading = "Tokens")]
    pub first_token_id: Option<u32>,
    /// The model's tokenizer.json (Hugging Face); it is written again with the new tokens added
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, help_heading = "Tokens")]
    pub tokenizer: Option<PathBuf>,
    /// Number of the model's token that ends an ID [default: the spelling's own, if it has one]
    #[arg(long, value_name = "N", help_heading = "Tokens")]
    pub end_token_id: Option<u32>,
    /// Text of the model's token that ends an ID, such as </s>; the tokenizer knows its number
    #[arg(long, value_name = "TEXT", requires = "tokenizer", conflicts_with = "end_token_id", help_heading = "Tokens")]
    pub end_token: Option<String>,
    /// A special token of your own, such as [REC]; may be given several times
    #[arg(long, value_name = "TEXT", help_heading = "Tokens")]
    pub special_token: Vec<String>,
    /// Write no trie
    #[arg(long, conflicts_with_all = ["end_token_id", "end_token", "layout", "python_helper"], help_heading = "Constrained decoding")]
    pub no_trie: bool,
    /// Write sememe_trie.py: the trie for transformers' prefix_allowed_tokens_fn, with numpy alone
    #[arg(long, help_heading = "Constrained decoding")]
    pub python_helper: bool,
    #[arg(
        long = "static",
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true,
        help_heading = "Constrained decoding"
    )]
    #[arg(help = "Also write the trie's arrays for STATIC's decoders in PyTorch and JAX: npz or safetensors")]
    pub layout: Option<StaticFormat>,
    /// How many first tokens STATIC looks up in dense tables, 1 or 2; tables for 2 take 5 bytes per pair of tokens
    #[arg(long, value_name = "N", default_value_t = 2, requires = "layout", help_heading = "Constrained decoding")]
    pub static_dense: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StaticFormat {
    Npz,
    Safetensors,
}

/// The systems that codecs are written for.
#[cfg(feature = "import")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CodecFormat {
    Faiss,
    Numpy,
    TorchSafetensors,
}

#[cfg(feature = "import")]
impl CodecFormat {
    fn wanted(self) -> ExportFormat {
        match self {
            Self::Faiss => ExportFormat::Faiss,
            Self::Numpy => ExportFormat::Numpy,
            Self::TorchSafetensors => ExportFormat::TorchSafetensors,
        }
    }
}

/// What is written.
pub enum Plan {
    /// Files for language models, of codes.
    Bundle(Box<BundlePlan>),
    /// A codec for another system.
    #[cfg(feature = "import")]
    Codec { codec: PathBuf, output: PathBuf, format: ExportFormat },
}

/// Where items' keys and titles are.
pub struct ItemsPlan {
    pub path: PathBuf,
    pub key: String,
    pub title: Option<String>,
}

pub struct BundlePlan {
    pub codes: PathBuf,
    pub folder: PathBuf,
    pub sizes: SizesPlan,
    pub spelling: SpellingPlan,
    pub items: Option<ItemsPlan>,
    pub first_token_id: Option<u32>,
    pub tokenizer: Option<PathBuf>,
    pub end_token_id: Option<u32>,
    pub end_token: Option<String>,
    pub special_tokens: Vec<String>,
    pub trie: bool,
    pub python_helper: bool,
    /// The file's name, and how many levels are dense.
    pub layout: Option<(&'static str, usize)>,
}

pub fn plan(flags: Flags, given: &Given) -> Result<Plan> {
    #[cfg(feature = "import")]
    if let Some(format) = flags.format {
        // Whatever else there is says something of codes.
        let own = Takes { choice: "", groups: &[], flags: &["codes", "output", "format"] };
        if let Some(flag) = given.outside(&own) {
            return Err(usage(format!(
                "`--{flag}` is about codes, and `--format` writes a codec; leave one of them out"
            )));
        }
        let format = format.wanted();
        output(
            &flags.output,
            &[format.extension()],
            &format!("{} is written as", format.name()),
            &[&flags.codes],
            true,
        )?;
        return Ok(Plan::Codec { codec: flags.codes, output: flags.output, format });
    }
    #[cfg(not(feature = "import"))]
    let _ = given;
    bundle(flags).map(|plan| Plan::Bundle(Box::new(plan)))
}

fn bundle(flags: Flags) -> Result<BundlePlan> {
    let (sizes, spelling) = (sizes(flags.sizes)?, spelling(flags.spelling)?);
    let folder = flags.output;
    if folder.exists() && !folder.is_dir() {
        return Err(usage(format!("`{}` is not a folder; give one, to hold several files", folder.display())));
    }
    let end_given = flags.end_token_id.is_some() || flags.end_token.is_some();
    if !flags.no_trie && !end_given && spelling.template.end.is_empty() {
        return Err(usage(
            "`--end-token-id` is needed for the trie, as this spelling has no token that ends an ID; give the number of the \
             model's own (or `--tokenizer` and `--end-token` with its text), or `--no-trie`",
        ));
    }
    if !(1..=2).contains(&flags.static_dense) {
        return Err(usage(format!("`--static-dense`: expected 1 or 2, got {}", flags.static_dense)));
    }
    let layout = flags.layout.map(|format| match format {
        StaticFormat::Npz => ("static.npz", flags.static_dense),
        StaticFormat::Safetensors => ("static.safetensors", flags.static_dense),
    });
    if let (Some(given), true) = (&flags.tokenizer, folder.is_dir()) {
        let target = folder.join("tokenizer.json");
        if target.canonicalize().ok().is_some_and(|target| given.canonicalize().is_ok_and(|given| given == target)) {
            return Err(usage(format!(
                "`{}` would be replaced by the patched one; give another folder",
                given.display()
            )));
        }
    }
    let (key, title) = (flags.key, flags.title);
    Ok(BundlePlan {
        codes: flags.codes,
        folder,
        sizes,
        spelling,
        items: flags.items.map(|path| ItemsPlan { path, key, title }),
        first_token_id: flags.first_token_id,
        tokenizer: flags.tokenizer,
        end_token_id: flags.end_token_id,
        end_token: flags.end_token,
        special_tokens: flags.special_token,
        trie: !flags.no_trie,
        python_helper: flags.python_helper,
        layout,
    })
}

/// The trie for transformers, as it is in the repository.
const PYTHON_HELPER: &str = include_str!("../../../../python/sememe_trie.py");

/// What a bundle consists of: what an earlier export wrote of it and this one does not is removed. A `tokenizer.json` stays, which may be
/// the model's own.
const BUNDLE: [&str; 9] = [
    "vocabulary.json",
    "special_tokens.json",
    "index.json",
    "items.jsonl",
    "info.tsv",
    "ids.trie",
    "static.npz",
    "static.safetensors",
    "sememe_trie.py",
];

/// Writes what is planned.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    match plan {
        Plan::Bundle(plan) => write_bundle(plan, progress),
        #[cfg(feature = "import")]
        Plan::Codec { codec, output, format } => write_codec(codec, output, *format, progress),
    }
}

/// Writes a codec for another system.
#[cfg(feature = "import")]
fn write_codec(path: &Path, output: &Path, format: ExportFormat, progress: &Progress) -> Result<()> {
    let codec = Codec::load(path)?;
    let notes = sememe_import::export(&codec, format, output)?;
    progress.finish();
    notes.iter().for_each(|note| progress.note(&note.to_string()));
    if progress.json {
        return print_json(&json!({
            "output": output.display().to_string(),
            "format": format.name(),
            "codec": codec.content_hash(),
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    print(&format!("wrote {} for {}\n", output.display(), format.name()))
}

/// Writes all files or none; codes, keys and the trie are held in memory.
fn write_bundle(plan: &BundlePlan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let file = read_codes_file(&plan.codes)?;
    let width = file.codes.levels();
    let sizes = plan.sizes.resolve(Some(width.saturating_sub(plan.spelling.counters())))?;
    let format = plan.spelling.bind(&sizes)?;
    if format.width() != width {
        let place = plan.codes.display().to_string();
        return Err(Error::Shape { what: "levels", expected: format.width(), got: width, place }.into());
    }
    let counters = if format.has_counter() { file.codes.iter().filter_map(|id| id.last()).max() } else { None };
    let tokenizer = plan.tokenizer.as_ref().map(Tokenizer::load).transpose()?;
    let vocabulary = vocabulary(plan, &format, counters.copied().unwrap_or(0), tokenizer.as_ref())?;
    let end = end(plan, tokenizer.as_ref())?;
    let (keys, titles) = items(plan, &file)?;
    let export = Export::new(&format, &file.codes, &keys)?;
    // What can fail on the data comes before the first file.
    let patched = tokenizer.as_ref().map(|tokenizer| tokenizer.with_tokens(&vocabulary)).transpose()?;
    let trie = if plan.trie { Some(export.trie(&vocabulary, end)?) } else { None };
    let layout = match (&trie, plan.layout) {
        (Some(trie), Some((name, dense))) => {
            // A vocabulary ends before 2^32 - 1.
            let tokens = vocabulary.first_id()..vocabulary.embedding_rows() as u32;
            Some((name, trie.static_layout(tokens, dense)?))
        }
        _ => None,
    };
    if stopped() {
        return Err(Error::Interrupted(String::new()).into());
    }
    let bundle = AtomicFolder::create(&plan.folder, &BUNDLE)?;
    let mut written = Vec::new();
    let mut at = |name: &str| {
        written.push(name.to_owned());
        bundle.file(name)
    };
    vocabulary.save(at("vocabulary.json"))?;
    vocabulary.save_special_tokens(at("special_tokens.json"))?;
    export.index(at("index.json"))?;
    export.items(at("items.jsonl"))?;
    if let Some(titles) = &titles {
        export.info(at("info.tsv"), titles)?;
    }
    if let Some(trie) = &trie {
        trie.save(at("ids.trie"))?;
    }
    if let Some((name, layout)) = &layout {
        layout.save(at(name))?;
    }
    if let Some(text) = &patched {
        write_bytes_atomic(at("tokenizer.json"), text.as_bytes())?;
    }
    if plan.python_helper {
        write_bytes_atomic(at("sememe_trie.py"), PYTHON_HELPER.as_bytes())?;
    }
    bundle.commit()?;
    progress.finish();
    if tokenizer.is_some() && !format.template().separator.is_empty() {
        progress.note(&format!(
            "the tokenizer makes tokens of its own of the separator {:?}, which are not in the trie: train on IDs without it, as with \
             `--separator ''`",
            format.template().separator
        ));
    }
    let (rows, seconds) = (file.codes.rows(), begun.elapsed().as_secs_f64());
    if progress.json {
        return print_json(&json!({
            "output": plan.folder.display().to_string(),
            "files": written,
            "rows": rows,
            "template": format.template(),
            "tokens": vocabulary.tokens().len(),
            "special_tokens": vocabulary.special_tokens(),
            "first_token_id": vocabulary.first_id(),
            "embedding_rows": vocabulary.embedding_rows(),
            "end_token_id": trie.as_ref().map(sememe::ids::Trie::end),
            "trie_bytes": trie.as_ref().map(sememe::ids::Trie::len_bytes),
            "tokenizer": plan.tokenizer.as_ref().map(|path| path.display().to_string()),
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let trie = trie.map_or_else(String::new, |trie| format!(", a trie of {}", size(trie.len_bytes() as u64)));
    print(&format!(
        "wrote {}: {}\n{}, {}{trie} in {}; the model's embedding needs {} rows\n",
        plan.folder.display(),
        written.join(", "),
        count(rows as u64, "item"),
        count(vocabulary.tokens().len() as u64, "token"),
        time(seconds),
        whole(vocabulary.embedding_rows() as u64)
    ))
}

/// The vocabulary, numbered on from the tokenizer's own tokens if there is one.
fn vocabulary(
    plan: &BundlePlan,
    format: &TextFormat,
    counters: u32,
    tokenizer: Option<&Tokenizer>,
) -> Result<Vocabulary> {
    let first = match (plan.first_token_id, tokenizer.map(Tokenizer::next_id)) {
        (Some(given), Some(next)) if given != next => {
            return Err(usage(format!(
                "`--first-token-id` is {given}, but the tokens of the tokenizer end before {next}, where added tokens go on; leave it out"
            )));
        }
        (given, next) => given.or(next).unwrap_or(0),
    };
    let own: Vec<&str> = plan.special_tokens.iter().map(String::as_str).collect();
    Ok(Vocabulary::new(format, counters, first, &own)?)
}

/// The number of the token that ends an ID, if one is named.
fn end(plan: &BundlePlan, tokenizer: Option<&Tokenizer>) -> Result<Option<u32>> {
    let Some(tokenizer) = tokenizer else { return Ok(plan.end_token_id) };
    if let Some(text) = &plan.end_token {
        let unknown = || usage(format!("`--end-token`: the tokenizer has no token `{text}`"));
        return tokenizer.id(text).map(Some).ok_or_else(unknown);
    }
    match plan.end_token_id.filter(|id| *id >= tokenizer.next_id()) {
        Some(id) => Err(usage(format!(
            "`--end-token-id`: the tokenizer has no token {id}, they end before {}",
            tokenizer.next_id()
        ))),
        None => Ok(plan.end_token_id),
    }
}

/// Each row's key, and its title if one is wanted.
fn items(plan: &BundlePlan, file: &CodesFile) -> Result<(Vec<String>, Option<Vec<String>>)> {
    let rows = file.codes.rows();
    let number = |i: usize| file.rows.as_ref().map_or(i as u64, |numbers| numbers[i]);
    let Some(items) = &plan.items else {
        if let Some(keys) = &file.keys {
            return Ok((keys.clone(), None));
        }
        return Ok(((0..rows).map(|i| number(i).to_string()).collect(), None));
    };
    let pick = |all: Vec<String>| pick(all, file, &plan.codes, &items.path);
    let keys = pick(read_keys(&items.path, &items.key)?)?;
    let titles = items.title.as_ref().map(|title| pick(read_titles(&items.path, title)?)).transpose()?;
    Ok((keys, titles))
}
