"""Training and measuring over rows that lie on many machines, for whatever moves bytes between them.

`sememe.spark` and `sememe.ray` are made of this. A training is a chain of rounds: the driver says what is asked of all rows, each worker answers for its own, the
answers merge in any order, and the driver goes on. Codes are exact and sums are integers, so the codec's bytes depend on the rows and the settings alone, not on how
rows are divided nor on which worker was lost on the way.

>>> import numpy as np, sememe
>>> from sememe import distributed
>>> rows = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
>>> parts = [rows[:300], rows[300:]]
>>> def run_round(round):
...     return distributed.merge(distributed.answer(round, part) for part in parts)
>>> codec = distributed.fit(run_round, 16, levels=2, codebook_size=8)
>>> codec.encode(rows).shape
(1000, 2)
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

from . import _rows, _sememe, _settings
from ._progress import Progress, telling
from .codec import Codec, Device
from .errors import SettingError

__all__ = ["DistributedTrainer", "answer", "fit", "measure_round", "measures", "merge"]

# Of `Codec.train`, what needs all rows in one place.
_ELSEWHERE = {"refine", "beam", "max_training_rows", "from_", "capacity"}


class DistributedTrainer:
    """A training of `method="kmeans"` whose rows lie anywhere: it asks rounds, and takes what all rows answered.

    It holds a sample of the rows and the codebooks. Settings are those of `Codec.train`, less `refine`, `beam`, `max_training_rows`, `from_` and exact capacity;
    `sample_rows` says how many rows levels start from (64 a codeword, at least 16,384, at most 256 MiB).

    Parameters
    ----------
    dims
        Values a row.

    Raises
    ------
    SettingError, DataError
    """

    __slots__ = ("_inner",)

    _inner: _sememe.DistributedTrainer

    def __init__(
        self,
        dims: int,
        *,
        levels: int | None = None,
        codebook_size: int | Sequence[int] | None = None,
        iterations: int | None = None,
        tolerance: float | None = None,
        starts: int | None = None,
        seed: int | None = None,
        metric: Literal["squared-l2", "cosine"] | None = None,
        init: Literal["k-means-plus-plus", "random"] | None = None,
        empty: Literal["farthest", "keep"] | None = None,
        preset: Literal["basil"] | None = None,
        balance: Literal["none", "sinkhorn"] | None = None,
        balance_levels: Sequence[int] | None = None,
        balance_epsilon: float | None = None,
        balance_iterations: int | None = None,
        center: bool = False,
        pca: float | bool | None = None,
        pca_dims: int | None = None,
        whiten: bool = False,
        normalize: bool = False,
        normalize_residuals: bool = False,
        sample_rows: int | None = None,
    ) -> None:
        asked = dict(locals())
        for name in ("self", "dims", "sample_rows"):
            del asked[name]
        asked = _settings.given(asked)
        _settings.check("kmeans", asked)
        if asked.get("balance") == "capacity":
            raise _settings.refused("balance", 'exact loads need all rows in one place; use "sinkhorn"')
        if sample_rows is not None:
            sample_rows = _settings.whole("sample_rows", sample_rows, 1)
        width = _settings.whole("dims", dims, 1)
        self._inner = _sememe.DistributedTrainer(json.dumps(_settings.of("kmeans", asked)), sample_rows, width)

    @classmethod
    def _of(cls, inner: _sememe.DistributedTrainer) -> Self:
        made = cls.__new__(cls)
        made._inner = inner
        return made

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A training from what `to_bytes` returned; it goes on with the same bits."""
        return cls._of(_sememe.DistributedTrainer.from_bytes(bytes(data)))

    def to_bytes(self) -> bytes:
        """The whole state, sample included, for a checkpoint."""
        return self._inner.to_bytes()

    def round(self) -> bytes | None:
        """What is asked of all rows next; `None` once the codec is trained."""
        return self._inner.round()

    def take(self, partial: bytes, *, device: Device = "cpu", progress: Progress = False) -> None:
        """Takes the merged answers to `round`. Where a level begins it is trained on the sample first.

        Raises
        ------
        DataError
            For answers to another round, too few (distinct) rows, and rows that changed since the first pass. The training is as before then.
        """
        with telling(progress) as tell:
            self._inner.take(bytes(partial), device, tell)

    @property
    def dims(self) -> int:
        """Values a row."""
        return self._inner.dims

    @property
    def rows(self) -> int:
        """Rows of all parts together; 0 before they were counted."""
        return self._inner.rows

    @property
    def done(self) -> bool:
        """Whether the codec is trained."""
        return self._inner.round() is None

    def codec(self) -> Codec:
        """The codec of a training that has ended."""
        return Codec._of(self._inner.codec())

    def _settings(self) -> Any:
        return self._inner.settings()


def answer(round: bytes, rows: _rows.RowsLike, *, column: str | None = None, device: Device = "cpu") -> bytes:
    """What rows `[n, dims]` answer to a round, or an iterable of batches of them. Errors about rows count from the first.

    Raises
    ------
    ShapeError, NonFiniteError, RowTypeError, DataError
    """
    made = _sememe.RoundAnswer(bytes(round), device)
    if _rows.is_lazy(rows):
        for batch in _rows.batches(rows, "rows", column):
            made.add(batch)
    else:
        made.add(_rows.hold(rows, "rows", column))
    return made.to_bytes()


def merge(partials: Iterable[bytes]) -> bytes:
    """Answers to the same round, added up; in any order the same bytes. Holds two at a time.

    Raises
    ------
    DataError
        For none, and for answers to different rounds, with both.
    """
    merged = _sememe.MergedAnswers()
    for partial in partials:
        merged.add(bytes(partial))
    whole = merged.to_bytes()
    if whole is None:
        raise SettingError("`partials`: expected at least one answer, got none")
    return whole


def measure_round(codec: Codec) -> bytes:
    """A round that measures a codec of any kind on all rows; `measures` reads the merged answers."""
    return _sememe.measure_round(codec._inner)


def measures(partial: bytes) -> dict[str, Any]:
    """How well the codec of `measure_round` does: `rows`, `total_variance`, and for each of `levels` `r2`, `inertia`, `loads`, `utilisation`, `perplexity`. R² is
    that of decoded rows."""
    found: dict[str, Any] = _sememe.round_measures(bytes(partial))
    return found


def _write(path: pathlib.Path, data: bytes) -> None:
    """Whole or not at all, and last."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def fit(
    run_round: Callable[[bytes], bytes],
    dims: int,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: Device = "cpu",
    progress: Progress = None,
    **settings: Any,
) -> Codec:
    """Trains a codec on rows that `run_round` reaches: it gets a round, has all workers `answer` it, and returns the `merge` of the answers.

    Parameters
    ----------
    run_round
        From a round's bytes to the merged answers'.
    dims
        Values a row.
    checkpoint, resume
        A file that keeps the state after every round, and whether to go on from it.
    device
        Where levels start from the sample.
    progress
        As of `Codec.train`.
    settings
        Those of `DistributedTrainer`.

    Raises
    ------
    SettingError
        For settings that need all rows in one place, for a checkpoint that is there already without `resume`, and for one of other settings.
    """
    for name in _ELSEWHERE & settings.keys():
        if settings[name] is not None and settings[name] is not False:
            raise _settings.refused(name, "needs all rows in one place; leave it out here, or train where the rows are")
    trainer = DistributedTrainer(dims, **settings)
    path = None if checkpoint is None else pathlib.Path(checkpoint)
    if resume and path is None:
        raise _settings.refused("resume", "needs `checkpoint`, the state to go on from")
    if path is not None and path.exists():
        if not resume:
            raise _settings.refused("checkpoint", f"`{path}` exists; go on from it with `resume=True`, or name another")
        kept = DistributedTrainer.from_bytes(path.read_bytes())
        if kept._settings() != trainer._settings() or kept.dims != trainer.dims:
            raise _settings.refused("checkpoint", f"`{path}` is of a training with other settings, {kept._settings()} on {kept.dims} dimensions")
        trainer = kept
    with telling(progress) as tell:
        while (round := trainer.round()) is not None:
            trainer.take(run_round(round), device=device, progress=tell or False)
            if path is not None:
                _write(path, trainer.to_bytes())
    return trainer.codec()
