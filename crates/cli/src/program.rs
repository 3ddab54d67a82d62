//! The program: its verbs, what all of them take, and the way from one to its work.

use crate::environment;
use crate::failure::usage;
use crate::flags::Common;
use crate::given::Given;
use crate::progress::Progress;
#[cfg(feature = "demo")]
use crate::verbs::demo;
#[cfg(any(feature = "embed", feature = "embed-http"))]
use crate::verbs::embed;
#[cfg(feature = "import")]
use crate::verbs::import;
#[cfg(feature = "serve")]
use crate::verbs::serve;
use crate::verbs::{
    align, churn, cluster, completions, config, decode, dialogues, doctor, encode, eval, export, format, init, parse,
    prep, recommend, resolve, run, show, sweep, train, trie,
};
#[cfg(any(feature = "sqlite", feature = "redis"))]
use crate::verbs::{assign, delete, lookup};
use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

macro_rules! examples {
    ($first:literal) => {
        concat!(
            "Examples:\n",
            $first,
            "  sememe train items.npy -o codec.safetensors --levels 3 --codebook-size 256
  sememe encode codec.safetensors items.npy -o codes.parquet
  sememe decode codec.safetensors codes.parquet -o rows.npy
  sememe eval codec.safetensors items.npy --report report.html --names items.jsonl
  sememe format codes.parquet -o ids.jsonl --codec codec.safetensors --style lc-rec

Exit codes: 0 done, 2 usage, 3 bad data, 4 device, 5 store, 6 endpoint, 130 interrupted."
        )
    };
}

#[cfg(feature = "demo")]
const EXAMPLES: &str = examples!("  sememe demo\n");
#[cfg(not(feature = "demo"))]
const EXAMPLES: &str = examples!("");

/// Semantic IDs from embeddings: short tuples of codes, coarse to fine, that name an item by what it means
#[derive(Debug, Parser)]
#[command(name = "sememe", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train on 4,149 built-in Debian packages, show their IDs and write a report; needs no file and no network
    #[cfg(feature = "demo")]
    Demo(demo::Flags),
    /// Run a whole pipeline from one TOML file, from a catalogue to tokens and a report; skips what is up to date
    Run(run::Flags),
    /// Write a configuration for `run` with all settings and comments
    Init(init::Flags),
    /// Make one clean text for each item of a catalogue
    Prep(Box<prep::Flags>),
    /// Turn texts into embeddings with a server or a model in a folder; embeds only what changed
    #[cfg(any(feature = "embed", feature = "embed-http"))]
    Embed(Box<embed::Flags>),
    /// Fit a codec to embeddings
    Train(Box<train::Flags>),
    /// Read a codec or a table of IDs that another system wrote
    #[cfg(feature = "import")]
    Import(Box<import::Flags>),
    /// Turn embeddings into codes
    Encode(encode::Flags),
    /// Turn codes back into embeddings
    Decode(decode::Flags),
    /// Measure how good IDs are: those of a codec, of any table of codes, or two side by side
    Eval(Box<eval::Flags>),
    /// Try a grid of settings and show the best trade-offs; continues after a stop
    Sweep(Box<sweep::Flags>),
    /// Give every item a permanent ID, kept in a store
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    Assign(Box<assign::Flags>),
    /// Show the ID of an item, or the items with an ID or a prefix
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    Lookup(lookup::Flags),
    /// Remove items from a store; their IDs are not given out again unless `assign --reuse-deleted` asks for it
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    Delete(delete::Flags),
    /// Give items that share their codes IDs of their own
    Resolve(Box<resolve::Flags>),
    /// Rename the codewords of a retrained codec so that items keep their codes
    Align(align::Flags),
    /// Show how many items' codes differ between two codecs or two files of codes
    Churn(churn::Flags),
    /// Write codes as text that people and language models read
    Format(format::Flags),
    /// Read text that `format` wrote back into codes
    Parse(parse::Flags),
    /// Write the files that language models are trained and served with: vocabulary, index, items, trie; or a codec for another system
    Export(Box<export::Flags>),
    /// Write training data for a language model: IDs from queries, facts from IDs, next items from histories
    Dialogues(Box<dialogues::Flags>),
    /// Train a recommender on histories of items, ask it, or measure it
    Recommend(recommend::Flags),
    /// Serve a run over HTTP: encode, assign, find and recommend, for programs, and a page for people
    #[cfg(feature = "serve")]
    Serve(Box<serve::Flags>),
    /// Encode, train, assign and evaluate over a cluster, by the program `sememe-cluster`
    Cluster(cluster::Flags),
    /// Show which tokens may follow a prefix in a trie, and which items it names
    Trie(trie::Flags),
    /// Check a configuration (`config check sememe.toml`) or print settings (`config print lc-rec`)
    Config(config::Flags),
    /// Describe a codec and how it was trained
    Show(show::Flags),
    /// Show what this program can use here: processor, GPU, threads, features
    Doctor,
    /// Print a completion script for a shell
    Completions(completions::Flags),
}

/// Runs the verb; `given` are the flags as they were typed.
pub fn run(Cli { verb, common }: Cli, given: &Given) -> Result<()> {
    #[cfg(feature = "serve")]
    let serves = matches!(verb, Verb::Serve(_));
    #[cfg(not(feature = "serve"))]
    let serves = false;
    log(&common, serves);
    environment::limit_instructions()?;
    match common.threads {
        // Another program's.
        Some(1..) if matches!(verb, Verb::Cluster(_)) => {}
        Some(0) => return Err(usage("`--threads`: expected at least 1, got 0")),
        Some(n) => rayon::ThreadPoolBuilder::new().num_threads(n).build_global()?,
        None => {}
    }
    let json = common.json;
    // Those that answer at once hear no signals.
    match &verb {
        Verb::Init(flags) => return init::run(flags, json),
        Verb::Show(flags) => return show::run(flags, json),
        Verb::Config(flags) => return config::run(flags, json),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Lookup(flags) => return lookup::run(&lookup::plan(flags.clone())?, json),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Delete(flags) => return delete::run(&delete::plan(flags.clone())?, &common),
        Verb::Trie(flags) => return trie::run(flags, json),
        Verb::Doctor => return doctor::run(json),
        // It hears signals itself.
        #[cfg(feature = "serve")]
        Verb::Serve(flags) => return serve::run(serve::plan((**flags).clone())?, &common),
        Verb::Completions(flags) => return completions::run(flags, json),
        _ => {}
    }
    let progress = Progress::new(&common)?;
    match verb {
        #[cfg(feature = "demo")]
        Verb::Demo(flags) => demo::run(&demo::plan(flags)?, &progress),
        Verb::Run(flags) => run::run(&run::plan(&flags)?, &progress),
        Verb::Prep(flags) => prep::run(&prep::plan(*flags)?, &progress),
        #[cfg(any(feature = "embed", feature = "embed-http"))]
        Verb::Embed(flags) => embed::run(&embed::plan(*flags)?, &progress),
        Verb::Train(flags) => train::run(&train::plan(*flags, given)?, &progress),
        Verb::Encode(flags) => encode::run(&encode::plan(flags)?, &progress),
        Verb::Decode(flags) => decode::run(&decode::plan(flags)?, &progress),
        Verb::Align(flags) => align::run(&align::plan(flags, given)?, &progress),
        Verb::Churn(flags) => churn::run(&churn::plan(flags, given)?, &progress),
        Verb::Eval(flags) => eval::run(&eval::plan(*flags)?, &progress),
        Verb::Sweep(flags) => sweep::run(&sweep::plan(*flags)?, &progress),
        Verb::Format(flags) => format::run(&format::plan(flags)?, &progress),
        Verb::Parse(flags) => parse::run(&parse::plan(flags)?, &progress),
        Verb::Dialogues(flags) => dialogues::run(&dialogues::plan(*flags)?, &progress),
        Verb::Recommend(flags) => recommend::run(&recommend::plan(flags)?, &progress),
        Verb::Cluster(flags) => cluster::run(&cluster::plan(flags, &common)?, &progress),
        Verb::Export(flags) => export::run(&export::plan(*flags, given)?, &progress),
        #[cfg(feature = "import")]
        Verb::Import(flags) => import::run(&import::plan(*flags)?, &progress),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Assign(flags) => assign::run(&assign::plan(*flags)?, &progress),
        Verb::Resolve(flags) => resolve::run(&resolve::plan(*flags)?, &progress),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Lookup(_) | Verb::Delete(_) => Ok(()),
        #[cfg(feature = "serve")]
        Verb::Serve(_) => Ok(()),
        Verb::Init(_) | Verb::Show(_) | Verb::Config(_) | Verb::Trie(_) | Verb::Doctor | Verb::Completions(_) => Ok(()),
    }
}

/// Warnings always go to stderr, more with `-v` and `-vv`, and as `RUST_LOG` says if it is set: `debug`, or
/// levels of modules as in `sememe=debug,wgpu_core=warn`.
fn log(common: &Common, serves: bool) {
    let level = match (common.quiet, common.verbose) {
        (true, 0) => "error",
        // What a service is asked is its progress.
        (false, 0) if serves => "sememe_serve=info,warn",
        (false, 0) => "warn",
        (_, 1) => "sememe=info,warn",
        (_, 2) => "sememe=debug,info",
        _ => "trace",
    };
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    // What is misspelt is said once there is somewhere to say it.
    let (filter, misspelt) = match asked.as_deref().unwrap_or(level).parse::<Targets>() {
        Ok(filter) => (filter, None),
        Err(problem) => (level.parse().unwrap_or_default(), Some(problem)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    // A service is read about later, by others.
    let lines = if serves { lines.boxed() } else { lines.without_time().boxed() };
    // Fails only if there is a subscriber already, which there is not.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if let Some(problem) = misspelt {
        tracing::warn!("RUST_LOG `{}` is not used: {problem}", asked.unwrap_or_default());
    }
}
