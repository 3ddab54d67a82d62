//! The one call of the tuned GEMM, behind checks that make it safe.

/// One operand of a product as pointer arithmetic sees it: lanes are rows of the left operand or columns of the right one, each
/// of as many terms as a sum has.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The matrix.
    pub values: &'a [f32],
    /// From one lane to the next.
    pub lane: usize,
    /// From one term to the next.
    pub term: usize,
}

impl<'a> Operand<'a> {
    /// `[lanes, terms]`: the terms of a lane lie side by side.
    pub fn by_lane(values: &'a [f32], terms: usize) -> Self {
        Self { values, lane: terms, term: 1 }
    }

    /// `[terms, lanes]`: the lanes of a term lie side by side.
    pub fn by_term(values: &'a [f32], lanes: usize) -> Self {
        Self { values, lane: 1, term: lanes }
    }

    /// The operand from lane `first` on.
    pub fn skip(self, first: usize) -> Self {
        Self { values: &self.values[first.saturating_mul(self.lane).min(self.values.len())..], ..self }
    }

    /// Whether the last term of the last of `lanes` lies inside the values.
    pub fn holds(&self, lanes: usize, terms: usize) -> bool {
        let last = || {
            let lane = lanes.checked_sub(1)?.checked_mul(self.lane)?;
            lane.checked_add(terms.checked_sub(1)?.checked_mul(self.term)?)
        };
        last().is_some_and(|last| last < self.values.len())
    }
}

/// `out [m, n] = alpha·a·b (+ out)` for `m` lanes of `a`, `n` lanes of `b` and `k` terms, on this thread.
///
/// # Panics
/// If a size is 0, or an operand or `out` holds too few values.
pub fn gemm(
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    accumulate: bool,
    a: Operand<'_>,
    b: Operand<'_>,
    out: &mut [f32],
) {
    assert!(m.checked_mul(n).is_some_and(|len| len > 0 && len <= out.len()), "{m} × {n} values in {}", out.len());
    assert!(a.holds(m, k), "{m} lanes of {k} terms, {} and {} apart, in {}", a.lane, a.term, a.values.len());
    assert!(b.holds(n, k), "{n} lanes of {k} terms, {} and {} apart, in {}", b.lane, b.term, b.values.len());
    // SAFETY: the assertions place the last element of each operand and of the result inside its slice, and strides are not
    // negative, so every address that the call forms is inside.
    unsafe { call((m, n, k), alpha, accumulate, a, b, out.as_mut_ptr()) }
}

#[cfg(not(miri))]
unsafe fn call(
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    accumulate: bool,
    a: Operand<'_>,
    b: Operand<'_>,
    out: *mut f32,
) {
    // A slice holds at most isize::MAX bytes, so strides that lead to its elements fit; others are never taken.
    let stride = |step: usize| isize::try_from(step).unwrap_or(0);
    // SAFETY: as the caller promises.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride(n),
            accumulate,
            a.values.as_ptr(),
            stride(a.term),
            stride(a.lane),
            b.values.as_ptr(),
            stride(b.lane),
            stride(b.term),
            1.0,
            alpha,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}

/// The same addresses by plain loops: Miri runs no vector instructions, and so checks what is handed to the call.
#[cfg(miri)]
unsafe fn call(
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    accumulate: bool,
    a: Operand<'_>,
    b: Operand<'_>,
    out: *mut f32,
) {
    for i in 0..m {
        for j in 0..n {
            // SAFETY: as the caller promises.
            unsafe {
                let (x, y) = (a.values.as_ptr().add(i * a.lane), b.values.as_ptr().add(j * b.lane));
                let sum: f32 = (0..k).map(|t| *x.add(t * a.term) * *y.add(t * b.term)).sum();
                let target = out.add(i * n + j);
                *target = alpha * sum + if accumulate { *target } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_know_what_they_hold() {
        let values = [0.0f32; 12];
        assert!(Operand::by_lane(&values, 4).holds(3, 4) && !Operand::by_lane(&values, 4).holds(4, 4));
        assert!(Operand::by_term(&values, 3).holds(3, 4) && !Operand::by_term(&values, 3).holds(3, 5));
        assert!(!Operand::by_lane(&values, 4).holds(0, 4) && !Operand::by_lane(&values, 4).holds(3, 0));
        assert!(Operand::by_lane(&values, 4).skip(2).holds(1, 4) && !Operand::by_lane(&values, 4).skip(2).holds(2, 4));
        // Products of strides that leave the number's range are not inside.
        let wide = Operand { values: &values, lane: usize::MAX / 2 + 1, term: 2 };
        assert!(!wide.holds(3, 1) && !wide.holds(2, usize::MAX) && wide.skip(2).values.is_empty());
    }

    #[test]
    #[should_panic(expected = "3 lanes of 5 terms")]
    fn short_operands_are_refused() {
        let (values, mut out) = ([1.0f32; 14], [0.0f32; 3]);
        gemm((3, 1, 5), 1.0, false, Operand::by_lane(&values, 5), Operand::by_lane(&values, 5), &mut out);
    }

    #[test]
    fn every_arrangement_of_operands() {
        let mut random = crate::rng::stream(3, "gemm", 0);
        for (m, n, k) in [(1, 1, 1), (1, 7, 3), (5, 1, 17), (9, 8, 1), (3, 10, 33)] {
            let mut draw = |len: usize| (0..len).map(|_| random.normal() as f32).collect::<Vec<_>>();
            let (a, b, old) = (draw(m * k), draw(n * k), draw(m * n));
            for left in [Operand::by_lane(&a, k), Operand::by_term(&a, m)] {
                for right in [Operand::by_lane(&b, k), Operand::by_term(&b, n)] {
                    for accumulate in [false, true] {
                        let mut out = old.clone();
                        gemm((m, n, k), -0.5, accumulate, left, right, &mut out);
                        for (at, found) in out.iter().enumerate() {
                            let (i, j) = (at / n, at % n);
                            let term = |t: usize| {
                                f64::from(a[i * left.lane + t * left.term])
                                    * f64::from(b[j * right.lane + t * right.term])
                            };
                            let kept = if accumulate { f64::from(old[at]) } else { 0.0 };
                            let want = kept - 0.5 * (0..k).map(term).sum::<f64>();
                            assert!((f64::from(*found) - want).abs() < 1e-5, "{m}×{n}×{k} at {i},{j}: {found}, {want}");
                        }
                    }
                }
            }
        }
    }
}
