"""How good IDs are."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import _codes, _rows, _sememe
from ._progress import Progress, telling
from ._settings import real, refused, whole
from .codec import Codec, Device

__all__ = ["Evaluation", "evaluate"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measures of IDs. Printed, it is a table."""

    measures: dict[str, Any]
    """All of them by name, as `sememe eval --json` has them: `collision_rate`, `unique_ids`, `r2`, `recall_at_10`, `levels`, …"""
    text: str
    """The same as a table."""
    advice: list[str]
    """What could be better, and how."""
    comparison: dict[str, Any] | None
    """The differences to `against`, if that was given."""

    def __str__(self) -> str:
        return self.text

    def __getitem__(self, name: str) -> Any:
        return self.measures[name]


def evaluate(
    codes: Codec | _codes.CodesLike,
    rows: _rows.RowsLike | None = None,
    *,
    codec: Codec | None = None,
    codebook_size: int | Sequence[int] | None = None,
    against: Codec | _codes.CodesLike | None = None,
    labels: Mapping[str, Sequence[Any]] | None = None,
    histories: Iterable[Sequence[int]] | None = None,
    queries: int = 1000,
    neighbours: int = 10,
    seed: int = 0,
    co_neighbours: int = 20,
    min_support: int = 2,
    decay: float = 0.8,
    users: int | None = None,
    report: str | os.PathLike[str] | None = None,
    title: str = "sememe",
    names: Sequence[str] = (),
    device: Device = "auto",
    progress: Progress = None,
) -> Evaluation:
    """Measures the IDs of a codec on rows, or any table of codes `[n, levels]`.

    Parameters
    ----------
    codes
        A codec, which encodes `rows`, or codes.
    rows
        The vectors `[n, dims]` of the items: for errors and neighbours.
    codec
        The codec that made the codes, where they are given: for errors.
    codebook_size
        Codewords of each level, where no codec says it; by default the highest code and one.
    against
        Another codec or table of the same items to compare with.
    labels
        Columns of labels by name, one text an item: how well prefixes and labels agree.
    histories
        The items of each user by row, oldest first: how well prefixes foretell behaviour.
    queries, neighbours, seed
        Rows drawn to measure neighbours (0 leaves them out), neighbours of each, and the seed of every draw.
    co_neighbours, min_support, decay, users
        Behaviour: neighbours by common users, how many these must be, the weight of an event relative to the one after it, and at most
        how many users next items are ranked for.
    report, title, names
        An HTML page to write, its title, and the items' names.
    """
    held = None if rows is None else _rows.hold(rows)
    if isinstance(codes, Codec):
        if codec is not None:
            raise refused("codec", "is of codes that are given; leave it out")
        if held is None:
            raise refused("rows", "a codec is measured on rows; give them, or codes in place of the codec")
        codec, table = codes, codes.encode(held, device=device, progress=progress)
    else:
        table = _codes.read(codes)
    if isinstance(against, Codec):
        if held is None:
            raise refused("rows", "a codec is measured on rows; give them, or codes in place of the codec")
        other: _codes.Codes | None = against.encode(held, device=device, progress=progress)
    else:
        other = None if against is None else _codes.read(against, "against")
    if codec is not None:
        if codebook_size is not None:
            raise refused("codebook_size", "is the codec's; leave it out")
        sizes = list(codec.codebook_sizes)
    elif codebook_size is None:
        both = [table] if other is None or other.shape[1:] != table.shape[1:] else [table, other]
        sizes = [max(int(one[:, level].max(initial=0)) for one in both) + 1 for level in range(table.shape[1])]
    elif isinstance(codebook_size, Sequence):
        sizes = [whole("codebook_size", k, 1) for k in codebook_size]
    else:
        sizes = [whole("codebook_size", codebook_size, 1)] * table.shape[1]
    request = {
        "codebook_sizes": sizes,
        "queries": whole("queries", queries),
        "neighbours": whole("neighbours", neighbours, 1),
        "seed": whole("seed", seed),
        "co_neighbours": whole("co_neighbours", co_neighbours, 1),
        "min_support": whole("min_support", min_support, 1),
        "decay": real("decay", decay),
        "users": None if users is None else whole("users", users, 1),
        "labels": [[name, ["" if text is None else str(text) for text in texts]] for name, texts in (labels or {}).items()],
        "histories": None if histories is None else [[int(item) for item in user] for user in histories],
        "report": None if report is None else os.fspath(report),
        "title": title,
        "names": [str(name) for name in names],
    }
    with telling(progress) as tell:
        made = _sememe.evaluate(json.dumps(request), table, other, held, None if codec is None else codec._inner, tell)
    return Evaluation(**made)
