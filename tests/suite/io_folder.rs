//! Folders that are written whole or not at all.

use sememe::io::{AtomicFolder, write_bytes_atomic};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every file of a folder with its content, folders and links by their names.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("list") {
        let entry = entry.expect("entry");
        let (path, name) = (entry.path(), entry.file_name().into_string().expect("a name"));
        if path.is_symlink() {
            all.insert(name, format!("-> {}", fs::read_link(&path).expect("link").display()));
        } else if path.is_dir() {
            all.extend(contents(&path).into_iter().map(|(inner, text)| (format!("{name}/{inner}"), text)));
        } else {
            all.insert(name, fs::read_to_string(&path).expect("text"));
        }
    }
    all
}

fn of(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn write(folder: &AtomicFolder, files: &[(&str, &str)]) {
    for (name, text) in files {
        write_bytes_atomic(folder.file(name), text.as_bytes()).expect("write");
    }
}

#[test]
fn a_folder_appears_whole_or_not_at_all() {
    let place = tempfile::tempdir().expect("folder");
    let path = place.path().join("new/deep/bundle");
    let folder = AtomicFolder::create(&path, &NAMES).expect("create");
    write(&folder, &[("a", "1"), ("b", "1")]);
    assert!(!path.exists(), "nothing is there before all is");
    folder.commit().expect("commit");
    assert_eq!(contents(&path), of(&[("a", "1"), ("b", "1")]));
    // Given up half-way, it stays as it was, and nothing is left beside it.
    let folder = AtomicFolder::create(&path, &NAMES).expect("create");
    write(&folder, &[("a", "2"), ("c", "2")]);
    drop(folder);
    assert_eq!(contents(&path), of(&[("a", "1"), ("b", "1")]));
    assert_eq!(contents(path.parent().expect("parent")).len(), 2);
    // Replaced, it has what was written and nothing from before.
    let folder = AtomicFolder::create(&path, &NAMES).expect("create");
    write(&folder, &[("a", "2"), ("c", "2")]);
    assert_eq!(contents(&path), of(&[("a", "1"), ("b", "1")]));
    folder.commit().expect("commit");
    assert_eq!(contents(&path), of(&[("a", "2"), ("c", "2")]));
    assert_eq!(contents(path.parent().expect("parent")).len(), 2, "the old files are gone, too");
    let file = path.join("a");
    let error = AtomicFolder::create(&file, &NAMES).err().expect("refused").to_string();
    assert!(error.contains("is a file, expected a folder"), "{error}");
}

#[test]
fn what_others_put_there_stays() {
    let place = tempfile::tempdir().expect("folder");
    let path = place.path().join("model");
    fs::create_dir_all(path.join("weights/1")).expect("folders");
    for name in ["a", "b", "README.md", "weights/1/x.bin"] {
        fs::write(path.join(name), "old").expect("write");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("../elsewhere", path.join("link")).expect("link");
    let folder = AtomicFolder::create(&path, &NAMES).expect("create");
    write(&folder, &[("a", "new"), ("other", "new")]);
    folder.commit().expect("commit");
    let mut want = of(&[("a", "new"), ("other", "new"), ("README.md", "old"), ("weights/1/x.bin", "old")]);
    if cfg!(unix) {
        want.insert("link".into(), "-> ../elsewhere".into());
    }
    assert_eq!(contents(&path), want);
}

/// Whoever opens the folder sees files that belong together, at any moment.
#[cfg(target_os = "linux")]
#[test]
fn readers_never_see_a_mixture() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = tempfile::tempdir().expect("folder");
    let path = place.path().join("bundle");
    let put = |text: &str| {
        let folder = AtomicFolder::create(&path, &NAMES).expect("create");
        write(&folder, &[("a", text), ("b", text), ("c", text)]);
        folder.commit().expect("commit");
    };
    put("0");
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0usize;
            while !done.load(Ordering::Relaxed) {
                // Held open, so that all files are looked up in one folder.
                let held = fs::File::open(&path).expect("the folder is always there");
                let inside = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
                let texts: Vec<_> =
                    NAMES.iter().filter_map(|n| fs::read_to_string(format!("{inside}/{n}")).ok()).collect();
                // A folder that was replaced meanwhile loses its files one by one.
                if texts.len() == NAMES.len() {
                    assert!(texts.iter().all(|t| *t == texts[0]), "{texts:?}");
                    seen += 1;
                }
            }
            seen
        });
        (1..60).for_each(|i| put(&i.to_string()));
        done.store(true, Ordering::Relaxed);
        reader.join().expect("reader")
    });
    assert!(seen > 10, "uninformative: {seen} looks");
}

#[cfg(unix)]
#[test]
fn permissions_and_links_to_the_folder_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().expect("folder");
    let (path, link) = (place.path().join("real"), place.path().join("link"));
    fs::create_dir(&path).expect("folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("permissions");
    std::os::unix::fs::symlink(&path, &link).expect("link");
    let folder = AtomicFolder::create(&link, &NAMES).expect("create");
    write(&folder, &[("a", "1")]);
    folder.commit().expect("commit");
    assert!(link.is_symlink());
    assert_eq!(contents(&path), of(&[("a", "1")]));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o750);
}
