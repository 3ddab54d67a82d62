"""Codes as the extension takes them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ._rows import as_array
from .errors import DataError, RowTypeError, ShapeError

Codes: TypeAlias = npt.NDArray[np.uint32]
CodesLike: TypeAlias = Any


def read(codes: CodesLike, name: str = "codes") -> Codes:
    """Codes `[n, levels]` as `uint32`, C-contiguous. Codes that are so already are not copied."""
    found = as_array(codes, name)
    if found is None:
        if hasattr(codes, "__arrow_c_array__") or hasattr(codes, "__arrow_c_stream__"):
            raise RowTypeError(f"`{name}`: expected integers [n, levels] as an array, got `{type(codes).__name__}`; give its `to_numpy()`")
        try:
            found = np.asarray(codes)
        except ValueError as problem:
            raise RowTypeError(f"`{name}`: rows are of different lengths: {problem}") from None
    if found.ndim != 2:
        way = f"; for one ID give `[{name}]`" if found.ndim == 1 else ""
        error = ShapeError(f"`{name}`: expected 2 dimensions [n, levels], got {found.ndim} of {list(found.shape)}{way}")
        error.expected, error.got = 2, found.ndim
        raise error
    if found.dtype != np.uint32:
        if found.dtype.kind not in "iu":
            if found.size:
                raise RowTypeError(f"`{name}`: expected whole numbers, got values of {found.dtype}")
            return np.zeros(found.shape, dtype=np.uint32)
        if found.size and (found.min() < 0 or found.max() > 0xFFFF_FFFF):
            row = int(np.argmax(((found < 0) | (found > 0xFFFF_FFFF)).any(axis=1)))
            raise DataError(f"`{name}`: row {row} holds {found[row].tolist()}; codes are at least 0 and below 2³²")
    return np.ascontiguousarray(found, dtype=np.uint32)
