"""Rows as people have them: Arrow, numpy, torch, pandas, files, batches that follow each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from . import _sememe
from .errors import RowTypeError, ShapeError

log = logging.getLogger("sememe")

# What `Codec.train`, `Codec.encode` and others take as rows; see `docs/python.md` for the list.
RowsLike: TypeAlias = Any

# DLPack's numbers of devices whose memory the processor reads.
_ON_THE_CPU = {1: "CPU", 3: "pinned by CUDA", 11: "pinned by ROCm"}
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed memory", 14: "oneAPI"}


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


def _is_pandas(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas"


def _is_sparse(value: object) -> bool:
    return hasattr(value, "tocsr") and hasattr(value, "toarray")


def _shape_error(name: str, shape: tuple[int, ...]) -> ShapeError:
    if len(shape) == 1:
        way = f"; for one row give `{name}[None]`"
    else:
        way = ""
    error = ShapeError(f"`{name}`: expected 2 dimensions [n, dims], got {len(shape)} of {list(shape)}{way}")
    error.expected, error.got = 2, len(shape)
    return error


def plain(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """An array of floats that the extension reads where it lies; others are converted, and that is said."""
    kind = array.dtype
    if kind.kind == "f" and kind.itemsize in (2, 4, 8) and kind.isnative:
        if kind.itemsize != 4:
            log.info("`%s`: %s is read as float32, block by block", name, kind)
        return array
    if kind == object:
        if array.ndim == 1 and len(array):
            # A column of lists, as pandas keeps them.
            try:
                stacked = np.stack([np.asarray(row, dtype=np.float32) for row in array])
            except (TypeError, ValueError) as problem:
                raise RowTypeError(f"`{name}`: rows cannot be read as float32: {problem}") from None
            log.info("`%s`: %d lists are copied to float32, %d bytes", name, len(array), stacked.nbytes)
            return stacked
        try:
            return array.astype(np.float32)
        except (TypeError, ValueError) as problem:
            raise RowTypeError(f"`{name}`: values cannot be read as float32: {problem}") from None
    if kind.kind in "fiub" or kind.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        log.info("`%s`: %s is copied to float32, %d bytes", name, kind, array.size * 4)
        return array.astype(np.float32)
    raise RowTypeError(f"`{name}`: expected floats, got values of {kind}")


def _from_dlpack(tensor: Any, name: str) -> np.ndarray[Any, Any]:
    device, number = tensor.__dlpack_device__()
    if int(device) not in _ON_THE_CPU:
        place = _DEVICES.get(int(device), f"a device of kind {int(device)}")
        raise RowTypeError(f"`{name}`: the tensor is on {place} {number}; bring it to the processor with `.cpu()`")
    if getattr(tensor, "requires_grad", False):
        # Its values are wanted, not its history.
        tensor = tensor.detach()
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError, TypeError, ValueError) as problem:
        kind = getattr(tensor, "dtype", "its values")
        raise RowTypeError(f"`{name}`: {kind} has no counterpart in numpy ({problem}); convert with `.float()`") from None


def as_array(value: Any, name: str) -> np.ndarray[Any, Any] | None:
    """The array that a value is or offers; nothing for what is no array."""
    if isinstance(value, np.ndarray):
        return value
    if _is_sparse(value):
        raise RowTypeError(f"`{name}`: sparse rows are not read; give `{name}.toarray()`")
    if _is_pandas(value):
        return np.asarray(value.to_numpy())
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        return _from_dlpack(value, name)
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__") or isinstance(value, (memoryview, bytearray)):
        return np.asarray(value)
    return None


def _is_table_or_array(value: object) -> bool:
    return hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__")


def is_lazy(rows: RowsLike) -> bool:
    """Whether rows come batch by batch and are read as they come."""
    if isinstance(rows, (_sememe.Rows, np.ndarray)) or _is_path(rows) or _is_pandas(rows) or _is_sparse(rows):
        return False
    if hasattr(rows, "__arrow_c_array__"):
        return False
    if hasattr(rows, "__arrow_c_stream__"):
        return not hasattr(rows, "__len__")
    if hasattr(rows, "__dlpack__") or hasattr(rows, "__array__") or hasattr(rows, "__array_interface__"):
        return False
    return not isinstance(rows, (list, tuple, memoryview, bytearray)) and hasattr(rows, "__iter__")


def batches(rows: RowsLike, name: str, column: str | None = None) -> Iterator[_sememe.Rows]:
    """The batches of lazy rows, each held by itself."""
    if hasattr(rows, "__arrow_c_stream__"):
        stream = _sememe.Stream(rows, column, name)
        while (batch := stream.take()) is not None:
            yield batch
        return
    for number, batch in enumerate(rows):
        here = f"batch {number} of {name}"
        if isinstance(batch, dict):
            if column is None:
                raise RowTypeError(f"`{here}`: a dictionary; name the column of rows by `column`, there are {list(batch)}")
            if column not in batch:
                raise RowTypeError(f"`{here}`: no column `{column}`, there are {list(batch)}")
            batch = batch[column]
        yield hold(batch, here, column if _is_table_or_array(batch) else None)


def hold(rows: RowsLike, name: str = "rows", column: str | None = None, array: str | None = None) -> _sememe.Rows:
    """Rows as the extension reads them, all of them at hand. Lazy ones are set down in a temporary file."""
    if isinstance(rows, _sememe.Rows):
        return rows
    paths = [rows] if _is_path(rows) else rows
    if isinstance(paths, (list, tuple)) and paths and all(_is_path(path) for path in paths):
        return _sememe.Rows.of_files([os.fspath(path) for path in paths], array)
    if array is not None:
        raise RowTypeError(f"`array`: names an array within a file, but `{name}` is no file")
    if not _is_pandas(rows):
        if hasattr(rows, "__arrow_c_array__"):
            return _sememe.Rows.of_arrow(rows, column, name)
        if hasattr(rows, "__arrow_c_stream__") and not is_lazy(rows):
            return _sememe.Rows.of_stream(rows, column, name)
    elif column is not None:
        rows = rows[column]
    if is_lazy(rows):
        spool = _sememe.Spool(name)
        for batch in batches(rows, name, column):
            spool.add(batch)
        held = spool.take()
        log.info("`%s`: %d rows were set down in a temporary file, %d bytes", name, held.shape[0], 4 * held.shape[0] * held.shape[1])
        return held
    if column is not None and not _is_pandas(rows):
        raise RowTypeError(f"`column`: names a column of a table, but `{name}` is no table")
    found = as_array(rows, name)
    if found is None and isinstance(rows, (list, tuple)):
        found = _listed(rows, name)
        if found is None:
            return _several(rows, name)
    if found is None:
        kind = type(rows)
        raise RowTypeError(
            f"`{name}`: expected rows [n, dims] as an array, Arrow lists, a tensor, a file or an iterable of batches, "
            f"got `{kind.__module__}.{kind.__qualname__}`"
        )
    found = plain(found, name)
    if found.ndim != 2:
        raise _shape_error(name, found.shape)
    return _sememe.Rows.of_arrays([found], name)


def _listed(rows: list[Any] | tuple[Any, ...], name: str) -> np.ndarray[Any, Any] | None:
    """A list of rows as an array; nothing for a list of batches."""
    if rows:
        first = rows[0]
        if _is_table_or_array(first) or getattr(first, "ndim", 1) >= 2:
            return None
    try:
        made = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as problem:
        raise RowTypeError(f"`{name}`: the list cannot be read as rows of one length: {problem}") from None
    log.info("`%s`: a list is copied to float32, %d bytes", name, made.nbytes)
    return made


def _several(rows: Iterable[Any], name: str) -> _sememe.Rows:
    """Batches that are all in memory."""
    arrays = []
    for number, batch in enumerate(rows):
        found = as_array(batch, f"{name}[{number}]")
        if found is None:
            spool = _sememe.Spool(name)
            for number, batch in enumerate(rows):
                spool.add(hold(batch, f"{name}[{number}]"))
            return spool.take()
        found = plain(found, f"{name}[{number}]")
        if found.ndim != 2:
            raise _shape_error(f"{name}[{number}]", found.shape)
        arrays.append(found)
    return _sememe.Rows.of_arrays(arrays, name)
