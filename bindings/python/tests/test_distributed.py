"""Trainings by rounds: the same bytes however rows are divided."""

import numpy as np
import pytest

import sememe
from sememe import distributed


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(3)
    centres = draw.normal(size=(20, 12)) * 2
    return (centres[draw.integers(0, 20, 2_000)] + draw.normal(size=(2_000, 12)) * 0.5).astype(np.float32)


def over(parts):
    """What runs a round over parts of the rows."""
    return lambda round: distributed.merge(distributed.answer(round, part) for part in parts)


SETTINGS = dict(levels=2, codebook_size=8, iterations=6, seed=4, sample_rows=300)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"metric": "cosine"},
        {"normalize_residuals": True},
        {"balance": "sinkhorn"},
        {"preset": "basil", "levels": 2, "codebook_size": 8},
        {"pca": 0.8, "normalize": True},
    ],
    ids=str,
)
def test_the_same_bytes_however_rows_are_divided(rows, kind):
    whole = distributed.fit(over([rows]), 12, **{**SETTINGS, **kind})
    parts = [rows[1500:], rows[:0], rows[:100], np.asfortranarray(rows[100:1500])]
    assert distributed.fit(over(parts), 12, **{**SETTINGS, **kind}).to_bytes() == whole.to_bytes()
    assert whole.manifest["method"] == "distributed-rq-kmeans"
    assert whole.encode(rows).shape == (2_000, 2)
    local = sememe.Codec.train(rows, **{"levels": 2, "codebook_size": 8, "iterations": 6, "seed": 4, **kind})
    r2 = [codec.manifest["training"]["levels"][-1]["r2"] for codec in (whole, local)]
    assert r2[0] > r2[1] - 0.03


def test_batches_of_a_part_are_one_answer(rows):
    trainer = distributed.DistributedTrainer(12, **SETTINGS)
    round = trainer.round()
    batches = (rows[start : start + 333] for start in range(0, 2_000, 333))
    assert distributed.answer(round, batches) == distributed.answer(round, rows)
    trainer.take(distributed.answer(round, rows))
    assert trainer.rows == 2_000 and not trainer.done


def test_a_training_that_stopped_goes_on_with_the_same_bits(rows, tmp_path):
    whole = distributed.fit(over([rows]), 12, **SETTINGS)
    path, rounds = tmp_path / "state", []

    def stops(round):
        rounds.append(round)
        if len(rounds) == 5:
            raise KeyboardInterrupt
        return over([rows])(round)

    with pytest.raises(KeyboardInterrupt):
        distributed.fit(stops, 12, checkpoint=path, **SETTINGS)
    with pytest.raises(sememe.SettingError, match="exists; go on from it with `resume=True`"):
        distributed.fit(over([rows]), 12, checkpoint=path, **SETTINGS)
    with pytest.raises(sememe.SettingError, match="other settings"):
        distributed.fit(over([rows]), 12, checkpoint=path, resume=True, **{**SETTINGS, "seed": 5})
    assert distributed.fit(over([rows]), 12, checkpoint=path, resume=True, **SETTINGS).to_bytes() == whole.to_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_measures_are_those_of_an_evaluation(rows):
    for codec in (
        sememe.Codec.train(rows, levels=2, codebook_size=8),
        sememe.Codec.train(rows, method="pq", levels=3, codebook_size=4),
        sememe.Codec.train(rows, method="rqvae", levels=2, codebook_size=8, epochs=1, settings={"hidden": [16], "code_dims": 4}),
    ):
        round = distributed.measure_round(codec)
        found = distributed.measures(distributed.merge([distributed.answer(round, rows[:700]), distributed.answer(round, rows[700:])]))
        codes = codec.encode(rows)
        assert found["rows"] == 2_000
        for level, measured in enumerate(found["levels"]):
            assert measured["loads"] == np.bincount(codes[:, level], minlength=codec.codebook_sizes[level]).tolist()
        wide, back = rows.astype("f8"), codec.decode(codes).astype("f8")
        r2 = 1 - ((wide - back) ** 2).sum() / ((wide - wide.mean(0)) ** 2).sum()
        assert found["levels"][-1]["r2"] == pytest.approx(r2, abs=1e-6)


def test_what_cannot_be_is_refused(rows):
    for name, value in {"refine": True, "beam": 4, "max_training_rows": 100, "capacity": (1, 2)}.items():
        with pytest.raises(sememe.SettingError, match=f"`{name}`: needs all rows in one place"):
            distributed.fit(over([rows]), 12, **{name: value})
    with pytest.raises(sememe.SettingError, match="`balance`: exact loads"):
        distributed.fit(over([rows]), 12, balance="capacity")
    with pytest.raises(sememe.SettingError, match="10 rows has fewer than the 256"):
        distributed.DistributedTrainer(12, sample_rows=10)
    with pytest.raises(sememe.SettingError, match="`partials`"):
        distributed.merge([])
    trainer = distributed.DistributedTrainer(12, **SETTINGS)
    round = trainer.round()
    bad = rows.copy()
    bad[1_234, 3] = np.nan
    with pytest.raises(sememe.NonFiniteError) as caught:
        distributed.answer(round, bad)
    assert caught.value.row == 1_234
    with pytest.raises(sememe.ShapeError):
        distributed.answer(round, rows[:, :5])
    with pytest.raises(sememe.DataError, match="damaged"):
        distributed.answer(round[:-1], rows)
    first = distributed.answer(round, rows)
    trainer.take(first)
    with pytest.raises(sememe.DataError, match="came for round"):
        trainer.take(first)
    with pytest.raises(sememe.DataError, match="2000 rows were counted in the first pass, 100 answered"):
        trainer.take(distributed.answer(trainer.round(), rows[:100]))
    with pytest.raises(sememe.DataError, match="has not ended"):
        trainer.codec()
    again = distributed.DistributedTrainer.from_bytes(trainer.to_bytes())
    assert again.round() == trainer.round()
