//! A Markdown page as blocks.

use std::path::Path;

/// A fenced block, as the page has it.
pub(super) struct Block {
    /// Line of the opening fence, from 1 on.
    pub(super) line: usize,
    pub(super) language: String,
    /// The HTML comment right above it, without its marks.
    pub(super) comment: Option<String>,
    pub(super) lines: Vec<String>,
}

/// A command and what the page says that it prints.
pub(super) struct Step {
    /// Line of the page with the command.
    pub(super) line: usize,
    pub(super) command: String,
    /// Lines of the page with its output: the first and the one after the last, from 0 on.
    pub(super) output: (usize, usize),
    pub(super) expected: String,
}

/// What is to be done with a block.
pub(super) enum Kind<'a> {
    Run(Vec<Step>),
    Write(&'a str),
    /// Tested elsewhere, or nothing to test.
    Leave,
}

pub(super) struct Page {
    pub(super) lines: Vec<String>,
    pub(super) blocks: Vec<Block>,
}

impl Page {
    pub(super) fn read(root: &Path, path: &str) -> Self {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at].trim_start();
            let fence = &line[..line.len() - line.trim_start_matches('`').len()];
            if fence.len() < 3 {
                at += 1;
                continue;
            }
            let end = (at + 1..lines.len()).find(|&i| lines[i].trim() == fence);
            let end = end.unwrap_or_else(|| panic!("line {}: the block does not end", at + 1));
            blocks.push(Block {
                line: at + 1,
                language: line[fence.len()..].trim().to_owned(),
                comment: at.checked_sub(1).and_then(|above| comment(&lines[above])),
                lines: lines[at + 1..end].to_vec(),
            });
            at = end + 1;
        }
        Self { lines, blocks }
    }

    /// What no reader could rely on: blocks that are neither run nor say why.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.blocks.iter().filter_map(|b| b.kind().err().map(|e| format!("{}: {e}", b.line))).collect();
        let inside = |at: usize| self.blocks.iter().any(|b| (b.line - 1..b.line + b.lines.len()).contains(&at));
        for (at, line) in self.lines.iter().enumerate() {
            let after_blank = at == 0 || self.lines[at - 1].trim().is_empty();
            if after_blank && !inside(at) && line.starts_with("    ") && !line.trim_start().starts_with(['-', '*']) {
                faults.push(format!("{}: an indented block cannot say what it is: use a fence", at + 1));
            }
        }
        faults
    }

    /// The lines outside of code blocks, each with its number from 1 on.
    pub(super) fn prose(&self) -> Vec<(usize, &str)> {
        let inside = |at: usize| self.blocks.iter().any(|b| (b.line - 1..=b.line + b.lines.len()).contains(&at));
        self.lines.iter().enumerate().filter(|(at, _)| !inside(*at)).map(|(at, line)| (at + 1, line.as_str())).collect()
    }
}

impl Block {
    pub(super) fn kind(&self) -> Result<Kind<'_>, String> {
        let directive = self.comment.as_deref().and_then(|comment| comment.split_once(": "));
        match (directive, self.language.as_str()) {
            (Some(("not run", reason)), _) if reason.len() >= 10 => Ok(Kind::Leave),
            (Some(("not run", _)), _) => Err("`not run:` needs a reason".to_owned()),
            (Some(("file", name)), _) => Ok(Kind::Write(name)),
            (_, "console") => self.steps().map(Kind::Run),
            // Doctests of the library run these.
            (_, "rust" | "rust,no_run") => Ok(Kind::Leave),
            // A drawing, or a form of words.
            (_, "text") => Ok(Kind::Leave),
            (_, "") => Err("a block needs a language: console, rust, toml, text or another".to_owned()),
            (_, other) => {
                Err(format!("`{other}` is not run: put `<!-- file: NAME -->` or `<!-- not run: REASON -->` above it"))
            }
        }
    }

    fn steps(&self) -> Result<Vec<Step>, String> {
        let mut steps: Vec<Step> = Vec::new();
        let mut continues = false;
        for (at, line) in self.lines.iter().enumerate() {
            // The first line of the block is the one after its fence.
            let index = self.line + at;
            if continues {
                let step = steps.last_mut().expect("a command goes on");
                step.command.push('\n');
                step.command.push_str(line);
                step.output = (index + 1, index + 1);
            } else if let Some(command) = line.strip_prefix("$ ") {
                let output = (index + 1, index + 1);
                steps.push(Step { line: index + 1, command: command.to_owned(), output, expected: String::new() });
            } else {
                let step = steps.last_mut().ok_or("a console block begins with a command: `$ …`")?;
                step.expected.push_str(line);
                step.expected.push('\n');
                step.output.1 = index + 1;
                continue;
            }
            continues = line.ends_with('\\');
        }
        if steps.is_empty() { Err("a console block without a command".to_owned()) } else { Ok(steps) }
    }
}

fn comment(line: &str) -> Option<String> {
    Some(line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim().to_owned())
}

#[test]
fn commands_their_outputs_and_their_marks_are_found() {
    let page = Page::parse(
        "# A\n\n```console\n$ a \\\n    b\nout\n...\n$ c\n```\n\n<!-- file: x.toml -->\n```toml\nk = 1\n```\n<!-- not run: no -->\n```sh\n```\n\n```toml\n```\n\n    loose\n",
    );
    let Ok(Kind::Run(steps)) = page.blocks[0].kind() else { panic!("a console block") };
    assert_eq!(steps.iter().map(|s| s.command.as_str()).collect::<Vec<_>>(), ["a \\\n    b", "c"]);
    assert_eq!((steps[0].line, steps[0].output, steps[0].expected.as_str()), (4, (5, 7), "out\n...\n"));
    assert_eq!(&page.lines[5..7], ["out", "..."]);
    assert_eq!((steps[1].output, steps[1].expected.as_str()), ((8, 8), ""));
    assert!(matches!(page.blocks[1].kind(), Ok(Kind::Write("x.toml"))));
    assert_eq!(page.faults().len(), 3, "{:?}", page.faults());
    assert!(Page::parse("```\nx\n```\n").faults()[0].contains("language"));
    assert!(Page::parse("```console\nx\n```\n").faults()[0].contains("begins with a command"));
}
