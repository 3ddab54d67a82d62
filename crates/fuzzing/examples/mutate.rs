//! Fuzzes without a fuzzer: mutated seeds, no coverage, any stable compiler. `fuzz/run` finds more in the same time; this needs nothing.
//!
//!     cargo run -p sememe-fuzzing --example mutate -- 60              every reader for a minute
//!     cargo run -p sememe-fuzzing --example mutate -- 600 npz codec   these for ten minutes each
//!
//! An input that fails is left in `fuzz/artifacts/READER`; one that ends the process too, as the last one is kept there while it runs.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sememe_fuzzing::{Scratch, TARGETS, Target, memory};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

static IN_TARGET: AtomicBool = AtomicBool::new(false);
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Slower than this is told: a reader's time is to be bounded by its input, too.
const SLOW: Duration = Duration::from_secs(5);

/// SplitMix64: enough for mutations.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

const TEXTS: [&str; 24] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e39",
    "1e400",
    "-0.0",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"",
    "\\u0000",
    "[[",
    "\u{feff}",
];

/// Bytes that mean something somewhere.
const ODD: &[u8] = b"\0\xff A,\"{[:\n-";

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let length = 1 + dice.below(8).min(bytes.len().saturating_sub(at));
    match dice.below(11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = dice.next() as u8,
        2 if at + length <= bytes.len() => drop(bytes.drain(at..at + length)),
        3 => drop(bytes.splice(at..at, (0..length).map(|_| ODD[dice.below(ODD.len())]))),
        4 => bytes.truncate(at),
        // A number of some width at its edges.
        5 => {
            let width = [1, 2, 4, 8][dice.below(4)];
            let edges =
                [0u64, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX, 1 << 40];
            let mut number = edges[dice.below(edges.len())].to_le_bytes();
            if dice.below(4) == 0 {
                number[..width].reverse();
            }
            if at + width <= bytes.len() {
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
        }
        // One of the numbers and words of a text for another.
        6 | 7 => {
            let number = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+".contains(byte);
            if let Some(start) = bytes.iter().skip(at).position(u8::is_ascii_digit).map(|found| found + at) {
                let end =
                    bytes[start..].iter().position(|byte| !number(byte)).map_or(bytes.len(), |found| found + start);
                bytes.splice(start..end, TEXTS[dice.below(TEXTS.len())].bytes());
            }
        }
        8 => drop(bytes.splice(at..at, TEXTS[dice.below(TEXTS.len())].bytes())),
        // A part of itself, or of another seed.
        9 => {
            let from = if dice.below(2) == 0 { bytes.clone() } else { others[dice.below(others.len())].clone() };
            let start = dice.below(from.len() + 1);
            let part = &from[start..(start + dice.below(64)).min(from.len())];
            bytes.splice(at..at, part.iter().copied());
        }
        _ => {
            let other = &others[dice.below(others.len())];
            let from = dice.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
    bytes.truncate(1 << 16);
}

struct Result {
    runs: u64,
    peak_share: f64,
    slowest: Duration,
    faults: usize,
}

fn fuzz(target: &Target, seconds: u64, artifacts: &Path, seeds: &Path) -> Result {
    let read = |path: PathBuf| fs::read(path).expect("a seed");
    let seeds: Vec<Vec<u8>> = fs::read_dir(seeds.join(target.name))
        .expect("seeds")
        .map(|entry| read(entry.expect("an entry").path()))
        .collect();
    let folder = artifacts.join(target.name);
    fs::create_dir_all(&folder).expect("a folder");
    let scratch = Scratch::new();
    // Whatever ends the process leaves its input here.
    let current = folder.join("current");
    let begun = Instant::now();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let mut dice = Dice(seed);
    let mut result = Result { runs: 0, peak_share: 0.0, slowest: Duration::ZERO, faults: 0 };
    while begun.elapsed() < Duration::from_secs(seconds) && result.faults < 20 {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(6) {
            mutate(&mut bytes, &seeds, &mut dice);
        }
        fs::write(&current, &bytes).expect("the input is kept");
        let started = Instant::now();
        IN_TARGET.store(true, Ordering::Relaxed);
        let done = catch_unwind(|| target.run(&bytes, &scratch));
        IN_TARGET.store(false, Ordering::Relaxed);
        let took = started.elapsed();
        result.runs += 1;
        result.slowest = result.slowest.max(took);
        let problem = match done {
            Ok(peak) => {
                result.peak_share = result.peak_share.max(peak as f64 / target.bound_bytes(bytes.len()) as f64);
                (took > SLOW).then(|| format!("took {took:.1?}"))
            }
            Err(_) => Some(LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).replace('\n', " ")),
        };
        if let Some(problem) = problem {
            result.faults += 1;
            let name = format!("mutate-{:016x}", Dice(seed ^ result.runs).next());
            fs::write(folder.join(&name), &bytes).expect("the input is kept");
            println!("  {}/{name}: {problem}", target.name);
        }
    }
    let _ = fs::remove_file(current);
    result
}

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let names: Vec<String> = args.collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    // Told with the input, once it gets out of the target.
    std::panic::set_hook(Box::new(|info| {
        if !IN_TARGET.load(Ordering::Relaxed) {
            eprintln!("{info}");
        }
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
    }));
    let mut faults = 0;
    for target in TARGETS.iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target.name)) {
        let result = fuzz(target, seconds, &root.join("artifacts"), &root.join("seeds"));
        faults += result.faults;
        println!(
            "{}: {} inputs, {} faults, at most {:.0} % of the memory allowed, slowest {:.0?}",
            target.name,
            result.runs,
            result.faults,
            100.0 * result.peak_share,
            result.slowest
        );
    }
    std::process::exit(i32::from(faults > 0));
}
