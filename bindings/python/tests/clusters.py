"""What tests of Spark and Ray share: whether they run, rows, and processes to kill."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import sememe

KILLS = int(os.environ.get("SEMEME_KILLS", "2"))

# Settings of a fit whose rounds differ in kind.
FITS = {
    "plain": {},
    "cosine": {"metric": "cosine"},
    "sinkhorn": {"balance": "sinkhorn", "levels": 1},
    "residuals": {"normalize_residuals": True},
}
# A round takes an engine half a second.
FIT = {"levels": 2, "codebook_size": 8, "seed": 3, "iterations": 3}
# Long enough to be disturbed.
LONG = {"levels": 3, "codebook_size": 8, "seed": 3, "iterations": 6}


def wanted(*modules: str, program: str | None = None) -> None:
    """Skips where an engine is missing, unless the environment says that it must be there."""
    missing = []
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            missing.append(module)
    if program is not None and shutil.which(program) is None and "JAVA_HOME" not in os.environ:
        missing.append(program)
    if missing:
        text = f"not here: {', '.join(missing)}"
        if os.environ.get("SEMEME_CLUSTER") == "require":
            raise RuntimeError(f"{text}, and SEMEME_CLUSTER=require")
        pytest.skip(text, allow_module_level=True)


def local_fit(rows: np.ndarray, **settings) -> sememe.Codec:
    """The chain of rounds in this process, on all rows at once."""
    from sememe import distributed

    return distributed.fit(lambda round: distributed.answer(round, rows), rows.shape[1], progress=False, **settings)


def same_measures(found, codec: sememe.Codec, rows: np.ndarray) -> None:
    """Measures of a cluster beside those of `sememe.evaluate`."""
    here = sememe.evaluate(codec, rows, queries=0).measures
    for name in ("rows", "unique_ids", "max_bucket"):
        assert found[name] == here[name], name
    for name in ("r2", "collision_rate", "colliding_item_rate"):
        assert found[name] == pytest.approx(here[name], abs=1e-6), name
    for one, other in zip(found["levels"], here["levels"], strict=True):
        assert one["codebook_size"] == other["codebook_size"]
        for name in ("r2", "utilisation", "perplexity"):
            assert one[name] == pytest.approx(other[name], rel=1e-6, abs=1e-6), name
    assert str(found["unique_ids"]) in str(found)


def _children() -> dict[int, list[int]]:
    under: dict[int, list[int]] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            under.setdefault(parent, []).append(int(entry.name))
    return under


def descendants(command: bytes) -> list[int]:
    """Processes under this one whose command has these bytes."""
    under, found, left = _children(), [], [os.getpid()]
    while left:
        for child in under.get(left.pop(), []):
            left.append(child)
            try:
                if command in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
            except OSError:
                pass
    return found


def with_kills(work: Callable[[], bytes], expected: bytes, victims: list[Callable[[], list[int]]], seconds: float) -> list[str]:
    """Does the work with a process killed at a random moment of it, as often as `KILLS` says, and compares. Returns what was done."""
    draw, said = random.Random(11), []
    for turn in range(KILLS):
        find, delay = victims[turn % len(victims)], draw.uniform(0.1, 0.9) * seconds
        while not _with_a_kill(work, expected, find, delay, draw, said):
            # It was over sooner than the last time.
            delay /= 2
            assert delay > 0.01, "nothing was killed in time"
    return said


def _with_a_kill(
    work: Callable[[], bytes], expected: bytes, find: Callable[[], list[int]], delay: float, draw: random.Random, said: list[str]
) -> bool:
    killed, done = threading.Event(), threading.Event()

    def kill() -> None:
        done.wait(delay)
        while not done.is_set():
            # A worker may be between two lives.
            if there := find():
                os.kill(draw.choice(there), signal.SIGKILL)
                killed.set()
                return
            done.wait(0.05)

    thread = threading.Thread(target=kill)
    began = time.monotonic()
    thread.start()
    try:
        made = work()
    finally:
        done.set()
        thread.join()
    assert made == expected
    if killed.is_set():
        said.append(f"{find.__name__} killed after {delay:.1f} s of {time.monotonic() - began:.1f} s")
    return killed.is_set()
