//! The farthest rows of a pass, the same however rows are divided.

/// The rows that are farthest from their codewords, no two alike: largest first, then in the order of their bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FarRows {
    /// How many are kept.
    pub most: usize,
    /// Squared L2 of each, and what the level saw of it.
    pub rows: Vec<(f64, Vec<f32>)>,
}

fn far_order(a: &(f64, Vec<f32>), b: &(f64, Vec<f32>)) -> std::cmp::Ordering {
    let bits = |row: &[f32]| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    b.0.total_cmp(&a.0).then_with(|| bits(&a.1).cmp(&bits(&b.1)))
}

impl FarRows {
    /// None yet; of `most`.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self { most, rows: Vec::new() }
    }

    /// Looks at a row with this squared L2.
    pub fn offer(&mut self, error: f64, row: &[f64]) {
        if self.most == 0
            || error == 0.0
            || (self.rows.len() == self.most && self.rows.last().is_some_and(|l| error < l.0))
        {
            return;
        }
        self.insert((error, row.iter().map(|v| *v as f32).collect()));
    }

    fn insert(&mut self, entry: (f64, Vec<f32>)) {
        if let Err(at) = self.rows.binary_search_by(|have| far_order(have, &entry)) {
            self.rows.insert(at, entry);
            self.rows.truncate(self.most);
        }
    }

    /// Takes others in.
    pub fn merge(&mut self, other: &Self) {
        for entry in &other.rows {
            self.insert(entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_rows_are_the_same_however_they_come() {
        let rows: Vec<(f64, Vec<f64>)> = (0..40).map(|i| (f64::from(i % 13), vec![f64::from(i % 20), 1.0])).collect();
        let mut whole = FarRows::of(6);
        rows.iter().for_each(|(e, r)| whole.offer(*e, r));
        let (mut left, mut right) = (FarRows::of(6), FarRows::of(6));
        rows.iter()
            .rev()
            .enumerate()
            .for_each(|(i, (e, r))| if i % 3 == 0 { left.offer(*e, r) } else { right.offer(*e, r) });
        left.merge(&right);
        assert_eq!(left, whole);
        assert_eq!(whole.rows.len(), 6);
        assert!(whole.rows.windows(2).all(|w| w[0] != w[1] && w[0].0 >= w[1].0));
    }
}
