//! What people read is true: commands run and print what the page says, files in the pages are read by the program, links lead somewhere.
//!
//! A page is tested as a reader would use it: its commands run from top to bottom in one fresh folder that holds what `examples/data` holds.
//!
//! - A `console` block has commands after `$ ` and what they print. Times, rates and hashes may differ; so may other numbers by 2 %, as
//!   another processor rounds in another order. `...` stands for any lines, `[..]` for any part of a line. A command whose output has a
//!   line `error: ` must fail, every other one must succeed.
//! - `<!-- file: NAME -->` above a block writes it to NAME, for commands after it.
//! - `<!-- not run: REASON -->` above a block, and only that, keeps it from being run.
//! - `http://localhost:8000` is an embeddings server that makes vectors up.
//!
//! `SEMEME_DOCS=write cargo test docs` writes what commands print into the pages; read the diff before you commit it.

mod compare;
mod links;
mod page;
mod run;

use std::path::PathBuf;

/// The root of the repository.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("docs/book.toml").exists());
    root.expect("a folder with docs/book.toml above this package").to_owned()
}

/// Every page that has commands, each a test, so that they run side by side.
macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        $(#[cfg(unix)]
        #[test]
        fn $name() {
            run::page($path);
        })*

        const PAGES: &[&str] = &[$($path),*];
    };
}

pages! {
    readme: "README.md",
    contributing: "CONTRIBUTING.md",
    book: "docs/README.md",
    concepts: "docs/concepts.md",
    train: "docs/train.md",
    encode: "docs/encode.md",
    ids: "docs/ids.md",
    language_models: "docs/language-models.md",
    dialogues: "docs/dialogues.md",
    evaluate: "docs/evaluate.md",
    report: "docs/report.md",
    recommend: "docs/recommend.md",
    serve: "docs/serve.md",
    prep: "docs/prep.md",
    embed: "docs/embed.md",
    pipeline: "docs/pipeline.md",
    sweep: "docs/sweep.md",
    tracking: "docs/tracking.md",
    rqvae: "docs/rqvae.md",
    rust: "docs/rust.md",
    python: "docs/python.md",
    cluster: "docs/cluster.md",
    formats: "docs/formats.md",
    devices: "docs/devices.md",
    benchmarks: "docs/benchmarks.md",
    import: "docs/import.md",
    migrating: "docs/migrating.md",
    summary: "docs/SUMMARY.md",
    catalogue: "examples/catalogue/README.md",
    data: "examples/data/README.md",
}

#[test]
fn every_page_is_in_the_list_and_in_the_table_of_contents() {
    let contents = std::fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the table of contents");
    for entry in std::fs::read_dir(root().join("docs")).expect("the folder of pages") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if name.ends_with(".md") {
            assert!(PAGES.contains(&format!("docs/{name}").as_str()), "docs/{name} is not tested: add it to `pages!`");
            assert!(
                name == "SUMMARY.md" || contents.contains(&format!("({name})")),
                "docs/{name} is not in SUMMARY.md"
            );
        }
    }
}

#[test]
fn every_block_is_run_or_says_why_not() {
    let mut wrong = Vec::new();
    for path in PAGES {
        wrong.extend(page::Page::read(&root(), path).faults().into_iter().map(|fault| format!("{path}:{fault}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn readme_is_within_200_lines() {
    let lines = std::fs::read_to_string(root().join("README.md")).expect("README.md").lines().count();
    assert!(lines <= 200, "README.md has {lines} lines: move something to docs/");
}
