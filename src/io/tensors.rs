//! `.safetensors`: only the header is read into memory; values are read by position.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::array_info::ArrayInfo;
use super::dense::{ArrayLayout, DenseRows};
use super::npy::shape_text;
use super::numbers::NumberKind;
use super::pick::{Candidate, Usable, pick};
use super::window::Window;
use crate::error::{Result, check_shape};

/// The reference implementation's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Files with more tensors are refused.
const MAX_TENSORS: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's tensors; a name that stands twice is an error, where a map would keep the last.
struct TensorHeader(Vec<(String, TensorEntry)>);

impl<'de> Deserialize<'de> for TensorHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = TensorHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorHeader, A::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(TensorHeader(tensors))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Bytes a value of `dtype`; `None` for one this crate has not heard of.
fn size_bytes(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => 1,
        "U16" | "I16" | "F16" | "BF16" => 2,
        "U32" | "I32" | "F32" => 4,
        "U64" | "I64" | "F64" | "C64" => 8,
        _ => return None,
    })
}

fn number(dtype: &str) -> Option<NumberKind> {
    Some(match dtype {
        "F16" => NumberKind::F16,
        "BF16" => NumberKind::Bf16,
        "F32" => NumberKind::F32,
        "F64" => NumberKind::F64,
        "I8" => NumberKind::I8,
        "U8" => NumberKind::U8,
        _ => return None,
    })
}

/// The numbers of a tensor that lies in `part`.
fn kind(part: &Window, tensor: &TensorEntry) -> Result<NumberKind> {
    let expected = "expected F16, BF16, F32, F64, I8 or U8";
    number(&tensor.dtype).ok_or_else(|| part.bad(format_args!("holds {}, {expected}", tensor.dtype)))
}

/// Whether the first nine bytes may be those of a safetensors file of `len` bytes.
pub(crate) fn looks_right(lead: &[u8], len: u64) -> bool {
    match lead {
        [a, b, c, d, e, f, g, h, b'{', ..] => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) <= len,
        _ => false,
    }
}

/// Reads the header and checks every offset; returns the tensors and where the data starts.
fn read_header(w: &Window) -> Result<(Vec<(String, TensorEntry)>, u64)> {
    let mut lead = [0u8; 8];
    if w.len() < 8 {
        return Err(w.bad(format_args!("is not a safetensors file: {} bytes are too few", w.len())));
    }
    w.read_at(0, &mut lead)?;
    let len = u64::from_le_bytes(lead);
    if len > MAX_HEADER_BYTES {
        return Err(w.bad(format_args!("claims a header of {len} bytes, at most {MAX_HEADER_BYTES} are read")));
    }
    if len > w.len() - 8 {
        let holds = w.len() - 8;
        return Err(w.bad(format_args!("claims a header of {len} bytes, but only {holds} follow; it is truncated")));
    }
    let header: TensorHeader = serde_json::from_slice(&w.bytes(8, len as usize)?)
        .map_err(|e| w.bad(format_args!("its header is not valid: {e}")))?;
    let TensorHeader(mut tensors) = header;
    tensors.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    check_offsets(w, &tensors, w.len() - 8 - len)?;
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(w.bad(format_args!("the tensor `{}` stands twice in its header", twice[0])));
    }
    Ok((tensors, 8 + len))
}

/// The tensors, ordered by offset, must follow one another without gap or overlap and end with the file.
fn check_offsets(w: &Window, tensors: &[(String, TensorEntry)], held: u64) -> Result<()> {
    let mut at = 0;
    for (name, t) in tensors {
        let (from, to) = t.data_offsets;
        if from != at || to < from || to > held {
            return Err(w.bad(format_args!(
                "`{name}` lies at bytes {from}..{to} of the data, expected it to start at {at} and to end within {held}"
            )));
        }
        if let Some(size) = size_bytes(&t.dtype) {
            let claimed = t.shape.iter().try_fold(size, |n, d| n.checked_mul(*d));
            if claimed != Some(to - from) {
                let (shape, claimed) = (shape_text(&t.shape), claimed.map_or("too many".into(), |n| n.to_string()));
                return Err(w.bad(format_args!(
                    "`{name}` claims {shape} `{}`, {claimed} bytes, but its offsets hold {}",
                    t.dtype,
                    to - from
                )));
            }
        }
        at = to;
    }
    if at == held {
        Ok(())
    } else {
        Err(w.bad(format_args!("its tensors hold {at} bytes, but {held} follow the header")))
    }
}

/// All tensors of a file, read one at a time.
pub struct TensorFile {
    window: Window,
    data: u64,
    /// By name.
    tensors: Vec<(String, TensorEntry)>,
}

impl TensorFile {
    /// Reads the header.
    ///
    /// # Errors
    /// If the file cannot be read, or its header is not right.
    pub fn open(path: &std::path::Path) -> Result<Self> {
        let window = Window::open(path)?;
        let (mut tensors, data) = read_header(&window)?;
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { window, data, tensors })
    }

    /// The names, in the order of their bytes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    /// All tensors, in the order of their names' bytes.
    pub(crate) fn infos(&self) -> Result<Vec<ArrayInfo>> {
        let of = |(name, t): &(String, TensorEntry)| {
            let shape = t.shape.iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<usize>, _>>();
            let shape = shape.map_err(|_| {
                self.window
                    .bad(format_args!("`{name}`: its shape {} does not fit the address space", shape_text(&t.shape)))
            })?;
            let floats = number(&t.dtype).is_some_and(NumberKind::is_float);
            Ok(ArrayInfo { name: name.clone(), shape, kind: t.dtype.clone(), floats })
        };
        self.tensors.iter().map(of).collect()
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&TensorEntry, NumberKind)> {
        let Ok(at) = self.tensors.binary_search_by(|(other, _)| other.as_str().cmp(name)) else {
            return Err(self.window.bad(format_args!("has no tensor `{name}`")));
        };
        let tensor = &self.tensors[at].1;
        let part = self.window.clone().named(name);
        if !tensor.shape.iter().copied().eq(shape.iter().map(|n| *n as u64)) {
            let expected: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
            let (expected, got) = (shape_text(&expected), shape_text(&tensor.shape));
            return Err(part.bad(format_args!("expected the shape {expected}, got {got}")));
        }
        let number = kind(&part, tensor)?;
        // Integers here are a quantised model's, which mean nothing without the scales beside them.
        if !number.is_float() {
            return Err(part.bad(format_args!("holds {}, expected F16, BF16, F32 or F64", tensor.dtype)));
        }
        Ok((tensor, number))
    }

    /// Checks that a tensor is there, in this shape and of floats.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.find(name, shape).map(drop)
    }

    /// The values of a tensor that has this shape.
    ///
    /// # Errors
    /// As [`TensorFile::check`], and if the file cannot be read.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.check(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        self.read_into(name, shape, &mut values)?;
        Ok(values)
    }

    /// Writes the values of a tensor that has this shape to `out`, a MiB of the file at a time.
    ///
    /// # Errors
    /// As [`TensorFile::check`]; [`Error::Shape`](crate::Error::Shape) if `out` has room for another number of values; if the file cannot
    /// be read.
    pub fn read_into(&self, name: &str, shape: &[usize], out: &mut [f32]) -> Result<()> {
        use crate::data::RowSource as _;
        let (tensor, number) = self.find(name, shape)?;
        let (from, to) = tensor.data_offsets;
        let part = self.window.sub(self.data + from, to - from)?.named(name);
        let dims = shape.iter().product::<usize>();
        check_shape("values", dims, out.len(), name)?;
        if dims > 0 {
            let layout = ArrayLayout { start: 0, rows: 1, dims, number, big_endian: false, columns: false };
            DenseRows::new(part, layout).read_rows(0, out)?;
        }
        Ok(())
    }
}

/// Opens one tensor.
pub(crate) fn open(w: &Window, wanted: Option<&str>) -> Result<DenseRows> {
    let (tensors, data) = read_header(w)?;
    let candidates: Vec<Candidate> = tensors
        .iter()
        .map(|(name, t)| Candidate {
            name: name.clone(),
            summary: format!("{} {}", shape_text(&t.shape), t.dtype),
            usable: Usable::of(t.shape.len() == 2, number(&t.dtype)),
        })
        .collect();
    let (name, tensor) = &tensors[pick(w.path(), "tensor", wanted, &candidates)?];
    let (from, to) = tensor.data_offsets;
    let part = w.sub(data + from, to - from)?.named(name);
    let number = kind(&part, tensor)?;
    let text = shape_text(&tensor.shape);
    let [rows, dims] = tensor.shape[..] else {
        let n = tensor.shape.len();
        return Err(part.bad(format_args!("its shape {text} has {n} dimensions, expected 2; reshape it first")));
    };
    if rows == 0 || dims == 0 {
        return Err(part.bad(format_args!("its shape {text} holds no values")));
    }
    if let Some(doubt) = number.doubt(dims) {
        return Err(part.bad(doubt));
    }
    match (usize::try_from(rows), usize::try_from(dims)) {
        (Ok(rows), Ok(dims)) => {
            let layout = ArrayLayout { start: 0, rows, dims, number, big_endian: false, columns: false };
            Ok(DenseRows::new(part, layout))
        }
        _ => Err(part.bad(format_args!("its shape {text} does not fit the address space"))),
    }
}
