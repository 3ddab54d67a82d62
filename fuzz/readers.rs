//! libFuzzer over one target, which the environment names: `SEMEME_FUZZ=npy`.

#![no_main]

use std::sync::{LazyLock, Mutex, PoisonError};

use sememe_fuzzing::{Scratch, TARGETS, Target, find, memory};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("SEMEME_FUZZ").unwrap_or_default();
    find(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("SEMEME_FUZZ is `{name}`, expected one of {}", names.join(", "));
        std::process::exit(2)
    })
});

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

thread_local!(static SCRATCH: Scratch = Scratch::new());

/// The library catches panics of the parquet crate; libFuzzer's hook would end the process at those too.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
    }));
}

libfuzzer_sys::fuzz_target!(init: quiet_panics(), |bytes: &[u8]| {
    let done = std::panic::catch_unwind(|| SCRATCH.with(|scratch| TARGET.run(bytes, scratch)));
    if done.is_err() {
        // One that gets out ends the process, so that libFuzzer keeps the input.
        eprintln!("panic: {}", LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).replace('\n', " "));
        std::process::abort();
    }
});
