//! Folders of files that are written whole or not at all.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{in_folder, serial, sync_folder};
use crate::error::{Error, Result};

/// A folder of files that belong together, which changes only when [`commit`](AtomicFolder::commit) has succeeded.
///
/// Files are written to [`file`](AtomicFolder::file), into a temporary folder beside the target named `.NAME.PID-N.tmp`, which is removed
/// if this is dropped; only a killed process leaves it behind. Committing syncs them and exchanges the two folders by one rename (where
/// the system can exchange, as Linux and macOS do; elsewhere by two, and the next [`create`](AtomicFolder::create) puts back what a process
/// killed between them moved aside). Whoever opens the folder sees all of the old files or all of the new ones.
///
/// What else lies in the folder is kept: other files are linked into the new one, folders and links too. Of the names that the caller says
/// such a folder consists of, those that are not written this time go, so that no file of an earlier time stands beside the new ones.
///
/// Some folders cannot be replaced as one: the current folder and those around it, mount points, folders whose parent cannot be written to,
/// and those on a file system without hard links that hold other files. There every file is complete and synced before the first is
/// renamed into place, one after the other, so that bad data and a full disk change nothing; a kill or a loss of power between two of these
/// renames leaves some old and some new.
///
/// ```
/// use sememe::io::{AtomicFolder, write_bytes_atomic};
/// # let place = tempfile::tempdir()?;
/// # let path = place.path().join("bundle");
/// let bundle = AtomicFolder::create(&path, &["a.json", "b.json"])?;
/// write_bytes_atomic(bundle.file("a.json"), b"{}")?;
/// assert!(!path.exists());
/// bundle.commit()?;
/// assert_eq!(std::fs::read(path.join("a.json"))?, b"{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AtomicFolder {
    target: PathBuf,
    temp: PathBuf,
    /// Names that go if they are not written.
    owned: BTreeSet<OsString>,
    /// Exchanged as one; else file by file, from a folder inside the target.
    whole: bool,
}

impl AtomicFolder {
    /// Starts a folder that will be `path`, in a parent that is made if it is not there. `owned` are the names that it consists of: one that
    /// an earlier time wrote and this one does not is removed.
    ///
    /// # Errors
    /// If `path` is a file, or neither it nor its parent can be written to.
    pub fn create(path: impl AsRef<Path>, owned: &[&str]) -> Result<Self> {
        let path = path.as_ref();
        let failed = |e: io::Error| Error::io("create", path, e);
        // A rename would replace a link, not the folder it points to; and `.` has no name to rename.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = in_folder(path);
                super::create_folder(parent)?;
                let name = path.file_name().ok_or_else(|| Error::format(path, "has no name to make a folder of"))?;
                fs::canonicalize(parent).map_err(failed)?.join(name)
            }
            Err(e) => return Err(failed(e)),
        };
        put_back(&target).map_err(failed)?;
        let exists = match fs::metadata(&target) {
            Ok(meta) if !meta.is_dir() => return Err(Error::format(path, "is a file, expected a folder")),
            Ok(_) => true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(failed(e)),
        };
        let owned = owned.iter().map(Into::into).collect();
        if !exists || can_be_replaced(&target) {
            match temporary(&target, target.file_name()) {
                Ok(temp) => return Ok(Self { target, temp, owned, whole: true }),
                Err(e) if exists && e.kind() == io::ErrorKind::PermissionDenied => {}
                Err(e) => return Err(failed(e)),
            }
        }
        let temp = temporary(&target.join("files"), target.file_name()).map_err(failed)?;
        Ok(Self { target, temp, owned, whole: false })
    }

    /// The path that the folder will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Where a file of the folder is written until all are complete. `name` is a file name, without folders.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        debug_assert!(Path::new(name).file_name().is_some_and(|only| only == name), "`{name}` is no file name");
        self.temp.join(name)
    }

    /// Puts the folder in place, with what else lay there.
    ///
    /// # Errors
    /// If the system refuses any of it; the folder stays as it was then. (Should only a sync of the parent fail, the new folder is in place
    /// but may not survive a loss of power.)
    pub fn commit(mut self) -> Result<()> {
        let failed = |e: io::Error| Error::io("write", &self.target, e);
        let mut written = BTreeSet::new();
        for entry in fs::read_dir(&self.temp).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            sync(&entry.path()).map_err(failed)?;
            written.insert(entry.file_name());
        }
        let existing = match fs::metadata(&self.target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(failed)?),
        };
        if self.whole && existing.is_some() && self.keep_others(&written).is_err() {
            self.move_inside(&written).map_err(|e| Error::io("write", &self.target, e))?;
        }
        let failed = |e: io::Error| Error::io("replace", &self.target, e);
        if !self.whole {
            return self.one_by_one(&written).map_err(failed);
        }
        if let Some(meta) = &existing {
            // As good as possible: some file systems have no permissions to set.
            let _ = fs::set_permissions(&self.temp, meta.permissions());
        }
        sync(&self.temp).map_err(failed)?;
        if existing.is_some() { swap(&self.temp, &self.target) } else { fs::rename(&self.temp, &self.target) }
            .map_err(failed)?;
        sync_folder(&self.target)
        // The old folder lies where the new one was, and goes when this is dropped.
    }

    /// Links what the target holds beside this folder's own files.
    fn keep_others(&self, written: &BTreeSet<OsString>) -> io::Result<()> {
        for entry in fs::read_dir(&self.target)? {
            let entry = entry?;
            let name = entry.file_name();
            if !written.contains(&name) && !self.owned.contains(&name) {
                link(&entry.path(), &self.temp.join(name))?;
            }
        }
        Ok(())
    }

    /// Goes on file by file, with a folder inside the target that holds the files written and nothing else.
    fn move_inside(&mut self, written: &BTreeSet<OsString>) -> io::Result<()> {
        let inside = temporary(&self.target.join("files"), self.target.file_name())?;
        let before = std::mem::replace(&mut self.temp, inside);
        for name in written {
            fs::rename(before.join(name), self.temp.join(name))?;
        }
        self.whole = false;
        let _ = fs::remove_dir_all(before);
        Ok(())
    }

    fn one_by_one(&self, written: &BTreeSet<OsString>) -> io::Result<()> {
        for name in written {
            fs::rename(self.temp.join(name), self.target.join(name))?;
        }
        for name in self.owned.difference(written) {
            match fs::remove_file(self.target.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        sync(&self.target)
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        // The files that were not committed, or the folder that was replaced.
        let _ = fs::remove_dir_all(&self.temp);
    }
}

/// Makes an empty folder beside `place`, named after the folder that it is for.
fn temporary(place: &Path, name: Option<&std::ffi::OsStr>) -> io::Result<PathBuf> {
    // Names have 255 bytes at most on common file systems, a character up to 4.
    let name: String = name.unwrap_or_default().to_string_lossy().chars().take(40).collect();
    loop {
        let temp = place.with_file_name(format!(".{name}.{}-{}.tmp", std::process::id(), serial()));
        match fs::create_dir(&temp) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| temp),
        }
    }
}

/// Whether a folder may move to another name: nobody is in it, and it lies on its parent's file system.
fn can_be_replaced(target: &Path) -> bool {
    let inside = std::env::current_dir().and_then(fs::canonicalize).is_ok_and(|current| current.starts_with(target));
    !inside && target.parent().is_some_and(|parent| same_file_system(target, parent))
}

#[cfg(unix)]
fn same_file_system(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path| fs::metadata(path).map(|meta| meta.dev());
    matches!((device(a), device(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(not(unix))]
fn same_file_system(_: &Path, _: &Path) -> bool {
    true
}

/// The same file, folder or link under another name.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            link(&entry.path(), &to.join(entry.file_name()))?;
        }
        fs::set_permissions(to, fs::metadata(from)?.permissions())?;
        return sync(to);
    }
    // Of a symbolic link, this links the link.
    fs::hard_link(from, to)
}

#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Exchanges two folders.
fn swap(new: &Path, target: &Path) -> io::Result<()> {
    match exchange(new, target) {
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => {
            swap_by_two_renames(new, target)
        }
        other => other,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// As [`exchange`] where the system has none: between the renames there is no folder of that name, and [`put_back`] mends what a process
/// killed there left.
fn swap_by_two_renames(new: &Path, target: &Path) -> io::Result<()> {
    let aside = new.with_extension("old");
    fs::rename(target, &aside)?;
    if let Err(e) = fs::rename(new, target) {
        fs::rename(&aside, target)?;
        return Err(e);
    }
    fs::rename(&aside, new)
}

/// Gives a folder its name back that a killed process moved aside.
fn put_back(target: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return Ok(()) };
    if target.symlink_metadata().is_ok() {
        return Ok(());
    }
    let name: String = name.to_string_lossy().chars().take(40).collect();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let aside = entry.file_name();
        let ours = aside.to_str().and_then(|aside| aside.strip_prefix('.')?.strip_suffix(".old")?.strip_prefix(&name));
        if ours.is_some_and(|rest| rest.strip_prefix('.').is_some_and(super::atomic::is_serial)) {
            return fs::rename(entry.path(), target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &AtomicFolder, name: &str, text: &str) {
        super::super::write_bytes_atomic(folder.file(name), text.as_bytes()).unwrap();
    }

    fn listing(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn systems_without_an_exchange_swap_and_recover() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("b.c");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), "old").unwrap();
        let folder = AtomicFolder::create(&target, &["x"]).unwrap();
        put(&folder, "x", "new");
        swap_by_two_renames(&folder.temp, &target).unwrap();
        assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
        assert_eq!(fs::read(folder.temp.join("x")).unwrap(), b"old");
        drop(folder);
        // Killed between the two renames: the next to come finds the old folder.
        let folder = AtomicFolder::create(&target, &["x"]).unwrap();
        put(&folder, "x", "newer");
        fs::rename(&target, folder.temp.with_extension("old")).unwrap();
        drop(folder);
        // A folder whose name begins alike is another one.
        fs::create_dir(place.path().join(".b.c.d.7-0.old")).unwrap();
        let folder = AtomicFolder::create(&target, &["x"]).unwrap();
        assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
        put(&folder, "x", "newest");
        folder.commit().unwrap();
        assert_eq!(fs::read(target.join("x")).unwrap(), b"newest");
        assert!(place.path().join(".b.c.d.7-0.old").exists());
    }

    #[test]
    fn files_go_one_by_one_where_the_folder_cannot_move() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("b");
        fs::create_dir(&target).unwrap();
        for name in ["x", "gone", "mine"] {
            fs::write(target.join(name), "old").unwrap();
        }
        let mut folder = AtomicFolder::create(&target, &["x", "y", "gone"]).unwrap();
        put(&folder, "x", "new");
        put(&folder, "y", "new");
        folder.move_inside(&["x".into(), "y".into()].into()).unwrap();
        assert_eq!(listing(place.path()), ["b"]);
        assert_eq!(fs::read(target.join("x")).unwrap(), b"old");
        folder.commit().unwrap();
        assert_eq!(listing(&target), ["mine", "x", "y"]);
        assert_eq!(fs::read(target.join("x")).unwrap(), b"new");
        assert!(!can_be_replaced(&std::env::current_dir().and_then(fs::canonicalize).unwrap()));
        #[cfg(target_os = "linux")]
        assert!(!can_be_replaced(Path::new("/proc")), "a mount point");
    }
}
