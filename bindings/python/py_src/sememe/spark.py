"""Semantic IDs on Spark: encode, decode, fit, unique IDs and measures, over the machines that a Spark session has.

Every function takes a `pyspark.sql.DataFrame` with a column of vectors: `array<float>`, `array<double>` or ML vectors. Codes are the same
as on one machine, a fitted codec is the same bytes at any number of partitions. All machines need this package.

    from sememe import spark

    codec = spark.fit(frame, "embedding", levels=3, codebook_size=256)
    coded = spark.encode(frame, codec, "embedding")
    named = spark.assign(frame, codec, "embedding", "item", ids="hdfs:///ids")
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import _cluster, distributed
from ._cluster import ClusterEvaluation, Parcel, Place, raised_here
from ._progress import Progress
from ._settings import refused, whole
from .codec import Codec
from .errors import DataError, RowTypeError

_cluster.optional("pyspark", "spark")

import pyarrow as pa
from pyspark import TaskContext
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import functions as F
from pyspark.sql import types as T

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["assign", "decode", "encode", "evaluate", "fit"]

# Columns of our own for a while; no frame of anybody's has them.
ROWS, KEY, _MADE = "__sememe_rows", "__sememe_key", "__sememe_made"
_CODES = T.ArrayType(T.IntegerType())


class _Broadcast:
    """Bytes that every executor fetches once."""

    def __init__(self, frame: DataFrame, data: bytes) -> None:
        self._sent = frame.sparkSession.sparkContext.broadcast(data)

    def open(self) -> bytes:
        return bytes(self._sent.value)

    def forget(self) -> None:
        self._sent.destroy()


def _send(frame: DataFrame, what: str, data: bytes) -> tuple[Parcel, _Broadcast]:
    handle = _Broadcast(frame, data)
    return Parcel.of(what, data, handle), handle


def _here() -> str:
    """The partition that this worker is at, with as many threads as its task has cores."""
    task = TaskContext.get()
    if task is None:
        return "a partition"
    _cluster.use_threads(task.cpus())
    return f"partition {task.partitionId()}"


class _Encode:
    """Adds codes to the first columns of batches, of the rows in the column at a place."""

    def __init__(self, parcel: Parcel, at: int, stay: int, name: str, beam: int | None) -> None:
        self.parcel, self.at, self.stay, self.name, self.beam = parcel, at, stay, name, beam

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        place, codec = Place(_here()), _cluster.codec_of(self.parcel)
        for batch in batches:
            codes = _cluster.encoded(codec, batch.column(self.at), self.name, place, self.beam)
            yield _with(batch, self.stay, _cluster.lists_of(codes))


class _Decode:
    """Adds the rows that codes stand for."""

    def __init__(self, parcel: Parcel, at: int, name: str) -> None:
        self.parcel, self.at, self.name = parcel, at, name

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        place, codec = Place(_here()), _cluster.codec_of(self.parcel)
        for batch in batches:
            yield _with(batch, batch.num_columns, _cluster.decoded(codec, batch.column(self.at), self.name, place))


def _with(batch: Any, stay: int, values: Any) -> Any:
    columns = [batch.column(at) for at in range(stay)]
    return pa.RecordBatch.from_arrays([*columns, values], names=[*batch.schema.names[:stay], _MADE])


class _Answer:
    """One partial a partition."""

    def __init__(self, parcel: Parcel, name: str, dims: int) -> None:
        self.parcel, self.name, self.dims = parcel, name, dims

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        part = _here()
        columns = (batch.column(0) for batch in batches)
        partial = _cluster.answered(self.parcel.open(), columns, self.name, self.dims, part)
        if partial is not None:
            yield _partial(partial)


class _Merge:
    """The partials of a partition as one."""

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        _here()
        partials = (bytes(one.as_py()) for batch in batches for one in batch.column(0))
        if (first := next(partials, None)) is not None:
            yield _partial(distributed.merge(itertools.chain([first], partials)))


def _partial(data: bytes) -> Any:
    return pa.RecordBatch.from_arrays([pa.array([data], pa.binary())], names=["partial"])


def _vectors(frame: DataFrame, column: str) -> Column:
    """The column as `array<float>` or `array<double>`."""
    kind = frame.schema[column].dataType
    # An ML vector, by its name: pyspark.ml needs numpy and more, and most frames have none.
    if type(kind).__name__ == "VectorUDT":
        from pyspark.ml.functions import vector_to_array
        from pyspark.ml.linalg import VectorUDT

        if not isinstance(kind, VectorUDT):
            raise RowTypeError(f"`{column}`: the vectors are of MLlib's first interface; bring them over with `MLUtils.convertVectorColumnsToML`")
        return vector_to_array(_named(column), "float32")
    if not isinstance(kind, T.ArrayType):
        raise RowTypeError(f"`{column}`: expected array<float>, array<double> or vectors, got {kind.simpleString()}")
    if not isinstance(kind.elementType, (T.FloatType, T.DoubleType)):
        raise RowTypeError(
            f"`{column}`: expected array<float>, array<double> or vectors, got {kind.simpleString()}; cast it, "
            f'`df.withColumn("{column}", col("{column}").cast("array<float>"))`'
        )
    return _named(column)


def _named(column: str) -> Column:
    # Without the ticks a dot would mean a field.
    return F.col("`" + column.replace("`", "``") + "`")


def _check(df: DataFrame, wanted: dict[str, str], output: dict[str, str] | None = None) -> None:
    if not hasattr(df, "mapInArrow"):
        kind = type(df)
        raise RowTypeError(f"`df`: expected a `pyspark.sql.DataFrame`, got `{kind.__module__}.{kind.__qualname__}`")
    try:
        _ = df.sparkSession.sparkContext
    except PySparkException:
        raise refused("df", "is of Spark Connect, whose sessions cannot broadcast; give a frame of a session that runs in this process") from None
    _cluster.check_columns(df.columns, wanted, output)


def encode(df: DataFrame, codec: Codec, column: str, *, output: str = "codes", beam: int | None = None) -> DataFrame:
    """The frame with the codes of a column of vectors, `array<int>` of as many as the codec has levels. All other columns stay.

    Lazy, as frames are: bad rows fail the job that needs the codes. All columns travel through Python, so select those that are needed first.

    Parameters
    ----------
    column
        Vectors: `array<float>`, `array<double>` or ML vectors.
    output
        The name of the new column.
    beam
        Prefixes a row that are kept; by default the codec's own.

    Raises
    ------
    SettingError, RowTypeError
        For columns that are not there or of another type. On workers, `NonFiniteError`, `DataError` and `ShapeError` name the row and its
        partition, and `CodecError` both hashes if the codec that arrived is another one.
    """
    _check(df, {"column": column}, {"output": output})
    data = _cluster.as_codec(codec).to_bytes()
    if beam is not None:
        beam = whole("beam", beam, 1)
    rows = _vectors(df, column)
    parcel, _ = _send(df, "codec", data)
    # An array is read where it lies; a vector becomes one in a column beside it.
    apart = not isinstance(df.schema[column].dataType, T.ArrayType)
    at = len(df.columns) if apart else df.columns.index(column)
    return _mapped(df, [rows] if apart else [], _Encode(parcel, at, len(df.columns), column, beam), output, _CODES)


def _mapped(df: DataFrame, beside: list[Column], work: Any, output: str, kind: T.DataType) -> DataFrame:
    """The frame with a column that a function makes batch by batch, of the frame's columns and of others beside them that go again."""
    source = df.select("*", *beside)
    # `mapInArrow` takes a dot in a name for a field.
    source = source.toDF(*(f"c{at}" for at in range(len(source.columns))))
    fields = [T.StructField(f"c{at}", one.dataType, one.nullable, one.metadata) for at, one in enumerate(df.schema.fields)]
    return source.mapInArrow(work, T.StructType([*fields, T.StructField(_MADE, kind)])).toDF(*df.columns, output)


def decode(df: DataFrame, codec: Codec, column: str = "codes", *, output: str = "embedding") -> DataFrame:
    """The frame with the vectors `array<float>` that codes stand for; with fewer codes than levels, the approximation at that depth.

    Raises
    ------
    SettingError, RowTypeError
        For columns that are not there or of another type. On workers, `DataError` and `ShapeError` for codes that the codec has not.
    """
    _check(df, {"column": column}, {"output": output})
    kind = df.schema[column].dataType
    whole_numbers = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
    if not isinstance(kind, T.ArrayType) or not isinstance(kind.elementType, whole_numbers):
        raise RowTypeError(f"`{column}`: expected array<int>, got {kind.simpleString()}")
    parcel, _ = _send(df, "codec", _cluster.as_codec(codec).to_bytes())
    return _mapped(df, [], _Decode(parcel, df.columns.index(column), column), output, T.ArrayType(T.FloatType()))


def _run_round(rows: DataFrame, name: str, dims: int, steps: list[int], round: bytes) -> bytes:
    """A round over all rows: a partial a partition, merged on the executors until there are few."""
    parcel, sent = _send(rows, "round", round)
    try:
        partials = rows.mapInArrow(_Answer(parcel, name, dims), "partial binary")
        for left in steps:
            partials = partials.repartition(left).mapInArrow(_Merge(), "partial binary")
        with raised_here((PythonException,)):
            found = [bytes(row.partial) for row in partials.collect()]
    finally:
        sent.forget()
    if not found:
        raise DataError("the frame has no rows; there is nothing to learn or to measure")
    return distributed.merge(found)


def _rows_only(df: DataFrame, column: str) -> tuple[DataFrame, int, list[int]]:
    """The vectors alone, their dimensions, and how partials of so many partitions are merged."""
    rows = df.select(_vectors(df, column).alias(ROWS))
    first = rows.where(F.col(ROWS).isNotNull()).select(F.size(ROWS).alias("dims")).first()
    if first is None:
        raise DataError(f"`{column}`: the frame has no rows; there is nothing to learn or to measure")
    return rows, int(first.dims), _cluster.merge_steps(rows.rdd.getNumPartitions())


def fit(
    df: DataFrame,
    column: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress = None,
    **settings: Any,
) -> Codec:
    """Fits a codec to all rows of a frame, wherever they are. The same seed makes the same bytes at any number of partitions and workers.

    The work is a chain of rounds. In each, a worker reads the rows of a partition and returns sums; the driver takes them and asks the next
    question. Nothing is stored on workers, so a lost one costs its partitions' share of a round. A round reads all rows anew: give a frame
    that is cheap to read, a parquet of vectors or one that is persisted.

    Parameters
    ----------
    column
        Vectors: `array<float>`, `array<double>` or ML vectors.
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
        For settings, columns and frames that cannot be used.
    NonFiniteError, ShapeError
        For bad rows; they name the row and its partition.
    """
    _check(df, {"column": column})
    rows, dims, steps = _rows_only(df, column)
    return distributed.fit(
        lambda round: _run_round(rows, column, dims, steps, round),
        dims,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        **settings,
    )


def evaluate(df: DataFrame, codec: Codec, column: str) -> ClusterEvaluation:
    """Measures a codec on all rows of a frame: R² level by level, utilisation, perplexity, and how many items share their codes.

    Raises
    ------
    SettingError, RowTypeError, DataError, NonFiniteError, ShapeError
        As `encode` and `fit`.
    """
    _check(df, {"column": column})
    codec = _cluster.as_codec(codec)
    rows, _, steps = _rows_only(df, column)
    measures = distributed.measures(_run_round(rows, column, codec.dims, steps, distributed.measure_round(codec)))
    with raised_here((PythonException,)):
        loads = encode(df.select(_named(column)), codec, column, output=KEY).groupBy(KEY).count()
        shared = F.when(F.col("count") > 1, F.col("count")).otherwise(0)
        found = loads.agg(F.count("*").alias("ids"), F.max("count").alias("most"), F.sum(shared).alias("shared")).first()
    assert found is not None
    return _cluster.evaluation(codec, measures, int(found.ids), int(found.most), int(found.shared))


def assign(df: DataFrame, codec: Codec, column: str, key: str, *, ids: str | os.PathLike[str], output: str = "id") -> DataFrame:
    """The frame with a unique ID an item, for good: its codes, and which of the items on these codes it is.

    New items on the same codes are numbered in the order of their keys, above the numbers that are taken; an item that has an ID keeps it.
    IDs are kept in a table of parquet files, which each call extends by one folder, whole or not at all: `batch=1`, `batch=2`, … with `key`,
    `codes`, `counter` and `codec`, the hash of the codec. Two calls at once: one of them is refused and may be made again.

    Parameters
    ----------
    key
        The items' keys: texts or whole numbers, each once.
    ids
        The folder of the table on a file system that all machines see, made if it is not there. Its renames must be atomic, as HDFS's and
        local ones are.
    output
        The name of the new column, `array<int>` of levels + 1.

    Raises
    ------
    DataError
        For an empty, missing or repeated key.
    StoreError
        If the table holds another codec's IDs, or another call extended it meanwhile.
    """
    from . import _spark_ids

    _check(df, {"column": column, "key": key}, {"output": output})
    table = _spark_ids.Table(df.sparkSession, os.fspath(ids), _cluster.as_codec(codec))
    _vectors(df, column)
    items = df.select(_spark_ids.key_text(df, key).alias(KEY), _named(column))
    with raised_here((PythonException,)):
        _spark_ids.check_keys(items, key)
        table.extend(items, lambda fresh: encode(fresh, codec, column))
    named = table.ids().select(F.col("key").alias(KEY), F.concat("codes", F.array("counter")).alias(output))
    columns = [_named(name) for name in [*df.columns, output]]
    return df.withColumn(KEY, _spark_ids.key_text(df, key)).join(named, KEY, "left").select(*columns)
