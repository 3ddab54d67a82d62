//! Which Python names a pickle asks for, found without following it: its opcodes are stepped over, and nothing is built.

use sememe::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, Read};
use std::path::Path;

/// Names longer than this are no module's or class's.
const MAX_NAME_BYTES: u64 = 4096;
/// Longest text of a pickle that refers to its own containers again: its reader copies those, keys and all, up to a million objects.
const MAX_COPIED_TEXT: u64 = 256;

/// Names that are tensors, containers, and settings beside them. None of them is ever called; a name that is not here may stand for
/// anything, so it is refused.
const ALLOWED: [(&str, &[&str]); 25] = [
    ("collections", &["OrderedDict", "defaultdict", "Counter", "deque", "namedtuple"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("functools", &["partial"]),
    ("pathlib", &["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("pathlib._local", &["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("builtins", BUILTINS),
    ("__builtin__", BUILTINS),
    ("copyreg", &["_reconstructor"]),
    ("copy_reg", &["_reconstructor"]),
    ("_codecs", &["encode"]),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    ("typing", &["Any"]),
    ("numpy", &["dtype", "ndarray", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "bool_"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("torch._utils", ANY),
    ("torch._tensor", ANY),
    ("torch.storage", ANY),
    ("torch.serialization", ANY),
    ("torch.nn", ANY),
    ("torch.optim", ANY),
    ("omegaconf", ANY),
    ("lightning", ANY),
    ("pytorch_lightning", ANY),
];
const BUILTINS: &[&str] = &[
    "set",
    "frozenset",
    "slice",
    "complex",
    "bytearray",
    "bytes",
    "int",
    "float",
    "bool",
    "str",
    "list",
    "dict",
    "tuple",
    "object",
    "type",
    "range",
];
/// The module and those below it, with all of their names.
const ANY: &[&str] = &[];

/// Names of `torch` itself: types, storages and devices.
fn of_torch(name: &str) -> bool {
    let other = ["device", "Size", "Tensor", "dtype", "Generator", "strided"];
    let types =
        ["float", "double", "half", "bfloat16", "int", "long", "short", "uint8", "uint16", "uint32", "uint64", "bool"];
    name.ends_with("Storage")
        || other.contains(&name)
        || types.contains(&name)
        || ["float16", "float32", "float64", "int8", "int16", "int32", "int64"].contains(&name)
}

fn allowed(module: &str, name: &str) -> bool {
    if module == "torch" {
        return of_torch(name);
    }
    ALLOWED.iter().any(|(known, names)| match *names {
        ANY => module == *known || module.strip_prefix(known).is_some_and(|rest| rest.starts_with('.')),
        names => module == *known && names.contains(&name),
    })
}

/// The containers of pickles that tensors are kept beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pickled {
    /// Of PyTorch 1.6 and later.
    Zip,
    /// Before.
    Legacy,
}

/// What a pickle asks for.
#[derive(Debug, Default)]
pub struct PickleNames {
    /// `module.name`, of all that it names.
    pub names: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// Why it could not be followed to its end.
    broken: Option<String>,
}

impl PickleNames {
    /// Those of `pickles` that follow one another.
    pub fn scan(reader: &mut dyn BufRead, pickles: usize) -> Self {
        let mut out = Self::default();
        for _ in 0..pickles {
            let mut walk = Walk {
                texts: Vec::new(),
                memo: HashMap::new(),
                last: Kept::Other,
                longest: 0,
                copies: false,
                out: &mut out,
            };
            if let Err(problem) = walk.run(reader) {
                out.broken = Some(problem);
                break;
            }
        }
        out
    }

    /// Whether it is of scikit-learn.
    pub fn is_sklearn(&self) -> bool {
        self.names.iter().any(|name| name.starts_with("sklearn."))
    }

    /// Refuses a pickle that is more than tensors and settings.
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "only checkpoints are held to it"))]
    pub fn check(&self, path: &Path) -> Result<()> {
        if let Some(first) = self.refused.first() {
            let others = match self.refused.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            return Err(Error::format(
                path,
                format!(
                    "its pickle is more than tensors: it names `{first}`{others}, which is not read (nothing was run); in Python, save the \
                     tensors alone with `torch.save(model.state_dict(), path)` or `safetensors.torch.save_file`"
                ),
            ));
        }
        match &self.broken {
            Some(problem) => Err(Error::format(path, format!("its pickle cannot be followed: {problem}"))),
            None => Ok(()),
        }
    }

    fn found(&mut self, module: &str, name: &str) {
        let whole = format!("{module}.{name}");
        if !allowed(module, name) {
            self.refused.insert(whole.clone());
        }
        self.names.insert(whole);
    }
}

/// A value, as far as it matters what it is.
#[derive(Clone, Debug)]
enum Kept {
    Text(String),
    /// A long text, or what is named: nothing that holds others.
    Single,
    Other,
}

/// One pickle. Of all values only texts are looked at: those that `STACK_GLOBAL` takes for a module and a name.
struct Walk<'a> {
    /// The last texts, the newest last; two are enough.
    texts: Vec<Option<String>>,
    /// By memo number.
    memo: HashMap<u64, Kept>,
    /// The value that an opcode of the memo would keep.
    last: Kept,
    /// Bytes of the longest text.
    longest: u64,
    /// Whether a container is referred to again.
    copies: bool,
    out: &'a mut PickleNames,
}

fn byte(r: &mut dyn BufRead) -> Result<u8, String> {
    number::<1>(r).map(|n| n as u8)
}

/// An unsigned number of so many bytes, little endian.
fn number<const N: usize>(r: &mut dyn BufRead) -> Result<u64, String> {
    let mut bytes = [0u8; 8];
    r.read_exact(&mut bytes[..N]).map_err(|_| "it ends in the middle of an opcode".to_owned())?;
    Ok(u64::from_le_bytes(bytes))
}

fn skip(r: &mut dyn BufRead, count: u64) -> Result<(), String> {
    let skipped = std::io::copy(&mut r.take(count), &mut std::io::sink()).map_err(|e| e.to_string())?;
    if skipped == count { Ok(()) } else { Err(format!("a value of {count} bytes is cut short after {skipped}")) }
}

fn line(r: &mut dyn BufRead) -> Result<String, String> {
    let mut bytes = Vec::new();
    r.take(MAX_NAME_BYTES).read_until(b'\n', &mut bytes).map_err(|e| e.to_string())?;
    if bytes.pop() != Some(b'\n') {
        return Err(format!("a line is longer than {MAX_NAME_BYTES} bytes, or has no end"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Walk<'_> {
    /// Up to and with the opcode that ends it.
    fn run(&mut self, r: &mut dyn BufRead) -> Result<(), String> {
        loop {
            let opcode = byte(r)?;
            if opcode == b'.' {
                return Ok(());
            }
            self.step(r, opcode)?;
            if self.copies && self.longest > MAX_COPIED_TEXT {
                return Err(format!(
                    "it refers to its own containers again, and has a text of {} bytes, more than {MAX_COPIED_TEXT}; save the state dict alone",
                    self.longest
                ));
            }
        }
    }

    fn text(&mut self, text: Option<String>) {
        self.last = text.clone().map_or(Kept::Single, Kept::Text);
        self.texts.push(text);
        if self.texts.len() > 2 {
            self.texts.remove(0);
        }
    }

    /// A text of so many bytes; a long one is no name and is passed over.
    fn text_of(&mut self, r: &mut dyn BufRead, length: u64) -> Result<(), String> {
        self.longest = self.longest.max(length);
        if length > MAX_NAME_BYTES {
            skip(r, length)?;
            self.text(None);
            return Ok(());
        }
        let mut bytes = vec![0; length as usize];
        r.read_exact(&mut bytes).map_err(|_| format!("a text of {length} bytes is cut short"))?;
        self.text(Some(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(())
    }

    fn put(&mut self, at: u64) {
        self.memo.insert(at, self.last.clone());
    }

    fn get(&mut self, at: u64) {
        // What is no text may stand between two texts, as it does on Python's stack.
        match self.memo.get(&at).cloned() {
            Some(Kept::Text(text)) => self.text(Some(text)),
            Some(Kept::Single) => self.last = Kept::Single,
            Some(Kept::Other) | None => {
                self.last = Kept::Other;
                self.copies = true;
            }
        }
    }

    fn step(&mut self, r: &mut dyn BufRead, opcode: u8) -> Result<(), String> {
        let keeps_last = matches!(
            opcode,
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' | b'U' | b'T' | b'X' | 0x8c | 0x8d | b'V' | b'S'
        );
        match opcode {
            // Protocol; booleans as numbers of one byte; extensions.
            0x80 | b'K' | 0x82 => skip(r, 1)?,
            b'M' | 0x83 => skip(r, 2)?,
            b'J' | 0x84 => skip(r, 4)?,
            // A double; a frame's length.
            b'G' | 0x95 => skip(r, 8)?,
            // Long numbers.
            0x8a => {
                let length = number::<1>(r)?;
                skip(r, length)?;
            }
            0x8b => {
                let length = number::<4>(r)?;
                skip(r, length)?;
            }
            // Bytes.
            b'C' => {
                let length = number::<1>(r)?;
                skip(r, length)?;
            }
            b'B' => {
                let length = number::<4>(r)?;
                skip(r, length)?;
            }
            0x8e | 0x96 => {
                let length = number::<8>(r)?;
                skip(r, length)?;
            }
            // Texts.
            b'U' | 0x8c => {
                let length = number::<1>(r)?;
                self.text_of(r, length)?;
            }
            b'T' | b'X' => {
                let length = number::<4>(r)?;
                self.text_of(r, length)?;
            }
            0x8d => {
                let length = number::<8>(r)?;
                self.text_of(r, length)?;
            }
            b'V' => {
                let text = line(r)?;
                self.longest = self.longest.max(text.len() as u64);
                self.text(Some(text));
            }
            b'S' => {
                let text = line(r)?;
                self.longest = self.longest.max(text.len() as u64);
                self.text(Some(text.trim_matches(['\'', '"']).to_owned()));
            }
            // Lines: numbers, and names of protocol 0.
            b'F' | b'I' | b'L' | b'P' => {
                line(r)?;
            }
            b'c' | b'i' => {
                let (module, name) = (line(r)?, line(r)?);
                self.out.found(&module, &name);
            }
            0x93 => match self.texts.as_slice() {
                [Some(module), Some(name)] => {
                    let (module, name) = (module.clone(), name.clone());
                    self.out.found(&module, &name);
                }
                _ => return Err("it names a function in a way that cannot be followed".into()),
            },
            // The memo.
            b'p' => {
                let at = line(r)?.parse().map_err(|_| "a memo's number is none".to_owned())?;
                self.put(at);
            }
            b'q' => {
                let at = number::<1>(r)?;
                self.put(at);
            }
            b'r' => {
                let at = number::<4>(r)?;
                self.put(at);
            }
            0x94 => {
                let at = self.memo.len() as u64;
                self.put(at);
            }
            b'g' => {
                let at = line(r)?.parse().map_err(|_| "a memo's number is none".to_owned())?;
                self.get(at);
            }
            b'h' => {
                let at = number::<1>(r)?;
                self.get(at);
            }
            b'j' => {
                let at = number::<4>(r)?;
                self.get(at);
            }
            // A copy of the value on top.
            b'2' => self.copies = true,
            // Without an argument: marks, containers, calls, None and booleans.
            b'('
            | b'0'
            | b'1'
            | b'N'
            | b'Q'
            | b'R'
            | b'a'
            | b'b'
            | b'd'
            | b'e'
            | b'l'
            | b'o'
            | b's'
            | b't'
            | b'u'
            | b')'
            | b']'
            | b'}'
            | 0x81
            | 0x85..=0x89
            | 0x8f
            | 0x90
            | 0x91
            | 0x92
            | 0x97
            | 0x98 => {}
            other => return Err(format!("opcode {other:#04x} is unknown")),
        }
        match opcode {
            _ if keeps_last => {}
            // Named, not made: a class.
            b'c' | 0x93 => self.last = Kept::Single,
            _ => self.last = Kept::Other,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> PickleNames {
        PickleNames::scan(&mut &bytes[..], 1)
    }

    #[test]
    fn names_of_all_protocols_are_found() {
        // Protocol 0, by lines; 2, by lines; 4, from the stack, and from the memo.
        assert!(scan(b"cposix\nsystem\n(S'ls'\ntR.").refused.contains("posix.system"));
        assert!(
            scan(b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00lsq\x01\x85q\x02Rq\x03.").refused.contains("os.system")
        );
        assert!(scan(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93.").refused.contains("posix.system"));
        let twice = scan(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94K\x00K\x01h\x00h\x01\x93.");
        assert!(twice.refused.contains("posix.system"), "{twice:?}");
        // Texts made of others, or none at all: nothing is known, so it is refused.
        for hidden in [&b"\x80\x04K\x01K\x02\x93."[..], b"\x80\x04\x8c\x02os\x93."] {
            assert!(scan(hidden).check(Path::new("a.pt")).is_err(), "{hidden:?}");
        }
    }

    #[test]
    fn tensors_and_settings_pass() {
        for fine in [
            &b"\x80\x02ccollections\nOrderedDict\nq\x00)R."[..],
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.",
            b"\x80\x02ctorch\nFloatStorage\n.",
            b"\x80\x02ctorch.optim.sgd\nSGD\n.",
            b"\x80\x02cargparse\nNamespace\n.",
        ] {
            scan(fine).check(Path::new("a.pt")).expect("tensors and settings");
        }
        for bad in [
            &b"ctorch.hub\nload\n."[..],
            b"ctorchx\nload\n.",
            b"cbuiltins\neval\n.",
            b"ctorch\nload\n.",
            b"ctorch.nnx\na\n.",
        ] {
            let refused = scan(bad).check(Path::new("a.pt")).expect_err("more than tensors").to_string();
            assert!(refused.contains("more than tensors") && refused.contains("nothing was run"), "{refused}");
        }
    }

    #[test]
    fn copies_of_long_texts_are_refused() {
        let pickle = |length: usize, get: &[u8]| {
            let mut out = b"\x80\x02}X".to_vec();
            out.extend((length as u32).to_le_bytes());
            out.extend(std::iter::repeat_n(b'a', length));
            out.extend(b"Nsq\x00");
            out.extend(get);
            out.push(b'.');
            out
        };
        let long = scan(&pickle(300, b"h\x00")).check(Path::new("a.pt")).expect_err("a long key").to_string();
        assert!(long.contains("text of 300 bytes"), "{long}");
        assert!(scan(&pickle(300, b"2")).check(Path::new("a.pt")).is_err());
        scan(&pickle(300, b"")).check(Path::new("a.pt")).expect("nothing is copied");
        scan(&pickle(200, b"h\x00")).check(Path::new("a.pt")).expect("a short key");
        // Texts and classes that stand twice are no copies.
        scan(b"\x80\x02X\x02\x00\x00\x00abq\x00h\x00ccollections\nOrderedDict\nq\x01h\x01.")
            .check(Path::new("a.pt"))
            .expect("names");
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        for broken in [
            &b""[..],
            b"\x80",
            b"\x80\x02X\xff\xff\xff\x7fab",
            b"\xff.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"cposix",
        ] {
            assert!(scan(broken).check(Path::new("a.pt")).is_err(), "{broken:?}");
        }
    }
}
