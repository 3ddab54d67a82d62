"""The table of IDs on Spark: one folder of parquet files for each call that gave items IDs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ._table import BATCH, batches_among, other_codec, somebody_else
from .codec import Codec
from .errors import DataError, RowTypeError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_SCHEMA = T.StructType(
    [
        T.StructField("key", T.StringType()),
        T.StructField("codes", T.ArrayType(T.IntegerType())),
        T.StructField("counter", T.IntegerType()),
        T.StructField("codec", T.StringType()),
    ]
)


def key_text(df: DataFrame, key: str) -> Column:
    """Keys as texts, whole numbers in digits."""
    kind = df.schema[key].dataType
    if not isinstance(kind, (T.StringType, T.ByteType, T.ShortType, T.IntegerType, T.LongType)):
        raise RowTypeError(f"`{key}`: expected keys that are texts or whole numbers, got {kind.simpleString()}; cast them")
    # Texts that somebody compares by a language's rules are told apart, and ordered, by their bytes.
    text = F.col("`" + key.replace("`", "``") + "`").cast("string")
    return F.collate(text, "UTF8_BINARY") if isinstance(kind, T.StringType) else text


def check_keys(items: DataFrame, key: str) -> None:
    """Refuses frames without rows, and keys that are missing, empty or there twice."""
    column = items.columns[0]
    found = items.agg(
        F.count("*").alias("rows"),
        F.count_distinct(F.col(column)).alias("distinct"),
        F.sum(F.when(F.col(column).isNull() | (F.length(column) == 0), 1).otherwise(0)).alias("empty"),
    ).first()
    assert found is not None
    if not found.rows:
        raise DataError(f"`{key}`: the frame has no rows; there is nothing to give IDs to")
    if found.empty:
        raise DataError(f"`{key}`: {found.empty} of {found.rows} keys are missing or empty; every item needs one")
    if found.distinct != found.rows:
        twice = items.groupBy(column).count().where("count > 1").orderBy(column).first()
        assert twice is not None
        raise DataError(f"`{key}`: {twice['count']} items have the same key `{twice[column]}`; every item needs its own")


class Table:
    """IDs as they are when it is made, and the one extension that may follow."""

    def __init__(self, session: SparkSession, place: str, codec: Codec) -> None:
        self.session, self.place, self.codec = session, place.rstrip("/"), codec
        jvm, context = session._jvm, session.sparkContext
        self._path: Any = jvm.org.apache.hadoop.fs.Path
        root = self._path(self.place)
        self._files: Any = root.getFileSystem(context._jsc.hadoopConfiguration())
        # Its rename refuses to replace a folder that is there, or to move into it.
        self._renames: Any = jvm.org.apache.hadoop.fs.FileContext.getFileContext(self._files.getUri(), context._jsc.hadoopConfiguration())
        options = getattr(jvm, "org.apache.hadoop.fs.Options$Rename")
        self._plain: Any = context._gateway.new_array(options, 0)
        there = self._files.listStatus(root) if self._files.exists(root) else []
        self._batches = batches_among(self.place, (one.getPath().getName() for one in there))
        kept = self.ids().select("codec").first()
        if kept is not None and kept.codec != codec.content_hash:
            raise other_codec(self.place, kept.codec, codec)

    def ids(self) -> DataFrame:
        """All IDs: `key`, `codes`, `counter`, `codec`."""
        if not self._batches:
            return self.session.createDataFrame([], _SCHEMA)
        folders = [f"{self.place}/{BATCH}{number}" for number in self._batches]
        return self.session.read.schema(_SCHEMA).parquet(*folders)

    def extend(self, items: DataFrame, encode: Callable[[DataFrame], DataFrame]) -> None:
        """Gives items that have no ID yet one: their codes, numbered by key above the numbers that these codes have."""
        column = items.columns[0]
        known = self.ids()
        fresh = encode(items.join(known.select(F.col("key").alias(column)), column, "left_anti"))
        taken = known.groupBy("codes").agg((F.max("counter") + 1).alias("taken"))
        order = Window.partitionBy("codes").orderBy(column)
        numbered = fresh.join(taken, "codes", "left").select(
            F.col(column).alias("key"),
            "codes",
            (F.coalesce("taken", F.lit(0)) + F.row_number().over(order) - 1).cast("int").alias("counter"),
            F.lit(self.codec.content_hash).alias("codec"),
        )
        number = self._batches[-1] + 1 if self._batches else 1
        # Readers pass over names that begin with a line.
        writing = f"{self.place}/_writing-{uuid.uuid4().hex}"
        try:
            numbered.write.parquet(writing)
            if self.session.read.schema(_SCHEMA).parquet(writing).isEmpty():
                return
            self._rename(writing, f"{self.place}/{BATCH}{number}")
            self._batches.append(number)
        finally:
            self._files.delete(self._path(writing), True)

    def _rename(self, writing: str, batch: str) -> None:
        from py4j.protocol import Py4JJavaError

        try:
            self._renames.rename(self._path(writing), self._path(batch), self._plain)
        except Py4JJavaError as problem:
            if self._files.exists(self._path(batch)):
                raise somebody_else(self.place, batch) from problem
            raise
