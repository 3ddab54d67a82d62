"""A fit over a cluster beside one on this machine: the same codes everywhere, R², the same bytes however rows are divided, with workers killed.

    python bindings/python/benches/spark_and_ray.py spark --rows ROWS.npy [--kills 10] [--partitions 1,3,7] [--whole 7,4]
    python bindings/python/benches/spark_and_ray.py ray --rows ROWS.npy …

Spark runs as local-cluster[2,1,2048], two executors in processes of their own, Ray with two processors. Without `--rows`, 20,000 made-up rows of
64 values. Prints one line a figure; what must be equal and is not ends the program with 1.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
import clusters

import sememe
from sememe import distributed


def table(rows: np.ndarray) -> Any:
    import pyarrow as pa

    keys = [f"item-{row}" for row in range(len(rows))]
    vectors = pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])), pa.array(rows.reshape(-1)))
    return pa.table({"row": np.arange(len(rows)), "key": keys, "embedding": vectors})


class Spark:
    """Frames are parquet files that are persisted."""

    victims = {"python worker": b"pyspark.daemon", "executor": b"CoarseGrainedExecutorBackend"}

    def __init__(self, place: pathlib.Path) -> None:
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        os.environ["SPARK_WORKER_DIR"], os.environ["SPARK_LOCAL_DIRS"] = str(place / "work"), str(place / "local")
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local-cluster[2,1,2048]")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.executor.memory": "2g",
            "spark.sql.shuffle.partitions": "4",
        }.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("OFF")
        self.place, self.held = place, None
        from sememe import spark

        self.of = spark

    def data(self, made: Any, parts: int) -> Any:
        import pyarrow.parquet as pq

        if self.held is None:
            pq.write_table(made, self.place / "rows.parquet", row_group_size=4096)
        else:
            self.held.unpersist()
        self.held = self.session.read.parquet(str(self.place / "rows.parquet")).repartition(parts).persist()
        self.held.count()
        return self.held

    def column(self, found: Any, name: str) -> np.ndarray:
        made = found.select("row", name).toArrow()
        return np.stack(made[name].to_pylist())[np.argsort(made["row"].to_numpy())]


class Ray:
    """Datasets are blocks in the object store."""

    victims = {"worker": b"ray::"}

    def __init__(self, place: pathlib.Path) -> None:
        # Ray's workers give way to all else, and on a busy machine they stand still.
        os.environ["RAY_worker_niceness"] = "0"
        import ray
        import ray.data

        ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False, object_store_memory=1 << 30)
        ray.data.DataContext.get_current().enable_progress_bars = False
        from sememe import ray as on_ray

        self.of = on_ray

    def data(self, made: Any, parts: int) -> Any:
        import ray.data

        ends = np.linspace(0, len(made), parts + 1).astype(int)
        return ray.data.from_arrow([made.slice(start, end - start).combine_chunks() for start, end in zip(ends, ends[1:], strict=False)])

    def column(self, found: Any, name: str) -> np.ndarray:
        import pyarrow as pa
        import ray

        made = pa.concat_tables(ray.get(found.select_columns(["row", name]).to_arrow_refs()))
        return np.stack(made[name].to_pylist())[np.argsort(made["row"].to_numpy())]


wrong = 0


def same(what: str, differences: int) -> None:
    global wrong
    wrong += differences != 0
    print(f"{what}: {differences} differences", flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began


def kill_at(command: bytes, delay: float, draw: random.Random, done: threading.Event) -> list[str]:
    said: list[str] = []

    def kill() -> None:
        began = time.monotonic()
        time.sleep(delay)
        while not done.is_set():
            # A daemon that forks workers goes with them; an executor starts another.
            # Without its agents a machine leaves Ray's cluster, and the driver ends.
            if there := [pid for pid in clusters.descendants(command) if pid not in clusters.descendants(b"Agent")]:
                os.kill(draw.choice(there), 9)
                said.append(f"{time.monotonic() - began:.1f} s")
                return
            time.sleep(0.05)

    threading.Thread(target=kill).start()
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["spark", "ray"])
    parser.add_argument("--rows", type=pathlib.Path)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--codewords", type=int, default=256)
    parser.add_argument("--iterations", type=int, help="of the whole fits; by default the library's")
    parser.add_argument("--short", type=int, default=2, help="iterations of the fits that are done often: at each number of partitions, and with kills")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--partitions", default="1,3,7")
    parser.add_argument("--whole", default="7,4", help="partitions of the whole fits")
    asked = parser.parse_args()
    rows = np.random.default_rng(0).normal(size=(20_000, 64)) if asked.rows is None else np.load(asked.rows)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    settings = {"levels": asked.levels, "codebook_size": asked.codewords, "seed": 0}
    short = {**settings, "iterations": asked.short}
    if asked.iterations is not None:
        settings["iterations"] = asked.iterations
    print(f"{asked.engine}: {rows.shape[0]} × {rows.shape[1]}, {settings}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        engine, took = timed(lambda: {"spark": Spark, "ray": Ray}[asked.engine](place))
        print(f"session: {took:.1f} s", flush=True)
        made = table(rows)
        often(engine, made, rows, short, numbers(asked.partitions), asked.kills)
        whole(engine, made, rows, settings, numbers(asked.whole), place / "ids")
    return 1 if wrong else 0


def numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def whole(engine: Any, made: Any, rows: np.ndarray, settings: dict, partitions: list[int], ids: pathlib.Path) -> None:
    """Fits to the end, and what is done with the codec."""
    local, took = timed(lambda: sememe.Codec.train(rows, device="cpu", progress=False, **settings))
    r2 = sememe.evaluate(local, rows, queries=0)["r2"]
    print(f"Codec.train here: R² {r2:.5f}, {took:.1f} s", flush=True)
    codec = None
    for parts in partitions:
        data = engine.data(made, parts)
        found, took = timed(lambda data=data: engine.of.fit(data, "embedding", progress=False, **settings))
        print(f"whole fit at {parts} partitions: {took:.1f} s, codec {found.content_hash}", flush=True)
        if codec is not None:
            same("bytes beside those before", int(found.to_bytes() != codec.to_bytes()))
        codec = found
    assert codec is not None
    measured = sememe.evaluate(codec, rows, queries=0)
    print(f"R² {measured['r2']:.5f}, {measured['r2'] - r2:+.5f} beside Codec.train (at most .003 below)", flush=True)

    codes, took = timed(lambda: codec.encode(rows, device="cpu"))
    print(f"encode here: {took:.1f} s", flush=True)
    found, took = timed(lambda: engine.column(engine.of.encode(data, codec, "embedding"), "codes"))
    same(f"encode, {took:.1f} s, codes beside this machine's", int((found != codes).sum()))
    measures, took = timed(lambda: engine.of.evaluate(data, codec, "embedding"))
    print(f"evaluate, {took:.1f} s: R² {measures['r2']:.7f} beside {measured['r2']:.7f} here", flush=True)
    same("distinct IDs", measures["unique_ids"] - measured["unique_ids"])
    keys = made["key"].to_pylist()
    named, took = timed(lambda: engine.column(engine.of.assign(data, codec, "embedding", "key", ids=ids), "id"))
    same(f"assign, {took:.1f} s, IDs beside `resolve` here", int((named != sememe.resolve(codes, keys).ids).sum()))
    again, took = timed(lambda: engine.column(engine.of.assign(data, codec, "embedding", "key", ids=ids), "id"))
    same(f"assign again, {took:.1f} s, IDs", int((named != again).sum()))


def often(engine: Any, made: Any, rows: np.ndarray, settings: dict, partitions: list[int], kills: int) -> None:
    """Shorter fits: at each number of partitions, and with processes killed."""
    chain, took = timed(lambda: distributed.fit(lambda round: distributed.answer(round, rows), rows.shape[1], progress=False, **settings))
    print(f"{settings}\nthe chain of rounds in this process: {took:.1f} s", flush=True)
    fit = lambda data: engine.of.fit(data, "embedding", progress=False, **settings)  # noqa: E731
    for parts in partitions:
        data = engine.data(made, parts)
        codec, took = timed(lambda data=data: fit(data))
        same(f"fit at {parts} partitions, {took:.1f} s, bytes beside the chain here", int(codec.to_bytes() != chain.to_bytes()))
    draw = random.Random(5)
    for turn in range(kills):
        name, command = list(engine.victims.items())[turn % len(engine.victims)]
        done = threading.Event()
        killed = kill_at(command, draw.uniform(0.05, 0.9) * took, draw, done)
        try:
            codec, took_there = timed(lambda data=data: fit(data))
            said = f"a {name} killed -9 after {killed[0]}" if killed else "nothing was killed in time"
        finally:
            done.set()
        same(f"fit, {took_there:.1f} s, {said}, bytes", int(codec.to_bytes() != chain.to_bytes()))


if __name__ == "__main__":
    # Spark's process has threads of its own that would wait.
    code = main()
    sys.stdout.flush()
    os._exit(code)
