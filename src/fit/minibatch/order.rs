//! The order in which an epoch visits a source's rows.

use crate::data::RowSource;
use crate::error::Result;
use crate::rng::stream;

/// Rows that stay together when an epoch's order is drawn: long enough for a disk, short enough to mix.
const RUN: usize = 64;

/// Start rows of an epoch's runs, shuffled.
pub fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).step_by(RUN).collect();
    stream(seed, "minibatch.order", epoch).shuffle(&mut order);
    // The short last run goes last, so that a position in the epoch tells its run by division.
    if !n.is_multiple_of(RUN)
        && let Some(at) = order.iter().position(|start| start + RUN > n)
    {
        let short = order.remove(at);
        order.push(short);
    }
    order
}

/// Reads rows `start..` of an epoch in its order.
pub fn read_runs(source: &dyn RowSource, order: &[usize], start: usize, out: &mut [f32]) -> Result<()> {
    let d = source.dims();
    let (mut at, end) = (start, start + out.len() / d);
    while at < end {
        let (run, inside) = (order[at / RUN], at % RUN);
        let count = (RUN - inside).min(end - at);
        source.read_rows(run + inside, &mut out[(at - start) * d..(at - start + count) * d])?;
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Matrix;

    #[test]
    fn an_epoch_visits_every_row_once() {
        for n in [1, 63, 64, 65, 1000] {
            let rows = Matrix::from_vec(n, 1, (0..n).map(|i| i as f32).collect()).unwrap();
            let order = epoch_order(3, 1, n);
            let mut seen = Vec::new();
            for start in (0..n).step_by(100) {
                let mut part = vec![0.0; 100.min(n - start)];
                read_runs(&rows, &order, start, &mut part).unwrap();
                seen.extend(part);
            }
            seen.sort_by(f32::total_cmp);
            assert_eq!(seen, rows.as_slice(), "n = {n}");
        }
    }
}
