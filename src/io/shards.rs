//! Rows that lie in several files.

use std::path::{Path, PathBuf};

use super::options::extension;
use crate::data::{RowSource, check_range};
use crate::error::{Error, Result, check_shape};

/// The rows of several sources, one source after the other.
struct Shards {
    name: String,
    dims: usize,
    parts: Vec<Box<dyn RowSource>>,
    /// First row of each part, and after them the number of rows.
    starts: Vec<usize>,
}

/// The rows of `parts`, one source after the other.
///
/// # Errors
/// If they have rows of different dimensions, or more rows than can be counted.
pub(super) fn joined(name: String, parts: Vec<Box<dyn RowSource>>) -> Result<Box<dyn RowSource>> {
    let dims = parts.first().map_or(0, RowSource::dims);
    let mut starts = vec![0usize];
    for part in &parts {
        check_shape("d", dims, part.dims(), part.name())?;
        let end = starts[starts.len() - 1].checked_add(part.rows());
        starts.push(end.ok_or_else(|| Error::Data(format!("`{name}` holds more rows than can be counted")))?);
    }
    Ok(Box::new(Shards { name, dims, parts, starts }))
}

/// The extension, with what stands before `.gz`.
fn kind(path: &Path) -> String {
    match extension(path).as_str() {
        "gz" => format!("{}.gz", extension(Path::new(path.file_stem().unwrap_or_default()))),
        other => other.to_owned(),
    }
}

/// The files of a folder, in the order of their names' bytes: all of one format, which is one of `readable`. Names that begin with `.` or
/// `_` are passed over, as those of the files that Spark and its like leave beside the data.
///
/// # Errors
/// If the folder cannot be read, holds no such file, files of another format, of several formats, or folders.
pub(crate) fn files_of(folder: &Path, readable: &[&str]) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io("read", folder, e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = |name: &std::ffi::OsStr| {
            name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().starts_with(b"_")
        };
        if path.file_name().is_some_and(hidden) {
            continue;
        }
        let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            return Err(Error::format(folder, format!("holds a folder `{}`, expected files of rows only", name())));
        }
        if !readable.contains(&kind(&path).as_str()) {
            let all = readable.join(", .");
            return Err(Error::format(folder, format!("holds `{}`, expected files of rows only: .{all}", name())));
        }
        files.push(path);
    }
    files.sort();
    let Some(first) = files.first() else { return Err(Error::format(folder, "holds no files of rows")) };
    if let Some(other) = files.iter().find(|path| kind(path) != kind(first)) {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Error::format(
            folder,
            format!(
                "holds files of several formats, such as `{}` and `{}`, which may be the same rows twice; name the files",
                name(first),
                name(other)
            ),
        ));
    }
    Ok(files)
}

impl RowSource for Shards {
    fn rows(&self) -> usize {
        self.starts[self.parts.len()]
    }
    fn dims(&self) -> usize {
        self.dims
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let count = check_range(start, out.len(), self.rows(), self.dims, &self.name)?;
        // The last part that begins at or before the row; parts are never empty, but a name may be given twice.
        let mut at = self.starts.partition_point(|first| *first <= start) - 1;
        let mut done = 0;
        while done < count {
            let row = start + done;
            let take = (self.starts[at + 1] - row).min(count - done);
            self.parts[at].read_rows(row - self.starts[at], &mut out[done * self.dims..(done + take) * self.dims])?;
            done += take;
            at += 1;
        }
        Ok(())
    }
}
