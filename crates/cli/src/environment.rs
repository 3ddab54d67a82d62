//! Settings that come from the environment, read before anything is computed.

use crate::failure::usage;
use anyhow::Result;
use sememe::Error;
use sememe::device::Instructions;

/// A variable's value; none where it is not set or empty.
pub fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(usage(format!("`{name}`: expected text"))),
    }
}

/// Limits what the CPU backend uses: `SEMEME_ISA` names the widest instruction set, `SEMEME_AMX=off` leaves the tiles alone.
pub fn limit_instructions() -> Result<()> {
    let mut allowed = Instructions::default();
    if let Some(name) = variable("SEMEME_ISA")? {
        allowed.isa = name.parse().map_err(|error| match error {
            Error::Config { problem, .. } => usage(format!("`SEMEME_ISA`: {problem}")),
            other => other.into(),
        })?;
    }
    allowed.amx = match variable("SEMEME_AMX")?.as_deref() {
        None | Some("on") => true,
        Some("off") => false,
        Some(other) => return Err(usage(format!("`SEMEME_AMX`: expected `on` or `off`, got `{other}`"))),
    };
    Ok(allowed.limit()?)
}

/// Keeps Mesa's device-select layer from asking a Wayland server that cannot be there: it asks as soon as adapters are listed, and
/// libwayland complains on stderr where `XDG_RUNTIME_DIR` is not set. The layer only sorts adapters, which are ranked
/// by their kind here; it stays on where the environment tells it what to sort by.
///
/// To be called while there is one thread.
pub fn silence_device_selection() {
    let decided = ["XDG_RUNTIME_DIR", "NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
    if cfg!(target_os = "linux") && decided.iter().all(|name| std::env::var_os(name).is_none()) {
        // SAFETY: `main` calls this first, before it makes any thread that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
