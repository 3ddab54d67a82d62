//! Presets with individual settings overridden.

use serde_json::Value;

use super::config::RqVae;
use crate::error::{Error, Result};

impl RqVae {
    /// A preset with settings laid over it, one tree after the other: `{"optimizer": {"rate": 1e-4}}` changes the rate alone. Where a
    /// choice among kinds changes its `kind`, the fields of the old one go; the optimiser and the schedule have the same fields for every
    /// kind and keep them. `null` unsets what may be unset.
    ///
    /// ```
    /// use sememe::fit::rqvae::RqVae;
    /// let config = RqVae::preset_with("animind", [serde_json::json!({"optimizer": {"rate": 1e-4}})])?;
    /// assert_eq!((config.optimizer.rate, config.shared_codebook), (1e-4, true));
    /// # Ok::<(), sememe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for another preset, a name that is no setting, or a value of the wrong kind. Ranges are left to
    /// [`validate`](Self::validate).
    pub fn preset_with(name: &str, patches: impl IntoIterator<Item = Value>) -> Result<Self> {
        let bad = |e: serde_json::Error| Error::config("rqvae", e.to_string());
        let mut value = serde_json::to_value(Self::preset(name)?).map_err(bad)?;
        for patch in patches {
            merge(&mut value, patch);
        }
        serde_json::from_value(value).map_err(bad)
    }
}

/// Lays one tree over another.
fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            let changed = patch.get("kind").is_some_and(|kind| base.get("kind") != Some(kind));
            let uniform = base.contains_key("decoder_factor") || base.contains_key("warmup_steps");
            if changed && !uniform {
                base.clear();
            }
            for (key, value) in patch {
                match base.get_mut(&key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, patch) => *base = patch,
    }
}
