//! Imports of sibling modules point one way. The sources are read, every path is resolved to the module that defines it (through
//! re-exports), and in no folder may modules reach each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's place: its names from the crate's root down.
type Place = Vec<String>;

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).expect("readable").map(|e| e.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        // Unit tests may look at whatever they test.
        if matches!(path.file_name().and_then(|name| name.to_str()), Some("tests" | "tests.rs")) {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Identifiers, `::` and single characters of the code: no comments, texts, characters, lifetimes, nor unit tests.
fn tokens(text: &str) -> Vec<String> {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let c: Vec<char> = text[..end].chars().collect();
    let (mut out, mut i) = (Vec::new(), 0);
    let word = |ch: char| ch.is_alphanumeric() || ch == '_';
    while i < c.len() {
        let next = c.get(i + 1).copied().unwrap_or(' ');
        match c[i] {
            '/' if next == '/' => i += c[i..].iter().take_while(|ch| **ch != '\n').count(),
            '/' if next == '*' => i += c[i..].windows(2).take_while(|w| *w != ['*', '/']).count() + 2,
            'r' if next == '"' || (next == '#' && matches!(c.get(i + 2), Some('"' | '#'))) => {
                let hashes = c[i + 1..].iter().take_while(|ch| **ch == '#').count();
                let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let from = i + 2 + hashes;
                i = from + c[from..].windows(close.len()).take_while(|w| *w != close).count() + close.len();
            }
            '"' => {
                i += 1;
                while i < c.len() && c[i] != '"' {
                    i += if c[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '\'' if next == '\\' => i += 3 + c[i + 3..].iter().take_while(|ch| **ch != '\'').count() + 1,
            '\'' if c.get(i + 2) == Some(&'\'') => i += 3,
            '\'' => i += 1,
            ':' if next == ':' => {
                out.push("::".into());
                i += 2;
            }
            ch if word(ch) => {
                let len = c[i..].iter().take_while(|ch| word(**ch)).count();
                out.push(c[i..i + len].iter().collect());
                i += len;
            }
            ch if ch.is_whitespace() => i += 1,
            ch => {
                out.push(ch.into());
                i += 1;
            }
        }
    }
    out
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// All paths of a tree such as `a::{b, c::d as e}` from `at` on, each with the name that it gets. Returns where the tree ends.
fn tree(t: &[String], mut at: usize, prefix: &[String], out: &mut Vec<(Place, String)>) -> usize {
    let mut path = prefix.to_vec();
    while at < t.len() {
        if t[at] == "{" {
            at += 1;
            while at < t.len() && t[at] != "}" {
                at = tree(t, at, &path, out);
                if t.get(at).is_some_and(|x| x == ",") {
                    at += 1;
                }
            }
            return at + 1;
        }
        path.push(t[at].clone());
        at += 1;
        let goes_on =
            t.get(at).is_some_and(|x| x == "::") && t.get(at + 1).is_some_and(|x| is_name(x) || x == "{" || x == "*");
        if goes_on {
            at += 1;
            continue;
        }
        break;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if name == "self" {
        path.pop();
        name = path.last().cloned().unwrap_or_default();
    }
    if t.get(at).is_some_and(|x| x == "as") {
        name = t.get(at + 1).cloned().unwrap_or_default();
        at += 2;
    }
    out.push((path, name));
    at
}

struct Module {
    /// Paths anywhere in the code that begin with `crate`, `self` or `super`.
    paths: Vec<Place>,
    /// What `use` brings in, by name.
    names: BTreeMap<String, Place>,
}

/// `crate`, `self` and `super` of a path in the module at `place`, resolved; none for paths of other crates.
fn absolute(path: &[String], place: &Place, children: &BTreeSet<Place>) -> Option<Place> {
    let mut base = match path.first()?.as_str() {
        "crate" => return Some(path[1..].to_vec()),
        "self" => place.clone(),
        "super" => {
            let up = path.iter().take_while(|p| *p == "super").count();
            let mut base = place.clone();
            base.truncate(place.len().checked_sub(up)?);
            base.extend_from_slice(&path[up..]);
            return Some(base);
        }
        first => {
            let mut child = place.clone();
            child.push(first.to_owned());
            if !children.contains(&child) {
                return None;
            }
            let mut base = place.clone();
            base.extend_from_slice(path);
            return Some(base);
        }
    };
    base.extend_from_slice(&path[1..]);
    Some(base)
}

/// The modules of one crate.
fn modules(root: &Path) -> BTreeMap<Place, Module> {
    let mut files = Vec::new();
    rust_files(root, &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(root).expect("under the root").with_extension("");
        let mut place: Place = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        // Other programs of the package are crates of their own.
        if place[0] == "bin" {
            continue;
        }
        if matches!(place.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            place.pop();
        }
        let t = tokens(&std::fs::read_to_string(&file).expect("readable"));
        let (mut paths, mut names) = (Vec::new(), BTreeMap::new());
        for at in 0..t.len() {
            let begins = at == 0 || t[at - 1] != "::";
            if t[at] == "use" {
                let mut all = Vec::new();
                tree(&t, at + 1, &[], &mut all);
                names.extend(all.into_iter().map(|(path, name)| (name, path)));
            }
            if begins
                && matches!(t[at].as_str(), "crate" | "self" | "super")
                && t.get(at + 1).is_some_and(|x| x == "::")
            {
                let mut all = Vec::new();
                tree(&t, at, &[], &mut all);
                paths.extend(all.into_iter().map(|(path, _)| path));
            }
        }
        found.insert(place, Module { paths, names });
    }
    found
}

/// The module that defines what an absolute path names.
fn definition(path: &Place, all: &BTreeMap<Place, Module>, places: &BTreeSet<Place>, depth: usize) -> Place {
    let mut place = Place::new();
    for (i, part) in path.iter().enumerate() {
        let mut child = place.clone();
        child.push(part.clone());
        if places.contains(&child) {
            place = child;
            continue;
        }
        let brought = all.get(&place).and_then(|module| module.names.get(part));
        if let Some(mut target) = brought.and_then(|to| absolute(to, &place, places)).filter(|_| depth < 8) {
            target.extend_from_slice(&path[i + 1..]);
            return definition(&target, all, places, depth + 1);
        }
        break;
    }
    place
}

/// Which modules reach which siblings, by folder.
fn edges(all: &BTreeMap<Place, Module>) -> BTreeMap<Place, BTreeSet<(String, String)>> {
    let places: BTreeSet<Place> = all.keys().cloned().collect();
    let mut edges: BTreeMap<Place, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, module) in all {
        for path in &module.paths {
            let Some(path) = absolute(path, from, &places) else { continue };
            let to = definition(&path, all, &places, 0);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if shared < from.len() && shared < to.len() {
                let pair = (from[shared].clone(), to[shared].clone());
                edges.entry(from[..shared].to_vec()).or_default().insert(pair);
            }
        }
    }
    edges
}

/// Modules of a folder that reach each other, each circle once.
fn circles(edges: &BTreeSet<(String, String)>) -> BTreeSet<BTreeSet<String>> {
    let reached = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(at) = open.pop() {
            for (_, to) in edges.iter().filter(|(a, _)| *a == at) {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<String>> = edges.iter().map(|(a, _)| (a.as_str(), reached(a))).collect();
    let circle = |name: &&str| -> BTreeSet<String> {
        all.keys().filter(|b| all[*name].contains(**b) && all[*b].contains(*name)).map(|b| (*b).to_owned()).collect()
    };
    all.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

fn found(root: &Path, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (folder, edges) in edges(&modules(root)) {
        for circle in circles(&edges) {
            let circle: Vec<_> = circle.into_iter().collect();
            out.push(format!(
                "{name}{}: {}",
                folder.iter().map(|f| format!("/{f}")).collect::<String>(),
                circle.join(" ")
            ));
        }
    }
    out
}

#[test]
fn siblings_do_not_import_each_other_in_circles() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = found(&top.join("src"), "src");
    if let Ok(crates) = std::fs::read_dir(top.join("crates")) {
        for package in crates.map(|entry| entry.expect("entry").path()) {
            if package.join("src").is_dir() {
                let name = format!("crates/{}/src", package.file_name().expect("name").to_string_lossy());
                all.extend(found(&package.join("src"), &name));
            }
        }
    }
    assert!(all.is_empty(), "circles: {all:#?}");
}

#[test]
fn circles_are_found() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write("lib.rs", "pub mod a; pub mod b; mod c; mod deep;\npub use c::Gamma as Renamed;\n");
    write("a.rs", "use crate::{b::Beta, Renamed};\nfn f(_: &Beta) -> &'static str { \"crate::c::x\" } // crate::c\n");
    write("b.rs", "pub struct Beta;\n#[cfg(test)]\nmod tests {\n    use crate::a::f;\n}\n");
    write("c.rs", "pub struct Gamma;\n");
    write("deep/mod.rs", "mod x; mod y;\npub struct Here;\n");
    write("deep/x.rs", "use super::Here;\n");
    write("deep/y.rs", "use super::x;\n");
    assert!(found(folder.path(), "it").is_empty(), "{:?}", found(folder.path(), "it"));
    // By a re-export under another name, by a path in the code, and between cousins.
    write("c.rs", "pub struct Gamma;\nfn g() { super::a::f() }\n");
    write("deep/x.rs", "fn h() { let _ = super::y::k::<super::Here>; }\n");
    write("b.rs", "pub struct Beta;\nmacro_rules! m { () => { $crate::deep::x::h() } }\n");
    write("deep/y.rs", "use super::{x, Here};\nuse crate::b::Beta;\n");
    assert_eq!(found(folder.path(), "it"), ["it: a c", "it: b deep", "it/deep: x y"]);
}
