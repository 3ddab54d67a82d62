//! Values that begin with a dash, such as the key `-8x`, which look like options.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What to say in place of clap's error where the unknown option is the beginning of a longer word (`-8` of `-8x`): the whole word, as a value.
pub fn explain(error: &clap::Error, words: impl Iterator<Item = String>) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let short = option.starts_with('-') && !option.starts_with("--");
    if error.kind() != ErrorKind::UnknownArgument || !short {
        return None;
    }
    let word = words.skip(1).find(|word| word.len() > option.len() && word.starts_with(option.as_str()))?;
    Some(format!(
        "`{word}` begins with a dash, but there is no option `{option}`; to pass it as a value, put `--` before it: `-- {word}`"
    ))
}
