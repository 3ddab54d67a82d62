//! `.npy`: a strict reader of the header, and the header that the writers put down.

use super::dense::{ArrayLayout, DenseRows};
use super::npy_dict::{Literal, parse_dict};
use super::numbers::NumberKind;
use super::window::Window;
use crate::error::Result;

pub(crate) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longer headers are refused. numpy's own limit is 10,000; two dimensions and one dtype need 128.
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// What a header says. The shape's product was checked to fit; the file's length was not.
#[derive(Clone, Debug)]
pub(crate) struct NpyHeader {
    /// The dtype as written, such as `<f4`.
    pub descr: String,
    /// `f`, `u`, `i`, …
    pub kind: u8,
    pub size_bytes: u64,
    pub big_endian: bool,
    pub columns: bool,
    pub shape: Vec<u64>,
    /// First byte of the data.
    pub start: u64,
}

/// Names a dtype as people know it.
fn dtype_name(descr: &str) -> String {
    let bare = descr.trim_start_matches(['<', '>', '|', '=']);
    let (kind, size) = bare.split_at(bare.chars().next().map_or(0, char::len_utf8));
    let bits = size.parse::<u64>().map(|s| s.saturating_mul(8).to_string()).unwrap_or_default();
    match kind {
        "f" => format!("float{bits}"),
        "i" => format!("int{bits}"),
        "u" => format!("uint{bits}"),
        "c" => format!("complex{bits}"),
        "b" => "bool".into(),
        "O" => "object".into(),
        "U" | "S" | "a" => "text".into(),
        "M" => "datetime64".into(),
        "m" => "timedelta64".into(),
        "V" => "raw bytes".into(),
        _ => "unknown".into(),
    }
}

/// `(3, 4)` or `(3,)`.
pub(crate) fn shape_text(shape: &[u64]) -> String {
    let items: Vec<String> = shape.iter().map(u64::to_string).collect();
    match items.as_slice() {
        [one] => format!("({one},)"),
        many => format!("({})", many.join(", ")),
    }
}

/// Reads and checks the header at the window's first byte.
///
/// # Errors
/// If the magic, the version, the length or the dictionary is not what the format says, the shape overflows, or
/// the dtype is an object or a record.
pub(crate) fn read_header(w: &Window) -> Result<NpyHeader> {
    let mut lead = [0u8; 12];
    let have = w.len().min(12) as usize;
    w.read_at(0, &mut lead[..have])?;
    if have < 10 || &lead[..6] != MAGIC {
        let why = if have < 10 { format!("{} bytes are too few", w.len()) } else { "the first bytes differ".into() };
        return Err(w.bad(format_args!("is not a .npy file: {why}")));
    }
    let (start, len) = match (lead[6], lead[7]) {
        (1, 0) => (10, u64::from(u16::from_le_bytes([lead[8], lead[9]]))),
        (2 | 3, 0) if have == 12 => (12, u64::from(u32::from_le_bytes([lead[8], lead[9], lead[10], lead[11]]))),
        (major, minor) => return Err(w.bad(format_args!(".npy version {major}.{minor}; 1.0, 2.0 and 3.0 are read"))),
    };
    if len > MAX_HEADER_BYTES {
        return Err(w.bad(format_args!("claims a header of {len} bytes, at most {MAX_HEADER_BYTES} are read")));
    }
    if start + len > w.len() {
        let holds = w.len() - start;
        return Err(w.bad(format_args!("claims a header of {len} bytes, but only {holds} follow; it is truncated")));
    }
    let entries = parse_dict(&w.bytes(start, len as usize)?).map_err(|e| w.bad(e))?;
    let (mut descr, mut columns, mut shape) = (None, None, None);
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("descr", Literal::Text(text)) => descr = Some(text),
            ("descr", Literal::Many(_)) => {
                return Err(w.bad("holds records (a structured dtype), expected plain numbers; save one field"));
            }
            ("fortran_order", Literal::Bool(b)) => columns = Some(b),
            ("shape", Literal::Many(items)) => shape = Some(items),
            (key, value) => return Err(w.bad(format_args!("its header says '{key}': {value:?}, which is unknown"))),
        }
    }
    let (Some(descr), Some(columns), Some(items)) = (descr, columns, shape) else {
        return Err(w.bad("its header lacks one of 'descr', 'fortran_order' and 'shape'"));
    };
    let mut shape = Vec::with_capacity(items.len());
    for item in &items {
        match item {
            Literal::Int(n) if *n >= 0 && *n <= i128::from(i64::MAX) => shape.push(*n as u64),
            Literal::Int(n) => return Err(w.bad(format_args!("its shape holds {n}, expected 0 to {}", i64::MAX))),
            other => return Err(w.bad(format_args!("its shape holds {other:?}, expected integers"))),
        }
    }
    parse_descr(w, descr, columns, shape, start + len)
}

fn parse_descr(w: &Window, descr: String, columns: bool, shape: Vec<u64>, start: u64) -> Result<NpyHeader> {
    let name = dtype_name(&descr);
    let numbers: Option<(u8, u64)> = match descr.as_bytes() {
        [b'<' | b'>' | b'|', kind, size @ ..] => {
            std::str::from_utf8(size).ok().and_then(|s| s.parse().ok()).map(|s| (*kind, s))
        }
        _ => None,
    };
    match numbers {
        // What numpy writes for ml_dtypes' bfloat16, which `.npy` has no name for.
        Some((b'V', 2)) => {
            Err(w.bad(format_args!("holds `{descr}`, raw bytes (bfloat16?); save it as float32 or in safetensors")))
        }
        Some((kind @ (b'f' | b'i' | b'u'), size @ (1 | 2 | 4 | 8))) if kind != b'f' || size > 1 => {
            if descr.starts_with('|') && size > 1 {
                return Err(w.bad(format_args!("`{descr}` does not say its byte order")));
            }
            let big_endian = descr.starts_with('>');
            Ok(NpyHeader { descr, kind, size_bytes: size, big_endian, columns, shape, start })
        }
        _ if name == "object" => {
            Err(w.bad("holds Python objects, which would need a pickle to be run; save a float array"))
        }
        _ => Err(w.bad(format_args!("holds `{descr}` ({name}), expected float16, float32 or float64"))),
    }
}

impl NpyHeader {
    /// `(3, 4) float32`.
    pub(crate) fn summary(&self) -> String {
        format!("{} {}", shape_text(&self.shape), dtype_name(&self.descr))
    }

    /// `float32`.
    pub(crate) fn kind_name(&self) -> String {
        dtype_name(&self.descr)
    }

    pub(crate) fn number(&self) -> Option<NumberKind> {
        match (self.kind, self.size_bytes) {
            (b'f', 2) => Some(NumberKind::F16),
            (b'f', 4) => Some(NumberKind::F32),
            (b'f', 8) => Some(NumberKind::F64),
            (b'i', 1) => Some(NumberKind::I8),
            (b'u', 1) => Some(NumberKind::U8),
            _ => None,
        }
    }

    /// Checks that the window is 2-D, not empty, and exactly as long as the header claims; returns the shape.
    ///
    /// # Errors
    /// Each with the shape and, for the length, both numbers.
    pub(crate) fn check(&self, w: &Window) -> Result<(usize, usize)> {
        let text = shape_text(&self.shape);
        let (rows, dims) = match self.shape[..] {
            [rows, dims] => (rows, dims),
            [] => return Err(w.bad("is a single number, not rows; save an array of shape [rows, dims]")),
            [_] => {
                let advice = "reshape it before saving, such as `a.reshape(-1, d)` with d values a row";
                return Err(w.bad(format_args!("its shape {text} has 1 dimension, expected [rows, dims]; {advice}")));
            }
            _ => {
                let advice = "flatten each row before saving, such as `a.reshape(len(a), -1)`";
                let n = self.shape.len();
                return Err(w.bad(format_args!("its shape {text} has {n} dimensions, expected 2; {advice}")));
            }
        };
        self.check_len(w)?;
        match (usize::try_from(rows), usize::try_from(dims)) {
            (Ok(rows), Ok(dims)) => Ok((rows, dims)),
            _ => Err(w.bad(format_args!("its shape {text} does not fit the address space"))),
        }
    }

    /// As [`check`](Self::check) for any number of axes: the last one's length, and how many such lines there are.
    pub(crate) fn check_any(&self, w: &Window) -> Result<(usize, usize)> {
        self.check_len(w)?;
        let dims = self.shape.last().copied().unwrap_or(1);
        // Within the file's length by the check above.
        let rows = self.shape.iter().rev().skip(1).product::<u64>();
        match (usize::try_from(rows), usize::try_from(dims)) {
            (Ok(rows), Ok(dims)) => Ok((rows, dims)),
            _ => Err(w.bad(format_args!("its shape {} does not fit the address space", shape_text(&self.shape)))),
        }
    }

    /// Refuses an array without values, and one whose header claims more or less than the window holds.
    fn check_len(&self, w: &Window) -> Result<()> {
        let text = shape_text(&self.shape);
        if self.shape.contains(&0) {
            return Err(w.bad(format_args!("its shape {text} holds no values")));
        }
        let claimed = self.shape.iter().try_fold(self.size_bytes, |n, axis| n.checked_mul(*axis));
        let held = w.len() - self.start;
        let Some(claimed) = claimed else {
            return Err(w.bad(format_args!("its shape {text} overflows, and {held} bytes follow the header")));
        };
        if claimed != held {
            let problem = if claimed > held { "it is truncated" } else { "it has bytes too many" };
            return Err(w.bad(format_args!(
                "its header claims {text} `{}`, {claimed} bytes, but {held} follow the header; {problem}",
                self.descr
            )));
        }
        Ok(())
    }
}

/// Opens a `[rows, dims]` array of floats or 8-bit integers.
pub(crate) fn open(w: Window) -> Result<DenseRows> {
    let header = read_header(&w)?;
    let Some(number) = header.number() else {
        let name = dtype_name(&header.descr);
        return Err(w.bad(format_args!(
            "holds {name}, expected float16, float32, float64, int8 or uint8; convert it with `a.astype(\"float32\")`"
        )));
    };
    let (rows, dims) = header.check(&w)?;
    if let Some(doubt) = number.doubt(dims as u64) {
        return Err(w.bad(doubt));
    }
    let NpyHeader { start, big_endian, columns, .. } = header;
    Ok(DenseRows::new(w, ArrayLayout { start, rows, dims, number, big_endian, columns }))
}

/// The header of a C-ordered `[rows, columns]` array, padded to a multiple of 64 bytes as numpy does.
pub(crate) fn header_bytes(descr: &str, rows: usize, columns: usize) -> Vec<u8> {
    header_of(descr, &[rows as u64, columns as u64])
}

/// The header of a C-ordered array of any shape of at most four axes.
pub(crate) fn header_of(descr: &str, shape: &[u64]) -> Vec<u8> {
    let mut dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {}, }}", shape_text(shape));
    while (10 + dict.len() + 1) % 64 != 0 {
        dict.push(' ');
    }
    dict.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    // At most 192 bytes: the dictionary holds four integers at most.
    out.extend((dict.len() as u16).to_le_bytes());
    out.extend(dict.as_bytes());
    out
}
