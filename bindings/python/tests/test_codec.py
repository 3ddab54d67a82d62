"""Training, encoding, files and errors of a codec, for every kind."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from conftest import KINDS, NETWORK, made_rows

import sememe


def test_every_kind_encodes_decodes_and_is_kept(codec: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    codes = codec.encode(rows)
    assert codes.shape == (len(rows), 3) and codes.dtype == np.uint32
    assert len(np.unique(codes, axis=0)) > 20
    assert (codes.max(axis=0) < codec.codebook_sizes).all()
    back = codec.decode(codes)
    assert back.shape == rows.shape and back.dtype == np.float32
    error = ((back - rows) ** 2).sum() / ((rows - rows.mean(axis=0)) ** 2).sum()
    assert error < 0.75, "codes say little about the rows"

    codec.save(tmp_path / "codec.safetensors")
    loaded = sememe.Codec.load(tmp_path / "codec.safetensors")
    for again in (loaded, sememe.Codec.from_bytes(codec.to_bytes()), pickle.loads(pickle.dumps(codec))):
        assert again == codec and hash(again) == hash(codec)
        assert (again.encode(rows) == codes).all()
    assert codec.dims == 12 and codec.levels == 3 and codec.codebook_sizes == (8, 8, 8)
    assert [book.shape[0] for book in codec.codebooks] == [8, 8, 8]
    assert codec.content_hash in repr(codec) or codec.content_hash[:12] in repr(codec)


def test_one_row_and_none(codec: sememe.Codec, rows: np.ndarray) -> None:
    codes = codec.encode(rows)
    assert (codec.encode(rows[5]) == codes[5]).all()
    assert (codec.encode(rows[5].tolist()) == codes[5]).all()
    assert codec.encode(rows[:0]).shape == (0, 3)
    assert (codec.decode(codes[5]) == codec.decode(codes[5:6])[0]).all()
    assert codec.decode(codes[:0]).shape == (0, 12)
    assert codec.decode(codes[:, :2]).shape == rows.shape


def test_the_same_seed_makes_the_same_codec(rows: np.ndarray) -> None:
    settings = dict(levels=2, codebook_size=8, device="cpu")
    first = sememe.Codec.train(rows, seed=7, **settings)
    assert sememe.Codec.train(rows, seed=7, **settings) == first
    assert sememe.Codec.train(rows, seed=8, **settings) != first


def test_settings_reach_the_library(rows: np.ndarray) -> None:
    config = sememe.Codec.train(
        rows, levels=2, codebook_size=[8, 4], iterations=7, tolerance=0, starts=2, seed=3, init="random", empty="keep",
        max_training_rows=500, metric="cosine", device="cpu", center=True, pca=0.8, pca_dims=6, whiten=True, normalize=True,
    ).manifest["config"]
    assert config["codebook_sizes"] == [8, 4] and config["iterations"] == 7 and config["tolerance"] == 0
    assert (config["starts"], config["seed"], config["init"], config["empty"]) == (2, 3, "random", "keep")
    assert config["max_training_rows"] == 500 and config["metric"] == "cosine"
    steps = config["preprocess"]
    assert steps["center"] and steps["whiten"] and steps["normalize"]
    assert steps["pca"] == {"keep_variance": 0.8, "max_dims": 6}
    balanced = sememe.Codec.train(
        rows, levels=2, codebook_size=8, device="cpu", balance="capacity", balance_levels=[0], balance_epsilon=0.1,
        balance_iterations=9, capacity=(60, None),
    ).manifest["config"]["balance"]
    assert balanced["loads"] == {"capacity": {"minimum": 60, "maximum": None}}
    assert (balanced["levels"], balanced["epsilon"], balanced["iterations"]) == ([0], 0.1, 9)
    assert sememe.Codec.train(rows, codebook_size=8, balance="sinkhorn").manifest["config"]["iterations"] == 40
    opq = sememe.Codec.train(rows, method="opq", levels=2, codebook_size=8, rotations=4, rotation_iterations=1)
    assert opq.manifest["config"]["rotation"] == {"rounds": 4, "iterations": 1}
    network = sememe.Codec.train(
        rows, method="rqvae", levels=2, codebook_size=8, settings={**NETWORK, "optimizer.rate": 0.002}, epochs=1
    ).manifest["config"]
    assert network["optimizer"]["rate"] == 0.002 and network["epochs"] == 1 and network["hidden"] == [16]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"method": "pq", "refine": True}, "refine"),
        ({"method": "minibatch", "iterations": 3}, "iterations"),
        ({"epochs": 3}, "epochs"),
        ({"method": "rqvae", "balance": "sinkhorn"}, "balance"),
        ({"rotations": 3}, "rotations"),
        ({"beam": 4}, "beam"),
        ({"capacity": (1, 2)}, "capacity"),
        ({"balance": "sinkhorn", "capacity": (1, 2)}, "capacity"),
        ({"balance_epsilon": 0.1}, "balance_epsilon"),
        ({"method": "kmeanz"}, "method"),
        ({"codebook_size": 0}, "codebook_size"),
        ({"codebook_size": [8, 8], "levels": 3}, "codebook_size"),
        ({"levels": 65}, "levels"),
        ({"levels": 2.5}, "levels"),
        ({"levels": True}, "levels"),
        ({"iterations": 0}, "iterations"),
        ({"tolerance": "much"}, "tolerance"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"metric": "manhattan"}, "metric"),
        ({"whiten": True}, "whiten"),
        ({"pca": 1.5}, "pca"),
        ({"device": "tpu"}, "device"),
        ({"on_bad": "keep"}, "on_bad"),
        ({"method": "minibatch", "resume": True}, "resume"),
        ({"method": "rqvae", "resume": True}, "resume"),
        ({"method": "rqvae", "network": "nobody"}, "network"),
        ({"method": "rqvae", "settings": {"optimizer.speed": 1}}, "settings"),
        ({"balance": "capacity", "capacity": (70, None), "codebook_size": 16}, "capacity"),
        ({"balance": "capacity", "balance_levels": [5]}, "balance_levels"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(rows: np.ndarray, settings: dict, name: str) -> None:
    with pytest.raises(sememe.SettingError, match=f"`{name}`") as caught:
        sememe.Codec.train(rows, **{"codebook_size": 8, **settings})
    assert isinstance(caught.value, ValueError) and caught.value.setting == name
    assert not str(caught.value).endswith(".")


def test_assigned_codes_keep_the_bounds(rows: np.ndarray) -> None:
    codec, codes = sememe.Codec.train_assigned(rows, levels=2, codebook_size=8, balance="capacity")
    assert (np.bincount(codes[:, 0], minlength=8) == 75).all()
    assert (codec.encode(rows) == codes).all(axis=1).mean() > 0.95
    with pytest.raises(sememe.SettingError, match="refine"):
        sememe.Codec.train_assigned(rows, levels=2, codebook_size=8, refine=2)
    with pytest.raises(sememe.SettingError, match="method"):
        sememe.Codec.train_assigned(rows, method="rqvae")


def test_training_goes_on_from_a_codec(rows: np.ndarray, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    more = np.concatenate([rows, made_rows(60, seed=5)])
    later = sememe.Codec.train(more, from_=plain)
    assert later.codebook_sizes == plain.codebook_sizes
    same = (later.encode(rows) == plain.encode(rows)).mean()
    scratch = (sememe.Codec.train(more, levels=3, codebook_size=8, seed=9).encode(rows) == plain.encode(rows)).mean()
    assert same > 0.7 > 0.5 > scratch
    plain.save(tmp_path / "plain.safetensors")
    assert sememe.Codec.train(more, from_=tmp_path / "plain.safetensors") == later
    with pytest.raises(sememe.SettingError, match="`metric`"):
        sememe.Codec.train(more, from_=plain, metric="cosine")
    with pytest.raises(sememe.SettingError, match="`from_`.*pq"):
        sememe.Codec.train(more, method="pq", from_=plain)
    product = sememe.Codec.train(rows, method="pq", levels=3, codebook_size=8)
    assert sememe.Codec.train(more, method="pq", from_=product).codebook_sizes == (8, 8, 8)


def test_bad_rows(rows: np.ndarray, plain: sememe.Codec) -> None:
    bad = rows.copy()
    bad[17, 3], bad[90, 0] = np.nan, np.inf
    with pytest.raises(sememe.NonFiniteError, match="row 17 in `rows`.*on_bad=\"drop\"") as caught:
        sememe.Codec.train(bad, codebook_size=8)
    assert (caught.value.row, caught.value.count, caught.value.rows) == (17, 2, 600)
    with pytest.raises(sememe.NonFiniteError, match="row 17.*isfinite") as caught:
        plain.encode(bad)
    assert (caught.value.row, caught.value.count, caught.value.rows) == (17, 2, 600) and "on_bad" not in str(caught.value)
    with pytest.warns(sememe.BadRowsWarning, match="2 of 600 rows .* left out: 17, 90"):
        dropped = sememe.Codec.train(bad, codebook_size=8, on_bad="drop", seed=1)
    assert dropped == sememe.Codec.train(np.delete(rows, [17, 90], axis=0), codebook_size=8, seed=1)
    zero = rows.copy()
    zero[4] = 0
    with pytest.raises(sememe.DataError, match="row 4"):
        sememe.Codec.train(zero, codebook_size=8, metric="cosine")
    with pytest.raises(sememe.ShapeError, match="expected d = 12, got 11") as caught:
        plain.encode(rows[:, :11])
    assert (caught.value.expected, caught.value.got) == (12, 11)
    with pytest.raises(sememe.DataError, match="fewer"):
        sememe.Codec.train(rows[:5], codebook_size=8)


def test_bad_codes(plain: sememe.Codec, rows: np.ndarray) -> None:
    codes = plain.encode(rows)
    with pytest.raises(sememe.DataError, match="row 1"):
        plain.decode([[0, 0, 0], [0, -1, 0]])
    with pytest.raises(sememe.DataError, match="8"):
        plain.decode([[0, 8, 0]])
    with pytest.raises(sememe.ShapeError):
        plain.decode(np.zeros((2, 4), dtype=int))
    with pytest.raises(sememe.RowTypeError, match="whole numbers"):
        plain.decode(codes * 0.5)
    assert (plain.decode(codes.astype(np.int64)) == plain.decode(codes)).all()
    assert (plain.decode(codes.tolist()[:3]) == plain.decode(codes[:3])).all()


def test_bad_files(tmp_path: pathlib.Path, plain: sememe.Codec) -> None:
    with pytest.raises(FileNotFoundError, match="missing.safetensors") as caught:
        sememe.Codec.load(tmp_path / "missing.safetensors")
    assert isinstance(caught.value, sememe.SememeError) and caught.value.filename.endswith("missing.safetensors")
    (tmp_path / "text.safetensors").write_text("no codec at all, but long enough for a header")
    with pytest.raises(sememe.SememeError) as caught:
        sememe.Codec.load(tmp_path / "text.safetensors")
    assert isinstance(caught.value, ValueError)
    broken = bytearray(plain.to_bytes())
    broken[-3] ^= 1
    with pytest.raises(sememe.CodecError, match="hash"):
        sememe.Codec.from_bytes(bytes(broken))
    with pytest.raises(OSError):
        plain.save(tmp_path / "no" / "such" / "folder.safetensors")
    with pytest.raises(TypeError):
        sememe.Codec()


def test_progress_is_told_and_what_it_raises_stops_the_work(rows: np.ndarray) -> None:
    told: list[dict] = []
    sememe.Codec.train(rows, levels=2, codebook_size=8, progress=told.append)
    kinds = {event["kind"] for event in told}
    assert {"phase", "level", "iteration"} <= kinds
    assert [event["level"] for event in told if event["kind"] == "level"] == [0, 1]
    epochs: list[dict] = []
    sememe.Codec.train(rows, method="rqvae", codebook_size=8, settings=NETWORK, progress=epochs.append)
    assert [event["epoch"] for event in epochs if event["kind"] == "epoch"] == [1, 2]

    def enough(event: dict) -> None:
        if event["kind"] == "level":
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        sememe.Codec.train(rows, levels=3, codebook_size=8, progress=enough)
    encoded: list[dict] = []
    many = np.tile(rows, (400, 1))
    codec = sememe.Codec.train(rows, levels=2, codebook_size=8)
    codec.encode(many, progress=encoded.append)
    assert encoded[-1] == {"kind": "advance", "done": len(many)} or encoded[-1]["kind"] in ("advance", "phase")


def test_threads_share_a_codec(plain: sememe.Codec, rows: np.ndarray) -> None:
    codes = plain.encode(rows)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: plain.encode(rows), range(32)):
            assert (got == codes).all()


def _in_a_child(codec: sememe.Codec, rows: np.ndarray) -> np.ndarray:
    return codec.encode(rows)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_share_a_codec(plain: sememe.Codec, rows: np.ndarray, how: str) -> None:
    # The parent's threads have worked already, and are not in a fork.
    many = np.tile(rows, (20, 1))
    codes = plain.encode(many)
    with multiprocessing.get_context(how).Pool(2) as pool:
        got = pool.starmap_async(_in_a_child, [(plain, many)] * 4).get(timeout=60)
    assert all((one == codes).all() for one in got)


def test_the_number_of_threads_changes_nothing(rows: np.ndarray) -> None:
    made = []
    try:
        for threads in (1, 2, 3):
            sememe.set_threads(threads)
            made.append(sememe.Codec.train(rows, levels=2, codebook_size=8))
    finally:
        sememe.set_threads(0)
    assert made[0] == made[1] == made[2]


def _interrupted(code: str, after: float = 1.5) -> tuple[str, float]:
    """Runs a program, sends it Ctrl-C once it says `go`, and returns what it wrote and how long it took to end."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None and child.stdout.readline().strip() == "go"
    time.sleep(after)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    return out, time.monotonic() - began


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_ctrl_c_stops_k_means_within_a_second() -> None:
    out, seconds = _interrupted(
        """
        import numpy as np, sememe, time
        rows = np.random.default_rng(0).normal(size=(200_000, 64)).astype(np.float32)
        print("go")
        try:
            sememe.Codec.train(rows, codebook_size=4096, levels=3, iterations=1000, tolerance=0, device="cpu")
        except KeyboardInterrupt as stop:
            print("stopped")
            import os; os._exit(0)
        """
    )
    assert "stopped" in out
    assert seconds < 3, "a second to stop, and what the machine is busy with"


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
@pytest.mark.parametrize("method", ["minibatch", "rqvae"])
def test_ctrl_c_keeps_the_checkpoint(tmp_path: pathlib.Path, method: str) -> None:
    keep = f"checkpoint={str(tmp_path / 'state.json')!r}" if method == "minibatch" else f"run={str(tmp_path / 'run')!r}"
    settings = "epochs=400, batch_rows=64" + (
        ", settings={'hidden': [16], 'code_dims': 8, 'autoencoder_epochs': 0}" if method == "rqvae" else ""
    )
    call = f"sememe.Codec.train(rows, method={method!r}, levels=2, codebook_size=8, device='cpu', {settings}, {keep}"
    out, _ = _interrupted(
        f"""
        import numpy as np, sememe
        rows = np.random.default_rng(0).normal(size=(20_000, 16)).astype(np.float32)
        print("go")
        try:
            {call})
        except KeyboardInterrupt as stop:
            print("stopped", *getattr(stop, "__notes__", []))
        """
    )
    assert "stopped" in out and "has them" in out and "resume" in out, out
    rows = np.random.default_rng(0).normal(size=(20_000, 16)).astype(np.float32)
    told: list[dict] = []

    def first(event: dict) -> None:
        told.append(event)
        if event["kind"] in ("advance", "epoch"):
            raise StopAsyncIteration

    space = {"np": np, "sememe": sememe, "rows": rows, "first": first}
    with pytest.raises(sememe.SettingError, match="resume"):
        exec(f"{call})", space)
    # It goes on: a whole run of 400 epochs is not wanted here.
    with pytest.raises((StopAsyncIteration, KeyboardInterrupt)):
        exec(f"{call}, resume=True, progress=first)", space)
    notes = [event["text"] for event in told if event["kind"] == "note"]
    assert method == "minibatch" or any("going on after" in note for note in notes)


def test_a_resumed_training_is_the_uninterrupted_one(rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    settings = dict(method="minibatch", levels=2, codebook_size=8, batch_rows=64, epochs=6, device="cpu")
    whole = sememe.Codec.train(rows, **settings)

    def stop(event: dict) -> None:
        if event["kind"] == "advance" and event["done"] >= 10:
            raise InterruptedError

    try:
        sememe.Codec.train(rows, **settings, checkpoint=tmp_path / "state.json", progress=stop)
    except InterruptedError:
        pass
    again = sememe.Codec.train(rows, **settings, checkpoint=tmp_path / "state.json", resume=True)
    assert again == whole


def test_every_kind_is_listed() -> None:
    assert len(KINDS) == 13
