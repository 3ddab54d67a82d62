"""Recommenders: decoders over items and their IDs, trained on histories."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from . import _codes, _rows, _sememe
from ._progress import Progress, telling
from ._settings import _nested, real, refused, whole
from .codec import Device
from .errors import DataError, ShapeError
from .ids import read_keys

__all__ = ["Recommendation", "Recommender"]


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """An item of a list."""

    row: int
    """Its row in the catalogue."""
    key: str | None
    """Its key, where the recommender knows keys."""
    log_probability: float
    """The natural logarithm of its probability."""


class Recommender:
    """A trained recommender. It never changes, may be used by many threads at once, and is pickled whole."""

    __slots__ = ("_inner", "_rows_of", "epochs")

    _inner: _sememe.Recommender
    _rows_of: dict[str, int] | None
    epochs: list[dict[str, Any]]
    """Figures of each epoch, of a recommender that was just trained."""

    def __init__(self) -> None:
        raise TypeError("a recommender comes from `Recommender.train` or `Recommender.load`")

    @classmethod
    def _of(cls, inner: _sememe.Recommender, epochs: list[dict[str, Any]] | None = None) -> Self:
        made = cls.__new__(cls)
        made._inner, made.epochs = inner, epochs or []
        keys = inner.keys
        made._rows_of = None if keys is None else {key: row for row, key in enumerate(keys)}
        return made

    @classmethod
    def train(
        cls,
        histories: Iterable[Sequence[Any]],
        *,
        items: int | None = None,
        codes: _codes.CodesLike | None = None,
        vectors: _rows.RowsLike | None = None,
        keys: Iterable[Any] | None = None,
        identities: bool | None = None,
        prefixes: bool | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: Device = "auto",
        progress: Progress = None,
        **more: Any,
    ) -> Self:
        """Trains a recommender on histories of items, oldest first.

        Parameters
        ----------
        histories
            One sequence a user, of rows of the catalogue, or of keys where `keys` are given.
        items, codes, vectors, keys
            How many items there are (by default as many as the others say), their IDs `[n, levels]`, their vectors `[n, dims]`, and
            their keys.
        identities, prefixes
            Whether an item has a vector of its own (where there are neither codes nor vectors), and whether IDs are read by prefixes
            (where items are predicted and there are codes).
        settings, seed, **more
            Settings of the training: `epochs=24`, `dims=128`, `layers=2`, `prediction="items"` (or `"ordered"`, `"levels"`), … or all of
            them as a dictionary.
        checkpoint
            File of the state, written after every epoch; a training that is there goes on.

        Raises
        ------
        SettingError, DataError, ShapeError
            For settings and histories that cannot be used.
        """
        names = None if keys is None else read_keys(keys)
        read = None if codes is None else _codes.read(codes)
        held = None if vectors is None else _rows.hold(vectors, "vectors")
        known: dict[str, int] = {}
        if read is not None:
            known["codes"] = len(read)
        if held is not None:
            known["vectors"] = held.shape[0]
        if names is not None:
            known["keys"] = len(names)
        listed = _histories(histories, None if names is None else {key: row for row, key in enumerate(names)})
        if items is None:
            items = next(iter(known.values())) if known else max((max(one, default=-1) for one in listed), default=-1) + 1
        items = whole("items", items, 1)
        for name, count in known.items():
            if count != items:
                error = ShapeError(f"`{name}`: expected {items} items, got {count}")
                error.expected, error.got = items, count
                raise error
        patch = _nested({**(settings or {}), **more})
        if seed is not None:
            patch["seed"] = whole("seed", seed)
        unknown = set(patch) - set(_sememe.default_recommender())
        if unknown:
            raise refused(sorted(unknown)[0], f"is no setting; there are {', '.join(_sememe.default_recommender())}")
        predicted = patch.get("prediction", "items")
        if predicted != "items":
            if read is None:
                raise refused("prediction", f"{predicted!r} is of the codes of IDs, so it needs `codes`")
            if prefixes:
                raise refused("prefixes", f"have no meaning with `prediction={predicted!r}`; leave them out")
        if identities is None:
            identities = read is None and held is None
        if prefixes is None:
            prefixes = read is not None and predicted == "items"
        request = {
            "settings": json.dumps(patch),
            "items": items,
            "identities": bool(identities),
            "prefixes": bool(prefixes),
            "histories": listed,
            "keys": names,
            "device": device,
            "checkpoint": None if checkpoint is None else os.fspath(checkpoint),
        }
        with telling(progress) as tell:
            inner, epochs = _sememe.train_recommender(json.dumps(request), read, held, tell)
        return cls._of(inner, epochs)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a recommender from its file."""
        return cls._of(_sememe.Recommender.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the recommender to a `.safetensors` file, whole or not at all."""
        self._inner.save(os.fspath(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A recommender from what `to_bytes` returned."""
        return cls._of(_sememe.Recommender.from_bytes(bytes(data)))

    def to_bytes(self) -> bytes:
        """The content of its file."""
        return self._inner.to_bytes()

    @property
    def items(self) -> int:
        """How many items it knows."""
        return self._inner.items

    @property
    def keys(self) -> list[str] | None:
        """The items' keys in the order of their rows, if it was given them."""
        return self._inner.keys

    @property
    def parameters(self) -> int:
        """Numbers that were trained."""
        return self._inner.parameters

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it was trained with."""
        return self._inner.settings()

    def query(
        self,
        history: Sequence[Any] | None = None,
        *,
        wish: Any = None,
        count: int = 10,
        seen: bool = False,
        beams: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> list[Recommendation]:
        """The items that may follow a history, for a wish (a vector `[dims]`), or both; the likeliest first.

        Parameters
        ----------
        count, seen
            Items of the list, and whether those of the history may be among them.
        beams
            Prefixes that a search for IDs follows.
        temperature, top_p, seed
            Where either of the first two is given, IDs are drawn at random instead.
        """
        wishes = None if wish is None else np.asarray(wish, dtype=np.float32)[None]
        return self.query_many(
            [[] if history is None else history], wishes=wishes, count=count, seen=seen, beams=beams, temperature=temperature,
            top_p=top_p, seed=seed, device=device,
        )[0]  # fmt: skip

    def query_many(
        self,
        histories: Iterable[Sequence[Any]],
        *,
        wishes: Any = None,
        count: int = 10,
        seen: bool = False,
        beams: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> list[list[Recommendation]]:
        """As `query`, one list a history; `wishes` are vectors `[histories, dims]`."""
        listed = _histories(histories, self._rows_of, self.items)
        if wishes is not None:
            wishes = np.ascontiguousarray(wishes, dtype=np.float32)
            if wishes.ndim != 2 or len(wishes) != len(listed):
                raise ShapeError(f"`wishes`: expected [{len(listed)}, dims], got {list(wishes.shape)}")
            if self._inner.vector_dims is None:
                raise refused("wish", "the recommender was trained without vectors of its items, so it reads no wishes")
        sampling = None
        if temperature is not None or top_p is not None:
            sampling = (
                real("temperature", 1.0 if temperature is None else temperature),
                real("top_p", 1.0 if top_p is None else top_p),
                whole("seed", seed),
            )
        beams = None if beams is None else whole("beams", beams, 1)
        answers = self._inner.recommend(listed, wishes, whole("count", count, 1), not seen, beams, sampling, device)
        keys = self._inner.keys
        return [[Recommendation(row, keys[row] if keys else None, score) for row, score in answer] for answer in answers]

    def evaluate(
        self,
        histories: Iterable[Sequence[Any]],
        *,
        hold_out: Literal["test", "validation"] = "test",
        seen: bool = True,
        beams: int | None = None,
        device: Device = "auto",
        progress: Progress = None,
    ) -> dict[str, Any]:
        """How well each user's last item is ranked among all items, after those before it; the one before it for `"validation"`."""
        if hold_out not in ("test", "validation"):
            raise refused("hold_out", f"expected test or validation, got {hold_out!r}")
        listed = _histories(histories, self._rows_of, self.items)
        beams = None if beams is None else whole("beams", beams, 1)
        with telling(progress) as tell:
            return self._inner.evaluate(listed, 0 if hold_out == "test" else 1, not seen, beams, device, tell)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return _load_recommender, (self.to_bytes(),)

    def __repr__(self) -> str:
        return f"<sememe.Recommender: {self.items:,} items, {self.parameters:,} parameters>"


def _load_recommender(data: bytes) -> Recommender:
    return Recommender.from_bytes(data)


def _histories(histories: Iterable[Sequence[Any]], rows_of: dict[str, int] | None, items: int | None = None) -> list[list[int]]:
    """Histories by row."""
    listed = []
    for user, history in enumerate(histories):
        if isinstance(history, (str, bytes)):
            raise DataError(f"`histories`: that of user {user} is a text; expected a sequence of items")
        if rows_of is None:
            rows = [whole("histories", item) for item in history]
            if items is not None and any(row >= items for row in rows):
                raise DataError(f"`histories`: user {user} names item {max(rows)}, there are {items}")
        else:
            rows = []
            for item in history:
                row = rows_of.get(item if isinstance(item, str) else str(item))
                if row is None:
                    raise DataError(f"`histories`: user {user} names `{item}`, which is no key of the {len(rows_of)} items")
                rows.append(row)
        listed.append(rows)
    return listed
