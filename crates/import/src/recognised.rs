//! What a path is: by the files of a folder, or by the names of the arrays in a file.

use crate::arrays::{Arrays, pickled};
use crate::origin::Origin;
use crate::pickle_names::{PickleNames, Pickled};
use crate::{levels, systems};
use sememe::io::{Window, extension};
use sememe::{Error, Result};
use std::io::BufReader;
use std::path::Path;

/// A file or folder with what it was found to be.
pub struct Recognised {
    pub origin: Origin,
    /// Its arrays, where the system keeps some in this one file.
    pub arrays: Option<Arrays>,
}

/// Files that make a folder a system's, the telling ones first.
const FOLDERS: [(&str, Origin); 7] = [
    ("engine_meta.json", Origin::SemanticIdEngine),
    ("basil.npz", Origin::Basil),
    ("codebooks.npz", Origin::SemanticId),
    ("model.pt", Origin::LcRec),
    ("rqvae_best.pt", Origin::AniMind),
    ("rqvae_last.pt", Origin::AniMind),
    ("semantic_ids.jsonl", Origin::AniMindIds),
];

impl Recognised {
    /// Looks at a path; `from` overrides what its content says.
    ///
    /// # Errors
    /// If it cannot be read or is nothing that is known.
    pub fn of(path: &Path, from: Option<Origin>) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if meta.is_dir() {
            return Self::folder(path, from);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let table = match extension(path).as_str() {
            "json" => Some(Origin::Index),
            "jsonl" if name == "semantic_ids.jsonl" => Some(Origin::AniMindIds),
            _ => None,
        };
        if let Some(origin) = table {
            let origin = from.unwrap_or(origin);
            return Ok(Self { origin, arrays: None });
        }
        if matches!(extension(path).as_str(), "faiss" | "index" | "ivf") {
            return Err(Error::format(
                path,
                "looks like an index of faiss, which is not read; in Python, save its codebooks: \
                 `np.save(\"rq.npy\", faiss.vector_to_array(rq.codebooks).reshape(rq.M, -1, rq.d))`",
            ));
        }
        refuse_sklearn(path)?;
        let arrays = Arrays::open(path)?;
        let origin = match from {
            Some(origin) => origin,
            None => by_names(&arrays)?,
        };
        Ok(Self { origin, arrays: Some(arrays) })
    }

    fn folder(path: &Path, from: Option<Origin>) -> Result<Self> {
        let found =
            FOLDERS.iter().find(|(file, origin)| from.is_none_or(|from| from == *origin) && path.join(file).is_file());
        let Some((_, origin)) = found else {
            let files = FOLDERS.map(|(file, _)| format!("`{file}`")).join(", ");
            let of = from.map_or(String::new(), |from| format!(" of {from}"));
            return Err(Error::format(path, format!("is a folder without any of {files}{of}; name the file itself")));
        };
        Ok(Self { origin: *origin, arrays: None })
    }
}

/// By the names of arrays and their shapes.
fn by_names(arrays: &Arrays) -> Result<Origin> {
    let has = |name: &str| arrays.has(name);
    if has("codebook.0") || has("codebook.shared") {
        return Err(arrays.bad("is a codec of Sememe already"));
    }
    if has("rq_codebooks") {
        return Ok(Origin::FaissRq);
    }
    if has("pq_centroids") {
        return Ok(Origin::FaissPq);
    }
    if systems::numpy::is_one(arrays)? {
        return Ok(Origin::Numpy);
    }
    if systems::animind::prefix(arrays).is_some() {
        return Ok(Origin::AniMind);
    }
    for (origin, before, after) in levels::CENTROIDS {
        if !levels::groups(arrays, before, after).is_empty() {
            return Ok(origin);
        }
    }
    if !systems::vector_quantize_pytorch::groups(arrays).is_empty() {
        return Ok(Origin::VectorQuantizePytorch);
    }
    Ok(Origin::Arrays)
}

/// Refuses models of scikit-learn by name: they are objects, which only running them gives back.
fn refuse_sklearn(path: &Path) -> Result<()> {
    let joblib = extension(path) == "joblib";
    let sklearn = if pickled(path)? == Some(Pickled::Legacy) {
        let window = Window::open(path)?;
        // A joblib file holds its arrays between the opcodes, so that it cannot be followed to its end; the classes come first.
        PickleNames::scan(&mut BufReader::new(window.reader()), 1).is_sklearn()
    } else {
        false
    };
    if !joblib && !sklearn {
        return Ok(());
    }
    let what = if sklearn { "a pickle of scikit-learn" } else { "a file of joblib" };
    Err(Error::format(
        path,
        format!(
            "is {what}, which can only be read by running it; in Python, save the codebooks: \
             `np.savez(\"books.npz\", codebook_0=model.cluster_centers_)`, one a level"
        ),
    ))
}
