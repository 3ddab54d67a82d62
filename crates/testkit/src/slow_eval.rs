//! The measures again, in plain f64 loops over dense tables that share nothing with the library's.

use std::collections::{HashMap, HashSet};

/// Length of the common prefix.
pub fn shared(a: &[u32], b: &[u32]) -> usize {
    (0..a.len()).find(|&l| a[l] != b[l]).unwrap_or(a.len())
}

/// Probability of being among the first k of a ranking by score, ties in random order; `scores[skip]` does not take part.
fn chance_of_top(scores: &[Option<f64>], k: usize) -> Vec<f64> {
    let place = |s: f64| {
        let better = scores.iter().flatten().filter(|&&o| o > s).count() as f64;
        let tied = scores.iter().flatten().filter(|&&o| o == s).count() as f64;
        ((k as f64 - better) / tied).clamp(0.0, 1.0)
    };
    scores.iter().map(|s| s.map_or(0.0, place)).collect()
}

/// Expected gain of each candidate at k: the mean of 1/log2(place + 1) over the places that it may take.
fn gain_at(scores: &[Option<f64>], k: usize) -> Vec<f64> {
    let gain = |s: f64| {
        let better = scores.iter().flatten().filter(|&&o| o > s).count();
        let tied = scores.iter().flatten().filter(|&&o| o == s).count();
        (1..=tied).map(|i| better + i).filter(|&p| p <= k).map(|p| 1.0 / (p as f64 + 1.0).log2()).sum::<f64>()
            / tied as f64
    };
    scores.iter().map(|s| s.map_or(0.0, gain)).collect()
}

/// (recall, NDCG, items) of neighbours by users.
pub fn co_interaction(codes: &[Vec<u32>], lists: &[Vec<u32>], k: usize, support: usize) -> (f64, f64, usize) {
    let users: Vec<HashSet<usize>> = (0..codes.len())
        .map(|item| lists.iter().enumerate().filter(|(_, l)| l.contains(&(item as u32))).map(|(u, _)| u).collect())
        .collect();
    let (mut recall, mut ndcg, mut items) = (0.0, 0.0, 0);
    for a in 0..codes.len() {
        let near: Vec<Option<f64>> = (0..codes.len())
            .map(|b| {
                let common = users[a].intersection(&users[b]).count();
                let jaccard = common as f64 / users[a].union(&users[b]).count() as f64;
                (a != b && common >= support).then_some(jaccard)
            })
            .collect();
        let found = near.iter().flatten().count().min(k);
        if found == 0 {
            continue;
        }
        items += 1;
        let by_code: Vec<Option<f64>> =
            (0..codes.len()).map(|b| (a != b).then(|| shared(&codes[a], &codes[b]) as f64)).collect();
        let (relevant, top, gain) = (chance_of_top(&near, k), chance_of_top(&by_code, k), gain_at(&by_code, k));
        recall += relevant.iter().zip(&top).map(|(r, t)| r * t).sum::<f64>() / found as f64;
        let ideal: f64 = (1..=found).map(|p| 1.0 / (p as f64 + 1.0).log2()).sum();
        ndcg += relevant.iter().zip(&gain).map(|(r, g)| r * g).sum::<f64>() / ideal;
    }
    (recall / items as f64, ndcg / items as f64, items)
}

/// (share, by chance) of consecutive items that share `depth` codes.
pub fn next_prefix(codes: &[Vec<u32>], lists: &[Vec<u32>], depth: usize) -> (f64, f64) {
    let pairs: Vec<(usize, usize)> =
        lists.iter().flat_map(|l| l.windows(2).map(|w| (w[0] as usize, w[1] as usize))).collect();
    let same = |a: usize, b: usize| codes[a][..depth] == codes[b][..depth];
    let real: Vec<_> = pairs.iter().filter(|(a, b)| a != b).collect();
    let share = real.iter().filter(|(a, b)| same(*a, *b)).count() as f64 / real.len() as f64;
    let (mut all, mut hit) = (0usize, 0usize);
    for (a, _) in &pairs {
        for (_, b) in &pairs {
            if a != b {
                all += 1;
                hit += usize::from(same(*a, *b));
            }
        }
    }
    (share, hit as f64 / all as f64)
}

/// `[R@5, R@10, N@5, N@10]` of a score for each (history, candidate), over users whose last item is new to them.
pub fn next_item(items: usize, lists: &[Vec<u32>], score: impl Fn(&[u32], usize) -> f64) -> ([f64; 4], usize) {
    let (mut sums, mut users) = ([0.0; 4], 0);
    for list in lists {
        let Some((last, history)) = list.split_last() else { continue };
        if history.is_empty() || history.contains(last) {
            continue;
        }
        users += 1;
        let scores: Vec<Option<f64>> =
            (0..items).map(|c| (!history.contains(&(c as u32))).then(|| score(history, c))).collect();
        let target = *last as usize;
        for (at, k) in [5, 10].into_iter().enumerate() {
            sums[at] += chance_of_top(&scores, k)[target];
            sums[at + 2] += gain_at(&scores, k)[target];
        }
    }
    (sums.map(|s| s / users as f64), users)
}

/// (purity, NMI) of groups and labels.
pub fn agreement(groups: &[Vec<u32>], labels: &[&str]) -> (f64, f64) {
    let n = groups.len() as f64;
    let mut joint: HashMap<(&[u32], &str), f64> = HashMap::new();
    let (mut a, mut b): (HashMap<&[u32], f64>, HashMap<&str, f64>) = Default::default();
    for (group, label) in groups.iter().zip(labels) {
        *joint.entry((group, label)).or_default() += 1.0 / n;
        *a.entry(group).or_default() += 1.0 / n;
        *b.entry(label).or_default() += 1.0 / n;
    }
    let purity = a.keys().map(|g| b.keys().filter_map(|l| joint.get(&(*g, *l))).fold(0.0, |m, &p| p.max(m))).sum();
    let information: f64 = joint.iter().map(|((g, l), p)| p * (p / (a[g] * b[l])).ln()).sum();
    let entropy = |shares: Vec<f64>| -> f64 { shares.iter().map(|p| -p * p.ln()).sum() };
    let both = entropy(a.values().copied().collect()) + entropy(b.values().copied().collect());
    (purity, 2.0 * information / both)
}

/// (changed, kept together, together before) at a depth.
pub fn churn(first: &[Vec<u32>], second: &[Vec<u32>], depth: usize) -> (f64, f64, f64) {
    let changed = first.iter().zip(second).filter(|(a, b)| a[..depth] != b[..depth]).count();
    let (mut in_a, mut in_b, mut in_both) = (0.0, 0.0, 0.0);
    for i in 0..first.len() {
        for j in 0..i {
            let a = first[i][..depth] == first[j][..depth];
            let b = second[i][..depth] == second[j][..depth];
            in_a += f64::from(u8::from(a));
            in_b += f64::from(u8::from(b));
            in_both += f64::from(u8::from(a && b));
        }
    }
    (changed as f64 / first.len() as f64, in_both / in_a, in_both / in_b)
}
