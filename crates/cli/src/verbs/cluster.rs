//! `sememe cluster`, which hands over to the program `sememe-cluster`: its query engine is some four hundred crates, and is built apart.

use crate::failure::{Ended, usage};
use crate::flags::Common;
use crate::progress::{Progress, stopped};
use anyhow::{Context as _, Result};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

const NAME: &str = "sememe-cluster";
/// How long a program that was asked to stop, as a terminal asks all of a group, may take before it is ended.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Flags {
    /// A verb of `sememe-cluster` and its flags: encode, fit, assign or evaluate; `sememe cluster --help` lists them
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

pub struct Plan {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// Finds the program, and passes on what was typed before the verb.
pub fn plan(flags: Flags, common: &Common) -> Result<Plan> {
    if common.verbose > 0 {
        return Err(usage("`--verbose` is not for `cluster`: the scheduler and the executors log, see their `--log`"));
    }
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_path_buf()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = beside.into_iter().chain(std::env::split_paths(&path)).find_map(|folder| found(&folder));
    let program = program.ok_or_else(|| {
        usage(format!(
            "`sememe cluster` runs the program `{NAME}`, which is neither beside this one nor on the PATH; from Sememe's sources, \
             `cargo install --locked --path crates/cluster` builds it"
        ))
    })?;
    let mut arguments = flags.arguments;
    if common.json {
        arguments.push("--json".into());
    }
    if common.quiet {
        arguments.push("--quiet".into());
    }
    if let Some(threads) = common.threads {
        arguments.extend(["--threads".into(), threads.to_string().into()]);
    }
    Ok(Plan { program, arguments })
}

fn found(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(format!("{NAME}{}", std::env::consts::EXE_SUFFIX));
    path.is_file().then_some(path)
}

/// Runs it; its exit code is this program's.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    progress.finish();
    let begun = Command::new(&plan.program).args(&plan.arguments).spawn();
    let mut child = begun.with_context(|| format!("cannot run `{}`", plan.program.display()))?;
    let status = wait(&mut child).with_context(|| format!("cannot wait for `{}`", plan.program.display()))?;
    if status.success() {
        return Ok(());
    }
    Err(Ended(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(if stopped() { 130 } else { 3 })).into())
}

fn wait(child: &mut Child) -> std::io::Result<ExitStatus> {
    let mut asked = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stopped() && asked.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
