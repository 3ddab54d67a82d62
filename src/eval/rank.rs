//! Recall and NDCG of a rank that other candidates tie with.

/// Expected (recall, NDCG) at `k` of the one right answer, with `better` candidates before it and `tied` on its score, itself among
/// them: each order of the tied is as likely.
pub(super) fn of_one(better: usize, tied: usize, k: usize) -> (f64, f64) {
    let places = tied.min(k.saturating_sub(better));
    let gain: f64 = (better + 1..=better + places).map(discount).sum();
    (places as f64 / tied as f64, gain / tied as f64)
}

/// 1 / log₂(place + 1), places counted from 1.
pub(super) fn discount(place: usize) -> f64 {
    1.0 / libm::log2(place as f64 + 1.0)
}
