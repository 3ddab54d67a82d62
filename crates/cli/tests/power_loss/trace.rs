//! What a program did to the files of a folder, as strace saw it: no hook in the program, so nothing it writes is missed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One call that changed a file or a folder, or made a change durable. Paths are within the folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A file or folder was opened; made if `create`, and emptied if `truncate`. `file` is this opening.
    Open {
        file: usize,
        path: PathBuf,
        create: bool,
        truncate: bool,
    },
    Mkdir {
        path: PathBuf,
    },
    Write {
        file: usize,
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        len: u64,
    },
    /// fsync or fdatasync.
    Sync {
        file: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Exchange {
        one: PathBuf,
        other: PathBuf,
    },
    /// A second name for a file.
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    /// A file, or an empty folder.
    Remove {
        path: PathBuf,
    },
}

/// What is traced; a system that lacks a call passes it over.
const CALLS: &str = "trace=?open,?openat,?openat2,?creat,?close,?dup,?dup2,?dup3,?fcntl,?lseek,?write,?pwrite64,?writev,?pwritev,?pwritev2,\
                     ?ftruncate,?truncate,?fallocate,?fsync,?fdatasync,?sync,?syncfs,?sync_file_range,?rename,?renameat,?renameat2,?link,\
                     ?linkat,?symlink,?symlinkat,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?copy_file_range,?sendfile,?splice,?chdir,?fchdir";

/// Whether strace can trace here; containers may forbid it.
pub fn available() -> bool {
    let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "-e", "trace=close", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Runs the program in `folder` under strace, and says what it did there.
pub fn record(program: &Path, args: &[&str], folder: &Path, log: &Path) -> (Output, Vec<Call>) {
    let output = Command::new("strace")
        .args(["-f", "-xx", "-s", "67108864", "-e", CALLS, "-e", "signal=none", "-o"])
        .arg(log)
        .arg(program)
        .args(args)
        .current_dir(folder)
        .output()
        .expect("strace runs");
    let folder = fs::canonicalize(folder).expect("a folder");
    let text = fs::read_to_string(log).expect("a trace is ASCII");
    let mut reader = Reader { folder, fds: HashMap::new(), calls: Vec::new(), openings: 0, open: HashMap::new() };
    for line in whole_calls(&text) {
        reader.call(&line);
    }
    (output, reader.calls)
}

/// Joins a call that another thread's interrupted with its end; calls stand where they ended.
fn whole_calls(text: &str) -> Vec<String> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut whole = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start.to_owned());
        } else if let Some(end) = rest.strip_prefix("<... ") {
            let (_, end) = end.split_once(" resumed>").expect("a resumed call");
            whole.push(begun.remove(thread).expect("a call that had begun") + end);
        } else if !rest.starts_with("+++") && !rest.starts_with("---") {
            whole.push(rest.to_owned());
        }
    }
    whole
}

/// An open file description that matters.
#[derive(Clone)]
enum Opened {
    File { file: usize, append: bool },
    Folder { file: usize, path: PathBuf },
}

struct Reader {
    folder: PathBuf,
    fds: HashMap<i64, (Opened, usize)>,
    calls: Vec<Call>,
    openings: usize,
    /// Position of each open file description, shared by duplicates.
    open: HashMap<usize, u64>,
}

/// The hex escapes of one quoted text.
fn unescape(quoted: &str) -> Vec<u8> {
    let hex = |text: &str| u8::from_str_radix(text, 16).expect("two hex digits");
    quoted.split("\\x").skip(1).map(hex).collect()
}

/// Every quoted text of a call's arguments.
fn quoted(args: &str) -> Vec<Vec<u8>> {
    args.split('"').skip(1).step_by(2).map(unescape).collect()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes.to_vec()).expect("a path in UTF-8"))
}

fn number(text: &str) -> i64 {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    text[..end].parse().unwrap_or(-1)
}

impl Reader {
    /// A path as the call names it, within the folder; `None` outside of it. `base` is the text of a folder's number before it.
    fn within(&self, base: Option<&str>, path: &[u8]) -> Option<PathBuf> {
        let path = path_of(path);
        let absolute = match base.map(number) {
            _ if path.is_absolute() => path,
            Some(fd) if fd >= 0 => match &self.fds.get(&fd)?.0 {
                Opened::Folder { path: folder, .. } => self.folder.join(folder).join(path),
                Opened::File { .. } => return None,
            },
            _ => self.folder.join(path),
        };
        absolute.strip_prefix(&self.folder).ok().map(Path::to_path_buf)
    }

    fn file(&self, fd: i64) -> Option<(usize, bool, usize)> {
        match self.fds.get(&fd) {
            Some((Opened::File { file, append }, opening)) => Some((*file, *append, *opening)),
            _ => None,
        }
    }

    fn call(&mut self, line: &str) {
        // The result is behind the last ` = `: quoted texts are in hex and hold none.
        let Some((name, rest)) = line.split_once('(') else { return };
        let Some((args, result)) = rest.rsplit_once(" = ") else { return };
        let args = args.trim_end().strip_suffix(')').unwrap_or(args);
        let result = number(result);
        if result < 0 {
            return;
        }
        let first = number(args);
        let texts = quoted(args);
        // The arguments between the quoted texts, for those calls that have two paths.
        let plain: Vec<&str> = args.split('"').step_by(2).collect();
        match name {
            "open" | "openat" | "creat" => {
                // Reading changes nothing, but a folder is opened so to be synced.
                let base = (name == "openat").then_some(plain[0]);
                let Some(path) = self.within(base, &texts[0]) else { return };
                self.openings += 1;
                let opening = self.openings;
                if args.contains("O_DIRECTORY") || self.folder.join(&path).is_dir() && !args.contains("O_CREAT") {
                    let call = Call::Open { file: opening, path: path.clone(), create: false, truncate: false };
                    self.calls.push(call);
                    self.fds.insert(result, (Opened::Folder { file: opening, path }, opening));
                    return;
                }
                let create = args.contains("O_CREAT") || name == "creat";
                let truncate = args.contains("O_TRUNC") || name == "creat";
                assert!(!args.contains("O_TMPFILE"), "files without a name are not modelled: {line:.200}");
                self.calls.push(Call::Open { file: opening, path, create, truncate });
                let append = args.contains("O_APPEND");
                self.fds.insert(result, (Opened::File { file: opening, append }, opening));
                self.open.insert(opening, 0);
            }
            "close" => {
                self.fds.remove(&first);
            }
            "dup" => self.duplicate(first, result),
            "dup2" | "dup3" => self.duplicate(first, result),
            "fcntl" if args.contains("F_DUPFD") => self.duplicate(first, result),
            "lseek" => {
                if let Some((_, _, opening)) = self.file(first) {
                    self.open.insert(opening, result as u64);
                }
            }
            "write" | "writev" => {
                let Some((file, append, opening)) = self.file(first) else { return };
                assert!(!append, "O_APPEND is not modelled: {line:.200}");
                let mut bytes = texts.concat();
                bytes.truncate(result as usize);
                assert_eq!(bytes.len(), result as usize, "strace kept all that was written");
                let at = self.open[&opening];
                self.open.insert(opening, at + result as u64);
                self.calls.push(Call::Write { file, at, bytes });
            }
            "pwrite64" => {
                let Some((file, ..)) = self.file(first) else { return };
                let at = args.rsplit_once(", ").map(|(_, at)| number(at)).expect("a position") as u64;
                let bytes = texts[0][..result as usize].to_vec();
                self.calls.push(Call::Write { file, at, bytes });
            }
            "ftruncate" => {
                let Some((file, ..)) = self.file(first) else { return };
                let len = args.rsplit_once(", ").map(|(_, len)| number(len)).expect("a length") as u64;
                self.calls.push(Call::Truncate { file, len });
            }
            "fsync" | "fdatasync" => {
                if let Some((Opened::File { file, .. } | Opened::Folder { file, .. }, _)) = self.fds.get(&first) {
                    self.calls.push(Call::Sync { file: *file });
                }
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                let bases = name.contains("at").then(|| (plain[0], plain[1].trim_start_matches(", ")));
                let from = self.within(bases.map(|b| b.0), &texts[0]);
                let to = self.within(bases.map(|b| b.1), &texts[1]);
                match (from, to) {
                    (Some(one), Some(other)) if args.contains("RENAME_EXCHANGE") => {
                        self.calls.push(Call::Exchange { one, other });
                    }
                    (Some(from), Some(to)) if name.starts_with("link") => self.calls.push(Call::Link { from, to }),
                    (Some(from), Some(to)) => self.calls.push(Call::Rename { from, to }),
                    (None, None) => {}
                    _ => panic!("a rename or link across the folder's edge is not modelled: {line:.200}"),
                }
            }
            "unlink" | "unlinkat" | "rmdir" => {
                let base = (name == "unlinkat").then_some(plain[0]);
                if let Some(path) = self.within(base, &texts[0]) {
                    self.calls.push(Call::Remove { path });
                }
            }
            "mkdir" | "mkdirat" => {
                let base = (name == "mkdirat").then_some(plain[0]);
                if let Some(path) = self.within(base, &texts[0]) {
                    self.calls.push(Call::Mkdir { path });
                }
            }
            // Locks and the like; and where the program is already.
            "fcntl" => {}
            "chdir" if self.within(None, &texts[0]).as_deref() == Some(Path::new("")) => {}
            _ => {
                let touches = texts.iter().any(|text| self.within(None, text).is_some());
                let known = args.split(", ").any(|arg| self.fds.contains_key(&number(arg)) && !arg.contains('"'));
                assert!(!touches && !known, "`{name}` is not modelled: {line:.200}");
            }
        }
    }

    fn duplicate(&mut self, from: i64, to: i64) {
        if let Some(opened) = self.fds.get(&from).cloned() {
            self.fds.insert(to, opened);
        }
    }
}
