//! User histories: one sequence of items per user, in order of time.

use crate::error::{Error, Result};

/// Sequences of items, one a user, oldest first. Items are row numbers.
///
/// ```
/// let sequences = sememe::Sequences::from_lists([vec![0, 2, 1], vec![2, 2]])?;
/// assert_eq!((sequences.users(), sequences.events()), (2, 5));
/// assert_eq!(sequences.user(0), [0, 2, 1]);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// `[users + 1]` where each user's items start.
    starts: Vec<usize>,
    items: Vec<u32>,
}

impl Sequences {
    /// Wraps one list of items a user; a list may be empty.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one event in all of them.
    pub fn from_lists<L: AsRef<[u32]>>(lists: impl IntoIterator<Item = L>) -> Result<Self> {
        let (mut starts, mut items) = (vec![0], Vec::new());
        for list in lists {
            items.extend_from_slice(list.as_ref());
            starts.push(items.len());
        }
        if items.is_empty() {
            return Err(Error::Data(format!("{} sequences hold no event; give at least 1", starts.len() - 1)));
        }
        Ok(Self { starts, items })
    }

    /// Number of users.
    #[must_use]
    pub fn users(&self) -> usize {
        self.starts.len() - 1
    }

    /// Events of all users together.
    #[must_use]
    pub fn events(&self) -> usize {
        self.items.len()
    }

    /// One user's items, oldest first.
    #[must_use]
    pub fn user(&self, index: usize) -> &[u32] {
        &self.items[self.starts[index]..self.starts[index + 1]]
    }

    /// Iterates over the users.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.starts.windows(2).map(|pair| &self.items[pair[0]..pair[1]])
    }

    /// Refuses items that are no rows of a table of `rows`.
    ///
    /// # Errors
    /// [`Error::Data`] with the first such item and how many there are.
    pub fn check(&self, rows: usize) -> Result<()> {
        let unknown = |item: &&u32| **item as usize >= rows;
        match self.items.iter().find(unknown) {
            None => Ok(()),
            Some(first) => Err(Error::Data(format!(
                "{} of {} events name an item past the {rows} rows, the first is item {first}",
                self.items.iter().filter(unknown).count(),
                self.items.len()
            ))),
        }
    }
}
