//! `sememe-scheduler`: the scheduler of a cluster.

use clap::Parser;
use sememe_cluster::serve::{Scheduler, run_scheduler};
use std::net::IpAddr;
use std::process::ExitCode;

/// Run the scheduler of a cluster: it takes works from `sememe-cluster --scheduler` and gives their parts to executors.
///
/// Anyone who reaches its port can run queries on the executors: keep it on a network of your own.
#[derive(Debug, Parser)]
#[command(name = "sememe-scheduler", version, max_term_width = 120)]
struct Flags {
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port to listen on
    #[arg(long, value_name = "PORT", default_value_t = 50050)]
    port: u16,
    /// Name by which executors reach this machine [default: the address]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Seconds without a sign of life after which an executor counts as lost
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    executor_timeout: u64,
    /// What is logged to stderr: error, warn, info or debug, or levels of modules
    #[arg(long, value_name = "LEVELS", default_value = "warn", env = "RUST_LOG")]
    log: String,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    sememe_cluster::serve::log(&flags.log);
    let host = flags.host.unwrap_or_else(|| flags.bind.to_string());
    let settings = Scheduler { bind: flags.bind, port: flags.port, host, executor_timeout: flags.executor_timeout };
    let done = sememe_cluster::configure_stores(std::env::vars())
        .and_then(|()| sememe_cluster::serve::block_on(run_scheduler(settings)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(6)
        }
    }
}
