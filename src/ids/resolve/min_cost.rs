//! The cheapest way to put rows on columns of limited room: successive shortest paths with potentials.

use std::collections::BTreeSet;

/// The column of each row, such that column j has at most `room[j]` rows and the sum of `cost(i, j)` is the least there is.
///
/// `costs` is `[rows, columns]`, row-major, finite, and `room` holds all rows. Rows are placed one after the other; each takes the
/// shortest augmenting path (Dijkstra over columns on reduced costs), the lowest column winning a tie. O(rows · (rows + columns) ·
/// columns) in the worst case; a row whose cheapest column has room takes O(columns). Source: Jonker and Volgenant, 1987, with
/// columns that hold several rows.
pub(in crate::ids) fn assign(costs: &[f64], room: &[usize]) -> Vec<usize> {
    let columns = room.len();
    let rows = costs.len() / columns.max(1);
    let cost = |row: usize, column: usize| costs[row * columns + column];
    let mut column_price = vec![0.0f64; columns];
    let mut row_price = vec![0.0f64; rows];
    let mut column_of = vec![usize::MAX; rows];
    // In order, so that the paths do not depend on how rows came and went.
    let mut members: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); columns];
    let (mut far, mut from, mut done) = (vec![0.0f64; columns], vec![0usize; columns], vec![false; columns]);
    for new in 0..rows {
        far.fill(f64::INFINITY);
        done.fill(false);
        row_price[new] = (0..columns).map(|j| cost(new, j) - column_price[j]).fold(f64::INFINITY, f64::min);
        let mut reached: Vec<usize> = Vec::new();
        let (mut at, mut here) = (None, 0.0);
        loop {
            // What the rows of the column just reached (or the new row) can take instead.
            let taken = at.into_iter().flat_map(|column: usize| members[column].iter().copied());
            let sources = at.is_none().then_some(new).into_iter().chain(taken);
            for row in sources {
                for j in 0..columns {
                    if !done[j] {
                        let reduced = (cost(row, j) - row_price[row] - column_price[j]).max(0.0);
                        if here + reduced < far[j] {
                            far[j] = here + reduced;
                            from[j] = row;
                        }
                    }
                }
            }
            let mut next: Option<usize> = None;
            for j in 0..columns {
                if !done[j] && room[j] > 0 && far[j] < f64::INFINITY && next.is_none_or(|n| far[j] < far[n]) {
                    next = Some(j);
                }
            }
            // There is room for every row, so a column with some is always found.
            let Some(next) = next else { return column_of };
            done[next] = true;
            here = far[next];
            if members[next].len() < room[next] {
                at = Some(next);
                break;
            }
            reached.push(next);
            at = Some(next);
        }
        // Prices that keep every reduced cost at 0 or more, and at 0 on the pairs.
        row_price[new] += here;
        for j in &reached {
            for row in &members[*j] {
                row_price[*row] += here - far[*j];
            }
            column_price[*j] -= here - far[*j];
        }
        // Back along the path, each row moves to the column that it was reached for.
        let mut column = at.unwrap_or(0);
        loop {
            let row = from[column];
            let before = column_of[row];
            column_of[row] = column;
            members[column].insert(row);
            if before == usize::MAX {
                break;
            }
            members[before].remove(&row);
            column = before;
        }
    }
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// Every way there is.
    fn best(costs: &[f64], room: &mut [usize], row: usize) -> f64 {
        let columns = room.len();
        if row * columns == costs.len() {
            return 0.0;
        }
        let mut least = f64::INFINITY;
        for j in 0..columns {
            if room[j] > 0 {
                room[j] -= 1;
                least = least.min(costs[row * columns + j] + best(costs, room, row + 1));
                room[j] += 1;
            }
        }
        least
    }

    #[test]
    fn small_cases_reach_the_optimum() {
        let mut stream = rng::stream(5, "assign", 0);
        let mut improved = 0;
        for case in 0..600 {
            let columns = 1 + stream.below(5) as usize;
            let mut room: Vec<usize> = (0..columns).map(|_| stream.below(3) as usize).collect();
            let rows = (stream.below(7) as usize).min(room.iter().sum());
            // Whole numbers make ties; in half of the cases.
            let mut value = || if case % 2 == 0 { stream.below(4) as f64 } else { stream.uniform() };
            let costs: Vec<f64> = (0..rows * columns).map(|_| value()).collect();
            let got = assign(&costs, &room);
            assert_eq!(got.len(), rows);
            for (j, room) in room.iter().enumerate() {
                assert!(got.iter().filter(|c| **c == j).count() <= *room);
            }
            let total: f64 = got.iter().enumerate().map(|(i, j)| costs[i * columns + j]).sum();
            let want = best(&costs, &mut room.clone(), 0);
            assert!((total - want).abs() < 1e-9, "{total} {want}");
            // First come, first served would often have paid more.
            let mut greedy = 0.0;
            for i in 0..rows {
                let at = |j: usize| costs[i * columns + j];
                let j = (0..columns).filter(|j| room[*j] > 0).min_by(|a, b| at(*a).total_cmp(&at(*b))).expect("room");
                room[j] -= 1;
                greedy += at(j);
            }
            improved += usize::from(greedy > want + 1e-9);
        }
        assert!(improved > 50, "uninformative: {improved}");
    }
}
