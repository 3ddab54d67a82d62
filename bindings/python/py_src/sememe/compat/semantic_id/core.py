"""What the encoders share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ... import _rows
from ..._codes import CodesLike, read
from ...codec import Codec
from ...ids import Format
from .._devices import device as device_of
from .exceptions import NotFittedError

__all__ = ["BaseSemanticEncoder"]


class BaseSemanticEncoder:
    """An encoder over a codec."""

    codec_: Codec | None = None
    """The codec, once it is fitted: everything else of this library takes it."""
    _device: str = "cpu"

    def fit(self, X: _rows.RowsLike, *, device: str | None = None) -> Self:
        """Fits the encoder to rows `[n, dims]`."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the encoder to a folder."""
        raise NotImplementedError

    @property
    def codec(self) -> Codec:
        """The codec.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        if self.codec_ is None:
            raise NotFittedError("the model is not fitted yet; call `fit` first")
        return self.codec_

    def encode(self, X: _rows.RowsLike, *, device: str | None = None, batch_size: int | None = None) -> npt.NDArray[np.int32]:
        """Codes `[n, levels]`. Batches are chosen by the library, so `batch_size` changes nothing."""
        del batch_size
        codes = self.codec.encode(X, device=device_of(self._device if device is None else device), progress=False)
        return codes.astype(np.int32)

    def decode(self, codes: CodesLike) -> npt.NDArray[np.float32]:
        """Rows `[n, dims]` from codes."""
        return self.codec.decode(codes, progress=False)

    def semantic_id(
        self,
        codes: CodesLike,
        *,
        sep: str = "-",
        fmt: Literal["plain", "token"] = "plain",
        formatter: Callable[[npt.NDArray[np.uint32]], str] | None = None,
    ) -> list[str]:
        """Texts of codes `[n, levels]`: `12-5-33`, `<a_12><b_5><c_33>` with `fmt="token"`, or what `formatter` makes of each."""
        if fmt not in ("plain", "token"):
            raise ValueError(f"`fmt`: expected plain or token, got {fmt!r}")
        codes = read(codes)
        if formatter is not None:
            return [formatter(one) for one in codes]
        if fmt == "token":
            return Format("lc-rec", self.codec).write(codes)
        if sep.isdigit() or not sep:
            raise ValueError(f"`sep`: {sep!r} cannot be told from a code")
        return [sep.join(map(str, one)) for one in codes.tolist()]

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)
