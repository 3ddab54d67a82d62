"""Spark: codes, fits, IDs and measures equal those of one machine, whatever the partitions and whoever is killed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import clusters
import numpy as np
import pytest
from clusters import FIT, FITS, LONG

clusters.wanted("pyspark", "pyarrow", program="java")

import pyarrow as pa
from pyspark.errors import PythonException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

import sememe
from sememe import _cluster, spark


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    """Two executors in processes of their own; it takes a while to start."""
    place = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_WORKER_DIR"], os.environ["SPARK_LOCAL_DIRS"] = str(place / "work"), str(place / "local")
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("sememe")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        # What fails by itself is tried once more; a killed worker's task needs no more either.
        "spark.task.maxFailures": "2",
        "spark.sql.warehouse.dir": str(place / "warehouse"),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "64",
    }.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("OFF")
    yield made
    made.stop()


def table(rows: np.ndarray) -> pa.Table:
    keys = [f"item-{row}" for row in range(len(rows))]
    vectors = pa.array(list(rows), pa.list_(pa.float32()))
    return pa.table({"row": np.arange(len(rows)), "embedding": vectors, "key": keys})


@pytest.fixture(scope="module")
def frame(session: SparkSession, rows: np.ndarray):
    made = session.createDataFrame(table(rows)).repartition(3).persist()
    yield made
    made.unpersist()


def column(found, name: str) -> np.ndarray:
    """A column of lists in the order of the rows."""
    made = found.select("row", name).toArrow()
    return np.stack(made[name].to_pylist())[np.argsort(made["row"].to_numpy())]


def changed(frame, row: int, value):
    """The frame with one row's vector replaced."""
    return frame.withColumn("embedding", F.when(F.col("row") == row, value).otherwise(F.col("embedding")))


def test_codes_are_those_of_one_machine(frame, codec: sememe.Codec, rows: np.ndarray) -> None:
    coded = spark.encode(frame, codec, "embedding")
    assert coded.columns == [*frame.columns, "codes"] and coded.schema["codes"].dataType.simpleString() == "array<int>"
    codes = codec.encode(rows)
    assert (column(coded, "codes") == codes).all()
    np.testing.assert_allclose(column(spark.decode(coded, codec, output="back"), "back"), codec.decode(codes), rtol=1e-5, atol=1e-5)


def test_other_columns_stay(frame, plain: sememe.Codec, rows: np.ndarray) -> None:
    found = spark.encode(frame, plain, "embedding", output="semantic id").orderBy("row").toArrow()
    assert found.column_names == ["row", "embedding", "key", "semantic id"]
    assert found.drop(["semantic id"]).equals(table(rows).cast(found.drop(["semantic id"]).schema))


def test_vectors_of_other_types(frame, plain: sememe.Codec, rows: np.ndarray) -> None:
    from pyspark.ml.functions import array_to_vector

    codes = plain.encode(rows)
    double = frame.withColumn("embedding", F.col("embedding").cast("array<double>"))
    assert (column(spark.encode(double, plain, "embedding"), "codes") == codes).all()
    vectors = frame.withColumn("embedding", array_to_vector("embedding")).withColumnRenamed("embedding", "a.vector")
    coded = spark.encode(vectors, plain, "a.vector")
    assert (column(coded, "codes") == codes).all() and coded.schema["a.vector"] == vectors.schema["a.vector"]
    beam = plain.encode(rows, beam=4)
    assert (column(spark.encode(frame, plain, "embedding", beam=4), "codes") == beam).all()


def test_empty_frames(frame, plain: sememe.Codec) -> None:
    nothing = frame.where("row < 0")
    assert spark.encode(nothing, plain, "embedding").count() == 0
    few = frame.where("row = 5").repartition(4)
    assert spark.encode(few, plain, "embedding").count() == 1
    for work in (
        lambda: spark.fit(nothing, "embedding"),
        lambda: spark.evaluate(nothing, plain, "embedding"),
        lambda: spark.assign(nothing, plain, "embedding", "key", ids="/nowhere"),
    ):
        with pytest.raises(sememe.DataError, match="the frame has no rows"):
            work()


def test_columns_are_named(frame, plain: sememe.Codec) -> None:
    with pytest.raises(sememe.SettingError, match=r"there is no column `vector`, there are `row`, `embedding`, `key`"):
        spark.encode(frame, plain, "vector")
    with pytest.raises(sememe.SettingError, match=r"`output`: there is a column `key` already"):
        spark.encode(frame, plain, "embedding", output="key")
    with pytest.raises(sememe.RowTypeError, match=r"`key`: expected array<float>, array<double> or vectors, got string"):
        spark.fit(frame, "key")
    whole = frame.withColumn("embedding", F.col("embedding").cast("array<int>"))
    with pytest.raises(sememe.RowTypeError, match=r"`embedding`: .* got array<int>; cast it"):
        spark.encode(whole, plain, "embedding")
    with pytest.raises(sememe.RowTypeError, match=r"`df`: expected a `pyspark.sql.DataFrame`, got `pyarrow.lib.Table`"):
        spark.encode(frame.limit(1).toArrow(), plain, "embedding")
    with pytest.raises(sememe.RowTypeError, match=r"`codec`: expected a `sememe.Codec`, got `builtins.str`"):
        spark.encode(frame, "codec.safetensors", "embedding")
    with pytest.raises(sememe.RowTypeError, match=r"`key`: expected array<int>, got string"):
        spark.decode(frame, plain, "key", output="back")


def test_bad_rows_are_named_with_their_partition(session: SparkSession, rows: np.ndarray, plain: sememe.Codec) -> None:
    # In order, so that a row's partition is known.
    frame = session.createDataFrame(table(rows)).repartitionByRange(3, "row").sortWithinPartitions("row").persist()
    counts = [row["count"] for row in frame.groupBy(F.spark_partition_id().alias("part")).count().orderBy("part").collect()]
    row = counts[0] + 77
    nan = changed(frame, row, F.transform("embedding", lambda value: value * float("nan")))
    said = r"`embedding`: 1 of \d+ rows hold NaN.*, the first is row 77 of partition 1; repair such rows"
    with pytest.raises(PythonException, match=said):
        spark.encode(nan, plain, "embedding").collect()
    with pytest.raises(sememe.NonFiniteError, match=said) as found:
        spark.fit(nan, "embedding", **FIT)
    # Of the batch that it was in.
    assert (found.value.row, found.value.count, found.value.rows) == (77, 1, 64)
    with pytest.raises(sememe.NonFiniteError, match=said):
        spark.evaluate(nan, plain, "embedding")
    short = changed(frame, row, F.slice("embedding", 1, 11))
    with pytest.raises(sememe.ShapeError, match=r"`embedding`: row 77 of partition 1 holds 11 values, expected 12"):
        spark.fit(short, "embedding", **FIT)
    missing = changed(frame, row, F.lit(None))
    with pytest.raises(sememe.DataError, match=r"`embedding`: row 77 of partition 1 is missing"):
        spark.evaluate(missing, plain, "embedding")
    codes = frame.withColumn("codes", F.when(F.col("row") == row, F.array(F.lit(0), F.lit(8))).otherwise(F.array(F.lit(0), F.lit(1))))
    with pytest.raises(PythonException, match=r"`codes`: .*8"):
        spark.decode(codes, plain, output="back").collect()
    frame.unpersist()


def test_another_codec_on_a_worker_fails_the_job(frame, plain: sememe.Codec) -> None:
    parcel, _ = spark._send(frame, "codec", plain.to_bytes())
    schema = T.StructType([*frame.schema.fields, T.StructField(spark._MADE, T.ArrayType(T.IntegerType()))])
    wrong = _cluster.Parcel("codec", parcel.handle, "0" * 64, parcel.version)
    with pytest.raises(PythonException, match=f"the codec that reached a worker has the hash {parcel.hash}, the one that was sent {'0' * 64}"):
        frame.mapInArrow(spark._Encode(wrong, 1, 3, "embedding", None), schema).collect()
    older = _cluster.Parcel("codec", parcel.handle, "1" * 64, "0.0.1")
    with pytest.raises(PythonException, match=rf"a worker has sememe {sememe.__version__}, the driver 0.0.1; install the same"):
        frame.mapInArrow(spark._Encode(older, 1, 3, "embedding", None), schema).collect()


@pytest.mark.parametrize("settings", FITS.values(), ids=FITS)
def test_a_fit_is_the_same_bytes_at_any_number_of_partitions(frame, rows: np.ndarray, settings: dict) -> None:
    asked = {**FIT, **settings}
    expected = clusters.local_fit(rows, **asked)
    for partitions in (1, 3, 7) if not settings else (3,):
        made = spark.fit(frame.repartition(partitions), "embedding", progress=False, **asked)
        assert made.to_bytes() == expected.to_bytes(), partitions
    assert (column(spark.encode(frame, made, "embedding"), "codes") == made.encode(rows)).all()


def test_many_partitions_are_merged_on_the_way(frame, rows: np.ndarray) -> None:
    assert [_cluster.merge_steps(parts) for parts in (1, 2, 3, 16, 40, 10_000)] == [[], [], [1], [1], [7, 1], [100, 10, 1]]
    asked = {**FIT, "iterations": 1, "levels": 1}
    # More than rows, so that some have none.
    made = spark.fit(frame.where("row < 30").repartition(40), "embedding", progress=False, **asked)
    assert made.to_bytes() == clusters.local_fit(rows[:30], **asked).to_bytes()


def test_a_fit_goes_on_from_its_checkpoint(frame, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    kept, events = tmp_path / "fit.checkpoint", []

    def stop(event: dict) -> None:
        events.append(event)
        if len(events) == 5:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        spark.fit(frame, "embedding", checkpoint=kept, progress=stop, **FIT)
    assert kept.exists()
    made = spark.fit(frame, "embedding", checkpoint=kept, resume=True, progress=False, **FIT)
    assert made.to_bytes() == clusters.local_fit(rows, **FIT).to_bytes()


def executors() -> list[int]:
    return clusters.descendants(b"CoarseGrainedExecutorBackend")


def workers() -> list[int]:
    # Daemons that fork them have the same command; they are nobody's workers.
    under, found = clusters._children(), clusters.descendants(b"pyspark.daemon")
    return [pid for pid in found if not set(under.get(pid, [])) & set(found)]


@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_killed_workers_and_executors_change_nothing(frame, rows: np.ndarray) -> None:
    spread = frame.repartition(4)
    began = time.monotonic()
    expected = spark.fit(spread, "embedding", progress=False, **LONG).to_bytes()
    took = time.monotonic() - began
    assert expected == clusters.local_fit(rows, **LONG).to_bytes()
    assert executors() and workers()
    work = lambda: spark.fit(spread, "embedding", progress=False, **LONG).to_bytes()  # noqa: E731
    print(*clusters.with_kills(work, expected, [workers, executors], took), sep="\n")


def test_ids_are_those_of_one_machine_and_stay(frame, plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    place, keys = tmp_path / "ids", [f"item-{row}" for row in range(len(rows))]
    codes = plain.encode(rows)
    store = sememe.MemoryStore(plain)
    assert len(np.unique(codes, axis=0)) < len(rows), "no two items share their codes"

    half = frame.where("row >= 250")
    first = column(spark.assign(half, plain, "embedding", "key", ids=place), "id")
    assert (first == sememe.resolve(codes[250:], keys[250:]).ids).all()
    assert (first == sememe.assign(plain, rows[250:], keys[250:], store).ids).all()

    named = spark.assign(frame.repartition(5), plain, "embedding", "key", ids=place, output="unique")
    assert named.columns == ["row", "embedding", "key", "unique"]
    second = column(named, "unique")
    assert (second == sememe.assign(plain, rows, keys, store).ids).all()
    assert (second[250:] == first).all() and len(np.unique(second, axis=0)) == len(rows)

    # Vectors that have changed since leave the IDs as they are.
    moved = frame.withColumn("embedding", F.reverse("embedding"))
    assert (column(spark.assign(moved, plain, "embedding", "key", ids=place), "id") == second).all()
    assert sorted(path.name for path in place.iterdir() if not path.name.startswith(".")) == ["batch=1", "batch=2"]


def test_whole_numbers_are_keys(frame, plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    found = column(spark.assign(frame, plain, "embedding", "row", ids=f"file://{tmp_path}/ids"), "id")
    assert (found == sememe.resolve(plain.encode(rows), range(len(rows))).ids).all()


def test_bad_keys_and_other_tables(frame, plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    place = tmp_path / "ids"

    def assigned(frame, codec=plain, key="key"):
        return spark.assign(frame, codec, "embedding", key, ids=place)

    with pytest.raises(sememe.DataError, match="2 items have the same key `item-7`"):
        assigned(frame.union(frame.where("row = 7")))
    with pytest.raises(sememe.DataError, match="1 of 600 keys are missing or empty"):
        assigned(frame.withColumn("key", F.when(F.col("row") == 7, F.lit("")).otherwise(F.col("key"))))
    with pytest.raises(sememe.DataError, match="1 of 600 keys are missing or empty"):
        assigned(frame.withColumn("key", F.when(F.col("row") == 7, F.lit(None)).otherwise(F.col("key"))))
    with pytest.raises(sememe.RowTypeError, match="`key`: expected keys that are texts or whole numbers, got double"):
        assigned(frame.withColumn("key", F.rand()))
    with pytest.raises(sememe.NonFiniteError, match="`embedding`: 1 of"):
        assigned(changed(frame, 9, F.transform("embedding", lambda value: value * float("nan"))))
    assert not place.exists() or not [path for path in place.iterdir() if not path.name.startswith(".")], "something was left behind"

    assigned(frame.where("row < 5"))
    other = sememe.Codec.train(rows, levels=3, codebook_size=4, device="cpu")
    with pytest.raises(sememe.StoreError, match=f"holds IDs of codec {plain.content_hash}, not of codec {other.content_hash}"):
        assigned(frame, other)


def test_a_table_of_another_kind_is_refused(frame, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    (tmp_path / "_ids-00000001.json").touch()
    with pytest.raises(sememe.StoreError, match="holds a table of `sememe cluster assign`, `_ids-00000001.json`; name another folder"):
        spark.assign(frame, plain, "embedding", "key", ids=tmp_path)


def test_of_two_that_assign_at_once_one_is_refused(session, frame, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    from sememe import _spark_ids

    place = str(tmp_path / "ids")
    late = _spark_ids.Table(session, place, plain)
    spark.assign(frame.where("row < 300"), plain, "embedding", "key", ids=place)
    items = frame.select(F.col("key").alias(spark.KEY), "embedding")
    with pytest.raises(sememe.StoreError, match="was extended by somebody else meanwhile"):
        late.extend(items, lambda fresh: spark.encode(fresh, plain, "embedding"))
    assert session.read.parquet(place).count() == 300
    assert not [path for path in pathlib.Path(place).iterdir() if path.name.startswith("_writing")]


@pytest.mark.parametrize("codec", ["cosine", "opq", "rqvae"], indirect=True)
def test_measures_are_those_of_one_machine(frame, codec: sememe.Codec, rows: np.ndarray) -> None:
    # Ray's tests take every kind.
    clusters.same_measures(spark.evaluate(frame, codec, "embedding"), codec, rows)


def test_an_executors_worker_has_one_thread(frame) -> None:
    def asked(batches):
        for batch in batches:
            spark._here()
            yield pa.RecordBatch.from_arrays([pa.array([_cluster._threads] * len(batch))], names=["threads"])

    assert {row.threads for row in frame.mapInArrow(asked, "threads long").collect()} == {1}


def test_it_says_what_is_missing() -> None:
    code = "import sys; sys.modules['pyspark'] = None\ntry:\n    import sememe.spark\nexcept ImportError as e:\n    print(e)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "`sememe.spark` works on pyspark, which is not here: `pip install 'sememe[spark]'`" in said
