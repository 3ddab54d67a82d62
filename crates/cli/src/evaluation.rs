//! Measures of a codec on rows, for the verbs that make a report.

use crate::device;
use crate::text::{sizes, time, whole};
use sememe::{Codec, Device};

/// What went into a run, for the report.
pub fn facts(codec: &Codec, device: &Device, seconds: f64, beam: usize) -> Vec<(String, String)> {
    let manifest = codec.manifest();
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut out = vec![
        fact("dimensions", manifest.dims.to_string()),
        fact("codewords", sizes(&manifest.codebook_sizes)),
        fact("method", manifest.method.clone()),
        fact("trained on", format!("{} rows", whole(manifest.training.rows))),
        fact("seed", manifest.seed.to_string()),
    ];
    if manifest.inner_dims != manifest.dims {
        out.insert(1, fact("after PCA", manifest.inner_dims.to_string()));
    }
    if beam > 1 {
        out.push(fact("beam", beam.to_string()));
    }
    out.push(fact("device", device::name(&device.info())));
    out.push(fact("time", time(seconds)));
    out
}
