//! The program's rooms: each verb is one, no verb uses another, and imports run in no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Graph = BTreeMap<String, BTreeSet<String>>;

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else {
            out.push(path);
        }
    }
}

/// Paths after `crate::` in a text, with those of a group written out: `a::{b, c::d}` as `a::b` and `a::c`.
fn paths(text: &str) -> Vec<String> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut out = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + 7..];
        let path = &rest[..rest.find(|c| !name(c)).unwrap_or(rest.len())];
        match rest[path.len()..].strip_prefix('{') {
            Some(group) => {
                let members = group.split_once('}').map_or(group, |(members, _)| members).split(',').map(str::trim);
                out.extend(
                    members.map(|member| format!("{path}{}", member.split([' ', ':']).next().unwrap_or_default())),
                );
            }
            None => out.push(path.trim_end_matches(':').to_owned()),
        }
    }
    out
}

/// What each module imports.
fn graph(root: &Path) -> Graph {
    let mut files = Vec::new();
    sources(root, &mut files);
    let module = |path: &PathBuf| {
        let name = path.strip_prefix(root).expect("within").with_extension("").to_string_lossy().replace('\\', "/");
        name.strip_suffix("/mod").unwrap_or(&name).replace('/', "::")
    };
    let texts: BTreeMap<String, String> =
        files.iter().map(|path| (module(path), fs::read_to_string(path).expect("source"))).collect();
    let known = |path: &str| {
        let parts: Vec<&str> = path.split("::").collect();
        (1..=parts.len()).rev().map(|n| parts[..n].join("::")).find(|name| texts.contains_key(name))
    };
    let imports = |(name, text): (&String, &String)| {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let to = paths(&code.join("\n")).iter().filter_map(|path| known(path)).filter(|to| to != name).collect();
        (name.clone(), to)
    };
    texts.iter().map(imports).collect()
}

/// Whether imports lead from one module to another.
fn leads(graph: &Graph, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        for into in graph.get(at).into_iter().flatten() {
            if into == to {
                return true;
            }
            if seen.insert(into) {
                next.push(into);
            }
        }
    }
    false
}

fn circles(graph: &Graph) -> Vec<&String> {
    graph.keys().filter(|name| leads(graph, name, name)).collect()
}

/// The verb that a module is part of.
fn verb(module: &str) -> Option<&str> {
    module.strip_prefix("verbs::").and_then(|rest| rest.split("::").next())
}

#[test]
fn imports_run_in_no_circle_and_no_verb_uses_another() {
    let graph = graph(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(graph.len() > 40 && graph["program"].contains("verbs::train"), "{graph:?}");
    assert!(graph["verbs::train::plan"].contains("verbs::train::balance"), "{graph:?}");
    assert!(circles(&graph).is_empty(), "modules that import themselves in the end: {:?}", circles(&graph));
    for (module, imports) in &graph {
        let own = verb(module);
        let other = imports.iter().find(|into| own.is_some() && verb(into).is_some() && verb(into) != own);
        assert!(other.is_none(), "`{module}` uses `{}`; what verbs share stands beside them", other.expect("one"));
    }
}

#[test]
fn a_circle_would_be_found() {
    let edge = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|to| (*to).to_owned()).collect());
    let open: Graph = [edge("a", &["b", "c"]), edge("b", &["c"]), edge("c", &[])].into();
    assert!(circles(&open).is_empty());
    let closed: Graph = [edge("a", &["b"]), edge("b", &["c"]), edge("c", &["a"])].into();
    assert_eq!(circles(&closed).len(), 3);
    let text = "use crate::{a, b::C};\nuse crate::d::{E, f};\nlet x = crate::g::h(1);";
    assert_eq!(paths(text), ["a", "b", "d::E", "d::f", "g::h"]);
}
