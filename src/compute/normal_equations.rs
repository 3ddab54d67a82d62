//! Least squares by its normal equations, on the host in f64.

use crate::error::{Error, Result};
use faer::linalg::solvers::Solve;

/// X `[n, m]` of A·X = B, for a symmetric positive definite A `[n, n]` and B `[n, m]`, by its Cholesky factor. O(n³ + n²·m).
///
/// # Errors
/// [`Error::Data`] where A is not positive definite: `what` says whose problem it is.
pub fn solve_normal_equations(a: &[f64], b: &[f64], n: usize, m: usize, what: &str) -> Result<Vec<f64>> {
    let matrix = faer::Mat::from_fn(n, n, |i, j| a[i * n + j]);
    let right = faer::Mat::from_fn(n, m, |i, c| b[i * m + c]);
    let factor = matrix
        .llt(faer::Side::Lower)
        .map_err(|e| Error::Data(format!("the least-squares problem of {what} is singular: {e:?}")))?;
    let solution = factor.solve(&right);
    let mut out = Vec::with_capacity(n * m);
    for i in 0..n {
        out.extend((0..m).map(|c| solution[(i, c)]));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solution_fits_and_singular_problems_are_refused() {
        let (a, x) = ([4.0, 1.0, 1.0, 3.0], [1.0, -2.0, 0.5, 5.0]);
        let b = [4.0 + 0.5, -8.0 + 5.0, 1.0 + 1.5, -2.0 + 15.0];
        let got = solve_normal_equations(&a, &b, 2, 2, "a test").expect("solved");
        assert!(got.iter().zip(x).all(|(g, w)| (g - w).abs() < 1e-12), "{got:?}");
        let error = solve_normal_equations(&[1.0, 1.0, 1.0, 1.0], &[1.0, 1.0], 2, 1, "two twins").expect_err("refused");
        assert!(error.to_string().contains("two twins"), "{error}");
    }
}
