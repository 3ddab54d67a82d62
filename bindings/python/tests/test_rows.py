"""Rows as people have them."""

from __future__ import annotations

import array
import logging
import pathlib
import tracemalloc

import numpy as np
import pytest

import sememe
from sememe import _rows


def ready(value, **more) -> bool:
    """Whether the extension uses the rows where they lie."""
    return _rows.hold(value, **more).lies_ready


@pytest.fixture
def codes(plain: sememe.Codec, rows: np.ndarray) -> np.ndarray:
    return plain.encode(rows)


def test_numpy_of_any_kind(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    assert ready(rows)
    rows.setflags(write=False)
    assert ready(rows) and (plain.encode(rows) == codes).all()
    rows.setflags(write=True)
    wide = np.zeros((len(rows), 20), dtype=np.float32)
    wide[:, 4:16] = rows
    others = {
        "strided": wide[:, 4:16],
        "every second row": np.repeat(rows, 2, axis=0)[::2],
        "backwards": np.ascontiguousarray(rows[::-1])[::-1],
        "fortran": np.asfortranarray(rows),
        "float64": rows.astype(np.float64),
        "big-endian": rows.astype(">f4"),
        "list": rows.tolist(),
    }
    with caplog.at_level(logging.INFO, logger="sememe"):
        for name, other in others.items():
            # Those that are copied are ready then.
            assert ready(other) == (name in ("big-endian", "list")), name
            assert (plain.encode(other) == codes).all(), name
    said = "\n".join(caplog.messages)
    assert "float64 is read as float32" in said and ">f4 is copied" in said and "a list is copied" in said
    half = rows.astype(np.float16)
    assert (plain.encode(half) == plain.encode(half.astype(np.float32))).all()
    whole = np.rint(rows).astype(np.int8)
    assert (plain.encode(whole) == plain.encode(whole.astype(np.float32))).all()
    # Too large for float32.
    huge = rows.astype(np.float64)
    huge[3, 3] = 1e300
    with pytest.raises(sememe.NonFiniteError, match="row 3"):
        plain.encode(huge)


def test_what_is_no_rows(plain: sememe.Codec, rows: np.ndarray) -> None:
    for wrong in (7, None, object()):
        with pytest.raises(sememe.RowTypeError, match="`rows`") as caught:
            plain.encode(wrong)
        assert isinstance(caught.value, TypeError)
    with pytest.raises(sememe.RowTypeError, match="complex"):
        plain.encode(rows.astype(np.complex64))
    with pytest.raises(sememe.RowTypeError, match="`rows`"):
        plain.encode(np.array([["a"] * 12] * 3))
    with pytest.raises(sememe.RowTypeError, match="one length"):
        plain.encode([[1.0, 2.0], [1.0]])
    with pytest.raises(sememe.ShapeError, match=r"expected 2 dimensions \[n, dims\], got 3"):
        plain.encode(rows[None])
    with pytest.raises(sememe.ShapeError, match=r"rows\[None\]"):
        sememe.Codec.train(rows[0])
    with pytest.raises(sememe.RowTypeError, match="column"):
        plain.encode(rows, column="v")


def test_pyarrow(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    pa = pytest.importorskip("pyarrow")
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 12)
    assert ready(fixed) and (plain.encode(fixed) == codes).all()
    assert ready(fixed[100:200]) and (plain.encode(fixed[100:200]) == codes[100:200]).all()
    chunked = pa.chunked_array([fixed[:50], fixed[50:50], fixed[50:]])
    assert ready(chunked) and (plain.encode(chunked) == codes).all()
    lists = fixed.cast(pa.list_(pa.float32()))
    assert ready(lists[7:]) and (plain.encode(lists[7:]) == codes[7:]).all()
    assert (plain.encode(fixed.cast(pa.large_list(pa.float32()))) == codes).all()
    assert (plain.encode(fixed.cast(pa.list_(pa.float64(), 12))) == codes).all()
    table = pa.table({"id": range(len(rows)), "v": fixed})
    assert ready(table) and (plain.encode(table) == codes).all() and (plain.encode(table, column="v") == codes).all()
    assert (plain.encode(table.to_batches()[0]) == codes).all()
    assert (plain.encode(table.to_reader(max_chunksize=64)) == codes).all()
    with pytest.raises(ValueError, match="no column `w`, there are `id`, `v`"):
        plain.encode(table, column="w")
    with pytest.raises(ValueError, match="2 of its columns hold lists"):
        plain.encode(table.append_column("w", fixed))
    with pytest.raises(TypeError, match="Int64"):
        plain.encode(table, column="id")
    ragged = pa.array([[1.0, 2.0], [1.0]], type=pa.list_(pa.float32()))
    with pytest.raises(ValueError, match="row 1 holds 1 values"):
        plain.encode(ragged)
    gaps = rows.tolist()
    gaps[5] = None
    with pytest.raises(sememe.NonFiniteError, match="row 5"):
        plain.encode(pa.array(gaps, type=pa.list_(pa.float32(), 12)))
    gaps[5] = [None] + [0.0] * 11
    with pytest.raises(sememe.NonFiniteError, match="row 5"):
        plain.encode(pa.array(gaps, type=pa.list_(pa.float32(), 12)))


def test_polars(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    pl = pytest.importorskip("polars")
    series = pl.Series("v", rows, dtype=pl.Array(pl.Float32, 12))
    assert ready(series) and (plain.encode(series) == codes).all()
    frame = pl.DataFrame({"name": [str(i) for i in range(len(rows))], "v": series})
    assert (plain.encode(frame) == codes).all() and (plain.encode(frame, column="v") == codes).all()
    assert (plain.encode(frame["v"].cast(pl.List(pl.Float32))) == codes).all()
    parts = pl.concat([frame[:100], frame[100:]], rechunk=False)
    assert ready(parts) and (plain.encode(parts) == codes).all()


def test_duckdb(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    duckdb = pytest.importorskip("duckdb")
    pa = pytest.importorskip("pyarrow")
    made = pa.table({"id": range(len(rows)), "v": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 12)})
    assert len(made) == len(rows)
    found = duckdb.sql("select * from made order by id")
    assert (plain.encode(found, column="v") == codes).all()


def test_torch(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(rows)
    assert ready(tensor) and (plain.encode(tensor) == codes).all()
    assert (plain.encode(tensor[5]) == codes[5]).all()
    assert (plain.encode(tensor.double().requires_grad_()) == codes).all()
    assert (plain.encode(torch.cat([tensor, tensor], 1)[:, :12]) == codes).all()
    with pytest.raises(sememe.RowTypeError, match="bfloat16"):
        plain.encode(tensor.bfloat16())


def test_a_tensor_on_another_device_is_refused_by_name(plain: sememe.Codec) -> None:
    class Tensor:
        ndim = 2

        def __init__(self, device: int) -> None:
            self.device = device

        def __dlpack__(self, **_: object) -> object:
            raise AssertionError("nothing is read from there")

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.device, 1

    with pytest.raises(sememe.RowTypeError, match=r"`rows`: the tensor is on CUDA 1; .*\.cpu\(\)"):
        plain.encode(Tensor(2))
    with pytest.raises(sememe.RowTypeError, match="Metal"):
        sememe.Codec.train(Tensor(8))


def test_pandas(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    pd = pytest.importorskip("pandas")
    assert (plain.encode(pd.DataFrame(rows)) == codes).all()
    frame = pd.DataFrame({"id": range(len(rows)), "v": list(rows)})
    assert (plain.encode(frame["v"]) == codes).all() and (plain.encode(frame, column="v") == codes).all()


def test_sparse_rows_are_refused(plain: sememe.Codec, rows: np.ndarray) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(sememe.RowTypeError, match="toarray"):
        plain.encode(sparse.csr_matrix(rows))


def test_files(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray, tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "rows.npz", a=rows[:100], b=rows[100:])
    assert (plain.encode(tmp_path / "rows.npy") == codes).all()
    assert (plain.encode(str(tmp_path / "rows.npz"), array="b") == codes[100:]).all()
    assert (plain.encode([tmp_path / "rows.npy", tmp_path / "rows.npy"]) == np.tile(codes, (2, 1))).all()
    assert sememe.Codec.train(tmp_path / "rows.npy", levels=3, codebook_size=8, seed=1, device="cpu") == plain
    with pytest.raises(FileNotFoundError):
        plain.encode(tmp_path / "none.npy")
    with pytest.raises(sememe.RowTypeError, match="`array`"):
        plain.encode(rows, array="a")


def test_batches(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    def some(size: int = 64):
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    assert (plain.encode(some()) == codes).all()
    assert plain.encode(iter([])).shape == (0, 3)
    parts = list(plain.encode_batches(some(100)))
    assert [len(part) for part in parts] == [100] * 6 and (np.concatenate(parts) == codes).all()
    assert (plain.encode([rows[:10], rows[10:]]) == codes).all()
    assert (plain.encode(({"v": batch} for batch in some()), column="v") == codes).all()
    # From batches comes the codec that the array makes, whatever the method.
    for settings in ({}, {"method": "minibatch", "epochs": 3, "batch_rows": 100}, {"method": "pq"}):
        settings = {"levels": 3, "codebook_size": 8, "seed": 1, "device": "cpu", **settings}
        assert sememe.Codec.train(some(), **settings) == sememe.Codec.train(rows, **settings)
    with pytest.raises(sememe.ShapeError):
        sememe.Codec.train(iter([rows, rows[:, :5]]), codebook_size=8)

    def bad():
        yield rows[:100]
        wrong = rows[100:200].copy()
        wrong[7] = np.nan
        yield wrong

    with pytest.raises(sememe.NonFiniteError, match="row 7 in `batch 1 of rows`") as caught:
        plain.encode(bad())
    assert "row 107 of all" in caught.value.__notes__[0]
    with pytest.raises(sememe.NonFiniteError, match="row 107"):
        sememe.Codec.train(bad(), codebook_size=8)


def test_memory_stays_at_the_input(plain: sememe.Codec, rows: np.ndarray) -> None:
    """No copy of the rows is made by Python; what the extension takes is measured by the benchmark."""
    many = np.tile(rows, (200, 1))
    tracemalloc.start()
    codes = plain.encode(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < codes.nbytes + (1 << 20)


def test_buffers(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray) -> None:
    values = memoryview(array.array("f", rows.ravel().tolist())).cast("B").cast("f", shape=rows.shape)
    assert ready(values) and (plain.encode(values) == codes).all()
