"""What Spark and Ray have in common: what workers are sent and how they check it, how they read a column, how errors name their place."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import importlib
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from . import _rows, _sememe, errors
from ._codes import Codes
from ._settings import refused
from .codec import Codec
from .errors import CodecError, DataError, NonFiniteError, RowTypeError, SememeError, ShapeError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as missing:
    raise ImportError("Spark and Ray hand rows over by Arrow: `pip install pyarrow`") from missing

# Codecs that a worker keeps ready; one job rarely needs more than one.
_KEPT_CODECS = 4


class Handle(Protocol):
    """Where a worker finds what was sent."""

    def open(self) -> bytes: ...


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Bytes that go to every worker once, and what they must be when they arrive."""

    what: str
    handle: Handle
    hash: str
    version: str

    @classmethod
    def of(cls, what: str, data: bytes, handle: Handle) -> Parcel:
        return cls(what, handle, hashlib.sha256(data).hexdigest(), _sememe.__version__)

    def open(self) -> bytes:
        """The bytes, on a worker.

        Raises
        ------
        CodecError
            If they are not what was sent, with both hashes; if the worker has another release of this package.
        """
        if self.version != _sememe.__version__:
            raise CodecError(
                f"a worker has sememe {_sememe.__version__}, the driver {self.version}; install the same release on all machines"
            )
        data = self.handle.open()
        found = hashlib.sha256(data).hexdigest()
        if found != self.hash:
            raise CodecError(f"the {self.what} that reached a worker has the hash {found}, the one that was sent {self.hash}; run the job again")
        return data


_codecs: collections.OrderedDict[str, Codec] = collections.OrderedDict()
_lock = threading.Lock()


def codec_of(parcel: Parcel) -> Codec:
    """The codec that was sent, read once a process."""
    with _lock:
        if (codec := _codecs.get(parcel.hash)) is None:
            codec = _codecs[parcel.hash] = Codec.from_bytes(parcel.open())
            while len(_codecs) > _KEPT_CODECS:
                _codecs.popitem(last=False)
        _codecs.move_to_end(parcel.hash)
        return codec


_threads = 0


def use_threads(cores: float) -> None:
    """Works with as many threads as the task has cores. An engine runs one task a core; each with a thread for every core would only wait."""
    global _threads
    wanted = max(1, math.floor(cores))
    if wanted != _threads:
        _sememe.set_threads(wanted)
        _threads = wanted


# Columns.


def check_columns(there: Iterable[str], wanted: Mapping[str, str], output: Mapping[str, str] | None = None) -> None:
    """Refuses columns that are not there or there twice, by the argument that names them, and new ones that are there already."""
    there = list(there)
    for argument, column in wanted.items():
        if not isinstance(column, str):
            raise refused(argument, f"expected the name of a column, got {column!r}")
        if column not in there:
            raise refused(argument, f"there is no column `{column}`, there are {', '.join(f'`{name}`' for name in there) or 'none'}")
        if there.count(column) > 1:
            raise refused(argument, f"there are {there.count(column)} columns `{column}`; rename them")
    for argument, column in (output or {}).items():
        if not isinstance(column, str) or not column:
            raise refused(argument, f"expected the name of a new column, got {column!r}")
        if column in there:
            raise refused(argument, f"there is a column `{column}` already; name another, or drop that one")


def as_codec(codec: Codec) -> Codec:
    if not isinstance(codec, Codec):
        kind = type(codec)
        raise RowTypeError(f"`codec`: expected a `sememe.Codec`, got `{kind.__module__}.{kind.__qualname__}`; `Codec.load` reads a file")
    return codec


def _storage(column: Any, name: str) -> Any:
    """Lists, of a column of lists or of tensors with one dimension."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        shape = getattr(column.type, "shape", None)
        if shape is None or len(shape) != 1:
            raise RowTypeError(f"`{name}`: expected one list of floats a row, got {column.type}")
        column = column.storage
    return column


@dataclasses.dataclass
class Place:
    """Where a worker is: a part of the rows, and how many of its rows came before this batch."""

    part: str
    before: int = 0

    def row(self, row: int) -> str:
        return f"row {self.before + row} of {self.part}"


def held_rows(column: Any, name: str, dims: int, place: Place) -> _sememe.Rows:
    """Rows `[n, dims]` of a column of lists, where they lie.

    Raises
    ------
    RowTypeError, DataError, ShapeError
        For a column of something else, a missing row, and rows of another length. They name the column, the row and its part.
    """
    lists = _storage(column, name)
    kind = lists.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise RowTypeError(f"`{name}`: expected lists of floats, got {kind}")
    if not pa.types.is_floating(kind.value_type):
        raise RowTypeError(f"`{name}`: expected lists of floats, got lists of {kind.value_type}; cast them")
    if lists.null_count:
        row = int(pc.index(lists.is_null(), True).as_py())
        raise DataError(f"`{name}`: {place.row(row)} is missing; leave such rows out before")
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(lengths != dims)
    if len(other):
        error = ShapeError(f"`{name}`: {place.row(int(other[0]))} holds {lengths[other[0]]} values, expected {dims}")
        error.expected, error.got = dims, int(lengths[other[0]])
        raise error
    return _rows.hold(lists, name)


@contextlib.contextmanager
def placed(name: str, place: Place) -> Iterator[None]:
    """Says of rows that hold NaN, and of other bad ones, which rows of which part they are."""
    try:
        yield
    except NonFiniteError as error:
        facts = (
            f"`{name}`: {error.count} of {error.rows} rows hold NaN, infinity, a missing value or a number too large for float32, "
            f"the first is {place.row(error.row)}; repair such rows, or leave them out before"
        )
        clean = NonFiniteError(facts)
        clean.row, clean.count, clean.rows = place.before + error.row, error.count, error.rows
        raise clean from None


def encoded(codec: Codec, column: Any, name: str, place: Place, beam: int | None) -> Codes:
    """Codes `[n, levels]` of a batch, which is counted."""
    if len(column) == 0:
        return np.zeros((0, codec.levels), dtype=np.uint32)
    rows = held_rows(column, name, codec.dims, place)
    with placed(name, place):
        codes = codec.encode(rows, device="cpu", beam=beam, progress=False)
    place.before += len(codes)
    return codes


def lists_of(values: np.ndarray[Any, Any]) -> Any:
    """A table `[n, width]` as Arrow's lists: codes of int32, as neither engine has unsigned numbers, rows of float32."""
    flat = values.astype(np.float32 if values.dtype.kind == "f" else np.int32, copy=False).reshape(-1)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def codes_in(column: Any, name: str, place: Place) -> Codes:
    """Codes `[n, levels]` of a column of lists of whole numbers."""
    lists = _storage(column, name)
    kind = lists.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not listed or not pa.types.is_integer(kind.value_type):
        raise RowTypeError(f"`{name}`: expected lists of whole numbers, got {kind}")
    if lists.null_count:
        row = int(pc.index(lists.is_null(), True).as_py())
        raise DataError(f"`{name}`: {place.row(row)} is missing; leave such rows out before")
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(lengths != lengths[:1])
    if len(other):
        raise ShapeError(f"`{name}`: {place.row(int(other[0]))} has {lengths[other[0]]} codes, those before it {lengths[0]}")
    flat = lists.flatten()
    if flat.null_count:
        row = int(pc.index(flat.is_null(), True).as_py()) // int(lengths[0])
        raise DataError(f"`{name}`: {place.row(row)} has a missing code; leave such rows out before")
    values = flat.to_numpy(zero_copy_only=False).astype(np.int64).reshape(len(lists), -1)
    bad = np.flatnonzero(((values < 0) | (values > 0xFFFF_FFFF)).any(axis=1))
    if len(bad):
        raise DataError(f"`{name}`: {place.row(int(bad[0]))} holds {values[bad[0]].tolist()}; codes are at least 0 and below 2³²")
    codes: Codes = values.astype(np.uint32)
    return codes


def decoded(codec: Codec, column: Any, name: str, place: Place) -> Any:
    """Lists of `dims` floats for a batch of codes, which is counted."""
    if len(column) == 0:
        return lists_of(np.zeros((0, codec.dims), dtype=np.float32))
    codes = codes_in(column, name, place)
    try:
        rows = codec.decode(codes, progress=False)
    except (DataError, ShapeError) as error:
        raise type(error)(f"`{name}`: {error}; rows are counted from {place.row(0)}") from None
    place.before += len(codes)
    return lists_of(rows)


def answered(round: bytes, batches: Iterable[Any], name: str, dims: int, part: str) -> bytes | None:
    """What a round asks of the rows of one part; nothing where it has none."""
    from . import distributed

    place, next_before = Place(part), 0

    def held() -> Iterator[_sememe.Rows]:
        nonlocal next_before
        for column in batches:
            if len(column):
                place.before = next_before
                next_before += len(column)
                yield held_rows(column, name, dims, place)

    rows = held()
    if (first := next(rows, None)) is None:
        return None
    with placed(name, place):
        return distributed.answer(round, _chain(first, rows), device="cpu")


def _chain(first: _sememe.Rows, rest: Iterator[_sememe.Rows]) -> Iterator[_sememe.Rows]:
    yield first
    yield from rest


# What comes back.


def merge_steps(parts: int) -> list[int]:
    """How many partials are left after each merging on the workers: √P of P, and in the end few for the driver, as one with a sample may have 256 MiB."""
    steps = []
    while parts > 16:
        parts = math.isqrt(parts - 1) + 1
        steps.append(parts)
    return steps if parts <= 2 else [*steps, 1]


# What an engine says of an error on a worker has a traceback whose last line is the error's own.
_RAISED = re.compile(r"^(?:.*\W)?sememe\.errors\.(\w+): (.*)$", re.MULTILINE)
_NUMBERS = re.compile(r"(\d+) of (\d+) rows hold .*, the first is row (\d+) of ")


@contextlib.contextmanager
def raised_here(engine: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Raises an error of this package that a worker met as itself, in place of the engine's report of it, which stays its cause."""
    try:
        yield
    except engine as report:
        found = _RAISED.findall(str(report))
        if not found:
            raise
        kind = getattr(errors, found[-1][0], None)
        if not (isinstance(kind, type) and issubclass(kind, SememeError)):
            raise
        error = kind(found[-1][1])
        if isinstance(error, NonFiniteError) and (numbers := _NUMBERS.search(str(error))):
            error.count, error.rows, error.row = map(int, numbers.groups())
        raise error from report


# Measures.


@dataclasses.dataclass(frozen=True)
class ClusterEvaluation:
    """Measures of a codec on the rows of a cluster. Printed, it is a table."""

    measures: dict[str, Any]
    """By the names of `sememe.evaluate`: `rows`, `r2`, `variance`, `unique_ids`, `unique_share`, `collision_rate`, `colliding_item_rate`,
    `max_bucket`, and `levels` with each level's `r2`, `utilisation`, `perplexity`, `loads`."""

    def __getitem__(self, name: str) -> Any:
        return self.measures[name]

    def __str__(self) -> str:
        m = self.measures
        lines = [
            f"{m['rows']:,} items, {m['unique_ids']:,} distinct IDs of {len(m['levels'])} levels",
            "",
            f"  collision rate          {100 * m['collision_rate']:<9.1f} % items beyond the first on their ID",
            f"  colliding items         {100 * m['colliding_item_rate']:<9.1f} % items that share their ID",
            f"  largest bucket          {m['max_bucket']:<9} items on one ID",
            f"  R²                      {m['r2']:<9.4f} variance explained",
            "",
            "  level      K   used  perplexity      R²",
        ]
        for number, level in enumerate(m["levels"], 1):
            lines.append(
                f"  {number:5}  {level['codebook_size']:5}  {100 * level['utilisation']:3.0f} %  {level['perplexity']:10.1f}  {level['r2']:6.4f}"
            )
        return "\n".join(lines)


def evaluation(codec: Codec, measures: dict[str, Any], ids: int, largest: int, colliding: int) -> ClusterEvaluation:
    """Measures from those of a round, and from how many items IDs have."""
    rows = measures["rows"]
    levels = [{"codebook_size": size, **level} for size, level in zip(codec.codebook_sizes, measures["levels"], strict=True)]
    return ClusterEvaluation(
        {
            "rows": rows,
            "dims": codec.dims,
            "r2": levels[-1]["r2"],
            "variance": measures["total_variance"],
            "unique_ids": ids,
            "unique_share": ids / rows,
            "collision_rate": 1 - ids / rows,
            "colliding_item_rate": colliding / rows,
            "max_bucket": largest,
            "levels": levels,
        }
    )


def optional(module: str, extra: str) -> None:
    """Says what to install where a package is missing that only some need."""
    try:
        importlib.import_module(module)
    except ImportError as missing:
        raise ImportError(f"`sememe.{extra}` works on {module}, which is not here: `pip install 'sememe[{extra}]'`") from missing

