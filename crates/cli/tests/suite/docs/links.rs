//! Every link to a file or a heading of this repository leads there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::page::Page;
use super::{PAGES, root};

const MORE: &[&str] = &["ARCHITECTURE.md", "CHANGELOG.md"];

/// The targets of Markdown links and images in a line, without code spans.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, part) in line.split('`').enumerate() {
        // Every second part is code.
        if at % 2 == 0 {
            found.extend(part.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target));
        }
    }
    found
}

/// The anchor that code hosts and mdbook give a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(page: &Page) -> BTreeSet<String> {
    page.prose().into_iter().filter(|(_, line)| line.starts_with('#')).map(|(_, line)| anchor(line)).collect()
}

/// A path without `.` and `..`, so that one file has one name.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let pages: BTreeMap<PathBuf, Page> =
        PAGES.iter().chain(MORE).map(|path| (PathBuf::from(path), Page::read(&root, path))).collect();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, page) in &pages {
        for (number, line) in page.prose() {
            for target in targets(line) {
                if target.starts_with("http:") || target.starts_with("https:") {
                    continue;
                }
                checked += 1;
                let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
                let aim = if file.is_empty() {
                    path.clone()
                } else {
                    plain(&path.parent().unwrap_or(Path::new("")).join(file))
                };
                if !root.join(&aim).exists() {
                    wrong.push(format!("{}:{number}: no `{}`", path.display(), aim.display()));
                } else if !fragment.is_empty() && pages.get(&aim).is_some_and(|page| !anchors(page).contains(fragment))
                {
                    wrong.push(format!("{}:{number}: no heading `#{fragment}` in `{}`", path.display(), aim.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 40, "only {checked} links were found");
}

#[test]
fn links_and_anchors_are_found() {
    assert_eq!(targets("[a](b.md#c) `[x](y)` ![p](q.png) [`z`](w)"), ["b.md#c", "q.png", "w"]);
    assert_eq!(anchor("## IDs that stay: `assign`, 2"), "ids-that-stay-assign-2");
}
