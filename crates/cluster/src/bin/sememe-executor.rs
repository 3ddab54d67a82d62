//! `sememe-executor`: an executor of a cluster.

use clap::Parser;
use sememe_cluster::serve::{Executor, run_executor};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run an executor of a cluster: it does parts of the works that the scheduler hands out.
///
/// Anyone who reaches its ports can run queries here: keep them on a network of your own.
#[derive(Debug, Parser)]
#[command(name = "sememe-executor", version, max_term_width = 120)]
struct Flags {
    /// The scheduler, as host:port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
    scheduler: String,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port that others fetch results from; tasks come by the next
    #[arg(long, value_name = "PORT", default_value_t = 50051)]
    port: u16,
    /// Name by which the scheduler and other executors reach this machine [default: the address]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tasks at once [default: one per core]; the number changes no result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Folder for what goes from stage to stage
    #[arg(long, value_name = "FOLDER")]
    work_dir: PathBuf,
    /// Memory that sorts and joins take before they go to disk, as in 4GiB. Batches of rows come on top: a tenth of a GiB a task
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = sememe_cluster::parse_bytes)]
    memory: u64,
    /// Seconds between signs of life; at most half of the scheduler's timeout
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    heartbeat: u64,
    /// Seconds after which results that nobody fetched are removed
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    keep_results: u64,
    /// What is logged to stderr: error, warn, info or debug, or levels of modules
    #[arg(long, value_name = "LEVELS", default_value = "warn", env = "RUST_LOG")]
    log: String,
}

fn run(flags: Flags) -> sememe::Result<()> {
    sememe_cluster::configure_stores(std::env::vars())?;
    let wrong = || sememe::Error::config("scheduler", format!("expected host:port, got `{}`", flags.scheduler));
    let (scheduler_host, port) = flags.scheduler.rsplit_once(':').ok_or_else(wrong)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Executor {
        bind: flags.bind,
        port: flags.port,
        host: flags.host.clone().unwrap_or_else(|| flags.bind.to_string()),
        scheduler_host: scheduler_host.to_owned(),
        scheduler_port: port.parse().map_err(|_| wrong())?,
        cores: flags.threads.unwrap_or(cores),
        work_dir: flags.work_dir.clone(),
        memory_bytes: flags.memory,
        heartbeat: flags.heartbeat,
        keep_results: flags.keep_results,
    };
    if settings.cores == 0 {
        return Err(sememe::Error::config("threads", "expected at least 1, got 0"));
    }
    sememe_cluster::use_threads(settings.cores)?;
    sememe_cluster::serve::block_on(run_executor(settings))
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    sememe_cluster::serve::log(&flags.log);
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error.root(), sememe::Error::Config { .. }) { 2 } else { 6 })
        }
    }
}
