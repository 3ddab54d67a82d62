"""Sememe beside faiss and scikit-learn on the same rows, in one run; prints a Markdown table.

    python -m venv .venv && .venv/bin/pip install -r benches/peers/requirements.txt
    cargo build --release && .venv/bin/python benches/peers/compare.py DATA.npy [DATA.npy ...]

Every peer runs in a process of its own, in turn, `--rounds` times; times are medians, ratios are taken round by round, and
the table says how far they spread. All rows train, from f32 in memory, 3 x 256, 25 iterations, no early stop, two threads
by default. scikit-learn runs once a file: it takes minutes. `--process` adds what only a whole process shows: peak memory
of `sememe train`, wall time of encoding 1,000 rows, and, with `--stream-gb N`, memory of encoding an N GB file.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def quality(rows, codes, approximation):
    import numpy as np

    unique = len(np.unique(codes, axis=0))
    perplexity = []
    for level in range(codes.shape[1]):
        share = np.bincount(codes[:, level]) / len(codes)
        share = share[share > 0]
        perplexity.append(float(np.exp(-(share * np.log(share)).sum())))
    error = float(((rows - approximation).astype(np.float64) ** 2).sum())
    spread = float(((rows - rows.mean(0, dtype=np.float64)) ** 2).sum())
    return {"r2": 1 - error / spread, "collision_rate": 1 - unique / len(codes), "perplexity": perplexity}


def peer(name, path, threads, iterations):
    """One peer in this process; prints its JSON line."""
    import numpy as np

    rows = np.ascontiguousarray(np.load(path), dtype=np.float32)
    levels, size = 3, 256
    if name == "faiss":
        import faiss

        faiss.omp_set_num_threads(threads)

        def fit(left, level):
            # Without max_points_per_centroid faiss trains on 256 points a centroid and does not say so.
            means = faiss.Kmeans(left.shape[1], size, niter=iterations, seed=1234 + level, max_points_per_centroid=10**9)
            means.train(left)
            return means.centroids.copy()

        def assign(left, book):
            index = faiss.IndexFlatL2(left.shape[1])
            index.add(book)
            return index.search(left, 1)[1][:, 0]
    else:
        from sklearn.cluster import KMeans
        from sklearn.metrics import pairwise_distances_argmin

        def fit(left, level):
            model = KMeans(size, n_init=1, max_iter=iterations, tol=0, random_state=level).fit(left)
            return model.cluster_centers_

        def assign(left, book):
            return pairwise_distances_argmin(left, book)

    left, books = rows.copy(), []
    begun = time.perf_counter()
    for level in range(levels):
        book = fit(left, level)
        books.append(book)
        left = left - book[assign(left, book)]
    train_s = time.perf_counter() - begun
    left, codes = rows.copy(), np.zeros((len(rows), levels), np.int64)
    begun = time.perf_counter()
    for level, book in enumerate(books):
        codes[:, level] = assign(left, book)
        left = left - book[codes[:, level]]
    encode_s = time.perf_counter() - begun
    approximation = sum(book[codes[:, level]] for level, book in enumerate(books))
    line = {"peer": name, "train_s": train_s, "encode_s": encode_s, **quality(rows, codes, approximation)}
    print(json.dumps(line), flush=True)


def child(command, environment):
    """Runs a command; returns its last line as JSON where it is JSON, its wall seconds and its peak memory in MiB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    if status != 0:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr.read()}")
    lines = output.strip().splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        result = {}
    return result, wall, usage.ru_maxrss / 1024


def compare(path, arguments, environment):
    own = [sys.executable, os.path.abspath(__file__), "--peer"]
    sizes = ["--threads", str(arguments.threads), "--iterations", str(arguments.iterations)]
    sememe = ["cargo", "bench", "-q", "--bench", "peers", "--", os.path.abspath(path)]
    sememe += ["--iterations", str(arguments.iterations)]
    runs = {"faiss": [], "sememe": [], "sememe, refined": [], "sklearn": []}
    for _ in range(arguments.rounds):
        runs["faiss"].append(child(own + ["faiss", path, *sizes], environment)[0])
        runs["sememe"].append(child(sememe, environment)[0])
    runs["sememe, refined"].append(child(sememe + ["--refine", arguments.refine], environment)[0])
    if not arguments.no_sklearn:
        runs["sklearn"].append(child(own + ["sklearn", path, *sizes], environment)[0])
    print(f"\n### {os.path.basename(os.path.dirname(path)) or path}: {os.path.basename(path)}\n")
    print("| system | train s | / faiss | encode s | / faiss | R² | collision rate | perplexity |")
    print("|---|---|---|---|---|---|---|---|")
    for name, lines in runs.items():
        if not lines:
            continue
        cells = [name]
        for key, digits in (("train_s", 2), ("encode_s", 3)):
            values = [line[key] for line in lines]
            ratios = [line[key] / base[key] for line, base in zip(lines, runs["faiss"])]
            spread = f" ({min(values):.{digits}f}–{max(values):.{digits}f})" if len(values) > 1 else ""
            cells.append(f"{statistics.median(values):.{digits}f}{spread}")
            cells.append("1" if name == "faiss" else f"{statistics.median(ratios):.2f}")
        last = lines[-1]
        cells += [f"{last['r2']:.4f}", f"{last['collision_rate']:.3f}"]
        cells.append("/".join(f"{value:.0f}" for value in last["perplexity"]))
        print("| " + " | ".join(cells) + " |")
    shares = [line["rechecked"] for line in runs["sememe"]]
    print(f"\nRows decided by the f64 reference: {100 * max(shares):.2f} %")


def whole_process(path, arguments, environment):
    import numpy as np

    binary = os.path.join(ROOT, "target", "release", "sememe")
    binary = os.path.join(os.environ["CARGO_TARGET_DIR"], "release", "sememe") if "CARGO_TARGET_DIR" in os.environ else binary
    with tempfile.TemporaryDirectory() as folder:
        rows = np.ascontiguousarray(np.load(path), dtype=np.float32)
        full, few = os.path.join(folder, "rows.npy"), os.path.join(folder, "few.npy")
        np.save(full, rows)
        np.save(few, rows[:1000])
        codec, codes = os.path.join(folder, "codec.safetensors"), os.path.join(folder, "codes.npy")
        train = [binary, "train", full, "-o", codec, "--device", "cpu", "--threads", str(arguments.threads), "--tolerance", "0"]
        _, wall, peak = child(train, environment)
        print(f"\n`sememe train` on {rows.nbytes / 2**20:.0f} MiB of f32: {wall:.2f} s, peak memory {peak:.0f} MiB", end="")
        print(f" ({(peak - 64) * 2**20 / rows.nbytes:.2f} x input + 64 MiB)")
        times = []
        for _ in range(9):
            times.append(child([binary, "encode", codec, few, "-o", codes, "--device", "cpu"], environment)[1])
        print(f"`sememe encode` of 1,000 rows, whole process: {1e3 * statistics.median(times):.0f} ms", end="")
        print(f" ({1e3 * min(times):.0f}–{1e3 * max(times):.0f})")
        if arguments.stream_gb:
            large = os.path.join(folder, "large.npy")
            copies = -(-arguments.stream_gb * 10**9 // rows.nbytes)
            with open(large, "wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (copies * len(rows), rows.shape[1])}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(copies):
                    file.write(rows.tobytes())
            _, wall, peak = child([binary, "encode", codec, large, "-o", codes, "--device", "cpu"], environment)
            count = copies * len(rows)
            print(f"`sememe encode` of {os.path.getsize(large) / 1e9:.1f} GB: {wall:.1f} s, {count / wall:,.0f} rows/s,", end="")
            print(f" peak memory {peak:.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--peer", nargs=2, metavar=("NAME", "DATA"), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--refine", default="5,8", metavar="ROUNDS,BEAM")
    parser.add_argument("--no-sklearn", action="store_true")
    parser.add_argument("--process", action="store_true")
    parser.add_argument("--stream-gb", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(*arguments.peer, arguments.threads, arguments.iterations)
    if not arguments.data:
        parser.error("give at least one .npy file of embeddings")
    threads = str(arguments.threads)
    environment = dict(os.environ, OMP_NUM_THREADS=threads, RAYON_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads)
    subprocess.run(["cargo", "bench", "-q", "--bench", "peers", "--no-run"], check=True, cwd=ROOT)
    os.chdir(ROOT)
    for path in arguments.data:
        compare(path, arguments, environment)
        if arguments.process:
            whole_process(path, arguments, environment)


if __name__ == "__main__":
    main()
