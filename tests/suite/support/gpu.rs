//! The GPUs of the tests, opened as `SEMEME_GPU` says.

use sememe::compute::gpu::{Gpu, Options};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Prints and counts a test that runs nothing for want of a GPU.
fn skip<T>(why: &str) -> Option<T> {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    println!("skipped a GPU test ({count} so far): {why}");
    None
}

fn try_open(options: Options) -> Result<Gpu, String> {
    let wish = std::env::var("SEMEME_GPU").unwrap_or_else(|_| "auto".into());
    match wish.as_str() {
        "off" => Err("SEMEME_GPU=off".into()),
        "auto" | "require" => match Gpu::with_options(Options { software: true, ..options }) {
            Ok(gpu) => Ok(gpu),
            Err(why) if wish == "auto" => Err(why.to_string()),
            Err(why) => panic!("SEMEME_GPU=require: {why}"),
        },
        other => panic!("SEMEME_GPU is auto, require or off, got `{other}`"),
    }
}

/// Opens a GPU as `SEMEME_GPU` says: `auto` skips without one, `require` fails, `off` always skips.
pub fn open(options: Options) -> Option<Gpu> {
    try_open(options).map_or_else(|why| skip(&why), Some)
}

/// A GPU with small chunks, checked shaders and poisoned buffers.
pub fn small_chunks() -> Option<&'static Gpu> {
    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
    let options = || Options { chunk_bytes: 96 << 10, checked: true, poison: true, ..Options::default() };
    GPU.get_or_init(|| try_open(options())).as_ref().map_or_else(|why| skip(why), Some)
}

/// A GPU as users get it.
pub fn plain() -> Option<&'static Gpu> {
    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
    GPU.get_or_init(|| try_open(Options::default())).as_ref().map_or_else(|why| skip(why), Some)
}
