//! Every mended bug leaves a test here.

use crate::codec::clustered;
use sememe::{Codec, Device, RqKMeans};

fn iterations(config: &RqKMeans) -> Vec<(usize, f64)> {
    let rows = clustered(3000, 24, 200, 31);
    let codec = Codec::train(&rows, config, &Device::cpu(), &()).unwrap();
    codec.manifest().training.levels.iter().map(|l| (l.iterations, l.r2)).collect()
}

/// The first iteration has nothing to compare with; "infinity less something is within the tolerance" once ended every level.
#[test]
fn the_first_iteration_never_converges() {
    let config = RqKMeans { codebook_sizes: vec![32], exchange: false, tolerance: 1e-5, ..RqKMeans::default() };
    assert!(iterations(&config)[0].0 > 2);
}

/// An exchange lets the next objective rise, which once counted as convergence after four iterations and cost .02 of R².
#[test]
fn an_exchange_does_not_end_a_level() {
    let base = RqKMeans { codebook_sizes: vec![64, 64], ..RqKMeans::default() };
    let tolerant = iterations(&RqKMeans { tolerance: 1e-5, ..base.clone() });
    let exact = iterations(&RqKMeans { tolerance: 0.0, ..base });
    for (a, b) in tolerant.iter().zip(&exact) {
        assert!(a.0 > 9 && a.1 > b.1 - 0.002, "{tolerant:?} against {exact:?}");
    }
}
