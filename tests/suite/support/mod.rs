//! What the tests compare with: plain f64 loops, a comparator that NaN fails, and informative data.

#[cfg(feature = "gpu")]
mod gpu;
pub mod network;
pub mod quantiser;
pub mod sequence;

#[cfg(feature = "gpu")]
pub use gpu::{open, plain, small_chunks};

use sememe::compute::{Backend, Metric};
use sememe::rng;

/// Passes only on |a − b| ≤ atol + rtol·|b|: NaN and infinities fail.
pub fn is_close(a: f64, b: f64, atol: f64, rtol: f64) -> bool {
    a.is_finite() && b.is_finite() && (a - b).abs() <= atol + rtol * b.abs()
}

/// Holds two slices to [`is_close`], element by element.
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths differ");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(is_close(*a, *b, atol, rtol), "{what}[{i}]: got {a}, want {b} (atol {atol}, rtol {rtol})");
    }
}

/// Whether any element fails [`is_close`]: for showing that a perturbed parameter is noticed.
pub fn differs(got: &[f64], want: &[f64], atol: f64, rtol: f64) -> bool {
    got.iter().zip(want).any(|(a, b)| !is_close(*a, *b, atol, rtol))
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// `[n, d]` rows around a few centres, with columns of different spread and a common offset.
pub fn rows(name: &str, n: usize, d: usize) -> Vec<f32> {
    let mut stream = rng::stream(11, name, (n * 131 + d) as u64);
    let centres: Vec<f64> = (0..7 * d).map(|_| 2.0 * stream.normal()).collect();
    let mut out = Vec::with_capacity(n * d);
    for _ in 0..n {
        let centre = stream.below(7) as usize;
        for c in 0..d {
            let spread = 0.3 + 0.7 * ((c * 37 % 11) as f64 / 11.0);
            out.push((centres[centre * d + c] + spread * stream.normal() + 0.25) as f32);
        }
    }
    out
}

/// Asserts that data can tell a right kernel from a wrong one: it varies, and holds both signs once it is large enough.
#[track_caller]
pub fn assert_informative(values: &[f32]) {
    if values.len() >= 16 {
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        assert!(low < -0.1 && high > 0.1, "uninformative data: {low}..{high}");
    }
}

pub fn upload<B: Backend>(backend: &B, values: &[f32], n: usize, d: usize) -> B::Rows {
    assert_informative(values);
    let mut next = 0;
    let fill = &mut |start: usize, part: &mut [f32]| {
        assert_eq!(start, next, "fill is called in order");
        part.copy_from_slice(&values[start * d..start * d + part.len()]);
        next = start + part.len() / d.max(1);
        Ok(())
    };
    let uploaded = backend.upload_rows(n, d, fill).expect("upload");
    assert_eq!(backend.shape(&uploaded), (n, d));
    uploaded
}

pub fn download<B: Backend>(backend: &B, rows: &B::Rows) -> Vec<f32> {
    let (n, d) = backend.shape(rows);
    let mut out = vec![f32::NAN; n * d];
    backend.read_rows(rows, 0, &mut out).expect("read");
    out
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

pub fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// `(w, b)` of a codeword in f64.
pub fn scale_bias(codeword: &[f32], metric: Metric) -> (f64, f64) {
    let squared = dot(codeword, codeword);
    match metric {
        Metric::SquaredL2 => (1.0, 0.5 * squared),
        Metric::Cosine if squared > 0.0 => (1.0 / squared.sqrt(), 0.0),
        Metric::Cosine => (0.0, 0.0),
    }
}

/// The scores of one row, and how far a computed one may be off.
pub fn scores(row: &[f32], codewords: &[f32], metric: Metric, eta: f64, u: f64) -> Vec<(f64, f64)> {
    let (d, length) = (row.len(), dot(row, row).sqrt());
    let score = |codeword: &[f32]| {
        let (w, b) = scale_bias(codeword, metric);
        let reach = w * length * dot(codeword, codeword).sqrt();
        // The dot product; its scaling by a rounded w; the rounded b; the subtraction.
        let bound = reach * (eta + 3.0 * u) + 2.0 * u * b.abs() + w * d as f64 * 2f64.powi(-126);
        (b - w * dot(row, codeword), bound)
    };
    codewords.chunks_exact(d).map(score).collect()
}

/// Index of the smallest value, the lowest on a tie.
pub fn argmin(values: impl Iterator<Item = f64>) -> usize {
    values.enumerate().fold((0, f64::INFINITY), |m, (i, v)| if v < m.1 { (i, v) } else { m }).0
}

/// Makes every case a test on each backend: on a GPU with small chunks, checked shaders and poisoned buffers (`gpu`), on one as
/// users get it (`gpu_plain`), both with the feature `gpu` only, and on the CPU (`cpu`).
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        #[cfg(feature = "gpu")]
        mod gpu {
            $(#[test]
            fn $case() {
                if let Some(gpu) = $crate::support::small_chunks() {
                    super::$case(gpu);
                }
            })*
        }
        #[cfg(feature = "gpu")]
        mod gpu_plain {
            $(#[test]
            fn $case() {
                if let Some(gpu) = $crate::support::plain() {
                    super::$case(gpu);
                }
            })*
        }
        mod cpu {
            $(#[test]
            fn $case() {
                super::$case(&sememe::compute::cpu::Cpu::new());
            })*
        }
    };
}

pub(crate) use cases;

#[test]
fn the_comparator_rejects_what_it_must() {
    assert!(is_close(1.0, 1.0, 0.0, 0.0));
    assert!(is_close(1.0 + 1e-9, 1.0, 0.0, 1e-8));
    assert!(!is_close(1.0 + 1e-7, 1.0, 0.0, 1e-8));
    assert!(!is_close(f64::NAN, 1.0, 1e9, 1e9));
    assert!(!is_close(1.0, f64::NAN, 1e9, 1e9));
    assert!(!is_close(f64::NAN, f64::NAN, 1e9, 1e9));
    assert!(!is_close(f64::INFINITY, f64::INFINITY, 1.0, 1.0));
    assert!(!is_close(0.0, 1e-3, 1e-4, 1e-4));
    assert!(differs(&[1.0, 2.0], &[1.0, 2.1], 1e-3, 0.0) && !differs(&[1.0], &[1.0], 0.0, 0.0));
}

#[test]
#[should_panic(expected = "lengths differ")]
fn the_comparator_rejects_other_lengths() {
    assert_close("lengths", &[1.0], &[1.0, 2.0], 1.0, 1.0);
}
