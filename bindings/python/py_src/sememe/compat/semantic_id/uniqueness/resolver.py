"""One ID an item: a number after those that share a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....errors import ShapeError
from ....ids import read_keys
from .stores import CollisionStore, InMemoryCollisionStore

__all__ = ["UniqueIdResolver"]


class UniqueIdResolver:
    """Appends numbers to texts that several items share: `12-5-33`, `12-5-33-1`, `12-5-33-2`."""

    def __init__(self, store: CollisionStore | None = None) -> None:
        self.store = InMemoryCollisionStore() if store is None else store

    def assign(
        self,
        semantic_ids: Sequence[str],
        keys: Sequence[Any] | None = None,
        *,
        item_ids: Sequence[Any] | None = None,
        sep: str = "-",
    ) -> list[str]:
        """One ID a text. With `keys`, one an item, an item keeps the ID that it has; without, every text is a new item.

        `item_ids` are keys too, and stand after a text that is taken in place of a number.
        """
        names = None if item_ids is None else read_keys(item_ids, "item_ids")
        known = names if keys is None else read_keys(keys)
        if known is None:
            places = [(text, self.store.next_suffix(text)) for text in semantic_ids]
        else:
            if len(known) != len(semantic_ids):
                raise ShapeError(f"`keys`: expected {len(semantic_ids)} keys, one a text, got {len(known)}")
            places = self.store.place(known, list(semantic_ids))
        suffixes = [number if names is None else names[at] for at, (_, number) in enumerate(places)]
        return [text if number == 0 else f"{text}{sep}{suffix}" for (text, number), suffix in zip(places, suffixes, strict=True)]
