"""Encoder and resolver together."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ... import _rows
from ...ids import read_keys
from .algorithms.rq_kmeans import RQKMeans
from .algorithms.rq_vae import RQVAE
from .core import BaseSemanticEncoder
from .uniqueness.resolver import UniqueIdResolver
from .uniqueness.stores import CollisionStore, InMemoryCollisionStore, SQLiteCollisionStore

__all__ = ["SemanticIdEngine"]

_ENCODERS: dict[str, Any] = {"RQKMeans": RQKMeans, "RQVAE": RQVAE}


class SemanticIdEngine:
    """Rows to unique IDs."""

    def __init__(self, encoder: BaseSemanticEncoder, unique_resolver: UniqueIdResolver | None = None) -> None:
        self.encoder = encoder
        self.unique_resolver = UniqueIdResolver() if unique_resolver is None else unique_resolver

    def fit(self, X: _rows.RowsLike, *, device: str | None = None) -> Self:
        """Fits the encoder."""
        self.encoder.fit(X, device=device)
        return self

    def unique_ids(
        self,
        X: _rows.RowsLike,
        *,
        keys: Iterable[Any] | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        sep: str = "-",
        fmt: Literal["plain", "token"] = "plain",
        formatter: Callable[[npt.NDArray[np.uint32]], str] | None = None,
        item_ids: Iterable[Any] | None = None,
    ) -> list[str]:
        """One ID a row. An item that is asked for again keeps its ID.

        `keys` name the items, or `item_ids`, which also stand after codes that are taken in place of a number. Without either a row's own
        values are its name, and rows of equal values in one call are different items.
        """
        found = _rows.as_array(X, "X")
        rows = np.ascontiguousarray(X if found is None else found, dtype=np.float32)
        codes = self.encoder.encode(rows, device=device, batch_size=batch_size)
        texts = self.encoder.semantic_id(codes, sep=sep, fmt=fmt, formatter=formatter)
        shown = None if item_ids is None else read_keys(item_ids, "item_ids")
        if keys is None:
            names = _names(rows) if shown is None else shown
        else:
            names = read_keys(keys)
        return self.unique_resolver.assign(texts, names, item_ids=shown, sep=sep)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes encoder and counters to a folder."""
        place = pathlib.Path(path)
        (place / "resolver").mkdir(parents=True, exist_ok=True)
        self.encoder.save(place / "encoder")
        store = self.unique_resolver.store
        kept = isinstance(store, SQLiteCollisionStore)
        if isinstance(store, SQLiteCollisionStore):
            store.copy_to(place / "resolver" / "collisions.db")
        description = {
            "encoder_type": type(self.encoder).__name__,
            "store_type": "sqlite" if kept else "in_memory",
            "store_config": {"db_path": "collisions.db"} if kept else {},
        }
        (place / "engine_meta.json").write_text(json.dumps(description, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "cpu") -> Self:
        """Reads what `save` wrote. Counters in memory begin anew."""
        place = pathlib.Path(path)
        description = json.loads((place / "engine_meta.json").read_text(encoding="utf-8"))
        kind = description.get("encoder_type")
        if kind not in _ENCODERS:
            raise ValueError(f"`{place}` is of an encoder {kind!r}; there are {', '.join(_ENCODERS)}")
        store: CollisionStore = InMemoryCollisionStore()
        if description.get("store_type") == "sqlite":
            name = pathlib.PurePath(description.get("store_config", {}).get("db_path", "collisions.db")).name
            store = SQLiteCollisionStore(place / "resolver" / name)
        return cls(_ENCODERS[kind].load(place / "encoder", device=device), UniqueIdResolver(store))


def _names(rows: np.ndarray[Any, Any]) -> list[str]:
    """A name for each row by its values, and by which of several equal ones it is."""
    seen: Counter[str] = Counter()
    names = []
    for row in rows:
        name = hashlib.sha256(row.tobytes()).hexdigest()
        names.append(f"{name}/{seen[name]}")
        seen[name] += 1
    return names
