//! What a disk may hold after the power went: everything that was synced, and any part of what was not.
//!
//! Stricter than most file systems. A file's data and the folder that names it are made durable apart; a rename may reach the disk before
//! the data of what it renames; writes that were not synced may be kept, lost, torn at any byte or zeros, each on its own. Only the changes
//! of one folder keep their order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::trace::Call;

/// A folder's content: `None` for a folder.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Clone)]
enum Data {
    Write { at: u64, bytes: Vec<u8> },
    Len(u64),
}

#[derive(Clone)]
enum Entry {
    Put(String, usize),
    Remove(String),
    Rename(String, String),
    Exchange(String, String),
}

#[derive(Clone)]
enum Node {
    File { durable: Vec<u8>, pending: Vec<Data> },
    Folder { durable: BTreeMap<String, usize>, now: BTreeMap<String, usize>, pending: Vec<Entry> },
}

/// A disk with a cache.
#[derive(Clone)]
pub struct Disk {
    nodes: Vec<Node>,
    files: HashMap<usize, usize>,
}

/// What of the changes that were not synced is there afterwards.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// All: the program was killed, but the machine went on.
    All,
    /// Nothing.
    Nothing,
    /// What folders hold, but no data: renamed before it was written.
    Names,
    /// As `Names`, with files as long as they should be, and zeros in them.
    Zeros,
    /// Data, but nothing of what folders hold.
    Contents,
    /// All, and the last write torn.
    Torn(u64),
    /// Each change on its own.
    Random(u64),
}

const FATES: [Fate; 12] = [
    Fate::All,
    Fate::Nothing,
    Fate::Names,
    Fate::Zeros,
    Fate::Contents,
    Fate::Torn(1),
    Fate::Torn(2),
    Fate::Random(1),
    Fate::Random(2),
    Fate::Random(3),
    Fate::Random(4),
    Fate::Random(5),
];

/// SplitMix64: enough for a choice.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % n.max(1)
    }
}

fn apply(content: &mut Vec<u8>, change: &Data) {
    match change {
        Data::Len(len) => content.resize(*len as usize, 0),
        Data::Write { at, bytes } => {
            let end = *at as usize + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at as usize..end].copy_from_slice(bytes);
        }
    }
}

fn change(entries: &mut BTreeMap<String, usize>, entry: &Entry) {
    match entry {
        Entry::Put(name, node) => {
            entries.insert(name.clone(), *node);
        }
        Entry::Remove(name) => {
            entries.remove(name);
        }
        Entry::Rename(from, to) => {
            if let Some(node) = entries.remove(from) {
                entries.insert(to.clone(), node);
            }
        }
        Entry::Exchange(one, other) => {
            if let (Some(a), Some(b)) = (entries.remove(one), entries.remove(other)) {
                entries.insert(one.clone(), b);
                entries.insert(other.clone(), a);
            }
        }
    }
}

impl Disk {
    /// A disk that holds a folder's content, all of it durable.
    pub fn new(folder: &Path) -> Self {
        let mut disk = Self { nodes: Vec::new(), files: HashMap::new() };
        disk.load(folder);
        disk
    }

    fn load(&mut self, folder: &Path) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node::File { durable: Vec::new(), pending: Vec::new() });
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let node = if path.is_dir() {
                self.load(&path)
            } else {
                self.nodes.push(Node::File { durable: fs::read(&path).expect("a file"), pending: Vec::new() });
                self.nodes.len() - 1
            };
            entries.insert(entry.file_name().to_string_lossy().into_owned(), node);
        }
        self.nodes[at] = Node::Folder { durable: entries.clone(), now: entries, pending: Vec::new() };
        at
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.iter().try_fold(0, |at, name| match &self.nodes[at] {
            Node::Folder { now, .. } => now.get(&*name.to_string_lossy()).copied(),
            Node::File { .. } => None,
        })
    }

    fn edit(&mut self, folder: &Path, entry: Entry) {
        let at = self.find(folder).unwrap_or_else(|| panic!("`{}` is a folder", folder.display()));
        let Node::Folder { now, pending, .. } = &mut self.nodes[at] else { panic!("{}", folder.display()) };
        change(now, &entry);
        pending.push(entry);
    }

    fn alter(&mut self, file: usize, data: Data) {
        let Some(Node::File { pending, .. }) = self.files.get(&file).map(|at| &mut self.nodes[*at]) else { return };
        pending.push(data);
    }

    fn put(&mut self, path: &Path, node: Node) -> usize {
        self.nodes.push(node);
        let at = self.nodes.len() - 1;
        self.edit(parent(path), Entry::Put(name(path), at));
        at
    }

    /// Does what the program did.
    pub fn run(&mut self, call: &Call) {
        match call {
            Call::Open { file, path, create, truncate } => {
                let at = match self.find(path) {
                    Some(at) => at,
                    None if *create => self.put(path, Node::File { durable: Vec::new(), pending: Vec::new() }),
                    None => return,
                };
                self.files.insert(*file, at);
                if *truncate {
                    self.alter(*file, Data::Len(0));
                }
            }
            Call::Mkdir { path } => {
                let empty = BTreeMap::new();
                self.put(path, Node::Folder { durable: empty.clone(), now: empty, pending: Vec::new() });
            }
            Call::Write { file, at, bytes } => self.alter(*file, Data::Write { at: *at, bytes: bytes.clone() }),
            Call::Truncate { file, len } => self.alter(*file, Data::Len(*len)),
            Call::Sync { file } => match self.files.get(file).map(|at| &mut self.nodes[*at]) {
                Some(Node::File { durable, pending }) => pending.drain(..).for_each(|data| apply(durable, &data)),
                Some(Node::Folder { durable, pending, .. }) => {
                    pending.drain(..).for_each(|entry| change(durable, &entry));
                }
                None => {}
            },
            Call::Rename { from, to } => {
                assert_eq!(parent(from), parent(to), "a rename between folders is not modelled");
                self.edit(parent(from), Entry::Rename(name(from), name(to)));
            }
            Call::Exchange { one, other } => {
                assert_eq!(parent(one), parent(other), "an exchange between folders is not modelled");
                self.edit(parent(one), Entry::Exchange(name(one), name(other)));
            }
            Call::Link { from, to } => {
                let node = self.find(from).unwrap_or_else(|| panic!("`{}` is a file", from.display()));
                self.edit(parent(to), Entry::Put(name(to), node));
            }
            Call::Remove { path } => self.edit(parent(path), Entry::Remove(name(path))),
        }
    }

    /// What is there after the power went.
    pub fn after(&self, fate: Fate) -> Tree {
        let mut dice = Dice(if let Fate::Random(seed) = fate { seed } else { 0 });
        let mut tree = Tree::new();
        self.collect(0, Path::new(""), fate, &mut dice, &mut tree);
        tree
    }

    fn collect(&self, at: usize, path: &Path, fate: Fate, dice: &mut Dice, tree: &mut Tree) {
        match &self.nodes[at] {
            Node::File { durable, pending } => {
                tree.insert(path.to_path_buf(), Some(content(durable, pending, fate, dice)));
            }
            Node::Folder { durable, pending, .. } => {
                if !path.as_os_str().is_empty() {
                    tree.insert(path.to_path_buf(), None);
                }
                let kept = match fate {
                    Fate::Nothing | Fate::Contents => 0,
                    Fate::Random(_) => dice.below(pending.len() as u64 + 1) as usize,
                    _ => pending.len(),
                };
                let mut entries = durable.clone();
                pending[..kept].iter().for_each(|entry| change(&mut entries, entry));
                for (name, node) in entries {
                    self.collect(node, &path.join(name), fate, dice, tree);
                }
            }
        }
    }
}

fn content(durable: &[u8], pending: &[Data], fate: Fate, dice: &mut Dice) -> Vec<u8> {
    let mut content = durable.to_vec();
    for (i, data) in pending.iter().enumerate() {
        let last = i + 1 == pending.len();
        let blank = |data: &Data| match data {
            Data::Write { at, bytes } => Data::Write { at: *at, bytes: vec![0; bytes.len()] },
            Data::Len(len) => Data::Len(*len),
        };
        let torn = |data: &Data, keep: u64| match data {
            Data::Write { at, bytes } => {
                Data::Write { at: *at, bytes: bytes[..(keep as usize).min(bytes.len())].to_vec() }
            }
            Data::Len(len) => Data::Len(*len),
        };
        let length = if let Data::Write { bytes, .. } = data { bytes.len() as u64 } else { 0 };
        match fate {
            Fate::All | Fate::Contents => apply(&mut content, data),
            Fate::Nothing | Fate::Names => {}
            Fate::Zeros => apply(&mut content, &blank(data)),
            Fate::Torn(part) if last => apply(&mut content, &torn(data, length * part / 3)),
            Fate::Torn(_) => apply(&mut content, data),
            Fate::Random(_) => match dice.below(4) {
                0 => {}
                1 => apply(&mut content, &blank(data)),
                2 => apply(&mut content, &torn(data, dice.below(length))),
                _ => apply(&mut content, data),
            },
        }
    }
    content
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Calls `each` with everything that a loss of power at any moment may leave, each different tree once: the calls done, the fate, the tree.
pub fn every_loss(before: &Disk, calls: &[Call], each: &mut dyn FnMut(usize, Fate, &Tree)) -> usize {
    let mut disk = before.clone();
    let mut seen = HashSet::new();
    for done in 0..=calls.len() {
        if done > 0 {
            disk.run(&calls[done - 1]);
        }
        for fate in FATES {
            let fate = if let Fate::Random(seed) = fate { Fate::Random(seed + 1000 * done as u64) } else { fate };
            let tree = disk.after(fate);
            if seen.insert(digest(&tree)) {
                each(done, fate, &tree);
            }
        }
    }
    seen.len()
}

fn digest(tree: &Tree) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    tree.hash(&mut hasher);
    hasher.finish()
}

/// Puts a tree into a folder of its own.
pub fn place(tree: &Tree, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    for (path, content) in tree {
        match content {
            None => fs::create_dir_all(folder.join(path)).expect("a folder"),
            Some(bytes) => fs::write(folder.join(path), bytes).expect("a file"),
        }
    }
}
