//! A model's tensors: `model.safetensors`, or the shards that `model.safetensors.index.json` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::places::{EMBEDDING, OUTPUT, TensorPlace, tensor_places};
use super::shape::LanguageShape;
use sememe::data::first_non_finite;
use sememe::io::{TensorFile, read_bytes_capped};
use sememe::{Error, Result};

pub(super) const WHOLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// An index of a hundred thousand tensors has some ten million bytes.
const MOST_INDEX_BYTES: u64 = 64 << 20;
/// Values that the output's table is compared with the tokens' by, at a time.
const COMPARED: usize = 1 << 20;

/// How weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes a value, as they are.
    #[default]
    F32,
    /// 2 bytes a value, rounded to the nearest.
    Bf16,
}

impl WeightType {
    /// What PyTorch calls it.
    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }
}

#[derive(Deserialize)]
struct WeightIndex {
    weight_map: BTreeMap<String, String>,
}

/// The open files; values are read when they are asked for.
pub(super) struct WeightFiles {
    folder: PathBuf,
    files: Vec<(PathBuf, TensorFile)>,
    /// Which file has a tensor.
    places: BTreeMap<String, usize>,
}

impl WeightFiles {
    /// Reads the headers.
    ///
    /// # Errors
    /// A folder without weights, or with weights of another kind; files that are damaged, lie elsewhere, or hold a tensor twice.
    pub fn open(folder: &Path) -> Result<Self> {
        let (whole, index) = (folder.join(WHOLE), folder.join(INDEX));
        let (paths, claimed) = if whole.exists() {
            (vec![whole], BTreeMap::new())
        } else if index.exists() {
            shards(folder, &index)?
        } else {
            return Err(without_weights(folder));
        };
        let (mut files, mut places) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let file = TensorFile::open(&path)?;
            for name in file.names() {
                if let Some(other) = places.insert(name.to_owned(), files.len()) {
                    let (other, _): &(PathBuf, TensorFile) = &files[other];
                    let problem = format!("holds the tensor `{name}`, which `{}` holds too", other.display());
                    return Err(Error::format(&path, problem));
                }
            }
            files.push((path, file));
        }
        for (name, file) in claimed {
            if places.get(&name).is_none_or(|at| files[*at].0 != folder.join(&file)) {
                let problem = format!("says that the tensor `{name}` is in `{file}`, which does not hold it");
                return Err(Error::format(folder.join(INDEX), problem));
            }
        }
        Ok(Self { folder: folder.into(), files, places })
    }

    /// All parameters of a model of this shape. Names, shapes and types of all tensors are checked against what the files hold before
    /// memory is taken; then values are read file by file into place, so that there is one copy of them.
    ///
    /// # Errors
    /// A tensor that is missing, that such a model does not have, or of another shape or type; NaN and infinity; an output's table that
    /// is to be that of the tokens and is another.
    pub fn read(&self, shape: &LanguageShape) -> Result<Vec<f32>> {
        let mut places = tensor_places(shape);
        // Tied tables may be saved under either name.
        let swapped = shape.tied && !self.places.contains_key(EMBEDDING) && self.places.contains_key(OUTPUT);
        if swapped {
            places[0].name = OUTPUT.into();
        }
        for place in &places {
            self.file(&place.name)?.1.check(&place.name, &place.shape)?;
        }
        let twice = shape.tied && !swapped && self.places.contains_key(OUTPUT);
        self.refuse_surplus(&places, twice)?;

        let mut params = vec![0.0; shape.parameters()];
        // Each file from its beginning to its end.
        places.sort_by_key(|place| self.places.get(&place.name).copied());
        for place in &places {
            self.read_tensor(place, &mut params[place.at..place.at + place.len()])?;
        }
        if twice && let Some(place) = places.iter().find(|place| place.name == EMBEDDING) {
            self.compare_output(place, &params[place.at..place.at + place.len()])?;
        }
        Ok(params)
    }

    fn file(&self, name: &str) -> Result<&(PathBuf, TensorFile)> {
        match self.places.get(name) {
            Some(at) => Ok(&self.files[*at]),
            None => Err(Error::format(&self.folder, format!("its weights have no tensor `{name}`"))),
        }
    }

    fn read_tensor(&self, place: &TensorPlace, out: &mut [f32]) -> Result<()> {
        let (path, file) = self.file(&place.name)?;
        file.read_into(&place.name, &place.shape, out)?;
        let dims = place.shape[place.shape.len() - 1];
        match first_non_finite(out, dims) {
            None => Ok(()),
            Some((row, rows)) => Err(Error::format(
                path,
                format!(
                    "`{}`: {rows} of {} rows hold NaN or infinity, the first is row {row}; such a model cannot be used",
                    place.name,
                    out.len() / dims
                ),
            )),
        }
    }

    fn refuse_surplus(&self, places: &[TensorPlace], twice: bool) -> Result<()> {
        let known: BTreeSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
        for (name, at) in &self.places {
            // Angles that old files keep; they are computed.
            let angles = name.ends_with("rotary_emb.inv_freq");
            if known.contains(name.as_str()) || angles || (twice && name == OUTPUT) {
                continue;
            }
            let problem = format!("holds the tensor `{name}`, which a model of this `config.json` does not have");
            return Err(Error::format(&self.files[*at].0, problem));
        }
        Ok(())
    }

    /// Both tables of a tied model must be one: which of two is meant depends on who loads it.
    fn compare_output(&self, place: &TensorPlace, embedding: &[f32]) -> Result<()> {
        let (path, file) = self.file(OUTPUT)?;
        let mut table = vec![0.0; embedding.len()];
        file.read_into(OUTPUT, &place.shape, &mut table)?;
        let dims = place.shape[1];
        let mut parts = table.chunks(COMPARED).zip(embedding.chunks(COMPARED)).enumerate();
        let Some((number, (got, want))) = parts.find(|(_, (got, want))| got != want) else { return Ok(()) };
        let at = got.iter().zip(want).position(|(g, w)| g != w).unwrap_or(0) + number * COMPARED;
        Err(Error::format(
            path,
            format!(
                "`{OUTPUT}` differs from `{EMBEDDING}` in row {}, value {}: {} and {}, though `tie_word_embeddings` is true; set it to false, or \
                 take `{OUTPUT}` out",
                at / dims,
                at % dims,
                table[at],
                embedding[at]
            ),
        ))
    }
}

fn without_weights(folder: &Path) -> Error {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let ends = |endings: &[&str]| names.iter().find(|name| endings.iter().any(|ending| name.ends_with(ending)));
    let how = "save the model again with transformers' `save_pretrained(folder)`, which writes safetensors";
    let problem = if let Some(name) = ends(&[".bin", ".pth", ".pt", ".ckpt"]) {
        format!("has no `{WHOLE}`; its `{name}` is a pickle, which could run code and is never read: {how}")
    } else if let Some(name) = ends(&[".gguf"]) {
        format!(
            "has no `{WHOLE}`; its `{name}` is llama.cpp's format, which is not read: load it in transformers by `gguf_file` and {how}"
        )
    } else if let Some(name) = ends(&[".safetensors"]) {
        format!("has neither `{WHOLE}` nor `{INDEX}`; rename `{name}` if it holds all weights")
    } else {
        format!("has neither `{WHOLE}` nor `{INDEX}`, so that its weights are missing")
    };
    Error::format(folder, problem)
}

/// The files that an index names, and what it says of each tensor.
fn shards(folder: &Path, index: &Path) -> Result<(Vec<PathBuf>, BTreeMap<String, String>)> {
    let bytes = read_bytes_capped(index, MOST_INDEX_BYTES)?;
    let parsed: WeightIndex =
        serde_json::from_slice(&bytes).map_err(|e| Error::format(index, format!("is no index of weights: {e}")))?;
    let names: BTreeSet<&String> = parsed.weight_map.values().collect();
    if names.is_empty() {
        return Err(Error::format(index, "names no file"));
    }
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        // A file beside the index, never one elsewhere.
        if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
            return Err(Error::format(index, format!("names `{name}`, expected a file in the same folder")));
        }
        let path = folder.join(name);
        if !path.exists() {
            return Err(Error::format(folder, format!("has no `{name}`, which its `{INDEX}` names")));
        }
        paths.push(path);
    }
    Ok((paths, parsed.weight_map))
}
