"""Semantic IDs on Ray: encode, decode, fit, unique IDs and measures, over the machines of a Ray cluster.

Every function takes a `ray.data.Dataset` with a column of vectors: lists of float32, float64 or float16, or tensors of one dimension. Codes
are the same as on one machine, a fitted codec is the same bytes at any number of blocks. All machines need this package.

    from sememe import ray as on_ray

    codec = on_ray.fit(dataset, "embedding", levels=3, codebook_size=256)
    coded = on_ray.encode(dataset, codec, "embedding")
    named = on_ray.assign(dataset, codec, "embedding", "item", ids="/shared/ids")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _cluster, distributed
from ._cluster import ClusterEvaluation, Parcel, Place, raised_here
from ._progress import Progress
from ._settings import whole
from .codec import Codec
from .errors import DataError, RowTypeError, SememeError

_cluster.optional("ray.data", "ray")

import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["assign", "decode", "encode", "evaluate", "fit"]


def task(work: Callable[..., Any]) -> Any:
    """A function that runs on workers. If one is killed, it runs again on another, however often; what fails by itself does not."""
    return ray.remote(num_cpus=1, max_retries=-1)(work)



class _Put:
    """Bytes in the object store: once a machine."""

    def __init__(self, data: bytes) -> None:
        self._reference = ray.put(data)

    def open(self) -> bytes:
        return bytes(ray.get(self._reference))


def send(what: str, data: bytes) -> Parcel:
    return Parcel.of(what, data, _Put(data))


def use_threads() -> None:
    """As many threads as the task has processors."""
    _cluster.use_threads(float(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))


def _here() -> str:
    from ray.data._internal.execution.interfaces import TaskContext

    use_threads()
    task = TaskContext.get_current()
    return "a partition" if task is None else f"partition {task.task_idx}"


class _Encode:
    """Adds codes to batches. Called in tasks, which begin at once where actors take seconds; the codec is read once a process."""

    def __init__(self, parcel: Parcel, column: str, output: str, beam: int | None) -> None:
        self.parcel, self.column, self.output, self.beam = parcel, column, output, beam

    def __call__(self, batch: Any) -> Any:
        if _is_bare(batch, self.column):
            return batch
        codec = _cluster.codec_of(self.parcel)
        codes = _cluster.encoded(codec, batch.column(self.column), self.column, Place(_here()), self.beam)
        return batch.append_column(self.output, _cluster.lists_of(codes))


class _Decode:
    """Adds the rows that codes stand for."""

    def __init__(self, parcel: Parcel, column: str, output: str) -> None:
        self.parcel, self.column, self.output = parcel, column, output

    def __call__(self, batch: Any) -> Any:
        if _is_bare(batch, self.column):
            return batch
        codec = _cluster.codec_of(self.parcel)
        return batch.append_column(self.output, _cluster.decoded(codec, batch.column(self.column), self.column, Place(_here())))


def _is_bare(table: Any, column: str) -> bool:
    """A block without rows may have forgotten its columns."""
    return table.num_rows == 0 and column not in table.column_names


def _column(table: Any, name: str) -> Any:
    return pa.array([], pa.list_(pa.float32())) if _is_bare(table, name) else table.column(name).combine_chunks()


def _dataset(ds: Dataset, wanted: dict[str, str], output: dict[str, str] | None = None) -> Dataset:
    if not hasattr(ds, "map_batches"):
        kind = type(ds)
        raise RowTypeError(f"`ds`: expected a `ray.data.Dataset`, got `{kind.__module__}.{kind.__qualname__}`")
    columns = ds.columns()
    # One without rows has no columns.
    if columns is not None:
        _cluster.check_columns(columns, wanted, output)
    return ds


def encode(ds: Dataset, codec: Codec, column: str, *, output: str = "codes", beam: int | None = None) -> Dataset:
    """The dataset with the codes of a column of vectors: lists of as many `int32` as the codec has levels. All other columns stay.

    Lazy, as datasets are: bad rows fail the execution that needs the codes.

    Parameters
    ----------
    column
        Vectors: lists of floats, or tensors of one dimension.
    output
        The name of the new column.
    beam
        Prefixes a row that are kept; by default the codec's own.

    Raises
    ------
    SettingError, RowTypeError
        For columns that are not there. On workers, `RowTypeError`, `NonFiniteError`, `DataError` and `ShapeError` name the column, the row
        and its partition, and `CodecError` both hashes if the codec that arrived is another one.
    """
    _dataset(ds, {"column": column}, {"output": output})
    if beam is not None:
        beam = whole("beam", beam, 1)
    parcel = send("codec", _cluster.as_codec(codec).to_bytes())
    return ds.map_batches(_Encode(parcel, column, output, beam), batch_format="pyarrow", batch_size=None, num_cpus=1)


def decode(ds: Dataset, codec: Codec, column: str = "codes", *, output: str = "embedding") -> Dataset:
    """The dataset with the vectors that codes stand for, lists of `float32`; with fewer codes than levels, the approximation at that depth.

    Raises
    ------
    SettingError, RowTypeError
        For columns that are not there. On workers, `DataError` and `ShapeError` for codes that the codec has not.
    """
    _dataset(ds, {"column": column}, {"output": output})
    parcel = send("codec", _cluster.as_codec(codec).to_bytes())
    return ds.map_batches(_Decode(parcel, column, output), batch_format="pyarrow", batch_size=None, num_cpus=1)


@task
def _dims(block: Any, column: str) -> int | None:
    for one in _column(block, column):
        if one.is_valid:
            return len(one.as_py())
    return None


@task
def _answer(parcel: Parcel, block: Any, column: str, dims: int, part: int) -> bytes | None:
    use_threads()
    return _cluster.answered(parcel.open(), [_column(block, column)], column, dims, f"partition {part}")


@task
def _merge(*partials: bytes | None) -> bytes | None:
    use_threads()
    found = [one for one in partials if one is not None]
    return distributed.merge(found) if found else None


def get(references: list[Any]) -> list[Any]:
    """What tasks returned; an error of ours as itself."""
    try:
        with raised_here((RayTaskError,)):
            return list(ray.get(references))
    except RayTaskError as report:
        if isinstance(report.cause, SememeError):
            raise report.cause from report
        raise


def blocks_of(ds: Dataset) -> list[Any]:
    """References to Arrow tables in the object store, in the dataset's order."""
    with raised_here((RayTaskError,)):
        return list(ds.materialize().to_arrow_refs())


def _run_round(blocks: list[Any], column: str, dims: int, round: bytes) -> bytes:
    """A round over all rows: a partial a block, merged on the workers until there are few."""
    parcel = send("round", round)
    partials = [_answer.remote(parcel, block, column, dims, part) for part, block in enumerate(blocks)]
    for left in _cluster.merge_steps(len(partials)):
        partials = [_merge.remote(*partials[at::left]) for at in range(left)]
    found = [one for one in get(partials) if one is not None]
    if not found:
        raise DataError("the dataset has no rows; there is nothing to learn or to measure")
    return distributed.merge(found)


def _rows_only(ds: Dataset, column: str) -> tuple[list[Any], int]:
    """The vectors in the object store, and their dimensions."""
    columns = ds.columns()
    blocks = blocks_of(ds if columns in (None, [column]) else ds.select_columns([column]))
    for block in blocks:
        dims = get([_dims.remote(block, column)])[0]
        if dims is not None:
            return blocks, dims
    raise DataError(f"`{column}`: the dataset has no rows; there is nothing to learn or to measure")


def fit(
    ds: Dataset,
    column: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress = None,
    **settings: Any,
) -> Codec:
    """Fits a codec to all rows of a dataset, wherever they are. The same seed makes the same bytes at any number of blocks and workers.

    The work is a chain of rounds. In each, a task reads the rows of a block and returns sums; the driver takes them and asks the next
    question. Tasks keep nothing, so a lost worker costs its blocks' share of a round. The column of vectors is put in the object store
    first, which spills to disk what memory does not hold.

    Parameters
    ----------
    column
        Vectors: lists of floats, or tensors of one dimension.
    checkpoint, resume
        A file on the driver that is written after each round, and going on from it.
    progress
        As for `Codec.train`.
    settings
        Those of `Codec.train(method="kmeans")` that apply: `levels`, `codebook_size`, `iterations`, `seed`, `metric`, `balance`, …; and
        `sample_rows`, how many rows are drawn to start from. See `sememe.distributed.fit`.

    Raises
    ------
    SettingError, RowTypeError, DataError
        For settings, columns and datasets that cannot be used.
    NonFiniteError, ShapeError
        For bad rows; they name the row and its partition, which is its block's number.
    """
    _dataset(ds, {"column": column})
    blocks, dims = _rows_only(ds, column)
    return distributed.fit(
        lambda round: _run_round(blocks, column, dims, round),
        dims,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        **settings,
    )


def _counted(block: Any, parcel: Parcel, column: str, part: int) -> Any:
    """Each code of a block, as text, and how many rows have it."""
    codes = _cluster.encoded(_cluster.codec_of(parcel), _column(block, column), column, Place(f"partition {part}"), None)
    found, counts = np.unique(codes, axis=0, return_counts=True)
    return pa.table({"codes": pa.array(["-".join(map(str, one)) for one in found.tolist()], pa.string()), "count": counts})


def _summed(*parts: Any) -> tuple[int, int, int]:
    """Distinct codes, rows of the most frequent, and rows that share theirs."""
    loads = pa.concat_tables(parts).group_by("codes").aggregate([("count", "sum")]).column("count_sum").to_numpy()
    return len(loads), int(loads.max(initial=0)), int(loads[loads > 1].sum())


def evaluate(ds: Dataset, codec: Codec, column: str) -> ClusterEvaluation:
    """Measures a codec on all rows of a dataset: R² level by level, utilisation, perplexity, and how many items share their codes.

    Raises
    ------
    SettingError, RowTypeError, DataError, NonFiniteError, ShapeError
        As `encode` and `fit`.
    """
    from . import _exchange

    _dataset(ds, {"column": column})
    codec = _cluster.as_codec(codec)
    blocks, _ = _rows_only(ds, column)
    measures = distributed.measures(_run_round(blocks, column, codec.dims, distributed.measure_round(codec)))
    parcel = send("codec", codec.to_bytes())
    work: list[_exchange.Work] = [(_counted, (block, parcel, column, part)) for part, block in enumerate(blocks)]
    buckets = _exchange.by_text(work, "codes", _exchange.buckets_for(len(blocks)))
    found = get([_exchange.call.remote(_summed, *parts) for parts in buckets])
    ids, most, shared = sum(one[0] for one in found), max(one[1] for one in found), sum(one[2] for one in found)
    return _cluster.evaluation(codec, measures, ids, most, shared)


def assign(ds: Dataset, codec: Codec, column: str, key: str, *, ids: str | os.PathLike[str], output: str = "id") -> Dataset:
    """The dataset with a unique ID an item, for good: its codes, and which of the items on these codes it is.

    New items on the same codes are numbered in the order of their keys, above the numbers that are taken; an item that has an ID keeps it.
    IDs are kept in a table of parquet files, the same that `sememe.spark.assign` keeps, which each call extends by one folder, whole or not
    at all: `batch=1`, `batch=2`, … with `key`, `codes`, `counter` and `codec`, the hash of the codec. Two calls at once: one of them is
    refused and may be made again. The dataset is put in the object store, which spills to disk what memory does not hold.

    Parameters
    ----------
    key
        The items' keys: texts or whole numbers, each once.
    ids
        The folder of the table on a file system that all machines see, made if it is not there. Its renames must be atomic, as HDFS's and
        local ones are.
    output
        The name of the new column, lists of levels + 1 `int32`.

    Raises
    ------
    DataError
        For an empty, missing or repeated key.
    StoreError
        If the table holds another codec's IDs, or another call extended it meanwhile.
    """
    from . import _ray_ids

    _dataset(ds, {"column": column, "key": key}, {"output": output})
    table = _ray_ids.Table(os.fspath(ids), _cluster.as_codec(codec))
    with raised_here((RayTaskError,)):
        made = ds.materialize()
        if made.count() == 0:
            raise DataError(f"`{key}`: the dataset has no rows; there is nothing to give IDs to")
    blocks = list(made.to_arrow_refs())
    return ray.data.from_arrow_refs(table.extend(blocks, send("codec", codec.to_bytes()), column, key, output))
