//! A page's commands, one after the other.

use std::fs;
use std::path::Path;
use std::process::Command;

use sememe_testkit::embed_server::{Server, answer, ok};

use super::page::{Kind, Page, Step};
use super::{compare, root};

/// Where pages say that an embeddings server is.
const ENDPOINT: &str = "http://localhost:8000";

/// Runs every command of a page, and compares, or with `SEMEME_DOCS=write` writes, what it prints.
pub(super) fn page(path: &str) {
    let page = Page::read(&root(), path);
    let steps: usize = page.blocks.iter().filter(|b| matches!(b.kind(), Ok(Kind::Run(_)))).count();
    if steps == 0 {
        return;
    }
    let write = std::env::var_os("SEMEME_DOCS").is_some_and(|how| how == "write");
    let desk = Desk::new();
    let (mut wrong, mut changed) = (Vec::new(), Vec::new());
    for block in &page.blocks {
        match block.kind() {
            Ok(Kind::Write(name)) => {
                fs::write(desk.folder.path().join(name), block.lines.join("\n") + "\n").expect("a file of the page");
            }
            Ok(Kind::Run(steps)) => {
                for step in steps {
                    let (printed, success) = desk.run(&step.command);
                    let fails = printed.lines().any(|line| line.starts_with("error: "));
                    if success == fails {
                        let came = if success { "succeeded" } else { "failed" };
                        wrong.push(format!("{path}:{}: {} {came}\n{printed}", step.line, step.command));
                    }
                    if let Err(difference) = compare::same(&printed, &step.expected) {
                        wrong.push(format!("{path}:{}: {}\n{difference}", step.line, step.command));
                        changed.push((step, printed));
                    }
                }
            }
            Ok(Kind::Leave) | Err(_) => {}
        }
    }
    if write {
        rewrite(&root().join(path), &page, &changed);
    } else {
        assert!(wrong.is_empty(), "{}\n\n`SEMEME_DOCS=write` writes what is printed", wrong.join("\n\n"));
    }
}

fn rewrite(path: &Path, page: &Page, changed: &[(Step, String)]) {
    let mut lines = page.lines.clone();
    for (step, printed) in changed.iter().rev() {
        let (start, end) = step.output;
        let printed = compare::shown(printed, &step.expected);
        lines.splice(start..end, printed.trim_end().lines().map(str::to_owned));
    }
    fs::write(path, lines.join("\n") + "\n").expect("the page, written again");
}

/// A folder with the example data, and what commands may ask of the world.
struct Desk {
    folder: tempfile::TempDir,
    endpoint: Server,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&root().join("examples/data"), folder.path());
        fs::copy(root().join("examples/catalogue/packages.sqlite"), folder.path().join("packages.sqlite"))
            .expect("a copy");
        for name in ["data", "catalogue"] {
            copy(&root().join("examples").join(name), &folder.path().join("examples").join(name));
        }
        let endpoint = Server::start(|_, call| ok(answer(&call.texts(), 64)));
        Self { folder, endpoint }
    }

    /// What a command prints to both of its outputs, and whether it succeeded.
    fn run(&self, command: &str) -> (String, bool) {
        let bin = Path::new(env!("CARGO_BIN_EXE_sememe")).parent().expect("the program's folder");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let server = self.endpoint.url.trim_end_matches("/v1");
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{}", command.replace(ENDPOINT, server)))
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("COLUMNS", "100")
            // Mesa complains on stderr without it.
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .output()
            .expect("a shell");
        let printed = String::from_utf8(output.stdout).expect("UTF-8").replace(server, ENDPOINT);
        (printed, output.status.success())
    }
}

/// The files of a folder, without what is in folders under it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the example data") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
}
