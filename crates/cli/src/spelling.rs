//! Plans of the verbs that spell IDs: which template, which codebooks.

use crate::args::{Export, Format, Parse, PolicyChoice, Resolve, Sizes, Spelling, StaticFormat, StyleChoice};
use crate::failure::usage;
use crate::plan::{output, writes_parquet};
use anyhow::Result;
use sememe::ids::{IdTemplate, Style, TextFormat};
use sememe::io::CodesFile;
use sememe::{Codec, Error};
use std::path::{Path, PathBuf};

/// What an ID looks like; bound to codebooks once those are known.
pub struct SpellingPlan {
    template: IdTemplate,
    counter: bool,
}

/// Where the sizes of the codebooks come from.
pub enum SizesPlan {
    Codec(PathBuf),
    Given(Vec<usize>),
}

pub struct FormatPlan {
    pub codes: PathBuf,
    pub output: PathBuf,
    pub sizes: SizesPlan,
    pub spelling: SpellingPlan,
}

pub struct ParsePlan {
    pub ids: PathBuf,
    pub output: PathBuf,
    pub sizes: SizesPlan,
    pub levels: Option<usize>,
    pub spelling: SpellingPlan,
}

/// Where items' keys and titles are.
pub struct ItemsPlan {
    pub path: PathBuf,
    pub key: String,
    pub title: Option<String>,
}

pub struct ExportPlan {
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

pub fn export(flags: Export) -> Result<ExportPlan> {
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
    Ok(ExportPlan {
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

pub struct ResolvePlan {
    pub codes: PathBuf,
    pub output: PathBuf,
    pub items: PathBuf,
    pub key: String,
    pub policy: PolicyChoice,
    pub codec_and_rows: Option<(PathBuf, PathBuf)>,
    pub array: Option<String>,
    pub capacity: usize,
}

pub fn resolve(flags: Resolve) -> Result<ResolvePlan> {
    let codec_and_rows = flags.codec.zip(flags.rows);
    match (flags.policy, &codec_and_rows) {
        (PolicyChoice::Relocate, None) => {
            return Err(usage("`--policy relocate` needs `--codec` and `--rows`, to tell what other codes cost"));
        }
        (PolicyChoice::Relocate, Some(_)) => {}
        (_, Some(_)) => return Err(usage("`--codec` and `--rows` go with `--policy relocate` only; leave them out")),
        _ => {}
    }
    if flags.capacity == 0 {
        return Err(usage("`--capacity`: expected at least 1 item an ID, got 0"));
    }
    let mut inputs = vec![flags.codes.as_path(), &flags.items];
    inputs.extend(codec_and_rows.iter().flat_map(|(codec, rows)| [codec.as_path(), rows.as_path()]));
    output(&flags.output, &["npy", "parquet", "jsonl", "csv"], "codes are written as", &inputs, true)?;
    writes_parquet(&flags.output)?;
    Ok(ResolvePlan {
        codes: flags.codes,
        output: flags.output,
        items: flags.items,
        key: flags.key,
        policy: flags.policy,
        codec_and_rows,
        array: flags.array,
        capacity: flags.capacity,
    })
}

impl ResolvePlan {
    /// The policy as it is typed.
    pub fn policy_name(&self) -> &'static str {
        match self.policy {
            PolicyChoice::Suffix => "suffix",
            PolicyChoice::ExtraLevel => "extra-level",
            PolicyChoice::Relocate => "relocate",
            PolicyChoice::Error => "error",
        }
    }
}

pub fn format(flags: Format) -> Result<FormatPlan> {
    let (sizes, spelling) = (sizes(flags.sizes)?, spelling(flags.spelling)?);
    output(&flags.output, &["txt", "jsonl", "csv"], "IDs are written as", &inputs(&sizes, &flags.codes), true)?;
    Ok(FormatPlan { codes: flags.codes, output: flags.output, sizes, spelling })
}

pub fn parse(flags: Parse) -> Result<ParsePlan> {
    let (sizes, spelling) = (sizes(flags.sizes)?, spelling(flags.spelling)?);
    let levels = flags.levels;
    match (&sizes, levels) {
        (SizesPlan::Given(given), None) if given.len() == 1 => {
            return Err(usage(
                "`--levels` is needed beside one `--codebook-size`; or give a size a level, as in `--codebook-size 256,256,256`",
            ));
        }
        (SizesPlan::Given(given), Some(levels)) if given.len() > 1 && given.len() != levels => {
            let lists = given.len();
            return Err(usage(format!(
                "`--codebook-size` lists {lists} levels and `--levels` says {levels}; leave one out"
            )));
        }
        (_, Some(0)) => return Err(usage("`--levels`: expected 1 to 64, got 0")),
        _ => {}
    }
    let extensions = ["npy", "parquet", "jsonl", "csv"];
    output(&flags.output, &extensions, "codes are written as", &inputs(&sizes, &flags.ids), true)?;
    writes_parquet(&flags.output)?;
    Ok(ParsePlan { ids: flags.ids, output: flags.output, sizes, levels, spelling })
}

fn inputs<'a>(sizes: &'a SizesPlan, first: &'a Path) -> Vec<&'a Path> {
    match sizes {
        SizesPlan::Codec(codec) => vec![first, codec],
        SizesPlan::Given(_) => vec![first],
    }
}

pub fn sizes(flags: Sizes) -> Result<SizesPlan> {
    match (flags.codec, flags.codebook_size) {
        (Some(codec), _) => Ok(SizesPlan::Codec(codec)),
        (None, Some(sizes)) => Ok(SizesPlan::Given(sizes)),
        (None, None) => Err(usage("`--codec` or `--codebook-size` is needed, to tell a code from what is none")),
    }
}

/// The library's style of that name.
pub fn style(choice: StyleChoice) -> Style {
    match choice {
        StyleChoice::Plain => Style::Plain,
        StyleChoice::LcRec => Style::LcRec,
        StyleChoice::OpenOneRec => Style::OpenOneRec,
        StyleChoice::Sem => Style::Sem,
        StyleChoice::Animind => Style::Animind,
    }
}

pub fn spelling(flags: Spelling) -> Result<SpellingPlan> {
    let mut template = style(flags.style).template();
    let pieces = [
        (&mut template.token, flags.token),
        (&mut template.separator, flags.separator),
        (&mut template.begin, flags.begin),
        (&mut template.end, flags.end),
    ];
    for (piece, given) in pieces {
        if let Some(given) = given {
            *piece = given;
        }
    }
    template.first = flags.first;
    template.cumulative = flags.cumulative;
    let plan = SpellingPlan { template, counter: flags.counter };
    // Whatever the codebooks: a template that cannot be parsed back is refused before anything is read.
    plan.bind(&[1, 1])?;
    Ok(plan)
}

impl SpellingPlan {
    /// The format for codebooks of these sizes.
    pub fn bind(&self, sizes: &[usize]) -> Result<TextFormat> {
        let format = TextFormat::new(self.template.clone(), sizes)?;
        Ok(if self.counter { format.with_counter()? } else { format })
    }

    /// Numbers of an ID beyond its codes.
    pub fn counters(&self) -> usize {
        usize::from(self.counter)
    }
}

impl SizesPlan {
    /// The sizes for IDs of `levels` codes; what the IDs say, if nothing else does.
    pub fn resolve(&self, levels: Option<usize>) -> Result<Vec<usize>> {
        Ok(match self {
            SizesPlan::Codec(path) => Codec::load(path)?.codebook_sizes(),
            SizesPlan::Given(sizes) => match (sizes.as_slice(), levels) {
                ([size], Some(levels)) => vec![*size; levels.min(65)],
                _ => sizes.clone(),
            },
        })
    }
}

/// What a catalogue says of the rows that were encoded: a codes file that left rows out says which it kept.
pub fn pick(all: Vec<String>, file: &CodesFile, codes: &Path, items: &Path) -> sememe::Result<Vec<String>> {
    let (have, rows, codes) = (all.len(), file.codes.rows(), codes.display());
    let Some(numbers) = &file.rows else {
        if have == rows {
            return Ok(all);
        }
        return Err(Error::format(items, format!("holds {have} items, but `{codes}` {rows} rows")));
    };
    let text = |number: &u64| {
        let past = || Error::format(items, format!("holds {have} items, but `{codes}` has row number {number}"));
        all.get(usize::try_from(*number).unwrap_or(usize::MAX)).cloned().ok_or_else(past)
    };
    numbers.iter().map(text).collect()
}
