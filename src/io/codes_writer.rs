//! Writes codes as `.npy`, `.parquet`, `.jsonl` or `.csv`.

use std::fmt::Write as _;
use std::path::Path;

use super::atomic::AtomicFile;
use super::npy;
use super::options::extension;
use crate::error::{Error, Result, check_shape};

enum Sink {
    /// `wide`: `u32`, else `u16`.
    Npy {
        file: AtomicFile,
        wide: bool,
    },
    Jsonl(AtomicFile),
    Csv(AtomicFile),
    #[cfg(feature = "parquet")]
    Parquet(Box<super::parquet_codes::ParquetCodes>),
}

/// Writes `[rows, levels]` codes to a file that appears when it is complete. The extension picks the format:
///
/// - `.npy`: `[rows, levels]` in C order, `uint16` if no codebook has more than 65,536 codewords, else `uint32`.
///   It has no place for row numbers; keep them elsewhere where rows were dropped.
/// - `.parquet` (feature `parquet`): columns `row` (int64) and `codes` (fixed-size list of uint32, `levels` long),
///   neither nullable. Pandas reads an array a row; in DataFusion and DuckDB, `codes[1]` is the coarsest code.
/// - `.jsonl`: `{"row":0,"codes":[12,5,33]}` a line.
/// - `.csv`: a header `row,code_0,code_1,…` and a line a row.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("codes.csv");
/// let mut out = sememe::io::CodesWriter::create(&path, 2, 3, &[256, 256, 256])?;
/// out.write(&[12, 5, 33, 12, 5, 7])?;
/// out.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "row,code_0,code_1,code_2\n0,12,5,33\n1,12,5,7\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CodesWriter {
    sink: Sink,
    name: String,
    rows: usize,
    codebook_sizes: Vec<usize>,
    written: usize,
    /// Whether every row has a key beside its number.
    keyed: bool,
}

impl CodesWriter {
    /// Starts a file of `[rows, levels]` codes, the code of level `l` below `codebook_sizes[l]`.
    ///
    /// # Errors
    /// If the extension is none of these, the shape holds no codes, `codebook_sizes` has not `levels` entries
    /// from 1 to 2^32, or the file cannot be created.
    pub fn create(path: impl AsRef<Path>, rows: usize, levels: usize, codebook_sizes: &[usize]) -> Result<Self> {
        Self::start(path.as_ref(), rows, levels, codebook_sizes, false)
    }

    /// As [`create`](Self::create), for rows that have a key too: a column or field `key` after `row`. Write them with
    /// [`write_with_keys`](Self::write_with_keys).
    ///
    /// # Errors
    /// As for [`create`](Self::create); for a `.npy`, which has no place for keys.
    pub fn create_keyed(path: impl AsRef<Path>, rows: usize, levels: usize, codebook_sizes: &[usize]) -> Result<Self> {
        Self::start(path.as_ref(), rows, levels, codebook_sizes, true)
    }

    fn start(path: &Path, rows: usize, levels: usize, codebook_sizes: &[usize], keyed: bool) -> Result<Self> {
        let name = path.display().to_string();
        check_shape("levels", levels, codebook_sizes.len(), "codebook sizes")?;
        if rows == 0 || levels == 0 {
            return Err(Error::format(path, format!("codes of shape ({rows}, {levels}) cannot be written")));
        }
        if let Some(size) = codebook_sizes.iter().find(|s| !(1..=1u64 << 32).contains(&(**s as u64))) {
            return Err(Error::config("codebook_size", format!("expected 1 to 2^32, got {size}")));
        }
        let sink = match extension(path).as_str() {
            "npy" if keyed => {
                return Err(Error::format(path, "a .npy has no place for keys; write .parquet, .jsonl or .csv"));
            }
            "npy" => {
                let wide = codebook_sizes.iter().any(|s| *s > 1 << 16);
                let mut file = AtomicFile::create(path)?;
                file.put(&npy::header_bytes(if wide { "<u4" } else { "<u2" }, rows, levels))?;
                Sink::Npy { file, wide }
            }
            "jsonl" => Sink::Jsonl(AtomicFile::create(path)?),
            "csv" => {
                let mut file = AtomicFile::create(path)?;
                let columns: String = (0..levels).map(|l| format!(",code_{l}")).collect();
                file.put(format!("row{}{columns}\n", if keyed { ",key" } else { "" }).as_bytes())?;
                Sink::Csv(file)
            }
            "parquet" => parquet(path, levels, keyed)?,
            other => {
                let problem = format!("codes are written as .npy, .parquet, .jsonl or .csv, got `.{other}`");
                return Err(Error::format(path, problem));
            }
        };
        Ok(Self { sink, name, rows, codebook_sizes: codebook_sizes.to_vec(), written: 0, keyed })
    }

    /// Appends whole rows of codes, `[any, levels]`, numbered on from how many were written.
    ///
    /// # Errors
    /// If `codes` is not whole rows, there are more than announced, a code is not below its codebook's size, or the
    /// file cannot be written.
    pub fn write(&mut self, codes: &[u32]) -> Result<()> {
        let start = self.written as u64;
        let rows: Vec<u64> = (start..start + (codes.len() / self.codebook_sizes.len()) as u64).collect();
        self.write_with_rows(&rows, codes)
    }

    /// Appends whole rows of codes with their row numbers in the input, for when rows were dropped.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and if there is not one number a row.
    pub fn write_with_rows(&mut self, rows: &[u64], codes: &[u32]) -> Result<()> {
        self.append(rows, &[], codes)
    }

    /// Appends whole rows of codes with their row numbers and keys.
    ///
    /// # Errors
    /// As for [`write_with_rows`](Self::write_with_rows), and if there is not one key a row.
    pub fn write_with_keys(&mut self, rows: &[u64], keys: &[String], codes: &[u32]) -> Result<()> {
        self.append(rows, keys, codes)
    }

    fn append(&mut self, rows: &[u64], keys: &[String], codes: &[u32]) -> Result<()> {
        let levels = self.codebook_sizes.len();
        check_shape("keys", if self.keyed { rows.len() } else { 0 }, keys.len(), self.name.as_str())?;
        check_shape("codes", rows.len().saturating_mul(levels), codes.len(), self.name.as_str())?;
        if rows.len() > self.rows - self.written {
            return check_shape("rows", self.rows, self.written.saturating_add(rows.len()), self.name.as_str());
        }
        for (row, codes) in rows.iter().zip(codes.chunks_exact(levels)) {
            if i64::try_from(*row).is_err() {
                return Err(Error::Data(format!("row number {row} does not fit 63 bits")));
            }
            let bad = codes.iter().zip(&self.codebook_sizes).position(|(code, size)| *code as u64 >= *size as u64);
            if let Some(l) = bad {
                return Err(Error::Data(format!(
                    "row {row} has code {} in level {l}, whose codebook has {} codewords",
                    codes[l], self.codebook_sizes[l]
                )));
            }
        }
        for (i, (rows, codes)) in rows.chunks(1 << 14).zip(codes.chunks(levels << 14)).enumerate() {
            let keys = if self.keyed { Some(&keys[i << 14..][..rows.len()]) } else { None };
            self.sink.put(levels, rows, keys, codes)?;
        }
        self.written += rows.len();
        Ok(())
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If fewer rows were written than announced (nothing is left behind then), or the file cannot be put in place.
    pub fn finish(self) -> Result<()> {
        check_shape("rows", self.rows, self.written, self.name)?;
        match self.sink {
            Sink::Npy { file, .. } | Sink::Jsonl(file) | Sink::Csv(file) => file.commit(),
            #[cfg(feature = "parquet")]
            Sink::Parquet(writer) => writer.finish(),
        }
    }
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, levels: usize, keyed: bool) -> Result<Sink> {
    Ok(Sink::Parquet(Box::new(super::parquet_codes::ParquetCodes::create(path, levels, keyed)?)))
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _: usize, _: bool) -> Result<Sink> {
    Err(Error::format(path, "this build does not write parquet").mend([crate::Remedy::build("parquet")]))
}

impl Sink {
    fn put(&mut self, levels: usize, rows: &[u64], keys: Option<&[String]>, codes: &[u32]) -> Result<()> {
        let lines = rows.iter().zip(codes.chunks_exact(levels)).enumerate();
        let key = |i: usize| keys.map(|keys| keys[i].as_str());
        let mut text = String::new();
        // Writing to a String does not fail.
        match self {
            Sink::Npy { file, wide: true } => {
                file.put(&codes.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>())
            }
            Sink::Npy { file, wide: false } => {
                file.put(&codes.iter().flat_map(|c| (*c as u16).to_le_bytes()).collect::<Vec<u8>>())
            }
            Sink::Jsonl(file) => {
                for (i, (row, codes)) in lines {
                    let key =
                        key(i).map_or_else(String::new, |key| format!("\"key\":{},", serde_json::Value::from(key)));
                    let _ = write!(text, "{{\"row\":{row},{key}\"codes\":[{}", codes[0]);
                    for code in &codes[1..] {
                        let _ = write!(text, ",{code}");
                    }
                    text.push_str("]}\n");
                }
                file.put(text.as_bytes())
            }
            Sink::Csv(file) => {
                for (i, (row, codes)) in lines {
                    let _ = write!(text, "{row}");
                    if let Some(key) = key(i) {
                        text.push(',');
                        super::ids_writer::push_csv(key, &mut text);
                    }
                    for code in codes {
                        let _ = write!(text, ",{code}");
                    }
                    text.push('\n');
                }
                file.put(text.as_bytes())
            }
            #[cfg(feature = "parquet")]
            Sink::Parquet(writer) => writer.put(rows, keys, codes),
        }
    }
}
