//! Every kept input through its target, with a stable compiler: no panic, and memory within the bound.

use std::fs;
use std::path::Path;

use sememe_fuzzing::{Scratch, TARGETS, memory};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

/// One test, as others beside it would be counted too.
#[test]
fn kept_inputs_neither_panic_nor_take_memory() {
    let (held, peak) = memory::peak_of(|| vec![1u8; 1 << 20]);
    assert!(peak >= held.len(), "memory is not counted: {peak}");
    drop(held);
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let scratch = Scratch::new();
    let mut count = 0;
    for target in TARGETS {
        let mut paths: Vec<_> = fs::read_dir(seeds.join(target.name))
            .unwrap_or_else(|e| panic!("seeds of {}: {e}", target.name))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        assert!(
            !paths.is_empty(),
            "{} has no seeds; `cargo run -p sememe-fuzzing --example seeds` writes them",
            target.name
        );
        // Nothing at all, too.
        target.run(b"", &scratch);
        let mut most = 0.0f64;
        for path in paths {
            let bytes = fs::read(&path).expect("a seed");
            // Told before: a panic names no file.
            println!("{}", path.display());
            let peak = target.run(&bytes, &scratch);
            most = most.max(peak as f64 / target.bound_bytes(bytes.len()) as f64);
            count += 1;
        }
        println!("{}: at most {:.1} % of the memory allowed", target.name, most * 100.0);
    }
    println!("{count} inputs");
}
