//! How IDs are written as text, for the verbs that write or read them: flags, and their plan.

use crate::failure::usage;
use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use sememe::ids::{IdTemplate, Style, TextFormat};
use sememe::io::CodesFile;
use sememe::{Codec, Error};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StyleChoice {
    Plain,
    LcRec,
    #[value(name = "openonerec")]
    OpenOneRec,
    Sem,
    Animind,
}

/// How IDs are spelled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Spelling")]
pub struct Spelling {
    #[arg(long, value_enum, default_value = "plain", hide_possible_values = true)]
    #[arg(help = "plain 12-5-33, lc-rec <a_12><b_5><c_33>, openonerec <|sid_begin|><s_a_12>…<|sid_end|>, sem \
                  [SEM_START][SEM_0_12]…[SEM_END], animind <L1_12> <L2_5> <L3_33>; the options below override its parts")]
    pub style: StyleChoice,
    /// Token of one code, with {code} and optionally {level} (from 0), {level1} (from 1) or {letter}
    #[arg(long, value_name = "TEMPLATE")]
    pub token: Option<String>,
    /// Text between two tokens
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub separator: Option<String>,
    /// Text before the first token
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub begin: Option<String>,
    /// Text after the last token
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub end: Option<String>,
    /// Number of the first codeword of a level
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u32,
    /// Continue the numbering from level to level: 12, 256 + 5, 512 + 33
    #[arg(long)]
    pub cumulative: bool,
    /// The last number of an ID counts items with the same codes, and is left out where it is 0: 12-5-33 and 12-5-33-1
    #[arg(long)]
    pub counter: bool,
}

/// The codebooks that IDs are made of.
#[derive(Debug, Args)]
#[command(next_help_heading = "Codebooks (one of these is required)")]
pub struct Sizes {
    /// The codec that made the codes
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: Option<PathBuf>,
    /// Codewords per level, if there is no codec: one number for all levels, or one for each as in 512,256,128
    #[arg(long, value_name = "K", value_delimiter = ',', num_args = 1, conflicts_with = "codec")]
    pub codebook_size: Option<Vec<usize>>,
}

/// What an ID looks like; bound to codebooks once those are known.
pub struct SpellingPlan {
    pub template: IdTemplate,
    counter: bool,
}

/// Where the sizes of the codebooks come from.
pub enum SizesPlan {
    Codec(PathBuf),
    Given(Vec<usize>),
}

pub fn inputs<'a>(sizes: &'a SizesPlan, first: &'a Path) -> Vec<&'a Path> {
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
