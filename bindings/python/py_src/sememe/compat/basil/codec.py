"""Encoding and decoding by the original's names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ... import _rows
from ...errors import ShapeError
from .._folders import load
from .preprocess import Preprocessor

__all__ = ["BasilCodec"]


class BasilCodec:
    """The codec of a folder that `BasilTrainer.save` wrote. `codec` is this library's own, which everything else takes."""

    def __init__(self, artifact_dir: str | os.PathLike[str]) -> None:
        self.codec, self.metadata = load(artifact_dir, "BASIL")
        self.levels = self.codec.levels
        self.k_per_level = self.codec.codebook_sizes[0]
        self.dim_in = self.codec.dims
        self.codebooks = list(self.codec.codebooks)
        self.dim_pca = self.codebooks[0].shape[1]
        self.preprocess = Preprocessor().take(self.codec)

    def encode(self, embedding: _rows.RowsLike) -> list[int]:
        """The codes of one row `[dims]`."""
        found = _rows.as_array(embedding, "embedding")
        row = np.asarray(embedding if found is None else found, dtype=np.float32).reshape(1, -1)
        return self.batch_encode(row)[0]

    def batch_encode(self, embeddings: _rows.RowsLike, batch_size: int = 8192) -> list[list[int]]:
        """The codes of rows `[n, dims]`. Batches are chosen by the library, so `batch_size` changes nothing."""
        del batch_size
        codes: list[list[int]] = self.codec.encode(embeddings, progress=False).tolist()
        return codes

    def decode(self, sid: Iterable[int]) -> npt.NDArray[np.float32]:
        """The row `[dims]` of an ID."""
        row: npt.NDArray[np.float32] = self.batch_decode([list(sid)])[0]
        return row

    def batch_decode(self, sids: Iterable[Sequence[int]]) -> npt.NDArray[np.float32]:
        """The rows `[n, dims]` of IDs."""
        listed = [list(sid) for sid in sids]
        for row, sid in enumerate(listed):
            if len(sid) != self.levels:
                error = ShapeError(f"`sids`: ID {row} holds {len(sid)} codes, expected {self.levels}")
                error.expected, error.got = self.levels, len(sid)
                raise error
        return self.codec.decode(np.asarray(listed, dtype=np.int64).reshape(len(listed), self.levels), progress=False)
