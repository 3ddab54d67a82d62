"""The table of IDs that Spark and Ray keep: what its folders are called, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable

from .codec import Codec
from .errors import StoreError

BATCH = "batch="


def batches_among(place: str, names: Iterable[str]) -> list[int]:
    """The numbers of a table's batches among what is in its folder, ascending.

    Raises
    ------
    StoreError
        For a folder with another kind of table: two kinds of IDs in one place would collide.
    """
    found = []
    for name in names:
        number = name.removeprefix(BATCH)
        if name != number and number.isdecimal():
            found.append(int(number))
        elif name.startswith("_ids-"):
            raise StoreError(f"`{place}` holds a table of `sememe cluster assign`, `{name}`; name another folder")
    return sorted(found)


def other_codec(place: str, kept: str, codec: Codec) -> StoreError:
    return StoreError(f"`{place}` holds IDs of codec {kept}, not of codec {codec.content_hash}; use that codec, or another folder")


def somebody_else(place: str, batch: str) -> StoreError:
    return StoreError(f"`{place}` was extended by somebody else meanwhile: `{batch}` is there; nothing was written, assign again")
