"""Ray: codes, fits, IDs and measures equal those of one machine, whatever the blocks and whoever is killed."""

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

clusters.wanted("ray.data", "pyarrow")

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayTaskError

import sememe
from sememe import _cluster
from sememe import ray as on_ray


@pytest.fixture(scope="module", autouse=True)
def session():
    """Two processors."""
    os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"
    # Ray's workers give way to all else, and on a busy machine they stand still.
    os.environ["RAY_worker_niceness"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=200 << 20,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def table(rows: np.ndarray, **others) -> pa.Table:
    keys = [f"item-{row}" for row in range(len(rows))]
    vectors = pa.array(list(rows), pa.list_(pa.float32()))
    return pa.table({"row": np.arange(len(rows)), "embedding": vectors, "key": keys, **others})


def blocks(made: pa.Table, count: int):
    """A dataset of so many blocks."""
    ends = np.linspace(0, len(made), count + 1).astype(int)
    return ray.data.from_arrow([made.slice(start, end - start) for start, end in zip(ends, ends[1:], strict=False)])


@pytest.fixture(scope="module")
def dataset(session, rows: np.ndarray):
    return blocks(table(rows), 3)


def column(found, name: str) -> np.ndarray:
    """A column of lists in the order of the rows."""
    made = pa.concat_tables(block for block in ray.get(found.select_columns(["row", name]).to_arrow_refs()) if block.num_rows)
    return np.stack(made[name].to_pylist())[np.argsort(made["row"].to_numpy())]


def test_codes_are_those_of_one_machine(dataset, codec: sememe.Codec, rows: np.ndarray) -> None:
    # One execution for both: each takes a second to start.
    there_and_back = on_ray.decode(on_ray.encode(dataset, codec, "embedding"), codec, output="back")
    made = pa.concat_tables(ray.get(there_and_back.to_arrow_refs()))
    assert made.column_names == ["row", "embedding", "key", "codes", "back"]
    assert made.drop(["codes", "back"]).equals(table(rows))
    codes = codec.encode(rows)
    assert (np.stack(made["codes"].to_pylist()) == codes).all()
    np.testing.assert_allclose(np.stack(made["back"].to_pylist()), codec.decode(codes), rtol=1e-5, atol=1e-5)


def test_vectors_of_other_types(rows: np.ndarray, plain: sememe.Codec) -> None:
    codes = plain.encode(rows)
    flat = pa.array(rows.reshape(-1))
    fixed = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    made = {"fixed": fixed, "double": fixed.cast(pa.list_(pa.float64(), rows.shape[1])), "row": np.arange(len(rows))}
    for name in ("fixed", "double"):
        assert (column(on_ray.encode(blocks(pa.table(made), 2), plain, name), "codes") == codes).all(), name
    beam = plain.encode(rows, beam=4)
    assert (column(on_ray.encode(blocks(pa.table(made), 2), plain, "fixed", beam=4), "codes") == beam).all()
    # What Ray makes of arrays: tensors.
    tensors = ray.data.from_numpy(rows).rename_columns(["tensor"])
    found = pa.concat_tables(ray.get(on_ray.encode(tensors, plain, "tensor").to_arrow_refs()))
    assert (np.stack(found["codes"].to_pylist()) == codes).all()
    pictures = ray.data.from_numpy(rows.reshape(-1, 3, 4)).rename_columns(["tensor"])
    with pytest.raises(RayTaskError, match="`tensor`: expected one list of floats a row"):
        on_ray.encode(pictures, plain, "tensor").materialize()


def test_empty_datasets(dataset, plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    nothing = dataset.filter(expr="row < 0")
    assert on_ray.encode(nothing, plain, "embedding").count() == 0
    for work in (
        lambda: on_ray.fit(nothing, "embedding"),
        lambda: on_ray.evaluate(nothing, plain, "embedding"),
        lambda: on_ray.assign(nothing, plain, "embedding", "key", ids=tmp_path / "ids"),
    ):
        with pytest.raises(sememe.DataError, match="the dataset has no rows"):
            work()
    # Two of three blocks have none.
    few = dataset.filter(expr="row < 100").materialize()
    assert (column(on_ray.encode(few, plain, "embedding"), "codes") == plain.encode(rows[:100])).all()
    assert on_ray.evaluate(few, plain, "embedding")["rows"] == 100
    assert len(column(on_ray.assign(few, plain, "embedding", "key", ids=tmp_path / "ids"), "id")) == 100


def test_columns_are_named(dataset, plain: sememe.Codec, rows: np.ndarray) -> None:
    with pytest.raises(sememe.SettingError, match=r"there is no column `vector`, there are `row`, `embedding`, `key`"):
        on_ray.encode(dataset, plain, "vector")
    with pytest.raises(sememe.SettingError, match=r"`output`: there is a column `key` already"):
        on_ray.encode(dataset, plain, "embedding", output="key")
    with pytest.raises(sememe.RowTypeError, match=r"`ds`: expected a `ray.data.Dataset`, got `pyarrow.lib.Table`"):
        on_ray.encode(table(rows), plain, "embedding")
    with pytest.raises(sememe.RowTypeError, match=r"`codec`: expected a `sememe.Codec`, got `builtins.str`"):
        on_ray.encode(dataset, "codec.safetensors", "embedding")
    with pytest.raises(sememe.RowTypeError, match=r"`key`: expected lists of floats, got string"):
        on_ray.fit(dataset, "key", **FIT)
    whole = blocks(table(rows, whole=pa.array(list(rows.astype(int)), pa.list_(pa.int64()))), 2)
    with pytest.raises(sememe.RowTypeError, match=r"`whole`: expected lists of floats, got lists of int64; cast them"):
        on_ray.evaluate(whole, plain, "whole")


def test_bad_rows_are_named_with_their_partition(rows: np.ndarray, plain: sememe.Codec) -> None:
    bad = rows.copy()
    bad[277, 3] = np.nan
    nan = blocks(table(bad), 3)
    said = r"`embedding`: 1 of 200 rows hold NaN.*, the first is row 77 of partition 1; repair such rows"
    with pytest.raises(RayTaskError, match=said):
        on_ray.encode(nan, plain, "embedding").materialize()
    with pytest.raises(sememe.NonFiniteError, match=said) as found:
        on_ray.fit(nan, "embedding", **FIT)
    assert (found.value.row, found.value.count, found.value.rows) == (77, 1, 200)
    with pytest.raises(sememe.NonFiniteError, match=said):
        on_ray.evaluate(nan, plain, "embedding")
    lists = [row.tolist() for row in rows]
    lists[277] = lists[277][:11]
    short = blocks(pa.table({"embedding": pa.array(lists, pa.list_(pa.float32()))}), 3)
    with pytest.raises(sememe.ShapeError, match=r"`embedding`: row 77 of partition 1 holds 11 values, expected 12"):
        on_ray.fit(short, "embedding", **FIT)
    lists[277] = None
    missing = blocks(pa.table({"embedding": pa.array(lists, pa.list_(pa.float32()))}), 3)
    with pytest.raises(sememe.DataError, match=r"`embedding`: row 77 of partition 1 is missing"):
        on_ray.evaluate(missing, plain, "embedding")
    codes = blocks(pa.table({"codes": [[0, 1]] * 5 + [[0, 8]]}), 1)
    with pytest.raises(RayTaskError, match=r"`codes`: .*8"):
        on_ray.decode(codes, plain).materialize()


def test_another_codec_on_a_worker_fails_the_job(dataset, plain: sememe.Codec) -> None:
    parcel = on_ray.send("codec", plain.to_bytes())
    wrong = _cluster.Parcel("codec", parcel.handle, "0" * 64, parcel.version)
    with pytest.raises(RayTaskError, match=f"the codec that reached a worker has the hash {parcel.hash}, the one that was sent {'0' * 64}"):
        dataset.map_batches(on_ray._Encode(wrong, "embedding", "codes", None), batch_format="pyarrow").materialize()
    older = _cluster.Parcel("codec", parcel.handle, "1" * 64, "0.0.1")
    with pytest.raises(RayTaskError, match=rf"a worker has sememe {sememe.__version__}, the driver 0.0.1; install the same"):
        dataset.map_batches(on_ray._Encode(older, "embedding", "codes", None), batch_format="pyarrow").materialize()


@pytest.mark.parametrize("settings", FITS.values(), ids=FITS)
def test_a_fit_is_the_same_bytes_at_any_number_of_blocks(rows: np.ndarray, settings: dict) -> None:
    asked = {**FIT, **settings}
    expected = clusters.local_fit(rows, **asked)
    # 40 partials are merged on the way.
    for count in (1, 3, 7, 40) if not settings else (3,):
        made = on_ray.fit(blocks(table(rows), count), "embedding", progress=False, **asked)
        assert made.to_bytes() == expected.to_bytes(), count


def test_a_fit_goes_on_from_its_checkpoint(dataset, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    kept, events = tmp_path / "fit.checkpoint", []

    def stop(event: dict) -> None:
        events.append(event)
        if len(events) == 5:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        on_ray.fit(dataset, "embedding", checkpoint=kept, progress=stop, **FIT)
    assert kept.exists()
    made = on_ray.fit(dataset, "embedding", checkpoint=kept, resume=True, progress=False, **FIT)
    assert made.to_bytes() == clusters.local_fit(rows, **FIT).to_bytes()


def workers() -> list[int]:
    # Without its agents the machine leaves the cluster, and this driver ends.
    return [pid for pid in clusters.descendants(b"ray::") if pid not in clusters.descendants(b"Agent")]


@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_killed_workers_change_nothing(rows: np.ndarray) -> None:
    spread = blocks(table(np.tile(rows, (20, 1))), 8).materialize()
    began = time.monotonic()
    expected = on_ray.fit(spread, "embedding", progress=False, **LONG).to_bytes()
    took = time.monotonic() - began
    assert expected == clusters.local_fit(np.tile(rows, (20, 1)), **LONG).to_bytes()
    assert workers()
    work = lambda: on_ray.fit(spread, "embedding", progress=False, **LONG).to_bytes()  # noqa: E731
    print(*clusters.with_kills(work, expected, [workers], took), sep="\n")


def test_ids_are_those_of_one_machine_and_stay(dataset, plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    place, keys = tmp_path / "ids", [f"item-{row}" for row in range(len(rows))]
    codes = plain.encode(rows)
    store = sememe.MemoryStore(plain)
    assert len(np.unique(codes, axis=0)) < len(rows), "no two items share their codes"

    half = blocks(table(rows).slice(250), 2)
    first = column(on_ray.assign(half, plain, "embedding", "key", ids=place), "id")
    assert (first == sememe.resolve(codes[250:], keys[250:]).ids).all()
    assert (first == sememe.assign(plain, rows[250:], keys[250:], store).ids).all()

    named = on_ray.assign(blocks(table(rows), 5), plain, "embedding", "key", ids=place, output="unique")
    assert named.columns() == ["row", "embedding", "key", "unique"]
    assert np.concatenate([block["row"] for block in ray.get(named.to_arrow_refs())]).tolist() == list(range(len(rows)))
    second = column(named, "unique")
    assert (second == sememe.assign(plain, rows, keys, store).ids).all()
    assert (second[250:] == first).all() and len(np.unique(second, axis=0)) == len(rows)

    # Vectors that have changed since leave the IDs as they are.
    moved = blocks(table(np.ascontiguousarray(rows[:, ::-1])), 1)
    assert (column(on_ray.assign(moved, plain, "embedding", "key", ids=place), "id") == second).all()
    assert sorted(path.name for path in place.iterdir()) == ["batch=1", "batch=2"]


def test_whole_numbers_are_keys(dataset, plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    found = column(on_ray.assign(dataset, plain, "embedding", "row", ids=f"file://{tmp_path}/ids"), "id")
    assert (found == sememe.resolve(plain.encode(rows), range(len(rows))).ids).all()


def test_bad_keys_and_other_tables(rows: np.ndarray, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    place = tmp_path / "ids"

    def assigned(made: pa.Table, codec: sememe.Codec = plain, name: str = "own"):
        return on_ray.assign(blocks(made, 3), codec, "embedding", name, ids=place)

    keys = [f"item-{row}" for row in range(len(rows))]
    with pytest.raises(sememe.DataError, match="`own`: several items have the same key `item-7`"):
        assigned(table(rows, own=keys[:-1] + ["item-7"]))
    for bad in ("", None):
        with pytest.raises(sememe.DataError, match="the key of row 77 of partition 1 is missing or empty"):
            assigned(table(rows, own=[*keys[:277], bad, *keys[278:]]))
    with pytest.raises(sememe.RowTypeError, match="`own`: expected keys that are texts or whole numbers, got double"):
        assigned(table(rows, own=np.random.default_rng(0).normal(size=len(rows))))
    nan = rows.copy()
    nan[9, 1] = np.nan
    with pytest.raises(sememe.NonFiniteError, match="the first is row 9 of partition 0"):
        assigned(table(nan), name="key")
    assert not place.exists() or not list(place.iterdir()), "something was left behind"

    assigned(table(rows[:5]), name="key")
    other = sememe.Codec.train(rows, levels=3, codebook_size=4, device="cpu")
    with pytest.raises(sememe.StoreError, match=f"holds IDs of codec {plain.content_hash}, not of codec {other.content_hash}"):
        assigned(table(rows), other, "key")


def test_a_table_of_another_kind_is_refused(dataset, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    (tmp_path / "_ids-00000001.json").touch()
    with pytest.raises(sememe.StoreError, match="holds a table of `sememe cluster assign`, `_ids-00000001.json`; name another folder"):
        on_ray.assign(dataset, plain, "embedding", "key", ids=tmp_path)


def test_of_two_that_assign_at_once_one_is_refused(dataset, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    from sememe import _ray_ids

    place = str(tmp_path / "ids")
    late = _ray_ids.Table(place, plain)
    on_ray.assign(dataset.limit(300), plain, "embedding", "key", ids=place)
    with pytest.raises(sememe.StoreError, match="was extended by somebody else meanwhile"):
        late.extend(on_ray.blocks_of(dataset), on_ray.send("codec", plain.to_bytes()), "embedding", "key", "id")
    assert [path.name for path in pathlib.Path(place).iterdir()] == ["batch=1"]


def test_measures_are_those_of_one_machine(dataset, codec: sememe.Codec, rows: np.ndarray) -> None:
    clusters.same_measures(on_ray.evaluate(dataset, codec, "embedding"), codec, rows)


def test_a_task_has_one_thread() -> None:
    @ray.remote(num_cpus=1)
    def asked() -> int:
        on_ray.use_threads()
        return _cluster._threads

    assert ray.get(asked.remote()) == 1


def test_it_says_what_is_missing() -> None:
    code = "import sys; sys.modules['ray.data'] = None; sys.modules['ray'] = None\ntry:\n    import sememe.ray\nexcept ImportError as e:\n    print(e)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "`sememe.ray` works on ray.data, which is not here: `pip install 'sememe[ray]'`" in said
