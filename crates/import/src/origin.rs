//! Which system wrote a file.

use std::fmt;
use std::str::FromStr;

/// A system whose files are read, or a kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// BASIL: `basil.npz` and `metadata.json`.
    Basil,
    /// semantic-id: RQ-KMeans.
    SemanticId,
    /// semantic-id: an engine's folder, with an encoder and counters.
    SemanticIdEngine,
    /// RQ-VAE in the layout of LC-Rec, which MiniOneRec and semantic-id share.
    LcRec,
    /// GRID: residual k-means.
    Grid,
    /// OpenOneRec: residual k-means.
    OpenOneRec,
    /// vector-quantize-pytorch: `ResidualVQ` and `VectorQuantize`.
    VectorQuantizePytorch,
    /// faiss: the codebooks of a residual quantiser.
    FaissRq,
    /// faiss: the centroids of a product quantiser, with or without a rotation.
    FaissPq,
    /// AniMind: an RQ-VAE.
    AniMind,
    /// AniMind: its folder of IDs.
    AniMindIds,
    /// `index.json`: IDs as LC-Rec keeps them.
    Index,
    /// What [`export`](crate::export()) wrote as `numpy`.
    Numpy,
    /// Codebooks in arrays, whoever wrote them: levels one after the other on what is left.
    Arrays,
}

/// All of them with their names.
const NAMES: [(Origin, &str); 14] = [
    (Origin::Basil, "basil"),
    (Origin::SemanticId, "semantic-id"),
    (Origin::SemanticIdEngine, "semantic-id-engine"),
    (Origin::LcRec, "lc-rec"),
    (Origin::Grid, "grid"),
    (Origin::OpenOneRec, "openonerec"),
    (Origin::VectorQuantizePytorch, "vector-quantize-pytorch"),
    (Origin::FaissRq, "faiss-rq"),
    (Origin::FaissPq, "faiss-pq"),
    (Origin::AniMind, "animind"),
    (Origin::AniMindIds, "animind-ids"),
    (Origin::Index, "index"),
    (Origin::Numpy, "numpy"),
    (Origin::Arrays, "arrays"),
];

impl Origin {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(origin, _)| *origin)
    }

    /// Its name, as in `vector-quantize-pytorch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(origin, _)| *origin == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Origin {
    type Err = sememe::Error;

    fn from_str(text: &str) -> sememe::Result<Self> {
        let names = || NAMES.map(|(_, name)| name).join(", ");
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(origin, _)| *origin)
            .ok_or_else(|| sememe::Error::config("from", format!("expected one of {}, got `{text}`", names())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for origin in Origin::all() {
            assert_eq!(origin.name().parse::<Origin>().expect("its own name"), origin);
        }
        let refused = "sklearn".parse::<Origin>().expect_err("no such system").to_string();
        assert!(refused.contains("got `sklearn`") && refused.contains("basil, semantic-id"), "{refused}");
    }
}
