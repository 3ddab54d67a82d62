//! From the command line to a verb.

use crate::args::{Cli, Common, Verb};
#[cfg(any(feature = "embed", feature = "embed-http"))]
use crate::embed;
use crate::failure::usage;
use crate::pipeline;
use crate::progress::Progress;
use crate::{
    align, churn, completions, config, decode, demo, dialogues, doctor, encode, environment, eval, export, format,
    judged, parse, plan, prep, resolve, retrain, show, spelling, sweep, train, trie,
};
#[cfg(any(feature = "sqlite", feature = "redis"))]
use crate::{assign, delete, lookup, store};
use anyhow::Result;

/// Runs the verb.
pub fn run(Cli { verb, common }: Cli) -> Result<()> {
    log(&common);
    environment::limit_instructions()?;
    match common.threads {
        Some(0) => return Err(usage("`--threads`: expected at least 1, got 0")),
        Some(n) => rayon::ThreadPoolBuilder::new().num_threads(n).build_global()?,
        None => {}
    }
    let json = common.json;
    match &verb {
        Verb::Init(flags) => return pipeline::init(flags, json),
        Verb::Show(flags) => return show::run(flags, json),
        Verb::Config(flags) => return config::run(flags, json),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Lookup(flags) => return lookup::run(&store::lookup(flags.clone())?, json),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Delete(flags) => return delete::run(&store::delete(flags.clone())?, &common),
        Verb::Trie(flags) => return trie::run(flags, json),
        Verb::Doctor => return doctor::run(json),
        Verb::Completions(flags) => return completions::run(flags, json),
        _ => {}
    }
    let progress = Progress::new(&common)?;
    match verb {
        Verb::Demo(flags) => demo::run(&plan::demo(flags)?, &progress),
        Verb::Run(flags) => pipeline::run(&pipeline::plan(&flags)?, &progress),
        Verb::Init(_) => Ok(()),
        Verb::Prep(flags) => prep::run(&prep::plan(*flags)?, &progress),
        #[cfg(any(feature = "embed", feature = "embed-http"))]
        Verb::Embed(flags) => embed::run(&embed::plan(*flags)?, &progress),
        Verb::Train(flags) => train::run(&plan::train(*flags)?, &progress),
        Verb::Encode(flags) => encode::run(&plan::encode(flags)?, &progress),
        Verb::Decode(flags) => decode::run(&plan::decode(flags)?, &progress),
        Verb::Align(flags) => align::run(&retrain::align(flags)?, &progress),
        Verb::Churn(flags) => churn::run(&retrain::churn(flags)?, &progress),
        Verb::Eval(flags) => eval::run(&judged::eval(*flags)?, &progress),
        Verb::Sweep(flags) => sweep::run(&sweep::plan(*flags)?, &progress),
        Verb::Format(flags) => format::run(&spelling::format(flags)?, &progress),
        Verb::Parse(flags) => parse::run(&spelling::parse(flags)?, &progress),
        Verb::Dialogues(flags) => dialogues::run(&dialogues::plan(*flags)?, &progress),
        Verb::Export(flags) => export::run(&spelling::export(*flags)?, &progress),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Assign(flags) => assign::run(&store::assign(*flags)?, &progress),
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        Verb::Lookup(_) | Verb::Delete(_) => Ok(()),
        Verb::Resolve(flags) => resolve::run(&spelling::resolve(*flags)?, &progress),
        Verb::Show(_) | Verb::Config(_) | Verb::Trie(_) | Verb::Doctor | Verb::Completions(_) => Ok(()),
    }
}

/// Warnings always go to stderr, more with `-v` and `-vv`, and as `RUST_LOG` says if it is set.
fn log(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, 0) => "error",
        (false, 0) => "warn",
        (_, 1) => "sememe=info,warn",
        (_, 2) => "sememe=debug,info",
        _ => "trace",
    };
    let filter = std::env::var("RUST_LOG").ok().filter(|v| !v.is_empty()).unwrap_or_else(|| level.to_owned());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .without_time();
    // Fails only if there is a subscriber already, which there is not.
    let _ = builder.try_init();
}
