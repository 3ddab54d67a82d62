//! The items that are served: by key, by ID, by prefix and by words.

mod items;
#[cfg(test)]
mod tests;
mod words;

pub use items::{Item, Items, NewItem};

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

/// All items that have an ID. Items are added while it is read; an item's number and ID never change.
#[derive(Debug)]
pub struct Catalogue {
    items: RwLock<Items>,
    /// What was added since it was loaded.
    added: Mutex<Vec<NewItem>>,
}

impl Catalogue {
    /// A catalogue of these items.
    #[must_use]
    pub fn new(items: Items) -> Self {
        Self { items: RwLock::new(items), added: Mutex::default() }
    }

    /// The items as they are now. Do not keep it while waiting for anything: items are added by whoever waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Items> {
        // Adding is one call that leaves the items whole, whatever it panics at.
        self.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the items whose keys are not there yet, and titles and texts of those that have none.
    pub fn add(&self, new: &[NewItem]) {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.items.write().unwrap_or_else(PoisonError::into_inner).add(new);
        added.extend(taken.into_iter().map(|place| new[place].clone()));
    }

    /// What was added since it was loaded.
    #[must_use]
    pub fn added(&self) -> Vec<NewItem> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
