//! Our errors through the engine, which keeps them as text, and back.

use datafusion::error::DataFusionError;
use sememe::Error;

/// Stands before our own words; what an engine wraps around them is cut off again.
const OURS: &str = "sememe: ";

/// An error of one of our functions. The engine shows it between quotation marks, with escapes, as often as it wraps it; so it has none.
pub fn refuse(text: impl std::fmt::Display) -> DataFusionError {
    let text = text.to_string().replace('"', "'").replace('\\', "/").replace(['\n', '\r'], " ");
    DataFusionError::Execution(format!("{OURS}{text}"))
}

/// An error of the library in one of our functions.
pub fn library(error: &Error) -> DataFusionError {
    refuse(error.facts())
}

/// Our own words in an error of the engine, if it has any: what is wrong is in the data or the settings, and trying again is of no use.
pub fn own_words(error: &DataFusionError) -> Option<String> {
    let text = error.to_string();
    let at = text.find(OURS)? + OURS.len();
    let words = &text[at..];
    let end = words.find(['"', '\\', '\n']).unwrap_or(words.len());
    Some(words[..end].trim_end().to_owned())
}

/// An error of the engine as one of the library.
pub fn from_engine(error: &DataFusionError) -> Error {
    let text = own_words(error).unwrap_or_else(|| error.strip_backtrace().replace(['\n', '\r'], " "));
    Error::Data(text)
}

/// An error of a store as one of the library.
pub fn from_store(action: &str, place: &str, error: &object_store::Error) -> Error {
    // Its texts have a path and several lines of a server's answer.
    let text = error.to_string();
    Error::Data(format!("cannot {action} `{place}`: {}", text.split_whitespace().collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_words_come_back_from_under_any_number_of_wrappings() {
        let inner = refuse("row 3 of a batch has \"2\" values\nand \\ more");
        let once = DataFusionError::Execution(format!("Job j failed: {inner:?}"));
        let twice = DataFusionError::Execution(format!("stage 1: {once:?}, so there"));
        for error in [inner, once, twice] {
            assert_eq!(own_words(&error).as_deref(), Some("row 3 of a batch has '2' values and / more"), "{error}");
        }
        assert_eq!(own_words(&DataFusionError::Execution("executor lost".into())), None);
    }
}
