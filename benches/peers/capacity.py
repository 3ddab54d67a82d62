"""Exact capacities beside k-means-constrained (PyPI) on cases that it can solve: inertia of both, with the same bounds.

    pip install numpy k-means-constrained
    cargo build --release && python benches/peers/capacity.py target/release/sememe [EMBEDDINGS.npy]

Both get ten starts; inertia is taken from the assignments, with centroids at the means, in f64. Ours is a process a start, so its time holds
ten starts of the program and files.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from k_means_constrained import KMeansConstrained

STARTS = 10


def inertia(rows, codes, k):
    rows = rows.astype(np.float64)
    return float(sum(((rows[codes == j] - rows[codes == j].mean(0)) ** 2).sum() for j in range(k)))


def ours(program, rows, k, low, high):
    found = []
    with tempfile.TemporaryDirectory() as folder:
        data, codec, codes = (str(Path(folder) / name) for name in ("rows.npy", "codec.safetensors", "codes.npy"))
        np.save(data, rows)
        for seed in range(STARTS):
            subprocess.run(
                [program, "train", data, "-o", codec, "--levels", "1", "--codebook-size", str(k), "--balance", "capacity", "--capacity",
                 f"{low}..{high}", "--assigned", codes, "--seed", str(seed), "--iterations", "300", "--device", "cpu", "--quiet"],
                check=True,
            )
            labels = np.load(codes)[:, 0]
            loads = np.bincount(labels, minlength=k)
            assert loads.min() >= low and loads.max() <= high, loads
            found.append(inertia(rows, labels, k))
    return found


def compare(program, name, rows, k, low, high):
    begun = time.time()
    fitted = KMeansConstrained(n_clusters=k, size_min=low, size_max=high, random_state=0, n_init=STARTS, max_iter=300, n_jobs=1)
    theirs = inertia(rows, fitted.fit_predict(rows.astype(np.float64)), k)
    their_s, begun = time.time() - begun, time.time()
    found = ours(program, rows, k, low, high)
    our_s = time.time() - begun
    best, median = min(found), float(np.median(found))
    print(f"| {name} | {theirs:.2f} | {their_s:.1f} | {best:.2f} ({best / theirs - 1:+.2%}) | {median:.2f} ({median / theirs - 1:+.2%}) | {our_s:.1f} |",
          flush=True)


def main():
    program = sys.argv[1]
    random = np.random.default_rng(0)
    print("| case | k-means-constrained, best of 10 | s | sememe, best of 10 | median of 10 | s |\n|---|---|---|---|---|---|")
    centres = random.normal(size=(6, 8)) * 2
    groups = (centres[random.integers(6, size=300)] + random.normal(size=(300, 8))).astype(np.float32)
    compare(program, "300 × 8 in six groups, 6 clusters of 40 to 60", groups, 6, 40, 60)
    compare(program, "500 × 16 without structure, 10 clusters of 50", random.normal(size=(500, 16)).astype(np.float32), 10, 50, 50)
    if len(sys.argv) > 2:
        rows = np.load(sys.argv[2]).astype(np.float32)
        compare(program, f"1,000 × {rows.shape[1]}, 8 clusters of 125", rows[:1000], 8, 125, 125)
        compare(program, f"2,000 × {rows.shape[1]}, 16 clusters of 100 to 150", rows[:2000], 16, 100, 150)


if __name__ == "__main__":
    main()
