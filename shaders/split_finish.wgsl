// Appended to `assign_split`: merges the four lanes of every row, writes the rows, and sums their best scores.
fn finish(row_tile: u32, lane: u32) {
    let row = row_tile * 64u + lane;
    var score = 0.0;
    if (lane < 64u) {
        var top = Best(LARGEST, LARGEST, 0u);
        for (var i = 0u; i < 4u; i++) {
            let at = (lane * 4u + i) * 3u;
            let b = shown[at];
            let index = u32(shown[at + 2u]);
            // A lane past the last codeword found nothing: LARGEST, which the first lane's codeword wins over.
            let take = b < top.best || (b == top.best && index < top.index);
            top.second = min(max(top.best, b), min(top.second, shown[at + 1u]));
            top.best = select(top.best, b, take);
            top.index = select(top.index, index, take);
        }
        if (row < params.n) {
            labels[row] = top.index;
            best[row] = top.best;
            second[row] = top.second;
            score = top.best;
        }
    }
    if (lane < 64u) {
        shown[768u + lane] = score;
    }
    workgroupBarrier();
    if (lane < 2u) {
        var sum = 0.0;
        for (var i = 0u; i < 32u; i++) {
            sum += shown[768u + lane * 32u + i];
        }
        partials[row_tile * 2u + lane] = sum;
    }
}
