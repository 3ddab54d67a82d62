#!/usr/bin/env python3
"""Figures of the cluster: a scheduler and two executors of one thread each on this machine, beside local processes.

    benches/figures.py fit EMBEDDINGS.npy     training and codes, at several numbers of parts
    benches/figures.py kills EMBEDDINGS.npy   the same while executors are killed, --kills times for fit and for encode
    benches/figures.py large                  --rows x --dims of made-up rows, encoded locally and by the cluster

Needs numpy and pyarrow, the programs of `.ci/cluster build`, and for `fit` the program `sememe` (--sememe). Prints a table in Markdown.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE / "../../../target/cluster/debug"


def two_ports():
    """A port that is free, with the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                pass


def reach(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nobody listens on {port}")


class Cluster:
    def __init__(self, place, memory):
        self.place, self.memory = place, memory
        self.port = two_ports()
        self.scheduler = self.start("sememe-scheduler", "--port", self.port, "--executor-timeout", 6)
        reach(self.port)
        self.executors = [self.executor(), self.executor()]

    def start(self, program, *arguments):
        log = open(self.place / f"{program}-{time.monotonic_ns()}.log", "w")
        return subprocess.Popen([BUILT / program, *map(str, arguments), "--log", "warn"], stdout=log, stderr=log)

    def executor(self):
        port = two_ports()
        work = self.place / f"work-{port}"
        process = self.start("sememe-executor", "--scheduler", f"127.0.0.1:{self.port}", "--port", port, "--threads", 1,
                             "--heartbeat", 2, "--memory", self.memory, "--work-dir", work)
        reach(port)
        return process

    def kill(self, which):
        process = self.executors.pop(which)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.executors.append(self.executor())

    def peaks(self):
        """Peak resident memory of each executor, in MiB."""
        found = []
        for process in self.executors:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            found.append(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024)
        return found

    def url(self):
        return f"df://127.0.0.1:{self.port}"

    def stop(self):
        for process in [*self.executors, self.scheduler]:
            process.kill()
            process.wait()


def program(*arguments):
    return [str(BUILT / "sememe-cluster"), *map(str, arguments), "--json"]


def result(process):
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{process.args}: {err.decode()}")
    return json.loads(out)


def run(*arguments):
    return result(subprocess.Popen(program(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def write_items(folder, rows, first, files):
    """Rows [n, d] as parquet files with a key."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        values = rows[part[0]:part[-1] + 1]
        column = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), rows.shape[1])
        table = pa.table({"item": pa.array(first + part, pa.int64()), "embedding": column})
        pq.write_table(table, folder / f"items-{first:09}-{number:03}.parquet", row_group_size=1 << 16,
                       use_dictionary=False, compression="lz4")


def codes(folder, key="item"):
    """Codes in the order of the keys."""
    table = pq.read_table(folder)
    order = np.argsort(table[key].to_numpy())
    flat = table["codes"].combine_chunks().flatten().to_numpy()
    return flat.reshape(len(order), -1)[order]


def fit_flags(options):
    return ["--levels", 3, "--codebook-size", 256, "--seed", options.seed, "--iterations", options.iterations]


def fit(options, place):
    rows = np.load(options.embeddings)
    write_items(place / "items", rows, 0, 8)
    np.save(place / "rows.npy", rows)
    local = place / "local.safetensors"
    begun = time.monotonic()
    subprocess.run([options.sememe, "train", place / "rows.npy", "-o", local, *map(str, fit_flags(options)), "--quiet", "--device", "cpu"], check=True)
    alone = time.monotonic() - begun
    cluster = Cluster(place, "4GiB")
    hashes, lines = set(), []
    for parts in [1, 3, 8]:
        codec = place / f"codec-{parts}.safetensors"
        report = run("fit", place / "items", "-o", codec, *fit_flags(options), "--partitions", parts, "--scheduler", cluster.url())
        hashes.add(report["codec"])
        lines.append(f"| fit, {parts} parts | {report['seconds']:.1f} s, {report['rounds']} passes, "
                     f"{report['answer_bytes'] / 1e6:.1f} MB of answers |")
    figures = {}
    for name, codec in [("cluster", codec), ("local", local)]:
        figures[name] = run("evaluate", place / "items", "--codec", codec)["levels"][-1]["r2"]
    run("encode", place / "items", "--codec", codec, "--key", "item", "-o", place / "out", "--scheduler", cluster.url(), "--partitions", 8)
    subprocess.run([options.sememe, "encode", codec, place / "rows.npy", "-o", place / "codes.npy", "--quiet"], check=True)
    different = int((codes(place / "out") != np.load(place / "codes.npy")).any(axis=1).sum())
    print(f"| rows | {rows.shape[0]} x {rows.shape[1]}, 3 x 256, {options.iterations} iterations |\n|---|---|")
    print("\n".join(lines))
    print(f"| fit by `sememe train`, one process | {alone:.1f} s |")
    print(f"| different bytes at 1, 3 and 8 parts | {len(hashes) - 1} |")
    print(f"| R² of the cluster's codec, and of the local one | {figures['cluster']:.4f}, {figures['local']:.4f} |")
    print(f"| rows whose codes differ from the program's | {different} |")
    cluster.stop()


def kills(options, place):
    rows = np.load(options.embeddings)
    write_items(place / "items", rows, 0, 8)
    cluster = Cluster(place, "4GiB")
    codec, out = place / "codec.safetensors", place / "out"
    train = ["fit", place / "items", "-o", codec, *fit_flags(options), "--partitions", 8, "--scheduler", cluster.url()]
    begun = time.monotonic()
    want = run(*train)["codec"]
    seconds = time.monotonic() - begun
    chance = random.Random(options.seed)
    took, different = [], 0
    for _ in range(options.kills):
        begun = time.monotonic()
        process = subprocess.Popen(program(*train), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(seconds * chance.uniform(0.05, 0.95))
        cluster.kill(chance.randrange(2))
        different += result(process)["codec"] != want
        took.append(time.monotonic() - begun)
    print(f"| fit, {options.kills} executors killed at random moments, one in each run | {different} other codecs; "
          f"{seconds:.0f} s without, {min(took):.0f} to {max(took):.0f} s with |")
    many = place / "many"
    for copy in range(options.copies):
        write_items(many, rows, copy * len(rows), 4)
    encode = ["encode", many, "--codec", codec, "--key", "item", "-o", out, "--partitions", 16, "--scheduler", cluster.url()]
    begun = time.monotonic()
    run(*encode)
    seconds = time.monotonic() - begun
    want, took, different = codes(out), [], 0
    for _ in range(options.kills):
        begun = time.monotonic()
        process = subprocess.Popen(program(*encode), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(seconds * chance.uniform(0.05, 0.95))
        cluster.kill(chance.randrange(2))
        result(process)
        took.append(time.monotonic() - begun)
        found = codes(out)
        different += found.shape != want.shape or not np.array_equal(found, want)
    print(f"| encode of {len(want)} rows, {options.kills} executors killed the same way | {different} other results; "
          f"{seconds:.0f} s without, {min(took):.0f} to {max(took):.0f} s with |")
    cluster.stop()


def large(options, place):
    items, chance = place / "items", np.random.default_rng(options.seed)
    centres = chance.standard_normal((4096, options.dims), np.float32)
    step = 500_000
    for first in range(0, options.rows, step):
        count = min(step, options.rows - first)
        if first == 0:
            rows = centres[chance.integers(0, len(centres), count)]
            rows += 0.3 * chance.standard_normal(rows.shape, np.float32)
            np.save(place / "sample.npy", rows[:100_000])
        # Every file has these rows, turned by a value: drawing them anew would take longer than encoding them.
        rows = np.roll(rows, 1, axis=1)
        write_items(items, rows[:count], first, 1)
    codec = place / "codec.safetensors"
    subprocess.run([options.sememe, "train", place / "sample.npy", "-o", codec, *map(str, fit_flags(options)), "--quiet", "--device", "cpu"], check=True)
    files = sorted(items.iterdir())
    halves = [files[0::2], files[1::2]]
    size = sum(file.stat().st_size for file in files)
    rates = {"local": [], "cluster": []}
    for repeat in range(options.repeat):
        begun = time.monotonic()
        both = [subprocess.Popen(program("encode", *half, "--codec", codec, "--key", "item", "-o", place / f"out-{i}", "--threads", 1),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) for i, half in enumerate(halves)]
        reports = [result(process) for process in both]
        rates["local"].append(sum(report["rows_per_second"] for report in reports))
        assert sum(report["rows"] for report in reports) == options.rows
        cluster = Cluster(place, "4GiB")
        report = run("encode", items, "--codec", codec, "--key", "item", "-o", place / "out", "--scheduler", cluster.url(),
                     "--partitions", options.partitions)
        assert report["rows"] == options.rows
        rates["cluster"].append(report["rows_per_second"])
        peaks = cluster.peaks()
        cluster.stop()
        print(f"local {rates['local'][-1]:.0f} rows/s, cluster {rates['cluster'][-1]:.0f} rows/s, executors {peaks} MiB", file=sys.stderr)
    # Whole: every item once, with the codes that the local processes gave it.
    whole = codes(place / "out")
    parts = np.concatenate([codes(place / f"out-{i}") for i in range(2)])
    keys = np.concatenate([np.sort(pq.read_table(place / f"out-{i}")["item"].to_numpy()) for i in range(2)])
    assert np.array_equal(np.sort(keys), np.arange(options.rows))
    different = int((whole != parts[np.argsort(keys)]).any(axis=1).sum())
    best = {name: max(values) for name, values in rates.items()}
    print(f"| rows | {options.rows} x {options.dims} f32, {size / 1e9:.2f} GB of parquet, codec 3 x 256 |\n|---|---|")
    print(f"| two local processes of one thread, sum | {best['local']:.0f} rows/s |")
    print(f"| cluster, two executors of one thread | {best['cluster']:.0f} rows/s, {best['cluster'] / best['local']:.2f} of the sum |")
    print(f"| peak memory of the executors | {peaks[0]} and {peaks[1]} MiB |")
    print(f"| rows whose codes differ | {different} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fit", "kills", "large"])
    parser.add_argument("embeddings", nargs="?")
    parser.add_argument("--sememe", default=str(HERE / "../../../target/release/sememe"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=25)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--copies", type=int, default=16)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--place", help="folder to work in, removed afterwards")
    options = parser.parse_args()
    place = pathlib.Path(tempfile.mkdtemp(dir=options.place))
    try:
        {"fit": fit, "kills": kills, "large": large}[options.what](options, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


main()
