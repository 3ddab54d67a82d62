//! `sememe-cluster`: encode, train, assign and evaluate over many machines, or the cores of this one.

mod fit_flags;
mod flags;
mod progress;
mod report;

use clap::{CommandFactory as _, Parser as _};
use flags::{Cli, Verb};
use progress::Progress;
use sememe::{Error, Result};
use sememe_cluster::{Session, SessionOptions, configure_stores, jobs};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let progress = Progress::new(cli.common.quiet);
    let done = run(&cli, &progress);
    progress.finish();
    match done {
        Ok(text) => {
            report::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => ExitCode::from(report::fail(&error, &cli.verb.name(), &Cli::command())),
    }
}

fn run(cli: &Cli, progress: &Progress) -> Result<String> {
    configure_stores(std::env::vars())?;
    let common = &cli.common;
    if let Some(threads) = common.threads {
        if threads == 0 {
            return Err(Error::config("threads", "expected at least 1, got 0"));
        }
        sememe_cluster::use_threads(threads)?;
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    if let Some(threads) = common.threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.build().map_err(|e| Error::io("start threads of", "the runtime", e))?;
    runtime.block_on(async {
        tokio::spawn(progress::listen());
        let options = SessionOptions {
            scheduler: common.scheduler.clone(),
            partitions: common.partitions.or(if common.scheduler.is_none() { common.threads } else { None }),
            memory_bytes: common.memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
        let begun = std::time::Instant::now();
        let session = Session::open(&options).await?;
        let seconds = || begun.elapsed().as_secs_f64();
        match &cli.verb {
            Verb::Encode(flags) => {
                let report = jobs::encode(&session, &flags.job(), progress).await?;
                report::encoded(common, flags, &report, seconds())
            }
            Verb::Fit(flags) => {
                let job = flags.job()?;
                let report = jobs::fit(&session, &job, progress).await?;
                report::fitted(common, flags, &report, seconds())
            }
            Verb::Assign(flags) => {
                let report = jobs::assign(&session, &flags.job(), progress).await?;
                report::assigned(common, flags, &report, seconds())
            }
            Verb::Evaluate(flags) => {
                let report = jobs::evaluate(&session, &flags.job(), progress).await?;
                report::evaluated(common, &report, seconds())
            }
        }
    })
}
