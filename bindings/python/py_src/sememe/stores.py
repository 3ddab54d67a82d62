"""Stores of IDs: an item keeps the ID that it was given."""

from __future__ import annotations

import abc
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from . import _codes, _rows, _sememe
from ._progress import Progress, telling
from ._settings import real, whole
from .codec import Codec, Device
from .errors import DataError, ShapeError, StoreError
from .ids import read_keys

__all__ = ["Assigned", "MemoryStore", "RedisStore", "SqliteStore", "Store", "assign", "open_store"]


@dataclasses.dataclass(frozen=True)
class Assigned:
    """The IDs that a store gave items, in their order."""

    ids: _codes.Codes
    """`[n, levels + 1]`: codes, and which of the items on these codes it is, from 0 on."""
    new: np.ndarray[Any, np.dtype[np.bool_]]
    """`[n]`: whether the ID is new."""
    drifted: np.ndarray[Any, np.dtype[np.bool_]]
    """`[n]`: whether it is an older ID on other codes than those asked for; the item's vector has changed since."""


class Store(abc.ABC):
    """A map from item keys to IDs. Derive from it to keep IDs elsewhere.

    What holds for every store: a key has one ID, an ID one key; `assign` takes effect for all of its items or for none; an ID stays
    until it is deleted, and a deleted one is given out again only on request. `MemoryStore` has the rules, for stores that keep its
    content elsewhere.
    """

    @property
    @abc.abstractmethod
    def codec_hash(self) -> str:
        """The content hash of the codec whose IDs these are."""

    @property
    @abc.abstractmethod
    def levels(self) -> int:
        """Codes of an ID."""

    @abc.abstractmethod
    def assign(self, keys: Iterable[Any], codes: _codes.CodesLike, *, reuse_deleted: bool = False) -> Assigned:
        """The IDs of items: each an older one if the item has one, else its codes with a counter.

        New items on the same codes are numbered in the order of their keys' bytes. All in one transaction.
        """

    @abc.abstractmethod
    def get(self, keys: Iterable[Any]) -> list[tuple[int, ...] | None]:
        """The ID of each key that has one: codes and counter."""

    @abc.abstractmethod
    def with_prefix(self, prefix: Sequence[int] = (), most: int = 100) -> list[tuple[str, tuple[int, ...]]]:
        """Keys and IDs of items whose codes start with `prefix`, by ID, at most `most`."""

    @abc.abstractmethod
    def delete(self, keys: Iterable[Any]) -> int:
        """Forgets items, and says how many there were. Their IDs are kept from being given out again."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many items have an ID."""

    def __contains__(self, key: object) -> bool:
        return self.get([key])[0] is not None


class _Kept(Store):
    """A store of the library."""

    _inner: _sememe.Store

    @property
    def codec_hash(self) -> str:
        return self._inner.codec_hash

    @property
    def levels(self) -> int:
        return self._inner.levels

    def assign(self, keys: Iterable[Any], codes: _codes.CodesLike, *, reuse_deleted: bool = False) -> Assigned:
        ids, new, drifted = self._inner.assign(read_keys(keys), _codes.read(codes), bool(reuse_deleted))
        return Assigned(ids, np.asarray(new, dtype=np.bool_), np.asarray(drifted, dtype=np.bool_))

    def get(self, keys: Iterable[Any]) -> list[tuple[int, ...] | None]:
        return [None if id is None else tuple(id) for id in self._inner.get(read_keys(keys))]

    def with_prefix(self, prefix: Sequence[int] = (), most: int = 100) -> list[tuple[str, tuple[int, ...]]]:
        found = self._inner.with_prefix([whole("prefix", code) for code in prefix], whole("most", most))
        return [(key, tuple(id)) for key, id in found]

    def delete(self, keys: Iterable[Any]) -> int:
        return self._inner.delete(read_keys(keys))

    def __len__(self) -> int:
        return self._inner.count()

    def risks(self) -> list[str]:
        """What in the store's surroundings may lose IDs that were given out, a sentence each."""
        return self._inner.risks()

    def set_patience(self, seconds: float) -> None:
        """How long a call may wait for other processes, or for a server that went away, before it fails."""
        self._inner.set_patience(real("seconds", seconds))

    def __repr__(self) -> str:
        return f"<sememe.{type(self).__name__}: {self.levels} levels, codec {self.codec_hash[:12]}>"


def _of_codec(codec: Codec | str | None, levels: int | None) -> tuple[str | None, int]:
    if isinstance(codec, Codec):
        return codec.content_hash, codec.levels
    return codec, whole("levels", 0 if levels is None else levels, 0 if codec is None else 1)


class MemoryStore(_Kept):
    """IDs in memory. Pickled whole.

    Parameters
    ----------
    codec
        The codec whose IDs these are, or a name for it, with the number of `levels`.
    """

    def __init__(self, codec: Codec | str, levels: int | None = None) -> None:
        self._inner = _sememe.Store.open("memory", "", *_of_codec(codec, levels))

    def to_bytes(self) -> bytes:
        """All that it holds."""
        return self._inner.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> MemoryStore:
        """A store from what `to_bytes` returned."""
        made = cls.__new__(cls)
        made._inner = _sememe.Store.from_bytes(data)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryStore.from_bytes, (self.to_bytes(),)


class SqliteStore(_Kept):
    """IDs in an SQLite file, which several processes may use at once.

    Parameters
    ----------
    path
        The file, made if it is not there.
    codec
        The codec whose IDs these are, or a name for it, with the number of `levels`; without it, the store must be there.

    Raises
    ------
    StoreError
        If it holds another codec's IDs, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], codec: Codec | str | None = None, levels: int | None = None) -> None:
        self._place = (os.fspath(path),)
        self._inner = _sememe.Store.open("sqlite", self._place[0], *_of_codec(codec, levels))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self._place, self.codec_hash, self.levels)


class RedisStore(_Kept):
    """IDs in a Redis or Valkey server: `redis://host:6379/0`, `unix:///run/redis.sock`. Parameters as for `SqliteStore`."""

    def __init__(self, url: str, codec: Codec | str | None = None, levels: int | None = None) -> None:
        self._place = (url,)
        self._inner = _sememe.Store.open("redis", url, *_of_codec(codec, levels))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self._place, self.codec_hash, self.levels)


def open_store(place: str | os.PathLike[str], codec: Codec | str | None = None, levels: int | None = None) -> SqliteStore | RedisStore:
    """The store at a place: a path is an SQLite file, a URL a Redis server."""
    text = os.fspath(place)
    if "://" in text:
        return RedisStore(text, codec, levels)
    return SqliteStore(text, codec, levels)


def assign(
    codec: Codec,
    rows: _rows.RowsLike,
    keys: Iterable[Any],
    store: Store,
    *,
    reuse_deleted: bool = False,
    device: Device = "auto",
    batch_items: int = 10_000,
    progress: Progress = None,
) -> Assigned:
    """Encodes rows `[n, dims]` and gives their items IDs for good, in the order of their keys, a transaction a batch.

    Stopped on the way, the items so far have their IDs, and the same call goes on.
    """
    if (store.codec_hash, store.levels) != (codec.content_hash, codec.levels):
        raise StoreError(
            f"the store holds IDs of codec {store.codec_hash} with {store.levels} levels, not of codec {codec.content_hash} with "
            f"{codec.levels}; use that codec, or another store"
        )
    batch_items = whole("batch_items", batch_items, 1)
    names = read_keys(keys)
    codes = codec.encode(rows, device=device, progress=progress)
    if len(names) != len(codes):
        error = ShapeError(f"`keys`: expected {len(codes)} keys, one a row, got {len(names)}")
        error.expected, error.got = len(codes), len(names)
        raise error
    written = [name.encode() for name in names]
    order = sorted(range(len(names)), key=written.__getitem__)
    for before, after in zip(order, order[1:], strict=False):
        if names[before] == names[after]:
            raise DataError(f"`keys`: items {before} and {after} have the same key `{names[before]}`; every item needs its own")
    ids = np.zeros((len(names), codec.levels + 1), dtype=np.uint32)
    new, drifted = np.zeros(len(names), dtype=np.bool_), np.zeros(len(names), dtype=np.bool_)
    with telling(progress) as tell:
        for start, batch in _parts(order, batch_items):
            if tell is not None and start == 0:
                tell({"kind": "phase", "name": "assign", "total": len(order), "unit": "items"})
            given = store.assign([names[row] for row in batch], codes[batch], reuse_deleted=reuse_deleted)
            ids[batch], new[batch], drifted[batch] = given.ids, given.new, given.drifted
            if tell is not None:
                tell({"kind": "advance", "done": start + len(batch)})
    return Assigned(ids, new, drifted)


def _parts(order: list[int], size: int) -> Iterator[tuple[int, list[int]]]:
    for start in range(0, len(order), size):
        yield start, order[start : start + size]
