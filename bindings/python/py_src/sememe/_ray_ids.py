"""The table of IDs on Ray: the same folders of parquet files as on Spark."""

from __future__ import annotations

import os
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from . import _cluster, _exchange
from ._cluster import Parcel, Place
from ._table import BATCH, batches_among, other_codec, somebody_else
from .codec import Codec
from .errors import DataError, RowTypeError
from .ray import get, task, use_threads

_SCHEMA = pa.schema([("key", pa.string()), ("codes", pa.list_(pa.int32())), ("counter", pa.int32()), ("codec", pa.string())])

# An item on its way: where it stands in the dataset (a block of -1 is the table of IDs), its codes as text, its counter or -1.
_ITEM = pa.schema([("key", pa.string()), ("codes", pa.string()), ("counter", pa.int32()), ("block", pa.int64()), ("row", pa.int64())])


def _file_system(place: str) -> tuple[Any, str]:
    if "://" in place:
        found: tuple[Any, str] = fs.FileSystem.from_uri(place)
        return found
    return fs.LocalFileSystem(), os.path.abspath(place)


def _texts(codes: np.ndarray[Any, Any]) -> list[str]:
    return ["-".join(map(str, one)) for one in codes.tolist()]


def _items(keys: Any, codes: Any, counters: Any, block: Any, rows: Any) -> Any:
    return pa.table([keys, codes, counters, block, rows], schema=_ITEM)


def _asked(table: Any, parcel: Parcel, column: str, key: str, part: int) -> Any:
    """The items of a block, encoded."""
    n, place = table.num_rows, Place(f"partition {part}")
    if n == 0:
        return _ITEM.empty_table()
    keys = table.column(key).combine_chunks()
    if not (pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type) or pa.types.is_integer(keys.type)):
        raise RowTypeError(f"`{key}`: expected keys that are texts or whole numbers, got {keys.type}; cast them")
    keys = keys.cast(pa.string())
    empty = pc.or_(keys.is_null(), pc.equal(pc.fill_null(pc.binary_length(keys), 0), 0))
    if (bad := pc.index(empty, True).as_py()) >= 0:
        raise DataError(f"`{key}`: the key of {place.row(bad)} is missing or empty; every item needs one")
    codes = _cluster.encoded(_cluster.codec_of(parcel), table.column(column).combine_chunks(), column, place, None)
    return _items(keys, pa.array(_texts(codes), pa.string()), np.full(n, -1, np.int32), np.full(n, part), np.arange(n))


def _kept(place: str, name: str) -> Any:
    """The items of a file of the table."""
    files, path = _file_system(place)
    with files.open_input_file(f"{path}/{name}") as opened:
        table = pq.read_table(opened, columns=["key", "codes", "counter"])
    n = table.num_rows
    lists = table.column("codes").combine_chunks()
    codes = lists.flatten().to_numpy(zero_copy_only=False).reshape(n, -1) if n else np.zeros((0, 1), np.int64)
    return _items(table.column("key"), pa.array(_texts(codes), pa.string()), table.column("counter"), np.full(n, -1), np.arange(n))


def _sorted(table: Any, *columns: str) -> Any:
    # Texts are ordered by their bytes.
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in columns]))


def _recognised(key: str, *parts: Any) -> Any:
    """Items of the same keys: those that have an ID take its codes and counter."""
    table = _sorted(pa.concat_tables(parts), "key", "block")
    keys, codes = table.column("key").to_pylist(), table.column("codes").to_pylist()
    block, counter = table.column("block").to_numpy(), table.column("counter").to_numpy().copy()
    for at in range(1, len(keys)):
        if keys[at] == keys[at - 1]:
            if block[at - 1] >= 0:
                raise DataError(f"`{key}`: several items have the same key `{keys[at]}`; every item needs its own")
            codes[at], counter[at] = codes[at - 1], counter[at - 1]
    return _items(table.column("key"), pa.array(codes, pa.string()), counter, table.column("block"), table.column("row"))


@task
def _numbered(blocks: int, *parts: Any) -> Any:
    """Items on the same codes: those without a counter get the next ones. The items of each block, and those whose IDs are new."""
    use_threads()
    table = _sorted(pa.concat_tables(parts), "codes", "key")
    codes, counter = table.column("codes").to_pylist(), table.column("counter").to_numpy().copy()
    new = counter < 0
    top: dict[str, int] = {}
    for text, taken in zip(codes, counter.tolist(), strict=True):
        top[text] = max(top.get(text, 0), taken + 1)
    for at in np.flatnonzero(new).tolist():
        counter[at] = top[codes[at]]
        top[codes[at]] += 1
    table = table.set_column(2, _ITEM.field("counter"), pa.array(counter))
    asked = table.filter(pc.greater_equal(table.column("block"), 0))
    return [*_exchange.pieces(asked, asked.column("block").to_numpy(), blocks), table.filter(pa.array(new))]


def _written(place: str, name: str, codec: str, fresh: Any) -> int:
    """Writes new IDs to a file, if there are any. Apart from the numbering: a table that was lost is made again, a file is not."""
    if fresh.num_rows:
        codes = pa.array([list(map(int, text.split("-"))) for text in fresh.column("codes").to_pylist()], pa.list_(pa.int32()))
        hashes = pa.array([codec] * fresh.num_rows, pa.string())
        files, path = _file_system(place)
        with files.open_output_stream(f"{path}/{name}") as out:
            pq.write_table(pa.table([fresh.column("key"), codes, fresh.column("counter"), hashes], schema=_SCHEMA), out)
    return int(fresh.num_rows)


def _named(output: str, block: Any, *parts: Any) -> Any:
    """A block with the IDs of its items."""
    table = pa.concat_tables(parts)
    order = np.argsort(table.column("row").to_numpy()).tolist()
    codes, counters = table.column("codes").to_pylist(), table.column("counter").to_pylist()
    ids = [[*map(int, codes[at].split("-")), counters[at]] for at in order]
    return block.append_column(output, pa.array(ids, pa.list_(pa.int32())))


class Table:
    """IDs as they are when it is made, and the one extension that may follow."""

    def __init__(self, place: str, codec: Codec) -> None:
        self.place, self.codec = place, codec
        self._files, self._path = _file_system(place)
        there = self._files.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        self._batches = batches_among(place, (one.base_name for one in there))
        self._parts: list[str] = []
        for number in self._batches:
            inside = self._files.get_file_info(fs.FileSelector(f"{self._path}/{BATCH}{number}"))
            self._parts += [f"{BATCH}{number}/{one.base_name}" for one in inside if one.base_name.endswith(".parquet")]
        for part in self._parts:
            with self._files.open_input_file(f"{self._path}/{part}") as opened:
                file = pq.ParquetFile(opened)
                if file.metadata.num_rows == 0:
                    continue
                kept = next(file.iter_batches(1, columns=["codec"])).column(0)[0].as_py()
            if kept != codec.content_hash:
                raise other_codec(place, kept, codec)
            break

    def extend(self, blocks: list[Any], parcel: Parcel, column: str, key: str, output: str) -> list[Any]:
        """The blocks with the IDs of their items, after those that had none got one."""
        buckets, writing = _exchange.buckets_for(len(blocks)), f"_writing-{uuid.uuid4().hex}"
        work: list[_exchange.Work] = [(_kept, (self.place, part)) for part in self._parts]
        work += [(_asked, (block, parcel, column, key, part)) for part, block in enumerate(blocks)]
        recognised = [(_recognised, (key, *parts)) for parts in _exchange.by_text(work, "key", buckets)]
        number = _numbered.options(num_returns=len(blocks) + 1)
        numbered = [number.remote(len(blocks), *parts) for parts in _exchange.by_text(recognised, "codes", buckets)]
        self._files.create_dir(f"{self._path}/{writing}", recursive=True)
        try:
            files = [(self.place, f"{writing}/part-{bucket:05}.parquet", self.codec.content_hash) for bucket in range(buckets)]
            written = get([_exchange.call.remote(_written, *file, made[-1]) for file, made in zip(files, numbered, strict=True)])
            if sum(written):
                self._rename(f"{self._path}/{writing}", f"{self._path}/{BATCH}{self._batches[-1] + 1 if self._batches else 1}")
        finally:
            if self._files.get_file_info(f"{self._path}/{writing}").type != fs.FileType.NotFound:
                self._files.delete_dir(f"{self._path}/{writing}")
        return [_exchange.call.remote(_named, output, block, *(made[at] for made in numbered)) for at, block in enumerate(blocks)]

    def _rename(self, writing: str, batch: str) -> None:
        # Some file systems move into a folder that is there; the local one refuses by itself.
        if self._files.get_file_info(batch).type != fs.FileType.NotFound:
            raise somebody_else(self.place, batch)
        try:
            self._files.move(writing, batch)
        except OSError as problem:
            if self._files.get_file_info(batch).type != fs.FileType.NotFound:
                raise somebody_else(self.place, batch) from problem
            raise
