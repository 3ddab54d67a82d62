//! Errors that a device reports asynchronously, and locks that survive a panic.

use crate::error::{Error, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever happened to other holders: all guarded state stays consistent between statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Errors that the device reported asynchronously.
#[derive(Default)]
pub(super) struct Reports {
    pub lost: Mutex<Option<String>>,
    pub error: Mutex<Option<String>>,
}

impl Reports {
    pub fn lose(&self, why: impl Into<String>) {
        lock(&self.lost).get_or_insert_with(|| why.into());
    }

    pub fn check(&self) -> Result<()> {
        if let Some(why) = lock(&self.lost).as_ref() {
            return Err(Error::DeviceLost(why.clone()));
        }
        match lock(&self.error).take() {
            Some(error) => Err(Error::Device(error)),
            None => Ok(()),
        }
    }
}
