//! Named random streams, all from one seed: the only source of randomness in the crate.
//!
//! A stream's name and index pick it, so adding a draw in one place never shifts another place's draws.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng as _;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(Pcg64);

/// Opens the stream `name`/`index` of `seed`.
#[must_use]
pub fn stream(seed: u64, name: &str, index: u64) -> Stream {
    // FNV-1a over the name, then SplitMix64 to spread: stable across releases and platforms.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes().chain(index.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut state = seed ^ hash.rotate_left(17);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let (a, b) = (next(), next());
    Stream(Pcg64::new(u128::from(a) << 64 | u128::from(b), u128::from(hash) << 64 | u128::from(seed)))
}

impl Stream {
    /// A uniform number in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// 64 even bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform index below `bound`, which is at least 1; unbiased.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an index below 0 does not exist");
        // Lemire's method: the high word of a product, low words below the threshold drawn again.
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Puts values in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// A standard normal number (Box–Muller on two uniforms).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm_ln(1.0 - self.uniform())).sqrt();
        radius * libm_cos(std::f64::consts::TAU * self.uniform())
    }

    /// `count` distinct indices below `bound`, ascending (Floyd's method).
    ///
    /// # Panics
    /// If `count > bound`.
    pub fn sample(&mut self, bound: u64, count: usize) -> Vec<u64> {
        assert!(count as u64 <= bound, "cannot draw {count} distinct indices below {bound}");
        let mut chosen = std::collections::BTreeSet::new();
        for top in bound - count as u64..bound {
            let pick = self.below(top + 1);
            if !chosen.insert(pick) {
                chosen.insert(top);
            }
        }
        chosen.into_iter().collect()
    }
}

// `libm` gives the same bits on every platform; the system's may not.
fn libm_ln(x: f64) -> f64 {
    libm::log(x)
}
fn libm_cos(x: f64) -> f64 {
    libm::cos(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_stable_and_apart() {
        let a: Vec<u64> = (0..4).map(|_| 0).scan(stream(1, "a", 0), |s, _| Some(s.below(1000))).collect();
        let again: Vec<u64> = (0..4).map(|_| 0).scan(stream(1, "a", 0), |s, _| Some(s.below(1000))).collect();
        let other: Vec<u64> = (0..4).map(|_| 0).scan(stream(1, "a", 1), |s, _| Some(s.below(1000))).collect();
        assert_eq!(a, again);
        assert_ne!(a, other);
    }

    #[test]
    fn a_shuffle_keeps_every_value() {
        let mut values: Vec<u32> = (0..100).collect();
        stream(7, "shuffle", 0).shuffle(&mut values);
        assert!(values.windows(2).any(|w| w[0] > w[1]));
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
        stream(7, "shuffle", 0).shuffle::<u32>(&mut []);
    }

    #[test]
    fn samples_are_distinct_sorted_and_complete() {
        let mut s = stream(7, "sample", 0);
        assert_eq!(s.sample(5, 5), vec![0, 1, 2, 3, 4]);
        let drawn = s.sample(1000, 100);
        assert!(drawn.windows(2).all(|w| w[0] < w[1]) && drawn[99] < 1000);
    }

    #[test]
    fn uniform_covers_its_range() {
        let mut s = stream(3, "u", 0);
        let mean = (0..10_000).map(|_| s.uniform()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let var = (0..10_000).map(|_| s.normal().powi(2)).sum::<f64>() / 1e4;
        assert!((var - 1.0).abs() < 0.06, "{var}");
    }
}
