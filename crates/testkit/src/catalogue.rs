//! A catalogue in a folder for whole runs, and what a run leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sememe::io::RowsWriter;
use sememe::rng;

/// Items in twelve groups, `shift` of whose rows lie elsewhere; keys are not in the order of the file.
pub struct Catalogue {
    pub keys: Vec<String>,
    pub titles: Vec<String>,
    pub rows: Vec<Vec<f32>>,
}

pub const DIMS: usize = 8;

impl Catalogue {
    pub fn new(items: usize) -> Self {
        let mut random = rng::stream(11, "catalogue", 0);
        let mut centre = || (0..DIMS).map(|_| random.normal() as f32).collect::<Vec<_>>();
        let centres: Vec<Vec<f32>> = (0..12).map(|_| centre()).collect();
        let mut noise = rng::stream(12, "catalogue", 0);
        let row = |i: usize, noise: &mut rng::Stream| {
            // Every fifth item is a copy of the one before it: collisions.
            centres[i % 12].iter().map(|v| v + 0.3 * noise.normal() as f32).collect::<Vec<f32>>()
        };
        let mut rows: Vec<Vec<f32>> = Vec::new();
        for i in 0..items {
            let next = if i % 5 == 4 { rows[i - 1].clone() } else { row(i, &mut noise) };
            rows.push(next);
        }
        Self {
            keys: (0..items).map(|i| format!("item-{:04}", i * 7919 % 10_000)).collect(),
            titles: (0..items).map(|i| format!("Thing {i} of group {}", i % 12)).collect(),
            rows,
        }
    }

    pub fn write(&self, folder: &Path) {
        let mut text = String::new();
        for (key, title) in self.keys.iter().zip(&self.titles) {
            text.push_str(&serde_json::json!({ "id": key, "title": title }).to_string());
            text.push('\n');
        }
        fs::write(folder.join("items.jsonl"), text).expect("written");
        let mut out = RowsWriter::create(folder.join("rows.npy"), self.rows.len(), DIMS).expect("created");
        self.rows.iter().for_each(|row| out.write(row).expect("written"));
        out.finish().expect("finished");
    }
}

pub const CONFIG: &str = "name = \"things\"\noutput = \"out\"\ndevice = \"cpu\"\n[prep]\nsource = \"items.jsonl\"\ntitle = \"title\"\n\
    template = \"{title}\"\n[embed]\nvectors = \"rows.npy\"\n[train]\nlevels = 2\ncodebook_size = 8\n[train.rq_kmeans]\niterations = 5\n\
    [assign]\nbatch_items = 50\n";

pub fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("listed") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                out.push((path.strip_prefix(folder).expect("within").to_string_lossy().into_owned(), path));
            }
        }
    }
    out
}

/// Every file of a run with its bytes, less what holds times: events, databases, the state and the summary.
pub fn content(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let timed = |name: &str| {
        let whole = ["state.json", "run_summary.json", "run.lock"].contains(&name);
        whole || name.contains("tfevents") || name.contains(".sqlite") || name.starts_with("tracking/")
    };
    let all = files(out).into_iter().filter(|(name, _)| !timed(name));
    all.map(|(name, path)| (name, fs::read(path).expect("read"))).collect()
}
