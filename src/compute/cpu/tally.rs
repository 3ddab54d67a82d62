//! Twin of `shaders/tally.wgsl`: labels counted, rows sorted by label (a stable counting sort).

use super::Partition;

/// Fills `counts` `[k]`, `starts` `[k + 1]` and `order`; rows with a label of `k` or more are left out. O(n + k).
pub fn tally(partition: &mut Partition, k: usize) {
    let Partition { labels, counts, order, starts, .. } = partition;
    counts.clear();
    counts.resize(k, 0);
    for label in labels.iter() {
        if let Some(count) = counts.get_mut(*label as usize) {
            *count += 1;
        }
    }
    starts.clear();
    starts.push(0);
    let mut total = 0;
    for count in counts.iter() {
        total += count;
        starts.push(total);
    }
    let mut next = starts.clone();
    order.clear();
    order.resize(total as usize, 0);
    for (i, label) in labels.iter().enumerate() {
        if (*label as usize) < k {
            let at = &mut next[*label as usize];
            order[*at as usize] = i as u32;
            *at += 1;
        }
    }
}
