"""Counters of texts that several items share, and which item has which.

An item that is asked for again has the ID that it was given, which the original forgets.
"""

from __future__ import annotations

import abc
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["CollisionStore", "InMemoryCollisionStore", "SQLiteCollisionStore"]

Place = tuple[str, int]


class CollisionStore(abc.ABC):
    """Counts how often a text was given out. Derive from it and define `next_suffix`; items are then remembered while the store lives."""

    @abc.abstractmethod
    def next_suffix(self, key: str) -> int:
        """0 for the first item on a text, 1 for the next, and so on."""

    def place(self, items: Sequence[str], keys: Sequence[str]) -> list[Place]:
        """Each item's text and number: those that it has, or its key with the next number."""
        known: dict[str, Place] = self.__dict__.setdefault("_items", {})
        for item, key in zip(items, keys, strict=True):
            if item not in known:
                known[item] = (key, self.next_suffix(key))
        return [known[item] for item in items]


class InMemoryCollisionStore(CollisionStore):
    """Counters in memory."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: dict[str, int] = {}

    def next_suffix(self, key: str) -> int:
        with self._lock:
            number = self._counts.get(key, 0)
            self._counts[key] = number + 1
            return number

    def place(self, items: Sequence[str], keys: Sequence[str]) -> list[Place]:
        with self._lock:
            return super().place(items, keys)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()


class SQLiteCollisionStore(CollisionStore):
    """Counters in an SQLite file, the original's included: a file that it wrote goes on counting."""

    def __init__(self, db_path: str | os.PathLike[str] = "collisions.db") -> None:
        self.db_path = os.fspath(db_path)
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS collisions (key TEXT PRIMARY KEY, count INTEGER DEFAULT 0)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS items (item TEXT PRIMARY KEY, key TEXT NOT NULL, suffix INTEGER NOT NULL) WITHOUT ROWID"
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of this call alone, so that threads and processes share a file; all of it takes effect or nothing."""
        database = sqlite3.connect(self.db_path, timeout=30, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        finally:
            # What was not committed is undone.
            database.close()

    @staticmethod
    def _next(database: sqlite3.Connection, key: str) -> int:
        row = database.execute("SELECT count FROM collisions WHERE key = ?", (key,)).fetchone()
        number = 0 if row is None else int(row[0])
        database.execute("INSERT OR REPLACE INTO collisions (key, count) VALUES (?, ?)", (key, number + 1))
        return number

    def next_suffix(self, key: str) -> int:
        with self._open() as database:
            return self._next(database, key)

    def place(self, items: Sequence[str], keys: Sequence[str]) -> list[Place]:
        found: list[Place] = []
        with self._open() as database:
            for item, key in zip(items, keys, strict=True):
                row = database.execute("SELECT key, suffix FROM items WHERE item = ?", (item,)).fetchone()
                if row is None:
                    row = (key, self._next(database, key))
                    database.execute("INSERT INTO items (item, key, suffix) VALUES (?, ?, ?)", (item, *row))
                found.append((str(row[0]), int(row[1])))
        return found

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Writes all of it to another file, as it is at one moment."""
        source, target = sqlite3.connect(self.db_path, timeout=30), sqlite3.connect(os.fspath(path))
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
