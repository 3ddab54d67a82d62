"""Rows of many tasks brought together by a text that they share: the one exchange that work on Ray needs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from .ray import task, use_threads

Work = tuple[Callable[..., Any], tuple[Any, ...]]

# Pieces grow with the square of these.
_MOST_BUCKETS = 128


def buckets_for(blocks: int) -> int:
    return max(1, min(blocks, _MOST_BUCKETS))


@task
def call(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function makes of its arguments, those that are references fetched."""
    use_threads()
    return work(*arguments)


def pieces(table: Any, place: Any, count: int) -> list[Any]:
    """A table's rows by the numbers of their pieces, in their order."""
    order = np.argsort(place, kind="stable")
    sizes = np.bincount(place, minlength=count)
    ordered = table.take(pa.array(order))
    # Slices would carry the whole table along.
    return [ordered.slice(int(end - size), int(size)).combine_chunks() for end, size in zip(np.cumsum(sizes), sizes, strict=True)]


@task
def _split(work: Callable[..., Any], column: str, buckets: int, *arguments: Any) -> Any:
    use_threads()
    table = work(*arguments)
    # The same on every machine, unlike `hash`.
    place = np.fromiter((zlib.crc32(text.encode()) % buckets for text in table.column(column).to_pylist()), np.int64, table.num_rows)
    made = pieces(table, place, buckets)
    return made if buckets > 1 else made[0]


def by_text(works: list[Work], column: str, buckets: int) -> list[list[Any]]:
    """Runs functions in tasks and brings the rows of their tables together by a column of texts: references to tables, a list a bucket."""
    made = []
    for work, arguments in works:
        found = _split.options(num_returns=buckets).remote(work, column, buckets, *arguments)
        made.append(found if buckets > 1 else [found])
    return [[one[bucket] for one in made] for bucket in range(buckets)]
