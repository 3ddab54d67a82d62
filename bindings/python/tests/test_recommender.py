"""Recommenders, from histories to lists."""

from __future__ import annotations

import pathlib
import pickle

import numpy as np
import pytest
from conftest import made_rows

import sememe

SMALL = dict(dims=16, layers=1, heads=2, epochs=6, positions=8, dropout=0.1, batch_tokens=64, seed=1)


@pytest.fixture(scope="module")
def histories() -> list[list[int]]:
    """Users that walk over 40 items in steps of one."""
    draw = np.random.default_rng(0)
    return [[int(at) % 40 for at in range(start, start + 8)] for start in draw.integers(0, 40, 200)]


@pytest.fixture(scope="module")
def made(histories: list[list[int]]) -> sememe.Recommender:
    keys = [f"k{row}" for row in range(40)]
    named = [[keys[item] for item in one] for one in histories]
    return sememe.Recommender.train(named, vectors=made_rows(40), keys=keys, device="cpu", **SMALL)


def test_it_learns_what_follows(made: sememe.Recommender, histories: list[list[int]], tmp_path: pathlib.Path) -> None:
    measures = made.evaluate([[f"k{item}" for item in one] for one in histories], device="cpu")
    assert measures["recall_at_10"] > 0.5, "chance is a quarter"
    found = made.query(["k3", "k4", "k5"], count=5)
    assert len(found) == 5 and [one.log_probability for one in found] == sorted((one.log_probability for one in found), reverse=True)
    assert not {"k3", "k4", "k5"} & {one.key for one in found} and found[0].key == f"k{found[0].row}"
    assert len(made.epochs) == 6 and made.items == 40 and made.settings["dims"] == 16
    made.save(tmp_path / "r.safetensors")
    for again in (sememe.Recommender.load(tmp_path / "r.safetensors"), pickle.loads(pickle.dumps(made))):
        assert again.query(["k3", "k4", "k5"], count=5) == found
    wish = made.query(wish=made_rows(40)[7], count=3)
    assert len(wish) == 3
    many = made.query_many([["k1"], ["k2"]], wishes=made_rows(40)[:2], count=4)
    assert [len(one) for one in many] == [4, 4]


@pytest.mark.parametrize("prediction", ["ordered", "levels"])
def test_over_ids(prediction: str, histories: list[list[int]]) -> None:
    rows = made_rows(40)
    codes = sememe.Codec.train(rows, levels=2, codebook_size=8, device="cpu").encode(rows)
    unique = sememe.resolve(codes, range(40)).ids
    made = sememe.Recommender.train(histories, codes=unique, prediction=prediction, device="cpu", **{**SMALL, "epochs": 1})
    assert 0 < len(made.query([1, 2, 3], count=5)) <= 5
    if prediction == "ordered":
        drawn = made.query([1, 2, 3], temperature=1.0, beams=4, seed=3)
        assert drawn == made.query([1, 2, 3], temperature=1.0, beams=4, seed=3)


def test_a_stopped_training_goes_on(histories: list[list[int]], tmp_path: pathlib.Path) -> None:
    whole = sememe.Recommender.train(histories, items=40, device="cpu", **SMALL)

    def stop(event: dict) -> None:
        if event["kind"] == "recommender_epoch" and event["epoch"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sememe.Recommender.train(histories, items=40, device="cpu", checkpoint=tmp_path / "state", progress=stop, **SMALL)
    again = sememe.Recommender.train(histories, items=40, device="cpu", checkpoint=tmp_path / "state", **SMALL)
    assert again.to_bytes() == whole.to_bytes()
    with pytest.raises(sememe.SettingError, match="checkpoint"):
        sememe.Recommender.train(histories, items=40, checkpoint=tmp_path / "state", **{**SMALL, "seed": 2})


def test_refusals(made: sememe.Recommender, histories: list[list[int]]) -> None:
    with pytest.raises(sememe.SettingError, match="`speed`"):
        sememe.Recommender.train(histories, speed=3)
    with pytest.raises(sememe.SettingError, match="`heads`"):
        sememe.Recommender.train(histories, dims=10, heads=3)
    with pytest.raises(sememe.DataError, match="user 0 names `nobody`"):
        made.query(["nobody"])
    with pytest.raises(sememe.ShapeError, match="`vectors`"):
        sememe.Recommender.train(histories, items=40, vectors=made_rows(39))
    with pytest.raises(sememe.DataError):
        sememe.Recommender.train([[0, 99]], items=40)
    with pytest.raises(sememe.SettingError, match="`prediction`"):
        sememe.Recommender.train(histories, prediction="ordered")
    with pytest.raises(sememe.SettingError, match="`wish`"):
        sememe.Recommender.train(histories, items=40, **{**SMALL, "epochs": 1}).query(wish=np.zeros(12))
