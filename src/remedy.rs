//! Ways out of an error, or of a bad figure, as settings. The library names fields; a program renders each as its own option.

use std::borrow::Cow;
use std::fmt;

/// One setting that would help, and what to do with it.
///
/// `Display` gives it in the library's words, with the field's name; [`spelled`](Self::spelled) gives the same sentence around another
/// name, such as a program's option.
///
/// ```
/// use sememe::Remedy;
///
/// let remedy = Remedy::set("policy", "extra-level").to("give all IDs one length");
/// assert_eq!(remedy.to_string(), "give all IDs one length with `policy = \"extra-level\"`");
/// assert_eq!(remedy.spelled("`--policy extra-level`"), "give all IDs one length with `--policy extra-level`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The setting's name in code, with dots for nesting; of [`Change::Build`] the feature's.
    pub field: Cow<'static, str>,
    /// What to do with it.
    pub change: Change,
    /// What that does, as an order; empty where the change says all.
    pub purpose: Cow<'static, str>,
}

/// What to do with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set it to this value.
    Set(Cow<'static, str>),
    /// Give it, with a value that only the caller knows.
    Give,
    /// Choose a higher value.
    Raise,
    /// Choose a lower value.
    Lower,
    /// Leave it out.
    Omit,
    /// Build with this feature.
    Build,
}

impl Remedy {
    fn new(field: impl Into<Cow<'static, str>>, change: Change) -> Self {
        Self { field: field.into(), change, purpose: Cow::Borrowed("") }
    }

    /// Set `field` to `value`.
    pub fn set(field: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        Self::new(field, Change::Set(value.into()))
    }

    /// Give `field` a value.
    pub fn give(field: impl Into<Cow<'static, str>>) -> Self {
        Self::new(field, Change::Give)
    }

    /// Raise `field`.
    pub fn raise(field: impl Into<Cow<'static, str>>) -> Self {
        Self::new(field, Change::Raise)
    }

    /// Lower `field`.
    pub fn lower(field: impl Into<Cow<'static, str>>) -> Self {
        Self::new(field, Change::Lower)
    }

    /// Leave `field` out.
    pub fn omit(field: impl Into<Cow<'static, str>>) -> Self {
        Self::new(field, Change::Omit)
    }

    /// Build with `feature`.
    pub fn build(feature: impl Into<Cow<'static, str>>) -> Self {
        Self::new(feature, Change::Build)
    }

    /// Says what the change does: `drop them`.
    #[must_use]
    pub fn to(mut self, purpose: impl Into<Cow<'static, str>>) -> Self {
        self.purpose = purpose.into();
        self
    }

    /// The sentence around `setting`, which is the setting as the reader knows it, value and backticks included.
    #[must_use]
    pub fn spelled(&self, setting: &str) -> String {
        let purpose = &self.purpose;
        match (&self.change, purpose.is_empty()) {
            (Change::Set(_), true) => format!("set {setting}"),
            (Change::Give, true) => format!("give {setting}"),
            (Change::Set(_) | Change::Give, false) => format!("{purpose} with {setting}"),
            (Change::Raise, true) => format!("raise {setting}"),
            (Change::Raise, false) => format!("raise {setting} to {purpose}"),
            (Change::Lower, true) => format!("lower {setting}"),
            (Change::Lower, false) => format!("lower {setting} to {purpose}"),
            (Change::Omit, true) => format!("leave {setting} out"),
            (Change::Omit, false) => format!("leave {setting} out to {purpose}"),
            (Change::Build, _) => format!("build with {setting}"),
        }
    }

    /// Several as one sentence: `a, b or c`.
    pub fn join<S: AsRef<str>>(sentences: &[S]) -> String {
        let texts: Vec<&str> = sentences.iter().map(AsRef::as_ref).collect();
        match texts.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
            _ => texts.concat(),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        let setting = match &self.change {
            Change::Set(value) if value == "true" || value == "false" || value.parse::<f64>().is_ok() => {
                format!("`{field} = {value}`")
            }
            Change::Set(value) => format!("`{field} = \"{value}\"`"),
            Change::Build => format!("the feature `{field}`"),
            _ => format!("`{field}`"),
        };
        f.write_str(&self.spelled(&setting))
    }
}
