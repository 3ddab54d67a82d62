//! Changes of folders that last: a name that was made or removed is known after a loss of power only once its folder is synced.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::atomic::sync_folder;
use crate::error::{Error, Result};

/// Makes a folder, and those above it that are not there, to last: with a folder that its own folder does not know yet, a loss of power
/// takes all that is in it.
///
/// # Errors
/// If the system refuses.
pub fn create_folder(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let missing: Vec<&Path> = path.ancestors().take_while(|at| *at != Path::new("") && !at.exists()).collect();
    fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))?;
    // The highest first.
    missing.iter().rev().try_for_each(|made| sync_folder(made))
}

/// Removes a file, or a folder with all that is in it, for good; says whether there was one.
///
/// # Errors
/// If the system refuses.
pub fn remove(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    let folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    match if folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("remove", path, e)),
        Ok(()) => sync_folder(path).map(|()| true),
    }
}

/// Removes a file, if it is there.
///
/// # Errors
/// If it is there and cannot be removed.
pub fn remove_if_there(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
        Ok(()) => sync_folder(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_come_and_go() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b/c");
        create_folder(&deep).unwrap();
        create_folder(&deep).unwrap();
        fs::write(deep.join("x"), "x").unwrap();
        assert!(create_folder(deep.join("x")).unwrap_err().to_string().contains("cannot create"));
        assert!(remove(deep.join("x")).unwrap());
        assert!(!remove(deep.join("x")).unwrap());
        fs::write(deep.join("y"), "y").unwrap();
        assert!(remove(place.path().join("a")).unwrap());
        assert!(!place.path().join("a").exists());
    }
}
