//! The threads that work: rayon's own, unless a number was asked for, or the process is a fork, whose parent's threads are not there.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The process that loaded the module.
static LOADED_IN: OnceLock<u32> = OnceLock::new();

#[derive(Default)]
struct Own {
    /// Threads asked for; 0 for one a core.
    threads: usize,
    /// A pool and the process that it is of.
    pool: Option<(u32, Arc<ThreadPool>)>,
}

static OWN: Mutex<Own> = Mutex::new(Own { threads: 0, pool: None });

/// Notes in which process the module is loaded.
pub fn loaded() {
    // Loaded once a process; a second interpreter in it changes nothing.
    let _ = LOADED_IN.set(std::process::id());
}

/// Whether this process is a fork of the one that loaded the module.
pub fn forked() -> bool {
    LOADED_IN.get().is_some_and(|pid| *pid != std::process::id())
}

/// Works with `n` threads from now on; 0 for one a core. The number changes no result.
#[pyfunction]
pub fn set_threads(n: usize) -> PyResult<()> {
    if n > 1 << 16 {
        return Err(PyValueError::new_err(format!("`n`: expected at most 65536 threads, got {n}")));
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.threads = n;
    own.pool = None;
    Ok(())
}

fn pool() -> Result<Option<Arc<ThreadPool>>, String> {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if own.threads == 0 && !forked() {
        return Ok(None);
    }
    let here = std::process::id();
    if let Some((pid, pool)) = &own.pool
        && *pid == here
    {
        return Ok(Some(pool.clone()));
    }
    // The pool of a parent is let go without being dropped: dropping it would wait for threads that are not there.
    if let Some(old) = own.pool.take() {
        #[allow(clippy::mem_forget, reason = "see above")]
        std::mem::forget(old);
    }
    let made = ThreadPoolBuilder::new().num_threads(own.threads).build().map_err(|e| e.to_string())?;
    let made = Arc::new(made);
    own.pool = Some((here, made.clone()));
    Ok(Some(made))
}

/// Does some work on the threads that were asked for.
pub fn install<R: Send>(work: impl FnOnce() -> R + Send) -> PyResult<R> {
    match pool() {
        Ok(Some(pool)) => Ok(pool.install(work)),
        Ok(None) => Ok(work()),
        Err(problem) => Err(PyRuntimeError::new_err(format!("cannot start threads: {problem}"))),
    }
}
